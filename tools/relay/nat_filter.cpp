#include "tools/relay/nat_filter.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/random.h>

#include <bit>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "bus/network_bytes.hpp"
#include "bus/offload.hpp"

namespace shmif::tools {

namespace {

/// Flags for the packets of a TCP connection that were seen.
constexpr std::uint8_t kFinOut = 1, kFinIn = 2, kReset = 4, kAnswered = 8, kBothSpoke = 16;

/// When a flow is made, at most this many flows whose time is up are removed.
constexpr std::size_t kMaxExpiredAtOnce = 4;

constexpr std::chrono::seconds kTimes[] = {NatFlows::kDatagrams, NatFlows::kEstablished,
                                           NatFlows::kTransitory, NatFlows::kEcho};

template <class T>
T* zeroed(std::size_t count) {
  static_assert(std::is_trivially_copyable_v<T>);
  void* const memory = std::calloc(count, sizeof(T));
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<T*>(memory);
}

std::uint64_t mixed(std::uint64_t number) noexcept {  // MurmurHash3's last step
  number = (number ^ number >> 33U) * 0xff51afd7ed558ccdU;
  number = (number ^ number >> 33U) * 0xc4ceb9fe1a85ec53U;
  return number ^ number >> 33U;
}

bool is_closed(std::uint8_t seen) noexcept {
  return (seen & kReset) != 0 || (seen & (kFinOut | kFinIn)) == (kFinOut | kFinIn);
}

/// The flags of a connection after one more packet.
std::uint8_t seen_after(std::uint8_t seen, NatWay way, std::uint8_t flags) noexcept {
  const bool out = way == NatWay::out;
  const bool begins = (flags & (kTcpSyn | kTcpAck | kTcpRst | kTcpFin)) == kTcpSyn;
  if (out && begins && (is_closed(seen) || (seen & kBothSpoke) == 0)) return 0;
  if ((flags & kTcpRst) != 0) return seen | kReset;
  if ((flags & kTcpFin) != 0) seen |= out ? kFinOut : kFinIn;
  if (!out) return seen | kAnswered;
  const bool agrees = (flags & (kTcpSyn | kTcpAck)) == kTcpAck;
  return agrees && (seen & kAnswered) != 0 ? seen | kBothSpoke : seen;
}

}  // namespace

NatFlows::NatFlows(const NatFlowLimits& limits)
    : limits_(limits),
      chain_mask_(std::bit_ceil(std::size_t{limits.hosts} * limits.of_host) - 1),
      entries_(zeroed<Entry>(std::size_t{limits.hosts} * limits.of_host + 1)),
      chains_(zeroed<Index>(chain_mask_ + 1)),
      hosts_(limits.hosts),
      host_chains_(std::bit_ceil(std::size_t{limits.hosts}), kNoHost) {
  static_assert(sizeof(Entry) == 48);
  free_hosts_.reserve(limits.hosts);
  for (std::uint32_t i = limits.hosts; i > 0; --i) free_hosts_.push_back(i - 1);
  if (::getrandom(&secret_, sizeof secret_, GRND_NONBLOCK) != sizeof secret_) {
    secret_ = mixed(
        static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
  }
}

std::size_t NatFlows::chain_of(const NatFlow& flow) const noexcept {
  const std::uint64_t addresses = std::uint64_t{flow.near} << 32U | flow.far;
  const std::uint64_t rest =
      std::uint64_t{flow.near_port} << 32U | std::uint64_t{flow.far_port} << 16U | flow.protocol;
  return mixed(mixed(addresses ^ secret_) + rest) & chain_mask_;
}

NatFlows::Index NatFlows::find(const NatFlow& flow) const noexcept {
  Index index = chains_[chain_of(flow)];
  while (index != kNone && entries_[index].flow != flow) index = entries_[index].next;
  return index;
}

NatFlows::Index NatFlows::find(const NatFlow& flow, Time now) const noexcept {
  const Index index = find(flow);
  return index != kNone && now < entries_[index].end ? index : kNone;
}

bool NatFlows::out(const NatFlow& flow, std::uint8_t tcp_flags, Time now) noexcept {
  Index index = find(flow);
  if (index != kNone && now >= entries_[index].end) {
    remove(index);
    index = kNone;
  }
  if (index == kNone) return make(flow, tcp_flags, now) != kNone;
  Entry& entry = entries_[index];
  if (flow.protocol == IPPROTO_TCP) entry.tcp = seen_after(entry.tcp, NatWay::out, tcp_flags);
  live_on(index, now);
  return true;
}

bool NatFlows::in(const NatFlow& flow, std::uint8_t tcp_flags, Time now) noexcept {
  const Index index = find(flow, now);
  if (index == kNone) return false;
  if (flow.protocol != IPPROTO_TCP) return true;
  if ((tcp_flags & (kTcpSyn | kTcpAck)) == kTcpSyn) return false;
  Entry& entry = entries_[index];
  entry.tcp = seen_after(entry.tcp, NatWay::in, tcp_flags);
  if (entry.kind == established && is_closed(entry.tcp)) live_on(index, now);
  return true;
}

/// The number of the host with that address. A host that has no room yet gets room. Result: kNoHost
/// if there is no room left.
std::uint32_t NatFlows::host_for(std::uint32_t address, Time now) noexcept {
  std::uint32_t& chain = host_chains_[mixed(address ^ secret_) & (host_chains_.size() - 1)];
  std::uint32_t number = chain;
  while (number != kNoHost && hosts_[number].address != address) number = hosts_[number].next;
  if (number != kNoHost) return number;
  if (free_hosts_.empty()) expire(now, flows_);
  if (free_hosts_.empty()) return kNoHost;
  number = free_hosts_.back();
  free_hosts_.pop_back();
  hosts_[number].address = address;
  hosts_[number].next = chain;
  return chain = number;
}

/// Frees the room of a host without flows. Its entries stay where they are.
void NatFlows::release(Host& host) noexcept {
  const auto number = static_cast<std::uint32_t>(&host - hosts_.data());
  std::uint32_t* at = &host_chains_[mixed(host.address ^ secret_) & (host_chains_.size() - 1)];
  while (*at != number) at = &hosts_[*at].next;
  *at = host.next;
  free_hosts_.push_back(number);
}

NatFlows::Index NatFlows::make(const NatFlow& flow, std::uint8_t tcp_flags, Time now) noexcept {
  expire(now, kMaxExpiredAtOnce);
  const std::uint32_t number = host_for(flow.near, now);
  if (number == kNoHost) return kNone;
  Host& host = hosts_[number];
  ++host.flows;  // before an old flow goes, so that the host keeps its room
  ++flows_;
  if (host.flows > limits_.of_host)
    remove(host.fleeting.first != kNone ? host.fleeting.first : host.lasting.first);
  Index index = host.free;
  if (index != kNone) {
    host.free = entries_[index].next;
  } else {
    index = number * limits_.of_host + ++host.touched;
  }
  Index& chain = chains_[chain_of(flow)];
  Entry& entry = entries_[index];
  entry.flow = flow;
  entry.tcp =
      flow.protocol == IPPROTO_TCP ? seen_after(0, NatWay::out, tcp_flags) : std::uint8_t{0};
  entry.kind = flow.protocol == IPPROTO_TCP   ? transitory
               : flow.protocol == IPPROTO_UDP ? datagrams
                                              : echo;
  entry.next = chain;
  chain = index;
  link(index, now);
  return index;
}

void NatFlows::remove(Index index) noexcept {
  unlink(index);
  Entry& entry = entries_[index];
  Index* at = &chains_[chain_of(entry.flow)];
  while (*at != index) at = &entries_[*at].next;
  *at = entry.next;
  Host& host = host_of(index);
  entry.next = host.free;
  host.free = index;
  --flows_;
  if (--host.flows == 0) release(host);
}

/// Removes at most `max` flows whose time is up.
void NatFlows::expire(Time now, std::size_t max) noexcept {
  for (const List& list : kinds_) {
    for (; max > 0 && list.first != kNone && now >= entries_[list.first].end; --max)
      remove(list.first);
  }
}

/// Gives a flow its full time, counted from now.
void NatFlows::live_on(Index index, Time now) noexcept {
  Entry& entry = entries_[index];
  Kind kind = entry.kind;
  if (entry.flow.protocol == IPPROTO_TCP)
    kind = (entry.tcp & kBothSpoke) != 0 && !is_closed(entry.tcp) ? established : transitory;
  // T2: it moves at most once in kGrain.
  if (kind == entry.kind && now + kTimes[kind] < entry.end) return;
  unlink(index);
  entry.kind = kind;
  link(index, now);
}

NatFlows::List& NatFlows::list_of_host(Index index) noexcept {
  Host& host = host_of(index);
  return entries_[index].kind == established ? host.lasting : host.fleeting;
}

void NatFlows::link(Index index, Time now) noexcept {
  Entry& entry = entries_[index];
  entry.end = now + kTimes[entry.kind] + kGrain;
  append(kinds_[entry.kind], &Entry::by_end, index);
  append(list_of_host(index), &Entry::by_host, index);
}

void NatFlows::unlink(Index index) noexcept {
  take(kinds_[entries_[index].kind], &Entry::by_end, index);
  take(list_of_host(index), &Entry::by_host, index);
}

void NatFlows::append(List& list, Links Entry::* links, Index index) noexcept {
  entries_[index].*links = {list.last, kNone};
  (list.last == kNone ? list.first : (entries_[list.last].*links).after) = index;
  list.last = index;
}

void NatFlows::take(List& list, Links Entry::* links, Index index) noexcept {
  const Links at = entries_[index].*links;
  (at.before == kNone ? list.first : (entries_[at.before].*links).after) = at.after;
  (at.after == kNone ? list.last : (entries_[at.after].*links).before) = at.before;
}

namespace {

using bus::get16;
using bus::get32;
using bus::get8;
using bus::kIpv4MinBytes;
using bus::kTcpMinBytes;
using bus::kUdpBytes;

constexpr std::uint16_t kIpv4 = 0x0800;
constexpr std::uint16_t kArp = 0x0806;
constexpr std::size_t kArpBytes = 28;
constexpr std::size_t kIcmpHeaderBytes = 8;
constexpr std::uint16_t kReserved = 0x8000, kMoreFragments = 0x2000, kFragmentOffset = 0x1fff;
constexpr std::uint8_t kEchoReply = 0, kUnreachable = 3, kEchoRequest = 8, kTimeExceeded = 11;
constexpr std::uint8_t kProhibited = 13;  // RFC 1812: communication administratively prohibited
constexpr std::uint16_t kDhcpServer = 67, kDhcpClient = 68, kDns = 53;
constexpr std::uint32_t kAnyAddress = 0;
constexpr std::uint32_t kBroadcast = 0xffffffff;

/// At most this many ICMP answers are sent in a second.
constexpr unsigned kMaxAnswers = 100;
constexpr std::chrono::seconds kAskAgain{5};

/// F3: ranges in which no far side may be. These addresses lead to this machine, to all machines
/// around it, or, in the case of 169.254.169.254, to the cloud in which it runs.
struct Range {
  std::uint32_t first;
  unsigned prefix;
  NatRefusal why;
};
constexpr Range kNeverFar[] = {
    {0x00000000, 8, NatRefusal::loopback},     // 0.0.0.0/8: 0.0.0.0 is 127.0.0.1 to connect()
    {0x7f000000, 8, NatRefusal::loopback},     // 127.0.0.0/8
    {0xa9fe0000, 16, NatRefusal::link_local},  // 169.254.0.0/16
    {0xe0000000, 4, NatRefusal::group},        // 224.0.0.0/4
    {0xffffffff, 32, NatRefusal::group},       // 255.255.255.255
};

/// F4: the services of the gateway, and whether passt serves each.
enum class ByPasst : std::uint8_t {
  no,
  yes,
  elsewhere,  ///< only if the address is another machine's; its own leads to 127.0.0.1
};
struct Service {
  bool name_server;  ///< at the name server's address; false: at the gateway's
  std::uint8_t protocol;
  std::uint16_t port;  ///< 0 for ICMP
  ByPasst by_passt;    ///< slirp4netns serves all
};
constexpr Service kServices[] = {
    {false, IPPROTO_UDP, kDhcpServer, ByPasst::yes},
    {false, IPPROTO_ICMP, 0, ByPasst::no},
    {true, IPPROTO_UDP, kDns, ByPasst::yes},
    {true, IPPROTO_TCP, kDns, ByPasst::elsewhere},
    {true, IPPROTO_ICMP, 0, ByPasst::no},
};

/// Whether the options of a TCP header that begins a connection are well formed up to their end,
/// and name no segment size that is too small for stacks (Linux: TCP_MIN_SND_MSS).
bool are_sound(std::span<const std::byte> options) noexcept {
  constexpr std::uint8_t kEnd = 0, kNothing = 1, kSegmentSize = 2;
  constexpr std::size_t kHeadBytes = 2, kSegmentSizeBytes = 4;
  constexpr std::uint16_t kLeastSegment = 48;
  while (!options.empty() && get8(options, 0) != kEnd) {
    if (get8(options, 0) == kNothing) {
      options = options.subspan(1);
      continue;
    }
    if (options.size() < kHeadBytes) return false;
    const std::size_t size = get8(options, 1);
    if (size < kHeadBytes || size > options.size()) return false;
    if (get8(options, 0) == kSegmentSize &&
        (size != kSegmentSizeBytes || get16(options, kHeadBytes) < kLeastSegment))
      return false;
    options = options.subspan(size);
  }
  return true;
}

/// The flow of the packet that an ICMP error quotes, if that can be read. The error is meant for
/// the sender of that packet.
std::optional<NatFlow> quoted_in(std::span<const std::byte> quote) noexcept {
  constexpr std::size_t kLeast = kIpv4MinBytes + 8;  // RFC 792
  constexpr std::uint16_t kFragmented = kMoreFragments | kFragmentOffset;
  if (quote.size() < kLeast || get8(quote, 0) != 0x45 || (get16(quote, 6) & kFragmented) != 0)
    return std::nullopt;
  NatFlow flow{.near = get32(quote, 12), .far = get32(quote, 16), .protocol = get8(quote, 9)};
  const auto transport = quote.subspan(kIpv4MinBytes);
  if (flow.protocol == IPPROTO_ICMP) {
    if (get8(transport, 0) != kEchoRequest) return std::nullopt;
    flow.near_port = get16(transport, 4);
  } else {
    flow.near_port = get16(transport, 0);
    flow.far_port = get16(transport, 2);
  }
  return flow;
}

/// The reasons in JSON and for people, in the order of NatRefusal.
struct RefusalText {
  const char* word;
  const char* text;
};
constexpr std::array<RefusalText, kNatRefusals> kRefusals{
    {{"other_protocol", "IPv6 or other protocols"},
     {"unreadable", "damaged or with IP options"},
     {"fragment", "fragments of packets"},
     {"other_icmp", "ICMP other than pings"},
     {"outside_network", "from outside the network"},
     {"loopback", "for 127.0.0.0/8 or 0.0.0.0/8"},
     {"link_local", "for 169.254.0.0/16, see --link-local"},
     {"multicast_or_broadcast", "multicast or broadcast"},
     {"not_served", "for what the gateway does not serve"},
     {"other_hosts", "for other hosts of the bus"},
     {"unsolicited", "from outside that no host asked for"},
     {"too_many_hosts", "from too many hosts"}}};

}  // namespace

/// What rules F2 to F6 need to know about an IPv4 packet.
struct NatFilter::Packet : NatFlow {
  std::uint8_t tcp_flags = 0;
  bool is_icmp_error = false;
  std::optional<NatFlow> quoted = {};  ///< the flow that an ICMP error quotes

  bool is_dhcp() const noexcept {
    return protocol == IPPROTO_UDP && near_port == kDhcpClient && far_port == kDhcpServer;
  }
};

NatFilter::NatFilter(const NatWish& wish, std::function<bool(std::uint32_t)> to_many,
                     const NatFlowLimits& limits)
    : network_(wish.network.first),
      mask_(~(~0U >> wish.network.prefix)),
      gateway_(wish.network.first + NatNetwork::kGateway),
      name_server_(name_server_of(wish).value_or(0)),
      passt_(wish.program == NatProgram::passt),
      loopback_(wish.loopback),
      link_local_(wish.link_local),
      gateway_mac_(wish.network.gateway_mac()),
      name_server_mac_(wish.network.name_server_mac()),
      to_many_(std::move(to_many)),
      flows_(limits) {}

bool NatFilter::is_served(std::uint32_t address) const noexcept {
  return address == gateway_ || (name_server_ != 0 && address == name_server_);
}

bool NatFilter::is_host(std::uint32_t address) const noexcept {
  return (address & mask_) == network_ && address != network_ && address != (network_ | ~mask_) &&
         address != gateway_ && address != name_server_;
}

bool NatFilter::is_mine(const MacAddress& mac) const noexcept {
  return mac == gateway_mac_ || (!passt_ && mac == name_server_mac_);
}

bool NatFilter::leads_to_many(std::uint32_t address, NatFlows::Time now) {
  Asked& asked = asked_[(address * 0x9e3779b1U) >> 20U];
  if (asked.address != address || now >= asked.until)
    asked = {.address = address, .to_many = to_many_(address), .until = now + kAskAgain};
  return asked.to_many;
}

/// Reads an IPv4 packet and applies rule F2. `bytes`: the frame.
std::optional<NatRefusal> NatFilter::read(NatWay way, std::span<const std::byte> bytes,
                                          Packet& packet) {
  const auto ip = bytes.subspan(kEthernetHeaderBytes);
  if (ip.size() < kIpv4MinBytes || get8(ip, 0) != 0x45) return NatRefusal::unreadable;
  const std::size_t total = get16(ip, 2);
  if (total < kIpv4MinBytes || total > ip.size()) return NatRefusal::unreadable;
  const std::uint16_t fragment = get16(ip, 6);
  if ((fragment & kReserved) != 0) return NatRefusal::unreadable;
  if ((fragment & (kMoreFragments | kFragmentOffset)) != 0) return NatRefusal::fragment;
  packet.protocol = get8(ip, 9);
  std::size_t header = kUdpBytes;  // of UDP and of ICMP
  switch (packet.protocol) {
    case IPPROTO_TCP: header = kTcpMinBytes; break;
    case IPPROTO_UDP:
    case IPPROTO_ICMP: break;
    default: return NatRefusal::protocol;
  }
  const auto transport = ip.subspan(kIpv4MinBytes, total - kIpv4MinBytes);
  if (transport.size() < header) return NatRefusal::unreadable;
  const std::uint32_t source = get32(ip, 12);
  const std::uint32_t destination = get32(ip, 16);
  packet.near = way == NatWay::out ? source : destination;
  packet.far = way == NatWay::out ? destination : source;
  if (packet.protocol == IPPROTO_ICMP) {
    const std::uint8_t type = get8(transport, 0);
    const bool passes = way == NatWay::out
                            ? type == kEchoRequest
                            : type == kEchoReply || type == kUnreachable || type == kTimeExceeded;
    if (!passes) return NatRefusal::other_icmp;
    packet.is_icmp_error = way == NatWay::in && type != kEchoReply;
    if (packet.is_icmp_error) {
      packet.quoted = quoted_in(transport.subspan(kIcmpHeaderBytes));
    } else {
      packet.near_port = get16(transport, 4);
    }
    return std::nullopt;
  }
  // Checks the length that UDP or TCP states as well, because a program may trust it.
  const bool is_tcp = packet.protocol == IPPROTO_TCP;
  const std::size_t own = is_tcp ? std::size_t{get8(transport, 12)} / 16 * 4 : get16(transport, 4);
  if (own < header || own > transport.size()) return NatRefusal::unreadable;
  if (is_tcp) packet.tcp_flags = get8(transport, 13);
  if ((packet.tcp_flags & kTcpSyn) != 0 && !are_sound(transport.subspan(header, own - header)))
    return NatRefusal::unreadable;
  packet.near_port = get16(transport, way == NatWay::out ? 0 : 2);
  packet.far_port = get16(transport, way == NatWay::out ? 2 : 0);
  return std::nullopt;
}

/// Applies rule F3 to the far side.
std::optional<NatRefusal> NatFilter::judge_far(std::uint32_t far) const noexcept {
  for (const Range& range : kNeverFar) {
    if ((far ^ range.first) >> (32 - range.prefix) != 0) continue;
    if (range.why == NatRefusal::link_local && link_local_) break;
    return range.why;
  }
  return std::nullopt;
}

/// Applies rule F4 to a far side in the network.
std::optional<NatRefusal> NatFilter::judge_service(NatWay way,
                                                   const Packet& packet) const noexcept {
  if (packet.far == (network_ | ~mask_) || packet.far == network_) return NatRefusal::group;
  if (!is_served(packet.far)) return NatRefusal::others;
  if (loopback_ && packet.far == gateway_) return std::nullopt;
  // The gateway sends the ICMP errors.
  if (way == NatWay::in && packet.protocol == IPPROTO_ICMP) return std::nullopt;
  const auto by_passt = [&](ByPasst when) {
    return when == ByPasst::yes || (when == ByPasst::elsewhere && name_server_ != gateway_);
  };
  for (const Service& service : kServices) {
    if (packet.far == (service.name_server ? name_server_ : gateway_) &&
        service.protocol == packet.protocol && service.port == packet.far_port &&
        (!passt_ || by_passt(service.by_passt)))
      return std::nullopt;
  }
  return NatRefusal::closed;
}

/// Applies rule F5 to ARP. `bytes`: the frame.
std::optional<NatRefusal> NatFilter::judge_arp(NatWay way,
                                               std::span<const std::byte> bytes) const noexcept {
  const auto arp = bytes.subspan(kEthernetHeaderBytes);
  constexpr std::uint16_t kEthernet = 1;
  constexpr std::uint16_t kSizes = 0x0604;
  if (arp.size() < kArpBytes || get16(arp, 0) != kEthernet || get16(arp, 2) != kIpv4 ||
      get16(arp, 4) != kSizes)
    return NatRefusal::unreadable;
  const std::uint16_t operation = get16(arp, 6);
  if (operation != 1 && operation != 2) return NatRefusal::unreadable;
  const std::uint32_t sender = get32(arp, 14);
  const std::uint32_t target = get32(arp, 24);
  if (way == NatWay::in)
    return is_served(sender) ? std::nullopt : std::optional(NatRefusal::others);
  const bool probes = sender == kAnyAddress && operation == 1;
  if (!is_host(sender) && !probes) return NatRefusal::stranger;
  // Hosts may also announce themselves. Other requests are refused: passt would answer for any
  // address.
  if (is_served(target) || (sender == target && !probes)) return std::nullopt;
  return NatRefusal::others;
}

std::optional<NatRefusal> NatFilter::judge(NatWay way, const FrameView& frame, NatFlows::Time now) {
  const auto bytes = frame.bytes;
  if (bytes.size() < kEthernetHeaderBytes) return NatRefusal::unreadable;
  const std::uint16_t type = get16(bytes, 12);
  if (type != kIpv4 && type != kArp) return NatRefusal::protocol;
  if (frame.truncated() || frame.offload.pending()) return NatRefusal::unreadable;
  const MacAddress to = frame.destination();
  const bool to_other = way == NatWay::out && !to.is_group() && !is_mine(to);
  if (to_other) return NatRefusal::others;
  return type == kArp ? judge_arp(way, bytes) : judge_ip(way, frame, now);
}

/// Applies rules F2 to F6 to an IPv4 packet.
std::optional<NatRefusal> NatFilter::judge_ip(NatWay way, const FrameView& frame,
                                              NatFlows::Time now) {
  Packet packet;
  if (const auto refusal = read(way, frame.bytes, packet)) return refusal;
  if (packet.is_dhcp()) {
    // A client without an address broadcasts, and is answered in the same way.
    const bool asks = way == NatWay::out && packet.near == kAnyAddress;
    const bool has_near =
        asks || is_host(packet.near) || (way == NatWay::in && packet.near == kBroadcast);
    const bool has_far = packet.far == gateway_ || (way == NatWay::out && packet.far == kBroadcast);
    if (!has_near) return NatRefusal::stranger;
    if (has_far) return std::nullopt;
  }
  if (!is_host(packet.near)) return NatRefusal::stranger;
  if ((packet.far & mask_) == network_) {
    if (const auto refusal = judge_service(way, packet)) return refusal;
  } else if (const auto refusal = judge_far(packet.far)) {
    return refusal;
  } else if (way == NatWay::out && leads_to_many(packet.far, now)) {
    return NatRefusal::group;  // incoming packets from there pass only as answers (F6)
  }
  if (frame.destination().is_group()) return NatRefusal::group;
  return judge_flow(way, packet, now);
}

/// Applies rule F6.
std::optional<NatRefusal> NatFilter::judge_flow(NatWay way, const Packet& packet,
                                                NatFlows::Time now) noexcept {
  if (way == NatWay::out)
    return flows_.out(packet, packet.tcp_flags, now) ? std::nullopt
                                                     : std::optional(NatRefusal::crowd);
  const bool answers = packet.is_icmp_error ? packet.quoted && packet.quoted->near == packet.near &&
                                                  flows_.has(*packet.quoted, now)
                                            : flows_.in(packet, packet.tcp_flags, now);
  return answers ? std::nullopt : std::optional(NatRefusal::unasked);
}

bool NatFilter::keep(NatWay way, const FrameView& frame, AnyLink& back) {
  const auto refusal = judge(way, frame, Clock::now());
  if (!refusal) return false;
  counts_[static_cast<std::size_t>(way)].of[static_cast<std::size_t>(*refusal)].fetch_add(
      1, std::memory_order_relaxed);
  const bool is_told = *refusal == NatRefusal::loopback || *refusal == NatRefusal::link_local ||
                       *refusal == NatRefusal::closed || *refusal == NatRefusal::fragment;
  if (way == NatWay::out && is_told && !frame.destination().is_group()) answer(frame, back);
  return true;
}

/// Tells the sender of a readable packet that the filter prohibits it. If `back` has no room, the
/// answer is dropped.
void NatFilter::answer(const FrameView& frame, AnyLink& back) noexcept {
  constexpr std::size_t kQuoted = kIpv4MinBytes + 8;
  const auto ip = frame.bytes.subspan(kEthernetHeaderBytes);
  // RFC 1812: only the first fragment gets an answer, and only if it comes from a single host.
  if ((get16(ip, 6) & kFragmentOffset) != 0 || !is_host(get32(ip, 12)) || frame.source().is_group())
    return;
  if (get16(ip, 2) < kQuoted) return;  // a fragment may end before the part to quote
  const auto now = Clock::now();
  if (now - answers_since_ >= std::chrono::seconds(1)) {
    answers_since_ = now;
    answers_ = 0;
  }
  if (answers_ == kMaxAnswers) return;
  ++answers_;
  constexpr std::size_t kIcmpAt = kEthernetHeaderBytes + kIpv4MinBytes;
  std::array<std::byte, kIcmpAt + 8 + kQuoted> bytes{};
  const std::span out(bytes);
  std::memcpy(bytes.data(), frame.bytes.data() + 6, 6);
  std::memcpy(bytes.data() + 6, frame.bytes.data(), 6);
  bus::put16(out, 12, kIpv4);
  bytes[14] = std::byte{0x45};
  bus::put16(out, 16, bytes.size() - kEthernetHeaderBytes);
  bytes[22] = std::byte{64};
  bytes[23] = std::byte{IPPROTO_ICMP};
  bus::put32(out, 26, gateway_);
  std::memcpy(bytes.data() + 30, ip.data() + 12, 4);
  bytes[kIcmpAt] = std::byte{kUnreachable};
  bytes[kIcmpAt + 1] = std::byte{kProhibited};
  std::memcpy(bytes.data() + kIcmpAt + 8, ip.data(), kQuoted);
  const auto finish = [&](std::size_t from, std::size_t size, std::size_t field) {
    bus::put_sum(out, field,
                 static_cast<std::uint16_t>(~bus::internet_sum(out.subspan(from, size))));
  };
  finish(kEthernetHeaderBytes, kIpv4MinBytes, kEthernetHeaderBytes + 10);
  finish(kIcmpAt, bytes.size() - kIcmpAt, kIcmpAt + 2);
  const FrameView view(bytes.data(), bytes.size());
  static_cast<void>(back.send({&view, 1}));
}

std::uint64_t NatFilter::refused(NatWay way) const noexcept {
  std::uint64_t sum = 0;
  for (const auto& count : counts_[static_cast<std::size_t>(way)].of)
    sum += count.load(std::memory_order_relaxed);
  return sum;
}

std::array<std::uint64_t, kNatRefusals> NatFilter::refused_by_reason() const noexcept {
  std::array<std::uint64_t, kNatRefusals> counts{};
  for (const Count& way : counts_) {
    for (std::size_t i = 0; i < kNatRefusals; ++i)
      counts.at(i) += way.of[i].load(std::memory_order_relaxed);
  }
  return counts;
}

Json NatFilter::to_json() const {
  const std::array<std::uint64_t, kNatRefusals> counts = refused_by_reason();
  Json json = Json::object();
  for (std::size_t i = 0; i < kNatRefusals; ++i) json[kRefusals.at(i).word] = counts.at(i);
  return json;
}

std::string NatFilter::to_text() const {
  const std::array<std::uint64_t, kNatRefusals> counts = refused_by_reason();
  std::string reasons;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kNatRefusals; ++i) {
    const std::uint64_t count = counts.at(i);
    if (count == 0) continue;
    sum += count;
    reasons += (reasons.empty() ? "" : ", ") + std::to_string(count) + ' ' + kRefusals.at(i).text;
  }
  if (sum == 0) return {};
  return std::to_string(sum) + (sum == 1 ? " frame was" : " frames were") + " refused (" + reasons +
         ')';
}

}  // namespace shmif::tools
