#include "tools/relay/nat_flows.hpp"

#include <netinet/in.h>
#include <sys/random.h>

#include <bit>
#include <new>
#include <type_traits>

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

}  // namespace shmif::tools
