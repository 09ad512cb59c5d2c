// shmifctl bridge: carries frames between any two links.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "base/nearest.hpp"
#include "base/signal_guard.hpp"
#include "base/standard_streams.hpp"
#include "bus/file/output_file.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/port.hpp"
#include "tap/bridge.hpp"
#include "tap/host_mac.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/common/options.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bridge_summary.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/bus_watch.hpp"
#include "tools/relay/device_watch.hpp"
#include "tools/relay/link_address.hpp"
#include "tools/relay/loop_guard.hpp"
#include "tools/relay/ping_answerer.hpp"
#include "tools/shmifctl/bridge_peers.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

using Kind = LinkAddress::Kind;

/// One side of the bridge. The kind of link matters only for opening it and for the summary.
struct Side {
  LinkAddress address;
  std::optional<Bus> bus;  ///< set from the first inspection until the port is attached
  std::optional<AnyLink> link;
  Port* port = nullptr;             ///< the link, if it is one
  PcapReader* reader = nullptr;     ///< the link, if it is one
  CaptureWriter* writer = nullptr;  ///< the link, if it is one
  FaultLink* faults = nullptr;      ///< wraps the link, if faults apply to frames from it
  /// Reads the counters of the link, if it is a device.
  std::function<tap::DeviceCounters()> device = {};
  bool mac_comes_later = false;  ///< the device is new, and is down until it has its address
  int file = -1;                 ///< descriptor of the link, even if it is wrapped

  int our_end() { return faults != nullptr ? file : link->descriptor(); }

  template <class L>
  L* hold(L made) {
    auto owned = std::make_unique<L>(std::move(made));
    L* const raw = owned.get();
    link.emplace(std::move(owned));
    return raw;
  }
};

Options bridge_options() {
  Options options("bridge", "LINK LINK");
  options.words(2, 2).about(
      "Carries frames between two links, both ways. Ends at a signal, when a capture file has been "
      "replayed, or when a device is gone, and exits 0. If a bus or a capture file fails, it ends "
      "and exits 1. Prints counters at the end. A link is bus:PATH (a port on a bus, which "
      "receives every frame), tap:NAME (a TAP device), packet:IFNAME (an existing interface) or "
      "pcap:FILE (a capture file: as the first link it is replayed with the recorded gaps, as the "
      "second it is written).\n\n"
      "Or one link is bus:PATH, and the other one leads to programs with sockets, such as virtual "
      "machines:\n"
      "  stream:PATH listens, and gives each program that connects a port of its own;\n"
      "  stream:connect=PATH connects to a program that listens;\n"
      "  dgram:LOCAL,REMOTE exchanges one datagram for each frame;\n"
      "  vhost-user:[connect=]PATH is for virtual machines that share their memory;\n"
      "  memif:PATH listens for packet processors that share theirs (DPDK, VPP);\n"
      "  vde:URL joins a VDE network (a switch, slirp:// and others).\n"
      "For stream: and dgram:, a path can also be ADDRESS:PORT (TCP, UDP). The ports of these "
      "links "
      "receive broadcasts, multicasts, and frames for the addresses from which their programs have "
      "sent. The options --fault, --fault-right, --fault-left and --no-offload are refused; for "
      "faults, join two buses by a second bridge. The bridge goes on until a signal comes, "
      "whatever "
      "the programs do.");
  add_bus_options(options);
  add_offload_option(options,
                     ", and has the port of a packet: link cut super-frames into segments");
  options
      .value("port-name", "NAME",
             "the name of the bridge's port, on each bus (default: the next free portN). Where "
             "stream:PATH, vhost-user:PATH or memif:PATH listens, NAME has at most 27 characters: "
             "programs that are connected at the same time get the ports NAME, NAME-2, NAME-3 and "
             "so on. Names that ports of other processes have are left out")
      .value("max-peers", "N",
             "how many programs a stream:PATH, vhost-user:PATH or memif:PATH link serves at a time "
             "(default: 64); more are refused")
      .value("max-gap", "SECONDS",
             "in a replay of a first link pcap:FILE, wait at most that time between two frames")
      .flag("force", "replace the capture file of a second link pcap:FILE, if it exists")
      .repeatable(
          "fault", "FAULTS",
          "add faults in both directions: one or several of these, with commas between them. "
          "Implies --no-offload\n"
          "loss=1%: lose frames with this probability\n"
          "duplicate=1%: deliver frames twice\n"
          "reorder=1%: let a later frame overtake\n"
          "corrupt=0.1%: change one bit\n"
          "truncate=0.1%: cut off the end\n"
          "delay=5ms±1ms, or 5ms+-1ms: delay each frame by 4 to 6 ms\n"
          "order=keep: with ±, no frame overtakes another, and the mean delay grows with the "
          "rate (default: free, as with tc-netem)\n"
          "rate=10Mbit: a bottleneck\n"
          "queue=500: drop frames while 500 wait for delay or bottleneck (default: 1000 for the "
          "bottleneck, and for the delay what fits into 64 MiB)\n"
          "burst=1%:20%: before each frame, a good line turns bad with probability 1%, a bad "
          "one good with 20%; a bad line loses all frames\n"
          "seed=1: another number gives other random faults")
      .repeatable("fault-right", "FAULTS",
                  "the faults from the first link to the second, instead of those of --fault")
      .repeatable("fault-left", "FAULTS",
                  "the faults from the second link to the first, instead of those of --fault")
      .example("shmifctl bridge bus:/dev/shm/bus0 bus:/dev/shm/bus1",
               "join two buses into one segment")
      .example(
          "shmifctl bridge --fault 'loss=1%,delay=5ms±1ms' bus:/dev/shm/bus0 bus:/dev/shm/bus1",
          "imitate a bad line between them")
      .example("shmifctl bridge bus:/dev/shm/bus0 packet:eth1",
               "put a real interface on the bus (as root)")
      .example("shmifctl bridge bus:/dev/shm/bus0 stream:/tmp/q.sock",
               "put virtual machines on the bus: qemu -device virtio-net,netdev=n,mac=... -netdev "
               "stream,id=n,server=off,addr.type=unix,addr.path=/tmp/q.sock")
      .example("shmifctl bridge bus:/dev/shm/bus0 vhost-user:/tmp/v.sock",
               "the same with their memory shared, which is faster: qemu -object "
               "memory-backend-memfd,id=m,size=1G,share=on -machine memory-backend=m -chardev "
               "socket,id=c,path=/tmp/v.sock,reconnect=1 -netdev vhost-user,id=n,chardev=c -device "
               "virtio-net-pci,netdev=n,mac=...,vectors=0 (vectors=0 is needed only without KVM)")
      .example("shmifctl bridge bus:/dev/shm/bus0 memif:/tmp/m.sock",
               "put packet processors on the bus: dpdk-testpmd --no-pci --no-huge -m 128 --vdev "
               "net_memif0,role=client,socket=/tmp/m.sock,socket-abstract=no -- -i "
               "--total-num-mbufs=16384")
      .example("shmifctl bridge bus:/dev/shm/bus0 pcap:all.pcap",
               "record every frame in a capture file");
  return options;
}

/// The link that the user most likely meant by a mistyped one.
std::optional<std::string> meant_link(const std::string& text) {
  static const std::vector<std::string> kKinds{"bus",   "tap",        "packet", "pcap", "stream",
                                               "dgram", "vhost-user", "memif",  "vde"};
  if (text.starts_with('/') || text.starts_with("./")) return "bus:" + text;
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) return std::nullopt;
  const auto kind = nearest(text.substr(0, colon), kKinds);
  if (!kind || text.starts_with(*kind + ':')) return std::nullopt;
  return *kind + text.substr(colon);
}

LinkAddress link_address(const std::string& text) {
  if (auto address = parse_link(text)) return *address;
  const auto meant = meant_link(text);
  throw UsageError{"\"" + text + "\" is not a link" +
                   (meant ? ", did you mean " + *meant + '?' : std::string()) +
                   " (bus:PATH, tap:NAME, packet:IFNAME, pcap:FILE, stream:PATH, "
                   "vhost-user:PATH, memif:PATH, dgram:LOCAL,REMOTE or vde:URL)"};
}

bool is_peer(Kind kind) {
  return kind == Kind::stream || kind == Kind::stream_to || kind == Kind::dgram ||
         kind == Kind::vhost || kind == Kind::vhost_to || kind == Kind::memif || kind == Kind::vde;
}

/// Refuses a bridge from a link to itself: every frame would go round forever.
void refuse_loop(const LinkAddress& left, const LinkAddress& right) {
  if (left.kind != right.kind) return;
  std::error_code none;
  const bool file = left.kind == Kind::bus || left.kind == Kind::pcap;
  if (left.target == right.target ||
      (file && std::filesystem::equivalent(left.target, right.target, none))) {
    throw UsageError{"both links are \"" + right.target + "\" (give two different links)"};
  }
}

/// The bus of an end. It is opened only once, so the port attaches to the bus that was inspected.
const Bus& bus_of(Side& end, const BusWish& wish) {
  if (!end.bus) end.bus.emplace(provide_bus(end.address.target, wish).value());
  return *end.bus;
}

/// Properties of the bus at the other end, which exists or will be made. A device or another bus
/// must fit it.
struct BusBeside {
  std::optional<BusInfo> info;  ///< set if the bus exists
  std::optional<std::uint32_t> mtu;
  bool carries_offloads = false;
};

BusBeside bus_beside(Side& other, const BusWish& wish) {
  if (other.address.kind != Kind::bus) return {};
  if (!other.bus && wish.create && access(other.address.target.c_str(), F_OK) != 0)
    return {std::nullopt, wish.options.mtu, wish.options.carries_offloads()};
  const BusInfo bus = bus_of(other, wish).info();
  return {bus, bus.mtu, bus.carries_offloads};
}

void attach(Side& end, Side& other, const BusWish& wish, const std::string& port_name,
            bool offload) {
  const Bus& bus = bus_of(end, wish);
  PortOptions options;
  options.take_offloads = offload && (other.link ? other.link->takes_offloads()
                                                 : bus_beside(other, wish).carries_offloads);
  options.name = port_name;
  options.kind = LinkKind::bridge;
  options.name_patience = kNamePatience;
  options.lock_memory = wish.lock_memory;
  options.promiscuous = true;  // hosts behind the bridge can have any addresses
  end.port = end.hold(Port(options));
  end.port->attach(bus).value();
  end.bus.reset();
}

void open_device(Side& end, Side& other, const BusWish& wish, bool offload) {
  const BusBeside bus = bus_beside(other, wish);
  offload = offload && bus.carries_offloads;
  if (end.address.kind == Kind::tap) {
    need_tun_device();
    tap::TapOptions options;
    options.name = end.address.target;
    options.mtu = bus.mtu;
    options.offload = offload;
    const bool is_new = !find_device(nullptr, end.address.target);
    if (is_new && bus.info) options.mac = tap::device_mac(*bus.info, end.address.target);
    // The address follows from a bus that will be made later.
    end.mac_comes_later = is_new && other.address.kind == Kind::bus && !bus.info;
    options.up = !end.mac_comes_later;
    options.put_back = true;
    const tap::TapLink* const link = end.hold(tap::TapLink::open(options).value());
    end.device = [link] { return link->counters(); };
  } else if (end.address.kind == Kind::packet) {
    tap::PacketOptions options;
    options.offload = offload;
    const tap::PacketLink* const link =
        end.hold(tap::PacketLink::open(end.address.target, options).value());
    end.device = [link] { return link->counters(); };
  }
}

/// How captures are read and written.
struct CaptureWish {
  bool force = false;
  std::chrono::nanoseconds max_gap{0};
  int stop_descriptor = -1;
};

/// Refuses to overwrite a file. It may be the capture that was to be replayed.
void check_capture(const std::string& file, bool force) {
  if (file == "-") return;
  bus::check_output(file, {.what = "cannot record into \"" + file + '"',
                           .replace = force ? bus::Replace::captures : bus::Replace::nothing,
                           .remedy = "to replay it, make it the first link; to replace it, give "
                                     "--force"})
      .value();
}

/// Opens both ends. The order ensures that no trace is left after a failure: first devices and
/// captures to read, then buses, which may be made, then captures to write.
void open_ends(std::array<Side, 2>& ends, const BusWish& wish, const std::string& port_name,
               bool offload, const CaptureWish& captures) {
  if (ends[1].address.kind == Kind::pcap) {
    check_capture(ends[1].address.target, captures.force);
  }
  if (ends[0].address.kind == Kind::pcap) {
    const std::string& file = ends[0].address.target;
    PcapReadOptions options;
    options.speed = 1;
    options.max_gap = captures.max_gap;
    options.on_long_gap = [file](std::chrono::nanoseconds left) { say_long_gap(file, left); };
    options.stop_descriptor = captures.stop_descriptor;
    ends[0].reader = ends[0].hold(PcapReader::open(file, options).value());
  }
  open_device(ends[0], ends[1], wish, offload);
  open_device(ends[1], ends[0], wish, offload);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i].address.kind == Kind::bus) attach(ends[i], ends[1 - i], wish, port_name, offload);
  }
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (!ends[i].mac_comes_later) continue;
    const BusInfo made = Bus::open(ends[1 - i].address.target).value().info();
    tap::Netlink session = open_session(nullptr);
    session.set_mac(ends[i].address.target, tap::device_mac(made, ends[i].address.target)).value();
    session.set_up(ends[i].address.target).value();
  }
  if (ends[1].address.kind == Kind::pcap) {
    ends[1].writer = ends[1].hold(create_capture(ends[1].address.target, CaptureFormat::by_name, 0,
                                                 {}, captures.stop_descriptor));
  }
  for (const Side& end : ends) {
    if (end.port == nullptr) continue;
    if (const std::error_code error = end.port->up()) {
      throw Exception(Error(
          error, "cannot bring the port up on bus " + end.address.target + ": " + error.message()));
    }
  }
}

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

/// The faults of each direction; options for one direction override those for both.
Directions faults_from(const Arguments& args) {
  Directions faults;
  if (const auto both = faults_from(args, "fault")) {
    faults.right = faults.left = *both;
    ++faults.left.seed;  // otherwise equal frames would meet equal faults in both directions
  }
  if (const auto right = faults_from(args, "fault-right")) faults.right = *right;
  if (const auto left = faults_from(args, "fault-left")) faults.left = *left;
  return faults;
}

/// Adds faults to frames received from a link. Frames that are delayed when the link ends still
/// arrive.
void wrap(Side& end, const FaultOptions& faults) {
  if (!faults.any()) return;
  AnyLink inner = *std::move(end.link);
  end.file = inner.descriptor();
  end.faults = end.hold(FaultLink::wrap(std::move(inner), faults, {}).value());
}

/// What happened to the frames from one end to the other.
BridgeWay way_of(const std::string& from, const std::string& to, const Side& source,
                 const Side& sink, const tap::DirectionCounters& counters) {
  BridgeWay way{.from = from, .to = to, .counters = counters};
  if (source.faults != nullptr) {
    way.faults = {source.faults->received(), source.faults->to_receive()};
    way.has_faults = true;
  }
  if (sink.faults != nullptr) {
    way.sink_waiting = sink.faults->under_way() - sink.faults->to_receive();
    way.sink_refused = sink.faults->refused();
  }
  if (sink.device) way.sink_device = sink.device();
  return way;
}

/// Whether the capture goes to standard output, so that no other text may go there.
bool capture_is_output(const std::array<Side, 2>& ends) {
  return ends[1].writer != nullptr && ends[1].address.target == "-";
}

bool output_is_pipe() {
  struct stat status{};
  return fstat(STDOUT_FILENO, &status) == 0 && S_ISFIFO(status.st_mode) &&
         (fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

/// Reports errors of a capture file, or why a link ended unexpectedly.
int last_words(const std::array<Side, 2>& ends, const tap::BridgeEnd& end) {
  if (ends[1].writer != nullptr) {
    static_cast<void>(ends[1].writer->flush());
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

/// The interceptors between the two ends: they answer pings for ports, and search for loops.
tap::Interceptor interceptor(const Side& end, LoopGuard::Side side, LoopGuard* guard) {
  const Port* const port = end.port;
  return [port, side, guard](const FrameView& frame, AnyLink& back) {
    if (guard != nullptr && guard->look(side, frame, back)) return true;
    return port != nullptr && PingAnswerer(*port)(frame, back);
  };
}

std::optional<std::uint32_t> mtu_of(const Side& end) {
  if (end.port != nullptr) return end.port->mtu();
  if (end.address.kind == Kind::pcap) return std::nullopt;
  const std::optional<tap::Interface> device = find_device(nullptr, end.address.target);
  return device ? std::optional(device->mtu) : std::nullopt;
}

/// Says at the start which frames cannot pass between the two links.
void compare_mtus(const std::array<Side, 2>& ends, const std::vector<std::string>& names) {
  const std::array<std::optional<std::uint32_t>, 2> mtus{mtu_of(ends[0]), mtu_of(ends[1])};
  if (!mtus[0] || !mtus[1] || *mtus[0] == *mtus[1]) return;
  const std::size_t wide = *mtus[0] > *mtus[1] ? 0 : 1;
  complain(names[wide] + " has an MTU of " + std::to_string(*mtus[wide]) + ", and " +
           names[1 - wide] + " of " + std::to_string(*mtus[1 - wide]) +
           ": longer frames are dropped and counted (give both sides the same MTU)");
}

/// Shows the state of a device on the port at the other end.
std::optional<DeviceWatch> watch_device(Side& device, const Side& other) {
  const bool is_device = device.address.kind == Kind::tap || device.address.kind == Kind::packet;
  if (!is_device || other.port == nullptr) return std::nullopt;
  return std::optional<DeviceWatch>(std::in_place, nullptr, device.address.target, device.our_end(),
                                    *other.port, DeviceWatch::Hears::all_for_others,
                                    tap::GivenAddresses{});
}

/// Carries frames until a link ends or a signal comes. Result: how it ended, and the counters.
std::pair<tap::BridgeEnd, tap::PairCounters> carry(std::array<Side, 2>& ends,
                                                   const StopSignals& stop,
                                                   const std::vector<std::string>& names) {
  tap::BridgeOptions options;
  TooLongNotice too_long;
  options.on_too_long = [&](const FrameView& frame, AnyLink& from, AnyLink&) {
    const std::size_t source = &from == &*ends[0].link ? 0 : 1;
    too_long.say(frame.size(), names[source], mtu_of(ends[source]), names[1 - source],
                 mtu_of(ends[1 - source]));
  };
  LoopGuard guard([&] {
    const bool buses = ends[0].port != nullptr && ends[1].port != nullptr;
    complain(loop_text(
        names[0], names[1],
        buses ? bridges_between(ends[0].address.target, ends[1].address.target) : std::string()));
  });
  const bool both_ways = ends[0].reader == nullptr && ends[1].writer == nullptr;
  LoopGuard* const watchful = both_ways ? &guard : nullptr;
  std::array<std::optional<DeviceWatch>, 2> devices{watch_device(ends[0], ends[1]),
                                                    watch_device(ends[1], ends[0])};
  options.on_trouble = [&](AnyLink& link, std::error_code error) {
    for (std::size_t i = 0; i < ends.size(); ++i) {
      Side& other = ends[1 - i];
      if (&link != &*ends[i].link || ends[i].port == nullptr) continue;
      const bool tap = other.address.kind == Kind::tap;
      follow_bus(ends[i].address.target, other.our_end(), tap ? LinkKind::tap : LinkKind::bridge,
                 error);
    }
  };
  tap::Bridge bridge = tap::Bridge::create(options).value();
  compare_mtus(ends, names);
  BusWatch bus_watch;
  for (const Side& end : ends) {
    if (end.port != nullptr) bus_watch.add(*end.port);
  }
  bus_watch.join(bridge).value();
  const std::size_t pair =
      bridge
          .add(*ends[0].link, *ends[1].link, interceptor(ends[0], LoopGuard::Side::left, watchful),
               interceptor(ends[1], LoopGuard::Side::right, watchful))
          .value();
  for (std::optional<DeviceWatch>& device : devices) {
    if (device) device->join(bridge).value();
  }
  if (capture_is_output(ends) && output_is_pipe()) {
    // poll never reports it as readable, but reports that its reader is gone, even while no frame
    // passes.
    bridge.watch(STDOUT_FILENO, [] { return false; }).value();
  }
  tap::BridgeEnd end = bridge.run(stop.descriptor());
  return {std::move(end), bridge.counters(pair)};
}

void refuse_for_peers(const Arguments& args, const Side& bus, const Directions& faults) {
  if (bus.address.kind != Kind::bus)
    throw UsageError{
        "a stream:, vhost-user:, memif:, dgram: or vde: link joins a bus (the other link must be "
        "bus:PATH)"};
  if (faults.any() || args.flag("no-offload"))
    throw UsageError{
        "a stream:, vhost-user:, memif:, dgram: or vde: link takes neither faults nor --no-offload "
        "(for "
        "faults, bridge two buses)"};
}

SocketPlace place_of(const std::string& text) {
  auto place = parse_socket_place(text);
  if (!place) throw UsageError{'"' + text + "\": " + place.error().message};
  return *std::move(place);
}

constexpr std::uint64_t kMaxPeers = 255;  // a bus has 256 ports
constexpr const char* kOnlyListening =
    "--max-peers is for links that listen (stream:PATH, vhost-user:PATH, memif:PATH)";

/// Refuses a target that looks like a path, but most likely is a path after a mistyped word.
void refuse_odd_target(const Side& peer, const std::string& text) {
  static const std::vector<std::string> kConnect{"connect"};
  const std::string& target = peer.address.target;
  const std::string kind = text.substr(0, text.find(':') + 1);
  const std::size_t end = target.find_first_of("=:/");
  if (end == std::string::npos || target[end] == '/') return;
  const std::string word = target.substr(0, end);
  const std::string rest = target.substr(end + 1);
  const bool is_place = rest.find_first_not_of("0123456789") != std::string::npos;
  std::string meant;
  if (target[end] == '=') {
    if (word == "listen" || word == "path") {
      meant = kind + (rest.empty() ? "PATH" : rest);
    } else if (nearest(word, kConnect) && peer.address.kind != Kind::memif) {
      meant = kind + "connect=" + (rest.empty() ? "PATH" : rest);
    }
  } else if ((word == "unix" || word == "tcp") && is_place) {
    meant = kind + rest;
  }
  if (meant.empty()) return;
  throw UsageError{'"' + text + "\": did you mean " + meant + "? (for a path, write " + kind +
                   "./" + target + ')'};
}

/// Whether two paths lead to the same file, which may not exist yet.
bool one_file(const std::string& left, const std::string& right) {
  namespace fs = std::filesystem;
  std::error_code none;
  return fs::absolute(left, none).lexically_normal() ==
             fs::absolute(right, none).lexically_normal() ||
         fs::equivalent(left, right, none);
}

/// The two paths or addresses in dgram:LOCAL,REMOTE.
std::pair<std::string, std::string> two_sockets(const std::string& target,
                                                const std::string& text) {
  const std::size_t comma = target.find(',');
  if (comma == std::string::npos)
    throw UsageError{"\"" + text + "\" lacks the other socket (dgram:LOCAL,REMOTE)"};
  std::pair<std::string, std::string> both{target.substr(0, comma), target.substr(comma + 1)};
  if (both.first.empty() || both.second.empty())
    throw UsageError{'"' + text + "\": " + (both.first.empty() ? "LOCAL" : "REMOTE") +
                     " is missing (dgram:LOCAL,REMOTE)"};
  if (one_file(both.first, both.second))
    throw UsageError{'"' + text +
                     "\": both sockets are the same (the program has a socket of its own)"};
  return both;
}

/// Serves programs with sockets. `bus_at`: which of the two links is the bus.
int run_with_peers(const Arguments& args, Side& bus, const Side& peer, const BusWish& wish,
                   std::size_t bus_at) {
  PeerBridge bridge;
  bridge.bus_path = bus.address.target;
  bridge.bus_text = args.positional()[bus_at];
  bridge.peer_text = args.positional()[1 - bus_at];
  bridge.port_name = name_option(args, "port-name").value_or("");
  bridge.lock_memory = wish.lock_memory;
  const std::string& target = peer.address.target;
  if (peer.address.kind == Kind::vde) {
    if (args.given("max-peers")) throw UsageError{kOnlyListening};
    const StopSignals stop;
    bridge.bus = &bus_of(bus, wish);
    return join_vde(bridge, target, stop);
  }
  if (peer.address.kind == Kind::memif && target.starts_with("connect="))
    throw UsageError{'"' + bridge.peer_text + "\": memif only listens (the program is the client)"};
  if (peer.address.kind != Kind::dgram) refuse_odd_target(peer, bridge.peer_text);
  const auto [here, there] = peer.address.kind == Kind::dgram
                                 ? two_sockets(target, bridge.peer_text)
                                 : std::pair(target, target);
  const SocketPlace place = place_of(here);
  const SocketPlace remote = peer.address.kind == Kind::dgram ? place_of(there) : place;
  if (place.host.has_value() != remote.host.has_value())
    throw UsageError{'"' + bridge.peer_text + "\": both are paths, or both ADDRESS:PORT"};
  const bool is_vhost = peer.address.kind == Kind::vhost || peer.address.kind == Kind::vhost_to;
  const bool is_memif = peer.address.kind == Kind::memif;
  if ((is_vhost || is_memif) && place.host)
    throw UsageError{'"' + bridge.peer_text + "\": " + (is_memif ? "memif" : "vhost-user") +
                     " takes the path of a socket"};
  if (is_vhost) bridge.protocol = PeerProtocol::vhost_user;
  if (is_memif) bridge.protocol = PeerProtocol::memif;
  const bool serves =
      peer.address.kind == Kind::stream || peer.address.kind == Kind::vhost || is_memif;
  constexpr std::size_t kMaxPrefix = 27;  // later ports add a hyphen and a number
  if (serves && bridge.port_name.size() > kMaxPrefix)
    throw UsageError{
        "--port-name has at most 27 characters beside stream:, vhost-user: and memif:"};
  if (const auto most = args.count("max-peers", 1, kMaxPeers)) {
    if (!serves) throw UsageError{kOnlyListening};
    bridge.max_peers = *most;
  }
  const StopSignals stop;
  bridge.bus = &bus_of(bus, wish);
  // Programs come later, but whether they can be served is known now.
  if (serves) static_cast<void>(Bus::open(bridge.bus_path, Access::read_write).value());
  bridge.find_bus = [path = bridge.bus_path, wish] {
    return access(path.c_str(), F_OK) == 0 ? provide_bus(path, wish) : Bus::open(path);
  };
  switch (peer.address.kind) {
    case Kind::stream:
    case Kind::vhost:
    case Kind::memif: return serve_programs(bridge, place, stop);
    case Kind::stream_to:
    case Kind::vhost_to: return keep_connected(bridge, place, stop);
    default: return exchange_datagrams(bridge, place, remote, stop);
  }
}

int run_bridge(const CommandLine& line) {
  const Arguments args = bridge_options().parse(line);
  const BusWish wish = bus_wish(args);
  const Directions faults = faults_from(args);
  std::array<Side, 2> ends;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    ends[i].address = link_address(args.positional()[i]);
  }
  const bool records_to_output =
      ends[1].address.kind == Kind::pcap && ends[1].address.target == "-";
  if (!records_to_output) base::let_lost_output_vanish();
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (is_peer(ends[i].address.kind)) {
      refuse_for_peers(args, ends[1 - i], faults);
      return run_with_peers(args, ends[1 - i], ends[i], wish, 1 - i);
    }
  }
  if (args.given("max-peers")) throw UsageError{kOnlyListening};
  const std::string port_name = name_option(args, "port-name").value_or("");
  refuse_loop(ends[0].address, ends[1].address);
  const StopSignals stop;
  const std::string& left = args.positional()[0];
  const std::string& right = args.positional()[1];
  try {
    open_ends(ends, wish, port_name, !args.flag("no-offload") && !faults.any(),
              {.force = args.flag("force"),
               .max_gap = max_gap_of(args),
               .stop_descriptor = stop.descriptor()});
  } catch (const Exception& error) {
    // Only a capture gets these errors: its reader was gone before the first byte, or a signal came
    // before somebody opened the other end of a FIFO.
    if (error.code() != std::errc::broken_pipe && error.code() != std::errc::interrupted) throw;
    const base::SignalGuard guard(SIGPIPE);
    const std::string text = to_text(BridgeWay{.from = left, .to = right});
    std::fwrite(text.data(), 1, text.size(), stderr);
    return kDone;
  }
  wrap(ends[0], faults.right);
  wrap(ends[1], faults.left);
  const auto [end, counters] = carry(ends, stop, args.positional());
  const int code = last_words(ends, end);
  std::FILE* const file = capture_is_output(ends) ? stderr : stdout;
  const base::SignalGuard guard(SIGPIPE);  // the reader of this output may be gone, too
  const BridgeWay there = way_of(left, right, ends[0], ends[1], counters.to_right);
  std::string text = to_text(there);
  std::string met = there.has_faults ? faults_text(there, faults.right) : "";
  // A replayed capture takes no frames, and a capture that is written sends no frames.
  if (ends[0].reader == nullptr && ends[1].writer == nullptr) {
    const BridgeWay back = way_of(right, left, ends[1], ends[0], counters.to_left);
    text += to_text(back);
    if (back.has_faults) met += faults_text(back, faults.left);
  }
  text += met;
  std::fwrite(text.data(), 1, text.size(), file);
  return code;
}

}  // namespace

const Command kBridgeCommand{
    "bridge", "connect a bus to a device, an interface, a file or another bus", run_bridge};

}  // namespace shmif::tools
