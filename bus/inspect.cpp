#include "bus/inspect.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "bus/audit.hpp"
#include "bus/file.hpp"
#include "bus/geometry.hpp"
#include "bus/liveness.hpp"
#include "bus/mapping.hpp"
#include "bus/port_table.hpp"
#include "bus/ring.hpp"

namespace shmif::bus {
namespace {

constexpr std::uint32_t kLinkKinds = static_cast<std::uint32_t>(LinkKind::pcap) + 1;

PortInfo port_info(const PortSlot& s, unsigned slot, int fd) {
  PortInfo p;
  const std::uint32_t flags = load_relaxed(s.flags);
  const std::uint32_t link = load_relaxed(s.link);
  p.slot = slot;
  p.name = slot_name(s);
  p.live = is_alive(fd, slot);
  p.pid = static_cast<std::int32_t>(load_relaxed(s.pid));
  p.mac = MacAddress::from_u64(load_relaxed(s.mac));
  p.link = static_cast<LinkKind>(link < kLinkKinds ? link : 0);
  p.up = p.live && (flags & kFlagUp) != 0;
  p.pause = (flags & kFlagPause) != 0;
  p.promiscuous = (flags & (kFlagPromiscuous | kFlagLearnedTooMany)) != 0;
  p.tx_frames = load_relaxed(s.tx_frames);
  p.tx_bytes = load_relaxed(s.tx_bytes);
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
  return p;
}

}  // namespace

struct Inspector::Impl {
  std::string path;
  OpenFile file;
  Mapping mapping;
  Ring ring;
};

Inspector::Inspector(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Inspector::Inspector(Inspector&&) noexcept = default;
Inspector& Inspector::operator=(Inspector&&) noexcept = default;
Inspector::~Inspector() = default;

Result<Inspector> Inspector::open(const std::string& path, bool writable) {
  auto file = open_file(path, writable, !writable);
  if (!file) return file.error();
  auto mapping = Mapping::map(file->fd.get(), file->header.ring_bytes, writable, false);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot look into the bus " + path + ": " + mapping.error().message);
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->file = *std::move(file);
  impl->mapping = *std::move(mapping);
  impl->ring = Ring(impl->mapping, max_frame_bytes(impl->file.header.mtu));
  return Inspector(std::move(impl));
}

BusInfo Inspector::info() const {
  const BusHeader& fixed = impl_->file.header;
  const BusHeader& h = impl_->ring.header();
  BusInfo b;
  b.path = impl_->path;
  b.ring_bytes = fixed.ring_bytes;
  b.mtu = fixed.mtu;
  b.max_record_bytes = fixed.max_record;
  b.slots = kSlots;
  b.layout_signature = fixed.layout_signature;
  b.inode = fixed.inode;
  b.file_system = file_system_name(fixed.file_system);
  b.created_ns = fixed.created_ns;
  b.first = load_acquire(h.first);
  b.last = load_acquire(h.last);
  b.generation = b.last / fixed.ring_bytes;
  b.frames = impl_->ring.number_at(b.last);
  b.epoch = load_relaxed(h.epoch);
  const std::uint64_t lock = load_relaxed(h.lock);
  if (!lock_word::is_free(lock)) b.lock_holder = lock_word::holder(lock);
  b.lock_acquisitions = lock_word::acquisitions(lock);
  b.takeovers_dead = load_relaxed(h.takeovers_dead);
  b.takeovers_living = load_relaxed(h.takeovers_living);
  const std::uint64_t used = std::min<std::uint64_t>(load_acquire(h.slots_used), kSlots);
  for (unsigned i = 0; i < used; ++i) {
    const PortSlot& s = impl_->ring.slot(i);
    if (state_of(load_acquire(s.state)) == SlotState::free) continue;
    PortInfo p = port_info(s, i, impl_->file.fd.get());
    // A writer at work has a claim too; one that stands is of another acquisition than the lock's.
    const std::uint64_t owner = load_acquire(s.claim_owner);
    if (owner != 0 && owner != lock)
      p.claim_bytes = load_relaxed(s.claim_end) - load_relaxed(s.claim_begin);
    b.ports.push_back(std::move(p));
  }
  return b;
}

AuditReport Inspector::audit() const {
  return audit_bus(impl_->ring, impl_->file.header, impl_->file.fd.get());
}

Result<RepairReport> Inspector::repair() {
  return repair_bus(impl_->ring, impl_->file.header, impl_->file.fd.get());
}

const std::string& Inspector::warning() const noexcept {
  return impl_->file.warning;
}

namespace {

Result<void> remove_file(const std::string& path) {
  if (unlink(path.c_str()) == 0) return {};
  return Error::from_errno(errno, "cannot remove the bus " + path);
}

/// With force, anything that begins like a bus.
bool begins_like_a_bus(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  std::uint64_t magic = 0;
  return fd && pread(fd.get(), &magic, sizeof magic, 0) == static_cast<ssize_t>(sizeof magic) &&
         magic == kMagic;
}

}  // namespace

Result<void> destroy(const std::string& path, bool force) {
  auto bus = Inspector::open(path, false);
  if (!bus) {
    if (force && begins_like_a_bus(path)) return remove_file(path);
    return bus.error();
  }
  const BusInfo info = bus->info();
  const auto live =
      std::count_if(info.ports.begin(), info.ports.end(), [](const PortInfo& p) { return p.live; });
  if (live > 0 && !force) {
    const auto port = std::find_if(info.ports.begin(), info.ports.end(),
                                   [](const PortInfo& p) { return p.live; });
    return Error(Errc::busy, "cannot remove the bus " + path + ": " + std::to_string(live) +
                                 (live == 1 ? " live port is" : " live ports are") +
                                 " attached, such as \"" + port->name + "\" of process " +
                                 std::to_string(port->pid) + " (stop them, or use --force)");
  }
  return remove_file(path);
}

}  // namespace shmif::bus
