#pragma once
// Links in command-line form: bus:PATH, tap:NAME and so on. The kinds of link of `shmifctl bridge`,
// a row for each, and the two sides of a bridge between two links. Code that must know something
// about a link asks the link's row. A new kind is a row in links.cpp, and the functions that it
// names.

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "bus/port_options.hpp"
#include "shmif/bus.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "shmif/socket_place.hpp"
#include "tap/device_counters.hpp"
#include "tap/line/line.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::tools {

class StopSignals;
struct LinkRow;
struct LinkSide;
struct LinkWish;
struct PeerBridge;
struct PeerProtocol;

struct LinkAddress {
  const LinkRow* row = nullptr;  ///< its kind; set by link_address()
  bool connects = false;         ///< "connect=" was before the target
  std::string target;            ///< the path or the name; it has at least one character
};

/// Throws UsageError if the text does not name a link, with the link that was most likely meant.
/// Threads: any. Blocks: never.
LinkAddress link_address(const std::string& text);

/// Where the programs of a link are.
struct PeerPlaces {
  std::string target;  ///< as given
  SocketPlace here;    ///< of the socket that listens, on whichever side; or our own
  SocketPlace there;   ///< the program's, if it has one of its own (dgram)
};

/// Throws if TAP devices are not available: not_supported (exit code 77) if there is no device
/// node, or the errno if it cannot be opened. Threads: any. Blocks: never.
void need_tun_device();

/// How a side of a bridge between two links is opened. The bridge takes one step for both sides
/// before it takes the next one. The order ensures that no trace is left after a failure: devices
/// and captures to read come first, then buses, which may be made, then captures to write. A null
/// pointer is a step that has nothing to do. All steps throw if they fail.
struct OpenSteps {
  using Step = void (*)(LinkSide& side, LinkSide& other, const LinkWish& wish);

  Step check = nullptr;  ///< changes nothing
  Step before_buses = nullptr;
  Step bus = nullptr;
  Step after_buses = nullptr;
};

/// One kind of link: what a side of a bridge between two links needs to know, or what a bridge
/// between a bus and programs with sockets needs. The rows are constants; any thread may read them.
struct LinkRow {
  /// Carries frames until a signal comes. Result: the exit code.
  using Serve = int (*)(const PeerBridge& bridge, const PeerPlaces& places,
                        const StopSignals& stop);

  const char* word;    ///< before the colon: "stream"
  const char* target;  ///< what follows the colon, for messages: "PATH"
  const char* help;    ///< for --help; of a link to programs, whole lines
  /// For --help: an example of this link beside a bus, and what the example does.
  const char* example = nullptr;
  const char* example_text = nullptr;

  // A side of a bridge between two links.
  bool is_bus = false;
  bool is_file = false;  ///< two different targets may lead to the same file
  /// The first link is replayed, the second is written; there, "-" is standard output.
  bool is_capture = false;
  LinkKind device = LinkKind::bridge;  ///< for follow_bus(): the kind of the device
  OpenSteps open = {};

  // A link to programs.
  /// Finds out where the programs are. `text`: the link as on the command line. Throws UsageError.
  /// Null if the link does not lead to programs.
  PeerPlaces (*places)(const LinkAddress& address, const std::string& text) = nullptr;
  bool takes_network_address = false;  ///< a path of the target can also be ADDRESS:PORT
  /// How programs that connect are spoken to; null if programs cannot connect.
  const PeerProtocol* protocol = nullptr;
  Serve serve = nullptr;  ///< listens; null if the link does not
  /// Goes to one program or network; null if the link only listens. If it can do both, "connect="
  /// before the target asks for this.
  Serve join = nullptr;

  bool leads_to_programs() const noexcept { return places != nullptr; }
  bool listens() const noexcept { return serve != nullptr; }
  bool is_side() const noexcept { return !leads_to_programs(); }
  bool is_any() const noexcept { return true; }
  bool is_captured() const noexcept { return is_capture; }
  bool is_networked() const noexcept { return takes_network_address; }
  std::string prefix() const;  ///< "stream:"
  std::string form() const;    ///< "stream:PATH"
  std::string told() const;    ///< for --help: what the link is
};

/// All kinds, in the order in which messages list them. Threads: any. Blocks: never.
std::span<const LinkRow> link_rows() noexcept;

/// What `as` returns for each kind for which `which` is true, with `between` between them, and
/// `last` between the last two. Threads: any. Blocks: never.
std::string list_of_links(bool (LinkRow::*which)() const noexcept,
                          std::string (LinkRow::*as)() const, const std::string& last = " or ",
                          const std::string& between = ", ");

/// One side of a bridge. The members that are null or empty tell of what kind the link is not.
struct LinkSide {
  LinkAddress address;
  bool is_second = false;           ///< the second link of the command line
  NewBus new_bus;                   ///< the bus, until the bridge has started
  std::optional<Bus> bus;           ///< set from the first inspection until the port is attached
  std::optional<AnyLink> link;      ///< unless the link is a port
  std::optional<tap::Line> line;    ///< the port, and the faults of frames from it and to it
  Port* port = nullptr;             ///< the link, if it is one
  PcapReader* reader = nullptr;     ///< the link, if it is one
  CaptureWriter* writer = nullptr;  ///< the link, if it is one
  FaultLink* faults = nullptr;      ///< wraps `link`, if faults apply to frames from it
  FaultOptions fault_options{};     ///< those of `faults`
  /// Reads the counters of the link, if it is a device.
  std::function<tap::DeviceCounters()> device = {};
  bool mac_comes_later = false;  ///< the device is new, and is down until it has its address
  int file = -1;                 ///< descriptor of the link, even if it is wrapped

  /// The link, for a bridge.
  AnyLink& end() { return line ? line->link() : *link; }
  int our_end() { return faults != nullptr ? file : end().descriptor(); }

  template <class L>
  L* hold(L made) {
    auto owned = std::make_unique<L>(std::move(made));
    L* const raw = owned.get();
    link.emplace(std::move(owned));
    return raw;
  }
};

/// What the user asked for, beside the links.
struct LinkWish {
  const BusWish& bus;
  std::string port_name;
  bool offload = false;  ///< pass on unfinished checksums and super-frames, if both sides can
  bool force = false;    ///< replace a capture file
  std::chrono::nanoseconds max_gap{0};  ///< in a replay; 0: no limit
  int stop_descriptor = -1;             ///< ends waits for captures
};

/// The bus of a side. It is opened only once, so the port attaches to the bus that was inspected.
/// Throws if there is none. Threads: one at a time. Blocks: while a bus is made.
const Bus& bus_of(LinkSide& side, const BusWish& wish);

/// Opens both sides, and brings their ports up. Throws, and leaves no trace, if that fails.
/// Threads: one at a time. Blocks: while a bus is made, for up to kNamePatience for a name, and for
/// the other end of a capture that is a FIFO, until wish.stop_descriptor is readable.
void open_sides(std::array<LinkSide, 2>& sides, const LinkWish& wish);

}  // namespace shmif::tools
