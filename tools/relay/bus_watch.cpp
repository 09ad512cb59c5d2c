#include "tools/relay/bus_watch.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "shmif/debug/debug.hpp"
#include "shmif/log.hpp"
#include "tap/device_settings.hpp"

namespace shmif::tools {

namespace {

/// Seconds between two checks, at first and at most.
constexpr unsigned kSoon = 1;
constexpr unsigned kLate = 16;

}  // namespace

BusWatch::BusWatch()
    : timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)), seconds_(kSoon) {
  if (!timer_ || !set_timer())
    throw Exception(Error::from_errno(errno, "cannot make a timer to watch the bus"));
}

bool BusWatch::set_timer() const {
  itimerspec next{};
  next.it_value.tv_sec = seconds_;
  return timerfd_settime(timer_.get(), 0, &next, nullptr) == 0;
}

void BusWatch::look_soon() {
  seconds_ = kSoon;
  static_cast<void>(set_timer());  // fails only for invalid arguments
}

void BusWatch::add(const Port& port) {
  all_.push_back({&port, Said::nothing});
}

void BusWatch::look(Watched& watched) {
  if (watched.said == Said::replaced || !watched.port->is_up()) return;
  const Result<Port::LinkState> link = watched.port->link();
  if (!link || link->still_named) return;
  struct stat now{};
  const bool replaced = lstat(link->path.c_str(), &now) == 0;
  if (!replaced && watched.said == Said::removed) return;
  debug(Debug::relay, [&] { return link->path + " was removed or replaced"; });
  watched.said = replaced ? Said::replaced : Said::removed;
  log_warning(
      replaced ? "another file is at " + link->path + " now; port " + watched.port->name() +
                     " stays on the old bus, and does not hear ports of a new one (restart this "
                     "command to join the new one)"
               : "the bus " + link->path + " was removed; port " + watched.port->name() +
                     " still works with the other attached ports, but no new port can join them");
}

/// Looks at each bus, and decides when to look again.
void BusWatch::look_at_all() {
  seconds_ = std::min(2 * seconds_, kLate);
  for (Watched& each : all_) look(each);
  if (std::ranges::any_of(all_, [](const Watched& w) { return w.said == Said::removed; }))
    seconds_ = kSoon;  // somebody may make another bus there soon
}

std::chrono::nanoseconds BusWatch::look_if_due(Clock::time_point now) {
  if (now >= due_) {
    look_at_all();
    due_ = now + std::chrono::seconds(seconds_);
  }
  return due_ - now;
}

Result<void> BusWatch::join(tap::Bridge& bridge, std::function<bool()> also) {
  return bridge.watch(timer_.get(), [this, also = std::move(also)] {
    std::uint64_t expirations = 0;
    static_cast<void>(read(timer_.get(), &expirations, sizeof expirations) > 0);
    look_at_all();
    const bool go_on = !also || also();
    static_cast<void>(set_timer());
    return go_on;
  });
}

void bring_up(Port& port, const std::string& bus) {
  if (const std::error_code error = port.up())
    throw Exception(Error(error, "cannot bring the port up on " + bus + ": " + error.message()));
}

void follow_bus(const std::string& path, int device, LinkKind kind, std::error_code error) {
  const bool carrier =
      (kind == LinkKind::tap || kind == LinkKind::veth) && !tap::set_carrier(device, kind, !error);
  if (error) {
    log_warning("cannot receive from the bus " + path + ": " + error.message() +
                (carrier ? "; the interface has no carrier until the bus is repaired" : "") +
                (error == Errc::lock_held ? "" : " (run 'shmifctl repair')"));
  } else {
    log_warning("the bus " + path + " works again" +
                (carrier ? ", and the interface has carrier" : ""));
  }
}

namespace {

/// At most this many processes are examined.
constexpr unsigned kMaxProcesses = 4096;

/// Each process decides how many mappings it has, and how long the names of their files are. So
/// there is a limit on what is read, for one process and for all.
constexpr std::size_t kMaxMapsBytes = std::size_t{1} << 20U;
constexpr std::size_t kMaxMapsBytesInAll = std::size_t{64} << 20U;

/// Whether the process maps a file that was at `path` and no longer has a name. `left`: how many
/// bytes may still be read of this process and the next ones.
bool has_mapped_removed(const std::string& pid, const std::string& path, std::size_t& left) {
  std::ifstream maps("/proc/" + pid + "/maps");
  const std::string tail = ' ' + path + " (deleted)";
  std::size_t bytes = 0;
  bool found = false;
  for (std::string line;
       !found && bytes < std::min(left, kMaxMapsBytes) && std::getline(maps, line);) {
    bytes += line.size() + 1;
    found = line.ends_with(tail);
  }
  left -= std::min(left, bytes);
  return found;
}

}  // namespace

void warn_of_hosts_left_behind(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path given(path);
  const std::filesystem::path directory =
      std::filesystem::canonical(given.has_parent_path() ? given.parent_path() : ".", unknown);
  DIR* const processes = unknown ? nullptr : opendir("/proc");
  if (processes == nullptr) return;
  const std::string whole = (directory / given.filename()).string();
  std::string pids;
  unsigned seen = 0;
  unsigned found = 0;
  std::size_t left = kMaxMapsBytesInAll;
  for (const dirent* entry = nullptr;
       seen < kMaxProcesses && (entry = readdir(processes)) != nullptr;) {
    const std::string pid = entry->d_name;
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    ++seen;
    if (!has_mapped_removed(pid, whole, left)) continue;
    if (++found <= 5) pids += (found == 1 ? "" : ", ") + pid;
  }
  closedir(processes);
  if (found == 0) return;
  if (found > 5) pids += " and " + std::to_string(found - 5) + " more";
  log_warning("an older bus was removed from " + path + " but is still used by " +
              (found == 1 ? "process " : "processes ") + pids +
              ": they do not hear ports of the new bus (restart them to join it)");
}

}  // namespace shmif::tools
