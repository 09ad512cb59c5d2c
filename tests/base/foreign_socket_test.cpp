// Messages of a program that is not trusted, and the descriptors beside them.

#include "base/foreign_socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/descriptors.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/rights.hpp"
#include "tests/support/temp_dir.hpp"

namespace {

std::function<void()> after_next_receive;  // what the other side does then

}  // namespace

// That of the library, too.
extern "C" ssize_t recvmsg(int socket, msghdr* message, int flags) {
  const ssize_t n = ::syscall(SYS_recvmsg, socket, message, flags);
  const int number = errno;
  if (const auto next = std::exchange(after_next_receive, nullptr)) next();
  errno = number;
  return n;
}

namespace shmif::test {
namespace {

using base::DescriptorKind;
using base::DescriptorWish;
using base::ForeignSocket;
using Status = ForeignSocket::Status;

constexpr DescriptorWish kWish{.kinds = DescriptorKind::memory | DescriptorKind::eventfd |
                                        DescriptorKind::unix_socket | DescriptorKind::pagemap,
                               .most = 2,
                               .name = "wish",
                               .patience = std::chrono::milliseconds(10'000)};

std::array<UniqueFd, 2> socket_pair(int type = SOCK_STREAM) {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// Sends bytes with descriptors. Result: whether all of it went.
bool tell(int socket, const std::string& text, const std::vector<int>& descriptors, int flags = 0) {
  return send_with_rights(socket, std::as_bytes(std::span(text)), descriptors, flags);
}

/// What one receive() brought.
struct Got {
  ForeignSocket::Received received;
  std::string text;
  std::vector<UniqueFd> descriptors;
};
Got next(ForeignSocket& socket, const DescriptorWish& wish = kWish) {
  Got got;
  got.text.resize(16);
  got.received = socket.receive(std::as_writable_bytes(std::span(got.text)), wish, got.descriptors);
  got.text.resize(got.received.bytes);
  return got;
}

UniqueFd memory_file() {
  return UniqueFd(::memfd_create("memory", MFD_CLOEXEC));
}
std::ptrdiff_t held() {
  return holdings({}).descriptors;
}

TEST(ForeignSocket, TakesTheDescriptorsThatAreWishedFor) {
  const UniqueFd memory = memory_file();
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const auto quiet = socket_pair();
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    auto pair = socket_pair(type);
    const auto before = held();
    {
      ForeignSocket socket(std::move(pair[1]));
      EXPECT_EQ(next(socket).received.status, Status::none);
      ASSERT_TRUE(tell(pair[0].get(), "one", {memory.get(), event.get()}));
      ASSERT_TRUE(tell(pair[0].get(), "two", {pagemap.get(), quiet[0].get()}));
      ASSERT_TRUE(tell(pair[0].get(), "three", {}));
      for (const char* const text : {"one", "two"}) {
        const Got got = next(socket);
        ASSERT_EQ(got.received.status, Status::data) << socket.why();
        EXPECT_EQ(got.text, text);
        ASSERT_EQ(got.descriptors.size(), 2U);
        EXPECT_EQ(::fcntl(got.descriptors[1].get(), F_GETFD), FD_CLOEXEC);
      }
      const Got last = next(socket);
      EXPECT_EQ(last.text, "three");
      EXPECT_TRUE(last.descriptors.empty());
      pair[0].reset();
      EXPECT_EQ(next(socket).received.status, Status::closed);
    }
    EXPECT_EQ(held(), before - 2) << "both ends of the pair are closed, and nothing else is open";
  }
}

/// What it says to a message with these descriptors. Nothing of it stays open here, and the other
/// side sees the end.
std::string refusal_of(const std::vector<int>& descriptors, const DescriptorWish& wish = kWish,
                       int type = SOCK_STREAM, const std::string& text = "x", int flags = 0) {
  auto pair = socket_pair(type);
  const auto before = held();
  std::string why;
  {
    ForeignSocket socket(std::move(pair[1]));
    EXPECT_TRUE(tell(pair[0].get(), text, descriptors, flags));
    const Got got = next(socket, wish);
    EXPECT_EQ(got.received.status, Status::refused);
    EXPECT_TRUE(got.descriptors.empty());
    EXPECT_EQ(next(socket).received.status, Status::refused) << "of no use any more";
    why = socket.why();
  }
  EXPECT_EQ(held(), before - 1);
  char byte = 0;
  EXPECT_LE(::recv(pair[0].get(), &byte, 1, MSG_DONTWAIT), 0);
  EXPECT_FALSE(tell(pair[0].get(), "x", {})) << "nobody listens";
  return why;
}

constexpr const char* kNoWish = "it sent a descriptor that is no wish";

TEST(ForeignSocket, TakesNoOthersAndSaysWhy) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const int good = event.get();
  for (const char* const file : {"/dev/null", "/proc/self/maps", "/proc/self/exe"}) {
    const UniqueFd bad(::open(file, O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(refusal_of({bad.get()}), kNoWish) << file;
    EXPECT_EQ(refusal_of({good, bad.get()}, kWish, SOCK_SEQPACKET), kNoWish) << file;
  }
  EXPECT_EQ(refusal_of({good}, {.kinds = static_cast<unsigned>(DescriptorKind::memory),
                                .most = 1,
                                .name = "wish"}),
            kNoWish);
  EXPECT_EQ(refusal_of({good, good, good}),
            "it sent 3 descriptors with one message, which brings 2 at most");
  EXPECT_EQ(refusal_of({good}, {}), "it sent descriptors where none may come");
}

// What waits in a socket is closed with it, and may be anything.
TEST(ForeignSocket, TakesNoSocketInWhichSomethingCanWait) {
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const auto full = socket_pair();
  ASSERT_TRUE(tell(full[1].get(), "x", {file.get()}));
  EXPECT_EQ(refusal_of({full[0].get()}), kNoWish);
  EXPECT_EQ(refusal_of({socket_pair(SOCK_DGRAM)[0].get()}), kNoWish);
  EXPECT_EQ(refusal_of({socket_pair(SOCK_SEQPACKET)[0].get()}), kNoWish);
  const UniqueFd loose(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(refusal_of({loose.get()}), kNoWish);
  ASSERT_EQ(::listen(loose.get(), 1), -1) << "it has no name";
  auto pair = socket_pair();
  const auto taken = socket_pair();
  ForeignSocket socket(std::move(pair[1]));
  ASSERT_TRUE(tell(pair[0].get(), "x", {taken[0].get()}));
  ASSERT_EQ(next(socket).descriptors.size(), 1U);
  EXPECT_FALSE(tell(taken[1].get(), "x", {file.get()})) << "nothing can arrive there any more";
}

TEST(ForeignSocket, SeesDescriptorsBesideAnUrgentByteAndBesideNothing) {
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(refusal_of({file.get()}, kWish, SOCK_SEQPACKET, ""), kNoWish);
  EXPECT_EQ(refusal_of({file.get()}, kWish, SOCK_STREAM, "x", MSG_OOB), kNoWish);
  EXPECT_EQ(refusal_of({file.get()}, kWish, SOCK_STREAM, "four", MSG_OOB), kNoWish);
}

TEST(ForeignSocket, LeavesWhatWasNotReceivedToAChild) {
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    auto pair = socket_pair(type);
    ASSERT_TRUE(tell(pair[0].get(), "x", {}));
    ASSERT_TRUE(tell(pair[0].get(), "x", {file.get()}));
    const auto before = held();
    {
      const ForeignSocket socket(std::move(pair[1]));
    }
    EXPECT_EQ(held(), before - 1);
  }
}

// One that is assigned is as good as one that was made so, and what was there before has ended.
TEST(ForeignSocket, MayTakeThePlaceOfAnotherAnyNumberOfTimes) {
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const auto before = held();
  {
    ForeignSocket socket;
    for (int i = 0; i < 2 * base::kMaxWaitingChildren; ++i) {
      auto pair = socket_pair();
      socket = ForeignSocket(std::move(pair[1]));
      EXPECT_TRUE(socket.why().empty()) << "that of the one before";
      ASSERT_TRUE(tell(pair[0].get(), "good", {event.get()}));
      ASSERT_EQ(next(socket).received.status, Status::data) << i << ": " << socket.why();
      ASSERT_TRUE(tell(pair[0].get(), "bad", {file.get()}));
      ASSERT_EQ(next(socket).received.status, Status::refused);
      EXPECT_EQ(socket.why(), kNoWish) << i;
    }
  }
  EXPECT_EQ(held(), before);
}

TEST(ForeignSocket, IsEndedByItsLastUserWhoeverElseHasADescriptorOfIt) {
  for (const bool is_assigned : {false, true}) {
    auto pair = socket_pair();
    const UniqueFd copy(::fcntl(pair[1].get(), F_DUPFD_CLOEXEC, 3));
    ForeignSocket made(std::move(pair[1]));
    ForeignSocket assigned;
    if (is_assigned) assigned = std::move(made);
    (is_assigned ? assigned : made).close();
    char byte = 0;
    EXPECT_EQ(::recv(pair[0].get(), &byte, 1, MSG_DONTWAIT), 0) << is_assigned;
  }
}

TEST(ForeignSocket, SaysThatAMessageHadMoreBytes) {
  auto pair = socket_pair(SOCK_SEQPACKET);
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  ForeignSocket socket(std::move(pair[1]));
  for (const std::vector<int>& descriptors : {std::vector<int>(), std::vector<int>{event.get()}}) {
    for (const std::size_t size : {std::size_t{16}, std::size_t{17}}) {
      ASSERT_TRUE(tell(pair[0].get(), std::string(size, 'x'), descriptors));
      const Got got = next(socket);
      ASSERT_EQ(got.received.status, Status::data);
      EXPECT_EQ(got.text, std::string(16, 'x'));
      EXPECT_EQ(got.received.was_cut, size == 17) << descriptors.size();
      EXPECT_EQ(got.descriptors.size(), descriptors.size());
    }
  }
}

// The kernel tells of unread messages of this side before it delivers those of the other one.
TEST(ForeignSocket, DeliversWhatWasSentBeforeTheOtherSideEndedWithoutReading) {
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    auto pair = socket_pair(type);
    ForeignSocket socket(std::move(pair[1]));
    ASSERT_EQ(::send(socket.get(), "unread", 6, 0), 6);
    ASSERT_TRUE(tell(pair[0].get(), "last words", {}));
    pair[0].reset();
    EXPECT_EQ(next(socket).text, "last words") << type;
    EXPECT_EQ(next(socket).received.status, Status::closed);
    EXPECT_EQ(next(socket).received.status, Status::closed);
  }
}

// Each message is looked at before it is taken, and that with descriptors by a child, too.
TEST(ForeignSocket, DeliversAMessageWhoseSenderEndsWithoutReadingWhileItIsReceived) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    for (const std::vector<int>& descriptors : {std::vector<int>{}, {event.get()}}) {
      auto pair = socket_pair(type);
      ForeignSocket socket(std::move(pair[1]));
      ASSERT_EQ(::send(socket.get(), "unread", 6, 0), 6);
      ASSERT_TRUE(tell(pair[0].get(), "last words", descriptors));
      after_next_receive = [&] { pair[0].reset(); };
      const Got got = next(socket);
      EXPECT_FALSE(pair[0]) << "it ended meanwhile";
      EXPECT_EQ(got.text, "last words") << type << " " << socket.why();
      EXPECT_EQ(got.descriptors.size(), descriptors.size());
      EXPECT_EQ(next(socket).received.status, Status::closed);
    }
  }
}

// The child of a fork has the object, too, and may run its destructor.
TEST(ForeignSocket, IsNotEndedByTheChildOfAFork) {
  auto pair = socket_pair();
  ForeignSocket socket(std::move(pair[1]));
  Child child([&] {
    const ForeignSocket ends = std::move(socket);
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
  ASSERT_TRUE(tell(pair[0].get(), "still there", {}));
  EXPECT_EQ(next(socket).text, "still there");
}

/// A program that sends the file of a file system that does not answer.
int send_silent_files(const std::string& directory, int stop, const std::vector<int>& sockets) {
  const int file = open_silent_file(directory, stop, "pagemap");
  for (const int socket : sockets) {
    if (!tell(socket, "x", file < 0 ? std::vector<int>() : std::vector<int>{file})) return 1;
  }
  return file < 0 ? 77 : 0;  // if it has the file, it ends with the file system
}

/// Whether the descriptors of another user are looked at, whatever that of this one waits for.
bool serves_another_user() {
  constexpr uid_t kOther = 12'345;
  // A socket pair is that of the effective user. Only root can be another one.
  if (::seteuid(kOther) != 0) return true;
  auto pair = socket_pair();
  if (::seteuid(::getuid()) != 0) return false;
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  ForeignSocket socket;
  socket = ForeignSocket(std::move(pair[1]));
  DescriptorWish wish = kWish;
  wish.patience = kGenerousTime;
  return tell(pair[0].get(), "x", {event.get()}) &&
         next(socket, wish).received.status == Status::data;
}

/// The process that takes part in the test as the receiver. Result: 0, or what went wrong.
int receive_silent_files(std::vector<std::array<UniqueFd, 2>>& pairs, const UniqueFd& stop) {
  ::alarm(60);
  DescriptorWish wish = kWish;
  wish.patience = std::chrono::milliseconds(100);
  const auto first = [&](std::size_t i) {
    ForeignSocket socket(std::move(pairs[i][1]));
    pollfd readable{.fd = socket.get(), .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, static_cast<int>(kGenerousTime.count())) != 1) return std::string();
    (void)next(socket, wish);
    return socket.why();
  };
  for (std::size_t i = 0; i < base::kMaxWaitingChildren; ++i) {
    if (first(i) != "it sent a descriptor of a file system that does not answer")
      return static_cast<int>(i) + 10;
  }
  const std::string why = first(base::kMaxWaitingChildren);
  if (!why.ends_with("has sent 8 descriptors of file systems that do not answer (unmount these)"))
    return 2;
  if (!serves_another_user()) return 5;
  // It ends, and so the children do, too.
  if (::shutdown(stop.get(), SHUT_RDWR) != 0) return 3;
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  return eventually([&] {
    auto pair = socket_pair();
    ForeignSocket socket(std::move(pair[1]));
    return tell(pair[0].get(), "x", {event.get()}) && next(socket).received.status == Status::data;
  })
             ? 0
             : 4;
}

TEST(ForeignSocket, WaitsForNoFileSystemAndForgetsThoseThatHaveGone) {
  const TempDir directory;
  auto ends = socket_pair();  // the file system ends with the receiver
  std::vector<std::array<UniqueFd, 2>> pairs;
  for (int i = 0; i <= base::kMaxWaitingChildren; ++i) pairs.push_back(socket_pair());
  Child sender([&] {
    ends[0].reset();
    std::vector<int> sockets;
    for (const auto& pair : pairs) sockets.push_back(pair[0].get());
    return send_silent_files(directory.path(), ends[1].get(), sockets);
  });
  Child receiver([&] {
    ends[1].reset();
    return receive_silent_files(pairs, ends[0]);
  });
  ends[1].reset();
  const int code = receiver.wait();
  ends[0].reset();
  if (sender.wait() == 77) GTEST_SKIP() << "cannot mount a file system of FUSE";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace shmif::test
