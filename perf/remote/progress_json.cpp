#include "perf/remote/progress_json.hpp"

#include <nlohmann/json.hpp>

#include "perf/remote/protocol.hpp"
#include "perf/report/json_figures.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::uint64_t kStates = static_cast<std::uint64_t>(JobState::reaped) + 1;

Json json_of_job(const JobProgress& job) {
  Json json = {{"state", static_cast<unsigned>(job.state)},
               {"pid", static_cast<std::uint64_t>(std::max<std::int64_t>(job.pid, 0))}};
  put_figures(json, job, kInMessages);
  Json& last = json["interval"];
  put_figures(last, job.last, kInMessages);
  Json& tcp = last["tcp"];
  if (job.last.tcp) put_figures(tcp, *job.last.tcp, kInMessages);
  return json;
}

// at(), get<>() and take_figures() throw if a key is missing or has another type;
// progress_from_json() catches it.

std::uint64_t count(const Json& value) {
  if (!value.is_number_unsigned()) throw std::invalid_argument("a count is not a whole number");
  return value.get<std::uint64_t>();
}

JobProgress job_of(const Json& json) {
  const std::uint64_t state = count(json.at("state"));
  if (state >= kStates) throw std::invalid_argument("a state is unknown");
  JobProgress job;
  job.state = static_cast<JobState>(state);
  job.pid = static_cast<std::int64_t>(count(json.at("pid")));
  take_figures(json, job, kMaxNameBytes);
  const Json& last = json.at("interval");
  take_figures(last, job.last, 0);
  if (const Json& tcp = last.at("tcp"); !tcp.is_null()) {
    take_figures(tcp, job.last.tcp.emplace(), 0);
  }
  return job;
}

}  // namespace

nlohmann::json progress_to_json(const RunProgress& progress) {
  Json json;
  put_figures(json, progress, kInMessages);
  Json& jobs = json["jobs"] = Json::array();
  for (const JobProgress& job : progress.jobs) jobs.push_back(json_of_job(job));
  return json;
}

Result<RunProgress> progress_from_json(const nlohmann::json& json) {
  try {
    RunProgress progress;
    take_figures(json, progress, 0);
    const Json& jobs = json.at("jobs");
    if (!jobs.is_array() || jobs.size() > kMaxItems) throw std::invalid_argument("no jobs");
    for (const Json& job : jobs) progress.jobs.push_back(job_of(job));
    return progress;
  } catch (const std::exception& error) {
    return Error(Errc::bad_argument, std::string("no progress: ") + error.what());
  }
}

}  // namespace shmif::perf
