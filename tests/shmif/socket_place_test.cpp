// Sockets at paths: several that want the same place at the same time.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
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

TEST(BoundSocket, LeavesAFileThatTookItsPathMeanwhile) {
  const TempDir directory;
  const std::string path = directory.file("q");
  {
    const auto bound = BoundSocket::bind(SOCK_STREAM, parse_socket_place(path).value());
    ASSERT_TRUE(bound) << bound.error().message;
    EXPECT_TRUE(std::filesystem::is_socket(path));
    // Made before the old one goes, so that it cannot have the same inode.
    std::ofstream(path + ".new") << "another";
    std::filesystem::rename(path + ".new", path);
  }
  EXPECT_TRUE(std::filesystem::is_regular_file(path));
  const auto refused = BoundSocket::bind(SOCK_STREAM, parse_socket_place(path).value());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, std::errc::file_exists);
}

// Else TCP would keep a short frame back until the one before it is acknowledged.
TEST(BoundSocket, BothEndsOfATcpConnectionSendShortFramesAtOnce) {
  const auto bound = BoundSocket::bind(SOCK_STREAM, parse_socket_place("127.0.78.3:0").value());
  ASSERT_TRUE(bound) << bound.error().message;
  const std::string text = address_of(bound->descriptor()).value().to_string();
  const UniqueFd client = connect_stream(parse_socket_place(text).value(), -1).value();
  pollfd waiting{.fd = bound->descriptor(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 10'000), 1);
  const UniqueFd server = bound->accept().value();
  for (const UniqueFd* const end : {&client, &server}) {
    int on = 0;
    socklen_t size = sizeof on;
    ASSERT_EQ(::getsockopt(end->get(), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    EXPECT_EQ(on, 1) << (end == &client ? "the one that connected" : "the one that accepted");
  }
}

TEST(BoundSocket, SaysWhatToDoWhereItCannotBeMade) {
  const TempDir directory;
  std::ofstream(directory.file("file")) << "x";
  const BoundSocket taken =
      BoundSocket::bind(SOCK_STREAM, parse_socket_place("127.0.78.3:0").value()).value();
  const std::string port = address_of(taken.descriptor()).value().to_string();
  const std::vector<std::pair<std::string, std::string>> rows{
      {directory.file("absent/q"), "(make its directory first)"},
      {directory.file("file"), "there is a file that is no socket"},
      {directory.file("file/q"), "(a file is where the path has a directory)"},
      {directory.path(), "there is a directory (give the path of a new file in it)"},
      {port, "(another program has that port)"},
      {"192.0.2.1:7000", "(no interface here has that address)"}};
  for (const auto& [text, remedy] : rows) {
    const auto refused = BoundSocket::bind(SOCK_STREAM, parse_socket_place(text).value());
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().message.find("cannot make the socket " + text + ": "), 0U)
        << refused.error().message;
    EXPECT_NE(refused.error().message.find(remedy), std::string::npos) << refused.error().message;
  }
}

TEST(ConnectStream, SaysWhatIsThereInsteadOfASocket) {
  const TempDir directory;
  const std::string path = directory.file("file");
  std::ofstream(path) << "x";
  const auto refused = connect_stream(parse_socket_place(path).value(), -1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, std::errc::not_a_socket);
  EXPECT_NE(refused.error().message.find(path + ": it is not a socket"), std::string::npos)
      << refused.error().message;
}

TEST(ConnectStream, SaysWhichPermissionIsMissing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const TempDir directory;
  const SocketPlace place = parse_socket_place(directory.file("s")).value();
  const BoundSocket bound = BoundSocket::bind(SOCK_STREAM, place).value();
  ASSERT_EQ(::chmod(place.text.c_str(), 0600), 0);
  const auto refused = [&](mode_t mode, bool makes) {
    EXPECT_EQ(::chmod(directory.path().c_str(), mode), 0);
    ::setfsuid(65534);
    const std::string text =
        makes ? BoundSocket::bind(SOCK_STREAM, parse_socket_place(directory.file("t")).value())
                    .error()
                    .message
              : connect_stream(place, -1).error().message;
    ::setfsuid(0);
    return text;
  };
  EXPECT_NE(refused(0700, false).find("search permission in its directory"), std::string::npos);
  EXPECT_NE(refused(0755, false).find("and has mode 0600: "), std::string::npos);
  EXPECT_NE(refused(0755, true).find("a directory that you may write"), std::string::npos);
}

TEST(SocketPlace, RefusesWhatIsMostLikelyNoPath) {
  const std::vector<std::pair<std::string, std::string>> rows{
      {"5555", "(127.0.0.1:5555; for a path, write ./5555)"},
      {"@name", "abstract sockets are not supported"},
      {"@name:7000", "abstract sockets are not supported"},
      {"~/q", "(write $HOME/q)"}};
  for (const auto& [text, remedy] : rows) {
    const auto refused = parse_socket_place(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, Errc::bad_argument);
    EXPECT_NE(refused.error().message.find(remedy), std::string::npos) << refused.error().message;
  }
  for (const char* const path : {"./5555", "./@name", "./~/q", "a5", "q~/x"})
    EXPECT_FALSE(parse_socket_place(path).value().host) << path;
}

TEST(SocketPlace, IsAPathOfWhatTheSystemTakesOrAnAddressWithItsPort) {
  const std::string longest = "./" + std::string(105, 'q');
  EXPECT_FALSE(parse_socket_place(longest).value().host);
  for (const std::string& path : {longest + 'q', std::string()}) {
    const auto refused = parse_socket_place(path);
    ASSERT_FALSE(refused) << path;
    EXPECT_EQ(refused.error().code, Errc::bad_argument);
    EXPECT_EQ(refused.error().message,
              "a socket's path has 1 to 107 characters, and not " + std::to_string(path.size()));
  }
  for (const char* const path : {"./127.0.0.1:7000", "/q:7000", "./fd00::1", "127.0.1000", "1.2"})
    EXPECT_FALSE(parse_socket_place(path).value().host) << path;
  for (const char* const text : {"127.0.0.1:7000", "[::1]:7000"}) {
    const SocketPlace place = parse_socket_place(text).value();
    ASSERT_TRUE(place.host) << text;
    EXPECT_EQ(place.host->to_string(), text);
    EXPECT_EQ(place.address.to_string(), text);
  }
  for (const char* const text :
       {"127.0.0.1", "::1", "fd00::1", "127.0.0.1:", "127.0.0.1:65536", "q:x", "[::1]"}) {
    const auto refused = parse_socket_place(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, Errc::bad_argument) << text;
    EXPECT_NE(refused.error().message.find("an address needs a port from 0 to 65535"),
              std::string::npos)
        << text << ": " << refused.error().message;
  }
}

TEST(BoundSocket, IsLeftToWhoeverServesItAndGoesWithIt) {
  const TempDir directory;
  const std::string path = directory.file("q");
  const SocketPlace place = parse_socket_place(path).value();
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    {
      const auto bound = BoundSocket::bind(type, place);
      ASSERT_TRUE(bound) << bound.error().message;
      for (const int other : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
        const auto refused = BoundSocket::bind(other, place);
        ASSERT_FALSE(refused) << type << ' ' << other;
        EXPECT_EQ(refused.error().code, std::errc::address_in_use);
        EXPECT_EQ(refused.error().message,
                  "cannot make the socket " + path + ": another program serves it");
      }
      const UniqueFd client(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::connect(client.get(), place.address.get(), place.address.size), 0) << type;
    }
    EXPECT_FALSE(std::filesystem::exists(path)) << type;
  }
}

TEST(BoundSocket, RemovesNoSocketThatItCannotAskWhetherAProgramServesIt) {
  const TempDir directory;
  const SocketPlace place = parse_socket_place(directory.file("q")).value();
  {
    const UniqueFd old(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(old.get(), place.address.get(), place.address.size), 0);
  }
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{.rlim_cur = 64, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  std::string refused = "it is made";
  {
    std::vector<UniqueFd> taken;
    do {
      taken.emplace_back(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0));
    } while (taken.back());
    taken.resize(taken.size() - 3);  // free: for its socket and for its directory
    const auto bound = BoundSocket::bind(SOCK_STREAM, place);
    if (!bound) refused = bound.error().message;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(refused, "cannot make the socket " + place.text + ": another program serves it");
  EXPECT_TRUE(std::filesystem::is_socket(place.text));
  EXPECT_TRUE(BoundSocket::bind(SOCK_STREAM, place)) << "now it can ask";
}

TEST(ConnectStream, StopsWaitingForAProgramThatDoesNotAnswer) {
  const UniqueFd full =
      bound_socket(SOCK_STREAM, parse_socket_address("127.0.78.2:0").value()).value();
  ASSERT_EQ(::listen(full.get(), 0), 0);
  const SocketPlace place = parse_socket_place(address_of(full.get()).value().to_string()).value();
  // Those who have connected fill the queue; from then on nobody is answered.
  std::vector<UniqueFd> queue;
  constexpr unsigned kMore = 8;
  queue.reserve(kMore);
  for (unsigned i = 0; i < kMore; ++i) {
    queue.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)::connect(queue.back().get(), place.address.get(), place.address.size);
  }
  const UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const auto late = connect_stream(place, stop.get(), std::chrono::milliseconds(50));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, std::errc::timed_out) << late.error().message;
  std::optional<Result<UniqueFd>> connected;
  std::jthread caller([&] { connected.emplace(connect_stream(place, stop.get())); });
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(stop.get(), &one, sizeof one), 8);
  caller.join();
  ASSERT_TRUE(connected->has_value()) << connected->error().message;
  EXPECT_FALSE(**connected) << "it is not connected";
}

}  // namespace
}  // namespace shmif
