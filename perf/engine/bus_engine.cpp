// engine=bus: a bus file, named by the job or made for the run, with a port for each end.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <random>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "perf/engine/engine.hpp"
#include "perf/engine/link_end.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"

namespace shmif::perf {
namespace {

/// The port of an earlier job with the same name may still exist: the kernel cleans up a killed
/// process late.
constexpr std::chrono::milliseconds kNamePatience{2000};
constexpr std::size_t kLongestName = 31;

/// Takes the port's own counts: other processes could overwrite the copies in the port table.
///
/// Received frames are those that reached this end whole. Frames passed over by an overrun count as
/// lost, because their addresses are no longer known.
WireCounters counters_of(const Port& port) noexcept {
  const PortCounters c = port.counters();
  return {.tx_frames = c.tx_frames,
          .tx_bytes = c.tx_bytes,
          .rx_frames = c.rx_frames,
          .rx_bytes = c.rx_bytes,
          .lost_frames = c.lost_frames,
          .overruns = c.overruns,
          .lost_is_lower_bound = c.lost_is_lower_bound(),
          .dropped_frames = std::nullopt,
          .corrupt = c.corrupt};
}

/// How many frames of the bus have passed the port since it was attached.
std::uint64_t frames_passed(const Port& port) noexcept {
  const PortCounters c = port.counters();
  return c.rx_frames + c.own_frames + c.filtered_frames + c.skipped_frames + c.lost_frames;
}

/// ThreadSanitizer would report a frame that is read while a sender overwrites it.
#if defined(__SANITIZE_THREAD__)
constexpr bool kMayReadInPlace = false;
#elif defined(__has_feature)
constexpr bool kMayReadInPlace = !__has_feature(thread_sanitizer);
#else
constexpr bool kMayReadInPlace = true;
#endif

/// The hot path: only a port. It does not wait for ports that read slowly, so the job can go on
/// watching its clock.
class BusEnd final : public End {
 public:
  explicit BusEnd(Port port)
      : port_(std::move(port)), frames_before_(port_.bus_frames() - frames_passed(port_)) {}

  SendResult send(std::span<const FrameView> frames) noexcept override {
    return port_.try_send(frames);
  }
  ReceiveResult receive(FrameBatch& into) noexcept override { return port_.receive(into); }
  bool lends() const noexcept override { return kMayReadInPlace; }
  ReceiveResult lend(FrameBatch& into) noexcept override { return port_.receive_in_place(into); }
  std::size_t give_back() noexcept override { return port_.release(); }
  void wait(std::chrono::nanoseconds at_most) noexcept override { (void)port_.wait(at_most); }
  void wait_to_send(std::chrono::nanoseconds at_most) noexcept override {
    sleep_for(std::min<std::chrono::nanoseconds>(at_most, kShortWhile));
  }
  std::size_t max_frame_bytes() noexcept override { return port_.max_frame_bytes(); }
  std::string address() override { return port_.address(); }
  WireCounters counters() noexcept override { return counters_of(port_); }
  std::optional<std::uint64_t> unread() noexcept override {
    // This look passes over frames for others, in front of the first one for this port.
    if (!port_.wait(std::chrono::nanoseconds(0))) return 0;
    const std::uint64_t passed = frames_before_ + frames_passed(port_);
    const std::uint64_t sent = port_.bus_frames();
    return sent >= passed ? std::optional(sent - passed) : std::nullopt;  // 0: the bus is corrupt
  }

 private:
  Port port_;
  std::uint64_t frames_before_;  // sent on the bus before this port counted
};

/// Removes the file that was made for a run, also if it was truncated and is no longer a bus.
void remove_bus(const std::string& path) noexcept {
  constexpr bool kForce = true;
  if (Bus::destroy(path, kForce)) return;
  std::error_code ignored;  // already removed
  std::filesystem::remove(path, ignored);
}

class BusWire final : public Wire {
 public:
  /// `maker`: the process that made the bus for the run, and removes it; 0: it is the user's.
  BusWire(std::string path, pid_t maker, bool pauses)
      : path_(std::move(path)), maker_(maker), pauses_(pauses) {}
  ~BusWire() override {
    // Not in a forked job: others still use the bus.
    if (maker_ == ::getpid()) remove_bus(path_);
  }

  Capabilities capabilities() const noexcept override {
    Capabilities can = kBusEngine.capabilities;
    can.pauses = pauses_;
    return can;
  }
  std::string address() const override { return "bus:" + path_; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    Port port({.name = bus_port_name(options),
               .mac = mac_of(options),
               .promiscuous = options.promiscuous,
               .name_patience = kNamePatience});
    if (auto attached = port.attach(path_); !attached) return std::move(attached).error();
    if (const std::error_code error = port.up()) {
      return Error(error, "cannot bring port \"" + port.name() + "\" on " + path_ +
                              " up: " + error.message());
    }
    if (!wants_faults(options))
      return std::unique_ptr<End>(std::make_unique<BusEnd>(std::move(port)));
    return make_end(std::move(port), options, RoomWait::sleep, counters_of);
  }

 private:
  std::string path_;
  pid_t maker_;
  bool pauses_;
};

/// Refuses a bus on which other ports could disturb the run. Result: whether it pauses senders.
Result<bool> check_bus(const JobOptions& job, std::size_t ends) {
  auto bus = Bus::open(job.bus);
  if (!bus) {
    if (bus.error().code != std::errc::no_such_file_or_directory) return std::move(bus).error();
    return Error(bus.error().code, "there is no bus at " + job.bus + " (make it by " +
                                       base::quote_command("shmifctl create", job.bus) +
                                       ", or leave 'bus' out, and the run makes its own)");
  }
  const BusInfo info = bus->info();
  const auto live = static_cast<std::size_t>(std::ranges::count_if(info.ports, &PortInfo::live));
  if (live > 0 && !job.allow_live) {
    const auto port = std::ranges::find_if(info.ports, &PortInfo::live);
    return Error(Errc::busy,
                 "the bus " + job.bus + " has " + std::to_string(live) + " live port" +
                     (live == 1 ? "" : "s") + ", such as \"" + port->name + "\" of process " +
                     std::to_string(port->pid) +
                     ", and the traffic would reach that program (set allow_live=1 to allow this)");
  }
  if (info.has_port_table() && ends > info.slots - live) {
    return Error(Errc::table_full,
                 "the bus " + job.bus + " has room for " + std::to_string(info.slots - live) +
                     " ports, but " + std::to_string(ends) +
                     " jobs need one each (remove other ports, or use fewer jobs)");
  }
  return info.flow == Flow::pause;
}

/// Attaches once before any job starts. So an unusable bus is found early, and its warnings are
/// logged once and not by every job.
Result<void> try_to_attach(const std::string& path) {
  Port port;
  return port.attach(path);
}

/// The directory for buses.
std::filesystem::path home_of_buses() {
  std::error_code none;
  const std::filesystem::path shm = "/dev/shm";
  const bool usable = ::access(shm.c_str(), W_OK | X_OK) == 0;
  return usable ? shm : std::filesystem::temp_directory_path(none);
}

constexpr std::string_view kOurs = "shmifperf-";

/// The prefix of the names of all buses that this process makes for runs.
std::string prefix_of(pid_t process) {
  return std::string(kOurs) + std::to_string(process) + '-';
}

/// The process that made a bus in `home_of_buses()`; empty if it was not made for a run.
std::optional<pid_t> maker_of(const std::string& name) {
  if (!name.starts_with(kOurs)) return std::nullopt;
  pid_t pid = 0;
  const char* const begin = name.data() + kOurs.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), pid);
  const bool whole = error == std::errc{} && end != name.data() + name.size() && *end == '-';
  return whole && pid > 0 ? std::optional(pid) : std::nullopt;
}

/// Whether the bus is unusable: the file was truncated, or never filled.
bool is_ruin(const Error& error) noexcept {
  return error.code == Errc::not_ready || error.code == Errc::wrong_size ||
         error.code == Errc::not_a_bus;
}

/// Removes the buses of killed runs, except recent ones: a process in another PID namespace, which
/// is not visible here, may have made one and not attached to it yet.
void remove_stale_buses() {
  constexpr std::chrono::minutes kOld{1};
  std::error_code failed;
  std::filesystem::directory_iterator entry(home_of_buses(), failed);
  const std::filesystem::directory_iterator end;
  for (; !failed && entry != end; entry.increment(failed)) {
    const auto maker = maker_of(entry->path().filename().string());
    if (!maker || ::kill(*maker, 0) == 0 || errno != ESRCH) continue;
    std::error_code unknown;
    const auto written = entry->last_write_time(unknown);
    if (unknown || std::filesystem::file_time_type::clock::now() - written < kOld) continue;
    constexpr bool kForce = false;  // refuses while a port is attached
    const auto removed = Bus::destroy(entry->path(), kForce);
    if (!removed && is_ruin(removed.error())) std::filesystem::remove(entry->path(), unknown);
  }
}

std::string fresh_path() {
  std::random_device random;
  std::array<char, 16> number{};
  (void)std::snprintf(number.data(), number.size(), "%08x", random());
  return (home_of_buses() / (prefix_of(::getpid()) + number.data())).string();
}

Result<std::unique_ptr<Wire>> make_bus_wire(const JobOptions& job, std::size_t ends) {
  if (!job.bus.empty()) {
    const auto pauses = check_bus(job, ends);
    if (!pauses) return pauses.error();
    if (auto attached = try_to_attach(job.bus); !attached) return std::move(attached).error();
    return std::unique_ptr<Wire>(std::make_unique<BusWire>(job.bus, 0, *pauses));
  }
  remove_stale_buses();
  const std::string path = fresh_path();
  auto made = Bus::create(path, {.ring_bytes = job.bus_size_bytes,
                                 .mtu = job.mtu,
                                 .flow = job.bus_pause ? Flow::pause : Flow::ethernet});
  if (!made) return std::move(made).error();
  auto wire = std::make_unique<BusWire>(path, ::getpid(), job.bus_pause);
  JobOptions own = job;
  own.bus = path;
  if (auto fit = check_bus(own, ends); !fit) return std::move(fit).error();
  return std::unique_ptr<Wire>(std::move(wire));
}

}  // namespace

std::string bus_port_name(const EndOptions& options) {
  std::string name = options.name;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return c <= ' ' || c > '~'; }, '_');
  if (name.size() <= kLongestName) return name;
  const std::string tail = '~' + std::to_string(options.index);
  return name.substr(0, kLongestName - tail.size()) + tail;
}

void remove_buses_of(pid_t process) noexcept {
  std::error_code failed;
  std::filesystem::directory_iterator entry(home_of_buses(), failed);
  const std::filesystem::directory_iterator end;
  const std::string prefix = prefix_of(process);
  for (; !failed && entry != end; entry.increment(failed)) {
    if (!entry->path().filename().string().starts_with(prefix)) continue;
    std::error_code ignored;  // owned by another user, or already removed
    std::filesystem::remove(entry->path(), ignored);
  }
}

const Engine kBusEngine{.kind = EngineKind::bus,
                        .name = "bus",
                        .wire = "a bus file: the one named, or one made for the run",
                        .capabilities = {.counts = true, .batches = true, .overruns = true},
                        .through = Through::memory,
                        .passes_network = false,
                        .make_wire = make_bus_wire};

}  // namespace shmif::perf
