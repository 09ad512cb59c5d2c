#include "tools/lab/lab.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "bus/file/parts.hpp"
#include "shmif/filter.hpp"
#include "tools/lab/keys.hpp"

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
  LabBus bus{entry.key, entry.place, {}, {}};
  if (const auto mtu = reader.integer("mtu", 68, 65521)) {
    bus.options.mtu = static_cast<std::uint32_t>(*mtu);
  }
  if (const auto bytes = reader.size("ring")) bus.options.ring_bytes = *bytes;
  const Result<void> fits = bus::check_ring(bus.options.ring_bytes, bus.options.mtu);
  if (!fits) reader.error("ring", fits.error().message);
  const bool pauses = reader.choice("flow", {"ethernet", "pause"}) == "pause";
  bus.options.flow = pauses ? Flow::pause : Flow::ethernet;
  if (const auto path = reader.text("path")) {
    bus.path = lab.path_of(*path);
    if (path->empty()) reader.error("path", "the path of a bus is empty");
  } else {
    bus.path = "/dev/shm/" + lab.name + '.' + bus.name;
  }
  lab.buses.push_back(std::move(bus));
}

void read_capture(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("capture", {entry.key, entry.place}, 20, problems)) return;
  const LabTableReader reader(entry.value, kCaptureKeys, problems);
  LabCapture capture{entry.key, entry.place};
  capture.buses = reader.names("on");
  if (capture.buses.empty()) {
    problems.error(entry.place, "capture." + entry.key + " needs `on`, its bus or buses");
  }
  capture.file = reader.text("file").value_or(entry.key + ".pcapng");
  if (capture.file.empty() || capture.file.starts_with('/') ||
      capture.file.find("..") != std::string::npos) {
    reader.error("file",
                 "the file of a capture is a path in the folder of results, without / at its "
                 "begin and without ..");
  }
  capture.filter = reader.text("filter").value_or("");
  if (!capture.filter.empty()) {
    const auto filter = FrameFilter::compile(capture.filter);
    if (!filter) reader.error("filter", filter.error().message);
  }
  lab.captures.push_back(std::move(capture));
}

void read_gateway(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("gateway", {entry.key, entry.place}, kLongestPort, problems)) return;
  const LabTableReader reader(entry.value, kGatewayKeys, problems);
  const auto bus = reader.name("on");
  if (!bus) {
    problems.error(entry.place, "gateway." + entry.key + " needs `on`, its bus");
    return;
  }
  lab.gateways.push_back(
      {entry.key, entry.place, *bus, reader.text("network").value_or(std::string())});
}

void read_test(const LabValue& value, Lab& lab, LabProblems& problems) {
  const LabTableReader reader(value, kTestKeys, problems);
  const auto host = reader.name("host");
  const auto run = reader.text("run");
  if (!host || !run) {
    problems.error(value.place, "a test needs `host`, where it runs, and `run`, its program");
    return;
  }
  lab.test = LabTest{value.place, *host, *run};
}

/// A text of `after`, in its parts: a word, a name, and the rest without quotes.
struct TriggerWords {
  std::string kind;
  std::string name;
  std::string rest;
};

TriggerWords words_of_trigger(const std::string& text) {
  const auto cut = [](std::string& from) {
    const std::size_t begin = std::min(from.find_first_not_of(' '), from.size());
    const std::size_t end = std::min(from.find(' ', begin), from.size());
    std::string word = from.substr(begin, end - begin);
    from.erase(0, std::min(from.find_first_not_of(' ', end), from.size()));
    return word;
  };
  std::string left = text;
  TriggerWords words;
  words.kind = cut(left);
  words.name = cut(left);
  while (!left.empty() && left.back() == ' ') left.pop_back();
  const bool quoted = left.size() >= 2 && (left.front() == '\'' || left.front() == '"') &&
                      left.back() == left.front();
  words.rest = quoted ? left.substr(1, left.size() - 2) : left;
  return words;
}

constexpr const char* kTriggers =
    "\"log HOST 'TEXT'\", \"frame BUS 'FILTER'\", \"ready HOST\" or \"ended HOST\"";

void read_trigger(const LabTableReader& reader, LabEvent& event, LabProblems& problems) {
  if (const auto text = reader.text("time")) {
    const auto time = base::read_time(*text, std::nullopt);
    if (!time) reader.error("time", time.why(*text));
    event.trigger.then = time ? *time : std::chrono::nanoseconds(0);
  }
  const auto after = reader.text("after");
  if (!after) {
    if (!reader.has("time"))
      problems.error(event.place, "an event needs `time` or `after`: when it happens");
    return;
  }
  const LabPlace place = reader.place_of("after");
  const TriggerWords words = words_of_trigger(*after);
  event.trigger.of = {words.name, place};
  event.trigger.text = words.rest;
  using What = LabTrigger::What;
  static constexpr std::pair<std::string_view, What> kKinds[] = {{"log", What::log},
                                                                 {"frame", What::frame},
                                                                 {"ready", What::host_ready},
                                                                 {"ended", What::host_ended}};
  const auto* const kind =
      std::ranges::find(kKinds, words.kind, &std::pair<std::string_view, What>::first);
  if (kind == std::end(kKinds)) {
    problems.error(place, "\"after\" is " + std::string(kTriggers) + ", not \"" + *after + '"');
    return;
  }
  event.trigger.what = kind->second;
  const bool has_text = kind->second == What::log || kind->second == What::frame;
  if (words.name.empty() || has_text == words.rest.empty()) {
    problems.error(place, "\"" + *after + "\" is not complete: write " + kTriggers);
  } else if (words.kind == "frame") {
    if (const auto filter = FrameFilter::compile(words.rest); !filter) {
      problems.error(place, filter.error().message);
    }
  }
}

/// What the entry does: exactly one of these keys says that.
void read_action(const LabTableReader& reader, LabEvent& event, LabProblems& problems) {
  static constexpr const char* kActions[] = {"down", "fault", "move", "partition",
                                             "heal", "stop",  "start"};
  const auto given =
      std::ranges::count_if(kActions, [&](const char* key) { return reader.has(key); });
  if (given != 1) {
    problems.error(event.place,
                   std::string(given == 0 ? "an event says what happens"
                                          : "an event says one thing that happens") +
                       ": one of down, fault and move (with link), partition, heal, stop, start");
    return;
  }
  const bool of_link = reader.has("down") || reader.has("fault") || reader.has("move");
  const auto link = reader.name("link");
  if (of_link != link.has_value() && !reader.has("link")) {
    problems.error(event.place,
                   "`link` is missing: the host whose line changes (\"HOST\", or "
                   "\"HOST.BUS\")");
  } else if (!of_link && link) {
    reader.error("link", "`link` goes with down, fault or move");
  }
  if (link) {
    const std::size_t dot = link->value.find('.');
    event.host = {link->value.substr(0, dot), link->place};
    if (dot != std::string::npos) event.bus = {link->value.substr(dot + 1), link->place};
  }
  if (const auto down = reader.boolean("down")) {
    event.what = *down ? LabEvent::What::down : LabEvent::What::up;
  } else if (const auto fault = reader.text("fault")) {
    event.what = LabEvent::What::fault;
    event.text = *fault;
    if (const std::string why = why_no_faults(*fault); !why.empty()) reader.error("fault", why);
  } else if (const auto move = reader.text("move")) {
    event.what = LabEvent::What::move;
    event.text = *move;
  } else if (const auto groups = reader.text("partition")) {
    event.what = LabEvent::What::partition;
    event.text = *groups;
    event.text_place = reader.place_of("partition");
  } else if (const auto heal = reader.boolean("heal")) {
    event.what = LabEvent::What::heal;
    if (!*heal) reader.error("heal", "`heal` is true: it ends a partition");
  } else if (const auto stop = reader.name("stop")) {
    event.what = LabEvent::What::stop;
    event.host = *stop;
  } else if (const auto start = reader.name("start")) {
    event.what = LabEvent::What::start;
    event.host = *start;
  }
  const bool of_bus = event.what == LabEvent::What::partition || event.what == LabEvent::What::heal;
  if (const auto bus = reader.name("bus")) {
    if (of_bus) event.bus = *bus;
    if (!of_bus) reader.error("bus", "`bus` goes with partition or heal");
  } else if (of_bus) {
    event.bus.place = event.place;
  }
}

void read_event(const LabValue& value, Lab& lab, LabProblems& problems) {
  if (value.kind != ValueKind::table) {
    problems.error(value.place, "an item of `at` is a table: { time = \"5s\", ... }");
    return;
  }
  const LabTableReader reader(value, kEventKeys, problems);
  LabEvent event;
  event.place = value.place;
  read_trigger(reader, event, problems);
  read_action(reader, event, problems);
  lab.events.push_back(std::move(event));
}

/// A name for a lab that has none: that of its file without the end.
std::string name_by_file(const std::string& file) {
  std::string name = std::filesystem::path(file).stem().string();
  for (char& c : name) {
    if (kNameSigns.find(c) == std::string_view::npos) c = '-';
  }
  if (name.empty() || name.front() == '-') name.insert(0, "lab");
  return name.substr(0, kLongestLabName);
}

void read_lab_name(const LabTableReader& reader, Lab& lab) {
  lab.name = name_by_file(lab.file);
  const auto name = reader.name("name");
  if (name && check_name("lab", *name, kLongestLabName, reader.problems())) lab.name = name->value;
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

std::vector<std::vector<std::string>> LabEvent::groups() const {
  std::vector<std::vector<std::string>> all;
  for (const std::string_view group : base::split(text, '/')) {
    std::vector<std::string>& names = all.emplace_back();
    for (std::string_view name : base::split(group, ',')) {
      while (!name.empty() && name.front() == ' ') name.remove_prefix(1);
      while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
      names.emplace_back(name);
    }
  }
  return all;
}

bool check_name(const std::string& what, const LabName& name, std::size_t most,
                LabProblems& problems) {
  if (!name.value.empty() && name.value.size() <= most && name.value.front() != '-' &&
      name.value.find_first_not_of(kNameSigns) == std::string::npos) {
    return true;
  }
  problems.error(name.place, '"' + name.value + "\" is no name of a " + what +
                                 " (letters, digits, _ and -, which is not the first; at most " +
                                 std::to_string(most) + ')');
  return false;
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
