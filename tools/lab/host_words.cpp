#include "tools/lab/host_words.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/files.hpp"
#include "base/quantity.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "tap/guest/mounts.hpp"
#include "tools/common/command.hpp"
#include "tools/lab/keys.hpp"

namespace shmif::tools {

namespace {

/// The directory of a host's own, in which `path` is; empty if there is none. `exec` makes /run
/// private, and puts layers over /etc and /var/lib.
std::string private_root(const std::string& path) {
  for (const char* const root : {"/etc", "/run", "/var/lib"}) {
    if (path.starts_with(std::string(root) + '/')) return root;
  }
  return {};
}

/// In a host: whether a file of that path would be its own: the file, or the nearest directory that
/// is there, is on a mount of the host's own.
bool is_own(const std::string& path) {
  if (private_root(path).empty()) return false;
  struct statx found{};
  for (std::filesystem::path at = path;
       ::statx(AT_FDCWD, at.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &found) != 0;
       at = at.parent_path()) {
    if (!at.has_relative_path()) return false;
  }
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::uint64_t number = 0;
    if (!(words >> number) || number != found.stx_mnt_id) continue;
    std::string word;
    while (words >> word && word != "-") {  // proc(5): then the type, then the source
    }
    return words >> word >> word && word == tap::kGuestMount;
  }
  return false;
}

/// Says that a file of a host cannot be made. Result: false.
bool refuse_file(const std::string& path, const std::string& why) {
  complain("the host cannot have a file " + path + ": " + why);
  return false;
}

bool write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc | std::ios::binary);
  file << text;
  file.close();
  return !file.fail();
}

/// Puts `text` in place of a file that exists, for this host only.
bool cover(const std::string& path, const std::string& text) {
  std::string copy = "/run/lab-XXXXXX";
  const UniqueFd made(::mkostemp(copy.data(), O_CLOEXEC));
  const bool done = made && ::fchmod(made.get(), 0644) == 0 && write_text(copy, text) &&
                    ::mount(copy.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0;
  return done || refuse_file(path, "cannot put it over the one of the machine: " +
                                       std::string(std::strerror(errno)));
}

/// Elsewhere than in the directories of its own, a host has a file only in place of one that
/// exists. It never writes a file of the machine.
bool put_file(const std::string& path, const std::string& text) {
  if (!is_own(path)) {
    if (::access(path.c_str(), F_OK) == 0) return cover(path, text);
    if (const std::string root = private_root(path); !root.empty()) {
      return refuse_file(path, "on this machine, hosts share " + root +
                                   ", as the warning says (choose a place below /run)");
    }
    return refuse_file(path,
                       "a host has files of its own in /etc, /run and /var/lib, and in place of "
                       "files that exist (make the file on this machine, or choose one of these "
                       "folders)");
  }
  std::error_code failed;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failed);
  if (!failed) std::filesystem::remove(path, failed);
  errno = failed.value();
  if (!failed && write_text(path, text)) return true;
  return refuse_file(path, std::string(std::strerror(errno)) +
                               " (choose another place below /etc, /run or /var/lib)");
}

bool make_executable(const std::string& path) {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 &&
         ::chmod(path.c_str(), info.st_mode | (0111U & ~mask)) == 0;
}

bool make_file(const LabFile& file) {
  if (file.source.empty()) return put_file(file.path, file.contents);
  std::ifstream source(file.source, std::ios::binary);
  std::ostringstream text;
  text << source.rdbuf();
  if (!source.is_open() || source.bad()) {
    return refuse_file(file.path, "cannot read " + file.source + ": " + std::strerror(errno) +
                                      " (allow it to be read)");
  }
  if (!put_file(file.path, text.str())) return false;
  return ::access(file.source.c_str(), X_OK) != 0 || make_executable(file.path) ||
         refuse_file(file.path, "cannot make it executable: " + std::string(std::strerror(errno)));
}

/// Whether a line of /proc/net/tcp or udp is of a socket that has this port. `state`: the state of
/// the socket, or empty for any.
bool has_port(const std::string& path, unsigned port, std::string_view state) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);  // the head
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string number;
    std::string local;
    std::string remote;
    std::string has;
    words >> number >> local >> remote >> has;
    const std::size_t colon = local.rfind(':');
    if (colon == std::string::npos || (!state.empty() && has != state)) continue;
    if (base::read_digits(std::string_view(local).substr(colon + 1), 16) == port) return true;
  }
  return false;
}

/// A line of /etc/hosts without some names, or nothing if no other name is left. Empty: the line
/// has none of these names.
std::optional<std::string> without_names(const std::string& line,
                                         const std::set<std::string, std::less<>>& names) {
  std::istringstream words(line.substr(0, line.find('#')));
  std::string address;
  std::string left;
  bool has_one = false;
  words >> address;
  for (std::string name; words >> name;) {
    if (names.contains(name)) {
      has_one = true;
    } else {
      left += (left.empty() ? '\t' : ' ') + name;
    }
  }
  if (!has_one) return std::nullopt;
  return left.empty() ? left : address + left + '\n';
}

/// The options of exec for the name servers of a host. Hosts of a lab without a gateway could not
/// reach those of the machine: each look-up would wait some seconds.
std::vector<std::string> name_server_words(const Lab& lab, const LabHost& host) {
  if (host.kind == LabHostKind::vm) return {};  // it has a file of its own
  if (!host.name_servers && !lab.gateways.empty()) return {};
  if (!host.name_servers || host.name_servers->empty()) return {"--dns", "none"};
  std::vector<std::string> words;
  for (const tap::IpAddress& each : *host.name_servers) {
    words.insert(words.end(), {"--dns", each.to_string()});
  }
  return words;
}

}  // namespace

std::string lab_hosts_text(const Lab& lab) {
  std::string text;
  for (const LabHost& host : lab.hosts) {
    for (const LabInterface& interface : host.interfaces) {
      for (const auto& address : interface.addresses) {
        text += address.value.address.to_string() + '\t' + host.name;
        if (host.interfaces.size() > 1) text += ' ' + host.name + '.' + interface.bus.value;
        text += '\n';
      }
    }
  }
  return text;
}

HostsFileChange hosts_file_change(const Lab& lab, const LabHost& host, std::istream& of_machine) {
  std::set<std::string, std::less<>> names;
  for (const LabHost& each : lab.hosts) {
    names.insert(each.name);
    for (const LabInterface& interface : each.interfaces) {
      names.insert(each.name + '.' + interface.bus.value);
    }
  }
  HostsFileChange change;
  for (std::string line; std::getline(of_machine, line);) {
    if (auto rest = without_names(line, names)) {
      change.added += *rest;
      change.dropped.push_back(std::move(line));
    }
  }
  const std::string loopback = "127.0.1.1\t" + host.name;  // exec has added it
  change.dropped.push_back(loopback);
  const bool has_address = std::ranges::any_of(
      host.interfaces, [](const LabInterface& each) { return !each.addresses.empty(); });
  if (!has_address) change.added += loopback + '\n';
  change.added += lab_hosts_text(lab);
  return change;
}

bool make_lab_files(const Lab& lab, const LabHost& host) {
  constexpr const char* kNames = "/etc/hosts";
  const std::string names = base::text_of_regular_file(kNames);
  std::istringstream before(names);
  const HostsFileChange change = hosts_file_change(lab, host, before);
  std::istringstream again(names);
  std::string text;
  for (std::string line; std::getline(again, line);) {
    if (std::ranges::find(change.dropped, line) == change.dropped.end()) text += line + '\n';
  }
  text += change.added;
  if (is_own(kNames) ? !write_text(kNames, text) && !refuse_file(kNames, std::strerror(errno))
                     : !cover(kNames, text))
    return false;
  return std::ranges::all_of(host.files, make_file);
}

std::string program_of(const std::string& command) {
  constexpr const char* kBlanks = " \t\n";
  std::string word;
  for (std::size_t end = 0; word.empty() || word == "exec";) {
    const std::size_t begin = command.find_first_not_of(kBlanks, end);
    if (begin == std::string::npos) return {};
    end = std::min(command.find_first_of(kBlanks, begin), command.size());
    word = command.substr(begin, end - begin);
  }
  return word.find_first_of("$'\"`\\=;&|<>(){}*?[]~#!") == std::string::npos ? word : "";
}

bool has_program(const std::string& name, const std::string& folder) {
  const auto is_program = [](const std::string& path) {
    std::error_code failed;
    return ::access(path.c_str(), X_OK) == 0 && !std::filesystem::is_directory(path, failed);
  };
  if (name.find('/') != std::string::npos) {
    return is_program(name.front() == '/' ? name : folder + '/' + name);
  }
  const char* const path = std::getenv("PATH");
  const std::string all =
      std::string(path == nullptr ? "" : path) + ":/usr/local/sbin:/usr/sbin:/sbin";
  return std::ranges::any_of(base::split(all, ':'), [&](std::string_view each) {
    return is_program(std::string(each) + '/' + name);
  });
}

bool can_run_program(const LabHost& host, const std::string& folder) {
  const std::string program =
      program_of(host.kind == LabHostKind::vm ? host.made_by.value : host.run);
  if (program.empty() || has_program(program, folder)) return true;
  const bool is_path = program.find('/') != std::string::npos;
  // The shell has words of its own, such as "while" and "echo".
  const std::string question = "command -v " + base::quote_word(program) + " > /dev/null";
  if (!is_path && std::system(question.c_str()) == 0) return true;
  const bool is_there = is_path && ::access(program.c_str(), F_OK) == 0;
  complain("cannot run \"" + program + "\" in host " + host.name + ": " +
           (is_there ? "it is not executable (chmod +x)"
                     : "there is no such program (check its name, and that it is installed; a "
                       "path begins in the folder of the lab's file)"));
  return false;
}

std::vector<std::string> address_words(const LabInterface& interface) {
  std::vector<std::string> words;
  for (const auto& each : interface.addresses) {
    words.insert(words.end(), {"--ip", each.value.to_string()});
  }
  for (const auto& each : interface.gateways) {
    words.insert(words.end(), {"--gateway", each.value.to_string()});
  }
  if (interface.mac) words.insert(words.end(), {"--mac", interface.mac->value.to_string()});
  return words;
}

std::vector<std::string> line_words(const LabHost& host, const LabInterface& interface,
                                    std::optional<std::uint64_t> seed) {
  std::vector<std::string> words;
  if (interface.link_down) words.emplace_back("--link-down");
  if (interface.fault.empty() || interface.fault == "none") return words;
  words.insert(words.end(), {"--fault", seed ? with_seed(interface.fault, *seed,
                                                         host.name + '.' + interface.bus.value)
                                             : interface.fault});
  return words;
}

std::vector<std::string> exec_words(const Lab& lab, const LabHost& host,
                                    std::optional<std::uint64_t> seed) {
  std::vector<std::string> words{"exec"};
  for (std::size_t i = 0; i < host.interfaces.size(); ++i) {
    const LabInterface& interface = host.interfaces[i];
    if (i > 0) words.emplace_back("--bus");
    words.push_back(lab.find_bus(interface.bus_now())->path);
    words.insert(words.end(), {"--name", host.name});
    if (host.kind == LabHostKind::vm) {
      // The addresses are those of the machine, which opens this device.
      words.insert(words.end(), {"--lan", "--tap", "tap" + std::to_string(i)});
    } else {
      words.insert(words.end(), {"--ifname", interface.bus.value});
      const std::vector<std::string> more = address_words(interface);
      words.insert(words.end(), more.begin(), more.end());
    }
    const std::vector<std::string> line = line_words(host, interface, seed);
    words.insert(words.end(), line.begin(), line.end());
  }
  if (host.forward) words.emplace_back("--forward");
  const std::vector<std::string> name_servers = name_server_words(lab, host);
  words.insert(words.end(), name_servers.begin(), name_servers.end());
  const std::string& program = host.kind == LabHostKind::vm ? host.made_by.value : host.run;
  if (program.empty()) {
    words.insert(words.end(), {"--", "sleep", "infinity"});
  } else {
    words.insert(words.end(), {"--", "sh", "-c", program});
  }
  return words;
}

bool is_lab_host_ready(const LabHost& host, pid_t init) {
  const std::string process = "/proc/" + std::to_string(init);
  const unsigned port = host.ready.port;
  switch (host.ready.when) {
    case LabReady::When::up:
    case LabReady::When::log: return true;
    case LabReady::When::tcp:  // 0A: it listens
      return has_port(process + "/net/tcp", port, "0A") ||
             has_port(process + "/net/tcp6", port, "0A");
    case LabReady::When::udp:
      return has_port(process + "/net/udp", port, {}) || has_port(process + "/net/udp6", port, {});
    case LabReady::When::file:
      return ::access((process + "/root" + host.ready.text).c_str(), F_OK) == 0;
  }
  return true;
}

// ---- Control groups ----

namespace {

/// A hierarchy of control groups, and where this process is in it.
struct GroupTree {
  bool is_v2 = false;
  std::string own;  ///< the directory of our group
};

/// The hierarchy for `controller`; of version 2 if there is no other for it.
std::optional<GroupTree> tree_for(std::string_view controller) {
  std::ifstream mounts("/proc/self/mounts");
  std::string v1;
  std::string v2;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device;
    std::string place;
    std::string type;
    std::string options;
    words >> device >> place >> type >> options;
    if (type == "cgroup2" && v2.empty()) v2 = place;
    if (type != "cgroup") continue;
    for (const std::string_view option : base::split(options, ',')) {
      if (option == controller) v1 = place;
    }
  }
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto parts = base::split(line, ':');
    if (parts.size() < 3) continue;
    const std::string path(parts[2]);
    if (!v1.empty()) {
      for (const std::string_view each : base::split(parts[1], ',')) {
        if (each == controller) return GroupTree{false, v1 + (path == "/" ? "" : path)};
      }
    } else if (parts[1].empty() && !v2.empty()) {
      return GroupTree{true, v2 + (path == "/" ? "" : path)};
    }
  }
  return std::nullopt;
}

bool write_group_file(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// Makes a group with one limit. Result: its directory.
Result<std::string> limited_group(const std::string& name, const std::string& controller,
                                  const std::vector<std::pair<std::string, std::string>>& v1,
                                  const std::vector<std::pair<std::string, std::string>>& v2) {
  const std::string what = "cannot limit the " + controller + " of a host";
  const auto tree = tree_for(controller);
  if (!tree) return Error::from_errno(ENOENT, what, "there is no control group for it here");
  const std::string group = tree->own + '/' + name;
  if (tree->is_v2) write_group_file(tree->own + "/cgroup.subtree_control", '+' + controller);
  if (::mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, what + ": " + group);
  }
  for (const auto& [file, text] : tree->is_v2 ? v2 : v1) {
    const std::string path = std::string(group).append(1, '/').append(file);
    if (write_group_file(path, text)) continue;
    const int error = errno;
    ::rmdir(group.c_str());
    return Error::from_errno(error, std::string(what).append(": ").append(path),
                             "run the lab in a control group of its own, for instance with "
                             "systemd-run --user --scope -p Delegate=yes");
  }
  return group;
}

}  // namespace

Result<std::vector<std::string>> make_lab_groups(const std::string& lab, const LabHost& host) {
  const std::string name = "shmif-" + lab + '-' + host.name;
  std::vector<std::string> groups;
  if (host.memory_bytes) {
    const std::string bytes = std::to_string(*host.memory_bytes);
    Result<std::string> group =
        limited_group(name, "memory", {{"memory.limit_in_bytes", bytes}}, {{"memory.max", bytes}});
    if (!group) return std::move(group).error();
    groups.push_back(*std::move(group));
  }
  if (host.cpus) {
    const auto quota = static_cast<std::uint64_t>(*host.cpus * 100'000);
    Result<std::string> group = limited_group(
        name, "cpu", {{"cpu.cfs_period_us", "100000"}, {"cpu.cfs_quota_us", std::to_string(quota)}},
        {{"cpu.max", std::to_string(quota) + " 100000"}});
    if (!group) {
      for (const std::string& each : groups) ::rmdir(each.c_str());
      return std::move(group).error();
    }
    if (groups.empty() || groups.front() != *group) groups.push_back(*std::move(group));
  }
  return groups;
}

}  // namespace shmif::tools
