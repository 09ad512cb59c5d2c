// perf.NAME of a lab's file.

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "base/text.hpp"
#include "tools/lab/reading.hpp"

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

bool is_option_name(std::string_view name) {
  return !name.empty() && name.front() != '-' && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
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
    if (!is_option_name(entry.key)) {
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

}  // namespace

void read_perf(const LabValue::Entry& entry, Lab& lab, LabProblems& problems) {
  if (!check_name("run of shmifperf", {entry.key, entry.place}, kMaxPerfName, problems)) return;
  const LabTableReader reader(entry.value, kPerfKeys, problems);
  LabPerf perf{entry.key, entry.place};
  const auto bus = reader.text("on");
  const auto host = reader.text("host");
  if (bus.has_value() == host.has_value()) {
    problems.error(entry.place, "perf." + entry.key +
                                    (bus ? " has `on` and `host`: its jobs are on a bus, or it "
                                           "runs in a host (leave one out)"
                                         : " needs `on`, the bus of its jobs, or `host`, the host "
                                           "in which it runs"));
  }
  if (bus) perf.bus = {*bus, reader.place_of("on")};
  if (host) perf.host = {*host, reader.place_of("host")};
  if (const auto file = reader.text("file")) {
    const std::string path = file->starts_with('/') ? *file : lab.folder + '/' + *file;
    perf.file = {path, reader.place_of("file")};
    std::error_code failed;
    if (!std::filesystem::is_regular_file(path, failed)) {
      problems.error(perf.file.place, "there is no file " + path);
    }
  }
  if (const LabValue* const options = reader.find("options")) {
    perf.options = read_perf_options(*options, problems);
  }
  if (const LabValue* const jobs = reader.find("jobs")) read_perf_jobs(*jobs, perf, problems);
  if (bus) {
    check_engines(perf.options, problems);
    for (const LabPerfJob& job : perf.jobs) check_engines(job.options, problems);
  }
  if (perf.file.value.empty() && perf.options.empty() && perf.jobs.empty() &&
      entry.value.find("options") == nullptr && entry.value.find("jobs") == nullptr &&
      entry.value.find("file") == nullptr) {
    problems.error(entry.place, "perf." + entry.key +
                                    " says nothing of what it does: write options = { rw = \"tx\", "
                                    "... }, jobs.NAME = { ... } or file = \"FILE.job\"");
  }
  lab.perfs.push_back(std::move(perf));
}

}  // namespace shmif::tools
