#include "perf/report/problems.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <type_traits>

#include "perf/control/search.hpp"
#include "perf/job/values.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {

// ---- Problems of a job ----

namespace {

/// What a count is called: "duplicate_frames" is "duplicate", "corrupt_copies" "corrupt copies".
std::string word_of_fate(std::string_view key, std::uint64_t count) {
  constexpr std::string_view kFrames = "_frames", kCopies = "_copies";
  if (!key.ends_with(kCopies)) return std::string(key.substr(0, key.rfind(kFrames)));
  return std::string(key.substr(0, key.rfind(kCopies))) + (count == 1 ? " copy" : " copies");
}

/// "12 lost (0.0200 %), 3 duplicate"; empty if all frames arrived as they should.
std::string bad_fates(const FlowResult& flow) {
  std::string others = other_fates(flow);
  if (flow.lost == 0) return others;
  const auto share =
      flow.sent == 0
          ? std::nullopt
          : std::optional(static_cast<double>(flow.lost) / static_cast<double>(flow.sent));
  return format_count(flow.lost) + " lost (" + format_share(share) + ')' +
         (others.empty() ? "" : ", " + others);
}

/// Whether a failure of the run already contains this error; an empty one is in every failure.
bool is_said(const RunResult& run, const std::string& error) {
  return std::any_of(run.failures.begin(), run.failures.end(), [&](const std::string& failure) {
    return failure.find(error) != std::string::npos;
  });
}

}  // namespace

std::string end_in(const std::string& state) {
  if (state == "exited" || state == "reaped") return "it ended without saying why";
  if (state.ends_with("ed")) return "it was never started";
  return "it ended while " + (state == "ramp" ? "running" : state);
}

std::string other_fates(const FlowResult& flow) {
  std::string text;
  for_each_member<FlowResult>([&](const Figure<FlowResult>& row, auto member) {
    if constexpr (std::is_same_v<decltype(member), std::uint64_t FlowResult::*>) {
      const bool is_told_elsewhere = member == &FlowResult::sent ||
                                     member == &FlowResult::received || member == &FlowResult::lost;
      if (is_told_elsewhere || flow.*member == 0) return;
      text += (text.empty() ? "" : ", ") + format_count(flow.*member) + ' ' +
              word_of_fate(row.key, flow.*member);
    }
  });
  return text;
}

std::string loss_problem(const FlowResult& flow) {
  const std::string bad = bad_fates(flow);
  if (bad.empty()) return {};
  const char* const what = flow.kind == FlowResult::Kind::request ? " requests"
                           : flow.kind == FlowResult::Kind::reply ? " replies"
                                                                  : "";
  return bad + ", of " + format_count(flow.sent) + what + " sent by " + flow.from;
}

OrderedJson problems_json(const RunResult& run, const JobResult& job, const std::string& error) {
  OrderedJson list = OrderedJson::array();
  const auto add = [&](const char* kind, const std::string& text) {
    list.push_back({{"kind", kind}, {"text", text}});
  };
  // Of a peer without an error of its own, any failure of the run tells enough.
  const bool is_silent = error.empty() && job.peer_of.empty();
  if (!job.passed && (is_silent || !is_said(run, error))) {
    add("failed", error.empty() ? end_in(name_of(job.state)) : error);
  }
  for (const FlowResult& flow : job.flows) {
    if (const std::string text = loss_problem(flow); !text.empty()) add("loss", text);
  }
  if (job.overruns.value_or(0) > 0) {
    add("overrun", format_counted(job.overruns, "time") +
                       (job.counts.wire.lost_is_lower_bound ? ", at least " : ", ") +
                       format_counted(job.overrun_frames, "frame"));
  }
  if (job.counts.agree && !*job.counts.agree) {
    add("counts", "generator, wire and receiver do not agree");
  }
  for (const auto& [traffic, direction] : {std::pair(&job.tx, "tx"), std::pair(&job.rx, "rx")}) {
    if (traffic->errors == 0) continue;
    add("errors", format_count(traffic->errors) + " of " + direction +
                      ", the first: " + traffic->first_error);
  }
  // Skipped frames were not lost, but the load was lower.
  if (job.tx.skipped_frames > 0) {
    add("skipped", format_count(job.tx.skipped_frames) + " of " +
                       format_counted(job.tx.offered_frames, "frame") +
                       " offered were given up after stalls (rate_catchup=skip)");
  }
  return list;
}

// ---- Warnings ----

namespace {

// If other guests took this share of a CPU, they caused the tails.
constexpr double kMuchSteal = 0.01;
// A job that has its CPU to itself is interrupted a few times per second by the kernel's own work.
// For a job that ran for less than a second, a few interruptions are no sign.
constexpr double kManySwitchesPerSecond = 20;
constexpr std::uint64_t kManySwitches = 20;
// A sender that reaches less than this share of its pace has sent another load than asked for.
constexpr double kKeptPace = 0.99;

std::optional<double> fps(const TrafficResult& traffic) noexcept {
  if (!(traffic.seconds > 0)) return std::nullopt;
  return static_cast<double>(traffic.frames) / traffic.seconds;
}

double switches_per_second(const JobResult& job) noexcept {
  if (!job.cpu || !(job.runtime_seconds.value_or(0) > 0)) return 0;
  return static_cast<double>(job.cpu->involuntary_switches) / *job.runtime_seconds;
}

/// Whether a cause of this kind held the job back (an empty name: any job), by the run's own
/// verdict, so that a warning never contradicts it. Empty if the jobs were not watched.
std::optional<bool> verdict(const RunResult& result, CauseKind kind, const std::string& job = {}) {
  if (!result.causes.why_unknown.empty()) return std::nullopt;
  return std::ranges::any_of(result.causes.causes, [&](const Cause& cause) {
    return cause.cause == kind && (job.empty() || cause.job == job);
  });
}

bool was_interrupted(const RunResult& result, const JobResult& job) {
  const double rate = switches_per_second(job);
  if (const auto held = verdict(result, CauseKind::waited_for_cpu, job.name)) {
    return *held && rate > 0;
  }
  return rate >= kManySwitchesPerSecond && job.cpu->involuntary_switches >= kManySwitches;
}

std::string interruptions(const JobResult& job) {
  return format_counted(job.cpu->involuntary_switches, "time") + " in " +
         format_seconds(job.runtime_seconds);
}

/// Warns about jobs that did not have a CPU to themselves: about each, or if there are many, about
/// the worst.
void add_interrupted(const RunResult& result, std::vector<std::string>& warnings) {
  constexpr std::size_t kMaxNamed = 4;
  std::vector<const JobResult*> jobs;
  for (const JobResult& job : result.jobs) {
    if (was_interrupted(result, job)) jobs.push_back(&job);
  }
  if (jobs.size() > kMaxNamed) {
    const JobResult& worst = **std::ranges::max_element(
        jobs, {}, [](const JobResult* job) { return switches_per_second(*job); });
    warnings.push_back(format_count(jobs.size()) + " jobs were taken off their CPUs, " +
                       worst.name + " most of all (" + interruptions(worst) +
                       "); give each job its own CPU (cpus_allowed) for repeatable figures");
    return;
  }
  for (const JobResult* const job : jobs) {
    warnings.push_back(job->name + ": was taken off its CPU " + interruptions(*job) +
                       "; give it its own CPU (cpus_allowed) for repeatable figures");
  }
}

/// Warns about rates that look like fio's bytes per second, and tells their value here, each once.
void add_bare_rates(const RunResult& result, std::vector<std::string>& warnings) {
  std::set<std::string> bare;
  for (const JobResult& job : result.jobs) {
    for (const char* const name : {"rate", "rate_min"}) {
      const auto given = job.options.find(name);
      const auto pair =
          given == job.options.end() ? Result<PairText>(PairText{}) : split_pair(given->second);
      if (!pair) continue;
      for (const std::string_view text : {pair->tx, pair->rx}) {
        const auto rate = base::read_rate(text);
        const bool says_bits = text.find_first_of("bB") != std::string_view::npos;
        if (!rate || *rate == 0 || says_bits) continue;
        bare.insert(std::string(name) + '=' + std::string(text) + " is " + rate_text(*rate) +
                    " per second here; if fio's bytes were meant, write " + rate_text(*rate * 8));
      }
    }
  }
  warnings.insert(warnings.end(), bare.begin(), bare.end());
}

/// Warns about jobs that sent less than their pace asked for.
void add_slow(const RunResult& result, std::vector<std::string>& warnings) {
  for (const JobResult& job : result.jobs) {
    const TrafficResult& tx = job.tx;
    const auto sent = fps(tx);
    if (!tx.paced || tx.of_program || !sent || !(tx.offered_seconds > 0)) continue;
    const double offered = static_cast<double>(tx.offered_frames) / tx.offered_seconds;
    // A frame that was due just when the job was stopped must not count against its pace.
    const double judged = offered - 1 / tx.offered_seconds;
    if (!(*sent < kKeptPace * judged)) continue;
    warnings.push_back(job.name + ": the pace was not kept: " + format_fps(sent) + " sent of " +
                       format_fps(offered) + " asked for (" + format_share(*sent / offered) + ')');
  }
}

/// The frames that a job moved per second, in the direction with more; empty without a measured
/// window.
std::optional<double> rate_fps_of(const JobResult& job) noexcept {
  const auto tx = fps(job.tx);
  const auto rx = fps(job.rx);
  if (tx && rx) return std::max(*tx, *rx);
  return tx ? tx : rx;
}

}  // namespace

std::optional<double> share_of_limit(std::optional<double> rate,
                                     std::optional<double> limit) noexcept {
  if (!rate || !limit || !(*limit > 0)) return std::nullopt;
  return *rate / *limit;
}

std::optional<double> limit_share_of(const JobResult& job) noexcept {
  return share_of_limit(rate_fps_of(job), job.limit_fps);
}

namespace {

/// "31 M/s is 95 % of what the harness itself can do here (33 M/s)"
std::string near_limit(std::optional<double> rate, std::optional<double> limit) {
  const auto share = share_of_limit(rate, limit);
  if (!share || *share < kNearLimit) return {};
  // The limit is never less than the rate reached, so with a share of 1 it is known only as a lower
  // bound.
  const std::string what =
      *share >= 1 ? "the highest rate that the harness itself has reached on this machine"
                  : format_share(share) + " of what the harness itself can do on this machine (" +
                        format_fps(limit) + ")";
  return format_fps(rate) + " is " + what + "; the medium may be faster";
}

/// Warns about a rate that may be too low, because its sender made a higher one fail.
void add_doubt(const SearchResult& search, std::vector<std::string>& warnings) {
  const std::string doubt = doubt_of(search);
  if (doubt.empty()) return;
  warnings.push_back("search of " + search.job + ": the medium may carry more than " +
                     format_fps(search.found_fps) + ": in the trial that decided, " + doubt +
                     " (search on an idle machine, or give the job its own CPU with "
                     "cpus_allowed)");
}

/// Warns about rates that say more about the harness than about the medium.
void add_near_limit(const RunResult& result, std::vector<std::string>& warnings) {
  for (const JobResult& job : result.jobs) {
    const std::string near = near_limit(rate_fps_of(job), job.limit_fps);
    if (!near.empty()) warnings.push_back(job.name + ": " + near);
  }
  for (const SearchResult& search : result.searches) {
    const std::string near = near_limit(search.found_fps, search.limit_fps);
    if (!near.empty()) warnings.push_back("search of " + search.job + ": " + near);
    // Near that limit, it is known why the sender did not send faster.
    if (near.empty()) add_doubt(search, warnings);
  }
}

}  // namespace

std::vector<std::string> warnings_from(const RunResult& result) {
  std::vector<std::string> warnings;
  add_near_limit(result, warnings);
  for (const CpuShare& cpu : result.machine.window) {
    if (cpu.steal >= kMuchSteal && verdict(result, CauseKind::steal).value_or(true)) {
      warnings.push_back("CPU " + std::to_string(cpu.cpu) + ": the hypervisor gave " +
                         format_share(cpu.steal) +
                         " of the measured time to others (steal); the longest latencies may come "
                         "from that, not from the medium");
    }
  }
  add_slow(result, warnings);
  add_interrupted(result, warnings);
  add_bare_rates(result, warnings);
  return warnings;
}

}  // namespace shmif::perf
