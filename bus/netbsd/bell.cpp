#include "bus/netbsd/bell.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "bus/file/file.hpp"
#include "bus/file/file_id.hpp"
#include "bus/netbsd/layout.hpp"

namespace shmif::bus {
namespace {

/// Result: 0, or errno.
int watch_file(const UniqueFd& watch, int fd, const std::string& path) noexcept {
  if (inotify_add_watch(watch.get(), proc_path(fd).c_str(), IN_MODIFY) >= 0) return 0;
  if (FileId::of(fd) == FileId::of(UniqueFd(::open(path.c_str(), O_PATH | O_CLOEXEC)).get()) &&
      inotify_add_watch(watch.get(), path.c_str(), IN_MODIFY) >= 0) {
    return 0;
  }
  return errno;
}

timespec time_of(std::chrono::nanoseconds time) noexcept {
  return {static_cast<time_t>(time.count() / 1'000'000'000),
          static_cast<long>(time.count() % 1'000'000'000)};
}

}  // namespace

Result<NetbsdBell> NetbsdBell::open(int fd, const std::string& path) {
  NetbsdBell bell;
  bell.fd_ = fd;
  bell.file_ = FileId::of(fd);
  bell.own_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  bell.timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  bell.all_.reset(epoll_create1(EPOLL_CLOEXEC));
  bool made = bell.own_ && bell.timer_ && bell.all_;
  const auto add = [&](const UniqueFd& each) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = each.get();
    return epoll_ctl(bell.all_.get(), EPOLL_CTL_ADD, each.get(), &event) == 0;
  };
  made = made && add(bell.own_) && add(bell.timer_);
  if (!made)
    return Error::from_errno(errno, "cannot make the descriptors of a port on the bus " + path);
  bell.watch_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  const int failure = bell.watch_ ? watch_file(bell.watch_, fd, path) : errno;
  if (failure != 0 || !add(bell.watch_)) {
    bell.error_ = std::error_code(failure != 0 ? failure : errno, std::generic_category());
    bell.watch_.reset();
  }
  return bell;
}

void NetbsdBell::ring(std::uint32_t version) const noexcept {
  set_off_watches(fd_, file_, offsetof(NetbsdHeader, version), version);
}

void NetbsdBell::wake() const noexcept {
  const std::uint64_t one = 1;
  const int saved = errno;
  static_cast<void>(write(own_.get(), &one, sizeof one) > 0);
  errno = saved;
}

void NetbsdBell::wake_later(std::chrono::nanoseconds after) const noexcept {
  const itimerspec once{{}, time_of(after)};
  static_cast<void>(timerfd_settime(timer_.get(), 0, &once, nullptr));  // only for bad arguments
}

void NetbsdBell::drain() const noexcept {
  // In the usual case there is nothing to read, and this one call says so.
  std::array<epoll_event, 3> ready;
  const int count = epoll_wait(all_.get(), ready.data(), static_cast<int>(ready.size()), 0);
  for (int i = 0; i < count; ++i) {
    // Equal events of a file in a row are one, so one read gets all of them, or nearly.
    alignas(inotify_event) std::array<char, 1024> bytes;
    const int from = ready[static_cast<std::size_t>(i)].data.fd;
    while (read(from, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())) {
    }
  }
}

void NetbsdBell::sleep(std::chrono::nanoseconds timeout) const noexcept {
  constexpr std::chrono::nanoseconds kBlind = std::chrono::milliseconds(2);
  const timespec limit = time_of(watch_ ? timeout : std::min(timeout, kBlind));
  pollfd entry{all_.get(), POLLIN, 0};
  ppoll(&entry, 1, &limit, nullptr);
}

}  // namespace shmif::bus
