#include "tools/show/hosts.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "base/proc.hpp"
#include "tap/netlink.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

std::string path_of(pid_t pid, const std::string& name) {
  return "/proc/" + std::to_string(pid) + '/' + name;
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

UniqueFd open_process(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
}

bool has_ended(const UniqueFd& process) {
  pollfd entry{process.get(), POLLIN, 0};
  return ::poll(&entry, 1, 0) != 0;
}

/// Whether a process with these `maps` shares the file `mapped_as` (see BusInfo). Other inodes and
/// private mappings do not count: every process maps libraries.
bool shares_file(const std::string& maps, const std::string& mapped_as) {
  std::istringstream lines(maps);
  for (std::string line; std::getline(lines, line);) {
    const auto range = base::read_maps_line(line);
    if (range && range->is_shared && range->file == mapped_as) return true;
  }
  return false;
}

/// Whether `child` is the first process of another pid namespace and has exactly the rights of
/// `supervisor`. A name alone is no proof: every process chooses its own.
bool is_init_of(pid_t child, pid_t supervisor) {
  if (contents(path_of(child, "comm")) != "shmif-init\n") return false;
  const std::string status = contents(path_of(child, "status"));
  const auto pids = base::status_numbers(status, "NSpid");  // from the outermost namespace inwards
  if (pids.size() < 2 || pids.back() != 1) return false;
  std::error_code failed;
  const auto theirs = std::filesystem::read_symlink(path_of(child, "ns/pid"), failed);
  if (failed) return false;
  const auto ours = std::filesystem::read_symlink("/proc/self/ns/pid", failed);
  if (failed || theirs == ours) return false;
  const auto ids =
      base::status_numbers(status, "Uid");  // real, effective, saved, of the file system
  const auto wanted = base::status_numbers(contents(path_of(supervisor, "status")), "Uid");
  return ids.size() == 4 && wanted.size() == 4 &&
         std::ranges::all_of(ids, [&](std::uint64_t id) { return id == wanted[1]; });
}

std::vector<pid_t> children_of(pid_t parent) {
  std::istringstream words(
      contents(path_of(parent, "task/" + std::to_string(parent) + "/children")));
  std::vector<pid_t> pids;
  for (pid_t each = 0; words >> each;) pids.push_back(each);
  return pids;
}

/// The init of the host that `supervisor` runs; empty if it runs no host.
std::optional<pid_t> init_of(pid_t supervisor) {
  for (const pid_t child : children_of(supervisor)) {
    if (is_init_of(child, supervisor)) return child;
  }
  return std::nullopt;
}

std::vector<std::string> words_of(pid_t pid) {
  std::vector<std::string> words;
  constexpr std::size_t kMax = 4096;
  // Bounded, because a process chooses the memory that the kernel shows, and its size.
  std::ifstream file(path_of(pid, "cmdline"));
  std::string text(kMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMax) text.replace(kMax, std::string::npos, "...");
  std::istringstream line(text);
  for (std::string word; std::getline(line, word, '\0');) words.push_back(std::move(word));
  return words;
}

/// Finds the interfaces behind the ports by their MAC addresses.
void look_at_interfaces(Host& host) {
  const auto space = tap::NetNamespace::by_pid(host.init);
  if (!space) return;
  const auto netlink = tap::Netlink::open(*space);
  if (!netlink) return;
  const auto all = netlink->interfaces();
  if (!all) return;
  for (HostInterface& each : host.interfaces) {
    for (const tap::AddressedInterface& found : *all) {
      if (found.mac != each.port.mac) continue;
      // A bridge has the same MAC address as the interface in it, which has no addresses then.
      if (each.name.empty() || !found.addresses.empty()) each.name = found.name;
      for (const tap::Cidr& cidr : found.addresses) each.addresses.push_back(cidr.to_string());
      if (!each.addresses.empty()) break;
    }
  }
}

/// Finds the processes behind the ports of a host with the process `host.supervisor`. Result: false
/// if this is not a host.
bool look_at(Host& host, const std::string& mapped_as) {
  const std::string number = std::to_string(host.supervisor);
  const auto unknown = [&host](const std::string& why) {
    host.unknown = why;
    return host.interfaces.front().port.link == LinkKind::tap ||
           host.interfaces.front().port.link == LinkKind::veth;
  };
  host.supervisor_file = open_process(host.supervisor);
  if (!host.supervisor_file) {
    return unknown("process " + number + " is not visible here (another pid namespace?)");
  }
  const std::string maps = contents(path_of(host.supervisor, "maps"));
  if (maps.empty()) {
    host.unknown_error = EPERM;
    return unknown("process " + number + " belongs to another user");
  }
  if (!shares_file(maps, mapped_as)) {
    return unknown("process " + number + " is another process here, which does not use this bus");
  }
  const auto init = init_of(host.supervisor);
  if (!init) return false;
  host.init = *init;
  host.init_file = open_process(host.init);
  // Again, now that the pidfd holds the process.
  if (!is_init_of(host.init, host.supervisor)) return unknown("the host is just ending");
  const std::vector<pid_t> inside = children_of(host.init);
  if (!inside.empty()) {
    host.pid = inside.front();  // the program is its first child, and init ends with it
  }
  look_at_interfaces(host);
  // Files read by pid belong to the held processes, if those are still alive.
  const auto children = children_of(host.supervisor);
  if (!host.init_file || std::ranges::find(children, host.init) == children.end() ||
      has_ended(host.init_file) || has_ended(host.supervisor_file)) {
    return unknown("the host is just ending");
  }
  return true;
}

/// Two processes in different pid namespaces may have the same pid. Then a port belongs to the
/// process here only if an interface of its host has the port's address.
void drop_foreign_ports(std::vector<Host>& hosts) {
  for (Host& host : hosts) {
    if (!host.unknown.empty() || host.interfaces.size() == 1) continue;
    const bool any =
        std::ranges::any_of(host.interfaces, [](const auto& each) { return !each.name.empty(); });
    if (!any) continue;
    std::erase_if(host.interfaces, [](const auto& each) { return each.name.empty(); });
  }
}

}  // namespace

std::vector<Host> hosts_of(const BusInfo& bus) {
  if (bus.is_copy) {
    throw Exception(Error(Errc::copied_file,
                          "cannot look for the hosts of " + bus.path +
                              ": its header names another file (use the bus that it was copied "
                              "from; if this is that bus, 'shmifctl repair " +
                              bus.path + "' restores the header)"));
  }
  if (bus.mapped_as.empty()) {
    throw Exception(Error::from_errno(ENOENT, "cannot look for the hosts of " + bus.path,
                                      "/proc is not mounted"));
  }
  std::vector<Host> found;
  for (const PortInfo& port : bus.ports) {
    if (!port.live || port.pid <= 0) continue;
    const auto same = std::ranges::find(found, port.pid, &Host::supervisor);
    if (same != found.end()) {
      same->interfaces.push_back({port, {}, {}});
      continue;
    }
    Host& host = found.emplace_back();
    host.supervisor = port.pid;
    host.interfaces.push_back({port, {}, {}});
  }
  std::erase_if(found, [&](Host& host) { return !look_at(host, bus.mapped_as); });
  drop_foreign_ports(found);
  return found;
}

void read_command(Host& host) {
  if (host.pid <= 0) return;
  host.command = words_of(host.pid);
  if (has_ended(host.init_file)) host.command.clear();  // the pid may belong to another process
}

Host host_by_name(const BusInfo& bus, const std::string& name) {
  const std::string what = "host \"" + name + "\" on bus " + bus.path;
  for (Host& host : hosts_of(bus)) {
    const bool its = std::ranges::any_of(
        host.interfaces, [&](const HostInterface& each) { return each.port.name == name; });
    if (!its) continue;
    if (!host.unknown.empty()) {
      throw Exception(Error::from_errno(host.unknown_error, "cannot find the processes of " + what,
                                        host.unknown));
    }
    return std::move(host);
  }
  std::vector<std::string> known;
  for (const PortInfo& port : bus.ports) {
    if (!port.live) continue;
    known.push_back(port.name);
    if (port.name != name) continue;
    throw Exception(Error::from_errno(EINVAL, "cannot find " + what,
                                      std::string("that ") + to_string(port.link) +
                                          " port belongs to process " + std::to_string(port.pid) +
                                          ", not to a host that 'shmifctl exec' runs"));
  }
  const auto meant = nearest(name, known);
  const std::string hint =
      meant ? "did you mean \"" + *meant + "\"?" : "'shmifctl ps " + bus.path + "' lists the hosts";
  throw Exception(Error(std::make_error_code(std::errc::no_such_file_or_directory),
                        "cannot find " + what + ": no host of that name (" + hint + ')'));
}

void let_go_of_streams() {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) return;
  (void)::dup2(nothing, STDIN_FILENO);
  (void)::dup2(nothing, STDOUT_FILENO);
  if (nothing > STDERR_FILENO) ::close(nothing);
}

}  // namespace shmif::tools
