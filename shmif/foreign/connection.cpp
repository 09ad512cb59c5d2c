#include "shmif/foreign/connection.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "shmif/debug/debug.hpp"

namespace shmif {
namespace {

constexpr std::uint64_t kWakeupTag = 1;  // the socket has tag 0

}  // namespace

bool watch_wakeups(int epoll, int descriptor) noexcept {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kWakeupTag;
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

ForeignConnection::ForeignConnection(base::ForeignSocket socket, UniqueFd epoll,
                                     std::string address, const char* program)
    : socket_(std::move(socket)),
      epoll_(std::move(epoll)),
      address_(std::move(address)),
      program_(program) {}

Result<ForeignConnection> ForeignConnection::adopt(UniqueFd connected, std::string address,
                                                   const char* program) {
  base::ForeignSocket socket(std::move(connected));
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  if (!epoll || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0)
    return Error::from_errno(errno, "cannot wait for " + address);
  return ForeignConnection(std::move(socket), std::move(epoll), std::move(address), program);
}

bool ForeignConnection::has_messages() noexcept {
  std::array<epoll_event, 2> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 0);
  return std::any_of(events.begin(), events.begin() + std::max(count, 0),
                     [](const epoll_event& e) { return e.data.u64 != kWakeupTag; });
}

void ForeignConnection::end() noexcept {
  ended_ = true;
}

void ForeignConnection::end_corrupt(std::string why) noexcept {
  ended_ = corrupt_ = true;
  why_ = std::move(why);
  debug(Debug::link, [this] { return address_ + ": the " + program_ + " is cut off: " + why_; });
}

bool ForeignConnection::take_corrupt() noexcept {
  return std::exchange(corrupt_, false);
}

void ForeignConnection::tell(const std::string& what) const noexcept {
  debug(Debug::link, [&] { return address_ + ": the " + program_ + ' ' + what; });
}

}  // namespace shmif
