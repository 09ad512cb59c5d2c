#include "shmif/foreign/foreign.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <utility>

#include "base/descriptors.hpp"
#include "bus/atomics.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif {
namespace {

/// "16 TiB", "513 GiB", "4 KiB": rounded up.
std::string foreign_size_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{" bytes", " KiB", " MiB", " GiB", " TiB"};
  constexpr unsigned kStep = 10;
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes >> ((unit + 1) * kStep) >= 1) ++unit;
  const unsigned shift = static_cast<unsigned>(unit) * kStep;
  const std::uint64_t rest = bytes & ((std::uint64_t{1} << shift) - 1);
  return std::to_string((bytes >> shift) + (rest == 0 ? 0 : 1)) + kUnits[unit];
}

constexpr std::uint64_t kWakeupTag = 1;  // the socket has tag 0

}  // namespace

Result<void> check_foreign_bytes(std::uint64_t asked, std::uint64_t most) {
  if (asked <= most) return {};
  return Error(Errc::bad_argument, "its memory asks for " + foreign_size_text(asked) +
                                       ", and the limit for one peer is " +
                                       foreign_size_text(most));
}

ForeignRegion::ForeignRegion(std::byte* base, std::size_t mapped, std::uint64_t before,
                             std::uint64_t bytes)
    : base_(base),
      mapped_(mapped),
      before_(before),
      bytes_(bytes),
      guard_(std::make_unique<bus::GuardedRange>(base, mapped)) {}

ForeignRegion::ForeignRegion(ForeignRegion&& other) noexcept
    : base_(other.base_),
      mapped_(std::exchange(other.mapped_, 0)),
      before_(other.before_),
      bytes_(std::exchange(other.bytes_, 0)),
      guard_(std::move(other.guard_)) {}

ForeignRegion::~ForeignRegion() {
  if (mapped_ == 0) return;
  guard_.reset();  // first: another mapping may get these addresses at once
  ::munmap(base_, mapped_);
}

Result<ForeignRegion> ForeignRegion::map(int file, std::uint64_t offset, std::uint64_t bytes,
                                         const std::string& name) {
  const auto refused = [&](const char* why) { return Error(Errc::bad_argument, name + ' ' + why); };
  constexpr const char* kNoRoom = "does not fit the address space";
  if (bytes == 0) return refused("is empty");
  if (bytes > std::numeric_limits<std::uint64_t>::max() - offset) return refused(kNoRoom);
  // This check comes first: in a file system that the program runs itself (FUSE), fstat and mmap
  // may wait without end. Only files in memory have seals.
  if (::fcntl(file, F_GET_SEALS) < 0)
    return refused("is in no file in memory (memfd, tmpfs or hugetlbfs)");
  struct stat status{};
  if (::fstat(file, &status) != 0) return Error::from_errno(errno, "cannot look at " + name);
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
  if (!S_ISREG(status.st_mode) || offset + bytes > size)
    return refused("is not in a file of that size");
  // munmap takes only whole huge pages, whose size is the block size of such a file.
  const auto page = static_cast<std::uint64_t>(std::max<blksize_t>(status.st_blksize, 4096));
  const std::uint64_t before = offset % page;
  const std::uint64_t mapped = (before + bytes + page - 1) / page * page;
  if (mapped == 0 || mapped < bytes) return refused(kNoRoom);
  void* const base = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                            file, static_cast<off_t>(offset - before));
  if (base == MAP_FAILED) return Error::from_errno(errno, "cannot map " + name);
  (void)::madvise(base, mapped, MADV_DONTFORK);  // a child may outlive the program's connection
  ForeignRegion region(static_cast<std::byte*>(base), mapped, before, bytes);
  if (!region.guard_->is_watched()) return Error::from_errno(ENOMEM, "cannot watch " + name);
  return region;
}

std::span<std::byte> BufferCursor::piece(std::size_t bytes) noexcept {
  while (!buffers_.empty() && at_ == buffers_.front().bytes) {
    buffers_ = buffers_.subspan(1);
    at_ = 0;
  }
  if (buffers_.empty()) return {};
  const Buffer& buffer = buffers_.front();
  const std::span<std::byte> out{buffer.data + at_, std::min(bytes, buffer.bytes - at_)};
  at_ += out.size();
  return out;
}

std::size_t BufferCursor::write(std::span<const std::byte> from) noexcept {
  std::size_t done = 0;
  while (done < from.size()) {
    const std::span<std::byte> to = piece(from.size() - done);
    if (to.empty()) break;
    bus::copy_to_shared(to.data(), from.data() + done, to.size());
    done += to.size();
  }
  return done;
}

std::size_t BufferCursor::read(std::span<std::byte> into) noexcept {
  std::size_t done = 0;
  while (done < into.size()) {
    const std::span<std::byte> from = piece(into.size() - done);
    if (from.empty()) break;
    bus::copy_from_shared(into.data() + done, from.data(), from.size());
    done += from.size();
  }
  bus::fence_loads();  // no later use of the copy reads the shared bytes again
  return done;
}

bool send_whole(int socket, std::span<iovec> parts, std::span<const int> descriptors) noexcept {
  base::RightsRoom<base::kMaxDescriptors> room;
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (!base::put_rights(message, room, descriptors)) return false;
  std::size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  ssize_t n = 0;
  do {
    n = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(bytes);
}

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
