#include "base/foreign_socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/descriptors.hpp"
#include "base/fork_guard.hpp"

namespace shmif::base {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// The kernel passes at most this many descriptors with one message (SCM_MAX_FD).
constexpr std::size_t kMaxOfKernel = 253;
/// How long a child may take to end if no file system holds it up.
constexpr milliseconds kEndPatience{100};
constexpr std::size_t kNoPlace = ~std::size_t{0};

/// What a child reports about the descriptors of a message.
struct Verdict {
  bool is_wanted = false;
  bool is_short = false;  ///< the child had no free number for one of them
  std::uint16_t count = 0;
};

/// The children of this process, and the user whose descriptors each of them has.
class Children {
 public:
  /// Takes a place for a child that is to look at descriptors of `user`. If that user has
  /// kMaxWaitingChildren, or all places are taken, waits up to `patience`; but at most kEndPatience
  /// if leave() was called for that many of them. Result: kNoPlace if the wait ends without a free
  /// place.
  std::size_t take_place(uid_t user, milliseconds patience) {
    constexpr milliseconds kLookAgain{2};  // no signal tells when a child ends
    const auto begun = Clock::now();
    std::unique_lock lock(mutex_);
    for (;;) {  // until the patience ends
      reap();
      const std::size_t place = free_place();
      if (count(user, Of::all) < kMaxWaitingChildren && place != kNoPlace) {
        all_[place] = {.user = user, .is_taken = true};
        return place;
      }
      const bool is_full = count(user, Of::left) >= kMaxWaitingChildren;
      if (Clock::now() - begun >= (is_full ? std::min(patience, kEndPatience) : patience))
        return kNoPlace;
      changed_.wait_for(lock, kLookAgain);
    }
  }
  void started(std::size_t place, pid_t pid) {
    const std::lock_guard lock(mutex_);
    all_[place].pid = pid;
  }
  /// From now on the child alone has what it was given. It ends when it can.
  void leave(std::size_t place) {
    const std::lock_guard lock(mutex_);
    all_[place].is_left = true;
  }
  bool has_ended(std::size_t place) {
    const std::lock_guard lock(mutex_);
    reap();
    return !all_[place].is_taken;
  }
  /// Waits until a child has ended. Call it only if the child has only harmless descriptors.
  void end(std::size_t place) {
    pid_t pid = 0;
    {
      const std::lock_guard lock(mutex_);
      pid = all_[place].pid;
    }
    while (pid > 0 && ::waitpid(pid, nullptr, __WCLONE) < 0 && errno == EINTR) continue;
    const std::lock_guard lock(mutex_);
    all_[place] = {};
    changed_.notify_all();
  }
  /// Passes a socket to the child that keeps the sockets of a user who has too many children.
  /// Result: whether that child has it now.
  bool pass_to_keeper(uid_t user, int socket);

 private:
  struct Child {
    uid_t user = 0;
    pid_t pid = 0;  ///< 0: not started yet
    bool is_taken = false, is_left = false;
  };
  struct Keeper {
    uid_t user = 0;
    UniqueFd leash;
  };

  void reap() {
    for (Child& child : all_) {
      if (!child.is_left || ::waitpid(child.pid, nullptr, WNOHANG | __WCLONE) == 0) continue;
      child = {};
      changed_.notify_all();
    }
  }
  std::size_t free_place() const {
    const auto* const found = std::ranges::find(all_, false, &Child::is_taken);
    return found == all_.end() ? kNoPlace : static_cast<std::size_t>(found - all_.begin());
  }
  enum class Of : std::uint8_t { all, left };
  int count(uid_t user, Of which) const {
    return static_cast<int>(std::ranges::count_if(all_, [&](const Child& child) {
      return child.is_taken && child.user == user && (which == Of::all || child.is_left);
    }));
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<Child, 512> all_;
  std::array<Keeper, 32> keepers_;
};

Children children;

/// Starts a child with a copy of the memory and the descriptors. Its end sends no signal, and only
/// waitpid(2) with __WCLONE finds it, so a program does not take it for a child of its own.
/// `body` may call only what is safe in a signal handler.
template <class Body>
pid_t start_child(const Body& body) noexcept {
  const ForkHold hold;  // its signals stay blocked in the child
  const long child = ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) {
    body();
    ::_exit(0);
  }
  return static_cast<pid_t>(child);
}

/// Makes the two ends of a leash: a socket pair between a process and its child.
std::array<UniqueFd, 2> make_leash() noexcept {
  std::array<int, 2> ends{-1, -1};
  (void)::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data());
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// In a child: waits until the parent has let go.
void wait_for_release(int leash) noexcept {
  char byte = 0;
  while (::recv(leash, &byte, 1, 0) > 0) continue;
}

/// How many descriptors wait in a Unix socket; empty if the kernel does not say (before Linux
/// 5.11).
std::optional<unsigned> waiting_descriptors(int socket) noexcept {
  std::array<char, 48> path{"/proc/self/fdinfo/"};
  char* const number = path.data() + std::strlen(path.data());
  *std::to_chars(number, path.data() + path.size() - 1, socket).ptr = '\0';
  const UniqueFd file(::open(path.data(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1024> room{};
  const ssize_t length = file ? ::read(file.get(), room.data(), room.size()) : 0;
  const std::string_view text(room.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  constexpr std::string_view kField = "scm_fds:";
  const std::size_t at = text.find(kField);
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t begin = text.find_first_not_of(" \t", at + kField.size());
  unsigned count = 0;
  if (begin == std::string_view::npos ||
      std::from_chars(&room[begin], room.data() + text.size(), count).ec != std::errc{})
    return std::nullopt;
  return count;
}

/// Stops a Unix socket from receiving. Result: true if it is a connected stream and no descriptors
/// wait in it: then no more can come, and closing it closes no other file.
bool is_made_harmless(int socket) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
    return false;
  sockaddr_storage peer{};
  size = sizeof peer;
  // getpeername() also fails for a listening socket.
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) != 0 ||
      ::shutdown(socket, SHUT_RD) != 0)
    return false;
  return waiting_descriptors(socket) == 0U;
}

/// As recvmsg(), but signals do not end it, and it gets the last messages of a peer that has ended:
/// if the peer left messages of this side unread, the kernel reports that once, as ECONNRESET,
/// before it delivers what the peer had sent.
ssize_t receive_message(int socket, msghdr& header, int flags) noexcept {
  ssize_t n = 0;
  bool was_reset = false;
  do {
    n = ::recvmsg(socket, &header, flags);
  } while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !std::exchange(was_reset, true))));
  return n;
}

/// In a child: looks at the descriptors that come with the next message.
Verdict look_at_message(int socket, std::span<std::byte> into, unsigned kinds,
                        std::size_t most) noexcept {
  iovec part{into.data(), into.size()};
  RightsRoom<kMaxOfKernel> room;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  allow_rights(header, room);
  Verdict verdict;
  if (receive_message(socket, header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
    return verdict;
  verdict.is_short = (header.msg_flags & MSG_CTRUNC) != 0;
  verdict.is_wanted = true;
  for_each_right(header, [&](int) { ++verdict.count; });
  if (verdict.count > most) return verdict;
  for_each_right(header, [&](int fd) {
    verdict.is_wanted =
        verdict.is_wanted && is_of_kinds(fd, kinds) &&
        (kind_of_descriptor(fd) != DescriptorKind::unix_socket || is_made_harmless(fd));
  });
  return verdict;
}

/// Result: empty if the child has not reported in time, or has ended.
std::optional<Verdict> await_verdict(int leash, milliseconds patience) noexcept {
  const auto until = Clock::now() + patience;
  for (;;) {  // until `until`
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    pollfd told{.fd = leash, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&told, 1, static_cast<int>(std::max<long>(left, 0)));
    if (ready < 0 && errno == EINTR) continue;
    Verdict verdict;
    if (ready <= 0 || ::recv(leash, &verdict, sizeof verdict, MSG_DONTWAIT) != sizeof verdict)
      return std::nullopt;
    return verdict;
  }
}

bool Children::pass_to_keeper(uid_t user, int socket) {
  const std::lock_guard lock(mutex_);
  auto* keeper = std::ranges::find_if(
      keepers_, [&](const Keeper& each) { return !each.leash || each.user == user; });
  if (keeper == keepers_.end()) return false;
  RightsRoom<1> room;
  char byte = 0;
  iovec part{&byte, 1};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!keeper->leash) {
    auto ends = make_leash();
    const pid_t pid = !ends[0] ? -1 : start_child([&] {
      close_all_but({ends[1].get()}, 0);
      // It keeps every socket that comes, until this process has ended.
      do allow_rights(header, room);
      while (::recvmsg(ends[1].get(), &header, 0) > 0);
    });
    if (pid < 0) return false;
    keeper->user = user;
    keeper->leash = std::move(ends[0]);
  }
  put_rights(header, room, {&socket, 1});
  return ::sendmsg(keeper->leash.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

}  // namespace

ForeignSocket::ForeignSocket(UniqueFd connected) noexcept
    : socket_(std::move(connected)), process_(process_token()) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) user_ = peer.uid;
  // Make an urgent byte part of the stream. Otherwise the kernel discards it during a read, and
  // with it the descriptors beside it.
  const int on = 1;
  (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
}

ForeignSocket& ForeignSocket::operator=(ForeignSocket&& other) noexcept {
  if (this == &other) return *this;
  close();
  socket_ = std::move(other.socket_);
  process_ = other.process_;
  user_ = other.user_;
  leash_ = std::move(other.leash_);
  place_ = other.place_;
  why_ = std::move(other.why_);
  return *this;
}

ForeignSocket::Received ForeignSocket::refuse(std::string why) {
  why_ = std::move(why);
  return {.status = Status::refused};
}

ForeignSocket::Received ForeignSocket::receive(std::span<std::byte> into,
                                               const DescriptorWish& wish,
                                               std::vector<UniqueFd>& descriptors) {
  if (!socket_) return {.status = Status::closed};
  if (!why_.empty()) return {.status = Status::refused};
  iovec part{into.data(), into.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  const ssize_t n = receive_message(socket_.get(), header, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) return {.status = errno == EAGAIN ? Status::none : Status::closed};
  const bool has_descriptors = (header.msg_flags & MSG_CTRUNC) != 0;
  if (n == 0 && !has_descriptors) return {.status = Status::closed};
  // Take only these bytes: descriptors may lie beside the next one.
  const auto there = into.first(static_cast<std::size_t>(n));
  if (!has_descriptors) return take(there, {}, descriptors);
  if (wish.most == 0) return refuse("it sent descriptors where none may come");
  if (!look(into, wish)) return {.status = Status::refused};
  return take(there, wish, descriptors);
}

/// Receives the message that was looked at.
ForeignSocket::Received ForeignSocket::take(std::span<std::byte> into, const DescriptorWish& wish,
                                            std::vector<UniqueFd>& descriptors) {
  iovec part{into.data(), into.size()};
  RightsRoom<kMaxDescriptors> room;
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (wish.most > 0) allow_rights(header, room);
  const ssize_t n = receive_message(socket_.get(), header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return {.status = Status::closed};
  for_each_right(header, [&](int fd) { descriptors.emplace_back(fd); });
  if ((header.msg_flags & MSG_CTRUNC) != 0)
    return refuse("for its descriptors, this process had none left: see ulimit -n");
  return {.status = Status::data,
          .bytes = static_cast<std::size_t>(n),
          .was_cut = (header.msg_flags & MSG_TRUNC) != 0};
}

/// Has a child look at the descriptors that come next. Result: whether they may be taken.
bool ForeignSocket::look(std::span<std::byte> into, const DescriptorWish& wish) {
  constexpr const char* kShortage =
      "for its descriptors, this process had none left: see ulimit -n";
  place_ = children.take_place(user_, wish.patience);
  if (place_ == kNoPlace) {
    (void)refuse("its user (id " + std::to_string(user_) + ") has sent " +
                 std::to_string(kMaxWaitingChildren) +
                 " descriptors of file systems that do not answer (unmount these)");
    return false;
  }
  auto ends = make_leash();
  const int error = errno;
  const pid_t pid = !ends[0] ? -1 : start_child([&] {
    close_all_but({socket_.get(), ends[1].get()}, 0);
    const Verdict verdict = look_at_message(socket_.get(), into, wish.kinds, wish.most);
    (void)::send(ends[1].get(), &verdict, sizeof verdict, MSG_NOSIGNAL);
    wait_for_release(ends[1].get());
  });
  if (pid < 0) {
    const int reason = ends[0] ? errno : error;
    children.end(place_);
    (void)refuse(reason == EMFILE ? kShortage
                                  : std::string("no process could be started to look at its "
                                                "descriptors: ") +
                                        std::strerror(reason));
    return false;
  }
  children.started(place_, pid);
  ends[1].reset();
  const auto verdict = await_verdict(ends[0].get(), wish.patience);
  if (verdict && verdict->is_wanted && !verdict->is_short && verdict->count <= wish.most) {
    (void)::shutdown(ends[0].get(), SHUT_RDWR);
    children.end(place_);
    return true;
  }
  leash_ = std::move(ends[0]);
  if (!verdict) {
    (void)refuse("it sent a descriptor of a file system that does not answer");
  } else if (verdict->is_short) {
    (void)refuse(kShortage);
  } else if (verdict->count > wish.most) {
    (void)refuse("it sent " + std::to_string(verdict->count) +
                 " descriptors with one message, which brings " + std::to_string(wish.most) +
                 " at most");
  } else {
    (void)refuse(std::string("it sent a descriptor that is no ") + wish.name);
  }
  return false;
}

void ForeignSocket::close() noexcept {
  if (!socket_) return;
  if (!is_this_process(process_)) return socket_.reset();
  (void)::shutdown(socket_.get(), SHUT_RDWR);  // no more messages can come
  if (!leash_) {
    if (waiting_descriptors(socket_.get()) == 0U) return socket_.reset();
    place_ = children.take_place(user_, kEndPatience);
    auto ends = make_leash();
    if (place_ == kNoPlace || !ends[0]) {
      if (place_ != kNoPlace) children.end(place_);
      // If the keeper cannot take it, no process may close it, so it stays open.
      if (!children.pass_to_keeper(user_, socket_.get())) (void)socket_.release();
      return socket_.reset();
    }
    const pid_t pid = start_child([&] {
      close_all_but({socket_.get(), ends[1].get()}, 0);
      wait_for_release(ends[1].get());
    });
    if (pid < 0) {
      children.end(place_);
      (void)socket_.release();
      return;
    }
    children.started(place_, pid);
    leash_ = std::move(ends[0]);
  }
  // The child has the socket, too, and closes it last.
  socket_.reset();
  (void)::shutdown(leash_.get(), SHUT_RDWR);
  leash_.reset();
  children.leave(place_);
  const auto until = Clock::now() + kEndPatience;
  while (!children.has_ended(place_) && Clock::now() < until) ::usleep(1000);
}

}  // namespace shmif::base
