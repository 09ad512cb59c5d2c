// shmifctl ping: round trips of frames over a bus, without any IP stack (shmif/ping.hpp).

#include <array>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "base/standard_streams.hpp"
#include "base/text.hpp"
#include "shmif/ping.hpp"
#include "shmif/port.hpp"
#include "tap/cidr.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/watches.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/ping_report.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr nanoseconds kForEver = std::chrono::hours(24);
/// If the interval is shorter, a printed line for each answer would distort the measurement.
constexpr nanoseconds kQuietInterval = std::chrono::milliseconds(10);

/// Attaches a port to the bus at `path` and sets it up.
Port open_port(const std::string& path, const std::optional<std::string>& name) {
  PortOptions options;
  options.name = name.value_or("");
  options.kind = LinkKind::ping;
  options.name_patience = kNamePatience;
  Port port(options);
  port.attach(path).value();
  if (const std::error_code error = port.up()) {
    throw Exception(Error(error, "cannot use a port on " + path + ": " + error.message()));
  }
  return port;
}

Error broken(const std::string& path, const std::error_code& error) {
  return {error, "cannot go on with pings on " + path + ": " + error.message()};
}

/// Sends one frame. Waits while other ports hold the ring.
std::error_code send_one(Port& port, const FrameView& frame, const StopSignals& stop) {
  SendResult sent = port.send({&frame, 1});
  while (sent.error == Errc::no_room && !stop.wait(1)) sent = port.send({&frame, 1});
  return sent.error;
}

// ---- Answering ----

int respond(const std::string& path, const std::optional<std::string>& name) {
  base::let_lost_output_vanish();
  const StopSignals stop;  // before the port is visible on the bus, because others may signal it
  stop.bound_writes();
  Port port = open_port(path, name);
  std::printf("answering on %s as %s (%s)\n", base::printable(path).c_str(), port.name().c_str(),
              port.mac().to_string().c_str());
  flush_output();
  FrameBatch batch;
  Corruption corruption(path);
  std::uint64_t answered = 0;
  while (!stop.stopped()) {
    batch.clear();
    const ReceiveResult received = port.receive(batch);
    if (corruption.met(received.error, stop)) continue;
    if (received.error) return fail(broken(path, received.error));
    for (const FrameView& frame : batch.frames()) {
      std::array<std::byte, kPingFrameBytes> reply;
      const std::optional<FrameView> answer = answer_ping(frame, port.mac(), reply);
      if (!answer) continue;
      if (const std::error_code error = send_one(port, *answer, stop)) {
        return fail(broken(path, error));
      }
      ++answered;
    }
    if (received.frames == 0) await(port, stop, kForEver);
  }
  std::printf("%llu requests answered\n", static_cast<unsigned long long>(answered));
  return kDone;
}

// ---- Asking ----

/// The values of the command line.
struct WantedPing {
  std::string path;
  std::optional<std::string> to;
  std::optional<std::string> name;
  std::uint64_t count = 5;
  nanoseconds interval = std::chrono::milliseconds(200);
  nanoseconds timeout = std::chrono::seconds(1);
  bool json = false;
};

/// The port to ask, and its name for messages.
struct Target {
  MacAddress mac;
  std::string text;
  bool everybody = false;
};

Target find_target(const WantedPing& wanted) {
  Target everybody{
      .mac = MacAddress::from_u64(0xffffffffffff), .text = "everybody", .everybody = true};
  if (!wanted.to) return everybody;
  if (const auto mac = MacAddress::parse(*wanted.to)) {
    if (!mac->is_group()) return {*mac, mac->to_string()};
    if (mac->is_broadcast()) return everybody;
    throw UsageError{"--to \"" + *wanted.to +
                     "\" is a group address (leave out --to to ask all ports)"};
  }
  std::string known;
  const BusInfo info = std::move(Bus::open(wanted.path)).value().info();
  check_port_table(info, "look up \"" + *wanted.to + "\" (give --to a MAC address) on").value();
  for (const PortInfo& port : info.ports) {
    if (!port.live) continue;
    if (port.name == *wanted.to) return {port.mac, port.name + " (" + port.mac.to_string() + ')'};
    known += (known.empty() ? "" : ", ") + port.name;
  }
  if (tap::IpAddress::parse(*wanted.to))
    throw UsageError{"--to \"" + *wanted.to + "\" is not the name or MAC address of a port (" +
                     base::right_way("ping", "ADDRESS", *wanted.to) + ')'};
  throw Exception(Error(Errc::bad_argument, "cannot ping \"" + *wanted.to + "\" on " + wanted.path +
                                                ": no port has that name (attached: " +
                                                (known.empty() ? "none" : known) + ')'));
}

class Asker {
 public:
  explicit Asker(const WantedPing& wanted)
      : wanted_(wanted), target_(find_target(wanted)), port_(open_port(wanted.path, wanted.name)) {
    stop_.bound_writes();
    std::random_device random;
    id_ = random();
  }

  int run() {
    if (!wanted_.json) {
      std::printf("ping %s on %s from %s\n", base::printable(target_.text).c_str(),
                  base::printable(wanted_.path).c_str(), port_.mac().to_string().c_str());
    }
    while (sent_at_.size() < wanted_.count && !stop_.stopped()) {
      if (const std::error_code error = ask()) return fail(broken(wanted_.path, error));
      const bool last = sent_at_.size() == wanted_.count;
      const nanoseconds pause =
          last || wanted_.interval.count() == 0 ? wanted_.timeout : wanted_.interval;
      const Wait wait = last                            ? Wait::for_all_answers
                        : wanted_.interval.count() == 0 ? Wait::for_newest_answer
                                                        : Wait::whole_pause;
      if (const std::error_code error = listen(sent_at_.back() + pause, wait)) {
        return fail(broken(wanted_.path, error));
      }
    }
    return report(stop_.signal());
  }

 private:
  std::error_code ask() {
    std::array<std::byte, kPingFrameBytes> bytes;
    sent_at_.push_back(Clock::now());
    write_ping({.destination = target_.mac,
                .source = port_.mac(),
                .type = PingType::request,
                .id = id_,
                .sequence = static_cast<std::uint32_t>(sent_at_.size() - 1),
                .sent_ns = static_cast<std::uint64_t>(sent_at_.back().time_since_epoch().count())},
               bytes);
    return send_one(port_, {bytes.data(), bytes.size()}, stop_);
  }

  /// Which event ends a wait for answers before its time is over.
  enum class Wait : std::uint8_t { whole_pause, for_newest_answer, for_all_answers };

  /// Receives answers until `end`, or until the answers that `wait` names have come.
  std::error_code listen(Clock::time_point end, Wait wait) {
    FrameBatch batch;
    while (!stop_.stopped()) {
      batch.clear();
      const ReceiveResult received = port_.receive(batch);
      const Clock::time_point now = Clock::now();
      if (received.error) return received.error;
      for (const FrameView& frame : batch.frames()) take(frame, now);
      if (is_over(wait) || now >= end) break;
      if (received.frames == 0) {
        flush_output();
        await(port_, stop_, end - now);
      }
    }
    return {};
  }

  /// Whether the answers that `wait` names have come. For a broadcast, this is never known.
  bool is_over(Wait wait) const {
    if (wait == Wait::whole_pause || target_.everybody || responders_.empty()) return false;
    const PingResponder& from = responders_.begin()->second;
    return wait == Wait::for_newest_answer ? from.answered.size() == sent_at_.size()
                                           : from.round_trips_ns.size() == sent_at_.size();
  }

  void take(const FrameView& frame, Clock::time_point now) {
    const std::optional<Ping> ping = read_ping(frame);
    if (!ping || ping->type != PingType::reply || ping->id != id_ ||
        ping->destination != port_.mac() || ping->sequence >= sent_at_.size()) {
      return;
    }
    if (!target_.everybody && ping->source != target_.mac) return;
    const bool known = responders_.contains(ping->source);
    if (!known && responders_.size() == kMaxResponders) return;
    PingResponder& from = responders_[ping->source];
    if (!known) from.name = name_of(ping->source);
    if (from.answered.size() <= ping->sequence) from.answered.resize(ping->sequence + 1U);
    if (from.answered[ping->sequence]) return;
    from.answered[ping->sequence] = true;
    // Uses our own record of the sending time, because the time in the reply is not trusted.
    const auto round_trip = static_cast<std::uint64_t>((now - sent_at_[ping->sequence]).count());
    from.round_trips_ns.push_back(round_trip);
    if (!wanted_.json && wanted_.interval >= kQuietInterval) {
      const std::string text = ping_answer_text(ping->source, from, ping->sequence, round_trip);
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
  }

  std::string name_of(const MacAddress& mac) const {
    const Result<Bus> bus = Bus::open(wanted_.path);
    if (!bus) return {};
    for (const PortInfo& port : bus->info().ports) {
      if (port.live && port.mac == mac) return port.name;
    }
    return {};
  }

  int report(int signal) {
    const bool anybody = !responders_.empty();
    const std::string text = wanted_.json
                                 ? ping_json(wanted_.path, sent_at_.size(), std::move(responders_))
                                 : ping_text(sent_at_.size(), std::move(responders_));
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (anybody) return kDone;
    if (signal != 0) return kEndedBySignal + signal;
    const std::string requests =
        std::to_string(sent_at_.size()) + (sent_at_.size() == 1 ? " request" : " requests");
    if (target_.everybody) {
      return fail("no port answered " + requests + " on " + wanted_.path +
                  " (tap and exec ports answer, and so does 'shmifctl ping PATH --respond')");
    }
    return fail("no answer from " + target_.text + " to " + requests + " on " + wanted_.path +
                why_silent());
  }

  /// Why the target does not answer, according to the port table.
  std::string why_silent() const {
    const Result<Bus> bus = Bus::open(wanted_.path);
    if (!bus) return {};
    for (const PortInfo& port : bus->info().ports) {
      if (!port.live || port.mac != target_.mac) continue;
      if (!port.up) return ": its port is down";
      if (!port.carrier) return ": the network interface of its host is down";
    }
    return {};
  }

  /// More than a bus has ports. It limits the memory if forged answers arrive.
  static constexpr std::size_t kMaxResponders = 4096;

  const WantedPing& wanted_;
  Target target_;
  StopSignals stop_;  // before the port is visible on the bus
  Port port_;
  std::uint32_t id_ = 0;
  std::vector<Clock::time_point> sent_at_;  ///< by sequence number
  PingResponders responders_;
};

int run_ping(const CommandLine& line) {
  const Arguments args =
      Options("ping", "PATH")
          .bus_first()
          .about(
              R"(Measures round trips of frames over the bus (EtherType 0x88b5), without any IP
                 stack. These ports answer: those of 'shmifctl exec', 'tap', 'bridge', 'gateway'
                 and 'ping --respond'. Without --to, the command asks all ports and lists those
                 that answer. Exits 1 when no port answered.)")
          .value("to", "NAME|MAC", "ask only this port")
          .value("c,count", "N", "how many requests (default 5)")
          .value("i,interval", "SECONDS",
                 R"(time between requests (default 0.2). 0: send the next one when the last was
                    answered, or after --timeout without an answer)")
          .value("timeout", "SECONDS",
                 "how long to wait for the last answers; with -i 0, for each answer (default 1)")
          .flag("respond", "answer other ports, until a signal ends the command")
          .value("name", "NAME",
                 "the name of the port that asks or answers (default: ping, or the next free of "
                 "ping2, ping3, ...)")
          .flag("json", "print the result as JSON")
          .example("shmifctl ping /dev/shm/bus0", "which ports answer, and how fast")
          .example("shmifctl ping /dev/shm/bus0 --to web -c 10000 -i 0",
                   "the distribution of round trips to the port \"web\"")
          .parse(line);
  constexpr std::uint64_t kMaxRequests = 100'000'000;  // each takes 16 bytes of memory
  WantedPing wanted;
  wanted.path = args.positional()[0];
  wanted.to = args.text("to");
  wanted.name = args.text("name");
  wanted.count = args.count("count", 1, kMaxRequests).value_or(wanted.count);
  wanted.interval = args.seconds("interval").value_or(wanted.interval);
  wanted.timeout = args.seconds("timeout").value_or(wanted.timeout);
  wanted.json = args.flag("json");
  if (!args.flag("respond")) return Asker(wanted).run();
  for (const char* const option : {"to", "count", "interval", "timeout", "json"}) {
    if (args.given(option)) {
      throw UsageError{std::string("--respond only answers, it takes no --") + option};
    }
  }
  return respond(wanted.path, wanted.name);
}

}  // namespace

const Command kPingCommand{"ping", "measure round trips over the bus", run_ping};

}  // namespace shmif::tools
