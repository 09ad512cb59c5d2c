#include "bus/repair/port_owners.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <set>
#include <string_view>
#include <utility>

#include "base/files.hpp"
#include "bus/file/liveness.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {
namespace {

constexpr const char* kFiltered = "a seccomp filter here";

Error reason(int number, std::string why) {
  return Error(std::error_code(number, std::generic_category()), std::move(why));
}

std::string process_text(pid_t pid) {
  return "process " + std::to_string(pid);
}

bool is_readable(int pidfd) noexcept {
  pollfd entry{pidfd, POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

UniqueFd open_pidfd(pid_t pid) noexcept {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
}

Error cannot_hold(pid_t pid, int number) {
  switch (number) {
    case ESRCH:
      return reason(ESRCH, process_text(pid) + " is not visible here (another pid namespace?)");
    case EINVAL:
    case ENOENT: return reason(ESRCH, process_text(pid) + " is a thread of another process here");
    case EPERM:
      return reason(EPERM, std::string("pidfd_open(2) is refused by ") + kFiltered +
                               ", and without it a signal could reach a later process");
    case ENOSYS: return reason(ENOSYS, "pidfd_open(2) is missing (Linux 5.3 or newer has it)");
    default:
      return reason(number, process_text(pid) +
                                " cannot be held: " + std::generic_category().message(number));
  }
}

/// Whether `proc` numbers processes as this process does. After unshare(2) it may belong to the
/// outer pid namespace.
bool numbers_as_we_do(const std::string& proc) {
  std::array<char, 32> target{};
  const ssize_t length = ::readlink((proc + "/self").c_str(), target.data(), target.size());
  if (length <= 0) return true;  // no such link: then its other files are missing, too
  pid_t pid = 0;
  const char* const end = target.data() + length;
  const auto [rest, error] = std::from_chars(target.data(), end, pid);
  return error != std::errc{} || rest != end || pid == ::getpid();
}

/// A file of at most 64 KiB; empty if it cannot be read.
std::string short_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(std::size_t{64} << 10U, '\0');
  std::size_t size = 0;
  while (file && size < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

/// Whether the real and the effective user are both the effective user of the caller.
bool is_of_calling_user(const std::string& status) {
  const auto ids = base::status_numbers(status, "Uid");
  return ids.size() == 4 && ids[0] == ::geteuid() && ids[1] == ::geteuid();
}

/// How to recognise the lines of one bus in /proc/PID/maps.
struct WantedMappings {
  std::string bus_file;     ///< device and inode, as /proc/PID/maps has them
  std::string plate_begin;  ///< of nameplates
  std::string old_begin;    ///< of nameplates of older libraries, which lack the device
};

struct SeenMappings {
  std::size_t lifelines = 0;
  std::set<std::string, std::less<>> nameplates{};
  bool has_old_plate = false;  ///< of this inode, on whatever device
};

/// Notes what one line of /proc/PID/maps says. `line` may be cut off.
void note_mapping(std::string_view line, const WantedMappings& wanted, SeenMappings& seen) {
  // "7f3a8c000000-7f3a8c001000 ---s 00000000 00:1a 4711   /dev/shm/bus0"
  base::take_word(line);
  if (base::take_word(line) != "---s") return;
  if (base::take_word(line).find_first_not_of('0') != std::string_view::npos) return;
  std::string file(base::take_word(line));
  file += ' ';
  file += base::take_word(line);
  if (file == wanted.bus_file) {
    ++seen.lifelines;
    return;
  }
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  constexpr std::string_view kDeleted = " (deleted)";  // the kernel adds it to every memfd
  if (!line.ends_with(kDeleted)) return;
  line.remove_suffix(kDeleted.size());
  if (line.starts_with(wanted.old_begin)) seen.has_old_plate = true;
  if (line.starts_with(wanted.plate_begin) && seen.nameplates.size() < kSlots)
    seen.nameplates.emplace(line);
}

}  // namespace

bool PortOwner::has_ended() const noexcept {
  return is_readable(process_.get());
}

Result<void> PortOwner::signal(int number) const {
  if (pid_ <= 1 || pid_ == ::getpid())
    return Error(Errc::bad_argument, pid_ == ::getpid() ? "that is this process itself"
                                                        : "process 1 keeps the others alive");
  if (::syscall(SYS_pidfd_send_signal, process_.get(), number, nullptr, 0U) == 0) return {};
  const int failed = errno;
  if (failed == ESRCH || has_ended()) return {};  // a zombie can refuse with EPERM
  if (failed == ENOSYS || (failed == EPERM && ::geteuid() == 0))
    return reason(failed, std::string("pidfd_send_signal(2) is refused by ") + kFiltered);
  return reason(failed, process_text(pid_) + " belongs to another user");
}

/// What the mappings of a process show of this bus.
struct PortOwners::Claimant {
  explicit Claimant(pid_t number) : pid(number) {}

  pid_t pid;
  UniqueFd process;
  SeenMappings seen{};
  bool is_whole = false;  ///< all of its mappings were read
  bool is_ours = false;   ///< it belongs to the calling user
  Result<void> looked{};  ///< why its mappings are not known
};

PortOwners::PortOwners(const BusInfo& bus, std::string proc)
    : bus_(bus),
      file_{.device = bus.device, .inode = bus.inode},
      proc_(std::move(proc)),
      deadline_(std::chrono::steady_clock::now() + kMaxTime) {}

PortOwners::~PortOwners() = default;

/// Result: false, and errno, if reading failed.
bool PortOwners::read_mappings(Claimant& it, int file) {
  // The lines that matter are shorter. Other lines may be longer: a process chooses the names of
  // its files.
  constexpr std::size_t kMaxLine = 512;
  const WantedMappings wanted{
      .bus_file = bus_.mapped_as,
      .plate_begin = "/memfd:" + nameplate_begin(file_),
      .old_begin = "/memfd:shmif-port:" + std::to_string(bus_.inode) + ':',
  };
  std::array<char, 16384> part;
  std::string line;
  for (std::size_t bytes = 0; bytes < kMaxBytes && bytes_read_ < kMaxBytesInAll &&
                              std::chrono::steady_clock::now() < deadline_;) {
    const ssize_t got = ::read(file, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) {
      it.is_whole = true;
      return true;
    }
    bytes += static_cast<std::size_t>(got);
    bytes_read_ += static_cast<std::size_t>(got);
    std::string_view rest(part.data(), static_cast<std::size_t>(got));
    while (!rest.empty()) {
      const std::size_t end = rest.find('\n');
      line.append(rest.substr(0, std::min({end, rest.size(), kMaxLine - line.size()})));
      if (end == std::string_view::npos) break;
      note_mapping(line, wanted, it.seen);
      line.clear();
      rest.remove_prefix(end + 1);
    }
  }
  return true;
}

void PortOwners::look_at(Claimant& it) {
  const std::string name = process_text(it.pid);
  if (bus_.mapped_as.empty() || !numbers_as_we_do(proc_)) {
    it.looked = reason(ENOENT, "/proc is not mounted, or that of another pid namespace");
    return;
  }
  it.process = open_pidfd(it.pid);
  if (!it.process) {
    it.looked = cannot_hold(it.pid, errno);
    return;
  }
  const std::string folder = proc_ + '/' + std::to_string(it.pid);
  const UniqueFd maps(::open((folder + "/maps").c_str(), O_RDONLY | O_CLOEXEC));
  int failed = maps ? 0 : errno;
  if (maps && !read_mappings(it, maps.get())) failed = errno;
  it.is_ours = is_of_calling_user(short_file(folder + "/status"));
  // O2. The mappings of an ended process cannot be read, whatever the errno says.
  if (is_readable(it.process.get())) {
    it.looked = reason(ESRCH, name + " has ended");
  } else if (failed == EACCES || failed == EPERM) {
    it.looked = reason(EPERM, name + (::geteuid() == 0 ? " is protected, even from root"
                                                       : " belongs to another user"));
  } else if (failed != 0) {
    it.looked = reason(failed, "the mappings of " + name +
                                   " cannot be read: " + std::generic_category().message(failed));
  }
}

PortOwners::Claimant& PortOwners::claimant(pid_t pid) {
  auto& known = known_[pid];
  if (!known) {
    known = std::make_unique<Claimant>(pid);
    look_at(*known);
  }
  return *known;
}

Result<void> PortOwners::prove(const PortInfo& port) {
  if (!port.live) return reason(ESRCH, "the port is dead");  // O1
  if (port.pid <= 0) return reason(ESRCH, "the port table names no process");
  const Claimant& it = claimant(port.pid);
  if (!it.looked) return it.looked;
  const std::string name = process_text(port.pid);
  const SeenMappings& seen = it.seen;
  if (seen.lifelines > 0) {  // O3
    const std::string wanted = "/memfd:" + nameplate_text(file_, port.slot, port.name);
    if (seen.nameplates.contains(wanted)) return {};  // O4
    if (!seen.nameplates.empty()) {
      return reason(ESRCH, name +
                               " has other ports on this bus, and not this one (somebody has "
                               "overwritten the port table)");
    }
  }
  if (!it.is_whole) return reason(E2BIG, name + " has too many mappings to be looked through");
  if (seen.lifelines == 0)
    return reason(ESRCH, name + " is another process here, which does not use this bus");
  if (seen.has_old_plate) {
    return reason(EPERM,
                  name +
                      " shows nameplates of an older shmif, which do not tell on which device "
                      "their bus is (end that process, and start it with this version)");
  }
  // O5
  const auto claims = std::ranges::count_if(
      bus_.ports, [&](const PortInfo& each) { return each.live && each.pid == port.pid; });
  const std::string plateless = name + " shows no nameplate of its ports (an older shmif?), and ";
  if (!it.is_ours || port.pid == 1)
    return reason(EPERM, plateless + "is not yours (ask its user, or end that process)");
  if (static_cast<std::size_t>(claims) > seen.lifelines)
    return reason(ESRCH, plateless + "more ports name it than it has");
  return {};
}

Result<PortOwner> PortOwners::owner_of(const PortInfo& port) {
  if (auto proven = prove(port); !proven) return std::move(proven).error();
  const Claimant& it = claimant(port.pid);
  UniqueFd own(::fcntl(it.process.get(), F_DUPFD_CLOEXEC, 3));
  if (!own) return cannot_hold(port.pid, errno);
  return PortOwner(port.pid, std::move(own));
}

}  // namespace shmif::bus
