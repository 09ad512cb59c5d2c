#include "instruments/why/counted.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base/printable.hpp"
#include "instruments/why/evidence.hpp"

namespace shmif::perf {
namespace {

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

}  // namespace shmif::perf
