#include "shmif/stream_link.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "shmif/debug/debug.hpp"
#include "shmif/frame_check.hpp"

namespace shmif {
namespace {

using std::byte;

using Length = std::uint32_t;

/// Converts between the machine's byte order and big endian.
constexpr Length swapped(Length value) noexcept {
  if constexpr (std::endian::native == std::endian::little) return __builtin_bswap32(value);
  return value;
}

constexpr unsigned kMaxRefills = 32;  // in one call
constexpr std::size_t kRecords = 64;  // in one system call
constexpr std::size_t kStreamBufferBytes = std::size_t{256} * 1024;
/// How long to wait at first before the rest of a record is offered again.
constexpr std::chrono::milliseconds kOfferAgain{1};

}  // namespace

struct StreamLink::Impl {
  UniqueFd socket;  ///< for both ways, or only to receive
  UniqueFd out;     ///< to send, if that is not the same; it is not a socket, or used as none
  UniqueFd room;    ///< the same as the one to send, for room_descriptor()
  StreamOptions options;
  bool ended = false;    ///< no more frames can be sent
  bool no_more = false;  ///< no more bytes arrive; the buffer may still have records
  bool corrupt = false;  ///< receive() must report it

  std::vector<byte> rest;  ///< of a record that the socket took only in part
  std::size_t rest_at = 0;
  unsigned offers = 0;                     ///< how often the rest was offered in vain
  std::array<Length, kRecords> lengths{};  ///< in the byte order of the stream
  std::array<iovec, 2 * kRecords> parts{};

  std::vector<byte> buffer;  ///< bytes read; those from `begin` to `end` are not yet received
  std::size_t begin = 0, end = 0;
  std::size_t to_skip = 0;  ///< bytes of a dropped record that are still to come
  std::atomic<std::uint64_t> too_long{0}, too_short{0};

  Impl(UniqueFd s, StreamOptions o)
      : socket(std::move(s)),
        options(std::move(o)),
        buffer(std::max(kStreamBufferBytes, 2 * (options.max_frame_bytes + sizeof(Length)))) {
    rest.reserve(options.max_frame_bytes + sizeof(Length));
  }

  /// `why`: returns the reason for a debug line.
  template <class Why>
  void end_link(Why why) noexcept {
    if (std::exchange(ended, true)) return;
    debug(Debug::link, [&] { return options.address + ": ended: " + why(); });
  }
  bool flush() noexcept;
  ssize_t write(iovec* what, std::size_t count) noexcept;
  std::size_t prepare(std::span<const FrameView> frames, std::error_code& refused) noexcept;
  std::size_t settle(std::size_t records, std::size_t bytes) noexcept;
  bool refill() noexcept;
  bool whole_record() noexcept;
  Length front_length() const noexcept;
  std::chrono::milliseconds next_offer() noexcept;
  bool drop(Length length) noexcept;
};

StreamLink::StreamLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
StreamLink::StreamLink(StreamLink&&) noexcept = default;
StreamLink& StreamLink::operator=(StreamLink&&) noexcept = default;
StreamLink::~StreamLink() = default;

StreamLink StreamLink::adopt(UniqueFd connected, StreamOptions options) {
  debug(Debug::link, [&] {
    return options.address + ": connected; frames of up to " +
           std::to_string(options.max_frame_bytes) + " bytes";
  });
  return StreamLink(std::make_unique<Impl>(std::move(connected), std::move(options)));
}

Result<StreamLink> StreamLink::adopt(UniqueFd in, UniqueFd out, StreamOptions options) {
  for (const UniqueFd* const each : {&in, &out}) {
    const int flags = ::fcntl(each->get(), F_GETFL);
    if (flags < 0 || ::fcntl(each->get(), F_SETFL, flags | O_NONBLOCK) != 0)
      return Error::from_errno(errno, "cannot use the stream " + options.address);
  }
  StreamLink made = adopt(std::move(in), std::move(options));
  made.impl_->out = std::move(out);
  return made;
}

/// Result: how many bytes the socket took; 0 if it takes no bytes now, or never again.
ssize_t StreamLink::Impl::write(iovec* what, std::size_t count) noexcept {
  msghdr message{};
  message.msg_iov = what;
  message.msg_iovlen = count;
  for (;;) {  // ends: signals do not come endlessly
    const ssize_t n = out ? ::writev(out.get(), what, static_cast<int>(count))
                          : ::sendmsg(socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      offers = 0;
      return n;
    }
    if (errno == EINTR) continue;
    const int number = errno;
    if (number != EAGAIN && number != ENOBUFS && number != ENOMEM)
      end_link([number] { return "sending: " + std::generic_category().message(number); });
    return 0;
  }
}

/// Sends the rest of a record, if there is one. Result: whether all of it is sent.
bool StreamLink::Impl::flush() noexcept {
  if (rest_at < rest.size() && !ended) {
    iovec part{rest.data() + rest_at, rest.size() - rest_at};
    rest_at += static_cast<std::size_t>(write(&part, 1));
  }
  return rest_at == rest.size();
}

/// How long to wait before the rest is offered again. The time grows if the peer does not read.
std::chrono::milliseconds StreamLink::Impl::next_offer() noexcept {
  constexpr unsigned kOffersEach = 16;
  constexpr unsigned kMaxDoublings = 6;
  return kOfferAgain * (1U << std::min(offers++ / kOffersEach, kMaxDoublings));
}

/// Prepares records for the valid frames at the front. Result: how many; `refused` says why the
/// next frame is not valid.
std::size_t StreamLink::Impl::prepare(std::span<const FrameView> frames,
                                      std::error_code& refused) noexcept {
  frames = frames.first(std::min(frames.size(), kRecords));
  const std::size_t ready = count_good(frames, options.max_frame_bytes, refused);
  for (std::size_t i = 0; i < ready; ++i) {
    lengths[i] = swapped(static_cast<Length>(frames[i].size()));
    parts[2 * i] = {&lengths[i], sizeof(Length)};
    // sendmsg only reads, but iovec has no const.
    parts[2 * i + 1] = {const_cast<byte*>(frames[i].bytes.data()), frames[i].size()};
  }
  return ready;
}

/// Accounts for `bytes` that the socket took of `records` records. Keeps the rest of a partly taken
/// record. Result: how many records were taken.
std::size_t StreamLink::Impl::settle(std::size_t records, std::size_t bytes) noexcept {
  std::size_t taken = 0;
  while (taken < records && bytes >= sizeof(Length) + parts[2 * taken + 1].iov_len) {
    bytes -= sizeof(Length) + parts[2 * taken++ + 1].iov_len;
  }
  if (bytes == 0) return taken;
  rest.clear();
  rest_at = bytes;
  for (const iovec& part : {parts[2 * taken], parts[2 * taken + 1]}) {
    const auto* const from = static_cast<const byte*>(part.iov_base);
    rest.insert(rest.end(), from, from + part.iov_len);
  }
  return taken + 1;
}

SendResult StreamLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  std::size_t taken = 0;
  while (taken < frames.size()) {
    if (!self.flush() && !self.ended) return {taken, {}};
    if (self.ended) return {taken, Errc::link_ended};
    std::error_code refused;
    const std::size_t ready = self.prepare(frames.subspan(taken), refused);
    if (ready == 0) return {taken, refused};
    const auto bytes = static_cast<std::size_t>(self.write(self.parts.data(), 2 * ready));
    if (bytes == 0 && !self.ended) return {taken, {}};
    taken += self.settle(ready, bytes);
  }
  return {taken, {}};
}

/// The length of the record at the front of the buffer, all of whose bytes have been read.
Length StreamLink::Impl::front_length() const noexcept {
  Length length = 0;
  std::memcpy(&length, buffer.data() + begin, sizeof length);
  return swapped(length);
}

/// Skips a record that is not a valid frame for this link. Result: whether all of it has arrived.
bool StreamLink::Impl::drop(Length length) noexcept {
  auto& count = length < kEthernetHeaderBytes ? too_short : too_long;
  count.fetch_add(1, std::memory_order_relaxed);
  const std::size_t record = sizeof length + length;
  const std::size_t arrived = std::min(record, end - begin);
  begin += arrived;
  to_skip = record - arrived;
  return to_skip == 0;
}

/// Drops records that are too long or too short from the front of the buffer. Result: whether the
/// buffer then begins with a complete record.
bool StreamLink::Impl::whole_record() noexcept {
  while (end - begin >= sizeof(Length)) {
    const Length length = front_length();
    if (length > options.max_record_bytes) {
      corrupt = no_more = true;  // the start of the next record is unknown
      end_link([length] { return "a record of " + std::to_string(length) + " bytes is too long"; });
      begin = end = 0;
      return false;
    }
    if (length >= kEthernetHeaderBytes && length <= options.max_frame_bytes)
      return end - begin >= sizeof length + length;
    if (!drop(length)) return false;
  }
  return false;
}

/// Reads the bytes that have arrived. Result: whether any had arrived.
bool StreamLink::Impl::refill() noexcept {
  if (no_more) return false;
  if (begin == end) {
    begin = end = 0;
  } else if (buffer.size() - begin < options.max_frame_bytes + sizeof(Length)) {
    std::copy(buffer.begin() + static_cast<std::ptrdiff_t>(begin),
              buffer.begin() + static_cast<std::ptrdiff_t>(end), buffer.begin());
    end -= std::exchange(begin, 0);
  }
  for (;;) {  // ends: signals do not come endlessly
    const ssize_t n =
        out ? ::read(socket.get(), buffer.data() + end, buffer.size() - end)
            : ::recv(socket.get(), buffer.data() + end, buffer.size() - end, MSG_DONTWAIT);
    if (n > 0) {
      end += static_cast<std::size_t>(n);
      const std::size_t skipped = std::min(to_skip, end - begin);
      begin += skipped;
      to_skip -= skipped;
      return true;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return false;
    no_more = true;
    const int number = n < 0 ? errno : 0;
    end_link([number] {
      return number == 0 ? "its peer has closed"
                         : "receiving: " + std::generic_category().message(number);
    });
    return false;
  }
}

ReceiveResult StreamLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  (void)self.flush();
  ReceiveResult result;
  // A peer that sends only invalid records must not keep the caller for ever.
  for (unsigned refills = 0; !into.full();) {
    if (!self.whole_record()) {
      if (++refills <= kMaxRefills && self.refill()) continue;
      break;
    }
    const byte* const record = self.buffer.data() + self.begin;
    const Length length = self.front_length();
    if (!into.has_room_for(length)) return result;
    const std::span<byte> room = into.room();
    FrameView frame(room.data(), std::min<std::size_t>(length, room.size()));
    if (length > frame.size()) frame.true_bytes = length;
    std::memcpy(room.data(), record + sizeof length, frame.size());
    into.push(frame);
    ++result.frames;
    self.begin += sizeof length + length;
  }
  if (self.no_more && result.frames == 0 && !into.full()) {
    result.error = std::exchange(self.corrupt, false) ? Errc::corrupt : Errc::link_ended;
  }
  return result;
}

StreamDrops StreamLink::drops() const noexcept {
  return {.too_long = impl_->too_long.load(std::memory_order_relaxed),
          .too_short = impl_->too_short.load(std::memory_order_relaxed)};
}

int StreamLink::descriptor() noexcept {
  return impl_->socket.get();
}
int StreamLink::room_descriptor() noexcept {
  Impl& self = *impl_;
  const UniqueFd& sends = self.out ? self.out : self.socket;
  if (!self.room) self.room.reset(::fcntl(sends.get(), F_DUPFD_CLOEXEC, 0));
  return self.room.get();
}
WaitHint StreamLink::prepare_wait() noexcept {
  const bool sent = impl_->flush();
  const bool whole = impl_->whole_record();  // it may find that the stream is corrupt
  WaitHint hint{.ready = whole || impl_->no_more};
  if (!sent && !impl_->ended) hint.at_most = impl_->next_offer();
  return hint;
}
void StreamLink::finish_wait() noexcept {}
std::size_t StreamLink::max_frame_bytes() noexcept {
  return impl_->options.max_frame_bytes;
}
std::string StreamLink::address() {
  return impl_->options.address;
}

}  // namespace shmif
