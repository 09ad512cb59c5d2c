#pragma once
// The kinds of link of `shmifctl bridge`: a row for each. Code that must know something about a
// link asks the link's row. A new kind is a row in link_table.cpp, and the functions that it names.

#include <span>
#include <string>

#include "bus/port_options.hpp"

namespace shmif::tools {

class StopSignals;
struct LinkAddress;
struct LinkSide;
struct LinkWish;
struct PeerBridge;
struct PeerPlaces;
struct PeerProtocol;

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

}  // namespace shmif::tools
