#include "shmif/datagram_link.hpp"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include "shmif/debug/debug.hpp"
#include "shmif/frame_check.hpp"

namespace shmif {
namespace {

constexpr std::size_t kSlots = 64;       // datagrams per system call
constexpr std::size_t kAlignBytes = 16;  // alignment of frames in a batch
constexpr unsigned kMaxFetches = 16;     // in one call, even if all datagrams are invalid
constexpr unsigned kMaxRefusals = 2;     // in a row, by a peer that may start later

bool is_full(int number) noexcept {
  return number == EAGAIN || number == ENOBUFS || number == ENOMEM;
}

/// Whether the kernel shows such a socket the end of its peer: as empty datagrams, endlessly.
bool tells_end(int socket) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

bool peer_has_closed(int socket) noexcept {
  pollfd asked{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return ::poll(&asked, 1, 0) == 1 && (asked.revents & (POLLRDHUP | POLLHUP)) != 0;
}

}  // namespace

std::optional<std::uint32_t> drops_of(int socket) noexcept {
  std::array<std::uint32_t, SK_MEMINFO_VARS> info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, SOL_SOCKET, SO_MEMINFO, info.data(), &size) != 0 ||
      size < (SK_MEMINFO_DROPS + 1) * sizeof info[0]) {
    return std::nullopt;
  }
  return info[SK_MEMINFO_DROPS];
}

void enlarge_buffers(int socket, int bytes) noexcept {
  for (const auto& [forced, plain] :
       {std::pair{SO_RCVBUFFORCE, SO_RCVBUF}, std::pair{SO_SNDBUFFORCE, SO_SNDBUF}}) {
    if (::setsockopt(socket, SOL_SOCKET, forced, &bytes, sizeof bytes) != 0) {
      (void)::setsockopt(socket, SOL_SOCKET, plain, &bytes, sizeof bytes);
    }
  }
}

struct DatagramLink::Impl {
  UniqueFd socket;
  UniqueFd asker;  ///< for room_descriptor(): the same socket, or one connected to the remote one
  DatagramOptions options;
  std::size_t stride;  ///< room that a frame needs in a batch
  std::uint32_t drops_before;
  bool told_end;  ///< whether the end of the peer looks like empty datagrams
  bool ended = false;
  bool told_absence = false;  ///< whether a debug line said that the peer is absent
  std::atomic<std::uint64_t> undelivered{0}, too_long{0}, too_short{0};
  std::error_code in_error;  ///< receive() must report this error of the socket
  std::array<iovec, kSlots> in_parts{}, out_parts{};
  std::array<mmsghdr, kSlots> in{}, out{};

  Impl(UniqueFd s, DatagramOptions o)
      : socket(std::move(s)),
        options(std::move(o)),
        stride((options.max_frame_bytes + kAlignBytes - 1) & ~(kAlignBytes - 1)),
        drops_before(drops_of(socket.get()).value_or(0)),
        told_end(tells_end(socket.get())) {
    for (std::size_t i = 0; i < kSlots; ++i) {
      in[i].msg_hdr.msg_iov = &in_parts[i];
      in[i].msg_hdr.msg_iovlen = 1;
      out[i].msg_hdr.msg_iov = &out_parts[i];
      out[i].msg_hdr.msg_iovlen = 1;
      if (!options.remote) continue;
      out[i].msg_hdr.msg_name = &options.remote->storage;
      out[i].msg_hdr.msg_namelen = options.remote->size;
    }
  }

  std::size_t prepare(std::span<const FrameView> frames, std::error_code& refused) noexcept;
  std::size_t fetch(std::span<std::byte> room, std::size_t max, bool small) noexcept;
  bool is_end(std::size_t got) const noexcept;
  void end(const char* while_doing, int number) noexcept;
  void tell_absence(int number) noexcept;
};

DatagramLink::DatagramLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DatagramLink::DatagramLink(DatagramLink&&) noexcept = default;
DatagramLink& DatagramLink::operator=(DatagramLink&&) noexcept = default;
DatagramLink::~DatagramLink() = default;

DatagramLink DatagramLink::adopt(UniqueFd socket, DatagramOptions options) {
  debug(Debug::link, [&] {
    return options.address + ": opened; frames of up to " +
           std::to_string(options.max_frame_bytes) + " bytes";
  });
  return DatagramLink(std::make_unique<Impl>(std::move(socket), std::move(options)));
}

/// `number`: an errno; 0 if the peer has closed.
void DatagramLink::Impl::end(const char* while_doing, int number) noexcept {
  if (std::exchange(ended, true)) return;
  debug(Debug::link, [&] {
    return options.address + ": ended: " + while_doing +
           (number == 0 ? "" : ": " + std::generic_category().message(number));
  });
}

/// Writes one debug line. Later refusals are only counted.
void DatagramLink::Impl::tell_absence(int number) noexcept {
  if (std::exchange(told_absence, true)) return;
  debug(Debug::link, [&] {
    return options.address +
           ": nobody receives there yet: " + std::generic_category().message(number);
  });
}

/// Prepares messages for the valid frames at the front. Result: how many; `refused` says why the
/// next frame is not valid.
std::size_t DatagramLink::Impl::prepare(std::span<const FrameView> frames,
                                        std::error_code& refused) noexcept {
  frames = frames.first(std::min(frames.size(), kSlots));
  const std::size_t ready = count_good(frames, options.max_frame_bytes, refused);
  for (std::size_t i = 0; i < ready; ++i) {
    // sendmmsg only reads, but iovec has no const.
    out_parts[i] = {const_cast<std::byte*>(frames[i].bytes.data()), frames[i].size()};
  }
  return ready;
}

SendResult DatagramLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  std::size_t taken = 0;
  unsigned refusals = 0;
  while (taken < frames.size()) {
    if (self.ended) return {taken, Errc::link_ended};
    std::error_code refused;
    const std::size_t ready = self.prepare(frames.subspan(taken), refused);
    if (ready == 0) return {taken, refused};
    const int n = ::sendmmsg(self.socket.get(), self.out.data(), static_cast<unsigned>(ready),
                             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      taken += static_cast<std::size_t>(n);
      refusals = 0;
      continue;
    }
    const int number = errno;
    if (is_full(number)) return {taken, {}};
    if (number == EINTR) continue;
    if (number == EMSGSIZE) return {taken, Errc::frame_too_long};
    if (self.options.remote && (number == ECONNREFUSED || number == ENOENT)) {
      self.tell_absence(number);
      self.undelivered.fetch_add(1, std::memory_order_relaxed);
      ++taken;
      continue;
    }
    if (number == ECONNREFUSED && self.options.peer_may_come) {
      self.tell_absence(number);
      // Each earlier frame can cause one refusal, so the next try may succeed.
      if (++refusals <= kMaxRefusals) continue;
      return {taken, {}};
    }
    if (number == ECONNREFUSED || number == ECONNRESET || number == EPIPE || number == ENOTCONN) {
      self.end("sending", number);
      continue;
    }
    return {taken, std::error_code(number, std::generic_category())};
  }
  return {taken, {}};
}

/// Lets the kernel fill `room` with at most `max` datagrams. Result: how many came.
std::size_t DatagramLink::Impl::fetch(std::span<std::byte> room, std::size_t max,
                                      bool small) noexcept {
  for (std::size_t i = 0; i < max; ++i) {
    in_parts[i] = {room.data() + i * stride, small ? room.size() : stride};
  }
  bool was_reset = false;
  for (unsigned refusals = 0;;) {  // ends: a socket has only one error at a time
    // MSG_TRUNC: the kernel returns the true length of a datagram that is too long.
    const int n = ::recvmmsg(socket.get(), in.data(), static_cast<unsigned>(max),
                             MSG_DONTWAIT | MSG_TRUNC, nullptr);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EINTR) continue;
    if (errno == ECONNREFUSED && ++refusals <= kMaxRefusals) continue;
    const int number = errno;
    if (number == ECONNRESET || number == ENOTCONN) {
      end("receiving", number);
      // The kernel reports this once if the peer left frames of ours unread. What the peer had sent
      // comes after it.
      if (number == ECONNRESET && !std::exchange(was_reset, true)) continue;
    } else if (number != EAGAIN && number != ECONNREFUSED) {
      in_error = std::error_code(number, std::generic_category());
    }
    return 0;
  }
}

/// Whether the `got` datagrams of the last call were not real, but the sign of the end. A peer may
/// also send an empty datagram, and frames after it. So a call that brought a frame is not the end.
bool DatagramLink::Impl::is_end(std::size_t got) const noexcept {
  const auto empty = [](const mmsghdr& message) { return message.msg_len == 0; };
  return told_end && got > 0 && std::ranges::all_of(std::span(in).first(got), empty) &&
         peer_has_closed(socket.get());
}

ReceiveResult DatagramLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  ReceiveResult result;
  for (unsigned fetches = 0; fetches < kMaxFetches && !into.full(); ++fetches) {
    const std::span<std::byte> room = into.room();
    const bool small = room.size() < self.stride;
    if (!into.has_room_for(self.stride)) return result;
    const std::size_t max =
        small ? 1 : std::min({room.size() / self.stride, into.max_frames() - into.size(), kSlots});
    const std::size_t got = self.fetch(room, max, small);
    if (self.is_end(got)) {
      self.end("its peer has closed", 0);
      break;
    }
    for (std::size_t i = 0; i < got; ++i) {
      const auto* const at = static_cast<const std::byte*>(self.in_parts[i].iov_base);
      const std::size_t length = self.in[i].msg_len;
      if (length < kEthernetHeaderBytes) {
        self.too_short.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      if (length > self.options.max_frame_bytes && self.options.drops_too_long) {
        self.too_long.fetch_add(1, std::memory_order_relaxed);
        continue;
      }
      FrameView frame(at, std::min(length, self.in_parts[i].iov_len));
      if (length > frame.size()) frame.true_bytes = static_cast<std::uint32_t>(length);
      into.push(frame, static_cast<std::size_t>(at - into.room().data()));
      ++result.frames;
    }
    if (got < max || small) break;
  }
  if (result.frames != 0) return result;
  result.error = self.ended ? Errc::link_ended : std::exchange(self.in_error, {});
  return result;
}

std::uint64_t DatagramLink::undelivered() const noexcept {
  return impl_->undelivered.load(std::memory_order_relaxed);
}

DatagramDrops DatagramLink::drops() const noexcept {
  return {.too_long = impl_->too_long.load(std::memory_order_relaxed),
          .too_short = impl_->too_short.load(std::memory_order_relaxed)};
}

int DatagramLink::descriptor() noexcept {
  return impl_->socket.get();
}
int DatagramLink::room_descriptor() noexcept {
  Impl& self = *impl_;
  if (!self.options.remote) {
    if (!self.asker) self.asker.reset(::fcntl(self.socket.get(), F_DUPFD_CLOEXEC, 0));
    return self.asker.get();
  }
  // The kernel says whether the queue of a peer has room only to a socket that is connected to that
  // peer. Our own socket is not connected, because then only that peer could send to it.
  if (self.options.remote->family() != AF_UNIX) return -1;
  if (!self.asker) self.asker.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!self.asker) return -1;
  // Connect at each call, because a program that comes back has another socket at the same path.
  const SocketAddress& remote = *self.options.remote;
  return ::connect(self.asker.get(), remote.get(), remote.size) == 0 ? self.asker.get() : -1;
}
WaitHint DatagramLink::prepare_wait() noexcept {
  return {.ready = impl_->ended};
}
void DatagramLink::finish_wait() noexcept {}
std::size_t DatagramLink::max_frame_bytes() noexcept {
  return impl_->options.max_frame_bytes;
}
std::string DatagramLink::address() {
  return impl_->options.address;
}

std::optional<std::uint64_t> DatagramLink::dropped() const noexcept {
  const auto now = drops_of(impl_->socket.get());
  if (!now) return std::nullopt;
  return *now - impl_->drops_before;  // wraps as the kernel's count does
}

}  // namespace shmif
