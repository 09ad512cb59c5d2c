#include "tools/lab/lab.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/quantity.hpp"
#include "bus/file/parts.hpp"
#include "shmif/filter.hpp"
#include "tools/lab/perf_words.hpp"
#include "tools/lab/reading.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kLongestLabName = 40;
constexpr std::size_t kLongestInterface = 15;  // IFNAMSIZ without the zero
constexpr std::size_t kLongestPort = 31;
constexpr std::uintmax_t kLargestLabFile = std::uintmax_t{4} << 20U;

/// The tables of a table such as `host`: each entry is one part of the lab.
template <class Read>
void read_parts(const LabTableReader& lab, const char* key, const Read& read) {
  const LabValue* const parts = lab.find(key);
  if (parts == nullptr) return;
  for (const LabValue::Entry& entry : parts->entries) {
    if (entry.value.kind == ValueKind::table) {
      read(entry);
    } else {
      lab.problems().error(entry.value.place, std::string(key) + '.' + entry.key +
                                                  " is a table: write " + key + '.' + entry.key +
                                                  " = { ... }");
    }
  }
}

void read_bus(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("bus", {entry.key, entry.place}, kLongestInterface, problems)) return;
  if (entry.key == "lo") {
    problems.error(entry.place,
                   "a bus cannot be called \"lo\": hosts have an interface of that name");
  }
  if (entry.key == "all" || entry.key == "default") {
    problems.error(entry.place,
                   "a bus cannot be called \"" + entry.key +
                       "\": hosts have an interface with the name of each bus, and Linux keeps "
                       "this one for settings of all interfaces (call it another name)");
  }
  const LabTableReader reader(entry.value, kBusKeys, problems);
  LabBus bus{entry.key, entry.place, {}, false, {}};
  if (const auto mtu = reader.integer("mtu", 68, 65521)) {
    bus.options.mtu = static_cast<std::uint32_t>(*mtu);
  }
  if (const LabValue* const ring = reader.find("ring")) {
    const std::string text =
        ring->kind == ValueKind::text ? ring->text : std::to_string(ring->integer);
    const auto bytes = base::read_size(text);
    if (!bytes) {
      problems.error(ring->place, bytes.why(text));
    } else if (*bytes < (64U << 10U) || *bytes > (1U << 30U) || !std::has_single_bit(*bytes)) {
      problems.error(ring->place, "a ring has a power of two from 64K to 1G bytes, not " + text);
    } else {
      bus.options.ring_bytes = *bytes;
    }
  }
  const Result<void> fits = bus::check_ring(bus.options.ring_bytes, bus.options.mtu);
  if (!fits && fits.error().code == Errc::ring_too_small) {
    const bool has_ring = reader.table().find("ring") != nullptr;
    problems.error(reader.place_of(has_ring ? "ring" : "mtu"), fits.error().message);
  }
  if (const auto flow = reader.text("flow")) {
    if (*flow != "ethernet" && *flow != "pause") {
      problems.error(reader.place_of("flow"),
                     "flow is \"ethernet\" or \"pause\", not \"" + *flow + '"');
    }
    bus.options.flow = *flow == "pause" ? Flow::pause : Flow::ethernet;
  }
  if (const auto path = reader.text("path")) {
    bus.path_given = true;
    bus.path = path->starts_with('/') ? *path : lab.folder + '/' + *path;
    if (path->empty()) problems.error(reader.place_of("path"), "the path of a bus is empty");
  } else {
    bus.path = "/dev/shm/" + lab.name + '.' + bus.name;
  }
  lab.buses.push_back(std::move(bus));
}

void read_capture(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("capture", {entry.key, entry.place}, 20, problems)) return;
  const LabTableReader reader(entry.value, kCaptureKeys, problems);
  LabCapture capture{entry.key, entry.place};
  capture.buses = read_names(reader, "on");
  if (capture.buses.empty()) {
    problems.error(entry.place, "capture." + entry.key + " needs `on`, its bus or buses");
  }
  capture.file = reader.text("file").value_or(entry.key + ".pcapng");
  if (capture.file.empty() || capture.file.starts_with('/') ||
      capture.file.find("..") != std::string::npos) {
    problems.error(reader.place_of("file"),
                   "the file of a capture is a path in the folder of results, without / at its "
                   "begin and without ..");
  }
  capture.filter = reader.text("filter").value_or("");
  if (!capture.filter.empty()) {
    if (const auto filter = FrameFilter::compile(capture.filter); !filter) {
      problems.error(reader.place_of("filter"), filter.error().message);
    }
  }
  lab.captures.push_back(std::move(capture));
}

void read_gateway(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("gateway", {entry.key, entry.place}, kLongestPort, problems)) return;
  const LabTableReader reader(entry.value, kGatewayKeys, problems);
  const auto bus = reader.text("on");
  if (!bus) {
    problems.error(entry.place, "gateway." + entry.key + " needs `on`, its bus");
    return;
  }
  LabGateway gateway{entry.key, entry.place, {*bus, reader.place_of("on")}};
  if (const auto network = reader.text("network")) {
    gateway.network = *network;
  }
  lab.gateways.push_back(std::move(gateway));
}

void read_test(const LabValue& value, Lab& lab, LabProblems& problems) {
  const LabTableReader reader(value, kTestKeys, problems);
  const auto host = reader.text("host");
  const auto run = reader.text("run");
  if (!host || !run) {
    problems.error(value.place, "a test needs `host`, where it runs, and `run`, its program");
    return;
  }
  lab.test = LabTest{value.place, {*host, reader.place_of("host")}, *run};
}

/// A name for a lab that has none: that of its file without the end.
std::string name_by_file(const std::string& file) {
  std::string name = std::filesystem::path(file).stem().string();
  for (char& c : name) {
    const bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '_';
    if (!fits) c = '-';
  }
  if (name.empty() || name.front() == '-') name.insert(0, "lab");
  return name.substr(0, kLongestLabName);
}

void read_lab_name(const LabTableReader& reader, Lab& lab) {
  lab.name = name_by_file(lab.file);
  const auto name = reader.text("name");
  if (name &&
      check_name("lab", {*name, reader.place_of("name")}, kLongestLabName, reader.problems())) {
    lab.name = *name;
  }
}

Result<std::string> text_of_lab(const std::string& file) {
  std::error_code failed;
  const auto size = std::filesystem::file_size(file, failed);
  if (failed) {
    return Error(failed, "cannot read the lab " + file + ": " + failed.message() +
                             (failed == std::errc::no_such_file_or_directory ? " (check the path)"
                              : failed == std::errc::is_a_directory
                                  ? " (give the file of a lab, such as three.toml)"
                                  : ""));
  }
  if (size > kLargestLabFile) {
    return Error(Errc::bad_argument, "cannot read the lab " + file +
                                         ": it has more than 4 MiB (put large contents into files "
                                         "of their own, and name them with source)");
  }
  std::ifstream input(file);
  std::ostringstream text;
  text << input.rdbuf();
  if (input.bad() || !input.is_open()) {
    return Error::from_errno(errno, "cannot read the lab " + file);
  }
  return text.str();
}

}  // namespace

const LabBus* Lab::find_bus(std::string_view wanted) const noexcept {
  const auto found = std::ranges::find(buses, wanted, &LabBus::name);
  return found == buses.end() ? nullptr : &*found;
}

const LabPerf* Lab::find_perf(std::string_view wanted) const noexcept {
  const auto found = std::ranges::find(perfs, wanted, &LabPerf::name);
  return found == perfs.end() ? nullptr : &*found;
}

const LabMachine* Lab::find_machine(std::string_view wanted) const noexcept {
  const auto found = std::ranges::find(machines, wanted, &LabMachine::name);
  return found == machines.end() ? nullptr : &*found;
}

bool Lab::spans(const LabBus& bus, const LabMachine& machine) const {
  return std::ranges::any_of(hosts, [&](const LabHost& host) {
    return host.machine.value == machine.name &&
           std::ranges::any_of(host.interfaces, [&](const LabInterface& each) {
             return each.bus.value == bus.name;
           });
  });
}

std::string lab_file_for_bus(std::string file, const std::string& bus) {
  const std::size_t dot = file.rfind('.');
  return file.insert(dot == std::string::npos ? file.size() : dot, '.' + bus);
}

std::vector<const LabHost*> Lab::find_hosts(std::string_view wanted) const {
  std::vector<const LabHost*> found;
  found.reserve(1);
  for (const LabHost& each : hosts) {
    if (each.name == wanted || each.group == wanted) found.push_back(&each);
  }
  return found;
}

std::string LabReady::to_string() const {
  switch (when) {
    case When::up: return "its interfaces";
    case When::tcp: return "tcp " + std::to_string(port);
    case When::udp: return "udp " + std::to_string(port);
    case When::file: return "file " + text;
    case When::log: return "log " + text;
  }
  return {};
}

std::string LabEvent::to_string() const {
  const std::string line = bus.value.empty() ? host.value : host.value + '.' + bus.value;
  switch (what) {
    case What::down: return "link " + line + " down";
    case What::up: return "link " + line + " up";
    case What::fault: return "fault " + line + ' ' + text;
    case What::move: return "move " + line + " to " + text;
    case What::partition: return "partition " + (bus.value.empty() ? "" : bus.value + ' ') + text;
    case What::heal: return bus.value.empty() ? "heal" : "heal " + bus.value;
    case What::stop: return "stop " + host.value;
    case What::start: return "start " + host.value;
  }
  return {};
}

std::vector<LabName> read_names(const LabTableReader& reader, const char* key) {
  std::vector<LabName> names;
  const LabValue* const value = reader.find(key);
  if (value == nullptr) return names;
  if (value->kind == ValueKind::text) return {{value->text, value->place}};
  names.reserve(value->items.size());
  for (const LabValue& item : value->items) {
    if (item.kind == ValueKind::text) {
      names.push_back({item.text, item.place});
    } else {
      reader.problems().error(item.place, "an item of \"" + std::string(key) + "\" is a text");
    }
  }
  return names;
}

bool check_name(const std::string& what, const LabName& name, std::size_t most,
                LabProblems& problems) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  };
  if (!name.value.empty() && name.value.size() <= most && name.value.front() != '-' &&
      std::ranges::all_of(name.value, fits)) {
    return true;
  }
  problems.error(name.place, '"' + name.value + "\" is no name of a " + what +
                                 " (letters, digits, _ and -, which is not the first; at most " +
                                 std::to_string(most) + ')');
  return false;
}

std::optional<std::chrono::nanoseconds> read_delay(const LabTableReader& reader, const char* key) {
  const auto text = reader.text(key);
  if (!text) return std::nullopt;
  const auto time = base::read_time(*text, std::nullopt);
  if (time) return *time;
  reader.problems().error(reader.place_of(key), time.why(*text));
  return std::nullopt;
}

Lab read_lab(std::string_view text, const std::string& file, LabProblems& problems) {
  Lab lab;
  lab.file = file;
  lab.text = text;
  std::error_code ignored;
  lab.folder = std::filesystem::absolute(file, ignored).parent_path().lexically_normal().string();
  const LabValue document = parse_toml(text, problems);
  const LabTableReader reader(document, kLabKeys, problems);
  read_lab_name(reader, lab);
  if (problems.errors() != 0 && document.entries.empty()) return lab;  // it is not TOML
  read_parts(reader, "bus", [&](const auto& entry) { read_bus(entry, lab, problems); });
  read_parts(reader, "machine", [&](const auto& entry) { read_machine(entry, lab, problems); });
  read_parts(reader, "host", [&](const auto& entry) { read_host(entry, lab, problems); });
  read_parts(reader, "capture", [&](const auto& entry) { read_capture(entry, lab, problems); });
  read_parts(reader, "gateway", [&](const auto& entry) { read_gateway(entry, lab, problems); });
  read_parts(reader, "perf", [&](const auto& entry) { read_perf(entry, lab, problems); });
  if (const LabValue* const events = reader.find("at")) {
    for (const LabValue& event : events->items) read_event(event, lab, problems);
  }
  if (const LabValue* const test = reader.find("test")) read_test(*test, lab, problems);
  if (lab.buses.empty()) {
    problems.error({}, "a lab needs a bus (write bus.NAME = {})");
  } else if (lab.hosts.empty() && document.find("host") == nullptr) {
    problems.error({}, "a lab needs a host (write host.NAME = { on = \"" + lab.buses.front().name +
                           "\", run = \"...\" })");
  }
  check_lab(lab, problems);
  return lab;
}

Result<Lab> load_lab(const std::string& file, LabProblems& problems) {
  Result<std::string> text = text_of_lab(file);
  if (!text) return std::move(text).error();
  Lab lab = read_lab(*text, file, problems);
  check_lab_needs(lab, problems);
  if (problems.errors() == 0) check_perf_options(lab, problems);
  return lab;
}

std::string name_of_lab_file(const std::string& file) {
  LabProblems ignored;
  const Result<std::string> text = text_of_lab(file);
  return text ? read_lab(*text, file, ignored).name : name_by_file(file);
}

}  // namespace shmif::tools
