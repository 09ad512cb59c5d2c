#include "shmif/bus.hpp"

#include <sstream>
#include <utility>

#include "bus/file/parts.hpp"
#include "bus/file/sigbus_guard.hpp"
#include "bus/format/format.hpp"
#include "shmif/log.hpp"

namespace shmif {
namespace {

bus::CreateOptions to_create(const BusOptions& o) noexcept {
  const bool pauses = o.flow == Flow::pause;
  return {o.ring_bytes, o.mtu, o.mode, o.flow,
          pauses ? static_cast<std::uint64_t>(o.patience.count()) : 0};
}

/// B1: the bus must have the properties that were asked for.
Result<void> compare(const std::string& path, const BusInfo& is, const BusOptions& wanted,
                     bool ring_bytes_asked, bool mtu_asked) {
  if (wanted.format == BusFormat::netbsd && is.format != wanted.format) {
    return Error(Errc::geometry_differs,
                 "the bus " + path +
                     " exists with our own format, NetBSD's was asked for (leave the format out, "
                     "or destroy the bus first)");
  }
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

/// Logs a warning. If that fails, the call that made the bus still succeeds.
void warn(const std::string& path, const std::string& warning) {
  log_if_possible([&] { log_warning_once(warning, path); });
}

/// A bus that its owner may not read and write is of no use to him, and he could not remove it.
Result<void> check_mode(const std::string& path, std::uint32_t mode) {
  if (mode <= 0777U && (mode & 0600U) == 0600U) return {};
  std::ostringstream octal;
  octal << '0' << std::oct << mode;
  return Error(Errc::bad_argument, "cannot create the bus " + path +
                                       ": its owner must be able to "
                                       "read and write it, so the mode " +
                                       octal.str() +
                                       " is not possible (0600 to 0777, such as 0660)");
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

const char* to_string(Flow flow) noexcept {
  return flow == Flow::pause ? "pause" : "ethernet";
}

const char* to_string(BusFormat format) noexcept {
  return format == BusFormat::netbsd ? "netbsd" : "shmif";
}

bool BusOptions::carries_offloads() const noexcept {
  return format == BusFormat::shmif && bus::carries_super_frames(ring_bytes, mtu);
}

struct Bus::Impl {
  std::unique_ptr<bus::Inspector> inspector;
};
Bus::Bus(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Bus::Bus(Bus&&) noexcept = default;
Bus& Bus::operator=(Bus&&) noexcept = default;
Bus::~Bus() = default;
int Bus::descriptor() const noexcept {
  return impl_->inspector->descriptor();
}
const std::string& Bus::path() const noexcept {
  return impl_->inspector->path();
}

Result<void> Bus::create(const std::string& path, const BusOptions& options) {
  if (auto ok = check_mode(path, options.mode); !ok) return ok;
  const auto made = bus::create_bus(path, options.format, to_create(options));
  if (!made) return made.error();
  warn(path, bus::warning_of_disk(made->get(), path));
  return {};
}

Result<Bus> Bus::create_if_missing(const std::string& path, const BusOptions& options,
                                   bool ring_bytes_asked, bool mtu_asked) {
  if (auto ok = check_mode(path, options.mode); !ok) return ok.error();
  auto provided = bus::provide_bus(path, options.format, to_create(options));
  if (!provided) return std::move(provided).error();
  const BusInfo info = provided->inspector->info();
  if (auto ok = compare(path, info, options, ring_bytes_asked, mtu_asked); !ok) return ok.error();
  warn(path, provided->warning);
  return Bus(std::make_unique<Impl>(Impl{std::move(provided->inspector)}));
}

Result<Bus> Bus::open(const std::string& path, Access access) {
  auto inspector = bus::inspect_bus(path, access);
  if (!inspector) return std::move(inspector).error();
  return Bus(std::make_unique<Impl>(Impl{*std::move(inspector)}));
}

Result<void> Bus::destroy(const std::string& path, bool force) {
  const auto removed = bus::destroy(path, force);
  if (!removed) return removed.error();
  if (!removed->empty()) log_if_possible([&] { log_warning_once(*removed); });
  return {};
}

BusInfo Bus::info() const {
  return impl_->inspector->info();
}
AuditReport Bus::audit() const {
  return impl_->inspector->audit();
}
Result<RepairReport> Bus::repair() {
  return impl_->inspector->repair({});
}
Result<RepairReport> Bus::repair(const std::string& path, const RepairOptions& options) {
  return bus::repair_bus_at(path, options);
}
std::string Bus::warning() const {
  return impl_->inspector->warning();
}

Result<void> check_port_table(const BusInfo& bus, const std::string& what) {
  if (bus.has_port_table()) return {};
  return Error(std::make_error_code(std::errc::operation_not_supported),
               "cannot " + what + ' ' + bus.path +
                   ": NetBSD's format does not tell which ports there are (see docs/netbsd.md)");
}

bool install_sigbus_guard() noexcept {
  return bus::install_sigbus_guard();
}

}  // namespace shmif
