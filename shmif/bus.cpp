#include "shmif/bus.hpp"

#include "bus/destroy.hpp"
#include "bus/file.hpp"
#include "bus/geometry.hpp"
#include "bus/header_repair.hpp"
#include "bus/inspect.hpp"
#include "bus/sigbus_guard.hpp"

#include <sys/stat.h>

namespace shmif {
namespace {

bus::CreateOptions to_create(const BusOptions& o) noexcept {
  const bool pauses = o.flow == Flow::pause;
  return {o.ring_bytes, o.mtu, o.mode, pauses ? bus::kFlowPause : bus::kFlowEthernet,
          pauses ? static_cast<std::uint64_t>(o.patience.count()) : 0};
}

/// B1: what was asked for must be what is there.
Result<void> compare(const std::string& path, const BusOptions& wanted, bool ring_bytes_asked,
                     bool mtu_asked) {
  const auto bus = bus::Inspector::open(path, false);
  if (!bus) return bus.error();
  const BusInfo is = bus->info();
  const bool size_differs = ring_bytes_asked && is.ring_bytes != wanted.ring_bytes;
  const bool mtu_differs = mtu_asked && is.mtu != wanted.mtu;
  if (!size_differs && !mtu_differs) return {};
  const std::string has = size_differs ? "a ring of " + std::to_string(is.ring_bytes) + " bytes"
                                       : "an MTU of " + std::to_string(is.mtu);
  const std::string asked =
      size_differs ? std::to_string(wanted.ring_bytes) : std::to_string(wanted.mtu);
  return Error(Errc::geometry_differs,
               "the bus " + path + " exists with " + has + ", " + asked +
                   " was asked for (leave the option out, or destroy the bus first)");
}

}  // namespace

const char* to_string(LinkKind kind) noexcept {
  switch (kind) {
    case LinkKind::library: return "library";
    case LinkKind::tap: return "tap";
    case LinkKind::veth: return "veth";
    case LinkKind::packet: return "packet";
    case LinkKind::dump: return "dump";
    case LinkKind::inject: return "inject";
    case LinkKind::ping: return "ping";
    case LinkKind::bridge: return "bridge";
    case LinkKind::pcap: return "pcap";
  }
  return "unknown";
}

bool BusOptions::carries_offloads() const noexcept {
  return bus::max_record_of(ring_bytes, mtu) == bus::kSuperFrameRecord;
}

struct Bus::Impl {
  bus::Inspector inspector;
};

Bus::Bus(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Bus::Bus(Bus&&) noexcept = default;
Bus& Bus::operator=(Bus&&) noexcept = default;
Bus::~Bus() = default;

Result<void> Bus::create(const std::string& path, const BusOptions& options) {
  return bus::create_file(path, to_create(options));
}

Result<void> Bus::create_if_missing(const std::string& path, const BusOptions& options,
                                    bool ring_bytes_asked, bool mtu_asked) {
  struct stat status{};
  if (lstat(path.c_str(), &status) != 0) {
    auto made = bus::create_file(path, to_create(options));
    if (made || made.error().code != Errc::exists) return made;
    // Somebody else was first. Its file was complete before it had this name.
  }
  if (auto ok = bus::check_owner(path); !ok) return ok;
  if (auto filled = bus::initialise_if_empty(path, to_create(options)); !filled) return filled;
  return compare(path, options, ring_bytes_asked, mtu_asked);
}

Result<Bus> Bus::open(const std::string& path, Access access) {
  auto inspector = bus::Inspector::open(path, access == Access::read_write);
  if (!inspector) return std::move(inspector).error();
  return Bus(std::make_unique<Impl>(Impl{*std::move(inspector)}));
}

Result<void> Bus::destroy(const std::string& path, bool force) {
  return bus::destroy(path, force);
}

BusInfo Bus::info() const {
  return impl_->inspector.info();
}
AuditReport Bus::audit() const {
  return impl_->inspector.audit();
}
Result<RepairReport> Bus::repair() {
  return impl_->inspector.repair();
}
Result<RepairReport> Bus::repair(const std::string& path, const RepairOptions& options) {
  auto restored = bus::restore_header(path, options);
  if (!restored) return restored.error();
  auto inspector = bus::Inspector::open(path, true);
  if (!inspector) return inspector.error();
  auto report = inspector->repair();
  if (report) report->header_restored = *std::move(restored);
  return report;
}
std::string Bus::warning() const {
  return impl_->inspector.warning();
}

bool install_sigbus_guard() noexcept {
  return bus::install_sigbus_guard();
}

}  // namespace shmif
