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

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

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

}  // namespace shmif::tools
