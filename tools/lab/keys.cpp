#include "tools/lab/keys.hpp"

#include <algorithm>
#include <iterator>

#include "base/nearest.hpp"
#include "base/quantity.hpp"

namespace shmif::tools {

namespace {

constexpr std::uint8_t kTextKind = static_cast<std::uint8_t>(ValueKind::text);
constexpr std::uint8_t kInteger = static_cast<std::uint8_t>(ValueKind::integer);
constexpr std::uint8_t kReal = static_cast<std::uint8_t>(ValueKind::real);
constexpr std::uint8_t kBoolean = static_cast<std::uint8_t>(ValueKind::boolean);
constexpr std::uint8_t kListKind = static_cast<std::uint8_t>(ValueKind::list);
constexpr std::uint8_t kTable = static_cast<std::uint8_t>(ValueKind::table);
constexpr std::uint8_t kTextOrList = kTextKind | kListKind;

constexpr LabKey kLabRows[] = {
    {"name", kTextKind, "the name of the lab (default: that of the file without its extension)"},
    {"bus", kTable, "the buses, by name"},
    {"host", kTable, "the hosts, by name"},
    {"capture", kTable, "captures of all frames on buses, by name"},
    {"gateway", kTable, "ways to the world, by name: each is a 'shmifctl gateway'"},
    {"perf", kTable, "runs of shmifperf, by name: traffic, with a report in the folder of results"},
    {"at", kListKind, "what happens while the lab runs, and when"},
    {"test", kTable, "a program that decides: its exit code is that of 'shmifctl up'"},
    {"machine", kTable, "other machines, by name, which run hosts of the lab"},
};

constexpr LabKey kBusRows[] = {
    {"mtu", kInteger, "largest layer-3 packet, 68 to 65521 (default 1500)"},
    {"ring", kTextKind | kInteger,
     "size of the ring, a power of two from \"64K\" to \"1G\" (default 4M)"},
    {"flow", kTextKind, "\"ethernet\" (default) or \"pause\": senders wait for slow ports"},
    {"path", kTextKind, "the bus file (default: /dev/shm/LAB.BUS)"},
};

constexpr LabKey kHostRows[] = {
    {"on", kTextOrList, "its bus, or a list of them: one interface on each, named as the bus"},
    {"ip", kTextOrList,
     "addresses with prefix lengths; on several buses, element k (a text or a list) is for bus k"},
    {"gateway", kTextOrList, "the default gateway: one for IPv4, one for IPv6"},
    {"mac", kTextOrList, "the MAC address; on several buses, a list with one for each bus"},
    {"fault", kTextKind | kTable,
     "faults of its line, such as \"loss=1%,delay=20ms\"; or a table by bus"},
    {"forward", kBoolean, "whether it forwards packets, as a router does"},
    {"run", kTextKind, "the program, for sh -c, in the folder of the file (default: none)"},
    {"ready", kTextKind, "when it is ready: \"tcp 80\", \"udp 53\", \"file PATH\" or \"log TEXT\""},
    {"after", kTextOrList, "hosts that must be ready before this one starts"},
    {"count", kInteger, "make that many hosts; {i} in texts is the number, and addresses count up"},
    {"env", kTable, "environment variables, by name"},
    {"files", kTable, "files that the host sees: by path, a text or { source = \"path\" }"},
    {"restart", kTextKind, "\"no\" (default), \"always\" or \"on-failure\""},
    {"restarts", kInteger, "how often it is started again at most (default 5)"},
    {"may_fail", kBoolean, "whether the lab passes although this host ends with a failure"},
    {"output", kTextKind, "\"terminal\" (default) or \"file\": only in its log"},
    {"dns", kTextOrList, "its name servers"},
    {"memory", kTextKind | kInteger, "most memory, such as \"64M\", where control groups allow it"},
    {"cpu", kInteger | kReal, "most CPU time, 0.5 is half a CPU, where control groups allow it"},
    {"vm", kTextKind,
     "a virtual machine: the command of QEMU, in which {nic} stands for its network interfaces"},
    {"container", kTextKind, "a container: options of podman, and the image"},
    {"machine", kTextKind, "the machine that runs it (default: this one)"},
};

constexpr LabKey kCaptureRows[] = {
    {"on", kTextOrList, "its bus, or a list of them"},
    {"file", kTextKind, "the file in the folder of results; .pcapng or .pcap"},
    {"filter", kTextKind, "a filter of tcpdump: only these frames"},
};

constexpr LabKey kGatewayRows[] = {
    {"on", kTextKind, "its bus"},
    {"network", kTextKind, "the network of the hosts (default: 10.0.2.0/24)"},
};

constexpr LabKey kPerfRows[] = {
    {"on", kTextKind, "a bus: the jobs are on it, each with a port of its own"},
    {"host", kTextKind, "a host: shmifperf runs in it, for instance with engine = \"udp\""},
    {"file", kTextKind, "a job file of shmifperf, beside the lab's file"},
    {"options", kTable, "options of shmifperf for all jobs, such as { rw = \"tx\", runtime = 5 }"},
    {"jobs", kTable, "jobs by name, each a table of options of shmifperf"},
};

constexpr LabKey kEventRows[] = {
    {"time", kTextKind, "how long after the lab is ready, or after the event of `after`"},
    {"after", kTextKind,
     "an event: \"log HOST 'TEXT'\", \"frame BUS 'FILTER'\", \"ready HOST\", \"ended HOST\""},
    {"link", kTextKind, "the line of a host: \"HOST\", or \"HOST.BUS\" of a host on several buses"},
    {"down", kBoolean, "with link: take the carrier away, or give it back"},
    {"fault", kTextKind, "with link: the faults of the line from now on; \"none\" ends them"},
    {"move", kTextKind, "with link: the bus to which the line moves"},
    {"bus", kTextKind, "the bus of partition or heal (default: the only one)"},
    {"partition", kTextKind, "\"a,b / c,d\": hosts of different groups no longer hear each other"},
    {"heal", kBoolean, "end the partition"},
    {"stop", kTextKind, "a host or a run of shmifperf that ends"},
    {"start", kTextKind, "a host that starts again, or a run of shmifperf that starts"},
};

constexpr LabKey kTestRows[] = {
    {"host", kTextKind, "the host in which it runs"},
    {"run", kTextKind, "the program, for sh -c, in the folder of the file"},
};

constexpr LabKey kMachineRows[] = {
    {"ssh", kTextKind, "how ssh calls it: \"b\", \"user@b\""},
    {"program", kTextKind, "shmifctl there (default: shmifctl)"},
    {"options", kTextOrList, "options of ssh_config(5), such as \"Port=2222\""},
    {"folder", kTextKind, "where its hosts run their programs (default: the home directory there)"},
};

constexpr LabKey kFileRows[] = {
    {"source", kTextKind, "a file beside the lab's file, which the host gets a copy of"},
};

/// Whether a key that a table does not take is one of the whole lab. In TOML, everything after a
/// line [host.a] belongs to that host, up to the next such line.
bool is_key_of_lab(const LabValue::Entry& entry) {
  return std::ranges::any_of(kLabRows, [&](const LabKey& each) {
    return entry.key == each.name &&
           (each.kinds & static_cast<std::uint8_t>(entry.value.kind)) != 0;
  });
}

/// "a text", "a list", "a text or a list".
std::string kinds_text(std::uint8_t kinds) {
  struct Row {
    std::uint8_t bit;
    const char* word;
  };
  static constexpr Row kRows[] = {{kTextKind, "a text"},
                                  {kInteger, "an integer"},
                                  {kReal, "a number"},
                                  {kBoolean, "true or false"},
                                  {kListKind, "a list"},
                                  {kTable, "a table"},
                                  {static_cast<std::uint8_t>(ValueKind::time), "a date or time"}};
  std::string all;
  for (const Row& row : kRows) {
    if ((kinds & row.bit) == 0) continue;
    if (!all.empty()) all += " or ";
    all += row.word;
  }
  return all;
}

}  // namespace

const LabTable kLabKeys{"lab", kLabRows};
const LabTable kBusKeys{"bus", kBusRows};
const LabTable kHostKeys{"host", kHostRows};
const LabTable kCaptureKeys{"capture", kCaptureRows};
const LabTable kGatewayKeys{"gateway", kGatewayRows};
const LabTable kPerfKeys{"perf", kPerfRows};
const LabTable kEventKeys{"event", kEventRows};
const LabTable kTestKeys{"test", kTestRows};
const LabTable kMachineKeys{"machine", kMachineRows};
const LabTable kFileKeys{"file", kFileRows};

LabTableReader::LabTableReader(const LabValue& table, const LabTable& known, LabProblems& problems)
    : table_(table), known_(known), problems_(problems) {
  for (const LabValue::Entry& entry : table.entries) {
    const auto row = std::ranges::find_if(
        known.keys, [&](const LabKey& each) { return entry.key == each.name; });
    const bool fits =
        row != known.keys.end() && (row->kinds & static_cast<std::uint8_t>(entry.value.kind)) != 0;
    if (!fits && is_key_of_lab(entry)) {
      problems.error(entry.place, "\"" + entry.key + "\" belongs to the lab, not to this " +
                                      known.name + ": write it before the first line [...]");
    } else if (row == known.keys.end()) {
      std::vector<std::string> names;
      names.reserve(known.keys.size());
      for (const LabKey& each : known.keys) names.emplace_back(each.name);
      std::string text = std::string(known.name == std::string_view("event") ? "an " : "a ") +
                         known.name + " has no key \"" + entry.key + '"';
      if (const auto meant = base::nearest(entry.key, names)) {
        text += ", did you mean \"" + *meant + "\"?";
      } else {
        text += " (it has";
        for (const std::string& name : names) text += (name == names.front() ? " " : ", ") + name;
        text += ')';
      }
      problems.error(entry.place, text);
    } else if (!fits) {
      problems.error(entry.value.place,
                     '"' + entry.key + "\" takes " + kinds_text(row->kinds) + ", not " +
                         kinds_text(static_cast<std::uint8_t>(entry.value.kind)) + ": " +
                         row->text);
    }
  }
}

const LabValue* LabTableReader::find(const char* key) const noexcept {
  const LabValue* const value = table_.find(key);
  if (value == nullptr) return nullptr;
  const auto row = std::ranges::find(known_.keys, std::string_view(key), &LabKey::name);
  return (row->kinds & static_cast<std::uint8_t>(value->kind)) != 0 ? value : nullptr;
}

std::optional<std::string> LabTableReader::text(const char* key) const {
  const LabValue* const value = find(key);
  if (value == nullptr || value->kind != ValueKind::text) return std::nullopt;
  return value->text;
}

std::optional<LabName> LabTableReader::name(const char* key) const {
  auto given = text(key);
  return given ? std::optional(LabName{*std::move(given), place_of(key)}) : std::nullopt;
}

std::vector<LabName> LabTableReader::names(const char* key) const {
  if (auto one = name(key)) return {*std::move(one)};
  std::vector<LabName> names;
  const LabValue* const value = find(key);
  if (value == nullptr) return names;
  names.reserve(value->items.size());
  for (const LabValue& item : value->items) {
    if (item.kind == ValueKind::text) {
      names.push_back({item.text, item.place});
    } else {
      problems_.error(item.place, "an item of \"" + std::string(key) + "\" is a text");
    }
  }
  return names;
}

std::string LabTableReader::choice(const char* key,
                                   std::initializer_list<const char*> words) const {
  const auto given = text(key);
  if (!given) return *words.begin();
  if (std::ranges::find(words, *given) != words.end()) return *given;
  std::string all;
  for (const char* const word : words) {
    if (!all.empty()) all += word == *std::prev(words.end()) ? " or " : ", ";
    all += '"' + std::string(word) + '"';
  }
  error(key, std::string(key) + " is " + all + ", not \"" + *given + '"');
  return *words.begin();
}

std::optional<std::uint64_t> LabTableReader::size(const char* key) const {
  const LabValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  const std::string given =
      value->kind == ValueKind::text ? value->text : std::to_string(value->integer);
  const auto bytes = base::read_size(given);
  if (bytes) return *bytes;
  error(key, bytes.why(given));
  return std::nullopt;
}

std::optional<bool> LabTableReader::boolean(const char* key) const {
  const LabValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  return value->boolean;
}

std::optional<std::int64_t> LabTableReader::integer(const char* key, std::int64_t min,
                                                    std::int64_t max) const {
  const LabValue* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->integer < min || value->integer > max) {
    problems_.error(value->place, '"' + std::string(key) + "\" is " +
                                      std::to_string(value->integer) + ", and can be " +
                                      std::to_string(min) + " to " + std::to_string(max));
    return std::nullopt;
  }
  return value->integer;
}

LabPlace LabTableReader::place_of(const char* key) const {
  const LabValue* const value = table_.find(key);
  return value == nullptr ? table_.place : value->place;
}

}  // namespace shmif::tools
