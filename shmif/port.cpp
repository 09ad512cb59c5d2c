#include "shmif/port.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <climits>
#include <mutex>

#include "base/unique_fd.hpp"
#include "bus/attachment.hpp"
#include "bus/format/format.hpp"
#include "bus/limits.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/heat_share.hpp"
#include "shmif/log.hpp"

namespace shmif {
namespace {

/// Ends a call that takes frames, or after which no frames come. However the call returns, the
/// level-triggered descriptor then says whether frames are there.
class Settling {
 public:
  explicit Settling(bus::Attachment& bus) noexcept : bus_(bus) {}
  Settling(const Settling&) = delete;
  Settling& operator=(const Settling&) = delete;
  ~Settling() { bus_.settle(false); }

 private:
  bus::Attachment& bus_;
};

}  // namespace

struct Port::Impl {
  PortOptions options;
  MacAddress mac;  ///< kept for the next bus
  /// Guards the MAC address and the promiscuous flag, here and in the bus: setters run in any
  /// thread.
  mutable std::mutex properties;
  std::unique_ptr<bus::Attachment> bus;
  std::optional<HeatShare> heat;  ///< of the bus; ended before the bus is unmapped

  void share_heat();
};

/// Lets monitors watch the bus, if SHMIF_HEAT asks for it. A failure is only logged, because the
/// port works without.
void Port::Impl::share_heat() {
  if (!HeatShare::is_wanted()) return;
  auto shared = HeatShare::of(bus->bus().memory.data(), bus->bus().memory.size(),
                              bus->bus().name + '@' + bus->bus().path);
  if (shared) {
    heat.emplace(*std::move(shared));
  } else {
    log_if_possible([&] { log_warning_once(shared.error().message); });
  }
}

Port::Port(PortOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->mac = options.mac ? *options.mac : MacAddress::random();
  impl_->options = std::move(options);
}
Port::Port(Port&&) noexcept = default;
Port& Port::operator=(Port&&) noexcept = default;
Port::~Port() = default;

Result<void> Port::attach(const std::string& path) {
  return link_to(path,
                 [&](const PortOptions& options) { return bus::attach_to_bus(path, options); });
}

Result<void> Port::attach(const Bus& bus) {
  return link_to(bus.path(), [&](const PortOptions& options) {
    return bus::attach_to_bus(bus.descriptor(), bus.path(), options);
  });
}

/// `attach_with` attaches to the bus, with the options of the port.
template <typename Attach>
Result<void> Port::link_to(const std::string& path, const Attach& attach_with) {
  if (impl_->bus && impl_->bus->forked()) {
    return Error(Errc::forked, "cannot attach to " + path +
                                   ": the port belongs to the process that forked this one (make a "
                                   "port of your own)");
  }
  if (impl_->bus) {
    return Error(Errc::already_linked, "cannot attach to " + path + ": the port is linked to " +
                                           impl_->bus->bus().path + " (detach it first)");
  }
  if (path.empty()) return Error(Errc::path_empty, "cannot attach to a bus: the path is empty");
  if (path.size() >= PATH_MAX) {
    return Error(Errc::path_too_long, "cannot attach to a bus: the path has " +
                                          std::to_string(path.size()) + " characters, at most " +
                                          std::to_string(PATH_MAX - 1) + " are possible");
  }
  auto attached = attach_with(impl_->options);
  if (!attached) return std::move(attached).error();
  impl_->bus = *std::move(attached);
  impl_->mac = impl_->bus->mac();
  impl_->share_heat();
  debug(Debug::wire, [&] {
    return "port " + name() + " with MAC address " + mac().to_string() + " is attached to " + path +
           " in slot " + std::to_string(slot());
  });
  log_if_possible([&] {
    for (const std::string* warning : {&impl_->bus->bus().warning, &impl_->bus->bus().disk_warning})
      log_warning_once(*warning, path);
    log_debug("port " + name() + " attached to " + path + " in slot " + std::to_string(slot()));
  });
  return {};
}

std::error_code Port::detach() noexcept {
  if (!impl_->bus) return {};
  if (impl_->bus->forked()) return Errc::forked;
  if (impl_->bus->is_up()) return Errc::port_up;
  debug(Debug::wire, [&] { return "port " + name() + " leaves " + impl_->bus->bus().path; });
  impl_->heat.reset();
  impl_->bus.reset();
  return {};
}

Result<Port::LinkState> Port::link() const {
  if (!impl_->bus) {
    return Error(std::make_error_code(std::errc::no_such_file_or_directory),
                 "the port is not linked to a bus");
  }
  if (impl_->bus->forked()) {
    return Error(Errc::forked, "the link belongs to the process that forked this one");
  }
  return LinkState{impl_->bus->bus().path, impl_->bus->path_names_this_file()};
}

std::error_code Port::up() noexcept {
  if (!impl_->bus) return Errc::not_linked;
  const bool was_up = impl_->bus->is_up();
  const std::error_code error = impl_->bus->up();
  debug(Debug::wire, [&] {
    return "port " + name() + (error ? " cannot go up: " + error.message() : " is up");
  });
  if (!was_up) impl_->bus->settle(false);
  return error;
}
std::error_code Port::down() noexcept {
  if (!impl_->bus) return Errc::not_linked;
  const Settling settling(*impl_->bus);
  return impl_->bus->down();
}
bool Port::is_up() const noexcept {
  return impl_->bus && impl_->bus->is_up();
}

SendResult Port::send(std::span<const FrameView> frames) noexcept {
  if (!impl_->bus) return {0, Errc::not_linked};
  return impl_->bus->send(frames, bus::WhenFull::wait);
}

SendResult Port::try_send(std::span<const FrameView> frames) noexcept {
  if (!impl_->bus) return {0, Errc::not_linked};
  return impl_->bus->send(frames, bus::WhenFull::give_up);
}

std::chrono::nanoseconds Port::patience() const noexcept {
  return impl_->bus ? impl_->bus->bus().patience : std::chrono::nanoseconds(0);
}

ReceiveResult Port::receive(FrameBatch& into) noexcept {
  if (!impl_->bus) return {0, 0, Errc::not_linked};
  const Settling settling(*impl_->bus);
  return impl_->bus->receive(into);
}
ReceiveResult Port::receive_unsettled(FrameBatch& into) noexcept {
  if (!impl_->bus) return {0, 0, Errc::not_linked};
  return impl_->bus->receive(into);
}
void Port::settle(bool holds_frames) noexcept {
  if (impl_->bus) impl_->bus->settle(holds_frames);
}

ReceiveResult Port::receive_in_place(FrameBatch& into) noexcept {
  if (!impl_->bus) return {0, 0, Errc::not_linked};
  const Settling settling(*impl_->bus);
  return impl_->bus->receive_in_place(into);
}
std::size_t Port::release() noexcept {
  if (!impl_->bus) return 0;
  const Settling settling(*impl_->bus);
  return impl_->bus->release();
}

bool Port::wait(std::chrono::nanoseconds timeout) noexcept {
  if (!impl_->bus) return false;
  const Settling settling(*impl_->bus);
  return impl_->bus->wait(timeout);
}
bool Port::wait_until_up() noexcept {
  return impl_->bus && impl_->bus->wait_until_up();
}
void Port::interrupt() noexcept {
  if (impl_->bus) impl_->bus->interrupt();
}
void Port::interrupt_receiver() noexcept {
  if (impl_->bus) impl_->bus->interrupt_receiver();
}

int Port::descriptor() noexcept {
  if (!impl_->bus) return -1;
  const bool first = !impl_->bus->descriptor_error();
  const int fd = impl_->bus->descriptor();
  if (const std::error_code why = impl_->bus->descriptor_error(); first && why) {
    log_if_possible([&] {
      log_warning("port " + name() + " has neither io_uring nor inotify (" + why.message() + "); " +
                  (fd >= 0 ? "a helper thread wakes its descriptor" : "it has no descriptor"));
    });
  }
  return fd;
}
std::error_code Port::descriptor_error() const noexcept {
  return impl_->bus ? impl_->bus->descriptor_error() : Errc::not_linked;
}

Result<int> Port::level_descriptor() {
  if (!impl_->bus) return Error(Errc::not_linked, "the port is not linked to a bus");
  return impl_->bus->level_descriptor();
}

WaitHint Port::prepare_wait() noexcept {
  return impl_->bus ? impl_->bus->prepare_wait() : WaitHint{.ready = true};
}
void Port::finish_wait() noexcept {
  if (impl_->bus) impl_->bus->finish_wait();
}

std::size_t Port::max_frame_bytes() noexcept {
  return impl_->bus ? impl_->bus->bus().max_frame : bus::max_frame_bytes(bus::kMaxMtu);
}
std::string Port::address() {
  return "bus:" + (impl_->bus ? impl_->bus->bus().path : std::string());
}
std::string Port::name() const {
  return impl_->bus ? impl_->bus->bus().name : impl_->options.name;
}
MacAddress Port::mac() const noexcept {
  if (impl_->bus) return impl_->bus->mac();
  const std::lock_guard guard(impl_->properties);
  return impl_->mac;
}
unsigned Port::slot() const noexcept {
  return impl_->bus ? impl_->bus->bus().slot : 0xffffU;
}
std::optional<std::uint32_t> Port::mtu() const noexcept {
  return impl_->bus ? std::optional(impl_->bus->bus().mtu) : std::nullopt;
}
std::uint64_t Port::bus_frames() const noexcept {
  return impl_->bus ? impl_->bus->bus_frames() : 0;
}

bool Port::takes_offloads() const noexcept {
  return impl_->bus && impl_->bus->bus().carries_offloads;
}

std::error_code Port::set_mac(MacAddress mac) noexcept {
  if (!mac.is_unicast()) return Errc::bad_argument;
  if (impl_->bus && impl_->bus->forked()) return Errc::forked;  // the mutex may stay locked
  const std::lock_guard guard(impl_->properties);
  if (impl_->bus) {
    if (const std::error_code refused = impl_->bus->set_mac(mac)) return refused;
  }
  impl_->mac = mac;
  impl_->options.mac = mac;
  return {};
}
std::error_code Port::set_other_macs(std::span<const MacAddress> macs) noexcept {
  return impl_->bus ? impl_->bus->set_other_macs(macs) : make_error_code(Errc::not_linked);
}
std::error_code Port::set_promiscuous(bool on) noexcept {
  if (impl_->bus && impl_->bus->forked()) return Errc::forked;
  const std::lock_guard guard(impl_->properties);
  impl_->options.promiscuous = on;
  return impl_->bus ? impl_->bus->set_promiscuous(on) : std::error_code{};
}
std::error_code Port::set_carrier(bool on) noexcept {
  return impl_->bus ? impl_->bus->set_carrier(on) : make_error_code(Errc::not_linked);
}
std::error_code Port::set_carrier_unknown() noexcept {
  return impl_->bus ? impl_->bus->set_carrier_unknown() : make_error_code(Errc::not_linked);
}
bool Port::has_carrier() const noexcept {
  return impl_->bus && impl_->bus->has_carrier();
}
PortCounters Port::counters() const noexcept {
  return impl_->bus ? impl_->bus->counters() : PortCounters{};
}

struct Follower::Impl {
  std::unique_ptr<bus::Follower> follower;
  UniqueFd timer;
};
Follower::Follower(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Follower::Follower(Follower&&) noexcept = default;
Follower& Follower::operator=(Follower&&) noexcept = default;
Follower::~Follower() = default;

Result<Follower> Follower::open(const std::string& path, Start start, Resume resume,
                                bool take_offloads) {
  auto follower = bus::follow_bus(path, start, resume, take_offloads);
  if (!follower) return std::move(follower).error();
  log_warning_once((*follower)->warning(), path);
  return Follower(std::make_unique<Impl>(Impl{*std::move(follower), {}}));
}

ReceiveResult Follower::receive(FrameBatch& into) noexcept {
  return impl_->follower->receive(into);
}
bool Follower::wait(std::chrono::nanoseconds timeout) noexcept {
  return impl_->follower->wait(timeout);
}
int Follower::descriptor() noexcept {
  UniqueFd& timer = impl_->timer;
  if (!timer) timer.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  return timer.get();
}

WaitHint Follower::prepare_wait() noexcept {
  const WaitHint hint = impl_->follower->prepare_wait();
  if (hint.ready) return hint;
  itimerspec at{};
  at.it_value.tv_nsec = static_cast<long>(hint.at_most.count());  // less than a second
  if (impl_->timer) static_cast<void>(timerfd_settime(impl_->timer.get(), 0, &at, nullptr));
  return hint;
}

void Follower::finish_wait() noexcept {
  std::uint64_t expired = 0;
  if (impl_->timer) static_cast<void>(read(impl_->timer.get(), &expired, sizeof expired) > 0);
  impl_->follower->finish_wait();
}

std::uint64_t Follower::bus_frames() const noexcept {
  return impl_->follower->bus_frames();
}
PortCounters Follower::counters() const noexcept {
  return impl_->follower->counters();
}
std::size_t Follower::max_frame_bytes() const noexcept {
  return impl_->follower->max_frame();
}

}  // namespace shmif
