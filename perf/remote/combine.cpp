#include "perf/remote/combine.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "instruments/why/analysis.hpp"
#include "instruments/why/cause.hpp"
#include "instruments/why/evidence.hpp"
#include "perf/report/table.hpp"
#include "perf/result/machine.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

std::uint64_t frames_at(const Json& of, const char* key) {
  const auto it = of.find(key);
  return it != of.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

double number_at(const Json& of, const char* key) {
  return of.at(key).is_number() ? of.at(key).get<double>() : 0;
}

/// "the requested faults of a/bulk (loss=10%)"
std::string faults_text(const std::string& server, const std::string& job, const Json& link) {
  std::string text = "the requested faults of ";
  text += base::printable(server + '/' + job);
  text += " (";
  text += base::printable(link.at("options").get<std::string>());
  text += ')';
  return text;
}

/// Adds what a fault took, if it took any of the `left` frames that no fault explains yet.
void add_cause(const Json& link, CauseKind kind, const std::string& whose, const Json& job,
               std::uint64_t& left, std::vector<Json>& causes) {
  const bool asked_for = kind == CauseKind::requested_faults;
  const std::uint64_t count =
      asked_for ? frames_at(link, "lost_frames") + frames_at(link, "under_way_frames")
                : frames_at(link, "queue_full_frames");
  const std::uint64_t taken = std::min(count, left);
  if (taken == 0) return;
  left -= taken;
  const auto all = static_cast<double>(frames_at(job.at("loss"), "lost_frames"));
  const double of_losses = static_cast<double>(taken) / all;
  const std::string name = job.at("jobname");
  const std::uint64_t frames = std::max(count, frames_at(link, "frames"));
  causes.push_back(
      {{"job", name},
       {"cause", word_of(kind)},
       {"begin_s", 0.0},
       {"end_s",
        job.at("intervals").empty() ? Json(0.0) : job.at("intervals").back().at("at_seconds")},
       {"share", static_cast<double>(count) / static_cast<double>(frames)},
       {"of_losses_share", of_losses},
       {"counted", true},
       {"sentence",
        base::printable(name) + ": " +
            (asked_for ? whose + " took " : "the queue of " + whose + " was full and dropped ") +
            counted_text(count, "frame") + explains_text(of_losses)}});
}

double share_of_losses(const Json& cause) {
  return number_at(cause, "of_losses_share");
}

/// Whether it is known by a count of packets how many losses the cause explains.
bool is_certain(const Json& cause) {
  return cause.value("counted", false);
}

/// Sets the share of the losses that a cause explains, also in its sentence; empty: not known.
void retell(Json& cause, std::optional<double> share) {
  const auto text_of = is_certain(cause) ? explains_text : fell_text;
  const std::string before = text_of(share_of_losses(cause));
  cause["of_losses_share"] = share ? Json(*share) : Json(nullptr);
  std::string sentence = cause.at("sentence");
  const std::size_t at = sentence.rfind(before);  // the names of jobs come before it
  if (before.empty() || at == std::string::npos) return;
  cause["sentence"] = sentence.replace(at, before.size(), text_of(share.value_or(0)));
}

/// Whether a cause was named only because of losses that it does not explain.
bool was_for_losses(const Json& cause, double before) {
  const double now = share_of_losses(cause);
  if (before < kWorthNamingLosses || now >= kWorthNamingLosses) return false;
  const bool has_time = cause.at("cause") != word_of(CauseKind::migrated) && !is_certain(cause);
  const double length = number_at(cause, "end_s") - number_at(cause, "begin_s");
  return has_time && number_at(cause, "share") * length < kBlinkSeconds;
}

/// Corrects what the causes of a job say of the `lost` frames, of which its server knew of
/// `known_lost`, and the requested faults took all but `left`.
void correct_causes(std::vector<Json>& causes, const std::string& job, std::uint64_t known_lost,
                    std::uint64_t lost, std::uint64_t left) {
  auto rest = static_cast<double>(left);
  for (const bool certain : {true, false}) {
    for (Json& cause : causes) {
      const double before = share_of_losses(cause);
      if (cause.at("job") != job || is_certain(cause) != certain) continue;
      const double frames = std::clamp(before, 0.0, 1.0) * static_cast<double>(known_lost);
      const double taken = std::min(frames, rest);
      rest -= taken;
      retell(cause, lost == 0 ? std::nullopt : std::optional(taken / static_cast<double>(lost)));
      if (was_for_losses(cause, before)) cause = nullptr;
    }
    std::erase_if(causes, [](const Json& cause) { return cause.is_null(); });
  }
}

/// Puts the heaviest causes first.
void sort_causes(std::vector<Json>& causes) {
  const auto cause_of = [](const Json& one) {
    const auto number = [&one](const char* key) { return number_at(one, key); };
    const auto kind = cause_kind_of(one.at("cause").get<std::string>());
    return Cause{.job = {},
                 .cause = kind.value_or(CauseKind::waited_for_cpu),
                 .begin_s = number("begin_s"),
                 .end_s = number("end_s"),
                 .share = number("share"),
                 .of_losses_share = number("of_losses_share"),
                 .counted = is_certain(one),
                 .sentence = one.at("sentence").get<std::string>()};
  };
  std::ranges::sort(causes, [&](const Json& one, const Json& other) {
    const Cause a = cause_of(one), b = cause_of(other);
    if (weighs_more(a, b) != weighs_more(b, a)) return weighs_more(a, b);
    return a.sentence > b.sentence;
  });
}

}  // namespace

void blame_faults(const Json& sending, const std::string& server, const std::string& from,
                  Json& report, const std::string& to, std::uint64_t known_lost) {
  const auto causes = report.find("causes");
  const Json& jobs = report.at("jobs");
  const auto job =
      std::ranges::find_if(jobs, [&](const Json& each) { return each.at("jobname") == to; });
  if (causes == report.end() || !causes->is_array()) return;  // an earlier version has none
  if (job == jobs.end() || !job->at("loss").is_object()) return;
  const std::uint64_t lost = frames_at(job->at("loss"), "lost_frames");
  std::uint64_t left = lost;
  std::vector<Json> faults;
  for (const Json& link : sending.at("links")) {
    if (link.at("jobname") != from || link.at("direction") != "sent") continue;
    const std::string whose = faults_text(server, from, link);
    add_cause(link, CauseKind::requested_faults, whose, *job, left, faults);
    add_cause(link, CauseKind::fault_queue, whose, *job, left, faults);
  }
  std::vector<Json> all(causes->begin(), causes->end());
  correct_causes(all, to, known_lost, lost, left);
  std::ranges::move(faults, std::back_inserter(all));
  sort_causes(all);
  *causes = all;
}

void forget_losses_of_causes(Json& report, const std::string& job) {
  const auto causes = report.find("causes");
  if (causes == report.end() || !causes->is_array()) return;
  std::vector<Json> all(causes->begin(), causes->end());
  for (Json& cause : all) {
    if (cause.at("job") != job) continue;
    const double before = share_of_losses(cause);
    retell(cause, std::nullopt);
    if (was_for_losses(cause, before)) cause = nullptr;
  }
  std::erase_if(all, [](const Json& cause) { return cause.is_null(); });
  sort_causes(all);
  *causes = all;
}

namespace {

using Json = nlohmann::json;

/// Renames a job or group of a server. A name with a '/' already has its server, because it is of
/// another one.
void rename(Json& of, const char* key, const std::string& host) {
  const auto it = of.find(key);
  if (it == of.end() || !it->is_string()) return;
  const std::string name = it->get<std::string>();
  if (name.find('/') == std::string::npos) *it = host + '/' + name;
}

void drop_bins(Json& of) {
  for (const char* key : {"latency_ns", "service_ns", "spacing_error_ns"}) {
    const auto it = of.find(key);
    if (it != of.end() && it->is_object()) it->erase("bins");
  }
}

/// Makes a part of a server's result a part of the whole.
Json of_host(Json part, const std::string& host, Bins bins) {
  for (const char* key : {"jobname", "groupname", "peer_of"}) rename(part, key, host);
  if (part.contains("jobnames")) {
    for (Json& name : part["jobnames"]) name = host + '/' + name.get<std::string>();
  }
  if (part.contains("trials")) {
    for (Json& trial : part["trials"]) rename(trial, "jobname", host);
  }
  const auto loss = part.find("loss");
  if (loss != part.end() && loss->is_object() && loss->contains("flows")) {
    for (Json& flow : (*loss)["flows"]) {
      rename(flow, "from", host);
      rename(flow, "to", host);
    }
  }
  if (bins == Bins::without) drop_bins(part);
  part["hostname"] = host;
  return part;
}

Json or_null(const std::optional<std::uint64_t>& value) {
  return value ? Json(*value) : Json(nullptr);
}

/// Why it is not known what held the jobs of a server back; null if it is known.
Json why_no_causes(const HostResult& host) {
  if (!host.report) return "it has no result";
  const Json& of = host.report->json();
  if (of.contains("causes") && of.at("causes").is_array()) return nullptr;
  const Json reason = of.value("causes_reason", Json(nullptr));
  return reason.is_null() ? Json("its result does not tell") : reason;
}

/// What held the jobs of all servers back.
void put_causes(Json& json, const std::vector<HostResult>& hosts) {
  std::vector<Json> all;
  std::string reason;
  bool known = false;
  for (const HostResult& host : hosts) {
    if (const Json why = why_no_causes(host); !why.is_null()) {
      reason += (reason.empty() ? "" : "; ") + host.name + ": " + why.get<std::string>();
      continue;
    }
    known = true;
    for (Json cause : host.report->json().at("causes")) {
      rename(cause, "job", host.name);
      cause["sentence"] = host.name + ": " + cause.at("sentence").get<std::string>();
      cause["hostname"] = host.name;
      all.push_back(std::move(cause));
    }
  }
  sort_causes(all);
  json["causes"] = known ? Json(all) : Json(nullptr);
  json["causes_reason"] = known ? Json(nullptr) : Json(reason);
}

Json host_json(const HostResult& host) {
  Json json = {{"hostname", host.name},
               {"passed", host.passed()},
               {"failures", host.failures},
               {"exit_code", host.refused_with ? Json(*host.refused_with) : Json(nullptr)},
               {"shmifperf_version", nullptr},
               {"time", nullptr},
               {"machine", nullptr},
               {"start_offset_ns", or_null(host.start_offset_ns)},
               {"clock_error_ns", or_null(host.clock_error_ns)},
               {"causes_reason", why_no_causes(host)},
               {"why", nullptr}};
  if (!host.report) return json;
  json["why"] = host.report->json().value("why", Json(nullptr));
  for (const char* key : {"exit_code", "shmifperf_version", "time", "machine"}) {
    json[key] = host.report->json().at(key);
  }
  const auto memory = host.report->json().find("membw");
  if (memory != host.report->json().end()) json["membw"] = *memory;
  return json;
}

/// The servers that failed by themselves, without those that could not run because of them: "x",
/// "x and y", "x and 3 others".
std::string culprits_of(const std::vector<HostResult>& hosts) {
  std::vector<std::string> names;
  for (const HostResult& host : hosts) {
    if (!host.failures.empty()) names.push_back(host.name);
  }
  if (names.empty()) return {};
  if (names.size() == 1) return names[0];
  return names[0] + " and " +
         (names.size() == 2 ? names[1] : std::to_string(names.size() - 1) + " others");
}

/// Every failure, preceded by the server's name.
std::vector<std::string> failures_of(const std::vector<HostResult>& hosts, const WholeRun& whole) {
  std::vector<std::string> all;
  const bool stopped = whole.signal != 0 && std::ranges::all_of(hosts, [](const HostResult& host) {
                         return host.failures.empty();
                       });
  // Servers that were kept from running come last, so that the reader sees first what went wrong.
  std::vector<std::string> idle;
  for (const HostResult& host : hosts) {
    for (const std::string& why : host.failures) all.push_back(host.name + ": " + why);
    if (host.report) {
      for (const Json& why : host.report->json().at("failures")) {
        all.push_back(host.name + ": " + why.get<std::string>());
      }
    } else if (host.failures.empty()) {
      const std::string who = culprits_of(hosts);
      idle.push_back(host.name + ": ran nothing, because " +
                     (stopped       ? "the run was stopped before"
                      : who.empty() ? "not every server could run its jobs"
                                    : who + " could not run its jobs"));
    }
  }
  all.insert(all.end(), idle.begin(), idle.end());
  return all;
}

/// The JSON of the whole run, without jobs.
Json frame_of(const std::vector<HostResult>& hosts, const WholeRun& whole) {
  RunResult result;
  result.version = whole.version;
  result.command = whole.command;
  for (const auto& [name, value] : whole.options) result.options[name] = value;
  result.began = whole.began;
  result.ended = whole.ended;
  result.machine = describe_machine();
  result.failures = failures_of(hosts, whole);
  result.exit_code = exit_code_of(hosts, whole);
  if (whole.signal != 0) result.stopped_by_signal = whole.signal;
  return Json::parse(to_json(result, Bins::without));
}

/// "2 servers, 1 FAILED, 12 frames lost (exit code 1), took 3.00 s"
std::string head_text(const std::vector<HostResult>& hosts, const WholeRun& whole) {
  Json result = {{"hosts", Json::array()},
                 {"failures", failures_of(hosts, whole)},
                 {"stopped_by_signal", whole.signal != 0 ? Json(whole.signal) : Json(nullptr)}};
  for (const char* key : {"jobs", "links"}) result[key] = Json::array();
  for (const HostResult& host : hosts) {
    result["hosts"].push_back(host_json(host));
    if (!host.report) continue;
    for (const char* key : {"jobs", "links"}) {
      for (const Json& each : host.report->json().at(key)) result[key].push_back(each);
    }
  }
  const std::size_t failed = failed_servers(result);
  std::string text = std::to_string(hosts.size()) + (hosts.size() == 1 ? " server" : " servers");
  if (failed != 0) text += ", " + std::to_string(failed) + " FAILED";
  if (whole.signal != 0) text += ", stopped by " + word_of_signal(whole.signal);
  if (failed == 0 && whole.signal == 0) text += ", passed";
  const double took = std::chrono::duration<double>(whole.ended - whole.began).count();
  return text + losses_text(result) + " (exit code " + std::to_string(exit_code_of(hosts, whole)) +
         "), took " + format_seconds(took) + '\n';
}

/// How late the latest of a server's jobs started, after the server's start.
std::uint64_t skew_of(const HostResult& host) {
  std::uint64_t max = 0;
  if (!host.report) return max;
  for (const Json& job : host.report->json().at("jobs")) {
    const Json& skew = job.at("start_skew_ns");
    if (skew.is_number_unsigned()) max = std::max(max, skew.get<std::uint64_t>());
  }
  return max;
}

std::string start_text(const std::vector<HostResult>& hosts) {
  std::uint64_t spread = 0;
  std::uint64_t error = 0;
  std::size_t started = 0;
  for (const HostResult& host : hosts) {
    if (!host.start_offset_ns) continue;
    ++started;
    spread = std::max(spread, *host.start_offset_ns + skew_of(host));
    error = std::max(error, host.clock_error_ns.value_or(0));
  }
  if (started < 2) return {};
  const auto time = [](std::uint64_t ns) { return format_ns(static_cast<double>(ns)); };
  return "start     " + std::to_string(started) + " servers began within " + time(spread) +
         " of each other (their clocks are compared to within " + time(2 * error) + ")\n";
}

}  // namespace

int exit_code_of(const std::vector<HostResult>& hosts, const WholeRun& whole) {
  if (whole.signal != 0) return 128 + whole.signal;
  const auto all = [&](const auto& holds) { return std::ranges::all_of(hosts, holds); };
  if (all([](const HostResult& host) { return host.passed() && host.exit_code() == 0; })) return 0;
  const bool unsupported = all([](const HostResult& host) {
    return host.exit_code() == 0 || host.exit_code() == kNotSupportedCode;
  });
  const bool any = !all([](const HostResult& host) { return host.exit_code() == 0; });
  return any && unsupported ? kNotSupportedCode : 1;
}

std::string combined_json(const std::vector<HostResult>& hosts, const WholeRun& whole, Bins bins) {
  Json json = frame_of(hosts, whole);
  Json list = Json::array();
  for (const HostResult& host : hosts) {
    list.push_back(host_json(host));
    if (!host.report) continue;
    const Json& of = host.report->json();
    for (const char* key : {"jobs", "groups", "links", "searches", "repeats", "steady_states"}) {
      for (const Json& part : of.at(key)) json[key].push_back(of_host(part, host.name, bins));
    }
    for (const Json& warning : of.at("warnings")) {
      json["warnings"].push_back(host.name + ": " + warning.get<std::string>());
    }
  }
  put_causes(json, hosts);
  json["hosts"] = std::move(list);
  return json.dump(1, ' ', true, Json::error_handler_t::replace) + '\n';
}

std::string combined_text(const std::vector<HostResult>& hosts, const WholeRun& whole,
                          std::size_t width) {
  std::string text = "shmifperf " + whole.version + ": " + head_text(hosts, whole);
  for (const std::string& failure : failures_of(hosts, whole)) {
    text += "FAILED    " + printable(failure) + '\n';
  }
  text += start_text(hosts);
  for (const HostResult& host : hosts) {
    if (host.report) text += "\n==== " + host.name + " ====\n\n" + to_text(*host.report, width);
  }
  return text;
}

}  // namespace shmif::perf
