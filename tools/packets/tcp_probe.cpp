#include "tools/packets/tcp_probe.hpp"

#include <tins/tins.h>

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

namespace shmif::tools {

namespace {

using Clock = TcpProbe::Clock;
using std::chrono::milliseconds;

constexpr milliseconds kClaimWait{100};  ///< a host that has the address has this long to say so
constexpr unsigned kClaimQuestions = 3;
constexpr milliseconds kFirstRetry{20};
constexpr milliseconds kLongestRetry{200};
constexpr std::uint16_t kFirstPort = 49152;  // the dynamic ports (RFC 6335)

Tins::HWAddress<6> hardware(MacAddress mac) {
  return Tins::HWAddress<6>(mac.bytes.data());
}

Tins::IPv4Address v4(const tap::IpAddress& address) {
  std::uint32_t raw = 0;
  std::copy_n(address.bytes.data(), 4, reinterpret_cast<std::uint8_t*>(&raw));
  return Tins::IPv4Address(raw);
}

Tins::IPv6Address v6(const tap::IpAddress& address) {
  return Tins::IPv6Address(address.bytes.data());
}

/// fe80:: with the interface identifier of the MAC address (RFC 4291, appendix A).
tap::IpAddress link_local(MacAddress mac) {
  tap::IpAddress a;
  a.family = AF_INET6;
  a.bytes = {0xfe, 0x80};
  const auto& m = mac.bytes;
  const std::array<std::uint8_t, 8> id{
      static_cast<std::uint8_t>(m[0] ^ 2U), m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
  std::ranges::copy(id, a.bytes.begin() + 8);
  return a;
}

/// ff02::1:ffXX:XXXX, the group on which the owner of the address listens, and its Ethernet
/// address.
std::pair<Tins::IPv6Address, Tins::HWAddress<6>> solicited_node(const tap::IpAddress& address) {
  std::array<std::uint8_t, 16> group{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::copy_n(address.bytes.begin() + 13, 3, group.begin() + 13);
  const std::array<std::uint8_t, 6> mac{0x33, 0x33, group[12], group[13], group[14], group[15]};
  return {Tins::IPv6Address(group.data()), Tins::HWAddress<6>(mac.data())};
}

}  // namespace

struct TcpProbe::Impl {
  enum class Stage : std::uint8_t { claim, resolve, ask, answered };

  Impl(Port& p, const TcpService& s, std::optional<tap::IpAddress> from)
      : port(p), service(s), mac(p.mac()), random(std::random_device()()) {
    if (from) {
      self = *from;
    } else if (s.address.is_v6()) {
      self = link_local(mac);
    } else {
      choose();
    }
  }

  /// Chooses another address of the service's /24, which the probe then claims.
  void choose() {
    self = service.address;
    while (self.bytes[3] == service.address.bytes[3] || self.bytes[3] == 0 || self.bytes[3] == 255)
      self.bytes[3] = static_cast<std::uint8_t>(random());
    stage = Stage::claim;
    questions = 0;
  }

  void send(Tins::EthernetII frame) {
    std::vector<std::uint8_t> bytes = frame.serialize();
    bytes.resize(std::max<std::size_t>(bytes.size(), 60));
    const FrameView view(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
    static_cast<void>(port.try_send({&view, 1}));
  }

  /// Sends an ARP request for `wanted`. `teller` is the sender address; 0.0.0.0 changes no ARP
  /// cache.
  void ask_arp(const tap::IpAddress& wanted, Tins::IPv4Address teller) {
    Tins::ARP arp(v4(wanted), teller, Tins::HWAddress<6>(), hardware(mac));
    arp.opcode(Tins::ARP::REQUEST);
    send(Tins::EthernetII("ff:ff:ff:ff:ff:ff", hardware(mac)) / arp);
  }

  void ask_neighbour() {
    const auto [group, group_mac] = solicited_node(service.address);
    Tins::ICMPv6 question(Tins::ICMPv6::NEIGHBOUR_SOLICIT);
    question.target_addr(v6(service.address));
    question.source_link_layer_addr(hardware(mac));
    Tins::IPv6 ip(group, v6(self));
    ip.hop_limit(255);
    send(Tins::EthernetII(group_mac, hardware(mac)) / ip / question);
  }

  void send_tcp(std::uint8_t flags, std::uint32_t number) {
    Tins::TCP tcp(service.port, source_port);
    tcp.flags(flags);
    tcp.seq(number);
    tcp.window(1024);
    const Tins::EthernetII ethernet(hardware(*peer), hardware(mac));
    if (self.is_v6()) {
      send(ethernet / Tins::IPv6(v6(service.address), v6(self)) / tcp);
    } else {
      send(ethernet / Tins::IP(v4(service.address), v4(self)) / tcp);
    }
  }

  void ask() {
    // Uses a new port for each question, so that a late answer does not count for a later question.
    source_port = static_cast<std::uint16_t>(kFirstPort + random() % (65536 - kFirstPort));
    sequence = static_cast<std::uint32_t>(random());
    send_tcp(Tins::TCP::SYN, sequence);
  }

  void take_arp(const Tins::ARP& arp) {
    const Tins::IPv4Address sender = arp.sender_ip_addr();
    const MacAddress from = MacAddress::read(arp.sender_hw_addr().begin());
    if (from == mac) return;
    if (stage == Stage::claim) {
      const bool claims = sender == v4(self);
      const bool probes_too = sender == Tins::IPv4Address() && arp.target_ip_addr() == v4(self);
      if (claims || probes_too) choose();
      return;
    }
    if (sender == v4(service.address) && !peer) found(from);
    if (arp.opcode() == Tins::ARP::REQUEST && arp.target_ip_addr() == v4(self)) {
      Tins::ARP answer(sender, v4(self), arp.sender_hw_addr(), hardware(mac));
      answer.opcode(Tins::ARP::REPLY);
      send(Tins::EthernetII(arp.sender_hw_addr(), hardware(mac)) / answer);
    }
  }

  void take_icmp(const Tins::EthernetII& ethernet, const Tins::IPv6& ip, const Tins::ICMPv6& icmp) {
    if (icmp.type() == Tins::ICMPv6::NEIGHBOUR_ADVERT &&
        icmp.target_addr() == v6(service.address) && !peer) {
      const bool told = icmp.search_option(Tins::ICMPv6::TARGET_ADDRESS) != nullptr;
      found(MacAddress::read((told ? icmp.target_link_layer_addr() : ethernet.src_addr()).begin()));
    }
    if (icmp.type() == Tins::ICMPv6::NEIGHBOUR_SOLICIT && icmp.target_addr() == v6(self) &&
        ip.src_addr() != Tins::IPv6Address()) {
      Tins::ICMPv6 answer(Tins::ICMPv6::NEIGHBOUR_ADVERT);
      answer.target_addr(v6(self));
      answer.solicited(1);
      answer.override(1);
      answer.target_link_layer_addr(hardware(mac));
      Tins::IPv6 back(ip.src_addr(), v6(self));
      back.hop_limit(255);
      send(Tins::EthernetII(ethernet.src_addr(), hardware(mac)) / back / answer);
    }
  }

  void found(MacAddress there) {
    peer = there;
    stage = Stage::ask;
    next = {};
    retry = kFirstRetry;
  }

  void take_tcp(const Tins::TCP& tcp) {
    if (stage != Stage::ask || tcp.sport() != service.port || tcp.dport() != source_port ||
        tcp.ack_seq() != sequence + 1) {
      return;
    }
    if ((tcp.flags() & Tins::TCP::RST) != 0) {
      refused = true;
    } else if ((tcp.flags() & (Tins::TCP::SYN | Tins::TCP::ACK)) ==
               (Tins::TCP::SYN | Tins::TCP::ACK)) {
      send_tcp(Tins::TCP::RST, sequence + 1);
      stage = Stage::answered;
    }
  }

  Port& port;
  TcpService service;
  MacAddress mac;
  tap::IpAddress self;
  std::mt19937 random;
  Stage stage = Stage::resolve;
  unsigned questions = 0;  ///< how many were sent to find out whether another host has `self`
  std::optional<MacAddress> peer;
  std::uint16_t source_port = 0;
  std::uint32_t sequence = 0;
  bool refused = false;
  Clock::time_point next;
  milliseconds retry = kFirstRetry;
};

TcpProbe::TcpProbe(Port& port, const TcpService& service, std::optional<tap::IpAddress> from)
    : impl_(std::make_unique<Impl>(port, service, from)) {}
TcpProbe::~TcpProbe() = default;

Clock::time_point TcpProbe::tick(Clock::time_point now) {
  Impl& i = *impl_;
  if (now < i.next) return i.next;
  if (i.stage == Impl::Stage::claim && i.questions == kClaimQuestions)
    i.stage = Impl::Stage::resolve;
  switch (i.stage) {
    case Impl::Stage::claim:
      ++i.questions;
      i.ask_arp(i.self, Tins::IPv4Address());
      i.next = now + kClaimWait;
      return i.next;
    case Impl::Stage::resolve:
      if (i.self.is_v6()) {
        i.ask_neighbour();
      } else {
        i.ask_arp(i.service.address, v4(i.self));
      }
      break;
    case Impl::Stage::ask: i.ask(); break;
    case Impl::Stage::answered: return now;
  }
  i.next = now + i.retry;
  i.retry = std::min(2 * i.retry, kLongestRetry);
  return i.next;
}

void TcpProbe::take(const FrameView& frame) {
  Impl& i = *impl_;
  try {
    const Tins::EthernetII ethernet(reinterpret_cast<const std::uint8_t*>(frame.bytes.data()),
                                    static_cast<std::uint32_t>(frame.size()));
    if (const auto* const arp = ethernet.find_pdu<Tins::ARP>()) {
      if (!i.self.is_v6()) i.take_arp(*arp);
      return;
    }
    const auto* const ip4 = ethernet.find_pdu<Tins::IP>();
    const auto* const ip6 = ethernet.find_pdu<Tins::IPv6>();
    if (ip6 != nullptr && i.self.is_v6()) {
      if (const auto* const icmp = ethernet.find_pdu<Tins::ICMPv6>()) {
        i.take_icmp(ethernet, *ip6, *icmp);
      }
    }
    const bool from_service = i.self.is_v6()
                                  ? ip6 != nullptr && ip6->src_addr() == v6(i.service.address) &&
                                        ip6->dst_addr() == v6(i.self)
                                  : ip4 != nullptr && ip4->src_addr() == v4(i.service.address) &&
                                        ip4->dst_addr() == v4(i.self);
    if (const auto* const tcp = ethernet.find_pdu<Tins::TCP>(); tcp != nullptr && from_service) {
      i.take_tcp(*tcp);
    }
  } catch (const Tins::exception_base&) {
    return;  // malformed frame
  }
}

bool TcpProbe::answered() const noexcept {
  return impl_->stage == Impl::Stage::answered;
}

std::optional<MacAddress> TcpProbe::host() const {
  return impl_->peer;
}

void TcpProbe::look_for_another() {
  Impl& i = *impl_;
  if (!i.peer || i.stage == Impl::Stage::answered) return;
  i.peer.reset();
  i.stage = Impl::Stage::resolve;
  i.refused = false;
  i.next = {};
  i.retry = kFirstRetry;
}

std::string TcpProbe::why() const {
  const Impl& i = *impl_;
  const std::string host = i.service.address.to_string();
  if (!i.peer) return "no host on the bus has the address " + host;
  const std::string at = host + " is at " + i.peer->to_string();
  if (i.refused) return at + ", but nothing listens on port " + std::to_string(i.service.port);
  return at + ", but does not answer " + i.self.to_string();
}

extern "C" const Packets shmifctl_packets{
    SHMIFCTL_PACKETS_INTERFACE, decode,
    [](Port& port, const TcpService& service,
       std::optional<tap::IpAddress> from) -> std::unique_ptr<ServiceProbe> {
      return std::make_unique<TcpProbe>(port, service, from);
    }};

}  // namespace shmif::tools
