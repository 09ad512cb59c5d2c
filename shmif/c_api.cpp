// The C facade (shmif.h). Every call turns its arguments into those of Port or Bus. It turns their
// result, also an exception, into 0, a count or a negative errno value with a message for the
// thread.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "shmif/port.hpp"
#include "shmif/shmif.h"

using shmif::Error;
using shmif::FrameView;

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
  shmif::ReceiveResult fetch() noexcept { return port.receive_unsettled(batch); }
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
  std::string name;
  std::uint32_t mtu = 0;
  std::size_t max_frame_bytes = 0;
  shmif::FrameBatch batch;
  std::size_t next = 0;  ///< the first frame of `batch` that the program has not asked for
  std::optional<shmif::FrameBatch> lent;
  std::uint64_t lost = 0;  ///< not yet reported
};

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

/// The text that shmif_message() returns, per thread.
std::string& last_message() noexcept {
  thread_local std::string message;
  return message;
}

int fail(const std::error_code& code, std::string message) {
  last_message() = std::move(message);
  const int number = code.default_error_condition().value();
  return number > 0 ? -number : -EIO;
}

int fail(const Error& error) {
  return fail(error.code, error.message);
}

int fail(const std::error_code& code, const char* tried, shmif_port& port) {
  return fail(
      code, std::string("cannot ") + tried + " on " + port.port.address() + ": " + code.message());
}

int bad_argument(const char* what) {
  return fail(make_error_code(shmif::Errc::bad_argument), what);
}

/// Runs `body`; an exception becomes the errno value that fits it best.
template <class Body>
int guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return -ENOMEM;  // without a message, which would need memory
  } catch (const std::exception& e) {
    try {
      return fail(std::make_error_code(std::errc::io_error), e.what());
    } catch (...) {
      return -EIO;
    }
  } catch (...) {
    return -EIO;
  }
}

/// A versioned structure as this library knows it. Members that the caller's structure lacks are 0.
template <class T>
T completed(const T* given) noexcept {
  T whole{};
  if (given != nullptr) std::memcpy(&whole, given, std::min(given->size, sizeof whole));
  whole.size = sizeof whole;
  return whole;
}

/// Gives the caller as many members of `whole` as its structure has room for.
template <class T>
void hand_out(T whole, T* to) noexcept {
  whole.size = to->size;
  std::memcpy(to, &whole, std::min(to->size, sizeof whole));
}

template <class T>
bool has_size(const T* given) noexcept {
  return given == nullptr || given->size >= sizeof given->size;
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

shmif::BusOptions to_bus_options(const shmif_bus_options& given) {
  shmif::BusOptions bus;
  if (given.ring_bytes != 0) bus.ring_bytes = given.ring_bytes;
  if (given.mtu != 0) bus.mtu = given.mtu;
  if (given.mode != 0) bus.mode = given.mode;
  if (given.patience_ns != 0) {
    bus.flow = shmif::Flow::pause;
    bus.patience = std::chrono::nanoseconds(given.patience_ns);
  }
  if (given.format == SHMIF_FORMAT_NETBSD) bus.format = shmif::BusFormat::netbsd;
  return bus;
}

bool has_known_format(const shmif_bus_options& given) noexcept {
  return given.format == SHMIF_FORMAT_SHMIF || given.format == SHMIF_FORMAT_NETBSD;
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

using Sender = shmif::SendResult (shmif::Port::*)(std::span<const FrameView>) noexcept;

/// Sends `count` frames made by `frame(i)`, with `send`. Result: as shmif_send_batch().
template <class Frame>
int send_frames(shmif_port& port, std::size_t count, Frame frame,
                Sender send = &shmif::Port::send) {
  std::array<FrameView, 64> views;
  std::size_t sent = 0;
  count = std::min<std::size_t>(count, INT_MAX);
  while (sent < count) {
    const std::size_t n = std::min(count - sent, views.size());
    for (std::size_t i = 0; i < n; ++i) views[i] = frame(sent + i);
    const shmif::SendResult result = (port.port.*send)({views.data(), n});
    sent += result.taken;
    if (result.error && sent == 0) return fail(result.error, "send", port);
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
  if (result.error && port.batch.empty()) return fail(result.error, "receive", port);
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
  const shmif::ReceiveResult result = port.port.receive_in_place(batch);
  port.lost += result.lost;
  // Frames go first. An error that lasts appears again after they have been taken.
  if (result.error && batch.empty()) return fail(result.error, "receive", port);
  return static_cast<int>(batch.size());
}

/// The i-th of an array whose elements have the size that the caller knows.
shmif_frame_info* info_at(shmif_frame_info* infos, std::size_t i) noexcept {
  if (infos == nullptr) return nullptr;
  auto* const info =
      reinterpret_cast<shmif_frame_info*>(reinterpret_cast<std::byte*>(infos) + i * infos->size);
  info->size = infos->size;
  return info;
}

/// Describes a frame of which `copied` bytes were handed out. The first description takes `lost`.
void tell(const FrameView& frame, std::size_t copied, std::uint64_t& lost,
          shmif_frame_info* info) noexcept {
  if (info == nullptr) return;
  shmif_frame_info about{};
  about.lost = std::exchange(lost, 0);
  about.bytes = std::max(frame.true_bytes, static_cast<std::uint32_t>(frame.size()));
  about.truncated = about.bytes > copied ? 1 : 0;
  about.time_ns = frame.time_ns;
  about.number = frame.number;
  about.sender = frame.sender;
  hand_out(about, info);
}

std::size_t copy_to(const iovec& buffer, const FrameView& frame) noexcept {
  const std::size_t bytes = std::min({frame.size(), buffer.iov_len, std::size_t{INT_MAX}});
  std::memcpy(buffer.iov_base, frame.bytes.data(), bytes);
  return bytes;
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

/// For poll(): whole milliseconds, rounded up, -1 for no limit.
int to_poll_timeout(std::chrono::nanoseconds at_most) noexcept {
  if (at_most == std::chrono::nanoseconds::max()) return -1;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(at_most).count();
  return static_cast<int>(std::clamp<decltype(ms)>(ms, 0, INT_MAX));
}

}  // namespace

int shmif_create(const char* path, const shmif_bus_options* options) {
  return guarded([=] {
    if (path == nullptr || !has_size(options))
      return bad_argument("shmif_create: path is NULL, or options->size is 0");
    const shmif_bus_options given = completed(options);
    if (!has_known_format(given)) {
      return bad_argument(
          "shmif_create: options->format is neither SHMIF_FORMAT_SHMIF nor SHMIF_FORMAT_NETBSD");
    }
    const shmif::Result<void> made = shmif::Bus::create(path, to_bus_options(given));
    return made ? 0 : fail(made.error());
  });
}

int shmif_destroy(const char* path, int force) {
  return guarded([=] {
    if (path == nullptr) return bad_argument("shmif_destroy: path is NULL");
    const shmif::Result<void> gone = shmif::Bus::destroy(path, force != 0);
    return gone ? 0 : fail(gone.error());
  });
}

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
    return error ? fail(error, "go up", *port) : 0;
  });
}

int shmif_down(shmif_port* port) {
  return guarded([=] {
    port->forget_frames();
    const std::error_code error = port->port.down();
    return error ? fail(error, "go down", *port) : 0;
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
    return send_frames(*port, count, frame, &shmif::Port::try_send);
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
    if (info != nullptr) {
      shmif_frame_info nothing{};
      nothing.lost = std::exchange(port->lost, 0);
      hand_out(nothing, info);
    }
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
    const shmif::Result<int> descriptor = port->port.level_descriptor();
    if (!descriptor) return fail(descriptor.error());
    port->settle_held();
    return *descriptor;
  });
}

int shmif_wait(shmif_port* port, int timeout_ms) {
  return guarded([=] {
    if (port->holds_frames()) return 1;
    const auto timeout =
        timeout_ms < 0 ? std::chrono::nanoseconds::max() : std::chrono::milliseconds(timeout_ms);
    return port->port.wait(timeout) ? 1 : 0;
  });
}

void shmif_interrupt(shmif_port* port) {
  port->port.interrupt();
}

int shmif_descriptor(shmif_port* port) {
  return guarded([=] {
    const int descriptor = port->port.descriptor();
    if (descriptor >= 0) return descriptor;
    const std::error_code reason = port->port.descriptor_error();
    return fail(reason ? reason : make_error_code(shmif::Errc::not_supported), "wait by descriptor",
                *port);
  });
}

int shmif_prepare_wait(shmif_port* port, int* at_most_ms) {
  const shmif::WaitHint hint = port->port.prepare_wait();
  const bool ready = hint.ready || port->holds_frames();
  port->settle_held();
  *at_most_ms = ready ? 0 : to_poll_timeout(hint.at_most);
  return ready ? 1 : 0;
}

void shmif_finish_wait(shmif_port* port) {
  port->port.finish_wait();
}

void shmif_mac(const shmif_port* port, uint8_t mac[6]) {
  std::memcpy(mac, port->port.mac().bytes.data(), 6);
}

int shmif_set_mac(shmif_port* port, const uint8_t mac[6]) {
  return guarded([=] {
    const std::error_code error = port->port.set_mac(shmif::MacAddress::read(mac));
    return error ? fail(error, "set the MAC address", *port) : 0;
  });
}

int shmif_set_promiscuous(shmif_port* port, int on) {
  return guarded([=] {
    const std::error_code error = port->port.set_promiscuous(on != 0);
    return error ? fail(error, "set promiscuous mode", *port) : 0;
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
    const shmif::PortCounters now = port->port.counters();
    shmif_counters all{};
    all.tx_frames = now.tx_frames;
    all.tx_bytes = now.tx_bytes;
    all.rx_frames = now.rx_frames;
    all.rx_bytes = now.rx_bytes;
    all.own_frames = now.own_frames;
    all.filtered_frames = now.filtered_frames;
    all.skipped_frames = now.skipped_frames;
    all.overruns = now.overruns;
    all.lost_frames = now.lost_frames;
    all.lost_bytes = now.lost_bytes;
    all.corrupt = now.corrupt;
    all.wakeups = now.wakeups;
    all.doorbells = now.doorbells;
    all.lock_sleeps = now.lock_sleeps;
    all.pauses = now.pauses;
    all.paused_ns = now.paused_ns;
    all.tx_segments = now.tx_segments;
    all.rx_segments = now.rx_segments;
    all.too_long_frames = now.too_long_frames;
    all.refused_frames = now.refused_frames;
    hand_out(all, counters);
    return 0;
  });
}

int shmif_install_sigbus_guard(void) {
  return guarded([] {
    if (shmif::install_sigbus_guard()) return 0;
    return fail(std::error_code(errno, std::generic_category()),
                "cannot install the handler of SIGBUS");
  });
}

const char* shmif_version(void) {
  static_assert(std::string_view(SHMIF_HEADER_VERSION) == SHMIF_PROJECT_VERSION);
  return SHMIF_PROJECT_VERSION;
}

const char* shmif_strerror(int result) {
  switch (-result) {
    case 0: return "no error";
    case EEXIST: return "the path, the port's name or its MAC exists already";
    case EAGAIN: return "the bus is not ready: its creator has not finished";
    case ENOSPC:
      return "no room: on the disk, in the port table, or between the claims of stopped writers";
    case EINVAL: return "not a bus of this version, or an argument out of range";
    case E2BIG: return "the path is too long";
    case EMSGSIZE: return "the frame exceeds the MTU of the bus";
    case ENETDOWN: return "the port is down";
    case EINTR: return "interrupted while it waited for slow ports";
    case ENXIO: return "the port is not linked to a bus";
    case EIO: return "the bus is corrupt, or its file was truncated";
    case EPERM: return "not permitted, or in the child of a fork";
    case EOPNOTSUPP: return "this machine or file system cannot do it";
    default:
      return strerrordesc_np(-result) != nullptr ? strerrordesc_np(-result) : "unknown error";
  }
}

const char* shmif_message(void) {
  return last_message().c_str();
}
