// The calls of the C facade (shmif/shmif.h) that are about a port. Every call turns its arguments
// into those of Port. It turns their result, also an exception, into 0, a count or a negative errno
// value with a message for the thread.

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "shmif/c/facade.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/faults.hpp"
#include "shmif/port.hpp"
#include "shmif/shmif.h"

using shmif::FrameView;
using namespace shmif::c;

/// The port behind the faults of its line: FaultLink owns its link, and this only uses it.
class PortOfLine {
 public:
  explicit PortOfLine(shmif::Port& port) noexcept : port_(&port) {}

  shmif::SendResult send(std::span<const FrameView> frames) noexcept { return port_->send(frames); }
  shmif::ReceiveResult receive(shmif::FrameBatch& into) noexcept { return port_->receive(into); }
  int descriptor() noexcept { return port_->descriptor(); }
  shmif::WaitHint prepare_wait() noexcept { return port_->prepare_wait(); }
  void finish_wait() noexcept { port_->finish_wait(); }
  std::size_t max_frame_bytes() noexcept { return port_->max_frame_bytes(); }
  std::string address() { return port_->address(); }

 private:
  shmif::Port* port_;
};

/// A port, and the frames that were fetched but not yet asked for. C programs that take frames one
/// by one get them from a batch, because a look into the ring costs more than a second copy
/// (docs/decisions.md).
struct shmif_port {
  explicit shmif_port(shmif::PortOptions options) : port(std::move(options)) {}

  bool holds_frames() const noexcept { return next < batch.size(); }
  void forget_frames() noexcept {
    batch.clear();
    next = 0;
  }
  shmif::ReceiveResult fetch() noexcept {
    return line ? line->receive(batch) : port.receive_unsettled(batch);
  }
  shmif::ReceiveResult lend(shmif::FrameBatch& into) noexcept {
    return line ? line->receive(into) : port.receive_in_place(into);
  }
  shmif::SendResult send(std::span<const FrameView> frames) noexcept {
    if (!line) return port.send(frames);
    if (!port.is_up()) return {.error = shmif::Errc::port_down};  // a line would take the frames
    return line->send(frames);
  }
  shmif::SendResult try_send(std::span<const FrameView> frames) noexcept {
    return line ? send(frames) : port.try_send(frames);
  }
  bool wait_on_line(std::chrono::nanoseconds timeout) noexcept;
  /// How long to sleep: until the timeout, and no longer than the link permits.
  static std::chrono::nanoseconds rest_of(std::chrono::nanoseconds timeout,
                                          std::chrono::nanoseconds passed,
                                          const shmif::WaitHint& hint) noexcept {
    const bool has_limit = timeout != std::chrono::nanoseconds::max();
    return has_limit ? std::min(timeout - passed, hint.at_most) : hint.at_most;
  }
  void settle() noexcept { port.settle(holds_frames()); }
  /// Call it after a call of Port that settles by itself, as if the program had taken all frames.
  void settle_held() noexcept {
    if (holds_frames()) settle();
  }
  /// An empty batch that takes `count` frames at most.
  shmif::FrameBatch& batch_of(std::size_t count) {
    if (!lent || lent->max_frames() != count) lent.emplace(count, kArenaBytes);
    lent->clear();
    return *lent;
  }

  /// Only segments of super-frames need it. Other frames are lent where they lie.
  static constexpr std::size_t kArenaBytes = std::size_t{32} * 2048 + shmif::kMaxFrameBytes;

  shmif::Port port;
  std::optional<shmif::FaultLink> line;  ///< uses `port`, once there were faults
  bool has_descriptor = false;           ///< the program has got one of the port
  std::atomic<bool> interrupted{false};  ///< for wait_on_line()
  std::string name;
  std::uint32_t mtu = 0;
  std::size_t max_frame_bytes = 0;
  shmif::FrameBatch batch;
  std::size_t next = 0;  ///< the first frame of `batch` that the program has not asked for
  std::optional<shmif::FrameBatch> lent;
  std::uint64_t lost = 0;  ///< not yet reported
};

/// As Port::wait(). Frames that are due on their way out are sent meanwhile.
bool shmif_port::wait_on_line(std::chrono::nanoseconds timeout) noexcept {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  while (port.is_up()) {
    lost += fetch().lost;
    if (holds_frames()) return true;
    if (interrupted.exchange(false)) {
      static_cast<void>(port.wait({}));  // that interrupt is over, too
      return false;
    }
    const std::chrono::nanoseconds passed = Clock::now() - begin;
    if (passed >= timeout) return false;
    const shmif::WaitHint hint = line->prepare_wait();
    pollfd entry{.fd = line->descriptor(), .events = POLLIN, .revents = 0};
    if (!hint.ready)
      static_cast<void>(::poll(&entry, 1, to_poll_timeout(rest_of(timeout, passed, hint))));
    line->finish_wait();
  }
  return false;
}

namespace {

/// Ends a call that takes frames from the batch of the port; Port does not settle in it. However
/// the call returns, the port's descriptor then says whether more frames are there.
class Settling {
 public:
  explicit Settling(shmif_port& port) noexcept : port_(port) {}
  Settling(const Settling&) = delete;
  Settling& operator=(const Settling&) = delete;
  ~Settling() { port_.settle(); }

 private:
  shmif_port& port_;
};

int fail_on(shmif_port& port, const std::error_code& code, const char* tried) {
  return fail(
      code, std::string("cannot ") + tried + " on " + port.port.address() + ": " + code.message());
}

shmif::PortOptions to_port_options(const shmif_port_options& given) {
  shmif::PortOptions options;
  if (given.name != nullptr) options.name = given.name;
  const shmif::MacAddress mac = shmif::MacAddress::read(given.mac);
  if (!mac.is_zero()) options.mac = mac;
  options.promiscuous = (given.flags & SHMIF_PROMISCUOUS) != 0;
  options.learn = (given.flags & SHMIF_LEARN) != 0;
  options.lock_memory = (given.flags & SHMIF_LOCK_MEMORY) != 0;
  if ((given.flags & SHMIF_START_OLDEST) != 0) options.start = shmif::Start::oldest;
  if ((given.flags & SHMIF_RESUME_NEWEST) != 0) options.resume = shmif::Resume::newest;
  return options;
}

/// Makes a port and attaches it with `attach`. Result: 0 and the port, or -errno.
template <class Attach>
int open_port(const shmif_port_options* options, shmif_port** port, Attach attach) {
  auto opened = std::make_unique<shmif_port>(to_port_options(completed(options)));
  const shmif::Result<void> attached = attach(opened->port);
  if (!attached) return fail(attached.error());
  opened->name = opened->port.name();
  opened->mtu = opened->port.mtu().value();  // it is attached
  opened->max_frame_bytes = opened->port.max_frame_bytes();
  *port = opened.release();
  return 0;
}

using Sender = shmif::SendResult (shmif_port::*)(std::span<const FrameView>) noexcept;

/// Sends `count` frames made by `frame(i)`, with `send`. Result: as shmif_send_batch().
template <class Frame>
int send_frames(shmif_port& port, std::size_t count, Frame frame, Sender send = &shmif_port::send) {
  std::array<FrameView, 64> views;
  std::size_t sent = 0;
  count = std::min<std::size_t>(count, INT_MAX);
  while (sent < count) {
    const std::size_t n = std::min(count - sent, views.size());
    for (std::size_t i = 0; i < n; ++i) views[i] = frame(sent + i);
    const shmif::SendResult result = (port.*send)({views.data(), n});
    sent += result.taken;
    if (result.error && sent == 0) return fail_on(port, result.error, "send");
    if (result.taken < n) break;
  }
  return static_cast<int>(sent);
}

/// Fetches the next batch from the ring if all frames of the last one were taken. Result: 0 or
/// -errno.
int refill(shmif_port& port) {
  if (port.holds_frames()) return 0;
  port.forget_frames();
  const shmif::ReceiveResult result = port.fetch();
  port.lost += result.lost;
  // Frames go first. An error that lasts appears again after they have been taken.
  if (result.error && port.batch.empty()) return fail_on(port, result.error, "receive");
  return 0;
}

/// How many frames a port lends at once.
constexpr std::size_t kMaxLent = 32;
/// How often to try when senders overwrite all of the frames during the copy.
constexpr unsigned kMaxTries = 16;

/// Borrows up to `count` frames, and counts the frames lost before them. Result: how many, or
/// -errno.
int borrow(shmif_port& port, shmif::FrameBatch& batch) {
  batch.clear();
  const shmif::ReceiveResult result = port.lend(batch);
  port.lost += result.lost;
  // Frames go first. An error that lasts appears again after they have been taken.
  if (result.error && batch.empty()) return fail_on(port, result.error, "receive");
  return static_cast<int>(batch.size());
}

/// Receives up to `count` frames, at most kMaxLent, directly from the ring into the buffers.
/// Result: how many, or -errno.
int receive_into(shmif_port& port, const iovec* buffers, shmif_frame_info* infos,
                 std::size_t count) {
  shmif::FrameBatch& batch = port.batch_of(count);
  for (unsigned tries = 0; tries < kMaxTries; ++tries) {
    const int lent = borrow(port, batch);
    if (lent <= 0) return lent;
    std::array<FrameView, kMaxLent> views;
    std::copy(batch.frames().begin(), batch.frames().end(), views.begin());
    for (std::size_t i = 0; i < batch.size(); ++i) copy_to(buffers[i], views[i]);
    const std::size_t torn = port.port.release();
    if (torn > 0) {
      // The first frames were overwritten during the copy. They are lost, and the next receive
      // reports them. The frames after them move up, as far as the buffers have room for them.
      if (torn >= batch.size()) continue;
      for (std::size_t i = torn; i < batch.size(); ++i) {
        const std::size_t room = std::min(buffers[i - torn].iov_len, buffers[i].iov_len);
        std::memmove(buffers[i - torn].iov_base, buffers[i].iov_base,
                     std::min(room, views[i].size()));
        views[i - torn] = views[i];
      }
    }
    const std::size_t whole = batch.size() - torn;
    for (std::size_t i = 0; i < whole; ++i) {
      const std::size_t source = torn > 0 ? buffers[i + torn].iov_len : buffers[i].iov_len;
      const std::size_t bytes = std::min({views[i].size(), buffers[i].iov_len, source});
      tell(views[i], bytes, port.lost, info_at(infos, i));
    }
    return static_cast<int>(whole);
  }
  return 0;  // senders overwrite faster than we copy
}

}  // namespace

int shmif_open(const char* path, const shmif_port_options* options, shmif_port** port) {
  return guarded([=] {
    if (port == nullptr) return bad_argument("shmif_open: port is NULL");
    *port = nullptr;
    if (path == nullptr || !has_size(options))
      return bad_argument("shmif_open: path is NULL, or options->size is 0");
    return open_port(options, port, [&](shmif::Port& opened) { return opened.attach(path); });
  });
}

int shmif_open_or_create(const char* path, const shmif_bus_options* bus,
                         const shmif_port_options* options, shmif_port** port) {
  return guarded([=] {
    if (port == nullptr) return bad_argument("shmif_open_or_create: port is NULL");
    *port = nullptr;
    if (path == nullptr || !has_size(bus) || !has_size(options))
      return bad_argument("shmif_open_or_create: path is NULL, or the size of a structure is 0");
    const shmif_bus_options given = completed(bus);
    if (!has_known_format(given)) {
      return bad_argument(
          "shmif_open_or_create: bus->format is neither SHMIF_FORMAT_SHMIF nor "
          "SHMIF_FORMAT_NETBSD");
    }
    const auto made = shmif::Bus::create_if_missing(path, to_bus_options(given),
                                                    given.ring_bytes != 0, given.mtu != 0);
    if (!made) return fail(made.error());
    return open_port(options, port, [&](shmif::Port& opened) { return opened.attach(*made); });
  });
}

void shmif_close(shmif_port* port) {
  delete port;
}

int shmif_up(shmif_port* port) {
  return guarded([=] {
    const std::error_code error = port->port.up();
    return error ? fail_on(*port, error, "go up") : 0;
  });
}

int shmif_down(shmif_port* port) {
  return guarded([=] {
    port->forget_frames();
    if (port->line) static_cast<void>(port->line->discard());
    const std::error_code error = port->port.down();
    return error ? fail_on(*port, error, "go down") : 0;
  });
}

int shmif_send(shmif_port* port, const void* frame, size_t bytes) {
  return guarded([=] {
    const int sent = send_frames(*port, 1, [=](std::size_t) { return FrameView(frame, bytes); });
    return std::min(sent, 0);
  });
}

int shmif_send_batch(shmif_port* port, const iovec* frames, size_t count) {
  return guarded([=] {
    return send_frames(*port, count, [=](std::size_t i) {
      return FrameView(frames[i].iov_base, frames[i].iov_len);
    });
  });
}

int shmif_try_send_batch(shmif_port* port, const iovec* frames, size_t count) {
  return guarded([=] {
    const auto frame = [=](std::size_t i) {
      return FrameView(frames[i].iov_base, frames[i].iov_len);
    };
    return send_frames(*port, count, frame, &shmif_port::try_send);
  });
}

int shmif_receive(shmif_port* port, void* buffer, size_t room, shmif_frame_info* info) {
  return guarded([=] {
    if (room == 0 || !has_size(info)) return bad_argument("shmif_receive: room or info->size is 0");
    const Settling settling(*port);
    const int error = refill(*port);
    if (error == 0 && port->holds_frames()) {
      const FrameView& frame = port->batch[port->next++];
      const std::size_t copied = copy_to({buffer, room}, frame);
      tell(frame, copied, port->lost, info);
      return static_cast<int>(copied);
    }
    tell_no_frame(port->lost, info);
    return error;
  });
}

int shmif_receive_batch(shmif_port* port, const iovec* buffers, shmif_frame_info* infos,
                        size_t count) {
  return guarded([=] {
    const auto has_no_room = [](const iovec& buffer) { return buffer.iov_len == 0; };
    if (count > INT_MAX || !has_size(infos) || std::any_of(buffers, buffers + count, has_no_room))
      return bad_argument(
          "shmif_receive_batch: a buffer has no room, count is too large, or infos->size is 0");
    const Settling settling(*port);
    std::size_t done = 0;
    for (; done < count && port->holds_frames(); ++done) {
      const FrameView& frame = port->batch[port->next++];
      tell(frame, copy_to(buffers[done], frame), port->lost, info_at(infos, done));
    }
    while (done < count) {
      const std::size_t n = std::min(count - done, kMaxLent);
      const int got = receive_into(*port, buffers + done, info_at(infos, done), n);
      if (got < 0 && done == 0) return got;
      if (got <= 0) break;
      done += static_cast<std::size_t>(got);
      if (static_cast<std::size_t>(got) < n) break;
    }
    return static_cast<int>(done);
  });
}

int shmif_receive_in_place(shmif_port* port, iovec* frames, shmif_frame_info* infos, size_t count) {
  return guarded([=] {
    if (count == 0 || !has_size(infos))
      return bad_argument("shmif_receive_in_place: count or infos->size is 0");
    std::span<const FrameView> views;
    if (port->holds_frames()) {  // these are copies: nobody overwrites them
      const Settling settling(*port);
      views = port->batch.frames().subspan(port->next);
      views = views.first(std::min(views.size(), count));
      port->next += views.size();
    } else {
      shmif::FrameBatch& batch = port->batch_of(std::min(count, kMaxLent));
      if (const int lent = borrow(*port, batch); lent <= 0) return lent;
      views = batch.frames();
    }
    for (std::size_t i = 0; i < views.size(); ++i) {
      const FrameView& frame = views[i];
      frames[i] = {const_cast<std::byte*>(frame.bytes.data()), frame.size()};  // NOLINT: C's iovec
      tell(frame, frame.size(), port->lost, info_at(infos, i));
    }
    return static_cast<int>(views.size());
  });
}

int shmif_release(shmif_port* port) {
  const std::size_t overwritten = port->port.release();
  port->settle_held();
  return static_cast<int>(overwritten);
}

int shmif_fd(shmif_port* port) {
  return guarded([=] {
    if (port->line) {
      return fail_on(*port, make_error_code(std::errc::operation_not_supported),
                     "make a level-triggered descriptor of a line with faults");
    }
    const shmif::Result<int> descriptor = port->port.level_descriptor();
    if (!descriptor) return fail(descriptor.error());
    port->has_descriptor = true;
    port->settle_held();
    return *descriptor;
  });
}

int shmif_wait(shmif_port* port, int timeout_ms) {
  return guarded([=] {
    if (port->holds_frames()) return 1;
    const std::chrono::nanoseconds timeout = to_timeout(timeout_ms);
    return (port->line ? port->wait_on_line(timeout) : port->port.wait(timeout)) ? 1 : 0;
  });
}

void shmif_interrupt(shmif_port* port) {
  if (port->line) port->interrupted = true;
  port->port.interrupt();
}

int shmif_descriptor(shmif_port* port) {
  return guarded([=] {
    const int descriptor = port->line ? port->line->descriptor() : port->port.descriptor();
    if (descriptor >= 0) {
      port->has_descriptor = true;
      return descriptor;
    }
    const std::error_code reason = port->port.descriptor_error();
    return fail_on(*port, reason ? reason : make_error_code(shmif::Errc::not_supported),
                   "wait by descriptor");
  });
}

int shmif_prepare_wait(shmif_port* port, int* at_most_ms) {
  const shmif::WaitHint hint = port->line ? port->line->prepare_wait() : port->port.prepare_wait();
  const bool ready = hint.ready || port->holds_frames();
  port->settle_held();
  *at_most_ms = ready ? 0 : to_poll_timeout(hint.at_most);
  return ready ? 1 : 0;
}

void shmif_finish_wait(shmif_port* port) {
  if (port->line) {
    port->line->finish_wait();
  } else {
    port->port.finish_wait();
  }
}

int shmif_set_faults(shmif_port* port, const char* faults) {
  return guarded([=] {
    if (faults == nullptr) return bad_argument("shmif_set_faults: faults is NULL");
    const auto parsed = shmif::parse_line_faults(faults);
    if (!parsed) return fail(parsed.error().code, "shmif_set_faults: " + parsed.error().message);
    if (port->line) {
      port->line->set_faults(parsed->received, parsed->sent);
      return 0;
    }
    if (!parsed->any()) return 0;
    if (port->has_descriptor) {
      return fail_on(*port, make_error_code(std::errc::device_or_resource_busy),
                     "set faults after a descriptor was given out");
    }
    auto line = shmif::FaultLink::wrap(shmif::AnyLink(std::make_unique<PortOfLine>(port->port)),
                                       parsed->received, parsed->sent);
    if (!line) return fail(line.error());
    port->line.emplace(*std::move(line));
    return 0;
  });
}

void shmif_mac(const shmif_port* port, uint8_t mac[6]) {
  std::memcpy(mac, port->port.mac().bytes.data(), 6);
}

int shmif_set_mac(shmif_port* port, const uint8_t mac[6]) {
  return guarded([=] {
    const shmif::MacAddress address = shmif::MacAddress::read(mac);
    const std::error_code error = port->port.set_mac(address);
    if (error && !address.is_unicast()) {
      return fail(error, "cannot set the MAC address on " + port->port.address() + " to " +
                             address.to_string() +
                             ": it is not a unicast MAC address (the first byte must be even, not "
                             "all zero)");
    }
    return error ? fail_on(*port, error, "set the MAC address") : 0;
  });
}

int shmif_set_promiscuous(shmif_port* port, int on) {
  return guarded([=] {
    const std::error_code error = port->port.set_promiscuous(on != 0);
    return error ? fail_on(*port, error, "set promiscuous mode") : 0;
  });
}

const char* shmif_name(const shmif_port* port) {
  return port->name.c_str();
}

uint32_t shmif_slot(const shmif_port* port) {
  return port->port.slot();
}

uint32_t shmif_mtu(const shmif_port* port) {
  return port->mtu;
}

size_t shmif_max_frame_bytes(const shmif_port* port) {
  return port->max_frame_bytes;
}

int shmif_get_counters(const shmif_port* port, shmif_counters* counters) {
  return guarded([=] {
    if (counters == nullptr || !has_size(counters))
      return bad_argument("shmif_get_counters: counters is NULL, or counters->size is 0");
    hand_out(to_c(port->port.counters()), counters);
    return 0;
  });
}

uint64_t shmif_bus_frames(const shmif_port* port) {
  return port->port.bus_frames();
}
