#include "tools/lab/perf_words.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/text.hpp"
#include "bus/limits.hpp"
#include "tools/lab/child.hpp"

namespace shmif::tools {

namespace {

constexpr const char* kShmifperf = "shmifperf";

void add_options(const std::vector<LabPerfOption>& options, std::vector<std::string>& words) {
  for (const LabPerfOption& each : options) words.push_back("--" + each.name + '=' + each.value);
}

/// Where `word` stands in `message` as a whole word; npos if nowhere.
std::size_t place_of_word(const std::string& message, const std::string& word) {
  constexpr std::string_view kNameSigns =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
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
    ChildWish wish;
    wish.program = *program;
    wish.words = perf_words(lab, perf, {});
    wish.folder = lab.folder;
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
