// perf.NAME of a lab: what the file says, and the command line of shmifperf.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/text.hpp"
#include "bus/limits.hpp"
#include "tools/lab/child.hpp"
#include "tools/lab/keys.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kMaxPerfName = 31;  // of a port
constexpr std::size_t kMaxJobName = 64;

/// Options of the command line that would take a run away from its lab, and why.
struct RefusedOption {
  std::string_view name;
  const char* why;
};
constexpr RefusedOption kRefusedOptions[] = {
    {"aux-path", "the lab chooses it: files are in the folder of results"},
    {"bus", "the lab chooses it: write on = \"BUS\" beside `options`"},
    {"client", "the run is on this machine: run shmifperf as the test to use servers"},
    {"eta", "the lab has no place for a line of progress"},
    {"help", "the lab runs no help: see 'shmifperf options'"},
    {"name", "the names of jobs are those of their tables: jobs.NAME = { ... }"},
    {"output",
     "the lab chooses it: the report is NAME.json and NAME.html in the folder of results"},
    {"output-format", "the lab chooses it: the report is NAME.json and NAME.html"},
    {"parse-only", "'shmifctl check' does that"},
    {"showcmd", "the lab runs the jobs and prints no command"},
};

/// Names of options with '-' for '_', which mean the same.
std::string with_dashes(std::string name) {
  std::ranges::replace(name, '_', '-');
  return name;
}

/// A number as short as possible: 0.1 and not 0.10000000000000001.
std::string shortest_text(double number) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  return {text.data(), end};
}

std::vector<LabPerfOption> read_perf_options(const LabValue& table, LabProblems& problems) {
  std::vector<LabPerfOption> options;
  options.reserve(table.entries.size());
  for (const LabValue::Entry& entry : table.entries) {
    const auto* const refused =
        std::ranges::find(kRefusedOptions, with_dashes(entry.key), &RefusedOption::name);
    LabPerfOption option{entry.key, {}, entry.place};
    if (refused != std::end(kRefusedOptions)) {
      problems.error(entry.place, '"' + entry.key + "\": " + refused->why);
      continue;
    }
    if (entry.key.empty() || entry.key.front() == '-' ||
        entry.key.find_first_not_of(kNameSigns) != std::string::npos) {
      problems.error(entry.place, '"' + entry.key +
                                      "\" is no name of an option of shmifperf ('shmifperf "
                                      "options' lists them)");
      continue;
    }
    switch (entry.value.kind) {
      case ValueKind::text: option.value = entry.value.text; break;
      case ValueKind::integer: option.value = std::to_string(entry.value.integer); break;
      case ValueKind::real: option.value = shortest_text(entry.value.real); break;
      case ValueKind::boolean: option.value = entry.value.boolean ? "1" : "0"; break;
      default:
        problems.error(entry.value.place,
                       "the value of an option of shmifperf is a text, a number, "
                       "or true or false");
        continue;
    }
    options.push_back(std::move(option));
  }
  return options;
}

void read_perf_jobs(const LabValue& table, LabPerf& perf, LabProblems& problems) {
  perf.jobs.reserve(table.entries.size());
  for (const LabValue::Entry& entry : table.entries) {
    if (!check_name("job", {entry.key, entry.place}, kMaxJobName, problems)) continue;
    if (entry.value.kind != ValueKind::table) {
      problems.error(entry.value.place,
                     "a job is a table of options: jobs." + entry.key + " = { rw = \"tx\" }");
      continue;
    }
    perf.jobs.push_back({entry.key, entry.place, read_perf_options(entry.value, problems)});
  }
}

/// With `on`, jobs are on a bus. Another medium would be outside the lab.
void check_engines(const std::vector<LabPerfOption>& options, LabProblems& problems) {
  for (const LabPerfOption& option : options) {
    if (option.name != "engine" && option.name != "ioengine") continue;
    for (const std::string_view engine : base::split(option.value, ',')) {
      if (engine == "bus" || engine == "host" || engine.empty()) continue;
      problems.error(option.place,
                     "with `on`, jobs send on a bus of the lab, and engine \"" +
                         std::string(engine) +
                         "\" would not use it: leave `engine` out, write \"host\", or run "
                         "shmifperf in a host (`host` in place of `on`)");
      break;
    }
  }
}

// ---- The command line ----

constexpr const char* kShmifperf = "shmifperf";

void add_options(const std::vector<LabPerfOption>& options, std::vector<std::string>& words) {
  for (const LabPerfOption& each : options) words.push_back("--" + each.name + '=' + each.value);
}

/// Where `word` stands in `message` as a whole word; npos if nowhere.
std::size_t place_of_word(const std::string& message, const std::string& word) {
  std::size_t at = message.find(word);
  while (at != std::string::npos && at + word.size() < message.size() &&
         kNameSigns.find(message[at + word.size()]) != std::string_view::npos) {
    at = message.find(word, at + 1);
  }
  return at;
}

/// The option that a message names first: "--rate: "x" is ...", or "job "y": to: there is ...".
/// Several jobs may have it, so one whose value is in the message is preferred.
std::optional<LabPlace> place_of_option(const LabPerf& perf, const std::string& message) {
  std::vector<LabPerfOption> all = perf.options;
  for (const LabPerfJob& job : perf.jobs) {
    all.insert(all.end(), job.options.begin(), job.options.end());
  }
  const auto place_of = [&](const std::string& name) {
    return std::min(place_of_word(message, "--" + name), message.find("\": " + name + ": "));
  };
  std::optional<LabPlace> found;
  std::pair<std::size_t, bool> best{std::string::npos, false};
  for (const LabPerfOption& each : all) {
    const bool other_value = message.find('"' + each.value + '"') == std::string::npos;
    const std::pair rank(place_of(each.name), other_value);
    if (rank >= best) continue;
    best = rank;
    found = each.place;
  }
  return found;
}

/// Where the reason of a message is in the lab's file.
LabPlace place_of_message(const LabPerf& perf, const std::string& message) {
  if (const auto option = place_of_option(perf, message)) return *option;
  for (const LabPerfJob& job : perf.jobs) {
    if (message.find("job \"" + job.name + '"') != std::string::npos) return job.place;
  }
  if (!perf.file.value.empty() && message.find(perf.file.value) != std::string::npos) {
    return perf.file.place;
  }
  return perf.place;
}

/// The lines of a refusal without the program's name, and without the hint at its help.
std::vector<std::string> messages_in(const std::string& said) {
  std::vector<std::string> messages;
  for (const std::string_view line : base::split(said, '\n')) {
    std::string text(line);
    for (const std::string_view prefix : {"shmifperf: ", "run: ", "command line: "}) {
      if (text.starts_with(prefix)) text.erase(0, prefix.size());
    }
    for (const std::string_view hint : {"; see 'shmifperf ", " See 'shmifperf "}) {
      if (text.ends_with("--help'")) text.resize(std::min(text.size(), text.rfind(hint)));
    }
    if (!text.empty()) messages.push_back(text);
  }
  return messages;
}

}  // namespace

void read_perf(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("run of shmifperf", {entry.key, entry.place}, kMaxPerfName, problems)) return;
  const LabTableReader reader(entry.value, kPerfKeys, problems);
  LabPerf perf{entry.key, entry.place};
  const auto bus = reader.name("on");
  const auto host = reader.name("host");
  if (bus.has_value() == host.has_value()) {
    problems.error(entry.place, "perf." + entry.key +
                                    (bus ? " has `on` and `host`: its jobs are on a bus, or it "
                                           "runs in a host (leave one out)"
                                         : " needs `on`, the bus of its jobs, or `host`, the host "
                                           "in which it runs"));
  }
  if (bus) perf.bus = *bus;
  if (host) perf.host = *host;
  if (const auto file = reader.name("file")) {
    perf.file = {lab.path_of(file->value), file->place};
    std::error_code failed;
    if (!std::filesystem::is_regular_file(perf.file.value, failed))
      problems.error(perf.file.place, "there is no file " + perf.file.value);
  }
  if (const LabValue* const options = reader.find("options")) {
    perf.options = read_perf_options(*options, problems);
  }
  if (const LabValue* const jobs = reader.find("jobs")) read_perf_jobs(*jobs, perf, problems);
  if (bus) {
    check_engines(perf.options, problems);
    for (const LabPerfJob& job : perf.jobs) check_engines(job.options, problems);
  }
  if (!reader.has("options") && !reader.has("jobs") && !reader.has("file")) {
    problems.error(entry.place, "perf." + entry.key +
                                    " says nothing of what it does: write options = { rw = \"tx\", "
                                    "... }, jobs.NAME = { ... } or file = \"FILE.job\"");
  }
  lab.perfs.push_back(std::move(perf));
}

Result<std::string> find_shmifperf() {
  std::error_code failed;
  const std::filesystem::path own = std::filesystem::read_symlink("/proc/self/exe", failed);
  std::vector<std::filesystem::path> folders{own.parent_path()};
  const char* const path = std::getenv("PATH");
  if (path != nullptr) {
    for (const std::string_view each : base::split(path, ':')) folders.emplace_back(each);
  }
  for (const std::filesystem::path& folder : folders) {
    const std::filesystem::path program = folder / kShmifperf;
    if (folder.is_absolute() && ::access(program.c_str(), X_OK) == 0) return program.string();
  }
  return Error::from_errno(ENOENT, "cannot run shmifperf",
                           "install it beside shmifctl, or in a directory of PATH");
}

std::vector<std::string> perf_words(const Lab& lab, const LabPerf& perf,
                                    const std::string& results) {
  std::vector<std::string> words{"run"};
  if (!perf.file.value.empty()) words.push_back(perf.file.value);
  if (!perf.bus.value.empty()) {
    words.push_back("--bus=" + lab.find_bus(perf.bus.value)->path);
    words.emplace_back("--allow_live=1");
  }
  const auto describes_jobs = [](const LabPerfOption& each) { return each.name == "profile"; };
  if (perf.file.value.empty() && perf.jobs.empty() &&
      std::ranges::none_of(perf.options, describes_jobs)) {
    words.push_back("--name=" + perf.name);
  }
  add_options(perf.options, words);
  for (const LabPerfJob& job : perf.jobs) {
    words.push_back("--name=" + job.name);
    add_options(job.options, words);
  }
  if (results.empty()) {
    words.emplace_back("--parse-only");
    return words;
  }
  // json+ also has the curves of latency for the page.
  words.push_back("--output=json+:" + results + '/' + perf.name + ".json");
  words.push_back("--aux-path=" + results);
  words.emplace_back("--eta=never");
  return words;
}

/// Looks for frames that do not fit the bus of a run, which does not exist yet: asks whether they
/// would fit a bus with this MTU that is made for the run.
void check_perf_sizes(const Lab& lab, const LabPerf& perf, ChildWish wish, LabProblems& problems) {
  const LabBus* const bus = perf.bus.value.empty() ? nullptr : lab.find_bus(perf.bus.value);
  if (bus == nullptr) return;
  std::erase_if(wish.words, [](const std::string& each) {
    return each.starts_with("--bus=") || each.starts_with("--allow_live=");
  });
  constexpr std::size_t kHeader = 14;  // a bus also carries tags, which shmifperf does not count
  const std::size_t counted = bus::max_frame_bytes(bus->options.mtu) - kHeader;
  wish.words.push_back("--mtu=" + std::to_string(counted));
  const auto ended = run_short(wish);
  if (!ended || ended->first == 0) return;
  for (const std::string& each : messages_in(ended->second)) {
    const std::size_t end = each.find(" do not fit a wire with mtu=");
    const std::size_t begin = each.find("frames of ");
    if (end == std::string::npos || begin > end) continue;
    problems.error(place_of_message(perf, each),
                   "bs: " + each.substr(begin, end - begin) + " do not fit bus." + bus->name +
                       ", whose `mtu` is " + std::to_string(bus->options.mtu) + " (give it more)");
  }
}

void check_perf_options(const Lab& lab, LabProblems& problems) {
  if (lab.perfs.empty()) return;
  const Result<std::string> program = find_shmifperf();
  if (!program) {
    problems.error(lab.perfs.front().place, program.error().message);
    return;
  }
  for (const LabPerf& perf : lab.perfs) {
    const ChildWish wish{
        .program = *program, .words = perf_words(lab, perf, {}), .folder = lab.folder};
    const auto ended = run_short(wish);
    if (!ended) {
      problems.error(perf.place, ended.error().message);
    } else if (ended->first == 0) {
      check_perf_sizes(lab, perf, wish, problems);
    } else {
      std::vector<std::string> messages = messages_in(ended->second);
      if (messages.empty()) messages.push_back("shmifperf " + end_text(ended->first));
      for (const std::string& each : messages) {
        // In the file, options have no dashes.
        const std::string_view text(each);
        problems.error(place_of_message(perf, each),
                       std::string(text.starts_with("--") ? text.substr(2) : text));
      }
    }
  }
}

}  // namespace shmif::tools
