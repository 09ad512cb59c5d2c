#include "instruments/why/analysis.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>

#include "base/text.hpp"
#include "instruments/why/evidence.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// A receiver that was held back counts its losses only when it runs again. This is one sample at
/// 10 Hz, and a little more.
constexpr double kNoticedLater = 0.15;

/// The losses of a job's traffic, and how many of them have an explanation. Threads: one at a time.
class Losses {
 public:
  explicit Losses(const JobTraffic* traffic);

  bool any() const noexcept { return all_ > 0; }
  bool known() const noexcept { return traffic_ != nullptr; }
  double left() const noexcept { return left_; }  ///< frames that are not explained yet

  /// Explains at most `count` of the losses that were noticed from `begin_s` on and are not
  /// explained yet. Result: their share of all losses; empty if there are no losses.
  std::optional<double> explain(double begin_s, std::uint64_t count);

  /// Explains losses in [begin, end) by a job that was held back for `held_share` of that time: at
  /// most `held_share` of the frames that were sent to it. Result: as explain().
  std::optional<double> explain(double begin, double end, double held_share);

  /// Text about other events in [begin, end): overruns, and the worst latency if it stands out.
  std::string others_within(double begin, double end) const;

 private:
  const JobTraffic* traffic_;
  std::vector<double> of_steps_;  // lost in each step, and not explained by time yet
  double all_ = 0, left_ = 0;
};

Losses::Losses(const JobTraffic* traffic) : traffic_(traffic) {
  if (traffic_ == nullptr) return;
  for (const TrafficStep& step : traffic_->steps) {
    of_steps_.push_back(static_cast<double>(step.lost));
    all_ += of_steps_.back();
  }
  left_ = all_;
}

std::optional<double> Losses::explain(double begin_s, std::uint64_t count) {
  if (!any()) return std::nullopt;
  double noticed = 0;
  for (const TrafficStep& step : traffic_->steps) {
    if (step.end_s > begin_s) noticed += static_cast<double>(step.lost);
  }
  const double taken = std::min({static_cast<double>(count), noticed, left_});
  left_ -= taken;
  return taken / all_;
}

std::optional<double> Losses::explain(double begin, double end, double held_share) {
  if (!any()) return std::nullopt;
  std::vector<double> there(of_steps_.size());
  double lost = 0, frames = 0;
  bool frames_known = true;
  for (std::size_t i = 0; i < there.size(); ++i) {
    const TrafficStep& step = traffic_->steps[i];
    const double length = step.end_s - step.begin_s;
    const double both = std::min(step.end_s, end) - std::max(step.begin_s, begin);
    if (length <= 0 || both <= 0) continue;
    const double part = std::min(1.0, both / length);
    there[i] = of_steps_[i] * part;
    lost += there[i];
    frames_known = frames_known && step.received.has_value();
    frames += static_cast<double>(step.received.value_or(0) + step.lost) * part;
  }
  double taken = std::min(lost, left_);
  if (frames_known) taken = std::min(taken, frames * held_share);
  if (taken <= 0) return 0;
  for (std::size_t i = 0; i < there.size(); ++i) of_steps_[i] -= there[i] * (taken / lost);
  left_ -= taken;
  return taken / all_;
}

std::string Losses::others_within(double begin, double end) const {
  if (traffic_ == nullptr) return {};
  std::uint64_t overruns = 0;
  double worst = 0, worst_there = 0;
  std::vector<double> peaks;
  for (const TrafficStep& step : traffic_->steps) {
    const bool there = step.begin_s < end && step.end_s > begin;
    if (there) overruns += step.overruns;
    if (!step.latency_max_ns) continue;
    peaks.push_back(*step.latency_max_ns);
    worst = std::max(worst, peaks.back());
    if (there) worst_there = std::max(worst_there, peaks.back());
  }
  std::string text;
  if (!any() && overruns > 0) text = "; it was overrun there " + base::counted(overruns, "time");
  if (worst <= 0 || worst_there < worst) return text;
  std::ranges::nth_element(peaks, peaks.begin() + static_cast<std::ptrdiff_t>(peaks.size() / 2));
  constexpr double kStandsOut = 5;  // times the median of all intervals
  if (worst < kStandsOut * peaks[peaks.size() / 2]) return text;
  constexpr double kMillisecond = 1e6;
  return text + "; the worst latency, " +
         std::to_string(static_cast<std::uint64_t>(worst / kMillisecond)) + " ms, fell there";
}

/// Of packets, as the host sees them.
enum class Bound : std::uint8_t { in, out };

/// A place where the IP stack loses packets on the way in, or out.
struct Place {
  NetLoss loss;
  CauseKind kind;
  Bound bound;
  const char* thing;
  const char* words;  ///< "{}" becomes the number
  const char *v4, *v6;
};

constexpr std::array<Place, kNetLosses> kPlaces{{
    {NetLoss::no_route, CauseKind::no_route, Bound::out, "packet", "{} had no route",
     "IpOutNoRoutes", "Ip6OutNoRoutes"},
    {NetLoss::neighbour, CauseKind::neighbour, Bound::out, "packet",
     "{} were dropped because the neighbour did not answer", "ARP", "neighbour discovery"},
    {NetLoss::retransmits, CauseKind::retransmits, Bound::out, "TCP segment",
     "{} were lost or late, and sent again", "TcpRetransSegs", ""},
    {NetLoss::reassembly, CauseKind::reassembly, Bound::in, "packet",
     "{} were dropped because fragments were missing", "IpReasmFails", "Ip6ReasmFails"},
    {NetLoss::listen_queue, CauseKind::listen_queue, Bound::in, "connection request",
     "{} were dropped because the program did not accept fast enough", "TcpExtListenDrops", ""},
    {NetLoss::socket_memory, CauseKind::socket_memory, Bound::in, "datagram",
     "{} were dropped because the kernel's memory for UDP (net.ipv4.udp_mem) was used up",
     "UdpMemErrors", "Udp6MemErrors"},
    {NetLoss::receive_buffer, CauseKind::receive_buffer, Bound::in, "datagram",
     "{} were dropped because the receiver did not read fast enough", "UdpRcvbufErrors",
     "Udp6RcvbufErrors"},
}};

bool concerns(const WatchedJob& job, NetLoss loss) {
  switch (loss) {
    case NetLoss::receive_buffer:
    case NetLoss::socket_memory: return job.uses_udp;
    case NetLoss::listen_queue:
    case NetLoss::retransmits: return job.uses_tcp;
    case NetLoss::reassembly:
    case NetLoss::no_route:
    case NetLoss::neighbour: break;
  }
  return job.uses_udp || job.uses_tcp;
}

/// The directions in which the job's frames pass a namespace.
struct Passed {
  std::uint64_t net = 0;
  bool inwards = false, outwards = false;
};

std::vector<Passed> passed_by(const WhySeries& series, std::size_t job) {
  std::vector<Passed> all;
  const auto add = [&](const WatchedJob& of, const Passed& way) {
    if (!way.inwards && !way.outwards) return;
    for (const std::uint64_t net : of.nets) {
      if (of.is_host && net == series.own_net) continue;
      const auto at = std::ranges::find(all, net, &Passed::net);
      Passed& one = at == all.end() ? all.emplace_back(Passed{.net = net}) : *at;
      one.inwards |= way.inwards;
      one.outwards |= way.outwards;
    }
  };
  const WatchedJob& own = series.jobs[job];
  add(own, {.inwards = own.receives, .outwards = own.sends});
  for (const std::size_t sender : own.senders) add(series.jobs[sender], {.outwards = true});
  return all;
}

void add_stack(const WhySeries& series, std::size_t job, const Passed& way, Bound bound,
               std::vector<Counted>& all) {
  for (const Place& place : kPlaces) {
    if (place.bound != bound || !concerns(series.jobs[job], place.loss)) continue;
    for (const NetSeries& net : series.nets) {
      if (net.net != way.net) continue;
      Counted one{.kind = place.kind, .job = job, .first = net.first, .thing = place.thing};
      // TCP sends lost data again, so the job's losses do not show these.
      one.named_anyway = place.loss == NetLoss::retransmits || place.loss == NetLoss::listen_queue;
      bool v4 = false, v6 = false;
      for (const NetStep& step : net.steps) {
        const auto& count = step[place.loss];
        one.steps.push_back(count ? CountedStep{count->lost, count->passed} : CountedStep{});
        v4 |= count && count->v4;
        v6 |= count && count->v6;
      }
      std::string from = v4 || !v6 ? place.v4 : "";
      if (v6) from += (from.empty() ? "" : ", ") + std::string(place.v6);
      one.source = &net.steps;
      one.words = base::printable(series.jobs[job].name) + ": " + place.words +
                  (place.loss == NetLoss::neighbour ? ", " + net.neighbour : "") + " (" + from +
                  ')';
      all.push_back(std::move(one));
    }
  }
}

void add_queues(const WhySeries& series, std::size_t job, const Passed& way,
                std::vector<Counted>& all) {
  for (const QueueSeries& queue : series.queues) {
    if (queue.net != way.net || !(queue.ingress ? way.inwards : way.outwards)) continue;
    Counted one{.kind = CauseKind::qdisc, .job = job, .first = queue.first};
    for (const QueueStep& step : queue.steps) {
      one.steps.push_back({step.drops, step.packets});
    }
    one.source = &queue;
    one.words = base::printable(series.jobs[job].name) + ": the queue " +
                base::printable(queue.kind) + " of the interface " +
                base::printable(queue.interface) + " dropped {}";
    all.push_back(std::move(one));
  }
}

void add_devices(const WhySeries& series, std::size_t job, const Passed& way,
                 std::vector<Counted>& all) {
  for (const DeviceSeries& device : series.devices) {
    if (device.net != way.net) continue;
    for (const bool sent : {true, false}) {
      if (!(sent ? way.outwards : way.inwards)) continue;
      Counted one{
          .kind = CauseKind::device_queue, .job = job, .first = device.first, .named_anyway = true};
      for (const DeviceStep& step : device.steps) {
        one.steps.push_back(sent ? CountedStep{step.tx_drops, step.tx_packets}
                                 : CountedStep{step.rx_drops, step.rx_packets});
      }
      one.source = sent ? static_cast<const void*>(&device) : &device.steps;
      one.words = "the interface " + base::printable(device.name) + " dropped {} that " +
                  (sent ? "were to be sent" : "it had received");
      all.push_back(std::move(one));
    }
  }
}

/// Adds the queues of the CPUs. Packets of all interfaces pass them.
void add_cpus(const WhySeries& series, std::size_t job, std::vector<Counted>& all) {
  Counted one{.kind = CauseKind::softirq, .job = job, .named_anyway = true};
  for (const MachineStep& step : series.machine) {
    CountedStep sum;
    for (const CpuStep& cpu : step.cpus) {
      sum.passed += cpu.packets;
      sum.lost += cpu.drops;
    }
    one.steps.push_back(sum);
  }
  one.source = &series.machine;
  one.words = "the kernel dropped {} because a CPU's queue was full (softnet_stat)";
  all.push_back(std::move(one));
}

}  // namespace

std::vector<Counted> counted_of(const WhySeries& series, std::size_t job) {
  std::vector<Counted> all;
  if (!series.jobs[job].uses_network) return all;
  const std::vector<Passed> ways = passed_by(series, job);
  for (const Passed& way : ways) {
    if (way.outwards) add_stack(series, job, way, Bound::out, all);
    add_queues(series, job, way, all);
    add_devices(series, job, way, all);
  }
  add_cpus(series, job, all);
  for (const Passed& way : ways) {
    if (way.inwards) add_stack(series, job, way, Bound::in, all);
  }
  return all;
}

namespace {

/// A time in which a counter grew, with gaps shorter than kJoinSeconds.
struct CountedWindow {
  std::size_t begin = 0, end = 0;  ///< numbers of intervals; the end is not part of it
  std::uint64_t lost = 0, passed = 0;
  double share() const noexcept {
    return static_cast<double>(lost) / static_cast<double>(lost + passed);
  }
};

std::vector<CountedWindow> counted_windows(const WhySeries& series, const Counted& counted) {
  std::vector<CountedWindow> all;
  for (std::size_t i = 0; i < counted.steps.size(); ++i) {
    const CountedStep& step = counted.steps[i];
    const std::size_t interval = counted.first + i;
    if (step.lost == 0 || interval >= series.ends_s.size()) continue;
    const bool joins = !all.empty() &&
                       series.begin_of(interval) - series.ends_s[all.back().end - 1] < kJoinSeconds;
    if (!joins) all.push_back({.begin = interval, .end = interval});
    CountedWindow& window = all.back();
    for (std::size_t k = window.end; k <= interval; ++k) {
      const CountedStep& of = counted.steps[k - counted.first];
      window.lost += of.lost;
      window.passed += of.passed;
    }
    window.end = interval + 1;
  }
  return all;
}

/// "11,932 datagrams were dropped because ... , 79 % of 0.0 s to 1.0 s".
std::string sentence_of(const WhySeries& series, const Counted& counted,
                        const CountedWindow& window) {
  std::string words = counted.words;
  const std::size_t number = words.rfind("{}");  // names before it may be anything
  if (const std::size_t at = words.find(" were ", number);
      window.lost == 1 && at != std::string::npos) {
    words.replace(at, 6, " was ");
  }
  words.replace(number, 2, counted_text(window.lost, counted.thing));
  return words + ", " + percent_text(window.share()) + " of " +
         second_text(series.begin_of(window.begin)) + " to " +
         second_text(series.ends_s[window.end - 1]);
}

bool is_stopped(char state) noexcept {
  return state == 'T' || state == 't';
}

/// Divides the rest of an interval, which is neither running nor waiting, among stopped, held and
/// asleep.
void share_out(TaskTime& time, const TaskStep& step, char before) noexcept {
  const double rest = std::max(0.0, 1 - time.running - time.waiting);
  const int stopped = int{is_stopped(before)} + int{is_stopped(step.state)};
  if (stopped > 0) {
    time.stopped = stopped == 2 ? rest : rest / 2;  // it began or ended within the interval
    time.asleep = rest - time.stopped;
  } else if (before == 'R' && step.state == 'R' && step.voluntary == 0) {
    time.held = rest;
  } else {
    time.asleep = rest;
  }
}

}  // namespace

std::vector<TaskTime> account_of(const WhySeries& series, const TaskSeries& task) {
  std::vector<TaskTime> times(task.steps.size());
  double late_run = 0, late_wait = 0;  // seconds counted after their interval
  for (std::size_t i = task.steps.size(); i-- > 0;) {
    const TaskStep& step = task.steps[i];
    const double length = series.seconds_of(task.first + i);
    const char before = i == 0 ? task.state_before : task.steps[i - 1].state;
    const double run = step.run_us * kMicro + late_run;
    const double wait = step.wait_us * kMicro + late_wait;
    late_run = late_wait = 0;
    if (length <= 0 || !step.known) continue;
    const double ran = std::min(run, length);
    const double waited = std::min(wait, length - ran);
    times[i].running = ran / length;
    times[i].waiting = waited / length;
    share_out(times[i], step, before);
    if (before != 'R') continue;  // not ready before: nothing belongs to earlier intervals
    late_run = run - ran;
    late_wait = wait - waited;
  }
  return times;
}

namespace {

/// A cause, and the values by which causes are ordered.
struct Weighed {
  Cause cause;
  double held_s = 0;
  std::size_t number = 0;  ///< the order in which it was found, for ties
  bool by_itself = true;   ///< worth a sentence, whatever was lost meanwhile
};

/// `losses` are those of the whole job, also those that another cause explains.
Weighed weighed(const WhySeries& series, const Evidence& evidence, const CauseWindow& window,
                Losses losses) {
  Weighed one;
  Cause& cause = one.cause;
  cause.job = series.jobs[evidence.job].name;
  cause.cause = evidence.kind;
  cause.begin_s = series.begin_of(window.begin);
  cause.end_s = series.ends_s[window.end - 1];
  cause.share = std::clamp(window.share, 0.0, 1.0);
  cause.of_losses_share = losses.explain(cause.begin_s, cause.end_s + kNoticedLater, cause.share);
  cause.sentence = sentence_of(series, evidence, window);
  one.held_s = window.held_s;
  const double watched = series.ends_s.back() - series.begin_of(0);
  const double enough = std::clamp(kWorthNamingShare * watched, kBlinkSeconds, kWorthNamingSeconds);
  one.by_itself =
      evidence.change != nullptr || (window.held_s >= enough && window.share >= evidence.threshold);
  return one;
}

/// Adds the requested faults. They explain their losses, so no other cause has to.
void add_faults(const WhySeries& series, const JobTraffic& traffic, Losses& losses,
                std::vector<Weighed>& found) {
  if (series.ends_s.empty()) return;
  for (const FaultTraffic& fault : traffic.faults) {
    for (const bool asked_for : {true, false}) {
      const std::uint64_t count = asked_for ? fault.lost : fault.queue_full;
      Weighed one{
          .cause = {.job = traffic.job,
                    .cause = asked_for ? CauseKind::requested_faults : CauseKind::fault_queue,
                    .begin_s = series.begin_s,
                    .end_s = series.ends_s.back(),
                    .of_losses_share = losses.explain(series.begin_s, count),
                    .counted = true,
                    .sentence = {}}};
      if (one.cause.of_losses_share.value_or(0) <= 0) continue;
      one.cause.share = std::min(
          1.0, static_cast<double>(count) / static_cast<double>(std::max(count, fault.frames)));
      const std::string whose = "the requested faults of " + base::printable(fault.where) + " (" +
                                base::printable(fault.options) + ')';
      one.cause.sentence =
          base::printable(traffic.job) + ": " +
          (asked_for ? whose + " took " : "the queue of " + whose + " was full and dropped ") +
          counted_text(count, "frame") + explains_text(one.cause.of_losses_share.value_or(0));
      one.number = found.size();
      found.push_back(std::move(one));
    }
  }
}

/// How many packets of each counter have already explained losses of some job.
using Spent = std::map<std::tuple<const void*, CauseKind, std::size_t>, std::uint64_t>;

/// Adds the causes that counters of packets show. Result: the losses for which a receiver that was
/// held back is worth naming. They include the datagrams that its socket dropped, because a
/// receiver that is held back lets its socket become full.
Losses add_counted(const WhySeries& series, std::size_t job, bool of_port, Losses& losses,
                   Spent& spent, std::vector<Weighed>& found) {
  constexpr std::uint64_t kFewDrops = 10;  // fewer packets are not worth a sentence
  Losses on_the_way = losses;
  for (const Counted& counted : counted_of(series, job)) {
    for (const CountedWindow& window : counted_windows(series, counted)) {
      Weighed one;
      Cause& cause = one.cause;
      cause.job = series.jobs[job].name;
      cause.cause = counted.kind;
      cause.counted = true;
      cause.begin_s = series.begin_of(window.begin);
      cause.end_s = series.ends_s[window.end - 1];
      cause.share = window.share();
      std::uint64_t& used = spent[{counted.source, counted.kind, window.begin}];
      const double before = losses.left();
      cause.of_losses_share =
          losses.explain(cause.begin_s, of_port ? 0 : window.lost - std::min(window.lost, used));
      used += static_cast<std::uint64_t>(before - losses.left());
      const bool many = window.lost >= kFewDrops && cause.share >= kWhyThresholds.device;
      const bool by_itself = counted.named_anyway || of_port || !losses.known();
      if (!(many && by_itself) && cause.of_losses_share.value_or(0) < kWorthNamingLosses) continue;
      cause.sentence =
          sentence_of(series, counted, window) + explains_text(cause.of_losses_share.value_or(0));
      one.held_s = cause.share * (cause.end_s - cause.begin_s);
      one.number = found.size();
      found.push_back(std::move(one));
    }
    const bool at_socket =
        counted.kind == CauseKind::receive_buffer || counted.kind == CauseKind::socket_memory;
    if (!at_socket) on_the_way = losses;
  }
  return on_the_way;
}

bool overlaps(const Cause& a, const Cause& b) {
  return a.begin_s < b.end_s && b.begin_s < a.end_s;
}

std::vector<Evidence> evidence_of(const WhySeries& series, std::size_t job) {
  std::vector<Evidence> all;
  const auto add = [&all](std::vector<Evidence> more) {
    std::ranges::move(more, std::back_inserter(all));
  };
  for (const TaskSeries& task : series.tasks) {
    if (task.job == job) add(task_evidence(series, task));
  }
  for (const PortSeries& port : series.ports) {
    if (port.job == job) add(port_evidence(series, port));
  }
  return all;
}

bool is_heavier(const Weighed& a, const Weighed& b) {
  const auto requested = [](const Weighed& w) { return is_requested(w.cause.cause); };
  if (requested(a) != requested(b)) return requested(a);
  const double weight_a = loss_weight(a.cause), weight_b = loss_weight(b.cause);
  if (weight_a != weight_b) return weight_a > weight_b;
  if (a.held_s != b.held_s) return a.held_s > b.held_s;
  return a.number < b.number;
}

/// Adds what held one job back, the heaviest first: it explains the losses of its time, and those
/// after it explain the rest. If several threads have the same cause, names only the one that was
/// held back longest.
void add_held(std::vector<Weighed> held, Losses left, Losses on_the_way,
              std::vector<Weighed>& found) {
  std::ranges::sort(held, is_heavier);
  std::vector<Weighed> named;
  for (Weighed& one : held) {
    Cause& cause = one.cause;
    const auto tells = [&cause](const Weighed& other) {
      return other.cause.cause == cause.cause && overlaps(other.cause, cause);
    };
    if (std::ranges::any_of(named, tells)) continue;
    const double noticed = cause.end_s + kNoticedLater;
    const double lost = on_the_way.explain(cause.begin_s, noticed, cause.share).value_or(0);
    if (!one.by_itself && lost < kWorthNamingLosses) continue;
    cause.of_losses_share = left.explain(cause.begin_s, noticed, cause.share);
    cause.sentence += fell_text(cause.of_losses_share.value_or(0));
    cause.sentence += left.others_within(cause.begin_s, noticed);
    named.push_back(std::move(one));
  }
  std::ranges::move(named, std::back_inserter(found));
}

}  // namespace

std::vector<Cause> find_causes(const WhySeries& series, std::span<const JobTraffic> traffic) {
  std::vector<Weighed> found;
  Spent spent;
  for (std::size_t job = 0; job < series.jobs.size(); ++job) {
    const auto at = std::ranges::find(traffic, series.jobs[job].name, &JobTraffic::job);
    const JobTraffic* const of_job = at == traffic.end() ? nullptr : &*at;
    Losses losses(of_job);
    if (of_job != nullptr) add_faults(series, *of_job, losses, found);
    const bool of_port = of_job != nullptr && of_job->of_port;
    const Losses on_the_way = add_counted(series, job, of_port, losses, spent, found);
    std::vector<Weighed> held;
    for (const Evidence& evidence : evidence_of(series, job)) {
      for (const CauseWindow& window :
           windows_of(series, evidence.first, evidence.values, evidence.threshold)) {
        held.push_back(weighed(series, evidence, window, on_the_way));
        held.back().number = found.size() + held.size();
      }
    }
    add_held(std::move(held), losses, on_the_way, found);
  }
  std::ranges::sort(found, is_heavier);
  std::vector<Cause> causes;
  for (Weighed& one : found) {
    debug(Debug::why, [&] {
      return "found, weight " + std::to_string(loss_weight(one.cause)) + ", held " +
             std::to_string(one.held_s) + " s: " + one.cause.sentence;
    });
    if (causes.size() >= kMaxCauses) break;
    causes.push_back(std::move(one.cause));
  }
  return causes;
}

std::vector<TaskSummary> summaries_of(const WhySeries& series) {
  std::vector<TaskSummary> all;
  for (const TaskSeries& task : series.tasks) {
    TaskSummary one;
    one.job = series.jobs[task.job].name;
    one.name = task.name;
    one.process = task.process;
    one.thread = task.id.number;
    one.ended = task.ended;
    const std::vector<TaskTime> times = account_of(series, task);
    double waiting = 0;
    for (std::size_t i = 0; i < times.size(); ++i) {
      if (!task.steps[i].known) continue;
      const double length = series.seconds_of(task.first + i);
      one.seconds += length;
      one.running += times[i].running * length;
      one.asleep += times[i].asleep * length;
      one.stopped += times[i].stopped * length;
      waiting += (times[i].waiting + times[i].held) * length;
      const TaskStep& step = task.steps[i];
      one.voluntary += step.voluntary;
      one.involuntary += step.involuntary;
      one.migrations += step.migrations;
      one.minor_faults += step.minor_faults;
      one.major_faults += step.major_faults;
    }
    if (one.seconds > 0) {
      for (double* each : {&one.running, &one.asleep, &one.stopped, &waiting}) *each /= one.seconds;
    }
    if (series.waits_known && one.seconds > 0) one.waiting = waiting;
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace shmif::perf
