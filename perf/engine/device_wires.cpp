#include "perf/engine/device_wires.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.hpp"
#include "perf/engine/wires.hpp"
#include "tap/netlink.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kMaxDeviceMtu = 65521;  // of a TAP device

/// Stops new interfaces from sending frames by themselves. If /proc/sys is not writable, each
/// interface at least gets no address (Netlink::disable_ipv6).
Result<std::vector<UniqueFd>> hush() {
  constexpr std::array<std::pair<const char*, char>, 3> kSettings{
      {{"/proc/sys/net/ipv6/conf/default/disable_ipv6", '1'},
       {"/proc/sys/net/ipv6/conf/all/disable_ipv6", '1'},
       {"/proc/sys/net/ipv6/conf/default/accept_ra", '0'}}};
  for (const auto& [path, value] : kSettings) {
    const UniqueFd file(::open(path, O_WRONLY | O_CLOEXEC));
    if (file) (void)!::write(file.get(), &value, 1);
  }
  return std::vector<UniqueFd>{};
}

Result<void> check_interface(RouteSession& session, const JobOptions& job,
                             const std::string& name) {
  const std::string place = job.netns.empty() ? "" : " in namespace " + job.netns;
  if (auto found = session.index_of(name); !found) {
    return Error(found.error().code,
                 found.error().message + place +
                     " ('ip link' lists the interfaces; without 'netdev' the run makes its own)");
  }
  if (job.allow_live) return {};
  auto use = session.use_of(name);
  if (!use) return std::move(use).error();
  if (use->empty()) return {};
  return Error(Errc::busy,
               "interface \"" + name + '"' + place + ' ' + *use +
                   ", and the traffic would reach its users (set allow_live=1 to allow this)");
}

}  // namespace

std::uint32_t device_mtu(const JobOptions& job) noexcept {
  return static_cast<std::uint32_t>(
      std::min(max_frame_bytes_of(job) - kEthernetHeaderBytes, kMaxDeviceMtu));
}

Result<tap::NetNamespace> make_quiet_namespace() {
  auto space = tap::NetNamespace::create();
  if (!space) return space;
  if (auto quiet = tap::run_in(*space, hush); !quiet) return std::move(quiet).error();
  return space;
}

Result<NamedInterfaces> find_interfaces(const JobOptions& job, std::size_t ends) {
  auto where =
      job.netns.empty() ? tap::NetNamespace::current() : tap::NetNamespace::parse(job.netns);
  if (!where) return std::move(where).error();
  const auto names = base::split(job.netdev, ',');
  NamedInterfaces found{*std::move(where), {names.begin(), names.end()}};
  if (found.names.size() < ends) {
    return Error(Errc::bad_argument,
                 "netdev=" + job.netdev + " names " + std::to_string(found.names.size()) +
                     (found.names.size() == 1 ? " interface" : " interfaces") + ", but " +
                     std::to_string(ends) +
                     " are needed (name one for each job, separated by commas)");
  }
  auto session = RouteSession::open(found.where);
  if (!session) return std::move(session).error();
  for (const std::string& name : found.names) {
    if (!tap::is_interface_name(name)) {
      return Error(Errc::bad_argument,
                   "netdev=" + job.netdev + ": \"" + name + "\" is not the name of an interface");
    }
    if (auto fit = check_interface(*session, job, name); !fit) return std::move(fit).error();
  }
  return found;
}

WireCounters from_link(const tap::DeviceCounters& counts) noexcept {
  const std::uint64_t dropped = counts.dropped_down + counts.dropped_full + counts.dropped_corrupt;
  return {.tx_frames = counts.sent_frames,
          .tx_bytes = counts.sent_bytes,
          .rx_frames = counts.received_frames,
          .rx_bytes = counts.received_bytes,
          .lost_frames = std::nullopt,
          .overruns = std::nullopt,
          .dropped_frames = dropped + counts.missed};
}

std::optional<InterfaceCounts> CountsSince::operator()() const noexcept {
  const auto now = session_->counts(index_);
  if (!now || !before_) return std::nullopt;
  return InterfaceCounts{
      now->tx_frames - before_->tx_frames,   now->tx_bytes - before_->tx_bytes,
      now->tx_dropped - before_->tx_dropped, now->rx_frames - before_->rx_frames,
      now->rx_bytes - before_->rx_bytes,     now->rx_dropped - before_->rx_dropped};
}

namespace {

class NamedWire final : public Wire {
 public:
  NamedWire(EngineKind kind, NamedInterfaces interfaces, OpenNamed open)
      : kind_(kind), interfaces_(std::move(interfaces)), open_(open) {}

  Capabilities capabilities() const noexcept override {
    Capabilities can = engine_of(kind_).capabilities;
    can.max_ends = interfaces_.names.size();
    return can;
  }
  std::string address() const override {
    return std::string(name_of(kind_)) + ':' + interfaces_.names.front();
  }
  Result<std::unique_ptr<End>> open_end(const EndOptions& options) override {
    if (auto fits = check_index(options, interfaces_.names.size(), address()); !fits) {
      return std::move(fits).error();
    }
    return open_(interfaces_.names[options.index], interfaces_.where, options);
  }

 private:
  EngineKind kind_;
  NamedInterfaces interfaces_;
  OpenNamed open_;
};

}  // namespace

std::unique_ptr<Wire> make_named_wire(EngineKind kind, NamedInterfaces interfaces, OpenNamed open) {
  return std::make_unique<NamedWire>(kind, std::move(interfaces), open);
}

}  // namespace shmif::perf
