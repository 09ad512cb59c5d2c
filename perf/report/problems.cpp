#include "perf/report/problems.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "perf/report/units.hpp"

namespace shmif::perf {

namespace {

/// "12 lost (0.0200 %), 3 duplicate"; empty if all frames arrived as they should.
std::string bad_fates(const FlowResult& flow) {
  std::string out;
  const auto add = [&](std::uint64_t n, const char* word, const std::string& more = {}) {
    if (n == 0) return;
    out += (out.empty() ? "" : ", ") + format_count(n) + ' ' + word + more;
  };
  const double sent = static_cast<double>(flow.sent);
  const auto share =
      flow.sent == 0 ? std::nullopt : std::optional(static_cast<double>(flow.lost) / sent);
  add(flow.lost, "lost", " (" + format_share(share) + ')');
  add(flow.duplicates, "duplicate");
  add(flow.reordered, "reordered");
  add(flow.corrupt, "corrupt");
  add(flow.truncated, "truncated");
  add(flow.late, "late");
  add(flow.cancelled, "cancelled");
  add(flow.unverified, "unverified");
  add(flow.corrupt_copies, flow.corrupt_copies == 1 ? "corrupt copy" : "corrupt copies");
  add(flow.truncated_copies, flow.truncated_copies == 1 ? "truncated copy" : "truncated copies");
  return out;
}

/// Whether a failure of the run already contains this error.
bool is_said(const RunResult& run, const std::string& error) {
  return !error.empty() &&
         std::any_of(run.failures.begin(), run.failures.end(), [&](const std::string& failure) {
           return failure.find(error) != std::string::npos;
         });
}

}  // namespace

OrderedJson problems_json(const RunResult& run, const JobResult& job, const std::string& error) {
  OrderedJson list = OrderedJson::array();
  const auto add = [&](const char* kind, const std::string& text) {
    list.push_back({{"kind", kind}, {"text", text}});
  };
  if (!job.passed && !is_said(run, error)) {
    add("failed", error.empty() ? std::string("ended in state ") + name_of(job.state) : error);
  }
  for (const FlowResult& flow : job.flows) {
    const std::string bad = bad_fates(flow);
    if (bad.empty()) continue;
    const char* const what = flow.kind == FlowResult::Kind::request ? " requests"
                             : flow.kind == FlowResult::Kind::reply ? " replies"
                                                                    : "";
    add("loss", bad + ", of " + format_count(flow.sent) + what + " sent by " + flow.from);
  }
  if (job.overruns.value_or(0) > 0) {
    add("overrun",
        format_counted(job.overruns, "time") + ", " + format_counted(job.overrun_frames, "frame"));
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

}  // namespace shmif::perf
