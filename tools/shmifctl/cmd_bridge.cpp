// shmifctl bridge: carries frames between any two links.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/signals.hpp"
#include "base/standard_streams.hpp"
#include "base/text.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/device_settings.hpp"
#include "tap/netlink.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bridge_peers.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/interceptors.hpp"
#include "tools/relay/line_control.hpp"
#include "tools/relay/links.hpp"
#include "tools/relay/watches.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

using Sides = std::array<LinkSide, 2>;

/// How long a name of ports can be to which later ports add a hyphen and a number.
constexpr std::size_t kMaxPrefix = 27;

Options bridge_options() {
  Options options("bridge", "LINK LINK");
  options.words(2, 2).about(
      R"(Carries frames between two links, both ways. Ends at a signal, when a capture file has
         been replayed, or when a device is gone, and exits 0. If a bus or a capture file fails, it
         ends and exits 1. Prints counters at the end. A link is )" +
      list_of_links(&LinkRow::is_side, &LinkRow::told) + R"(.

         Or one link is bus:PATH, and the other one leads to programs with sockets, such as virtual
         machines:
)" + list_of_links(&LinkRow::leads_to_programs, &LinkRow::told, ";\n", ";\n") +
      ".\nFor " + list_of_links(&LinkRow::is_networked, &LinkRow::prefix, " and ") +
      R"(, a path can also be ADDRESS:PORT (TCP, UDP). The ports of these
         links receive broadcasts, multicasts, and frames for the addresses from which their
         programs have sent. With --fault, --fault-right and --fault-left, the line of each program
         gets faults of its own. The option --no-offload is refused. The bridge goes on until a
         signal comes, whatever the programs do.)");
  const std::string listening = list_of_links(&LinkRow::listens, &LinkRow::form);
  const std::string capture = list_of_links(&LinkRow::is_captured, &LinkRow::form);
  add_bus_options(options);
  add_offload_option(options,
                     ", and has the port of a packet: link cut super-frames into segments");
  options
      .value(
          "port-name", "NAME",
          R"(the name of the bridge's port, on each bus (default: the next free portN). Where )" +
              listening + " listens, NAME has at most " + std::to_string(kMaxPrefix) +
              R"( characters: programs that are connected at the
                 same time get the ports NAME, NAME-2, NAME-3 and so on. Names that ports of other
                 processes have are left out)")
      .value("max-peers", "N",
             "how many programs a " + listening +
                 " link serves at a time (default: 64); more are refused")
      .value(
          "max-gap", "SECONDS",
          "in a replay of a first link " + capture + ", wait at most that time between two frames")
      .flag("force", "replace the capture file of a second link " + capture + ", if it exists")
      .repeatable(
          "fault", "FAULTS",
          R"(add faults in both directions: one or several of these, with commas between them.
          in:FAULTS holds only for frames from the bus, or from the first link if both are buses;
          out:FAULTS only for the other direction. Between two links, implies --no-offload
          - loss=1%: lose frames with this probability
          - duplicate=1%: deliver frames twice
          - reorder=1%: let a later frame overtake
          - corrupt=0.1%: change one bit
          - truncate=0.1%: cut off the end
          - delay=5ms±1ms, or 5ms+-1ms: delay each frame by 4 to 6 ms
          - order=keep: with ±, no frame overtakes another, and the mean delay grows with the rate
            (default: free, as with tc-netem)
          - rate=10Mbit: a bottleneck (a number without unit is in bit/s, and at least 1000000)
          - queue=500: drop frames while 500 wait for delay or bottleneck. By default, as many wait
            as fit into 64 MiB, which is the limit in any case; for the bottleneck, rate times
            delay, but at least 1000 frames: 1.2 s of full frames at 10 Mbit/s, 12 s at 1 Mbit/s.
            For at most 0.1 s, give 8 for each Mbit/s: rate=10Mbit,queue=80
          - burst=1%:20%: before each frame, a good line turns bad with probability 1%, a bad one
            good with 20%; a bad line loses all frames
          - drop=57,60-62: lose exactly these frames, counted from 1
          - match='tcp port 80': all faults, and the count of drop, only for frames that match this
            filter (pcap-filter(7), with numbers instead of names); the others pass at once, and
            can overtake
          - seed=1: another number gives other random faults)")
      .repeatable("fault-right", "FAULTS",
                  "the faults from the first link to the second, instead of those of --fault")
      .repeatable("fault-left", "FAULTS",
                  "the faults from the second link to the first, instead of those of --fault")
      .flag("json",
            R"(print the counters as JSON, for scripts; all other output goes to standard error)")
      .example("shmifctl bridge bus:/dev/shm/bus0 bus:/dev/shm/bus1",
               "join two buses into one segment")
      .example(
          "shmifctl bridge --fault 'loss=1%,delay=5ms±1ms' bus:/dev/shm/bus0 bus:/dev/shm/bus1",
          "imitate a bad line between them")
      .example(
          "timeout 60 shmifctl bridge bus:/dev/shm/bus0 bus:/dev/shm/bus1 --json | "
          "jq '.directions[] | {from, tx_frames, lost_frames, by_faults: .faults.lost_frames}'",
          "a bridge for a minute; what it carried and lost, and how much of that by faults");
  for (const LinkRow& row : link_rows()) {
    if (row.example == nullptr) continue;
    options.example(std::string("shmifctl bridge bus:/dev/shm/bus0 ") + row.example,
                    row.example_text);
  }
  return options;
}

/// Refuses a bridge from a link to itself: every frame would go round forever.
void refuse_loop(const LinkAddress& left, const LinkAddress& right) {
  if (left.row != right.row) return;
  std::error_code none;
  if (left.target == right.target ||
      (left.row->is_file && std::filesystem::equivalent(left.target, right.target, none))) {
    throw UsageError{"both links are \"" + right.target + "\" (give two different links)"};
  }
}

/// The faults from the first link to the second, and back.
struct Directions {
  FaultOptions right, left;
  bool any() const { return right.any() || left.any(); }
};

/// The faults of all options of that name together; empty if no such option is given.
std::optional<FaultOptions> faults_from(const Arguments& args, const std::string& option) {
  std::string all;
  for (const std::string& text : args.all(option)) all += (all.empty() ? "" : ",") + text;
  if (!args.given(option)) return std::nullopt;
  auto parsed = parse_faults(all);
  if (!parsed) throw UsageError{"--" + option + ": " + parsed.error().message};
  return *std::move(parsed);
}

/// The faults of each direction; options for one direction override --fault. The frames of in: are
/// those from the bus if only one link is a bus, and otherwise those to the second link.
/// `bus_at`: which link is the only bus. `to_programs`: the other one leads to programs.
Directions faults_from(const Arguments& args, std::size_t bus_at, bool to_programs) {
  Directions faults;
  if (const auto both = line_faults_option(args)) {
    faults = bus_at == 0 ? Directions{both->received, both->sent}
                         : Directions{both->sent, both->received};
    // Between two links, the way to the second one has the seed as it was given.
    if (bus_at != 0 && !to_programs) std::swap(faults.right.seed, faults.left.seed);
  }
  if (const auto right = faults_from(args, "fault-right")) faults.right = *right;
  if (const auto left = faults_from(args, "fault-left")) faults.left = *left;
  return faults;
}

/// Adds faults to frames received from a link. Frames that are delayed when the link ends still
/// arrive.
void wrap(LinkSide& end, const FaultOptions& faults) {
  if (!faults.any()) return;
  if (end.line) {
    LineFaults line = end.line->faults();
    line.received = faults;
    return end.line->set_faults(line).value();
  }
  AnyLink inner = *std::move(end.link);
  end.file = inner.descriptor();
  end.faults = end.hold(FaultLink::wrap(std::move(inner), faults, {}).value());
  end.fault_options = faults;
}

/// The faults of frames from a link.
FaultOptions options_of(const LinkSide& source) {
  return source.line ? source.line->faults().received : source.fault_options;
}

/// What happened to the frames from one end to the other.
BridgeWay way_of(const std::string& from, const std::string& to, const LinkSide& source,
                 const LinkSide& sink, const tap::DirectionCounters& counters) {
  BridgeWay way{.from = from, .to = to, .counters = counters};
  if (source.faults != nullptr) {
    way.faults = {source.faults->received(), source.faults->to_receive()};
    way.has_faults = true;
  }
  if (source.line) way.add_source(source.line->counters(), source.line->faults());
  if (sink.line) way.add_sink(sink.line->counters(), sink.line->faults());
  if (sink.faults != nullptr) {
    way.sink_waiting = sink.faults->under_way() - sink.faults->to_receive();
    way.sink_refused = sink.faults->refused();
  }
  if (sink.writer != nullptr) {
    // The capture keeps frames for a moment. A full disk is noticed only when they are written.
    const std::uint64_t elsewhere = way.sink_waiting + way.sink_refused + sink.writer->written();
    way.sink_refused += counters.frames - std::min(counters.frames, elsewhere);
  }
  way.has_device = static_cast<bool>(sink.device);
  if (way.has_device) way.sink_device = sink.device();
  return way;
}

/// Whether the capture goes to standard output, so that no other text may go there.
bool capture_is_output(const Sides& ends) {
  return ends[1].writer != nullptr && is_standard_output(ends[1].address.target);
}

/// A replayed capture takes no frames, and a capture that is written sends no frames.
bool goes_both_ways(const Sides& ends) {
  return ends[0].reader == nullptr && ends[1].writer == nullptr;
}

bool output_is_pipe() {
  struct stat status{};
  return fstat(STDOUT_FILENO, &status) == 0 && S_ISFIFO(status.st_mode) &&
         (fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

/// Reports errors of a capture file, or why a link ended unexpectedly.
int last_words(const Sides& ends, const tap::BridgeEnd& end) {
  if (ends[1].writer != nullptr) {
    ends[1].writer->finish();
    const Result<void> status = ends[1].writer->status();
    if (reader_has_gone(status)) return kDone;
    if (!status) return fail(status.error());
  }
  if (ends[0].reader != nullptr) {
    if (const Result<void> status = ends[0].reader->status(); !status) return fail(status.error());
  }
  if (end.error && end.error != make_error_code(Errc::link_ended)) {
    return fail("cannot go on with " + end.address + ": " + end.error.message());
  }
  return kDone;
}

/// For note_done(): what a capture has, if one was written.
std::string recorded_text(const Sides& ends) {
  if (ends[1].writer == nullptr) return {};
  return base::counted(ends[1].writer->written(), "frame was", "frames were") + " recorded in \"" +
         ends[1].address.target + '"';
}

std::optional<std::uint32_t> mtu_of(const LinkSide& end) {
  if (end.port != nullptr) return end.port->mtu();
  if (!end.device) return std::nullopt;
  const std::optional<tap::Interface> device = find_device(nullptr, end.address.target);
  return device ? std::optional(device->mtu) : std::nullopt;
}

/// Says at the start which frames cannot pass between the two links.
void compare_mtus(const Sides& ends, const std::vector<std::string>& names) {
  const std::array<std::optional<std::uint32_t>, 2> mtus{mtu_of(ends[0]), mtu_of(ends[1])};
  if (!mtus[0] || !mtus[1] || *mtus[0] == *mtus[1]) return;
  const std::size_t wide = *mtus[0] > *mtus[1] ? 0 : 1;
  complain(names[wide] + " has an MTU of " + std::to_string(*mtus[wide]) + ", and " +
           names[1 - wide] + " of " + std::to_string(*mtus[1 - wide]) +
           ": longer frames are dropped and counted (give both sides the same MTU)");
}

/// Carries frames between two links, and says what the user should know meanwhile. Threads: one.
class Carriage {
 public:
  Carriage(Sides& ends, const std::vector<std::string>& names)
      : ends_(ends), names_(names), guard_([this] { say_loop(); }) {}

  /// Blocks: until a link ends or a signal comes. Result: how it ended, and the counters.
  std::pair<tap::BridgeEnd, tap::PairCounters> run(const StopSignals& stop);

 private:
  void say_loop() const;
  void say_too_long(const FrameView& frame, const AnyLink& from);
  void follow(const AnyLink& link, std::error_code error);
  void watch(tap::Bridge& bridge);
  void watch_device(std::size_t end);
  LineMeans means_of(std::size_t end);
  tap::Interceptor interceptor(std::size_t end, LoopGuard::Side side);
  std::size_t number_of(const AnyLink& link) const { return &link == &ends_[0].end() ? 0 : 1; }

  Sides& ends_;
  const std::vector<std::string>& names_;  ///< of the links, as on the command line
  LoopGuard guard_;
  TooLongNotice too_long_;
  BusWatch buses_;
  std::array<std::optional<LineControl>, 2> lines_;    ///< of the ports
  std::array<std::optional<DeviceWatch>, 2> devices_;  ///< show their state on the other link
};

void Carriage::say_loop() const {
  const bool buses = ends_[0].port != nullptr && ends_[1].port != nullptr;
  complain(loop_text(
      names_[0], names_[1],
      buses ? bridges_between(ends_[0].address.target, ends_[1].address.target) : std::string()));
}

void Carriage::say_too_long(const FrameView& frame, const AnyLink& from) {
  const std::size_t source = number_of(from);
  const std::size_t sink = 1 - source;
  too_long_.say(frame.size(), names_[source], mtu_of(ends_[source]), names_[sink],
                mtu_of(ends_[sink]));
}

/// Shows a host behind the other link that the bus has failed, or works again.
void Carriage::follow(const AnyLink& link, std::error_code error) {
  const std::size_t bus = number_of(link);
  if (ends_[bus].port == nullptr) return;
  LinkSide& other = ends_[1 - bus];
  follow_bus(ends_[bus].address.target, other.our_end(), other.address.row->device, error);
  if (lines_[bus]) lines_[bus]->keep_down();
}

/// What others can ask of the line of a port. The host that loses its carrier is the one behind the
/// other link.
LineMeans Carriage::means_of(std::size_t end) {
  LineMeans means;
  LinkSide& other = ends_[1 - end];
  const LinkKind kind = other.address.row->device;
  if (kind == LinkKind::tap) {
    means.set_carrier = [this, end, &other, kind](bool on) {
      const std::error_code error = tap::set_carrier(other.our_end(), kind, on);
      if (!error && devices_[1 - end]) devices_[1 - end]->set_link(on);
      return error;
    };
  }
  if (other.faults != nullptr) {
    // From the start, the faults of frames to the bus are on the other link.
    tap::Line& line = *ends_[end].line;
    means.sent_elsewhere = other.fault_options;
    means.set_faults = [&line, &other](const LineFaults& faults) -> Result<void> {
      LineFaults from_bus = faults;
      from_bus.sent = {};
      if (auto done = line.set_faults(from_bus); !done) return done;
      other.faults->set_faults(faults.sent, {});
      other.faults->hurry(!faults.sent.any(), false);
      other.fault_options = faults.sent;
      return {};
    };
    means.counts_elsewhere = [&other]() -> LineCounts {
      const FaultCounters& met = other.faults->received();
      return {.dropped_out = met.lost + met.queue_full, .waiting = other.faults->to_receive()};
    };
  }
  return means;
}

/// Shows the state of a device on the port at the other end.
void Carriage::watch_device(std::size_t end) {
  LinkSide& side = ends_[end];
  Port* const port = ends_[1 - end].port;
  if (!side.device || port == nullptr) return;
  devices_[end].emplace(nullptr, side.address.target, side.our_end(), *port,
                        DeviceWatch::Hears::all_for_others, tap::GivenAddresses{});
}

/// Watches all that is not frames: buses, devices, and the reader of a capture.
void Carriage::watch(tap::Bridge& bridge) {
  for (std::size_t i = 0; i < ends_.size(); ++i) {
    if (ends_[i].port != nullptr) {
      buses_.add(*ends_[i].port);
      lines_[i].emplace(*ends_[i].line, means_of(i)).note_start();
      lines_[i]->show_counts();
      lines_[i]->join(bridge).value();
    }
    watch_device(i);
  }
  const auto settle = [this] {
    for (LinkSide& side : ends_) {
      if (side.line) side.line->settle();
    }
    return true;
  };
  buses_.join(bridge, settle).value();
  for (std::optional<DeviceWatch>& device : devices_) {
    if (device) device->join(bridge).value();
  }
  if (capture_is_output(ends_) && output_is_pipe()) {
    // poll never reports it as readable, but reports that its reader is gone, even while no frame
    // passes.
    bridge.watch(STDOUT_FILENO, [] { return false; }).value();
  }
}

/// Answers pings for a port, and searches for loops unless frames pass in one direction only.
tap::Interceptor Carriage::interceptor(std::size_t end, LoopGuard::Side side) {
  const Port* const port = ends_[end].port;
  const bool both_ways = goes_both_ways(ends_);
  std::optional<LineControl>& line = lines_[end];
  return [this, port, side, both_ways, &line](const FrameView& frame, AnyLink& back) {
    if (line && line->is_down()) return true;
    if (both_ways && guard_.look(side, frame, back)) return true;
    return port != nullptr && PingAnswerer(*port)(frame, back);
  };
}

std::pair<tap::BridgeEnd, tap::PairCounters> Carriage::run(const StopSignals& stop) {
  tap::BridgeOptions options;
  options.on_too_long = [this](const FrameView& frame, AnyLink& from, AnyLink&) {
    say_too_long(frame, from);
  };
  options.on_trouble = [this](AnyLink& link, std::error_code error) { follow(link, error); };
  tap::Bridge bridge = tap::Bridge::create(options).value();
  compare_mtus(ends_, names_);
  const std::size_t pair =
      bridge
          .add(ends_[0].end(), ends_[1].end(), interceptor(0, LoopGuard::Side::left),
               interceptor(1, LoopGuard::Side::right))
          .value();
  watch(bridge);
  tap::BridgeEnd end = bridge.run(stop.descriptor());
  return {std::move(end), bridge.counters(pair)};
}

/// The words of the links to programs: "stream:, vhost-user: or vde:".
std::string words_of_programs(const std::string& last) {
  return list_of_links(&LinkRow::leads_to_programs, &LinkRow::prefix, last);
}

void refuse_for_peers(const Arguments& args, const LinkSide& bus) {
  const std::string link = "a " + words_of_programs(" or ") + " link ";
  if (!bus.address.row->is_bus)
    throw UsageError{link + "joins a bus (the other link must be bus:PATH)"};
  if (args.flag("no-offload"))
    throw UsageError{link +
                     "does not take --no-offload (leave it out; frames that meet faults are "
                     "segmented without it)"};
}

constexpr std::uint64_t kMaxPeers = 255;  // a bus has 256 ports

UsageError only_listening() {
  return {"--max-peers is for links that listen (" +
          list_of_links(&LinkRow::listens, &LinkRow::form, ", ") + ')'};
}

/// Serves programs with sockets. `bus_at`: which of the two links is the bus.
int run_with_peers(const Arguments& args, Sides& ends, const BusWish& wish, std::size_t bus_at,
                   const JsonOutput& json) {
  LinkSide& bus = ends[bus_at];
  const LinkAddress& peer = ends[1 - bus_at].address;
  const LinkRow& row = *peer.row;
  const bool serves = row.listens() && !peer.connects;
  PeerBridge bridge;
  bridge.bus_path = bus.address.target;
  bridge.bus_text = args.positional()[bus_at];
  bridge.peer_text = args.positional()[1 - bus_at];
  bridge.port_name = args.text("port-name").value_or("");
  bridge.lock_memory = wish.lock_memory;
  const Directions faults = faults_from(args, bus_at, true);
  bridge.faults =
      bus_at == 0 ? LineFaults{faults.right, faults.left} : LineFaults{faults.left, faults.right};
  bridge.json = &json;
  if (row.protocol != nullptr) bridge.protocol = row.protocol;
  const PeerPlaces places = row.places(peer, bridge.peer_text);
  if (serves && bridge.port_name.size() > kMaxPrefix)
    throw UsageError{"--port-name has at most " + std::to_string(kMaxPrefix) +
                     " characters beside " +
                     list_of_links(&LinkRow::listens, &LinkRow::prefix, " and ")};
  if (args.given("max-peers") && !serves) throw only_listening();
  bridge.max_peers = args.count("max-peers", 1, kMaxPeers).value_or(kDefaultMaxPeers);
  const StopSignals stop;
  bridge.bus = &bus_of(bus, wish);
  bridge.made = &bus.new_bus;
  // Programs come later, but whether they can be served is known now.
  if (serves) static_cast<void>(Bus::open(bridge.bus_path, Access::read_write).value());
  bridge.find_bus = [path = bridge.bus_path, wish] {
    NewBus none;
    // Not Bus::open() alone: --create may name a geometry. A bus that vanished is not made anew.
    return wish.create && access(path.c_str(), F_OK) == 0 ? provide_bus(path, wish, none)
                                                          : Bus::open(path);
  };
  const int code = (serves ? row.serve : row.join)(bridge, places, stop);
  if (code == kDone) bridge.keep_bus();  // ended before a program was there to connect to
  return code;
}

/// Prints what happened to the frames, in each direction in which there are some.
void sum_up_ways(const Sides& ends, const std::vector<std::string>& names,
                 const tap::PairCounters& counters, const JsonOutput& json) {
  const base::SignalGuard guard(SIGPIPE);  // the reader of this output may be gone, too
  const BridgeWay there = way_of(names[0], names[1], ends[0], ends[1], counters.to_right);
  const Directions faults{options_of(ends[0]), options_of(ends[1])};
  if (json.is_wanted()) {
    Json ways = Json::array({to_json(there, faults.right)});
    if (goes_both_ways(ends)) {
      ways.push_back(
          to_json(way_of(names[1], names[0], ends[1], ends[0], counters.to_left), faults.left));
    }
    return json.print(json_text({{"directions", std::move(ways)}}));
  }
  std::string text = to_text(there);
  std::string met = faults_text(there, faults.right);
  if (goes_both_ways(ends)) {
    const BridgeWay back = way_of(names[1], names[0], ends[1], ends[0], counters.to_left);
    text += to_text(back);
    met += faults_text(back, faults.left);
  }
  text += met;
  std::fwrite(text.data(), 1, text.size(), capture_is_output(ends) ? stderr : stdout);
}

/// Opens both ends. Result: false if the capture had no reader; then the counts were printed.
bool open_ends(Sides& ends, const LinkWish& wish, const std::vector<std::string>& names,
               const JsonOutput& json) {
  try {
    open_sides(ends, wish);
    return true;
  } catch (const Exception& error) {
    // Only a capture gets these errors: its reader was gone before the first byte, or a signal came
    // before somebody opened the other end of a FIFO.
    if (error.code() != std::errc::broken_pipe && error.code() != std::errc::interrupted) throw;
    const base::SignalGuard guard(SIGPIPE);
    const BridgeWay way{.from = names[0], .to = names[1]};
    if (json.is_wanted()) {
      json.print(json_text({{"directions", Json::array({to_json(way)})}}));
    } else {
      const std::string text = to_text(way);
      std::fwrite(text.data(), 1, text.size(), stderr);
    }
    return false;
  }
}

int run_bridge(const CommandLine& line) {
  const Arguments args = bridge_options().parse(line);
  const BusWish wish = bus_wish(args);
  const std::vector<std::string>& names = args.positional();
  Sides ends;
  for (std::size_t i = 0; i < ends.size(); ++i) ends[i].address = link_address(names[i]);
  ends[1].is_second = true;
  const bool only_second_is_bus = ends[1].address.row->is_bus && !ends[0].address.row->is_bus;
  const Directions faults = faults_from(args, only_second_is_bus ? 1 : 0, false);
  const bool records_to_output =
      ends[1].address.row->is_capture && is_standard_output(ends[1].address.target);
  if (records_to_output && args.flag("json")) {
    throw UsageError{"--json and " + names[1] + " both need standard output (give " +
                     ends[1].address.row->prefix() + " the name of another file)"};
  }
  const JsonOutput json(args.flag("json"));
  if (!records_to_output && !json.is_wanted()) base::let_lost_output_vanish();
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (!ends[i].address.row->leads_to_programs()) continue;
    refuse_for_peers(args, ends[1 - i]);
    return run_with_peers(args, ends, wish, 1 - i, json);
  }
  if (args.given("max-peers")) throw only_listening();
  const std::string port_name = args.text("port-name").value_or("");
  refuse_loop(ends[0].address, ends[1].address);
  const StopSignals stop;
  const LinkWish links{.bus = wish,
                       .port_name = port_name,
                       .offload = !args.flag("no-offload") && !faults.any(),
                       .force = args.flag("force"),
                       .max_gap = max_gap_of(args),
                       .stop_descriptor = stop.descriptor()};
  if (!open_ends(ends, links, names, json)) return kDone;
  wrap(ends[0], faults.right);
  wrap(ends[1], faults.left);
  for (LinkSide& side : ends) side.new_bus.keep();
  const auto [end, counters] = Carriage(ends, names).run(stop);
  const int code = last_words(ends, end);
  note_done(recorded_text(ends));
  sum_up_ways(ends, names, counters, json);
  return code;
}

}  // namespace

const Command kBridgeCommand{
    "bridge", "connect a bus to a device, an interface, a file or another bus", run_bridge};

}  // namespace shmif::tools
