#include "perf/remote/progress_json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "perf/remote/protocol.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxNameBytes = 256;
constexpr int kStates = static_cast<int>(JobState::reaped) + 1;

Json number(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

Json tcp_json(const std::optional<TcpSample>& tcp) {
  if (!tcp) return nullptr;
  return {tcp->retransmits, tcp->rtt_ns,    tcp->rttvar_ns,
          tcp->cwnd_bytes,  tcp->mss_bytes, tcp->pmtu_bytes};
}

Json interval_json(const IntervalResult& i) {
  return {{"at", number(i.at_seconds)},
          {"seconds", number(i.seconds)},
          {"counts",
           {i.tx_frames, i.tx_bytes, i.rx_frames, i.rx_bytes, i.lost_frames, i.overruns,
            i.latency_count}},
          {"measured", i.measured},
          {"latency",
           {number(i.latency_mean_ns), number(i.latency_p50_ns), number(i.latency_p99_ns),
            number(i.latency_max_ns)}},
          {"cpu", {number(i.cpu_user_seconds), number(i.cpu_system_seconds)}},
          {"tcp", tcp_json(i.tcp)}};
}

// at() and get<>() throw if a key is missing or has another type; progress_from_json() catches it.

std::optional<double> figure(const Json& value) {
  if (value.is_null()) return std::nullopt;
  if (!value.is_number()) throw std::invalid_argument("a figure is not a number");
  return value.get<double>();
}

std::uint64_t count(const Json& value) {
  if (!value.is_number_unsigned()) throw std::invalid_argument("a count is not a whole number");
  return value.get<std::uint64_t>();
}

std::string name(const Json& value) {
  if (!value.is_string() || value.get_ref<const std::string&>().size() > kMaxNameBytes) {
    throw std::invalid_argument("a name is not a text, or too long");
  }
  return value.get<std::string>();
}

std::optional<TcpSample> tcp_of_json(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return TcpSample{.retransmits = count(json.at(0)),
                   .rtt_ns = count(json.at(1)),
                   .rttvar_ns = count(json.at(2)),
                   .cwnd_bytes = count(json.at(3)),
                   .mss_bytes = count(json.at(4)),
                   .pmtu_bytes = count(json.at(5))};
}

IntervalResult interval_of(const Json& json) {
  const Json& counts = json.at("counts");
  const Json& latency = json.at("latency");
  IntervalResult i;
  i.at_seconds = figure(json.at("at")).value_or(0);
  i.seconds = figure(json.at("seconds")).value_or(0);
  i.tx_frames = count(counts.at(0));
  i.tx_bytes = count(counts.at(1));
  i.rx_frames = count(counts.at(2));
  i.rx_bytes = count(counts.at(3));
  i.lost_frames = count(counts.at(4));
  i.overruns = count(counts.at(5));
  i.latency_count = count(counts.at(6));
  i.measured = json.at("measured").get<bool>();
  i.latency_mean_ns = figure(latency.at(0));
  i.latency_p50_ns = figure(latency.at(1));
  i.latency_p99_ns = figure(latency.at(2));
  i.latency_max_ns = figure(latency.at(3));
  i.cpu_user_seconds = figure(json.at("cpu").at(0));
  i.cpu_system_seconds = figure(json.at("cpu").at(1));
  i.tcp = tcp_of_json(json.at("tcp"));
  return i;
}

JobProgress job_of(const Json& json) {
  const Json& sums = json.at("sums");
  const std::uint64_t state = count(json.at("state"));
  if (state >= kStates) throw std::invalid_argument("a state is unknown");
  JobProgress job;
  job.name = name(json.at("name"));
  job.group = name(json.at("group"));
  job.peer_of = name(json.at("peer_of"));
  job.share = figure(json.at("share"));
  job.left_seconds = figure(json.at("left"));
  job.state = static_cast<JobState>(state);
  job.pid = static_cast<std::int64_t>(count(json.at("pid")));
  job.failed = json.at("failed").get<bool>();
  job.last = interval_of(json.at("last"));
  job.tx_frames = count(sums.at(0));
  job.tx_bytes = count(sums.at(1));
  job.rx_frames = count(sums.at(2));
  job.rx_bytes = count(sums.at(3));
  job.lost_frames = count(sums.at(4));
  return job;
}

}  // namespace

nlohmann::json progress_to_json(const RunProgress& progress) {
  Json jobs = Json::array();
  for (const JobProgress& job : progress.jobs) {
    jobs.push_back(
        {{"name", job.name},
         {"group", job.group},
         {"peer_of", job.peer_of},
         {"share", number(job.share)},
         {"left", number(job.left_seconds)},
         {"state", static_cast<unsigned>(job.state)},
         {"pid", static_cast<std::uint64_t>(std::max<std::int64_t>(job.pid, 0))},
         {"failed", job.failed},
         {"last", interval_json(job.last)},
         {"sums", {job.tx_frames, job.tx_bytes, job.rx_frames, job.rx_bytes, job.lost_frames}}});
  }
  return {{"at", number(progress.at_seconds)},
          {"share", number(progress.share)},
          {"left", number(progress.left_seconds)},
          {"jobs", std::move(jobs)}};
}

Result<RunProgress> progress_from_json(const nlohmann::json& json) {
  try {
    RunProgress progress;
    progress.at_seconds = figure(json.at("at")).value_or(0);
    progress.share = figure(json.at("share"));
    progress.left_seconds = figure(json.at("left"));
    const Json& jobs = json.at("jobs");
    if (!jobs.is_array() || jobs.size() > kMaxItems) throw std::invalid_argument("no jobs");
    for (const Json& job : jobs) progress.jobs.push_back(job_of(job));
    return progress;
  } catch (const std::exception& error) {
    return Error(Errc::bad_argument, std::string("no progress: ") + error.what());
  }
}

}  // namespace shmif::perf
