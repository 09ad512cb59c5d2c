// What is wrong between the parts of a lab.

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "base/nearest.hpp"
#include "tools/lab/child.hpp"
#include "tools/lab/host_words.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kMaxLabPorts = 256;
constexpr std::uint32_t kMinMtuOfIpv6 = 1280;

std::string in_lower_case(std::string name) {
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

class LabChecker {
 public:
  LabChecker(const Lab& lab, LabProblems& problems) : lab_(lab), problems_(problems) {
    buses_.reserve(lab.buses.size());
    for (const LabBus& each : lab.buses) buses_.push_back(each.name);
    for (const LabHost& each : lab.hosts) {
      hosts_.push_back(each.name);
      if (hosts_.size() < 2 || each.group != each.name) hosts_.push_back(each.group);
    }
  }

  void check() {
    check_paths();
    const std::size_t before = problems_.errors();
    check_names();
    if (problems_.errors() == before) check_files();
    check_buses_of_parts();
    check_addresses();
    check_networks();
    check_order();
    for (const LabPerf& each : lab_.perfs) {
      if (!each.bus.value.empty()) expect_bus(each.bus);
      if (!each.host.value.empty()) check_perf_host(each.host);
    }
    check_machines();
    for (const LabEvent& each : lab_.events) check_event(each);
    if (lab_.test) check_test(*lab_.test);
  }

 private:
  static std::string meant(const std::string& word, const std::vector<std::string>& known) {
    const auto near = base::nearest(word, known);
    return near ? ", did you mean \"" + *near + "\"?" : "";
  }

  bool expect_bus(const LabName& bus) {
    if (lab_.find_bus(bus.value) != nullptr) return true;
    const std::string near = meant(bus.value, buses_);
    problems_.error(bus.place,
                    "there is no bus \"" + bus.value + '"' +
                        (near.empty() ? " (make one: bus." + bus.value + " = {})" : near));
    return false;
  }

  bool expect_host(const LabName& host) {
    if (!lab_.find_hosts(host.value).empty()) return true;
    const std::string near = meant(host.value, hosts_);
    problems_.error(host.place, "there is no host \"" + host.value + '"' +
                                    (near.empty() ? " (hosts are host.NAME)" : near));
    return false;
  }

  /// What an event starts, stops or waits for: a host or a run of shmifperf.
  bool expect_program(const LabName& program) {
    return lab_.find_perf(program.value) != nullptr || expect_host(program);
  }

  void check_perf_host(const LabName& host) {
    expect_one_host(host);
    const std::vector<const LabHost*> hosts = lab_.find_hosts(host.value);
    if (hosts.empty()) return;
    if (hosts.front()->machine.value.empty() && hosts.front()->kind == LabHostKind::program) return;
    problems_.error(host.place,
                    "shmifperf runs in a host with a program on this machine, and host." +
                        hosts.front()->name + " is a virtual machine, a container, or elsewhere");
  }

  /// Where a program runs: not in all hosts of a count.
  void expect_one_host(const LabName& host) {
    if (!expect_host(host) || lab_.find_hosts(host.value).size() == 1) return;
    problems_.error(host.place, "host." + host.value + " is " +
                                    std::to_string(lab_.find_hosts(host.value).size()) +
                                    " hosts: name one of them, such as \"" +
                                    lab_.find_hosts(host.value).front()->name + '"');
  }

  void check_paths() {
    std::map<std::string, std::string> paths;
    for (const LabBus& bus : lab_.buses) {
      const auto [at, fresh] = paths.emplace(bus.path, bus.name);
      if (!fresh) {
        problems_.error(bus.place, "bus." + bus.name + " and bus." + at->second +
                                       " have the same path, " + bus.path);
      }
    }
  }

  /// Hosts, gateways and captures are ports, and the names of ports differ on a bus.
  void check_names() {
    std::map<std::string, std::string> owners;
    const auto take = [&](const std::string& name, LabPlace place, const std::string& what) {
      const auto [at, fresh] = owners.emplace(name, what);
      if (!fresh) {
        problems_.error(place, what + " and " + at->second + " have the same name, \"" + name +
                                   "\": give one of them another");
      }
    };
    std::map<std::string, const LabHost*> lower;
    for (const LabHost& each : lab_.hosts) {
      take(each.name, each.place, "host." + each.group);
      const auto [at, fresh] = lower.emplace(in_lower_case(each.name), &each);
      if (fresh || at->second->name == each.name) continue;
      problems_.error(each.place, "host." + each.name + " and host." + at->second->name +
                                      " differ only in the case of letters, which does not count "
                                      "when a name is looked up: give one of them another");
    }
    for (const LabGateway& each : lab_.gateways)
      take(each.name, each.place, "gateway." + each.name);
    for (const LabCapture& each : lab_.captures) {
      take("capture-" + each.name, each.place, "capture." + each.name);
    }
    for (const LabPerf& perf : lab_.perfs) {
      for (const LabPerfJob& job : perf.jobs) {
        const auto owner = owners.find(job.name);
        if (perf.bus.value.empty() || owner == owners.end()) continue;
        problems_.error(job.place, "job " + job.name + " of perf." + perf.name + " and " +
                                       owner->second + " are both called \"" + job.name +
                                       "\", and ports of a bus differ in their names: give one of "
                                       "them another");
      }
    }
    for (const LabPerf& each : lab_.perfs) take(each.name, each.place, "perf." + each.name);
    for (const LabMachine& each : lab_.machines) {
      take("uplink-" + each.name, each.place, "machine." + each.name);
    }
  }

  /// Everything writes into the one folder of results.
  void check_files() {
    std::map<std::string, std::string> writers;
    for (const auto& [file, place, what] : result_files_of_lab(lab_)) {
      const auto [at, fresh] = writers.emplace(file, what);
      if (fresh || at->second == what) continue;
      std::string problem = what;
      problem += " and " + at->second + " write the same file, " + file;
      problem += ": give " + what + " another ";
      problem += what.starts_with("capture.") ? "file" : "name";
      problems_.error(place, problem);
    }
  }

  void check_buses_of_parts() {
    std::map<std::string, std::size_t> ports;
    for (const LabHost& host : lab_.hosts) {
      for (const LabInterface& each : host.interfaces) {
        expect_bus(each.bus);
        ++ports[each.bus.value];
      }
    }
    for (const LabCapture& capture : lab_.captures) {
      for (const LabName& each : capture.buses) {
        expect_bus(each);
        ++ports[each.value];
        if (&*std::ranges::find(capture.buses, each.value, &LabName::value) != &each) {
          problems_.error(each.place, "capture." + capture.name + " is on bus \"" + each.value +
                                          "\" twice: it has each frame once");
        }
      }
    }
    for (const LabGateway& each : lab_.gateways) {
      expect_bus(each.bus);
      ++ports[each.bus.value];
    }
    for (const LabBus& bus : lab_.buses) {
      if (ports[bus.name] <= kMaxLabPorts) continue;
      problems_.error(bus.place, "bus." + bus.name + " has " + std::to_string(ports[bus.name]) +
                                     " hosts, captures and gateways, and a bus has 256 ports "
                                     "(connect several buses by a host with forward = true)");
    }
  }

  void check_addresses() {
    struct Owner {
      const LabHost* host;
      std::string bus;
    };
    std::map<std::string, Owner> owners;
    std::map<std::string, const LabHost*> macs;  // by bus and address
    for (const LabHost& host : lab_.hosts) {
      for (const LabInterface& interface : host.interfaces) {
        const LabBus* const bus = lab_.find_bus(interface.bus.value);
        for (const auto& address : interface.addresses) {
          if (bus != nullptr && address.value.address.family == AF_INET6 &&
              bus->options.mtu < kMinMtuOfIpv6) {
            problems_.error(address.place,
                            "IPv6 needs an MTU of 1280 or more (RFC 8200), and bus." + bus->name +
                                " has " + std::to_string(bus->options.mtu));
          }
          const std::string text = address.value.address.to_string();
          const auto [at, fresh] = owners.emplace(text, Owner{&host, interface.bus.value});
          if (fresh) continue;
          const std::string what = "the address " + text + " of host." + host.name +
                                   " is also that of host." + at->second.host->name;
          if (at->second.bus == interface.bus.value) {
            problems_.error(address.place, what + " on the same bus");
          } else {
            problems_.warning(address.place,
                              what + ", on another bus: a router between them reaches only one");
          }
        }
        if (!interface.mac) continue;
        const std::string text = interface.mac->value.to_string();
        const auto [at, fresh] = macs.emplace(interface.bus.value + ' ' + text, &host);
        if (!fresh) {
          problems_.error(interface.mac->place, "the MAC address " + text + " of host." +
                                                    host.name + " is also that of host." +
                                                    at->second->name + " on the same bus");
        }
      }
    }
  }

  /// An address that shares its network with no other host of the bus is most likely a typing
  /// error, unless the host has a gateway or routes.
  void check_networks() {
    for (const LabHost& host : lab_.hosts) {
      for (const LabInterface& interface : host.interfaces) {
        for (const auto& address : interface.addresses) {
          if (!is_alone(host, interface, address.value)) continue;
          problems_.warning(address.place,
                            "host." + host.name + " reaches no other host of bus." +
                                interface.bus.value + " by " + address.value.to_string() +
                                ": none has an address in that network, and there is "
                                "no gateway");
        }
      }
    }
  }

  bool is_alone(const LabHost& host, const LabInterface& interface, const tap::Cidr& cidr) const {
    bool others = false;
    for (const LabHost& other : lab_.hosts) {
      for (const LabInterface& each : other.interfaces) {
        if (&other == &host || each.bus.value != interface.bus.value) continue;
        for (const auto& address : each.addresses) {
          if (address.value.address.family != cidr.address.family) continue;
          others = true;
          if (tap::is_on_link(address.value.address, {cidr})) return false;
        }
      }
    }
    return others && interface.gateways.empty();
  }

  /// Looks for a cycle in `after`: none of its hosts could ever start.
  void check_order() {
    for (const LabHost& host : lab_.hosts) {
      for (const LabName& each : host.after) {
        if (expect_host(each) && (each.value == host.name || each.value == host.group)) {
          problems_.error(each.place, "host." + host.name + " cannot start after itself");
        }
      }
    }
    std::set<const LabHost*> done;
    for (const LabHost& host : lab_.hosts) {
      std::vector<const LabHost*> path;
      if (find_cycle(host, path, done)) return;
    }
  }

  bool find_cycle(const LabHost& host, std::vector<const LabHost*>& path,
                  std::set<const LabHost*>& done) {
    if (done.contains(&host)) return false;
    if (const auto at = std::ranges::find(path, &host); at != path.end()) {
      std::string text;
      for (auto each = at; each != path.end(); ++each) text += (*each)->name + " after ";
      problems_.error(host.after.front().place,
                      "these hosts wait for each other, so none can start: " + text + host.name +
                          " (leave one `after` out)");
      return true;
    }
    path.push_back(&host);
    for (const LabName& each : host.after) {
      for (const LabHost* const before : lab_.find_hosts(each.value)) {
        if (before != &host && before->group != host.group && find_cycle(*before, path, done)) {
          return true;
        }
      }
    }
    path.pop_back();
    done.insert(&host);
    return false;
  }

  void check_event(const LabEvent& event) {
    const bool of_program = event.trigger.what == LabTrigger::What::log ||
                            event.trigger.what == LabTrigger::What::host_ended;
    if (event.trigger.what == LabTrigger::What::frame) {
      if (!event.trigger.of.value.empty()) expect_bus(event.trigger.of);
    } else if (of_program) {
      if (!event.trigger.of.value.empty()) expect_program(event.trigger.of);
    } else if (event.trigger.what != LabTrigger::What::ready && !event.trigger.of.value.empty()) {
      expect_host(event.trigger.of);
    }
    switch (event.what) {
      case LabEvent::What::down:
      case LabEvent::What::up:
      case LabEvent::What::fault:
      case LabEvent::What::move: check_line(event); break;
      case LabEvent::What::partition: check_groups(event); [[fallthrough]];
      case LabEvent::What::heal:
        check_one_machine(event);
        if (!event.bus.value.empty()) {
          expect_bus(event.bus);
        } else if (lab_.buses.size() > 1) {
          problems_.error(event.place, "there are several buses: say which with bus = \"NAME\"");
        }
        break;
      case LabEvent::What::stop:
      case LabEvent::What::start:
        if (event.host.place.line != 0) expect_program(event.host);
        break;
    }
  }

  void check_line(const LabEvent& event) {
    if (event.host.place.line == 0 || !expect_host(event.host)) return;
    if (event.what == LabEvent::What::move) check_move(event);
    for (const LabHost* const host : lab_.find_hosts(event.host.value)) {
      if (event.bus.value.empty()) {
        if (host->interfaces.size() < 2) continue;
        problems_.error(event.host.place,
                        "host." + host->name + " is on several buses: write which line, \"" +
                            host->name + '.' + host->interfaces.front().bus.value + '"');
        return;
      }
      const bool there = std::ranges::any_of(host->interfaces, [&](const LabInterface& each) {
        return each.bus.value == event.bus.value;
      });
      if (there) continue;
      problems_.error(event.host.place,
                      "host." + host->name + " is not on a bus \"" + event.bus.value + '"');
      return;
    }
  }

  void check_machines() {
    for (const LabHost& host : lab_.hosts) {
      const std::string& name = host.machine.value;
      if (host.machine.place.line == 0 || lab_.find_machine(name) != nullptr) continue;
      std::vector<std::string> names;
      names.reserve(lab_.machines.size());
      for (const LabMachine& each : lab_.machines) names.push_back(each.name);
      const std::string near = meant(name, names);
      problems_.error(
          host.machine.place,
          "there is no machine \"" + name + '"' +
              (near.empty() ? " (make one: machine." + name + " = { ssh = \"...\" })" : near));
    }
    for (const LabMachine& machine : lab_.machines) {
      const bool used = std::ranges::any_of(
          lab_.hosts, [&](const LabHost& each) { return each.machine.value == machine.name; });
      if (!used) {
        problems_.warning(machine.place, "no host is on machine." + machine.name +
                                             " (a host with machine = \"" + machine.name +
                                             "\" would be)");
      }
    }
  }

  /// A partition divides the ports of one bus.
  void check_one_machine(const LabEvent& event) {
    for (const LabBus& bus : lab_.buses) {
      if (bus.name != event.bus.value && !event.bus.value.empty()) continue;
      for (const LabMachine& machine : lab_.machines) {
        if (!lab_.spans(bus, machine)) continue;
        problems_.error(event.place,
                        "bus." + bus.name + " is also on machine." + machine.name +
                            ", and a partition divides a bus of one machine only (take links "
                            "down instead)");
        return;
      }
    }
  }

  /// A line moves between buses of its own machine.
  void check_move(const LabEvent& event) {
    const LabBus* const to = lab_.find_bus(event.text);
    if (to == nullptr) {
      problems_.error(event.host.place, "there is no bus \"" + event.text + "\" to move to" +
                                            meant(event.text, buses_));
      return;
    }
    for (const LabHost* const host : lab_.find_hosts(event.host.value)) {
      for (const LabInterface& each : host->interfaces) {
        const LabBus* const from = lab_.find_bus(each.bus.value);
        const bool is_it = event.bus.value.empty() || event.bus.value == each.bus.value;
        if (!is_it || from == nullptr || from->options.mtu == to->options.mtu) continue;
        problems_.error(event.host.place,
                        "a line cannot move from bus." + from->name + " to bus." + to->name +
                            ": their MTUs are " + std::to_string(from->options.mtu) + " and " +
                            std::to_string(to->options.mtu) + " (give both the same `mtu`)");
        return;
      }
    }
    const LabMachine* const machine =
        lab_.find_machine(lab_.find_hosts(event.host.value).front()->machine.value);
    if (machine != nullptr && !lab_.spans(*to, *machine)) {
      problems_.error(event.host.place, "bus." + to->name + " is not on machine." + machine->name +
                                            ": none of its hosts is on that bus");
    }
  }

  /// The test runs in the namespaces of its host.
  void check_test(const LabTest& test) {
    if (!expect_host(test.host)) return;
    const LabHost& host = *lab_.find_hosts(test.host.value).front();
    const LabHostKind kind = host.kind;
    if (!host.machine.value.empty()) {
      problems_.error(test.host.place, "a test runs on this machine, and host." + host.name +
                                           " is on machine." + host.machine.value +
                                           ": make a host for it here, on the same bus");
      return;
    }
    if (kind == LabHostKind::program) return;
    problems_.error(test.host.place,
                    std::string("a test cannot run in a ") +
                        (kind == LabHostKind::vm ? "virtual machine" : "container") +
                        ": make a host for it, on the same bus");
  }

  void check_groups(const LabEvent& event) {
    std::size_t groups = 0;
    std::map<const LabHost*, std::size_t> group_of;
    for (const std::vector<std::string>& group : event.groups()) {
      ++groups;
      for (const std::string& name : group) {
        if (!expect_host({name, event.text_place})) continue;
        for (const LabHost* const host : lab_.find_hosts(name)) {
          if (group_of.emplace(host, groups).first->second == groups) continue;
          problems_.error(event.text_place, "host." + host->name +
                                                " is in two groups of the partition (a host is in "
                                                "one, or in none)");
          return;
        }
      }
    }
    if (groups < 2) {
      problems_.error(event.text_place,
                      "a partition has two groups or more, such as \"a,b / c,d\"");
    }
  }

  const Lab& lab_;
  LabProblems& problems_;
  std::vector<std::string> buses_;
  std::vector<std::string> hosts_;
};

/// Looks for what a shell would refuse before it runs anything, such as a quote without its end.
void check_shell_text(const std::string& text, LabPlace place, const std::string& what,
                      LabProblems& problems) {
  if (text.find_first_of("'\"`\\(){}<>;&|\n") == std::string::npos) return;
  const auto ended = run_short({.program = "sh", .words = {"-n", "-c", text}});
  if (!ended || ended->first == 0 || ended->second.empty()) return;
  std::string why = ended->second.substr(0, ended->second.find('\n'));
  why.erase(0, std::min(why.find("yntax error: ") + 13, why.size()));
  if (why.empty()) why = ended->second.substr(0, ended->second.find('\n'));
  problems.error(place, "a shell cannot read " + what + ": " + why);
}

/// What podman says of the words of `script`, which sets them, when it has read them; empty if it
/// takes them. Then it refuses this cgroup manager, before it makes or fetches anything.
std::string refusal_of_podman(const std::string& script) {
  const std::string command = script + "; exec podman --cgroup-manager=none create \"$@\"";
  const auto ended = run_short({.program = "sh", .words = {"-c", command}});
  const std::string said = ended ? ended->second : "";
  for (const char* const each :
       {"requires at least", "unknown ", "flag needs", "invalid argument"}) {
    const std::size_t at = said.find(std::string("Error: ") + each);
    if (at != std::string::npos) return said.substr(at + 7, said.find('\n', at) - at - 7);
  }
  return {};
}

/// Looks for what `up` would refuse in the `container` of a host.
void check_container(const LabHost& host, LabProblems& problems) {
  const std::string& text = host.made_by.value;
  const auto refuse = [&](const std::string& why) {
    problems.error(host.made_by.place, "the `container` of host." + host.group + why);
  };
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    word.resize(std::min(word.find('='), word.size()));
    if (word == "--name" || word == "--network" || word == "--net" || word == "--pod")
      refuse(" has the option " + word + ", which the lab gives podman (leave it out)");
    if (word == "--entrypoint" && !host.run.empty())
      refuse(" has an --entrypoint, and `run` is one, too (leave one of them out)");
  }
  // It would run commands.
  if (text.find_first_of("`;|&<>\n") != std::string::npos || text.find("$(") != std::string::npos)
    return;
  const std::string why = refusal_of_podman("set -- " + text);
  if (why.starts_with("requires")) {
    refuse(" has only options of podman: the image is missing behind them");
  } else if (!why.empty()) {
    refuse(" is refused by podman: " + why);
  } else if (!host.run.empty() &&
             !refusal_of_podman("set -- " + text + "; n=$#; for word; do shift; n=$((n - 1)); " +
                                "[ $n = 0 ] || set -- \"$@\" \"$word\"; done")
                  .starts_with("requires")) {
    refuse(" has words behind the image, and `run` is the program (options come before the image)");
  }
}

}  // namespace

void check_lab_needs(const Lab& lab, LabProblems& problems) {
  problems.once_per_place(true);
  if (lab.test) check_shell_text(lab.test->run, lab.test->place, "the `run` of the test", problems);
  std::set<std::string> groups;
  for (const LabHost& host : lab.hosts) {
    const bool first_of_group = groups.insert(host.group).second;
    if (first_of_group) {
      check_shell_text(host.run, host.place, "the `run` of host." + host.group, problems);
      if (host.kind == LabHostKind::container) {
        check_shell_text("podman create " + host.made_by.value, host.made_by.place,
                         "the `container` of host." + host.group, problems);
      } else if (host.kind == LabHostKind::vm) {
        check_shell_text(host.made_by.value, host.made_by.place, "the `vm` of host." + host.group,
                         problems);
      }
    }
    if (!host.machine.value.empty()) continue;  // nobody knows without a connection
    if (host.kind == LabHostKind::container && !has_program("podman", lab.folder)) {
      problems.error(host.made_by.place,
                     "cannot run the container of host." + host.group +
                         ": there is no program podman (on Debian, install the package podman)");
    } else if (host.kind == LabHostKind::container && first_of_group) {
      check_container(host, problems);
    }
    for (const LabFile& file : host.files) {
      const auto is_below = [&](std::string_view folder) { return file.path.starts_with(folder); };
      if (is_below("/etc/") || is_below("/run/") || is_below("/var/lib/")) continue;
      if (::access(file.path.c_str(), F_OK) == 0) continue;
      problems.error(file.place,
                     "host." + host.group + " cannot have a file " + file.path +
                         ": a host has files of its own in /etc, /run and /var/lib, and in place "
                         "of files that exist (make the file on this machine, or choose one of "
                         "these folders)");
    }
    if (host.kind != LabHostKind::vm) continue;
    const std::string program = program_of(host.made_by.value);
    if (program.empty() || has_program(program, lab.folder)) continue;
    problems.error(host.made_by.place,
                   "cannot run the virtual machine of host." + host.group +
                       ": there is no program " + program +
                       (program.starts_with("qemu-system-")
                            ? " (install QEMU: on Debian, qemu-system-x86 or another qemu-system-*)"
                            : " (check its name; a path begins in the folder of this file)"));
  }
  problems.once_per_place(false);
}

std::vector<LabResultFile> result_files_of_lab(const Lab& lab) {
  std::vector<LabResultFile> files;
  const auto take = [&](const std::string& file, LabPlace place, const std::string& what) {
    files.push_back({file, place, what});
  };
  take("timeline.jsonl", {}, "the timeline");
  take("lab.log", {}, "the lab itself, with --detach,");
  take("test.log", {}, "the test of a lab");
  for (const LabHost& each : lab.hosts) {
    const std::string what = "host." + each.group;
    take(each.name + ".log", each.place, what);
    if (each.kind != LabHostKind::container) continue;
    take(each.name + ".pid", each.place, what);
    take(each.name + ".pid.new", each.place, what);
    take(each.name + ".pid.resolv.conf", each.place, what);
    take(each.name + ".pid.resolv.conf.new", each.place, what);
  }
  for (const LabGateway& each : lab.gateways) {
    take(each.name + ".log", each.place, "gateway." + each.name);
  }
  for (const LabMachine& each : lab.machines) {
    for (const char* const kind : {"machine-", "uplink-"}) {
      take(kind + each.name + ".log", each.place, "machine." + each.name);
    }
  }
  for (std::size_t i = 0; i < lab.events.size(); ++i) {
    if (lab.events[i].trigger.what != LabTrigger::What::frame) continue;
    const std::string number = std::to_string(i + 1);
    take("at-" + number + ".log", lab.events[i].place, "event " + number + " of `at`");
  }
  for (const LabPerf& each : lab.perfs) {
    for (const char* const kind : {".log", ".json", ".html"}) {
      take(each.name + kind, each.place, "perf." + each.name);
    }
  }
  for (const LabCapture& each : lab.captures) {
    const std::string what = "capture." + each.name;
    take("capture-" + each.name + ".log", each.place, what);
    const std::string file = std::filesystem::path(each.file).lexically_normal().string();
    take(file, each.place, what);
    if (each.buses.size() < 2) continue;
    for (const LabName& bus : each.buses) {
      take(lab_file_for_bus(file, bus.value), each.place, what);
    }
  }
  return files;
}

std::vector<std::string> files_of_lab(const Lab& lab, const std::string& results) {
  std::vector<std::string> files{lab.file, results + "/." + lab.name + ".files"};
  for (const LabResultFile& each : result_files_of_lab(lab))
    files.push_back(results + '/' + each.name);
  for (const LabBus& each : lab.buses) files.push_back(each.path);
  for (const LabHost& host : lab.hosts) {
    for (const LabFile& each : host.files) {
      if (!each.source.empty()) files.push_back(each.source);
    }
  }
  for (const LabPerf& each : lab.perfs) {
    if (!each.file.value.empty()) files.push_back(each.file.value);
  }
  return files;
}

void check_lab(const Lab& lab, LabProblems& problems) {
  LabChecker(lab, problems).check();
}

}  // namespace shmif::tools
