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
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <system_error>

#include "base/files.hpp"
#include "base/text.hpp"
#include "tap/netlink.hpp"
#include "tools/common/command.hpp"
#include "tools/common/json.hpp"
#include "tools/show/describe.hpp"

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

/// Whether `child` is the first process of another pid namespace and has exactly the rights of
/// `supervisor`. A name does not prove that, because every process chooses its own.
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

/// The init of the host that `supervisor` runs; empty if `supervisor` does not run a host.
std::optional<pid_t> init_of(pid_t supervisor) {
  for (const pid_t child : children_of(supervisor)) {
    if (is_init_of(child, supervisor)) return child;
  }
  return std::nullopt;
}

std::vector<std::string> words_of(pid_t pid) {
  std::vector<std::string> words;
  constexpr std::size_t kMax = 4096;
  // The read is bounded, because a process chooses the memory that the kernel shows, and its size.
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
      // A bridge has the same MAC address as the interface in it. In that case, the interface has
      // no addresses.
      if (each.name.empty() || !found.addresses.empty()) each.name = found.name;
      for (const tap::Cidr& cidr : found.addresses) each.addresses.push_back(cidr.to_string());
      if (!each.addresses.empty()) break;
    }
  }
}

/// Whether a port of this kind can belong to a host.
bool is_of_a_host(const PortInfo& port) {
  return port.link == LinkKind::tap || port.link == LinkKind::veth;
}

/// Whether this program may open no more files, and so cannot see the processes of any host. If so,
/// `host` says that.
bool lacks_files(Host& host) {
  const UniqueFd another(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  if (another) return false;
  host.unknown_error = errno;
  host.unknown = "the files of its processes cannot be read: " +
                 std::generic_category().message(host.unknown_error);
  return true;
}

/// Finds the processes of the host that `host.owner` runs. Result: false if it does not run a host.
bool look_at(Host& host) {
  const auto init = init_of(host.supervisor);
  if (!init) return is_of_a_host(host.interfaces.front().port) && lacks_files(host);
  host.init = *init;
  host.init_file = open_process(host.init);
  const auto ending = [&host] {
    if (!lacks_files(host)) host.unknown = "the host is just ending";
    return is_of_a_host(host.interfaces.front().port);
  };
  // Checks it again, now that the pidfd holds the process.
  if (!is_init_of(host.init, host.supervisor)) return ending();
  const std::vector<pid_t> inside = children_of(host.init);
  if (!inside.empty()) {
    host.pid = inside.front();  // the program is its first child, and init ends with it
  }
  look_at_interfaces(host);
  // Files read by pid belong to the held processes, if these are still alive.
  const auto children = children_of(host.supervisor);
  if (!host.init_file || std::ranges::find(children, host.init) == children.end() ||
      has_ended(host.init_file) || host.owner->has_ended()) {
    return ending();
  }
  return true;
}

/// Throws if the port table does not belong to ports on this machine.
void expect_ports_here(const BusInfo& bus, const std::string& what) {
  if (bus.is_copy) {
    throw Exception(Error(Errc::copied_file,
                          "cannot look for " + what + ' ' + bus.path +
                              ": its header names another file (use the bus that it was copied "
                              "from; if this is that bus, " +
                              base::quote_command("shmifctl repair", bus.path) +
                              " restores the header)"));
  }
  if (bus.mapped_as.empty()) {
    throw Exception(Error::from_errno(ENOENT, "cannot look for " + what + ' ' + bus.path,
                                      "/proc is not mounted"));
  }
}

/// The process of each live port that `wanted` chooses, or why it is not known. Ports of the same
/// process are grouped together.
template <class Wanted>
std::vector<Host> processes_on(const BusInfo& bus, const Wanted& wanted) {
  bus::PortOwners owners(bus);
  std::vector<Host> found;
  for (const PortInfo& port : bus.ports) {
    if (!port.live || !wanted(port)) continue;
    auto owner = owners.owner_of(port);
    const std::string unknown = owner ? std::string() : owner.error().message;
    const auto same = std::ranges::find_if(found, [&](const Host& each) {
      return each.supervisor == port.pid && each.unknown == unknown;
    });
    if (same != found.end()) {
      same->interfaces.push_back({port, {}, {}});
      continue;
    }
    Host& host = found.emplace_back();
    host.supervisor = port.pid;
    host.interfaces.push_back({port, {}, {}});
    host.unknown = unknown;
    if (owner) {
      host.owner.emplace(*std::move(owner));
    } else {
      host.unknown_error = owner.error().code.value();
    }
  }
  return found;
}

/// Throws the error for a name that no live port has. `kind`: what the caller looked for.
[[noreturn]] void throw_not_found(const BusInfo& bus, const std::string& kind,
                                  const std::string& name) {
  std::vector<std::string> known;
  for (const PortInfo& port : bus.ports) {
    if (port.live) known.push_back(port.name);
  }
  const auto meant = nearest(name, known);
  const std::string list = kind == "host" ? "ps" : "stat";
  const std::string hint =
      meant ? "did you mean \"" + *meant + "\"?"
            : base::quote_command("shmifctl " + list, bus.path) + " lists the " + kind + 's';
  throw Exception(Error(std::make_error_code(std::errc::no_such_file_or_directory),
                        "cannot find " + kind + " \"" + name + "\" on bus " + bus.path + ": no " +
                            kind + " of that name (" + hint + ')'));
}

/// The process that has the port `name`, with all of its ports. If its process is not known, the
/// result says why. Throws an Error if there is no such port, or if there are several.
Host process_named(const BusInfo& bus, const std::string& kind, const std::string& name) {
  expect_ports_here(bus, "the " + kind + "s of");
  std::set<std::int32_t> pids;
  for (const PortInfo& port : bus.ports) {
    if (port.live && port.name == name) pids.insert(port.pid);
  }
  auto found = processes_on(bus, [&](const PortInfo& port) { return pids.contains(port.pid); });
  std::erase_if(found, [&](const Host& host) {
    return std::ranges::none_of(host.interfaces,
                                [&](const auto& each) { return each.port.name == name; });
  });
  if (found.empty()) throw_not_found(bus, kind, name);
  const auto is_known = [](const Host& host) { return host.owner.has_value(); };
  if (std::ranges::count_if(found, is_known) > 1) {
    throw Exception(
        Error(Errc::bad_argument, "cannot find " + kind + " \"" + name + "\" on bus " + bus.path +
                                      ": several processes have a port of that name (a writer has "
                                      "overwritten the port table)"));
  }
  const auto known = std::ranges::find_if(found, is_known);
  return std::move(known != found.end() ? *known : found.front());
}

/// Throws the error for a port whose process is not known.
[[noreturn]] void throw_unknown(const Host& host, const std::string& what) {
  throw Exception(Error::from_errno(host.unknown_error, "cannot find " + what, host.unknown));
}

}  // namespace

std::vector<Host> hosts_of(const BusInfo& bus) {
  expect_ports_here(bus, "the hosts of");
  auto found = processes_on(bus, [](const PortInfo&) { return true; });
  std::erase_if(found, [](Host& host) {
    return host.owner ? !look_at(host) : !is_of_a_host(host.interfaces.front().port);
  });
  return found;
}

void read_command(Host& host) {
  if (host.pid <= 0) return;
  host.command = words_of(host.pid);
  if (has_ended(host.init_file)) host.command.clear();  // the pid may belong to another process
}

Host host_by_name(const BusInfo& bus, const std::string& name) {
  const std::string what = "host \"" + name + "\" on bus " + bus.path;
  Host host = process_named(bus, "host", name);
  const auto port = std::ranges::find_if(host.interfaces,
                                         [&](const auto& each) { return each.port.name == name; });
  const bool can_be = host.owner ? look_at(host) : is_of_a_host(port->port);
  if (!can_be) {
    throw Exception(Error::from_errno(
        EINVAL, "cannot find " + what,
        std::string("that ") + to_string(port->port.link) + " port belongs to process " +
            std::to_string(host.supervisor) + ", not to a host that 'shmifctl exec' runs"));
  }
  if (!host.unknown.empty()) throw_unknown(host, "the processes of " + what);
  return host;
}

Host process_by_port(const BusInfo& bus, const std::string& name) {
  Host process = process_named(bus, "port", name);
  if (!process.owner)
    throw_unknown(process, "the process of port \"" + name + "\" on bus " + bus.path);
  return process;
}

void let_go_of_streams() {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) return;
  (void)::dup2(nothing, STDIN_FILENO);
  (void)::dup2(nothing, STDOUT_FILENO);
  if (nothing > STDERR_FILENO) ::close(nothing);
}

// ---- As text and JSON ----

namespace {

Json json_of(const HostInterface& each, bool known) {
  const bool named = known && !each.name.empty();
  return {{"port", each.port.name},
          {"slot", each.port.slot},
          {"mac", each.port.mac.is_unicast() ? Json(each.port.mac.to_string()) : Json(nullptr)},
          {"link", to_string(each.port.link)},
          {"up", each.port.up},
          {"interface", named ? Json(each.name) : Json(nullptr)},
          {"addresses", named ? Json(each.addresses) : Json(nullptr)}};
}

Json json_of(const Host& host) {
  const bool known = host.unknown.empty();
  Json interfaces = Json::array();
  for (const HostInterface& each : host.interfaces) interfaces.push_back(json_of(each, known));
  const auto number = [&](pid_t pid) { return known && pid > 0 ? Json(pid) : Json(nullptr); };
  return {{"name", host.name()},
          {"pid", number(host.pid)},
          {"init_pid", number(host.init)},
          {"supervisor_pid", host.supervisor > 0 ? Json(host.supervisor) : Json(nullptr)},
          {"command", known ? Json(host.command) : Json(nullptr)},
          {"interfaces", interfaces},
          {"unknown", known ? Json(nullptr) : Json(host.unknown)}};
}

/// A program chooses its own command line, so the table shows at most this much of it.
constexpr std::size_t kMaxOfCommand = 60;

}  // namespace

std::string to_text(const std::vector<Host>& hosts) {
  std::vector<std::vector<std::string>> rows = {{"host", "pid", "interface", "address", "command"}};
  for (const Host& host : hosts) {
    const bool known = host.unknown.empty();
    std::string command;
    for (const std::string& word : host.command) command += (command.empty() ? "" : " ") + word;
    bool first = true;
    for (const HostInterface& each : host.interfaces) {
      const std::vector<std::string> none = {"-"};
      const std::vector<std::string>& addresses = each.addresses.empty() ? none : each.addresses;
      for (const std::string& address : addresses) {
        const bool next = &address != &addresses.front();  // it belongs to the same interface
        rows.push_back(
            {next ? "" : each.port.name,
             !first                  ? ""
             : known && host.pid > 0 ? std::to_string(host.pid)
                                     : "-",
             next                ? ""
             : each.name.empty() ? "-"
                                 : base::printable(each.name),
             address,
             first ? base::shortened(base::printable(known ? command : '(' + host.unknown + ')'),
                                     kMaxOfCommand)
                   : ""});
        first = false;
      }
    }
  }
  return aligned(rows);
}

std::string to_json(const std::string& path, const std::vector<Host>& hosts) {
  Json list = Json::array();
  for (const Host& host : hosts) list.push_back(json_of(host));
  return json_text({{"path", path}, {"hosts", list}});
}

}  // namespace shmif::tools
