// What descriptors of others are, and which of its own a child process closes.

#include "base/descriptors.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using base::DescriptorKind;

TEST(DescriptorKinds, EachDescriptorIsOfItsOwnKindAndOfNoOther) {
  const TempDir on_disk("/var/tmp");
  std::array<int, 2> pipe{-1, -1};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const UniqueFd writer(pipe[1]);
  struct Case {
    const char* name;
    UniqueFd descriptor;
    DescriptorKind kind;
  };
  const auto socket_of = [](int domain, int type) {
    return UniqueFd(::socket(domain, type | SOCK_CLOEXEC, 0));
  };
  const auto file_of = [](const std::string& path, int flags) {
    return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  };
  std::vector<Case> cases;
  const auto add = [&](const char* name, UniqueFd descriptor, DescriptorKind kind) {
    cases.push_back({name, std::move(descriptor), kind});
  };
  add("a memfd", UniqueFd(::memfd_create("m", MFD_CLOEXEC)), DescriptorKind::memory);
  add("an eventfd", UniqueFd(::eventfd(0, EFD_CLOEXEC)), DescriptorKind::eventfd);
  add("a pipe", UniqueFd(pipe[0]), DescriptorKind::pipe);
  add("a Unix stream", socket_of(AF_UNIX, SOCK_STREAM), DescriptorKind::unix_socket);
  add("Unix datagrams", socket_of(AF_UNIX, SOCK_DGRAM), DescriptorKind::unix_socket);
  add("a pagemap", file_of("/proc/self/pagemap", O_RDONLY), DescriptorKind::pagemap);
  add("netlink", socket_of(AF_NETLINK, SOCK_RAW), DescriptorKind::network);
  add("packets", socket_of(AF_PACKET, SOCK_RAW), DescriptorKind::network);
  add("a TAP device", file_of("/dev/net/tun", O_RDWR), DescriptorKind::network);
  add("UDP", socket_of(AF_INET, SOCK_DGRAM), DescriptorKind::other);
  add("TCP", socket_of(AF_INET6, SOCK_STREAM), DescriptorKind::other);
  add("another device", file_of("/dev/null", O_RDWR), DescriptorKind::other);
  add("another file of /proc", file_of("/proc/self/maps", O_RDONLY), DescriptorKind::other);
  UniqueFd named = file_of(on_disk.file("pagemap"), O_RDWR | O_CREAT);
  if (::fcntl(named.get(), F_GET_SEALS) < 0)  // otherwise it is a file in memory
    add("another file with the name of a pagemap", std::move(named), DescriptorKind::other);
  constexpr std::array kKinds{DescriptorKind::memory,  DescriptorKind::eventfd,
                              DescriptorKind::pipe,    DescriptorKind::unix_socket,
                              DescriptorKind::pagemap, DescriptorKind::network};
  unsigned all = 0;
  for (const DescriptorKind kind : kKinds) all = all | kind;
  for (const Case& each : cases) {
    if (!each.descriptor) continue;  // this machine has no such device, or this user no right to it
    const int fd = each.descriptor.get();
    const bool is_slow =
        each.kind == DescriptorKind::pagemap || each.kind == DescriptorKind::network;
    EXPECT_EQ(base::kind_of_descriptor(fd), is_slow ? DescriptorKind::other : each.kind)
        << each.name;
    EXPECT_EQ(base::is_of_kinds(fd, all), each.kind != DescriptorKind::other) << each.name;
    for (const DescriptorKind kind : kKinds) {
      EXPECT_EQ(base::is_of_kinds(fd, static_cast<unsigned>(kind)), kind == each.kind)
          << each.name << " as " << static_cast<int>(kind);
    }
  }
}

/// Which of the descriptors 20 to 29 are left by close_all_but() in a child that has all of them.
std::vector<int> left_by(std::initializer_list<int> kept, int first) {
  constexpr int kBegin = 20;
  constexpr int kEnd = 30;
  const Shared<std::array<std::atomic<bool>, kEnd>> is_open;
  Child child([&] {
    for (int fd = 3; fd < kEnd; ++fd) {
      if (::dup2(STDERR_FILENO, fd) != fd) return 1;
    }
    base::close_all_but(kept, first);
    for (int fd = 3; fd < kEnd; ++fd)
      (*is_open)[static_cast<std::size_t>(fd)] = ::fcntl(fd, F_GETFD) >= 0;
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  std::vector<int> left;
  for (int fd = kBegin; fd < kEnd; ++fd) {
    if ((*is_open)[static_cast<std::size_t>(fd)]) left.push_back(fd);
  }
  return left;
}

TEST(CloseAllBut, LeavesWhatIsKeptAndWhatIsBeforeTheFirstWhateverTheirOrder) {
  using Numbers = std::vector<int>;
  EXPECT_EQ(left_by({}, 24), (Numbers{20, 21, 22, 23}));
  EXPECT_EQ(left_by({}, 0), Numbers());
  EXPECT_EQ(left_by({27, 22}, 0), (Numbers{22, 27}));
  EXPECT_EQ(left_by({27, -1, 22, -1}, 21), (Numbers{20, 22, 27}));
  EXPECT_EQ(left_by({21}, 21), (Numbers{20, 21}));
  EXPECT_EQ(left_by({22}, 21), (Numbers{20, 22})) << "one lies between";
  EXPECT_EQ(left_by({5, 29}, 28), (Numbers{20, 21, 22, 23, 24, 25, 26, 27, 29}));
  EXPECT_EQ(left_by({28, 23, 24, 24}, 3), (Numbers{23, 24, 28})) << "one of them twice";
  EXPECT_EQ(left_by({29, 28, 27, 26, 25, 24, 23, 22}, 3), (Numbers{22, 23, 24, 25, 26, 27, 28, 29}))
      << "as many as may be kept";
}

}  // namespace
}  // namespace shmif::test
