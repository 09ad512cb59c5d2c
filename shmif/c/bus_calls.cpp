// The calls of the C facade that need no port: create, remove, look, repair, ask for changes,
// errors and versions, follow.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/c/facade.hpp"
#include "shmif/control/change.hpp"
#include "shmif/port.hpp"
#include "shmif/shmif.h"

namespace shmif::c {

BusOptions to_bus_options(const shmif_bus_options& given) {
  BusOptions bus;
  if (given.ring_bytes != 0) bus.ring_bytes = given.ring_bytes;
  if (given.mtu != 0) bus.mtu = given.mtu;
  if (given.mode != 0) bus.mode = given.mode;
  if (given.patience_ns != 0) {
    bus.flow = Flow::pause;
    bus.patience = std::chrono::nanoseconds(given.patience_ns);
  }
  if (given.format == SHMIF_FORMAT_NETBSD) bus.format = BusFormat::netbsd;
  return bus;
}

bool has_known_format(const shmif_bus_options& given) noexcept {
  return given.format == SHMIF_FORMAT_SHMIF || given.format == SHMIF_FORMAT_NETBSD;
}

namespace {

/// Copies a text with its end, cut to the room that there is.
void copy_text(std::string_view text, char* to, std::size_t room) noexcept {
  if (to == nullptr || room == 0) return;
  const std::size_t bytes = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), bytes);
  to[bytes] = '\0';
}

shmif_bus_info to_c(const BusInfo& bus) {
  shmif_bus_info info{};
  info.format = bus.format == BusFormat::netbsd ? SHMIF_FORMAT_NETBSD : SHMIF_FORMAT_SHMIF;
  info.mtu = bus.mtu;
  info.ring_bytes = bus.ring_bytes;
  info.patience_ns = bus.flow == Flow::pause ? bus.patience_ns : 0;
  info.created_ns = bus.created_ns;
  info.frames = bus.frames;
  info.repairs = bus.repairs;
  info.ports = static_cast<std::uint32_t>(bus.ports.size());
  info.max_ports = bus.slots;
  info.carries_offloads = bus.carries_offloads ? 1 : 0;
  return info;
}

std::uint32_t flags_of(const PortInfo& port, const LineState* line) noexcept {
  const auto flag = [](bool on, std::uint32_t bit) { return on ? bit : 0U; };
  return flag(port.live, SHMIF_PORT_LIVE) | flag(port.up, SHMIF_PORT_UP) |
         flag(port.carrier_known, SHMIF_PORT_CARRIER_KNOWN) |
         flag(port.carrier && port.carrier_known, SHMIF_PORT_CARRIER) |
         flag(port.promiscuous, SHMIF_PORT_PROMISCUOUS) | flag(port.pause, SHMIF_PORT_PAUSE) |
         flag(line != nullptr && line->takes_changes, SHMIF_PORT_TAKES_CHANGES) |
         flag(line != nullptr && line->partitioned, SHMIF_PORT_PARTITIONED) |
         flag(line != nullptr && line->counts.has_value(), SHMIF_PORT_LINE_COUNTED);
}

shmif_port_info to_c(const PortInfo& port, const LineState* line) {
  shmif_port_info info{};
  info.slot = port.slot;
  info.incarnation = port.incarnation;
  info.pid = port.pid;
  info.flags = flags_of(port, line);
  copy_text(port.name, info.name, sizeof info.name);
  copy_text(to_string(port.link), info.kind, sizeof info.kind);
  std::memcpy(info.mac, port.mac.bytes.data(), sizeof info.mac);
  info.tx_frames = port.tx_frames;
  info.tx_bytes = port.tx_bytes;
  info.rx_frames = port.rx_frames;
  info.rx_bytes = port.rx_bytes;
  info.own_frames = port.own_frames;
  info.filtered_frames = port.filtered_frames;
  info.skipped_frames = port.skipped_frames;
  info.overruns = port.overruns;
  info.lost_frames = port.lost_frames;
  info.corrupt = port.corrupt;
  info.unread_bytes = port.unread_bytes;
  if (line != nullptr && line->counts) {
    info.line_dropped_in = line->counts->dropped_in;
    info.line_dropped_out = line->counts->dropped_out;
    info.line_waiting = line->counts->waiting;
  }
  return info;
}

const LineState* line_of_row(const std::vector<LineState>& lines, const PortInfo& port) noexcept {
  const auto found = std::find_if(lines.begin(), lines.end(), [&](const LineState& line) {
    return line.slot == port.slot && line.incarnation == port.incarnation;
  });
  return found == lines.end() ? nullptr : &*found;
}

}  // namespace
}  // namespace shmif::c

using namespace shmif::c;

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

int shmif_repair(const char* path, int force) {
  return guarded([=] {
    if (path == nullptr) return bad_argument("shmif_repair: path is NULL");
    shmif::RepairOptions options;
    options.force = force != 0;
    const auto repaired = shmif::Bus::repair(path, options);
    return repaired ? 0 : fail(repaired.error());
  });
}

int shmif_inspect(const char* path, shmif_bus_info* info) {
  return guarded([=] {
    if (path == nullptr || info == nullptr || !has_size(info))
      return bad_argument("shmif_inspect: path or info is NULL, or info->size is 0");
    const auto bus = shmif::Bus::open(path);
    if (!bus) return fail(bus.error());
    hand_out(to_c(bus->info()), info);
    return 0;
  });
}

int shmif_list_ports(const char* path, shmif_port_info* ports, size_t count) {
  return guarded([=] {
    if (path == nullptr || (count != 0 && (ports == nullptr || !has_size(ports)))) {
      return bad_argument(
          "shmif_list_ports: path is NULL, or ports is NULL, or the size of the first is 0");
    }
    const auto bus = shmif::Bus::open(path);
    if (!bus) return fail(bus.error());
    const shmif::BusInfo info = bus->info();
    if (const auto has = shmif::check_port_table(info, "list the ports of"); !has)
      return fail(has.error());
    const std::vector<shmif::LineState> lines = shmif::line_states(*bus);
    const std::size_t given = std::min(count, info.ports.size());
    for (std::size_t i = 0; i < given; ++i) {
      const shmif::PortInfo& port = info.ports[i];
      hand_out(to_c(port, line_of_row(lines, port)), info_at(ports, i));
    }
    return static_cast<int>(info.ports.size());
  });
}

int shmif_line(const char* path, const char* port, char* text, size_t room) {
  return guarded([=] {
    if (path == nullptr || port == nullptr || text == nullptr || room == 0)
      return bad_argument("shmif_line: path, port or text is NULL, or there is no room");
    const auto bus = shmif::Bus::open(path);
    if (!bus) return fail(bus.error());
    for (const shmif::LineState& line : shmif::line_states(*bus)) {
      if (line.port != port) continue;
      copy_text(line.text, text, room);
      return static_cast<int>(std::min<std::size_t>(line.text.size(), INT_MAX));
    }
    return fail(std::make_error_code(std::errc::no_such_device),
                std::string("cannot tell the line of a port on ") + path + ": no port \"" + port +
                    "\" is attached ('shmifctl stat' lists the ports)");
  });
}

int shmif_change(const char* path, const char* port, const char* change, int timeout_ms,
                 char* answer, size_t room) {
  return guarded([=] {
    if (path == nullptr || change == nullptr || timeout_ms < 0)
      return bad_argument("shmif_change: path or change is NULL, or timeout_ms is negative");
    const auto said = shmif::request_change(path, port == nullptr ? "" : port, change,
                                            std::chrono::milliseconds(timeout_ms));
    if (!said) return fail(said.error());
    copy_text(*said, answer, room);
    return 0;
  });
}

// Errors and versions in the C facade.

namespace shmif::c {

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

int bad_argument(const char* what) {
  return fail(make_error_code(Errc::bad_argument), what);
}

}  // namespace shmif::c

int shmif_install_sigbus_guard(void) {
  return shmif::c::guarded([] {
    if (shmif::install_sigbus_guard()) return 0;
    return shmif::c::fail(std::error_code(errno, std::generic_category()),
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
  return shmif::c::last_message().c_str();
}

// The calls of the C facade that read a bus without a port on it.

using namespace shmif::c;

/// A follower, and the frames that were fetched but not yet asked for.
struct shmif_follower {
  explicit shmif_follower(shmif::Follower opened, std::string named)
      : follower(std::move(opened)), path(std::move(named)) {}

  bool holds_frames() const noexcept { return next < batch.size(); }

  shmif::Follower follower;
  std::string path;
  shmif::FrameBatch batch;
  std::size_t next = 0;    ///< the first frame of `batch` that the program has not asked for
  std::uint64_t lost = 0;  ///< not yet reported
};

int shmif_follow(const char* path, uint32_t flags, shmif_follower** follower) {
  return guarded([=] {
    if (follower == nullptr) return bad_argument("shmif_follow: follower is NULL");
    *follower = nullptr;
    if (path == nullptr) return bad_argument("shmif_follow: path is NULL");
    if ((flags & ~(uint32_t{SHMIF_START_OLDEST} | SHMIF_RESUME_NEWEST)) != 0) {
      return bad_argument(
          "shmif_follow: flags may have SHMIF_START_OLDEST and SHMIF_RESUME_NEWEST only");
    }
    const bool oldest = (flags & SHMIF_START_OLDEST) != 0;
    const bool newest = (flags & SHMIF_RESUME_NEWEST) != 0;
    auto opened = shmif::Follower::open(path, oldest ? shmif::Start::oldest : shmif::Start::now,
                                        newest ? shmif::Resume::newest : shmif::Resume::first);
    if (!opened) return fail(opened.error());
    *follower = std::make_unique<shmif_follower>(*std::move(opened), path).release();
    return 0;
  });
}

void shmif_unfollow(shmif_follower* follower) {
  delete follower;
}

int shmif_follower_receive(shmif_follower* follower, void* buffer, size_t room,
                           shmif_frame_info* info) {
  return guarded([=] {
    if (room == 0 || !has_size(info))
      return bad_argument("shmif_follower_receive: room or info->size is 0");
    if (!follower->holds_frames()) {
      follower->batch.clear();
      follower->next = 0;
      const shmif::ReceiveResult result = follower->follower.receive(follower->batch);
      follower->lost += result.lost;
      // Frames go first. An error that lasts appears again after they have been taken.
      if (result.error && follower->batch.empty()) {
        tell_no_frame(follower->lost, info);
        return fail(result.error,
                    "cannot receive from " + follower->path + ": " + result.error.message());
      }
    }
    if (!follower->holds_frames()) {
      tell_no_frame(follower->lost, info);
      return 0;
    }
    const shmif::FrameView& frame = follower->batch[follower->next++];
    const std::size_t copied = copy_to({buffer, room}, frame);
    tell(frame, copied, follower->lost, info);
    return static_cast<int>(copied);
  });
}

int shmif_follower_wait(shmif_follower* follower, int timeout_ms) {
  return guarded([=] {
    if (follower->holds_frames()) return 1;
    return follower->follower.wait(to_timeout(timeout_ms)) ? 1 : 0;
  });
}

int shmif_follower_descriptor(shmif_follower* follower) {
  return guarded([=] {
    const int descriptor = follower->follower.descriptor();
    if (descriptor >= 0) return descriptor;
    const std::error_code reason(errno, std::generic_category());
    return fail(reason,
                "cannot make a timer to follow " + follower->path + ": " + reason.message());
  });
}

int shmif_follower_prepare_wait(shmif_follower* follower, int* at_most_ms) {
  const shmif::WaitHint hint = follower->follower.prepare_wait();
  const bool ready = hint.ready || follower->holds_frames();
  *at_most_ms = ready ? 0 : to_poll_timeout(hint.at_most);
  return ready ? 1 : 0;
}

void shmif_follower_finish_wait(shmif_follower* follower) {
  follower->follower.finish_wait();
}

size_t shmif_follower_max_frame_bytes(const shmif_follower* follower) {
  return follower->follower.max_frame_bytes();
}

int shmif_follower_get_counters(const shmif_follower* follower, shmif_counters* counters) {
  return guarded([=] {
    if (counters == nullptr || !has_size(counters)) {
      return bad_argument("shmif_follower_get_counters: counters is NULL, or counters->size is 0");
    }
    hand_out(to_c(follower->follower.counters()), counters);
    return 0;
  });
}
