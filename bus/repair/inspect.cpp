#include "bus/repair/inspect.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <utility>

#include "base/files.hpp"
#include "bus/file/file.hpp"
#include "bus/file/file_system.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/liveness.hpp"
#include "bus/file/mapping.hpp"
#include "bus/learned_word.hpp"
#include "bus/port/port_table.hpp"
#include "bus/repair/audit.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {
namespace {

/// The kind of a port. to_string() calls a kind "unknown" that this build does not know.
LinkKind link_kind(const PortSlot& s) {
  constexpr std::uint32_t kLargest = std::numeric_limits<std::uint8_t>::max();
  return static_cast<LinkKind>(std::min(load_relaxed(s.link), kLargest));
}

/// The address of a port; zeros if the row has something that no port can have.
MacAddress mac_of(const PortSlot& s) {
  const std::uint64_t word = load_relaxed(s.mac);
  const MacAddress mac = MacAddress::from_u64(word);
  return mac.is_unicast() && mac.to_u64() == word ? mac : MacAddress{};
}

/// The process of a port; 0 if the row has a number that no process has.
std::int32_t pid_of(const PortSlot& s) {
  constexpr std::uint32_t kMaxPids = 1U << 22U;  // PID_MAX_LIMIT of the kernel
  const std::uint32_t pid = load_relaxed(s.pid);
  return pid < kMaxPids ? static_cast<std::int32_t>(pid) : 0;
}

/// The size of a standing claim. Empty if the claim does not end after its beginning, or is longer
/// than the ring; the audit reports such a claim.
std::optional<std::uint64_t> claim_bytes(const PortSlot& s, std::uint64_t ring_bytes) {
  const std::uint64_t begin = load_relaxed(s.claim_begin);
  const std::uint64_t end = load_relaxed(s.claim_end);
  if (begin >= end || end - begin > ring_bytes) return std::nullopt;
  return end - begin;
}

/// The last owner of a free slot. A new owner locks the slot before it writes its name there. So
/// everything that was read while the slot was not locked belongs to one owner.
std::optional<FormerPort> former_port(const PortSlot& s, unsigned slot, int fd) {
  const std::uint64_t state = load_acquire(s.state);
  FormerPort p;
  p.slot = slot;
  p.incarnation = static_cast<std::uint32_t>(incarnation_of(state));
  p.name = slot_name(s);
  p.mac = mac_of(s);
  p.link = link_kind(s);
  p.tx_frames = load_relaxed(s.tx_frames);
  p.tx_bytes = load_relaxed(s.tx_bytes);
  p.tx_segments = p.tx_frames + load_relaxed(s.tx_more_segments);
  fence_loads();
  if (incarnation_of(state) == 0 || p.name.empty() || is_alive(fd, slot)) return std::nullopt;
  if (load_acquire(s.state) != state) return std::nullopt;
  return p;
}

/// PortInfo::unread_bytes of a port that is up, on a bus whose newest frame ends at `last`.
std::uint64_t unread_bytes(const PortSlot& s, std::uint64_t last) {
  const std::uint64_t rung = load_acquire(s.rung_position);
  if (rung == kAsleep) return 0;  // what came since is for others
  std::uint64_t position = load_relaxed(s.position);
  if ((rung & kRungEarly) == 0) position = std::max(position, rung);
  return last - std::min(last, position);
}

/// PortInfo::other_macs. A word that no port writes was overwritten: what is not a MAC address, and
/// group addresses, which a port neither learns nor lists.
std::vector<MacAddress> other_macs(const PortSlot& s) {
  std::vector<MacAddress> macs;
  for (const std::uint64_t& each : s.learned) {
    const std::uint64_t word = load_relaxed(each);
    if (word == 0) break;  // unused, as all behind it
    if (word == learned_word(0)) macs.push_back(MacAddress::from_u64(0));
    if (const MacAddress mac = MacAddress::from_u64(word);
        word < learned_word(0) && !mac.is_group())
      macs.push_back(mac);
  }
  return macs;
}

PortInfo port_info(const PortSlot& s, unsigned slot, int fd) {
  PortInfo p;
  const std::uint64_t state = load_acquire(s.state);
  const std::uint32_t flags = load_relaxed(s.flags);
  p.slot = slot;
  p.name = slot_name(s);
  p.live = is_alive(fd, slot);
  p.pid = pid_of(s);
  p.mac = mac_of(s);
  p.link = link_kind(s);
  p.up = p.live && (flags & kFlagUp) != 0;
  p.carrier_known = (flags & kFlagCarrierUnknown) == 0;
  p.carrier = !p.carrier_known || (flags & kFlagNoCarrier) == 0;
  p.pause = (flags & kFlagPause) != 0;
  p.promiscuous = (flags & (kFlagPromiscuous | kFlagLearnedTooMany)) != 0;
  p.other_macs = other_macs(s);
  p.position = load_relaxed(s.position);
  p.tx_frames = load_relaxed(s.tx_frames);
  p.tx_bytes = load_relaxed(s.tx_bytes);
  p.refused_frames = load_relaxed(s.refused_frames);
  p.rx_frames = load_relaxed(s.rx_frames);
  p.rx_bytes = load_relaxed(s.rx_bytes);
  p.own_frames = load_relaxed(s.own_frames);
  p.filtered_frames = load_relaxed(s.filtered_frames);
  p.skipped_frames = load_relaxed(s.skipped_frames);
  p.overruns = load_relaxed(s.overruns);
  p.lost_frames = load_relaxed(s.lost_frames);
  p.lost_bytes = load_relaxed(s.lost_bytes);
  p.corrupt = load_relaxed(s.corrupt);
  p.wakeups = load_relaxed(s.wakeups);
  p.doorbells = load_relaxed(s.doorbells);
  p.lock_sleeps = load_relaxed(s.lock_sleeps);
  p.pauses = load_relaxed(s.pauses);
  p.paused_ns = load_relaxed(s.paused_ns);
  p.stalls = load_relaxed(s.stalls);
  p.tx_segments = p.tx_frames + load_relaxed(s.tx_more_segments);
  p.rx_segments = p.rx_frames + load_relaxed(s.rx_more_segments);
  p.too_long_frames = load_relaxed(s.too_long_frames);
  if (const std::uint32_t other = load_relaxed(s.waits_for); other != 0 && other <= kSlots)
    p.waits_for = other - 1;
  fence_loads();
  if (load_acquire(s.state) == state)
    p.incarnation = static_cast<std::uint32_t>(incarnation_of(state));
  return p;
}

/// The file that is mapped at `address`, as /proc/PID/maps names it.
std::string name_in_maps(const void* address) {
  std::ifstream maps("/proc/self/maps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  for (std::string line; std::getline(maps, line);) {
    auto range = base::read_maps_line(line);
    if (range && range->begin <= wanted && wanted < range->end) return std::move(range->file);
  }
  return {};
}

}  // namespace

struct NativeInspector::Impl {
  std::string path;
  OpenFile file;
  Mapping mapping;
  Ring ring;
  std::string mapped_as;
};

NativeInspector::NativeInspector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NativeInspector::~NativeInspector() = default;

Result<std::unique_ptr<Inspector>> NativeInspector::open(OpenFile file, const std::string& path,
                                                         Access access) {
  auto mapping = Mapping::map(file.fd.get(), file.header.ring_bytes, access);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot look into the bus " + path + ": " + mapping.error().message);
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->file = std::move(file);
  impl->mapping = *std::move(mapping);
  impl->mapped_as = name_in_maps(&impl->mapping.header());
  impl->ring = Ring(impl->mapping, max_frame_bytes(impl->file.header.mtu));
  return std::unique_ptr<Inspector>(new NativeInspector(std::move(impl)));
}

BusInfo NativeInspector::info() const {
  const BusHeader& fixed = impl_->file.header;
  const BusHeader& h = impl_->ring.header();
  BusInfo b;
  b.path = impl_->path;
  b.ring_bytes = fixed.ring_bytes;
  b.mtu = fixed.mtu;
  b.max_record_bytes = fixed.max_record;
  b.slots = kSlots;
  b.carries_offloads = impl_->ring.carries_offloads();
  b.flow = fixed.flow == kFlowPause ? Flow::pause : Flow::ethernet;
  b.patience_ns = fixed.patience_ns;
  b.layout_signature = fixed.layout_signature;
  b.device = impl_->mapping.file().device;
  b.inode = impl_->mapping.file().inode;
  b.mapped_as = impl_->mapped_as;
  b.is_copy = fixed.inode != b.inode || fixed.file_system != impl_->file.file_system;
  b.file_system = file_system_name(fixed.file_system);
  b.created_ns = fixed.created_ns;
  // Senders move `first` in front of `last`. Only if it stayed are the two of one moment.
  constexpr int kReads = 16;
  for (int i = 0; i < kReads; ++i) {
    b.first = load_acquire(h.first);
    b.last = load_acquire(h.last);
    if (load_acquire(h.first) == b.first) break;
  }
  b.generation = b.last / fixed.ring_bytes;
  b.frames = impl_->ring.fits_alignment(b.last) ? impl_->ring.number_at(b.last) : 0;
  b.epoch = load_relaxed(h.epoch);
  const std::uint64_t lock = load_relaxed(h.lock);
  if (!lock_word::is_free(lock)) b.lock_holder = lock_word::holder(lock);
  b.lock_acquisitions = lock_word::acquisitions(lock);
  b.takeovers_dead = load_relaxed(h.takeovers_dead);
  b.takeovers_living = load_relaxed(h.takeovers_living);
  if (const std::uint64_t hold = load_relaxed(h.longest_hold_ns); hold != 0)
    b.longest_hold_ns = hold;
  b.claims_freed = load_relaxed(h.claims_freed);
  b.repairs = load_relaxed(h.repairs);
  const std::uint64_t used = std::min<std::uint64_t>(load_acquire(h.slots_used), kSlots);
  for (unsigned i = 0; i < used; ++i) {
    const PortSlot& s = impl_->ring.slot(i);
    if (state_of(load_acquire(s.state)) == SlotState::free) {
      if (auto former = former_port(s, i, impl_->file.fd.get()))
        b.former_ports.push_back(*std::move(former));
      continue;
    }
    PortInfo p = port_info(s, i, impl_->file.fd.get());
    if (p.up) p.unread_bytes = unread_bytes(s, b.last);
    // A writer at work has a claim, too. A standing claim belongs to another acquisition than the
    // present one.
    const std::uint64_t owner = load_acquire(s.claim_owner);
    if (owner != 0 && owner != lock) p.claim_bytes = claim_bytes(s, b.ring_bytes);
    b.ports.push_back(std::move(p));
  }
  return b;
}

AuditReport NativeInspector::audit() const {
  return audit_bus(impl_->ring, impl_->file.header, impl_->file.fd.get());
}

Result<RepairReport> NativeInspector::repair(const RepairOptions& /*options*/) {
  return repair_bus(impl_->ring, impl_->file.header, impl_->file.fd.get());
}

int NativeInspector::descriptor() const noexcept {
  return impl_->file.fd.get();
}

const std::string& NativeInspector::path() const noexcept {
  return impl_->path;
}

const std::string& NativeInspector::warning() const noexcept {
  return impl_->file.warning;
}

std::string NativeInspector::hidden_by() const {
  const std::uint64_t where = impl_->file.file_system;
  return harm_on_file_system(where) != nullptr ? file_system_name(where) : std::string();
}

}  // namespace shmif::bus
