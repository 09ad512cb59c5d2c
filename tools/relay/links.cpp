#include "tools/relay/links.hpp"

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/nearest.hpp"
#include "base/result.hpp"
#include "bus/file/output_file.hpp"
#include "tap/host_mac.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"
#include "tools/common/command.hpp"
#include "tools/relay/bridge_peers.hpp"
#include "tools/relay/peer.hpp"
#include "tools/relay/watches.hpp"

namespace shmif::tools {

namespace {

constexpr std::string_view kConnect = "connect=";

/// The link that the user most likely meant by a mistyped one.
std::optional<std::string> meant_link(const std::string& text) {
  if (text.starts_with('/') || text.starts_with("./")) return "bus:" + text;
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) return std::nullopt;
  std::vector<std::string> words;
  for (const LinkRow& row : link_rows()) words.emplace_back(row.word);
  const auto word = base::nearest(text.substr(0, colon), words);
  if (!word || text.starts_with(*word + ':')) return std::nullopt;
  return *word + text.substr(colon);
}

SocketPlace place_of(const std::string& target) {
  auto place = parse_socket_place(target);
  if (!place) throw UsageError{'"' + target + "\": " + place.error().message};
  return *std::move(place);
}

/// Refuses a target that looks like a path, but most likely is a path after a mistyped word.
void refuse_odd_target(const LinkAddress& address, const std::string& text) {
  static const std::vector<std::string> kWords{"connect"};
  const std::string& target = address.target;
  const std::string kind = address.row->prefix();
  const std::size_t end = target.find_first_of("=:/");
  if (end == std::string::npos || target[end] == '/') return;
  const std::string word = target.substr(0, end);
  const std::string rest = target.substr(end + 1);
  const bool is_place = rest.find_first_not_of("0123456789") != std::string::npos;
  std::string meant;
  if (target[end] == '=') {
    if (word == "listen" || word == "path") {
      meant = kind + (rest.empty() ? "PATH" : rest);
    } else if (base::nearest(word, kWords) && address.row->join != nullptr) {
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

/// Result: empty if the text does not name a link.
std::optional<LinkAddress> parse_link(std::string_view text) {
  for (const LinkRow& row : link_rows()) {
    if (!text.starts_with(row.prefix())) continue;
    std::string_view target = text.substr(row.prefix().size());
    const bool connects =
        row.serve != nullptr && row.join != nullptr && target.starts_with(kConnect);
    if (connects) target.remove_prefix(kConnect.size());
    if (target.empty()) break;
    return LinkAddress{&row, connects, std::string(target)};
  }
  return std::nullopt;
}

// The places of the kinds of link (LinkRow::places). `text`: the link as on the command line. They
// throw UsageError. Threads: any. Blocks: for the name server, except no_socket().

/// PATH or HOST.
PeerPlaces socket_place(const LinkAddress& address, const std::string& text) {
  if (address.row->join == nullptr && address.target.starts_with(kConnect))
    throw UsageError{'"' + text + "\": " + address.row->word +
                     " only listens (the program is the client)"};
  refuse_odd_target(address, text);
  return {.target = address.target, .here = place_of(address.target), .there = {}};
}

/// PATH only.
PeerPlaces socket_path(const LinkAddress& address, const std::string& text) {
  PeerPlaces places = socket_place(address, text);
  if (places.here.host)
    throw UsageError{'"' + text + "\": " + address.row->word + " takes the path of a socket"};
  return places;
}

/// LOCAL,REMOTE.
PeerPlaces two_sockets(const LinkAddress& address, const std::string& text) {
  const std::string& target = address.target;
  const std::size_t comma = target.find(',');
  if (comma == std::string::npos)
    throw UsageError{"\"" + text + "\" lacks the other socket (" + address.row->form() + ')'};
  const std::string here = target.substr(0, comma);
  const std::string there = target.substr(comma + 1);
  if (here.empty() || there.empty())
    throw UsageError{'"' + text + "\": " + (here.empty() ? "LOCAL" : "REMOTE") + " is missing (" +
                     address.row->form() + ')'};
  if (one_file(here, there))
    throw UsageError{'"' + text +
                     "\": both sockets are the same (the program has a socket of its own)"};
  PeerPlaces places{.target = target, .here = place_of(here), .there = place_of(there)};
  if (places.here.host.has_value() != places.there.host.has_value())
    throw UsageError{'"' + text + "\": both are paths, or both ADDRESS:PORT"};
  return places;
}

/// Any text.
PeerPlaces no_socket(const LinkAddress& address, const std::string&) {
  return {.target = address.target, .here = {}, .there = {}};
}

}  // namespace

LinkAddress link_address(const std::string& text) {
  const auto bus = text == "bus:" ? default_bus() : std::nullopt;
  if (bus) return *parse_link(text + note_default_bus(*bus));
  if (auto address = parse_link(text)) return *std::move(address);
  const auto meant = meant_link(text);
  throw UsageError{"\"" + text + "\" is not a link" +
                   (meant ? ", did you mean " + *meant + '?' : std::string()) + " (" +
                   list_of_links(&LinkRow::is_any, &LinkRow::form) +
                   (text == "bus:" ? std::string("; or set ") + kBusVariable : std::string()) +
                   ')'};
}

void need_tun_device() {
  Result<void> tun = tap::check_tun_device();
  if (tun) return;
  Error error = std::move(tun).error();
  const bool absent = error.code == std::errc::no_such_file_or_directory ||
                      error.code == std::errc::no_such_device ||
                      error.code == std::errc::no_such_device_or_address;
  if (absent) error.code = Errc::not_supported;
  error.message += "; 'shmifctl exec --via veth' needs no such device";
  throw Exception(std::move(error));
}

namespace {

/// Properties of the bus at the other end, which exists or will be made. A device or another bus
/// must fit it.
struct BusBeside {
  std::optional<BusInfo> info;  ///< set if the bus exists
  std::optional<std::uint32_t> mtu;
  bool carries_offloads = false;
};

BusBeside bus_beside(LinkSide& other, const BusWish& wish) {
  if (!other.address.row->is_bus) return {};
  if (!other.bus && wish.create && access(other.address.target.c_str(), F_OK) != 0)
    return {std::nullopt, wish.options.mtu, wish.options.carries_offloads()};
  const BusInfo bus = bus_of(other, wish).info();
  return {bus, bus.mtu, bus.carries_offloads};
}

/// Keeps the counters of a device within reach.
template <class Device>
void hold_device(LinkSide& side, Device opened) {
  const Device* const device = side.hold(std::move(opened));
  side.device = [device] { return device->counters(); };
}

/// If the other link is a bus, it must be one before this one is made.
void inspect_beside(LinkSide&, LinkSide& other, const LinkWish& wish) {
  static_cast<void>(bus_beside(other, wish.bus));
}

void attach_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  const Bus& bus = bus_of(side, wish.bus);
  PortOptions options;
  options.take_offloads =
      wish.offload && (other.line || other.link ? other.end().takes_offloads()
                                                : bus_beside(other, wish.bus).carries_offloads);
  options.name = wish.port_name;
  options.kind = LinkKind::bridge;
  options.name_patience = kNamePatience;
  options.lock_memory = wish.bus.lock_memory;
  options.promiscuous = true;  // hosts behind the bridge can have any addresses
  auto port = std::make_unique<Port>(options);
  port->attach(bus).value();
  side.port = port.get();
  side.line.emplace(std::move(port));
  side.bus.reset();
}

void open_tap_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  const BusBeside bus = bus_beside(other, wish.bus);
  need_tun_device();
  tap::TapOptions options;
  options.name = side.address.target;
  options.mtu = bus.mtu;
  options.offload = wish.offload && bus.carries_offloads;
  const bool is_new = !find_device(nullptr, side.address.target);
  if (is_new && bus.info) options.mac = tap::device_mac(*bus.info, side.address.target);
  // The address follows from a bus that will be made later.
  side.mac_comes_later = is_new && other.address.row->is_bus && !bus.info;
  options.up = !side.mac_comes_later;
  options.put_back = true;
  hold_device(side, tap::TapLink::open(options).value());
}

/// The bus that decides the address of a new device is there now.
void address_tap_side(LinkSide& side, LinkSide& other, const LinkWish&) {
  if (!side.mac_comes_later) return;
  const BusInfo made = Bus::open(other.address.target).value().info();
  tap::Netlink session = open_session(nullptr);
  session.set_mac(side.address.target, tap::device_mac(made, side.address.target)).value();
  session.set_up(side.address.target).value();
}

void open_packet_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  const BusBeside bus = bus_beside(other, wish.bus);
  tap::PacketOptions options;
  options.offload = wish.offload && bus.carries_offloads;
  hold_device(side, tap::PacketLink::open(side.address.target, options).value());
}

/// Refuses to overwrite a file. It may be the capture that was to be replayed.
void check_capture_side(LinkSide& side, LinkSide&, const LinkWish& wish) {
  const std::string& file = side.address.target;
  if (!side.is_second || file == "-") return;
  bus::check_output(file, {.what = "cannot record into \"" + file + '"',
                           .replace = wish.force ? bus::Replace::captures : bus::Replace::nothing,
                           .remedy = "to replay it, make it the first link; to replace it, give "
                                     "--force"})
      .value();
}

void read_capture_side(LinkSide& side, LinkSide&, const LinkWish& wish) {
  if (side.is_second) return;
  const std::string& file = side.address.target;
  PcapReadOptions options;
  options.speed = 1;
  options.max_gap = wish.max_gap;
  options.on_long_gap = [file](std::chrono::nanoseconds left) { say_long_gap(file, left); };
  options.stop_descriptor = wish.stop_descriptor;
  side.reader = side.hold(PcapReader::open(file, options).value());
}

void write_capture_side(LinkSide& side, LinkSide& other, const LinkWish& wish) {
  if (!side.is_second) return;
  side.writer = side.hold(
      create_capture(side.address.target, CaptureFormat::by_name, 0, {}, wish.stop_descriptor));
  if (other.port != nullptr) side.writer->note_changes(other.address.target);
}

}  // namespace

const Bus& bus_of(LinkSide& side, const BusWish& wish) {
  if (!side.bus) side.bus.emplace(provide_bus(side.address.target, wish, side.new_bus).value());
  return *side.bus;
}

void open_sides(std::array<LinkSide, 2>& sides, const LinkWish& wish) {
  for (const auto step :
       {&OpenSteps::check, &OpenSteps::before_buses, &OpenSteps::bus, &OpenSteps::after_buses}) {
    for (LinkSide& side : sides) {
      LinkSide& other = side.is_second ? sides[0] : sides[1];
      if (const OpenSteps::Step take = side.address.row->open.*step; take != nullptr)
        take(side, other, wish);
    }
  }
  for (const LinkSide& side : sides) {
    if (side.port != nullptr) bring_up(*side.port, "bus " + side.address.target);
  }
}

namespace {

// The links of `shmifctl bridge`: a row for each.

constexpr auto kLinkRows = std::to_array<LinkRow>({
    {.word = "bus",
     .target = "PATH",
     .help = "a port on a bus, which receives every frame",
     .is_bus = true,
     .is_file = true,
     .open = {.before_buses = inspect_beside, .bus = attach_side}},
    {.word = "tap",
     .target = "NAME",
     .help = "a TAP device",
     .device = LinkKind::tap,
     .open = {.before_buses = open_tap_side, .after_buses = address_tap_side}},
    {.word = "packet",
     .target = "IFNAME",
     .help = "an existing interface",
     .example = "packet:eth1",
     .example_text = "put a real interface on the bus (as root)",
     .open = {.before_buses = open_packet_side}},
    {.word = "pcap",
     .target = "FILE",
     .help = "a capture file: as the first link it is replayed with the recorded gaps, as the "
             "second it is written",
     .example = "pcap:all.pcap",
     .example_text = "record every frame in a capture file",
     .is_file = true,
     .is_capture = true,
     .open = {.check = check_capture_side,
              .before_buses = read_capture_side,
              .after_buses = write_capture_side}},
    {.word = "stream",
     .target = "PATH",
     .help = "  stream:PATH listens, and gives each program that connects a port of its own;\n"
             "  stream:connect=PATH connects to a program that listens",
     .example = "stream:/tmp/q.sock",
     .example_text = "put virtual machines on the bus: qemu -device virtio-net,netdev=n,mac=... "
                     "-netdev stream,id=n,server=off,addr.type=unix,addr.path=/tmp/q.sock",
     .places = socket_place,
     .takes_network_address = true,
     .protocol = &kStreamProtocol,
     .serve = serve_programs,
     .join = keep_connected},
    {.word = "vhost-user",
     .target = "PATH",
     .help = "  vhost-user:[connect=]PATH is for virtual machines that share their memory",
     .example = "vhost-user:/tmp/v.sock",
     .example_text =
         "the same with their memory shared, which is faster: qemu -object "
         "memory-backend-memfd,id=m,size=1G,share=on -machine memory-backend=m -chardev "
         "socket,id=c,path=/tmp/v.sock,reconnect=1 -netdev vhost-user,id=n,chardev=c -device "
         "virtio-net-pci,netdev=n,mac=...,vectors=0 (vectors=0 is needed only without KVM)",
     .places = socket_path,
     .protocol = &kVhostProtocol,
     .serve = serve_programs,
     .join = keep_connected},
    {.word = "memif",
     .target = "PATH",
     .help = "  memif:PATH listens for packet processors that share theirs (DPDK, VPP)",
     .example = "memif:/tmp/m.sock",
     .example_text = "put packet processors on the bus: dpdk-testpmd --no-pci --no-huge -m 128 "
                     "--vdev net_memif0,role=client,socket=/tmp/m.sock,socket-abstract=no -- -i "
                     "--total-num-mbufs=16384",
     .places = socket_path,
     .protocol = &kMemifProtocol,
     .serve = serve_programs},
    {.word = "dgram",
     .target = "LOCAL,REMOTE",
     .help = "  dgram:LOCAL,REMOTE exchanges one datagram for each frame",
     .places = two_sockets,
     .takes_network_address = true,
     .join = exchange_datagrams},
    {.word = "vde",
     .target = "URL",
     .help = "  vde:URL joins a VDE network (a switch, slirp:// and others)",
     .places = no_socket,
     .join = join_vde},
});

}  // namespace

std::span<const LinkRow> link_rows() noexcept {
  return kLinkRows;
}

std::string LinkRow::prefix() const {
  return std::string(word) + ':';
}

std::string LinkRow::form() const {
  return prefix() + target;
}

std::string LinkRow::told() const {
  return leads_to_programs() ? help : form() + " (" + help + ')';
}

std::string list_of_links(bool (LinkRow::*which)() const noexcept,
                          std::string (LinkRow::*as)() const, const std::string& last,
                          const std::string& between) {
  std::vector<std::string> all;
  for (const LinkRow& row : link_rows()) {
    if ((row.*which)()) all.push_back((row.*as)());
  }
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i > 0) text += i + 1 == all.size() ? last : between;
    text += all[i];
  }
  return text;
}

}  // namespace shmif::tools
