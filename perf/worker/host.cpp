#include "perf/worker/host.hpp"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <sstream>

#include "bus/network_bytes.hpp"
#include "perf/engine/socket_engines.hpp"
#include "perf/result/machine.hpp"
#include "perf/worker/equipment.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "shmif/socket_address.hpp"
#include "tap/bridge.hpp"
#include "tap/cidr.hpp"
#include "tap/guest/port.hpp"
#include "tap/line/line.hpp"
#include "tap/netlink.hpp"

namespace shmif::perf {
namespace {

constexpr long kLookEveryNs = 2'000'000;

/// Whether a frame is a UDP datagram from or to `port`: one of the job's frames, not address
/// resolution or neighbour discovery.
bool is_own_datagram(std::span<const std::byte> frame, std::uint16_t port) {
  constexpr std::byte kUdpProtocol{17};
  if (frame.size() < kEthernetHeaderBytes + 28) return false;
  const std::uint16_t type = bus::get16(frame, 12);
  std::size_t at = 0;
  if (type == 0x0800 && frame[23] == kUdpProtocol) {
    at = kEthernetHeaderBytes + 4 * (std::to_integer<std::size_t>(frame[14]) & 0xfU);
  } else if (type == 0x86dd && frame[20] == kUdpProtocol) {
    at = kEthernetHeaderBytes + 40;
  }
  if (at == 0 || frame.size() < at + 4) return false;
  return bus::get16(frame, at) == port || bus::get16(frame, at + 2) == port;
}

std::uint16_t port_of(const std::string& socket_address) {
  return static_cast<std::uint16_t>(
      std::stoul(socket_address.substr(socket_address.rfind(':') + 1)));
}

/// The guest of one job, and its port on the bus.
class Host {
 public:
  Host(const JobOptions& job, const HostSetup& setup, const EndOptions& options, JobBlock& block,
       const std::function<int()>& work, JobCounting* counting)
      : job_(job),
        block_(block),
        counting_(counting),
        // Faults hit segments, as on a wire, so the host's kernel makes them.
        offload_(!has_faults(job) && Bus::open(setup.bus).value().info().carries_offloads),
        own_port_(port_of(setup.local)),
        guest_(make_guest(setup, options, work)),
        port_(tap::GuestPort::attach(guest_.links()[0], Bus::open(setup.bus).value(),
                                     {.name = options.name,
                                      .mac = options.mac,
                                      .learn = true,
                                      .take_offloads = offload_})
                  .value()) {
    port_.line().set_faults({.received = job.fault_rx, .sent = job.fault}).value();
    record_ = make_record(job).value();
    port_.up().value();
    block_.on_bus.store(true, std::memory_order_release);
  }

  /// Result: the exit status of the program or worker in the guest.
  int run() {
    if (job_.exec.empty()) {
      guest_.release().value();
    } else {
      block_.address.set(port_.bus().address());
      block_.state.store(JobState::initialised, std::memory_order_release);
    }
    carry();
    keep_counters();
    // The job was stopped before its program began, so the program has no exit status. The guest
    // dies with this process.
    if (!exit_ && !job_.exec.empty() && !released_) exit_.emplace();
    if (!exit_) exit_ = guest_.wait();
    if (!exit_->failure.empty()) block_.error.set(exit_->failure);
    end_record();
    if (!job_.exec.empty()) end_of_program();
    return exit_->status;
  }

 private:
  static bool has_faults(const JobOptions& job) { return job.fault.any() || job.fault_rx.any(); }

  tap::Guest make_guest(const HostSetup& setup, const EndOptions& options,
                        const std::function<int()>& work) {
    tap::GuestOptions guest;
    guest.command = job_.exec;
    if (guest.command.empty()) {
      guest.body = [work] {
        ::prctl(PR_SET_NAME, "shmif-job");  // users see it among the causes, not "shmif-init"
        return work();
      };
    }
    guest.forward_signals = false;
    tap::GuestInterface interface;
    interface.addresses = {tap::Cidr::parse(setup.address).value()};
    interface.mac = options.mac;
    interface.mtu = job_.mtu;
    interface.offload = offload_;
    guest.interfaces.push_back(std::move(interface));
    return tap::Guest::start(std::move(guest)).value();
  }

  /// Carries frames until the program or worker in the guest has ended.
  void carry() {
    tap::Bridge bridge = tap::Bridge::create().value();
    bridge
        .add(port_.bus(), port_.device(), look_at_frames(own_received_), look_at_frames(own_sent_))
        .value();
    bridge.watch(guest_.descriptor(), [this] { return take_news(); }).value();
    const UniqueFd clock(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    const itimerspec every{{0, kLookEveryNs}, {0, kLookEveryNs}};
    ::timerfd_settime(clock.get(), 0, &every, nullptr);
    bridge.watch(clock.get(), [this, &clock] { return look(clock.get()); }).value();
    const tap::BridgeEnd end = bridge.run();
    if (end.why == tap::BridgeEnd::Why::link_ended) {
      block_.error.set(end.address + " is gone: " + end.error.message());
    }
    carried_ = bridge.counters(0);
  }

  /// What looks at each frame of a way. `own`: how many of them the job sent or receives, if that
  /// can be known.
  tap::Interceptor look_at_frames(std::uint64_t& own) {
    const bool counts = job_.proto == HostProtocol::udp && job_.exec.empty();
    if (!counts && !record_) return {};
    return [this, counts, &own](const FrameView& frame, AnyLink&) {
      if (counts && is_own_datagram(frame.bytes, own_port_)) ++own;
      if (record_) record_->put(frame);
      return false;
    };
  }

  void end_record() {
    if (!record_) return;
    const auto done = record_->finish();
    if (done || !block_.error.empty()) return;
    block_.error.set(done.error().message);
    block_.failed.store(true, std::memory_order_relaxed);
  }

  bool take_news() {
    tap::GuestNews news = guest_.dispatch();
    for (const tap::GuestInterfaceState& now : news.interfaces) port_.show(now);
    exit_ = std::move(news.exit);
    return !exit_;
  }

  /// When the program begins: at the common start plus start_delay.
  std::uint64_t begin_ns() const {
    return block_.start_ns.load(std::memory_order_acquire) +
           static_cast<std::uint64_t>(job_.start_delay.count());
  }

  bool look(int clock) {
    std::uint64_t ticks = 0;
    (void)!::read(clock, &ticks, sizeof ticks);
    // A program must be told the controller's orders; a worker reads them itself.
    const bool goes_on = job_.exec.empty() || pass_orders();
    if (!before_window_ && measures()) {
      before_window_ = port_.port().counters();
      if (counting_ != nullptr) counting_->begin_window(now_ns());
      const itimerspec never{};
      if (job_.exec.empty() && counting_ == nullptr) ::timerfd_settime(clock, 0, &never, nullptr);
    }
    if (counting_ != nullptr) count();
    return goes_on;
  }

  /// Closes intervals of the counters. A worker says when its window ends. The window of a program
  /// ends with the program.
  void count() {
    const std::uint64_t now = now_ns();
    const std::uint64_t start = block_.start_ns.load(std::memory_order_acquire);
    if (!logs_counts_ && start != 0 && now >= start) {
      logs_counts_ = true;
      counting_->begin_log(start, now);
    }
    if (counting_->is_over(now)) counting_->close_interval(now);
    const bool over = block_.state.load(std::memory_order_acquire) >= JobState::draining;
    if (over) counting_->end_window(now);
  }

  bool measures() const {
    if (job_.exec.empty()) return block_.measuring.load(std::memory_order_acquire);
    return released_ && period_of(now_ns(), window_begin_ns()) == Period::window;
  }
  /// When the window of a program begins.
  std::uint64_t window_begin_ns() const { return begin_ns() + ns(job_.ramp_time); }

  /// Does what a worker does by itself: starts the program when all jobs begin, and ends it at a
  /// stop or when its runtime is over.
  bool pass_orders() {
    const Order order = block_.order.load(std::memory_order_acquire);
    const std::uint64_t now = now_ns();
    const std::uint64_t start = begin_ns();
    if (order == Order::go && !released_ && now >= start) {
      released_ = true;
      block_.start_skew_ns.store(now - start, std::memory_order_relaxed);
      block_.state.store(JobState::running, std::memory_order_release);
      own_.emplace(Usage::Of::process);
      program_.emplace(Usage::Of::children);
      guest_.release().value();
    }
    const std::uint64_t runtime = ns(job_.runtime);
    const bool over = released_ && runtime != 0 && now >= window_begin_ns() + runtime;
    const bool wanted = order == Order::stop || order == Order::abandon || over;
    if (wanted && !stopped_) {
      stopped_ = true;
      if (!released_) return false;
      guest_.signal(SIGTERM);
    }
    return true;
  }

  /// Faults are on the wire: they hit whatever the host sends and receives, also what its kernel
  /// says by itself (address resolution, segments that are sent again, acknowledgements).
  void keep_faults() {
    block_.faults_on_wire.store(true, std::memory_order_release);
    const tap::LineCounters line = port_.line().counters();
    if (job_.fault.any()) {
      block_.faults_sent = FaultsMade{line.sent, line.to_send};
      block_.has_faults_sent.store(true, std::memory_order_release);
    }
    if (job_.fault_rx.any()) {
      block_.faults_received = FaultsMade{line.received, line.to_receive};
      block_.has_faults_received.store(true, std::memory_order_release);
    }
  }

  void keep_counters() {
    keep_faults();
    if (counting_ != nullptr) {
      counting_->end_window(now_ns());
      counting_->close_interval(now_ns());
    }
    const PortCounters c = port_.port().counters();
    WireCounters wire{
        .tx_bytes = c.tx_bytes,
        .rx_bytes = c.rx_bytes,
        .lost_frames = c.lost_frames,
        .overruns = c.overruns,
        .lost_is_lower_bound = c.lost_is_lower_bound(),
        .dropped_frames = carried_.to_right.dropped_full + carried_.to_left.dropped_full,
        .corrupt = c.corrupt};
    if (job_.proto == HostProtocol::udp && job_.exec.empty()) {
      wire.tx_frames = own_sent_;
      wire.rx_frames = own_received_;
      // Frames that a full bus dropped were the job's own, and did not pass the port.
      const std::uint64_t passed = c.tx_frames + c.rx_frames;
      block_.wire_foreign.set(passed - std::min(passed, own_sent_ + own_received_));
    } else {
      // TCP segments, super-frames and acknowledgements: the job's frames cannot be compared with
      // them.
      block_.wire_foreign.set(c.tx_frames + c.rx_frames);
    }
    block_.wire.set(wire);
    // If the window never began, its counts are 0.
    const PortCounters before = before_window_.value_or(c);
    block_.port_lost_frames.set(c.lost_frames - before.lost_frames);
    block_.port_overruns.set(c.overruns - before.overruns);
  }

  /// The traffic of a program is the traffic that passed its port.
  void end_of_program() {
    const PortCounters c = port_.port().counters();
    block_.all_tx_frames.set(c.tx_frames);
    block_.all_tx_bytes.set(c.tx_bytes);
    block_.all_rx_frames.set(c.rx_frames);
    block_.all_rx_bytes.set(c.rx_bytes);
    const PortCounters before = before_window_.value_or(c);
    block_.sent[Period::ramp][&TrafficResult::frames].set(before.tx_frames);
    block_.sent[Period::window][&TrafficResult::frames].set(c.tx_frames - before.tx_frames);
    block_.sent[Period::window][&TrafficResult::bytes].set(c.tx_bytes - before.tx_bytes);
    block_.received[Period::ramp][&TrafficResult::frames].set(before.rx_frames);
    block_.received[Period::window][&TrafficResult::frames].set(c.rx_frames - before.rx_frames);
    block_.received[Period::window][&TrafficResult::bytes].set(c.rx_bytes - before.rx_bytes);
    block_.window_begin_ns.store(std::min(window_begin_ns(), now_ns()));
    block_.window_end_ns.store(now_ns());
    // The kernel reports the usage of a child only at its end, and includes the ramp.
    if (own_ && job_.ramp_time.count() == 0) {
      block_.cpu = own_->so_far();
      block_.cpu += program_->so_far();
      block_.cpu_known.store(true, std::memory_order_release);
    }
    if (exit_->status != 0 && !stopped_ && block_.error.empty()) {
      block_.error.set(job_.exec.front() + " ended with status " + std::to_string(exit_->status));
    }
  }

  const JobOptions& job_;
  JobBlock& block_;
  JobCounting* counting_;
  bool logs_counts_ = false;
  bool offload_;
  std::uint16_t own_port_;
  tap::Guest guest_;
  tap::GuestPort port_;
  std::unique_ptr<RecordWriter> record_;  ///< null if the job keeps no record
  std::uint64_t own_sent_ = 0, own_received_ = 0;
  tap::PairCounters carried_;
  std::optional<tap::GuestExit> exit_;
  std::optional<Usage> own_, program_;  // usage of the bridge, and of all processes in the guest
  std::optional<PortCounters> before_window_;
  bool released_ = false;
  bool stopped_ = false;
};

}  // namespace

/// A TCP end has room for frames of at least this size, whatever its job sends.
static constexpr std::size_t kMinStreamBytes = 65535;

Result<std::string> host_address(const JobOptions& job, std::size_t number) {
  if (job.ip.empty()) {
    const std::size_t host = number + 1;
    if (host >= 1U << 16U) return Error(Errc::bad_argument, "too many hosts for 198.18.0.0/15");
    return "198.18." + std::to_string(host >> 8U) + '.' + std::to_string(host & 0xffU) + "/15";
  }
  auto cidr = tap::Cidr::parse(job.ip);
  if (!cidr) return Error(cidr.error().code, "ip: " + cidr.error().message);
  return cidr->to_string();
}

std::string socket_address(const std::string& cidr, std::uint16_t port) {
  const std::string address = cidr.substr(0, cidr.find('/'));
  const bool v6 = address.find(':') != std::string::npos;
  return (v6 ? '[' + address + ']' : address) + ':' + std::to_string(port);
}

/// Tells the kernel where the other host is. If it had to ask, it would drop most of the frames
/// that are sent before the answer comes, and no interface would count them.
static Result<void> introduce_peer(const HostSetup& host) {
  const auto remote = split_host_port(host.remote);
  if (!remote) return {};  // the peer can be any host
  const auto address = tap::IpAddress::parse(remote->host);
  if (!address) return address.error();
  auto netlink = tap::Netlink::open();
  if (!netlink) return std::move(netlink).error();
  const auto interfaces = netlink->interfaces();
  if (!interfaces) return interfaces.error();
  for (const tap::AddressedInterface& each : *interfaces) {
    if (each.name == "lo") continue;
    return netlink->add_neighbour(each.name, *address, host.remote_mac);
  }
  return Error::from_errno(ENODEV, "the host has no interface");
}

Result<std::unique_ptr<End>> open_host_end(const JobOptions& job, const HostSetup& host,
                                           const EndOptions& options) {
  if (auto done = introduce_peer(host); !done) return std::move(done).error();
  // Its faults are on the wire, not here.
  EndOptions sound = options;
  sound.sent = sound.received = FaultOptions();
  // IP and UDP headers take part of the interface's MTU.
  const bool v6 = host.local.starts_with('[');
  const std::size_t room = job.mtu - (v6 ? 48U : 28U);
  const HostEndOptions end{
      .local = host.local,
      .remote = host.remote,
      .max_frame_bytes =
          job.proto == HostProtocol::udp ? room : std::max(host.max_bytes, kMinStreamBytes),
      .end = std::move(sound),
      .mss_bytes = job.mss_bytes,
      .congestion = job.congestion,
      .window_bytes = job.window_bytes,
      .dscp = job.dscp,
      .patience = std::chrono::duration_cast<std::chrono::milliseconds>(job.startup_timeout)};
  if (job.proto == HostProtocol::udp) return open_udp_host_end(end);
  return host.listens ? listen_tcp_host_end(end) : connect_tcp_host_end(end);
}

std::optional<InterfaceDrops> interface_drops() {
  // /proc/net/dev: after the name come eight numbers for receiving and eight for sending, each
  // "bytes packets errs drop ..." (proc_net(5)).
  std::ifstream file("/proc/thread-self/net/dev");
  InterfaceDrops drops;
  bool any = false;
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos || line.substr(0, colon).ends_with("lo")) continue;
    std::istringstream numbers(line.substr(colon + 1));
    std::array<std::uint64_t, 12> n{};
    for (std::uint64_t& each : n) numbers >> each;
    if (!numbers) continue;
    any = true;
    drops.received += n[3];
    drops.sent += n[11];
  }
  if (!any) return std::nullopt;
  return drops;
}

int run_host(const JobOptions& job, const HostSetup& host, const EndOptions& options,
             JobBlock& block, const std::function<int()>& work, JobCounting* counting) {
  return Host(job, host, options, block, work, counting).run();
}

}  // namespace shmif::perf
