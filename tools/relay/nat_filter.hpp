#pragma once
// NatFilter: which frames pass between a bus and the program behind a gateway.
//
// For each packet that it receives, the program opens a socket of this machine's user, and the
// kernel connects that socket to the packet's destination. So this filter decides which
// destinations are allowed. It does not rely on the program to refuse any. The near side of a
// packet is the bus: its source on the way out, and its destination on the way in. The far side is
// the other address. Rules F1 to F5 are the same for both ways:
//
//   F1  A frame is plain Ethernet with IPv4 or ARP. IPv6, VLAN tags and all else are refused.
//   F2  A packet can be read in one way only: it is IPv4 without options, its lengths agree, and it
//       is whole, not a fragment. (libslirp 4.7 crashes when fragments come out of order.) A TCP
//       connection begins with options that can be read, and a segment size that stacks use (passt
//       of 2023 divides by it). Only these ICMP packets pass: pings on the way out; on the way in,
//       answers to pings, and errors.
//   F3  The near side is a host of the network. The far side is in no range of kNeverFar in
//       nat_filter.cpp (loopback, link-local, multicast and broadcast addresses), and this
//       machine's routes do not lead to many machines there.
//   F4  Inside the network itself, only the gateway and its name server can be the far side, each
//       with the services of kServices: DHCP, DNS, pings. With NatWish::loopback, every service of
//       the gateway is allowed.
//   F5  Frames for the MAC addresses of others are refused; the bus floods frames whose receiver it
//       does not know. Only DHCP may be broadcast. An ARP frame asks for, or announces, an address
//       that F3 and F4 allow.
//   F6  Only answers to a host come in from outside: packets of its flows, and ICMP errors that
//       quote one (tools/relay/nat_flows.hpp). DHCP and ARP of the gateway have no flows.
//
// Refused frames are counted by reason. ICMP tells a host that addressed the gateway.

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "shmif/frame.hpp"
#include "shmif/link.hpp"
#include "tools/common/json.hpp"
#include "tools/relay/nat_flows.hpp"
#include "tools/relay/nat_process.hpp"

namespace shmif::tools {

/// Why the filter refuses a frame.
enum class NatRefusal : std::uint8_t {
  protocol,    ///< F1: neither IPv4 nor ARP, or tagged
  unreadable,  ///< F2
  fragment,    ///< F2
  other_icmp,  ///< F2: ICMP that neither program passes on
  stranger,    ///< F3: the near side is not a host of the network
  loopback,    ///< F3: 0.0.0.0/8 or 127.0.0.0/8
  link_local,  ///< F3: 169.254.0.0/16
  group,       ///< F3: multicast and broadcast
  closed,      ///< F4: not a service of the gateway
  others,      ///< F4, F5: between other hosts of the bus
  unasked,     ///< F6: from outside, and not an answer
  crowd,       ///< F6: from a host, and there is no room for its flows
};
inline constexpr std::size_t kNatRefusals = 12;

/// Threads: one at a time; any thread may call refused(), to_text() and to_json(). Blocks: never,
/// except for `to_many`.
class NatFilter {
 public:
  /// `wish.program` must be set. `to_many` says whether the kernel's routes lead an address to many
  /// machines. The filter asks it about each address before a host reaches it, also if a host scans
  /// many. It asks every 5 s about an address that hosts go on using.
  NatFilter(const NatWish& wish, std::function<bool(std::uint32_t)> to_many,
            const NatFlowLimits& limits = {});

  /// Why the frame does not pass; empty if it passes. Notes flows, but does not count refusals and
  /// does not answer. `now` never goes back.
  std::optional<NatRefusal> judge(NatWay way, const FrameView& frame, NatFlows::Time now);
  /// The same as an interceptor of the bridge: it also counts, and answers by ICMP through `back`.
  /// Result: true if the frame is refused.
  bool keep(NatWay way, const FrameView& frame, AnyLink& back);

  /// How many frames of that way were refused.
  std::uint64_t refused(NatWay way) const noexcept;
  /// The refused frames by reason: "7 frames were refused (4 IPv6 or other protocols, 3 multicast
  /// or broadcast)"; empty if all frames passed.
  std::string to_text() const;
  /// The same as an object with a number for each reason, also if it is 0.
  Json to_json() const;

 private:
  struct Packet;
  static std::optional<NatRefusal> read(NatWay way, std::span<const std::byte> bytes,
                                        Packet& packet);
  std::optional<NatRefusal> judge_arp(NatWay way, std::span<const std::byte> bytes) const noexcept;
  std::optional<NatRefusal> judge_ip(NatWay way, const FrameView& frame, NatFlows::Time now);
  std::optional<NatRefusal> judge_far(std::uint32_t far) const noexcept;
  std::optional<NatRefusal> judge_service(NatWay way, const Packet& packet) const noexcept;
  std::optional<NatRefusal> judge_flow(NatWay way, const Packet& packet,
                                       NatFlows::Time now) noexcept;
  /// Of both ways, by the number of the reason.
  std::array<std::uint64_t, kNatRefusals> refused_by_reason() const noexcept;
  bool is_served(std::uint32_t address) const noexcept;
  bool is_host(std::uint32_t address) const noexcept;
  bool is_mine(const MacAddress& mac) const noexcept;
  bool leads_to_many(std::uint32_t address, NatFlows::Time now);
  void answer(const FrameView& frame, AnyLink& back) noexcept;

  using Clock = std::chrono::steady_clock;
  struct Count {
    std::array<std::atomic<std::uint64_t>, kNatRefusals> of{};
  };
  std::uint32_t network_, mask_, gateway_;
  std::uint32_t name_server_;  ///< 0 if there is none; it can be the gateway
  bool passt_, loopback_, link_local_;
  MacAddress gateway_mac_, name_server_mac_;
  struct Asked {
    std::uint32_t address = 0;
    bool to_many = false;
    NatFlows::Time until = NatFlows::Time::min();  ///< min() if not asked yet
  };
  std::function<bool(std::uint32_t)> to_many_;
  std::array<Asked, 4096> asked_{};  ///< at an index made of some bits of the address
  Clock::time_point answers_since_{};
  unsigned answers_ = 0;
  std::array<Count, 2> counts_;  ///< of each way
  NatFlows flows_;
};

}  // namespace shmif::tools
