#pragma once
// NatFlows: decides who may answer whom through a gateway.
//
// A *flow* is the exchange between a host and an address outside. Protocol, both addresses and both
// ports identify it (for pings, the identifier). Packets of hosts make flows. A packet from outside
// passes only if it belongs to a flow. So outsiders cannot begin a flow, even if the program behind
// the gateway listens.
//
//   T1  Only out() makes a flow or lets it live longer. in() can end it: a flow that both sides
//       have closed, or that one of them has reset, is transitory from then on.
//   T2  A flow ends when its host has been silent for its time (RFC 4787, RFC 5382, RFC 5508):
//
//         UDP                                             5 min
//         TCP, once both sides have spoken                2 h 4 min
//         TCP before that, and once closed (transitory)   4 min
//         pings                                           1 min
//
//       It lives up to kGrain longer, and never shorter: it moves in its lists at most once in
//       kGrain.
//   T3  Each host has room for NatFlowLimits::of_host flows, which no other host can use. A host
//       without room loses its own oldest flow. It loses an established one only if all its flows
//       are established.
//   T4  At most NatFlowLimits::hosts hosts have flows. While so many have flows, a new host cannot
//       get one.
//   T5  A call takes constant time and allocates no memory, whatever hosts do. A call that finds no
//       room for a host removes all flows whose time is up; the calls that made these flows have
//       paid for that. A secret keeps hosts from choosing flows that are found slowly. Memory for
//       room that was never needed is never touched.

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shmif/frame.hpp"
#include "shmif/link.hpp"
#include "tools/common/json.hpp"
#include "tools/relay/nat_process.hpp"

namespace shmif::tools {

/// Which way a frame goes.
enum class NatWay : std::uint8_t { out, in };

struct NatFlow {
  std::uint32_t near = 0, far = 0;            ///< the addresses of the host and of the other side
  std::uint16_t near_port = 0, far_port = 0;  ///< for pings, near_port is the identifier
  std::uint8_t protocol = 0;

  bool operator==(const NatFlow&) const = default;
};

struct NatFlowLimits {
  std::uint32_t hosts = 256;  ///< a bus has as many ports
  std::uint32_t of_host = 2048;
};

/// Flags of a TCP header, as far as flows depend on them.
inline constexpr std::uint8_t kTcpFin = 0x01, kTcpSyn = 0x02, kTcpRst = 0x04, kTcpAck = 0x10;

/// Threads: one at a time. Blocks: never.
class NatFlows {
 public:
  using Time = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::seconds kDatagrams{300}, kEstablished{7440}, kTransitory{240},
      kEcho{60}, kGrain{1};

  explicit NatFlows(const NatFlowLimits& limits = {});

  /// Notes a packet of a host. `tcp_flags`: 0 for other protocols. `now` never goes back. Result:
  /// false if the host gets no flow (T4).
  bool out(const NatFlow& flow, std::uint8_t tcp_flags, Time now) noexcept;
  /// Notes a packet from outside. Result: whether it answers a flow; a SYN without ACK never does.
  bool in(const NatFlow& flow, std::uint8_t tcp_flags, Time now) noexcept;
  /// Whether this flow exists.
  bool has(const NatFlow& flow, Time now) const noexcept { return find(flow, now) != kNone; }

 private:
  using Index = std::uint32_t;  ///< number of an entry, from 1 on
  static constexpr Index kNone = 0;

  enum Kind : std::uint8_t { datagrams, established, transitory, echo };
  static constexpr std::size_t kKinds = 4;

  struct Links {
    Index before, after;
  };
  struct List {
    Index first = kNone, last = kNone;
  };
  struct Entry {
    NatFlow flow;
    Time end;
    Index next;        ///< in its chain, or among the free entries of its host
    Links by_end;      ///< in the list of its kind
    Links by_host;     ///< in one of the two lists of its host
    std::uint8_t tcp;  ///< flags of what was seen
    Kind kind;
  };
  struct Host {
    std::uint32_t address = 0;
    std::uint32_t next = kNoHost;  ///< in its chain
    std::uint32_t touched = 0;     ///< how many of its entries were ever used
    std::uint32_t flows = 0;
    Index free = kNone;      ///< entries that were used
    List lasting, fleeting;  ///< established TCP, and the rest; the oldest first
  };
  static constexpr std::uint32_t kNoHost = 0xffffffff;
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  template <class T>
  using Zeroed = std::unique_ptr<T[], Free>;  ///< the kernel gives it memory when it is used

  std::size_t chain_of(const NatFlow& flow) const noexcept;
  Index find(const NatFlow& flow) const noexcept;
  Index find(const NatFlow& flow, Time now) const noexcept;
  std::uint32_t host_for(std::uint32_t address, Time now) noexcept;
  void release(Host& host) noexcept;
  Index make(const NatFlow& flow, std::uint8_t tcp_flags, Time now) noexcept;
  void remove(Index index) noexcept;
  void expire(Time now, std::size_t max) noexcept;
  void live_on(Index index, Time now) noexcept;
  void link(Index index, Time now) noexcept;
  void unlink(Index index) noexcept;
  void append(List& list, Links Entry::* links, Index index) noexcept;
  void take(List& list, Links Entry::* links, Index index) noexcept;
  Host& host_of(Index index) noexcept { return hosts_[(index - 1) / limits_.of_host]; }
  List& list_of_host(Index index) noexcept;

  NatFlowLimits limits_;
  std::uint64_t secret_ = 0;
  std::size_t chain_mask_;
  Zeroed<Entry> entries_;
  Zeroed<Index> chains_;
  List kinds_[kKinds];  ///< in each, the flow that ends first comes first
  std::vector<Host> hosts_;
  std::vector<std::uint32_t> free_hosts_, host_chains_;
  std::size_t flows_ = 0;
};

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
//       quote one (NatFlows). DHCP and ARP of the gateway have no flows.
//
// Refused frames are counted by reason. ICMP tells a host that addressed the gateway.

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
