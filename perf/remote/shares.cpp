#include "perf/remote/shares.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "perf/option/option_table.hpp"
#include "perf/plan/planner.hpp"
#include "perf/remote/combine.hpp"
#include "perf/remote/connection.hpp"
#include "perf/remote/limits.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/table.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::json;

const JobOptions* job_named(const JobSet& set, const std::string& name) {
  const auto it = std::ranges::find(set.jobs, name, &JobOptions::name);
  return it == set.jobs.end() ? nullptr : &*it;
}

/// The job on another server that `job` sends to; null if there is none.
const JobOptions* receiver_elsewhere(const JobSet& set, const JobOptions& job) {
  const JobOptions* const to = job.to.empty() ? nullptr : job_named(set, job.to);
  return to != nullptr && to->server != job.server ? to : nullptr;
}

std::string milliseconds(std::chrono::nanoseconds time) {
  return std::to_string(std::chrono::ceil<std::chrono::milliseconds>(time).count()) + "ms";
}

void drop(OptionTexts& options, std::string_view name) {
  std::erase_if(options, [name](const auto& each) { return each.first == name; });
}

/// When `sender` has sent all, and how long its receiver drains, twice if frames are missing.
std::chrono::nanoseconds sending_time(const JobOptions& sender) {
  return sender.start_delay + sender.runtime;
}
std::chrono::nanoseconds drain_after(const JobOptions& sender) {
  return sender.drain_time.count() == 0 ? std::chrono::seconds(1) : sender.drain_time;
}

/// The address at which a job receives. On a bus, if none was given, one that follows from its
/// server and name. So both servers are told the same one, and no other job of the run has it.
std::string address_of_receiver(const JobOptions& job) {
  if (job.engine != EngineKind::bus || MacAddress::parse(job.hostname)) return job.hostname;
  std::uint64_t hash = 0xcbf2'9ce4'8422'2325;  // FNV-1a
  for (const char c : job.server + '\0' + job.name) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100'0000'01b3;
  }
  constexpr std::uint64_t kLocal = 0x0200'0000'0000;  // an address that no manufacturer gives
  return MacAddress::from_u64(kLocal | (hash >> 24U)).to_string();
}

/// Collects the problems of one set.
class ShareChecker {
 public:
  explicit ShareChecker(const JobSet& set) : set_(set) {}

  std::vector<std::string> all() {
    for (const JobOptions& job : set_.jobs) {
      if (job.server.empty()) {
        problem(job, "server: other jobs have a server (give this one, too, or none of them)");
      } else if (const auto address = parse_server_address(job.server); !address) {
        problem(job, "server: " + address.error().message);
      } else {
        written_alike(job, *address);
      }
      if (const JobOptions* const to = receiver_elsewhere(set_, job)) {
        between(job, *to);
        alone(job, *to);
        flows_ = true;
      }
    }
    for (const JobOptions& job : set_.jobs) {
      require(
          job, !flows_ || (!job.stonewall && job.wait_for.empty()),
          (job.stonewall ? "stonewall" : "wait_for") +
              std::string(": servers do not wait for each other, and jobs of this run send from "
                          "one to another (use start_delay)"));
    }
    return std::move(problems_);
  }

 private:
  /// A server that is written in two ways would count as two.
  void written_alike(const JobOptions& job, const ServerAddress& address) {
    for (const JobOptions& other : set_.jobs) {
      if (&other == &job) return;
      const auto known = parse_server_address(other.server);
      require(
          job,
          !known || other.server == job.server || known->host != address.host ||
              known->port != address.port,
          "server: " + job.server + " is the same as " + other.server + " (write it in one way)");
    }
  }
  void between(const JobOptions& from, const JobOptions& to) {
    const std::string there = "to: \"" + to.name + "\" is on another server";
    const bool on_bus = from.engine == EngineKind::bus;
    require(from, (on_bus || from.engine == EngineKind::udp) && from.engines.empty(),
            there +
                ", and only engine=udp and engine=bus lead there (use one of them for both, or "
                "give both one server)");
    require(from, from.engine == to.engine,
            there + ", on engine=" + name_of(to.engine) + " (use one engine for both)");
    const bool one_way = from.rw == Role::tx && to.rw == Role::rx;
    const bool round_trip = on_bus && from.rw == Role::pingpong && to.rw == Role::echo;
    require(from, one_way || round_trip,
            there + (on_bus ? ", and frames go one way or are echoed (use rw=tx here and rw=rx "
                              "there, or rw=pingpong and rw=echo)"
                            : ", and over engine=udp frames go one way (use rw=tx here and rw=rx "
                              "there; engine=bus also has round trips)"));
    require(from, from.numjobs == 1 && to.numjobs == 1,
            there + ", and clones cannot share its " + (on_bus ? "address" : "port") +
                " (use numjobs=1 for both)");
    require(from, on_bus || to.port != 0,
            there + ", where its port must be known (give \"" + to.name + "\" hostname and port)");
    for (const JobOptions* const job : {&from, &to}) {
      require(*job, !on_bus || !job->bus.empty(),
              there +
                  ", which is reached over a bus of each server (give both jobs bus, and join "
                  "the buses with 'shmifctl uplink')");
    }
    require(from, from.runtime.count() != 0,
            there + ", which must know how long to listen (give runtime)");
    require(from, from.ramp_time.count() == 0,
            there + ", which does not know the ramp (leave ramp_time out)");
    require(from, set_.run.repeat <= 1,
            there + ", and its frames are counted over one run (leave repeat out)");
    require(from, from.search == Search::none,
            there + ", and a search needs the losses at once (leave search out)");
    require(from, from.replay.empty(),
            there + ", and frames of a capture carry no numbers (leave replay out)");
  }
  /// The receiver tells frames of different senders apart, but not which server sent them.
  void alone(const JobOptions& from, const JobOptions& to) {
    for (const JobOptions& other : set_.jobs) {
      const bool receives = other.rw == Role::rx || other.rw == Role::echo;
      require(other,
              &other == &to || !receives || !MacAddress::parse(to.hostname) ||
                  other.hostname != to.hostname,
              "hostname: \"" + to.name + "\" has the address " + to.hostname +
                  ", too, on a bus that is joined to this one (give each its own)");
      if (&other == &from || other.to != to.name) continue;
      require(from, false,
              "to: \"" + other.name + "\" also sends to \"" + to.name +
                  "\", which receives from one job if that is on another server (give each its own "
                  "receiver)");
    }
  }
  void require(const JobOptions& job, bool fine, const std::string& what) {
    if (!fine) problem(job, what);
  }
  void problem(const JobOptions& job, const std::string& what) {
    if (problems_.size() >= kMaxProblems) return;
    problems_.push_back(job.where + ": job \"" + job.name + "\": " + what);
  }

  const JobSet& set_;
  bool flows_ = false;  ///< jobs send from one server to another
  std::vector<std::string> problems_;
};

// ---- The results ----

std::uint64_t count_at(const Json& of, const char* key) {
  const auto it = of.find(key);
  return it != of.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

Json* find(Json& list, const char* key, const std::string& name) {
  for (Json& each : list) {
    if (each.at(key) == name) return &each;
  }
  return nullptr;
}

/// Changes a count by the difference between two others.
void move_count(Json& of, const char* key, std::uint64_t from, std::uint64_t to) {
  if (of.is_object()) of[key] = count_at(of, key) + to - from;  // modulo 2^64
}

/// The fates that both servers together know better than one of them.
struct Fates {
  std::uint64_t sent = 0, lost = 0, cancelled = 0, corrupt = 0, truncated = 0;
  std::uint64_t corrupt_copies = 0, truncated_copies = 0;
};
constexpr std::pair<const char*, std::uint64_t Fates::*> kFates[] = {
    {"sent_frames", &Fates::sent},
    {"lost_frames", &Fates::lost},
    {"cancelled_frames", &Fates::cancelled},
    {"corrupt_frames", &Fates::corrupt},
    {"truncated_frames", &Fates::truncated},
    {"corrupt_copies", &Fates::corrupt_copies},
    {"truncated_copies", &Fates::truncated_copies},
};

Fates fates_of(const Json& loss) {
  Fates fates;
  for (const auto& [key, member] : kFates) fates.*member = count_at(loss, key);
  return fates;
}

void set_fates(Json& loss, const Fates& before, const Fates& now) {
  if (!loss.is_object()) return;
  for (const auto& [key, member] : kFates) move_count(loss, key, before.*member, now.*member);
  const auto all = static_cast<double>(count_at(loss, "sent_frames"));
  if (all > 0) loss["lost_share"] = static_cast<double>(count_at(loss, "lost_frames")) / all;
}

FlowResult flow_in(const Json& flow) {
  FlowResult result;
  for_each_member<FlowResult>([&](const Figure<FlowResult>& row, auto member) {
    if constexpr (std::is_same_v<decltype(member), std::uint64_t FlowResult::*>) {
      result.*member = count_at(flow, row.key);
    }
  });
  result.from = flow.at("from");
  const std::string kind = flow.at("kind");
  result.kind = kind == "request" ? FlowResult::Kind::request
                : kind == "reply" ? FlowResult::Kind::reply
                                  : FlowResult::Kind::data;
  return result;
}

/// The problems of a job say of its flows what their counts say now.
void retell_losses(Json& job) {
  Json problems = Json::array();
  for (const Json& each : job.at("problems")) {
    if (each.at("kind") != "loss") problems.push_back(each);
  }
  if (const Json& loss = job.at("loss"); loss.is_object()) {
    for (const Json& flow : loss.at("flows")) {
      const std::string text = loss_problem(flow_in(flow));
      if (!text.empty()) problems.push_back({{"kind", "loss"}, {"text", text}});
    }
  }
  job["problems"] = problems;
}

/// Takes up to `frames` lost ones out of an interval. Result: how many are left to be taken.
std::uint64_t take_lost(Json& interval, std::uint64_t frames) {
  const std::uint64_t here = std::min(frames, count_at(interval, "lost_frames"));
  interval["lost_frames"] = count_at(interval, "lost_frames") - here;
  return frames - here;
}

/// The losses in the intervals of a job: those that its own server knows of.
std::uint64_t lost_in_intervals(const Json& job) {
  std::uint64_t known = 0;
  for (const Json& each : job.at("intervals")) known += count_at(each, "lost_frames");
  return known;
}

/// Makes the losses of a job's intervals add up to `lost`. Frames that only the other end knew of
/// are the last ones.
void settle_intervals(Json& job, std::uint64_t lost) {
  Json& curve = job.at("intervals");
  if (curve.empty()) return;
  const std::uint64_t known = lost_in_intervals(job);
  if (known < lost) {
    curve.back()["lost_frames"] = count_at(curve.back(), "lost_frames") + lost - known;
    return;
  }
  std::uint64_t rest = known - lost;
  for (auto each = curve.rbegin(); each != curve.rend(); ++each) rest = take_lost(*each, rest);
}

/// Takes the replies to requests that did not arrive out of the intervals of the asking job: those
/// in which the echo missed the request, or later ones.
void take_unasked(Json& asking, const Json& echo) {
  for (const Json& missed : echo.at("intervals")) {
    std::uint64_t rest = count_at(missed, "lost_frames");
    const double begin = missed.at("at_seconds").get<double>() - missed.at("seconds").get<double>();
    for (Json& each : asking.at("intervals")) {
      if (each.at("at_seconds").get<double>() > begin) rest = take_lost(each, rest);
    }
  }
}

Json* group_of(Json& report, const Json& job) {
  return find(report.at("groups"), "groupname", job.at("groupname").get<std::string>());
}

/// Sets the fates of what was sent to a job, and in its only flow from whom.
void count_flow(Json& report, Json& job, const Fates& now, const std::string& from,
                const char* kind) {
  Json& loss = job.at("loss");
  const Fates before = fates_of(loss);
  set_fates(loss, before, now);
  if (loss.at("flows").size() == 1) {
    Json& one = loss.at("flows").front();
    set_fates(one, before, now);
    one["from"] = from;
    one["kind"] = kind;
  }
  if (Json* const group = group_of(report, job)) set_fates(group->at("loss"), before, now);
  retell_losses(job);
}

/// The receiver knows which numbers are missing between those that came. Adds the ones before and
/// after them, except those of frames that were `cancelled`, which are the last.
void complete_gaps(Json& job, const HalfFlow& sender, const HalfFlow& receiver,
                   std::uint64_t cancelled) {
  constexpr std::size_t kMaxGaps = 16;  // as in the results of one machine
  Json& flows = job.at("loss").at("flows");
  if (flows.size() != 1 || job.at("exit_signal").is_number()) return;
  Json& known = flows.front().at("gaps");
  const std::uint64_t end = sender.end_number - std::min(cancelled, sender.end_number);
  Json all = Json::array();
  const auto add = [&all](std::uint64_t from, std::uint64_t to) {
    if (from < to && all.size() < kMaxGaps) all.push_back({from, to});
  };
  const bool came = receiver.end_number != 0;
  add(sender.first_number, came ? std::min(receiver.first_number, end) : end);
  for (const Json& gap : known) add(gap.at(0), gap.at(1));
  if (came && known.size() < kMaxGaps) add(receiver.end_number, end);
  known = std::move(all);
}

/// Only the sender knows how many frames it has sent: takes out what the receiver has guessed.
void forget_flow(Json& report, Json& job, const std::string& why) {
  const Fates guessed = fates_of(job.at("loss"));
  Json* const group = group_of(report, job);
  const bool is_only_one = group != nullptr && group->at("jobnames").size() == 1;
  for (Json* const each : {&job, is_only_one ? group : nullptr}) {
    if (each == nullptr || !each->at("loss").is_object()) continue;
    (*each)["loss"] = nullptr;
    (*each)["loss_reason"] = why;
  }
  if (group != nullptr && !is_only_one) {
    Fates none = guessed;
    none.sent = none.lost = 0;
    set_fates(group->at("loss"), guessed, none);
  }
  retell_losses(job);
  forget_losses_of_causes(report, job.at("jobname"));
}

/// Makes the changed report that of the server.
void put_back(const Json& report, HostResult& server) {
  auto changed = Report::parse(report.dump(), server.report->name());
  if (changed) {
    server.report = *std::move(changed);
  } else {
    server.failures.push_back(changed.error().message);
  }
}

/// Rates over that time; null if there is none.
void set_window(Json& traffic, std::optional<double> seconds) {
  if (!traffic.is_object()) return;
  const bool known = seconds && *seconds > 0;
  const auto rate = [&](double amount) { return known ? Json(amount / *seconds) : Json(nullptr); };
  traffic["seconds"] = known ? Json(*seconds) : Json(nullptr);
  traffic["rate_fps"] = rate(static_cast<double>(count_at(traffic, "frames")));
  traffic["rate_bps"] = rate(8 * static_cast<double>(count_at(traffic, "bytes")));
}

/// The same for the job, and for its group where no other job has such traffic.
void set_windows(Json& report, Json& job, std::optional<double> seconds) {
  Json* const group = group_of(report, job);
  for (const char* const direction : {"rx", "tx"}) {
    set_window(job.at(direction), seconds);
    const auto has_it = [&](const Json& each) {
      return each.at("groupname") == job.at("groupname") && each.at(direction).is_object();
    };
    if (group != nullptr && job.at(direction).is_object() &&
        std::ranges::count_if(report.at("jobs"), has_it) == 1) {
      set_window(group->at(direction), seconds);
    }
  }
}

const HalfFlow& half_of(const HostResult& server, const std::string& job) {
  static const HalfFlow kNothing;
  const auto it = std::ranges::find(server.halves, job, &std::pair<std::string, HalfFlow>::first);
  return it == server.halves.end() ? kNothing : it->second;
}

/// When the receiver stopped listening, by the clock of the sender, and as late as it can be.
std::optional<std::uint64_t> end_of_listening(const HalfFlow& receiver, const ClockPair& clocks) {
  if (!receiver.listened_until_ns) return std::nullopt;
  // Modulo 2^64: either clock may be ahead.
  return *receiver.listened_until_ns - static_cast<std::uint64_t>(clocks.apart_ns) +
         clocks.error_ns;
}

/// How many of the frames were surely sent when the receiver listened no more.
std::uint64_t sent_in_vain(const HalfFlow& sender, std::uint64_t sent,
                           std::optional<std::uint64_t> until_ns) {
  std::uint64_t before = sent;
  for (const SentMark& mark : sender.marks) {
    if (until_ns && mark.time_ns >= *until_ns) before = std::min(before, mark.frames);
  }
  return sent - before;
}

/// The receiver's window ends with that of its sender, or when it listened no more: the time over
/// which rates are computed. Empty: that of the sender is not known.
std::optional<double> shared_seconds(const Json& tx, const HalfFlow& sender,
                                     std::optional<std::uint64_t> until_ns) {
  if (!tx.is_object() || !tx.at("seconds").is_number()) return std::nullopt;
  const double seconds = tx.at("seconds").get<double>();
  if (!(seconds > 0)) return std::nullopt;
  const bool early = until_ns && *until_ns < sender.window_end_ns;
  if (!early || *until_ns <= sender.window_begin_ns) return seconds;
  return static_cast<double>(*until_ns - sender.window_begin_ns) * 1e-9;
}

/// The time that the frames of the window took which arrived: each takes its time until the next.
/// Empty if that cannot be said.
std::optional<double> seconds_of_arrivals(const Json& rx, const HalfFlow& receiver) {
  const std::uint64_t frames = rx.is_object() ? count_at(rx, "frames") : 0;
  if (frames < 2 || receiver.first_arrival_ns == 0) return std::nullopt;
  if (receiver.last_arrival_ns <= receiver.first_arrival_ns) return std::nullopt;
  const auto frames_f = static_cast<double>(frames);
  return static_cast<double>(receiver.last_arrival_ns - receiver.first_arrival_ns) * 1e-9 *
         frames_f / (frames_f - 1);
}

/// Rates for a receiver of which nobody knows how long its sender sent.
void rate_by_arrivals(Json& report, Json& job, const CrossFlow& flow, const HalfFlow& receiver) {
  if (!job.at("rx").is_object()) return;
  const auto seconds = seconds_of_arrivals(job.at("rx"), receiver);
  set_windows(report, job, seconds);
  report["warnings"].push_back(
      flow.to +
      (seconds ? ": its rate is over the time in which frames arrived" : ": it has no rate") +
      ", because it is not known how long \"" + flow.from + "\" on " + flow.from_server + " sent");
}

/// What became of the frames that the receiver did not take, by what both ends know: damaged frames
/// whose numbers it did not know, frames that were sent when it had ended, and lost ones.
Fates judge_missing(Fates fates, std::uint64_t missing, std::uint64_t in_vain,
                    const HalfFlow& receiver) {
  const auto place = [&missing](std::uint64_t apart, std::uint64_t& frames, std::uint64_t& copies) {
    const std::uint64_t taken = std::min({apart, copies, missing});
    missing -= taken;
    copies -= taken;
    frames += taken;
  };
  place(receiver.corrupt_apart, fates.corrupt, fates.corrupt_copies);
  place(receiver.truncated_apart, fates.truncated, fates.truncated_copies);
  const std::uint64_t cancelled = std::min(missing, in_vain);
  fates.cancelled += cancelled;
  fates.lost = missing - cancelled;
  return fates;
}

/// Why a job has no latency from one server to another.
std::string why_no_latency(const CrossFlow& flow, std::uint64_t error_ns) {
  return "the frames come from another server, and the clocks of " + flow.from_server + " and " +
         flow.to_server + " were compared only to within " +
         format_ns(static_cast<double>(error_ns));
}

/// Takes the latencies of a job or group out, if it has any.
void drop_latencies(Json& of, const std::string& why) {
  for (const char* key : {"latency_ns", "service_ns"}) {
    if (of.at(key).is_null()) continue;
    of[key] = nullptr;
    of[std::string(key) + "_reason"] = why;
  }
}

/// Takes out latencies of which it became known during the run that they cannot be trusted.
void take_back_latencies(Json& report, Json& job, const std::string& why) {
  const std::string name = job.at("jobname");
  drop_latencies(job, why);
  if (Json* const group = group_of(report, job)) drop_latencies(*group, why);
  for (Json& interval : job.at("intervals")) {
    for (const char* key :
         {"latency_mean_ns", "latency_p50_ns", "latency_p99_ns", "latency_max_ns"}) {
      interval[key] = nullptr;
    }
  }
  report["warnings"].push_back(name + ": its latencies were dropped, because " + why);
}

void tell_clocks(Json& report, Json& job, const CrossFlow& flow, const ClockPair& clocks) {
  if (!clocks.shift_ns) {
    for (const char* key : {"latency_ns", "service_ns"}) {
      if (!job.at(key).is_null()) continue;
      job[std::string(key) + "_reason"] = why_no_latency(flow, clocks.error_ns);
    }
    return;
  }
  if (clocks.error_ns > kMaxClockErrorNs) {
    if (job.at("latency_ns").is_null()) return;
    return take_back_latencies(report, job, why_no_latency(flow, clocks.error_ns));
  }
  job["latency_clock_error_ns"] = clocks.error_ns;
  if (clocks.error_ns == 0 || job.at("latency_ns").is_null()) return;
  report["warnings"].push_back(flow.to + ": its latencies may be wrong by " +
                               format_ns(static_cast<double>(clocks.error_ns)) +
                               ", because they compare the clocks of " + flow.from_server +
                               " and " + flow.to_server);
}

}  // namespace

std::vector<std::string> server_problems(const JobSet& set) {
  return servers_in(set).empty() ? std::vector<std::string>() : ShareChecker(set).all();
}

std::vector<std::string> servers_in(const JobSet& set) {
  std::vector<std::string> servers;
  for (const JobOptions& job : set.jobs) {
    const bool known = std::ranges::find(servers, job.server) != servers.end();
    if (!job.server.empty() && !known) servers.push_back(job.server);
  }
  return servers;
}

namespace {

/// Takes out the options that have no effect on one end of a flow between servers, and that have
/// one on other jobs of the set: those before the first --name, for example. Its server, which does
/// not know the other jobs, would refuse them.
void drop_options_of_others(const JobSet& set, JobTexts& texts) {
  std::vector<const JobOptions*> jobs;
  jobs.reserve(set.jobs.size());
  for (const JobOptions& job : set.jobs) jobs.push_back(&job);
  const auto refused = unused_options(jobs);
  for (std::size_t i = 0; i < set.jobs.size(); ++i) {
    const JobOptions& job = set.jobs[i];
    const bool is_end = receiver_elsewhere(set, job) != nullptr ||
                        std::ranges::any_of(set.jobs, [&](const JobOptions& from) {
                          return receiver_elsewhere(set, from) == &job;
                        });
    if (!is_end) continue;
    std::erase_if(texts.jobs[i].options, [&](const auto& option) {
      const OptionRow* const row = find_option(option.first);
      if (row == nullptr || row->is_used == nullptr || row->is_used(job)) return false;
      return std::ranges::none_of(refused, [&](const auto& each) {
        return each.first == i && each.second.starts_with(row->name + ": ");
      });
    });
  }
}

}  // namespace

Shares shares_of(const JobSet& set) {
  JobTexts whole = texts_of(set);
  drop_options_of_others(set, whole);
  Shares shares;
  for (const std::string& server : servers_in(set)) {
    ServerShare& share =
        shares.servers.emplace_back(ServerShare{server, {.run = whole.run, .jobs = {}}});
    for (std::size_t i = 0; i < set.jobs.size(); ++i) {
      const JobOptions& job = set.jobs[i];
      if (job.server != server) continue;
      JobTexts::Job& text = share.texts.jobs.emplace_back(whole.jobs[i]);
      if (const JobOptions* const to = receiver_elsewhere(set, job)) {
        drop(text.options, "to");
        drop(text.options, "hostname");
        text.options.emplace_back("hostname", address_of_receiver(*to));
        if (job.engine == EngineKind::udp)
          text.options.emplace_back("port", std::to_string(to->port));
        text.options.emplace_back("no_peer", "1");
        text.other_end_elsewhere = true;
        shares.flows.push_back({server, job.name, to->server, to->name, job.rw == Role::pingpong});
      }
      for (const JobOptions& from : set.jobs) {
        if (receiver_elsewhere(set, from) != &job) continue;
        text.options.emplace_back("verify_only", "1");
        drop(text.options, "hostname");
        text.options.emplace_back("hostname", address_of_receiver(job));
        text.options.emplace_back("runtime", milliseconds(sending_time(from)));
        text.options.emplace_back("drain_time", milliseconds(drain_after(from)));
        text.other_end_elsewhere = true;
      }
    }
  }
  return shares;
}

void account_for(const CrossFlow& flow, const ClockPair& clocks, HostResult& sender,
                 HostResult& receiver) {
  if (!receiver.report) return;
  Json report = receiver.report->json();
  Json* const to = find(report.at("jobs"), "jobname", flow.to);
  const HalfFlow& heard = half_of(receiver, flow.to);
  if (!sender.report) {
    if (to == nullptr) return;
    forget_flow(
        report, *to,
        flow.from_server + " has not reported how many frames \"" + flow.from + "\" has sent");
    rate_by_arrivals(report, *to, flow, heard);
    if (!flow.asks) tell_clocks(report, *to, flow, clocks);
    return put_back(report, receiver);
  }
  Json asking = sender.report->json();
  Json* const from = find(asking.at("jobs"), "jobname", flow.from);
  if (from == nullptr || to == nullptr || !to->at("loss").is_object()) return;
  const Json& tx = from->at("tx");
  std::uint64_t sent = tx.is_object() ? count_at(tx, "frames") : 0;
  const Json& loss = to->at("loss");
  std::uint64_t arrived = 0;
  for (const char* key : {"received_frames", "corrupt_frames", "truncated_frames", "late_frames",
                          "cancelled_frames", "unverified_frames"}) {
    arrived += count_at(loss, key);
  }
  // A sender that was killed may not have counted its last frames.
  if (from->at("exit_signal").is_number()) sent = std::max(sent, arrived);
  if (arrived > sent) {
    receiver.failures.push_back("job \"" + flow.to + "\" received " + std::to_string(arrived) +
                                " frames, more than the " + std::to_string(sent) + " of \"" +
                                flow.from + "\" on " + flow.from_server +
                                " (does another program send to its address?)");
    if (flow.asks) return;
    tell_clocks(report, *to, flow, clocks);
    return put_back(report, receiver);
  }
  const HalfFlow& told = half_of(sender, flow.from);
  const auto until = end_of_listening(heard, clocks);
  Fates fates = fates_of(loss);
  fates.sent = sent;
  fates = judge_missing(fates, sent - arrived, sent_in_vain(told, sent, until), heard);
  // Late requests were answered, too.
  const std::uint64_t unanswered = fates.lost + fates.cancelled + fates.corrupt + fates.truncated;
  const bool answered = from->at("rx").is_object();
  count_flow(report, *to, fates, flow.from_server + '/' + flow.from, answered ? "request" : "data");
  const std::uint64_t known_lost = lost_in_intervals(*to);
  settle_intervals(*to, fates.lost);
  complete_gaps(*to, told, heard, fates.cancelled);
  if (const auto seconds = shared_seconds(tx, told, until)) {
    set_windows(report, *to, seconds);
  } else {
    rate_by_arrivals(report, *to, flow, heard);
  }
  if (!answered) tell_clocks(report, *to, flow, clocks);
  blame_faults(asking, flow.from_server, flow.from, report, flow.to, known_lost);
  put_back(report, receiver);
  if (!answered || !from->at("loss").is_object()) return;
  // The asking job counts missing replies, and does not know which of them had no request.
  Fates replies = fates_of(from->at("loss"));
  const std::uint64_t unasked = std::min(unanswered, replies.lost);
  replies.sent -= std::min(unasked, replies.sent);
  replies.lost -= unasked;
  count_flow(asking, *from, replies, flow.to_server + '/' + flow.to, "reply");
  const std::uint64_t known_replies = lost_in_intervals(*from);
  take_unasked(*from, *to);
  settle_intervals(*from, replies.lost);
  blame_faults(report, flow.to_server, flow.to, asking, flow.from, known_replies);
  put_back(asking, sender);
}

}  // namespace shmif::perf
