// host.NAME and machine.NAME of a lab's file.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/quantity.hpp"
#include "shmif/faults.hpp"
#include "tools/lab/keys.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kLongestHostName = 31;  // of a port
constexpr std::array kNamesOfLoopback{"localhost", "ip6-localhost", "ip6-loopback"};
constexpr std::size_t kMaxFileContents = 64U << 10U;

/// `address` plus `steps`, in the order of the numbers.
tap::IpAddress counted_up(tap::IpAddress address, unsigned steps) {
  const unsigned size = address.bits() / 8;
  unsigned carry = steps;
  for (unsigned at = size; at-- > 0 && carry != 0;) {
    const unsigned sum = address.bytes[at] + carry;
    address.bytes[at] = static_cast<std::uint8_t>(sum & 0xFFU);
    carry = sum >> 8U;
  }
  return address;
}

MacAddress counted_up(const MacAddress& mac, unsigned steps) {
  return MacAddress::from_u64((mac.to_u64() + steps) & 0xFFFF'FFFF'FFFFU);
}

/// FNV-1a.
std::uint64_t hash_of(const std::string& text, std::uint64_t seed = 0) {
  std::uint64_t hash = 14695981039346656037U ^ seed;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return hash;
}

// ---- What a host is, and where it runs ----

constexpr std::string_view kNic = "{nic}";
constexpr std::size_t kMaxFarName = 20;

/// An address that follows from the names, so that it is the same in each run.
std::string mac_of_machine(const std::string& lab, const std::string& host,
                           const std::string& bus) {
  std::string all = lab;
  all.append(" ").append(host).append(" ").append(bus);
  // 52: a unicast address of nobody's card, as QEMU's own 52:54:00.
  return MacAddress::from_u64(0x5254'0000'0000U | (hash_of(all) >> 32U)).to_string();
}

std::string nic_words(const Lab& lab, const LabHost& host) {
  std::string words;
  for (std::size_t i = 0; i < host.interfaces.size(); ++i) {
    const LabInterface& each = host.interfaces[i];
    const std::string number = std::to_string(i);
    const std::string mac = each.mac ? each.mac->value.to_string()
                                     : mac_of_machine(lab.name, host.name, each.bus.value);
    if (!words.empty()) words += ' ';
    words.append("-netdev tap,id=shmif").append(number).append(",ifname=tap").append(number);
    words.append(",script=no,downscript=no -device virtio-net-pci,netdev=shmif").append(number);
    words.append(",mac=").append(mac);
  }
  return words;
}

/// Refuses keys that have no meaning for this kind of host.
void refuse_host_keys(const LabTableReader& reader, std::initializer_list<const char*> keys,
                      const std::string& why) {
  for (const char* const key : keys) {
    if (reader.has(key)) reader.error(key, '`' + std::string(key) + "` " + why);
  }
}

void read_virtual_machine(const LabTableReader& reader, const Lab& lab, LabHost& host) {
  auto [text, place] = *reader.name("vm");
  host.kind = LabHostKind::vm;
  refuse_host_keys(reader, {"run", "forward", "dns"},
                   "is for programs on this machine: a virtual machine has a system of its own, "
                   "which must do that");
  if (host.ready.when == LabReady::When::tcp || host.ready.when == LabReady::When::udp) {
    reader.error("ready",
                 "nobody can look for ports in a virtual machine: take "
                 "ready = \"log TEXT\", a text that its console prints");
  }
  if (text.find(kNic) == std::string::npos) {
    reader.problems().error(
        place,
        "the command of a virtual machine has {nic} where QEMU's options for "
        "its network interfaces belong, such as \"qemu-system-x86_64 -nographic "
        "-snapshot disk.qcow2 {nic}\"");
  }
  replace_in_text(text, kNic, nic_words(lab, host));
  std::string ip;
  std::string gateway;
  for (const LabInterface& each : host.interfaces) {
    if (ip.empty() && !each.addresses.empty()) ip = each.addresses.front().value.to_string();
    if (gateway.empty() && !each.gateways.empty())
      gateway = each.gateways.front().value.to_string();
  }
  for (const auto& [key, value] : {std::pair("ip", &ip), std::pair("gateway", &gateway)}) {
    const std::string word = std::string("{") + key + '}';
    if (text.find(word) == std::string::npos) continue;
    if (value->empty()) {
      reader.problems().error(place, word + " has no value: host." + host.group + " has no `" +
                                         key + "` (give it one)");
    }
    replace_in_text(text, word, *value);
  }
  host.made_by = {text, place};
}

void read_container(const LabTableReader& reader, LabHost& host) {
  host.kind = LabHostKind::container;
  host.made_by = *reader.name("container");
  refuse_host_keys(reader, {"files"},
                   "cannot change the files of an image: mount them, with -v FILE:PATH in "
                   "`container`");
  if (host.made_by.value.find_first_not_of(" \t") == std::string::npos) {
    reader.problems().error(host.made_by.place,
                            "a container needs an image, such as \"docker.io/library/alpine\" "
                            "('podman images' lists those that are here)");
  }
}

/// What kind of host it is, when all its other keys were read: `vm` or `container`, and on which
/// machine.
void read_host_kind(const LabTableReader& reader, const Lab& lab, LabHost& host) {
  const bool is_machine = reader.text("vm").has_value();
  const bool is_container = reader.text("container").has_value();
  if (is_machine && is_container) {
    reader.error("container",
                 "host." + host.group + " cannot be a virtual machine and a container");
  } else if (is_machine) {
    read_virtual_machine(reader, lab, host);
  } else if (is_container) {
    read_container(reader, host);
  }
  const auto machine = reader.name("machine");
  if (!machine) return;
  host.machine = *machine;
  if (std::ranges::any_of(host.files, [](const LabFile& each) { return !each.source.empty(); })) {
    reader.error("files",
                 "a host on another machine cannot get files of this one: give their "
                 "contents as texts");
  }
}

// ---- Its keys ----

/// Reads one host. Of a count, `steps` says how many came before it.
class HostReader {
 public:
  /// `counting`: the places of texts with an {i}.
  HostReader(const LabValue& value, Lab& lab, LabProblems& problems, unsigned steps,
             const std::vector<LabPlace>& counting)
      : reader_(value, kHostKeys, problems),
        lab_(lab),
        problems_(problems),
        steps_(steps),
        counting_(counting) {}

  void read(LabHost host) {
    host_ = std::move(host);
    read_interfaces();
    read_addresses();
    read_gateways();
    read_macs();
    read_faults();
    host_.forward = reader_.boolean("forward").value_or(false);
    host_.run = reader_.text("run").value_or("");
    read_ready();
    host_.after = reader_.names("after");
    read_environment();
    read_files();
    read_restart();
    host_.may_fail = reader_.boolean("may_fail").value_or(false);
    host_.output_on_terminal = reader_.choice("output", {"terminal", "file"}) == "terminal";
    if (reader_.find("dns") != nullptr) host_.name_servers.emplace();
    for (const LabName& each : reader_.names("dns")) {
      if (const auto address = tap::IpAddress::parse(each.value)) {
        host_.name_servers->push_back(*address);
      } else {
        problems_.error(each.place, address.error().message);
      }
    }
    read_limits();
    read_host_kind(reader_, lab_, host_);
    lab_.hosts.push_back(std::move(host_));
  }

 private:
  void read_interfaces() {
    const std::vector<LabName> buses = reader_.names("on");
    if (buses.empty()) {
      problems_.error(host_.place, "host." + host_.group + " needs `on`, its bus or buses");
    }
    for (const LabName& bus : buses) {
      const bool twice = std::ranges::any_of(
          host_.interfaces, [&](const LabInterface& each) { return each.bus.value == bus.value; });
      if (twice) {
        problems_.error(bus.place, "host." + host_.group + " is on bus \"" + bus.value +
                                       "\" twice: one interface on each bus");
      } else {
        host_.interfaces.push_back({bus});
      }
    }
  }

  void read_address(const LabValue& item, LabInterface& interface) {
    if (item.kind != ValueKind::text) {
      problems_.error(item.place, "an address is a text, such as \"198.18.0.1/24\"");
      return;
    }
    Result<tap::Cidr> cidr = tap::Cidr::parse(item.text);
    if (!cidr) {
      problems_.error(item.place, cidr.error().message);
      return;
    }
    if (steps_ > 0 && !counts_itself(item.place)) {
      const tap::IpAddress next = counted_up(cidr->address, steps_);
      const bool inside = tap::is_on_link(next, {*cidr});
      const Result<tap::Cidr> counted =
          inside ? tap::Cidr::parse(next.to_string() + '/' + std::to_string(cidr->prefix))
                 : Result<tap::Cidr>(Error(Errc::bad_argument, "it is outside"));
      if (!counted) {
        problems_.error(item.place, "the network of " + item.text + " has no address for host " +
                                        std::to_string(steps_ + 1) +
                                        " of `count` (take a larger network, or begin lower)");
        return;
      }
      cidr = *counted;
    }
    interface.addresses.push_back({*cidr, item.place});
  }

  /// Whether the text at that place has an {i}, so that it counts by itself.
  bool counts_itself(LabPlace place) const {
    return std::ranges::find(counting_, place) != counting_.end();
  }

  void read_addresses() {
    const LabValue* const value = reader_.find("ip");
    if (value == nullptr || host_.interfaces.empty()) return;
    if (value->kind == ValueKind::text) {
      read_address(*value, host_.interfaces.front());
      return;
    }
    if (host_.interfaces.size() == 1) {
      for (const LabValue& item : value->items) read_address(item, host_.interfaces.front());
      return;
    }
    if (value->items.size() > host_.interfaces.size()) {
      problems_.error(value->place,
                      "`ip` has " + std::to_string(value->items.size()) + " items for " +
                          std::to_string(host_.interfaces.size()) +
                          " buses: element k belongs to bus k (several addresses on one bus are a "
                          "list in the list: [[\"A\", \"B\"], \"C\"])");
      return;
    }
    for (std::size_t i = 0; i < value->items.size(); ++i) {
      const LabValue& item = value->items[i];
      if (item.kind != ValueKind::list) {
        read_address(item, host_.interfaces[i]);
        continue;
      }
      for (const LabValue& each : item.items) read_address(each, host_.interfaces[i]);
    }
  }

  /// A gateway belongs to the interface whose network it is in.
  void read_gateways() {
    std::vector<int> families;
    for (const LabName& each : reader_.names("gateway")) {
      const Result<tap::IpAddress> gateway = tap::IpAddress::parse(each.value);
      if (!gateway) {
        problems_.error(each.place, gateway.error().message);
        continue;
      }
      if (std::ranges::find(families, gateway->family) != families.end()) {
        problems_.error(each.place, "host." + host_.group +
                                        " has two gateways of one family: one for IPv4 and one for "
                                        "IPv6 are possible");
        continue;
      }
      families.push_back(gateway->family);
      const auto at = std::ranges::find_if(host_.interfaces, [&](const LabInterface& interface) {
        std::vector<tap::Cidr> cidrs;
        cidrs.reserve(interface.addresses.size());
        for (const auto& address : interface.addresses) cidrs.push_back(address.value);
        return !cidrs.empty() && tap::is_on_link(*gateway, cidrs);
      });
      if (at == host_.interfaces.end()) {
        problems_.error(each.place, "the gateway " + each.value + " is in no network of host." +
                                        host_.group + " (give the host an address in its network)");
        continue;
      }
      if (std::ranges::any_of(at->addresses, [&](const LabItem<tap::Cidr>& address) {
            return address.value.address == *gateway;
          })) {
        problems_.error(each.place, "the gateway " + each.value + " is an address of host." +
                                        host_.group + " itself: give that of a router");
        continue;
      }
      at->gateways.push_back({*gateway, each.place});
    }
  }

  void read_macs() {
    const std::vector<LabName> macs = reader_.names("mac");
    if (macs.size() > host_.interfaces.size()) {
      problems_.error(macs.back().place, "there are more MAC addresses than buses");
      return;
    }
    for (std::size_t i = 0; i < macs.size(); ++i) {
      const auto mac = MacAddress::parse(macs[i].value);
      if (!mac || !mac->is_unicast()) {
        problems_.error(macs[i].place, '"' + macs[i].value +
                                           "\" is not a unicast MAC address (such as "
                                           "b2:a0:00:00:00:01)");
        continue;
      }
      const MacAddress counted = counts_itself(macs[i].place) ? *mac : counted_up(*mac, steps_);
      host_.interfaces[i].mac = LabItem<MacAddress>{counted, macs[i].place};
    }
  }

  void read_faults() {
    const LabValue* const value = reader_.find("fault");
    if (value == nullptr) return;
    if (value->kind == ValueKind::text) {
      for (LabInterface& each : host_.interfaces) take_fault(*value, each);
      return;
    }
    for (const LabValue::Entry& entry : value->entries) {
      const auto at = std::ranges::find_if(
          host_.interfaces, [&](const LabInterface& each) { return each.bus.value == entry.key; });
      if (at == host_.interfaces.end()) {
        problems_.error(entry.place,
                        "host." + host_.group + " is not on a bus \"" + entry.key + '"');
      } else if (entry.value.kind != ValueKind::text) {
        problems_.error(entry.value.place, "faults are a text, such as \"loss=1%\"");
      } else {
        take_fault(entry.value, *at);
      }
    }
  }

  void take_fault(const LabValue& value, LabInterface& interface) {
    if (const std::string why = why_no_faults(value.text); !why.empty()) {
      problems_.error(value.place, why);
    }
    interface.fault = value.text;
  }

  void read_ready() {
    const auto text = reader_.text("ready");
    if (!text) return;
    const LabPlace place = reader_.place_of("ready");
    const std::size_t end = text->find(' ');
    const std::string kind = text->substr(0, end);
    const std::string rest = end == std::string::npos ? "" : text->substr(end + 1);
    if (kind == "tcp" || kind == "udp") {
      host_.ready.when = kind == "tcp" ? LabReady::When::tcp : LabReady::When::udp;
      const auto port = base::read_digits(rest);
      if (!port || *port == 0 || *port > 65535) {
        problems_.error(place,
                        '"' + *text + "\" names no port from 1 to 65535 (such as \"tcp 80\")");
      } else {
        host_.ready.port = static_cast<unsigned>(*port);
      }
    } else if ((kind == "file" || kind == "log") && !rest.empty()) {
      host_.ready.when = kind == "file" ? LabReady::When::file : LabReady::When::log;
      host_.ready.text = rest;
      if (kind == "file") host_.ready.text = lab_.path_of(rest);
    } else {
      problems_.error(place, '"' + *text +
                                 "\" does not say when a host is ready (\"tcp 80\", \"udp 53\", "
                                 "\"file PATH\" or \"log TEXT\")");
    }
    if (host_.run.empty() && reader_.find("vm") == nullptr &&
        reader_.find("container") == nullptr) {
      problems_.error(place,
                      "host." + host_.group + " runs no program that `ready` could wait for");
    }
  }

  void read_environment() {
    const LabValue* const value = reader_.find("env");
    if (value == nullptr) return;
    for (const LabValue::Entry& entry : value->entries) {
      if (entry.value.kind != ValueKind::text) {
        problems_.error(entry.value.place, "the value of a variable is a text: write \"...\"");
      } else if (entry.key.empty() || entry.key.find_first_of("= \t\n") != std::string::npos) {
        problems_.error(entry.place, '"' + entry.key + "\" is no name of a variable");
      } else {
        host_.environment.emplace_back(entry.key, entry.value.text);
      }
    }
  }

  void read_files() {
    const LabValue* const value = reader_.find("files");
    if (value == nullptr) return;
    std::size_t bytes = 0;
    for (const LabValue::Entry& entry : value->entries) {
      LabFile file{entry.key, {}, {}, entry.place};
      if (!entry.key.starts_with('/') || entry.key.ends_with('/') ||
          entry.key.find("/../") != std::string::npos) {
        problems_.error(entry.place,
                        '"' + entry.key +
                            "\" is no path of a file in the host: it begins with /, does not "
                            "end with it, and has no /../");
        continue;
      }
      if (entry.value.kind == ValueKind::text) {
        file.contents = entry.value.text;
        bytes += file.contents.size();
      } else if (entry.value.kind == ValueKind::table) {
        const LabTableReader reader(entry.value, kFileKeys, problems_);
        const auto source = reader.text("source");
        if (!source) {
          problems_.error(entry.value.place, "a file is a text, or { source = \"path\" }");
          continue;
        }
        file.source = lab_.path_of(*source);
        std::error_code failed;
        if (!std::filesystem::is_regular_file(file.source, failed))
          reader.error("source", "there is no file " + file.source);
      } else {
        problems_.error(entry.value.place, "a file is a text, or { source = \"path\" }");
        continue;
      }
      host_.files.push_back(std::move(file));
    }
    if (bytes > kMaxFileContents) {
      problems_.error(
          value->place,
          "the contents of files have more than 64 KiB: write them into files beside the "
          "lab, and name these with { source = \"path\" }");
    }
  }

  void read_restart() {
    const std::string restart = reader_.choice("restart", {"no", "always", "on-failure"});
    if (restart == "always") host_.restart = LabRestart::always;
    if (restart == "on-failure") host_.restart = LabRestart::on_failure;
    if (const auto most = reader_.integer("restarts", 1, 1'000'000)) {
      host_.restarts = static_cast<unsigned>(*most);
      if (host_.restart == LabRestart::no)
        reader_.error("restarts", "`restarts` needs restart = \"always\" or \"on-failure\"");
    }
  }

  void read_limits() {
    host_.memory_bytes = reader_.size("memory");
    if (const LabValue* const cpu = reader_.find("cpu")) {
      const double cpus =
          cpu->kind == ValueKind::real ? cpu->real : static_cast<double>(cpu->integer);
      if (!(cpus >= 0.01 && cpus <= 1024)) {
        problems_.error(cpu->place, "`cpu` is 0.01 to 1024 CPUs");
      } else {
        host_.cpus = cpus;
      }
    }
  }

  LabTableReader reader_;
  Lab& lab_;
  LabProblems& problems_;
  unsigned steps_;
  const std::vector<LabPlace>& counting_;
  LabHost host_{};
};

void find_counting(const LabValue& value, std::vector<LabPlace>& places) {
  if (value.text.find("{i}") != std::string::npos) places.push_back(value.place);
  for (const LabValue& item : value.items) find_counting(item, places);
}

}  // namespace

std::string why_no_faults(const std::string& text) {
  const Result<LineFaults> faults = parse_line_faults(text);
  return faults ? "" : faults.error().message;
}

std::string with_seed(const std::string& faults, std::uint64_t seed, const std::string& name) {
  if (faults == "none" || faults.find("seed=") != std::string::npos) return faults;
  // The parts of a text of faults add up.
  return faults + ";seed=" + std::to_string(hash_of(name, seed) >> 32U);
}

void read_host(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  std::int64_t count = 1;
  const LabValue* const wanted = entry.value.find("count");
  const bool counts = wanted != nullptr && wanted->kind == ValueKind::integer;
  if (counts) {
    if (wanted->integer < 1 || wanted->integer > 1000) {
      problems.error(wanted->place, "`count` is 1 to 1000");
      return;
    }
    count = wanted->integer;
  }
  std::vector<LabPlace> counting;
  for (const LabValue::Entry& each : entry.value.entries) find_counting(each.value, counting);
  for (std::int64_t i = 1; i <= count; ++i) {
    const std::string number = std::to_string(i);
    LabHost host;
    host.group = entry.key;
    host.name = entry.key;
    host.place = entry.place;
    if (counts) {
      const std::size_t at = entry.key.find("{i}");
      host.name = at == std::string::npos ? entry.key + number
                                          : std::string(entry.key).replace(at, 3, number);
    }
    if (!check_name("host", {host.name, entry.place}, kLongestHostName, problems)) return;
    if (std::ranges::find(kNamesOfLoopback, host.name) != kNamesOfLoopback.end()) {
      problems.error(entry.place, "a host cannot be called \"" + host.name +
                                      "\": on every host, that name is its loopback");
    }
    problems.once_per_place(i > 1);
    const LabValue value = counts ? replaced_in_value(entry.value, "{i}", number) : entry.value;
    HostReader(value, lab, problems, static_cast<unsigned>(i - 1), counting).read(std::move(host));
    problems.once_per_place(false);
  }
}

void read_machine(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("machine", {entry.key, entry.place}, kMaxFarName, problems)) return;
  const LabTableReader reader(entry.value, kMachineKeys, problems);
  LabMachine machine{entry.key, entry.place};
  const auto ssh = reader.text("ssh");
  machine.ssh = {ssh.value_or(""), reader.place_of("ssh")};
  if (entry.value.find("ssh") == nullptr) {
    problems.error(entry.place,
                   "machine." + entry.key + " needs `ssh`, how ssh calls it (\"b\", \"user@b\")");
  } else if (ssh && (ssh->empty() || ssh->starts_with('-') || ssh->ends_with('@') ||
                     ssh->find_first_of(" \t\n") != std::string::npos)) {
    problems.error(machine.ssh.place, '"' + *ssh +
                                          "\" is no host for ssh (such as \"b\" or "
                                          "\"user@b\"; options belong into `options`)");
  }
  machine.program = reader.text("program").value_or(machine.program);
  for (const LabName& each : reader.names("options")) {
    if (each.value.find('=') == std::string::npos) {
      problems.error(each.place, '"' + each.value +
                                     "\" is no option of ssh_config(5): write \"NAME=VALUE\", "
                                     "such as \"Port=2222\"");
    }
    machine.options.push_back(each.value);
  }
  machine.folder = reader.text("folder").value_or("");
  lab.machines.push_back(std::move(machine));
}

}  // namespace shmif::tools
