#include "perf/remote/flow_faults.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/text.hpp"
#include "instruments/why/analysis.hpp"
#include "instruments/why/cause.hpp"
#include "instruments/why/evidence.hpp"

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

}  // namespace

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

}  // namespace shmif::perf
