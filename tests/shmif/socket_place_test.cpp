// Sockets at paths: several that want the same place at the same time.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "shmif/socket_place.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif {
namespace {

using test::TempDir;

TEST(BoundSocket, ExactlyOneOfThoseThatFindTheSameOldSocketFileGetsThePlace) {
  const TempDir directory;
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    const SocketPlace place =
        parse_socket_place(directory.file("q" + std::to_string(type))).value();
    for (unsigned round = 0; round < 100; ++round) {
      {
        const UniqueFd old(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
        ASSERT_EQ(::bind(old.get(), place.address.get(), place.address.size), 0);
      }  // its file stays
      constexpr unsigned kSeekers = 4;
      std::array<std::optional<Result<BoundSocket>>, kSeekers> bound;
      std::atomic<unsigned> ready{0};
      {
        std::vector<std::jthread> seekers;
        seekers.reserve(kSeekers);
        for (auto& mine : bound) {
          seekers.emplace_back([&] {
            ++ready;
            while (ready < kSeekers) std::this_thread::yield();
            mine.emplace(BoundSocket::bind(type, place));
          });
        }
      }
      unsigned winners = 0;
      for (const auto& each : bound) {
        if (*each) {
          ++winners;
        } else {
          EXPECT_EQ(each->error().code, std::errc::address_in_use) << each->error().message;
        }
      }
      ASSERT_EQ(winners, 1U) << round;
      const UniqueFd client(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::connect(client.get(), place.address.get(), place.address.size), 0);
    }
  }
}

TEST(BoundSocket, IsMadeAlsoWhereAnotherUserLocksTheDirectoryForEver) {
  const TempDir directory;
  const UniqueFd lock(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  EXPECT_TRUE(BoundSocket::bind(SOCK_STREAM, parse_socket_place(directory.file("q")).value()));
}

}  // namespace
}  // namespace shmif
