#include <algorithm>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "perf/job/values.hpp"
#include "perf/option/job_file.hpp"
#include "perf/option/option_table.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/perf/plan/plans.hpp"

namespace shmif::fuzz {
namespace {

using namespace perf;

/// The bytes are up to ten files, "0.job" to "9.job", with record separators between them. Nobody
/// else's are read.
class Files {
 public:
  explicit Files(const std::string& bytes) {
    constexpr char kSeparator = 0x1e;
    std::size_t begin = 0;
    while (texts_.size() < 10) {
      const std::size_t end = std::min(bytes.find(kSeparator, begin), bytes.size());
      texts_.push_back(bytes.substr(begin, end - begin));
      if (end == bytes.size()) break;
      begin = end + 1;
    }
  }
  JobFileSources sources() const {
    JobFileSources from;
    from.read = [this](const std::string& path) -> Result<std::string> {
      const bool known = path.size() == 5 && path.ends_with(".job") && path[0] >= '0' &&
                         path[0] < static_cast<char>('0' + texts_.size());
      if (!known) return Error(Errc::bad_argument, "no file " + path);
      return texts_[static_cast<std::size_t>(path[0] - '0')];
    };
    from.variable = [](const std::string& name) {
      return name == "X" ? std::optional<std::string>("64") : std::nullopt;
    };
    return from;
  }

 private:
  std::vector<std::string> texts_;
};

/// What is given again means the same.
void check_given(const JobOptions& job) {
  JobOptions again;
  for (const auto& [name, value] : job.given) {
    const OptionRow* const row = find_option(name);
    require(row != nullptr && row->name == name, "an option that was given and is not known");
    require(set_option(*row, value, again).has_value(), "a value that is taken only once");
  }
  require(again.bs.tx == job.bs.tx && again.rate_bps.rx == job.rate_bps.rx &&
              again.runtime == job.runtime && again.engines == job.engines,
          "options that do not come back");
}

void check_plan(const std::vector<PlannedJob>& plan) {
  for (std::size_t i = 0; i < plan.size(); ++i) {
    require(plan[i].to == kNoJob || plan[i].to < plan.size(), "a receiver that is not there");
    require(is_job_name(plan[i].options.name) || plan[i].options.name.size() > 64,
            "a name that is none");
    for (const std::size_t other : plan[i].waits_for) {
      require(other < plan.size() && other != i, "waits for itself, or for nobody");
    }
  }
}

void check_values(const std::string& text) {
  if (const auto n = parse_bytes(text)) {
    require(*parse_bytes(base::size_text(*n)) == *n, "a size that does not come back");
  }
  if (const auto n = parse_rate(text)) {
    require(*parse_rate(rate_text(*n)) == *n, "a rate that does not come back");
  }
  if (const auto t = parse_time(text)) {
    require(t->count() >= 0 && *parse_time(time_text(*t)) == *t, "a time that does not come back");
  }
  if (const auto sizes = parse_frame_split(text)) {
    for (const FrameSizes::Part& part : sizes->parts) {
      // What is longer than a frame is for TCP.
      require(part.min >= 60 && part.min <= part.max && part.max <= 1U << 20U, "no frame size");
    }
    require(*parse_frame_split(to_string(*sizes)) == *sizes, "sizes that do not come back");
  }
  if (const auto words = split_words(text)) {
    std::string line;
    for (const std::string& word : *words) line += base::quote_word(word) + ' ';
    require(*split_words(line) == *words, "words that do not come back");
  }
  if (const auto cpus = parse_cpus(text)) {
    require(*parse_cpus(to_string_of_cpus(*cpus)) == *cpus, "CPUs that do not come back");
  }
  static_cast<void>(parse_pattern(text));
  static_cast<void>(parse_error_classes(text));
  static_cast<void>(parse_steady_state(text));
}

}  // namespace

void jobs(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  check_values(text);
  const Files files(text);
  JobSet set;
  const std::vector<std::string> errors = read_job_file("0.job", set, files.sources());
  require(errors.size() <= 20, "more errors than anybody reads");
  if (!errors.empty()) return;
  for (const JobOptions& job : set.jobs) check_given(job);
  const std::vector<std::string> problems = problems_of(set);
  const auto plan = expand(set);
  require(plan.has_value() == problems.empty(), "a plan of a set that has problems, or none");
  if (plan) check_plan(*plan);
}

}  // namespace shmif::fuzz
