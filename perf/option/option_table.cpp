#include "perf/option/option_table.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

#include "base/nearest.hpp"
#include "base/text.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/values.hpp"
#include "perf/option/option_kinds.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kMaxNameBytes = 64;

/// Names are compared in a form that suits both the command line and job files: '-' equals '_'.
std::string with_underscores(std::string_view name) {
  std::string plain(name);
  std::replace(plain.begin(), plain.end(), '-', '_');
  return plain;
}

bool has_name(const OptionRow& row, const std::string& plain) {
  return with_underscores(row.name) == plain ||
         std::any_of(row.aliases.begin(), row.aliases.end(),
                     [&](const std::string& alias) { return with_underscores(alias) == plain; });
}

/// `text`, a pair that was read, completed with its missing half if that was given before.
std::string whole_pair(const std::string& name, std::string_view text,
                       const std::vector<std::pair<std::string, std::string>>& given) {
  const auto before = std::find_if(given.rbegin(), given.rend(),
                                   [&](const auto& option) { return option.first == name; });
  const PairText now = split_pair(text).value();
  if (before == given.rend() || (!now.tx.empty() && !now.rx.empty())) return std::string(text);
  const PairText then = split_pair(before->second).value();
  return std::string(now.tx.empty() ? then.tx : now.tx) + ',' +
         std::string(now.rx.empty() ? then.rx : now.rx);
}

/// Whether the value of an option may contain keywords and calculations, or be one calculation.
enum class Calculates { nothing, parts, whole };
Calculates calculates(const OptionRow& row) {
  const std::string kind = row.placeholder.substr(0, row.placeholder.find('['));
  if (kind == "N" || kind == "SIZE" || kind == "RATE" || kind == "TIME") return Calculates::whole;
  return kind == "CPUS" ? Calculates::parts : Calculates::nothing;
}

template <class Options>
Result<void> set(const OptionRow& row,
                 const std::function<Result<void>(std::string_view, Options&)>& setter,
                 std::optional<std::string_view> value, Options& options) {
  const auto refuse = [&](const std::string& why) {
    return Error(Errc::bad_argument, row.name + ": " + why);
  };
  if (!setter) {
    return refuse(row.of_run()
                      ? "applies to the whole run, not to one job (write it in [global], or on "
                        "the command line)"
                      : "applies to one job, not to the whole run");
  }
  if (!value && !row.flag) {
    return refuse("needs a value (" + row.name + '=' + row.placeholder + ")");
  }
  std::string text(value.value_or("1"));
  if (const Calculates kind = calculates(row); kind != Calculates::nothing) {
    static const Keywords keywords = keywords_of_this_machine();
    auto replaced = replace_keywords(text, kind == Calculates::whole, keywords);
    if (!replaced) return refuse(replaced.error().message);
    text = *std::move(replaced);
  }
  const Result<void> done = setter(text, options);
  if (!done) return refuse(done.error().message);
  options.given.emplace_back(row.name, row.pair ? whole_pair(row.name, text, options.given) : text);
  return {};
}

/// A line for each engine: its name, what a wire of it is, and how many jobs can be on one.
std::string list_of_engines() {
  std::vector<std::array<std::string, 3>> lines{{"engine", "a wire is", "jobs on it"}};
  for (const Engine* const engine : engines()) {
    const std::size_t max = engine->capabilities.max_ends;
    lines.push_back({engine->name, engine->wire, max == 0 ? "any number" : std::to_string(max)});
  }
  std::size_t name = 0, wire = 0;
  for (const auto& line : lines) {
    name = std::max(name, line[0].size());
    wire = std::max(wire, line[1].size());
  }
  std::string text;
  for (auto& line : lines) {
    line[0].resize(name, ' ');
    line[1].resize(wire, ' ');
    text += (text.empty() ? "  " : "\n  ") + line[0] + "  " + line[1] + "  " + line[2];
  }
  return text;
}

}  // namespace

const std::vector<CategoryInfo>& option_categories() {
  using base::unfolded;
  static const std::vector<CategoryInfo> all{
      {OptionCategory::job, "job", "The job itself",
       unfolded(
           R"(A job sends, receives or returns frames; numjobs makes copies of it. Jobs start
              together, unless stonewall, wait_for or start_delay say otherwise.)")},
      {OptionCategory::traffic, "traffic", "Traffic",
       unfolded(
           R"(What a job sends, to whom, and how fast. Options with a value for each direction are
              written A,B. A is for the frames that the job sends. B is for the frames that its
              peer sends to it. fio has the opposite order: reads first. A single value is for
              both. Unlike fio, rates are in bits per second. A rate includes all bytes of the
              job's frames except the FCS.)")},
      {OptionCategory::length, "length", "How long a job runs",
       unfolded(
           R"(A job that sends ends at the first limit it reaches. It does not send a frame that
              would exceed a limit. Frames that were sent but have not arrived count towards the
              limit. Every job that sends needs a limit, or a search, which ends by itself. A job
              that only receives ends when its senders have ended.)") +
           R"(
  with these options   the job ends
  runtime              when that time has passed since the end of ramp_time
  size, loops          when it has sent 'size' bytes 'loops' times (default: 1)
  replay, loops        when it has sent the capture 'loops' times (default: 1)
  number_ios           after this many frames, in all loops together
  io_limit             after this many bytes, in all loops together
  time_based, runtime  when runtime has passed; size, replay and loops start
                       again until then, but number_ios and io_limit can still
                       end the job earlier
  several of these     at the first that is reached
)" +
           unfolded(
               R"(Frames of ramp_time count towards the limits in frames and in bytes, but not in
                  any result. After the last frame comes drain_time, in which frames on their way
                  can still arrive.)")},
      {OptionCategory::frames, "frames", "Frames", "What is in the frames."},
      {OptionCategory::engine, "engine", "Engines and wires",
       unfolded(
           R"(A wire connects jobs that talk to each other. The engine says what kind of wire it
              is. The generator and the statistics are the same for all engines, so engines can be
              compared.)") +
           '\n' + list_of_engines()},
      {OptionCategory::verification, "verification", "Verification",
       unfolded(
           R"(Each frame carries the identifier of its flow (the frames from one sender to one
              receiver), its sequence number, its times and a CRC-32C. The receiver counts lost,
              duplicated, reordered, corrupt, truncated and late frames exactly.)")},
      {OptionCategory::measurement, "measurement", "Latency, searches and steady state",
       unfolded(
           R"(Latency is measured from the time when a frame was due, so a stall shows in every
              frame that it delayed.)")},
      {OptionCategory::records, "records", "Replay and records",
       "Capture files to send frames from, and files that are written beside the results."},
      {OptionCategory::place, "place", "Privileges and place",
       "Where a job runs, and as which user. Privileges are dropped after the devices are open."},
      {OptionCategory::run, "run", "The run as a whole",
       "Options that are given once, on the command line or in [global]."},
  };
  return all;
}

const std::vector<OptionRow>& option_table() {
  static const std::vector<OptionRow> all = [] {
    std::vector<OptionRow> rows;
    add_job_rows(rows);
    add_traffic_rows(rows);
    add_length_rows(rows);
    add_frame_rows(rows);
    add_engine_rows(rows);
    add_verification_rows(rows);
    add_measurement_rows(rows);
    add_record_rows(rows);
    add_place_rows(rows);
    add_run_rows(rows);
    return rows;
  }();
  return all;
}

const OptionRow* find_option(std::string_view name) {
  const std::string plain = with_underscores(name);
  const std::vector<OptionRow>& rows = option_table();
  const auto it = std::find_if(rows.begin(), rows.end(),
                               [&](const OptionRow& row) { return has_name(row, plain); });
  return it == rows.end() ? nullptr : &*it;
}

Error unknown_option(std::string_view name) {
  std::vector<std::string> known;
  for (const OptionRow& row : option_table()) {
    known.push_back(row.name);
    known.insert(known.end(), row.aliases.begin(), row.aliases.end());
  }
  std::string what = "unknown option \"" + std::string(name) + '"';
  const std::string right = base::right_way("run", name);
  if (!right.empty()) return {Errc::bad_argument, what + " (" + right + ')'};
  auto meant = base::nearest(name, known);
  if (!meant) meant = base::nearest(with_underscores(name), known);
  what += meant ? ", did you mean \"" + *meant + "\"?" : " (shmifperf options lists all)";
  return {Errc::bad_argument, what};
}

Result<void> set_option(const OptionRow& row, std::optional<std::string_view> value,
                        JobOptions& job) {
  // A second list of a section looks like an addition to the first, which it would replace.
  const auto own = std::span(job.given).subspan(std::min(job.given_before, job.given.size()));
  if (row.once &&
      std::ranges::any_of(own, [&](const auto& each) { return each.first == row.name; })) {
    return Error(Errc::bad_argument, row.name + ": is given twice (write all in one, with commas)");
  }
  job.where_of.erase(row.name);  // the caller notes the new place
  return set(row, row.set_job, value, job);
}

Result<void> set_option(const OptionRow& row, std::optional<std::string_view> value,
                        RunOptions& run) {
  return set(row, row.set_run, value, run);
}

bool is_job_name(std::string_view name) noexcept {
  // Names become parts of file names and of lines, so characters that would change those are
  // refused.
  return !name.empty() && name.size() <= kMaxNameBytes && name != "global" && name != "." &&
         name != ".." && name.front() != ' ' && name.back() != ' ' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return byte >= 0x20 && byte != 0x7f && c != '/' && c != ']' && c != '[';
         });
}

namespace {

constexpr std::string_view kDigits = "0123456789.";
constexpr std::string_view kCalculation = "0123456789.+-*/() ";
constexpr unsigned kMaxParentheses = 32;

/// Evaluates a calculation: sums of products of numbers and parentheses.
class Calculator {
 public:
  explicit Calculator(std::string_view text) : rest_(text) {}

  /// Result: empty if the text is not a calculation, or has no finite result.
  std::optional<double> result() {
    const auto value = sum(0);
    skip_spaces();
    if (!value || !rest_.empty() || !std::isfinite(*value)) return std::nullopt;
    return value;
  }

 private:
  void skip_spaces() {
    while (rest_.starts_with(' ')) rest_.remove_prefix(1);
  }
  bool take(char c) {
    skip_spaces();
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::optional<double> sum(unsigned depth) {
    auto value = product(depth);
    while (value) {
      const bool plus = take('+');
      if (!plus && !take('-')) return value;
      const auto next = product(depth);
      if (!next) return std::nullopt;
      value = plus ? *value + *next : *value - *next;
    }
    return value;
  }
  std::optional<double> product(unsigned depth) {
    auto value = number(depth);
    while (value) {
      const bool times = take('*');
      if (!times && !take('/')) return value;
      const auto next = number(depth);
      if (!next) return std::nullopt;
      value = times ? *value * *next : *value / *next;
    }
    return value;
  }
  std::optional<double> number(unsigned depth) {
    if (take('(')) {
      const auto value = depth < kMaxParentheses ? sum(depth + 1) : std::nullopt;
      return take(')') ? value : std::nullopt;
    }
    const std::string_view digits = rest_.substr(0, rest_.find_first_not_of(kDigits));
    rest_.remove_prefix(digits.size());
    return base::read_real(digits);
  }

  std::string_view rest_;
};

std::string text_of(double value) {
  std::array<char, 64> text{};
  const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
  std::snprintf(text.data(), text.size(), whole ? "%.0f" : "%.4f", value);
  return text.data();
}

/// Replaces parentheses by their results. Result: false if one has no result.
bool work_out_parentheses(std::string& text) {
  for (std::size_t begin = text.find('('); begin != std::string::npos; begin = text.find('(')) {
    std::size_t end = begin;
    for (std::size_t open = 0; end < text.size(); ++end) {
      open += text[end] == '(' ? 1U : 0U;
      if (text[end] == ')' && --open == 0) break;
    }
    const auto value = Calculator(text.substr(begin, end + 1 - begin)).result();
    if (!value) return false;
    text.replace(begin, end + 1 - begin, text_of(*value));
  }
  return true;
}

}  // namespace

Keywords keywords_of_this_machine() {
  const auto known = [](int name, std::uint64_t otherwise) {
    const long value = ::sysconf(name);
    return value > 0 ? static_cast<std::uint64_t>(value) : otherwise;
  };
  Keywords keywords;
  keywords.ncpus = known(_SC_NPROCESSORS_ONLN, 1);
  keywords.pagesize = known(_SC_PAGESIZE, 4096);
  keywords.mb_memory = known(_SC_PHYS_PAGES, 0) * keywords.pagesize >> 20U;
  return keywords;
}

Result<std::string> replace_keywords(std::string_view text, bool whole, const Keywords& keywords) {
  const std::pair<std::string_view, std::uint64_t> known[] = {{"$ncpus", keywords.ncpus},
                                                              {"$mb_memory", keywords.mb_memory},
                                                              {"$pagesize", keywords.pagesize}};
  std::string replaced(text);
  bool any = false;
  for (const auto& [name, value] : known) {
    for (std::size_t at = 0; (at = replaced.find(name)) != std::string::npos; any = true) {
      replaced.replace(at, name.size(), std::to_string(value));
    }
  }
  if (!any) return replaced;
  const auto refuse = [&] {
    return refused(text, "cannot be calculated (use numbers, + - * / and parentheses)");
  };
  if (!whole) return work_out_parentheses(replaced) ? Result<std::string>(replaced) : refuse();
  const std::size_t unit =
      std::min(replaced.find_last_of(kCalculation) + 1, replaced.size());  // "M" of "8*1024M"
  const std::string calculation = replaced.substr(0, unit);
  if (calculation.find_first_not_of(kCalculation) != std::string::npos) return replaced;
  const auto value = Calculator(calculation).result();
  if (!value || *value < 0) return refuse();
  return text_of(*value) + replaced.substr(unit);
}

}  // namespace shmif::perf
