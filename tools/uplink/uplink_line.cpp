#include "tools/uplink/uplink_line.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include "shmif/log.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

constexpr unsigned kPlacesLog2 = 12;

}  // namespace

HomeTable::HomeTable(Behind behind) : behind_(behind), hosts_(std::size_t{1} << kPlacesLog2) {}

HomeTable::Host& HomeTable::place_of(std::uint64_t mac) {
  constexpr std::uint64_t kGolden = 0x9e37'79b9'7f4a'7c15;  // spreads addresses that count up
  return hosts_[mac * kGolden >> (64U - kPlacesLog2)];
}

HomeTable::Host& HomeTable::note(MacAddress mac, bool is_home, Clock::time_point now) {
  const std::uint64_t number = mac.to_u64();
  Host& host = place_of(number);
  if (host.mac != number) host = Host{.mac = number, .seen = now, .passed = now};
  host.is_home = is_home;
  host.seen = now;
  return host;
}

bool HomeTable::stays(const FrameView& frame, Clock::time_point now) {
  const MacAddress from = frame.source();
  if (from.is_group()) return false;
  const MacAddress to = frame.destination();
  const std::uint64_t number = to.to_u64();
  Host& sender = note(from, true, now);
  if (!to.is_group()) {
    const Host& receiver = place_of(number);
    const bool is_home =
        receiver.mac == number && receiver.is_home && now - receiver.seen < kMemory;
    const bool must_remind =
        behind_ == Behind::bridge && (!sender.has_passed || now - sender.passed >= kRemind);
    if (is_home && !must_remind) return true;
  }
  sender.has_passed = true;
  sender.passed = now;
  return false;
}

void HomeTable::came_from_afar(const FrameView& frame, Clock::time_point now) {
  const MacAddress from = frame.source();
  if (!from.is_group()) note(from, false, now);
}

namespace {

std::unique_ptr<Port> attach_uplink(const Bus& bus, const UplinkPortOptions& wish) {
  PortOptions options;
  options.name = wish.name.empty() ? "uplink" : wish.name;
  options.kind = LinkKind::bridge;
  options.promiscuous = true;  // a host with any address may be on another machine
  options.take_offloads = wish.take_offloads;
  options.lock_memory = wish.lock_memory;
  if (!wish.name.empty()) options.name_patience = kNamePatience;
  auto port = std::make_unique<Port>(options);
  Result<void> attached = port->attach(bus);
  if (!attached && wish.name.empty() && attached.error().code == Errc::name_taken) {
    options.name.clear();
    *port = Port(options);
    attached = port->attach(bus);
  }
  attached.value();
  return port;
}

tap::Line uplink_line(const Bus& bus, const UplinkPortOptions& wish) {
  tap::Line line(attach_uplink(bus, wish));
  line.set_faults(wish.faults).value();
  return line;
}

}  // namespace

UplinkPort::UplinkPort(const Bus& bus, const UplinkPortOptions& options)
    : line_(uplink_line(bus, options)),
      control_(line_, {.counts_elsewhere = [this] { return counts_behind_line(); }}),
      home_(options.behind) {
  line_.set_sorter([this](const FrameView& frame) { return stays(frame); });
  control_.note_start();
  control_.show_counts();
}

bool UplinkPort::stays(const FrameView& frame) {
  if (!home_.stays(frame, HomeTable::Clock::now())) return false;
  ++stayed_;
  return true;
}

bool UplinkPort::refuses_from_afar(const FrameView& frame) {
  if (control_.is_down()) {
    ++cut_back_;
    return true;
  }
  home_.came_from_afar(frame, HomeTable::Clock::now());
  return false;
}

bool UplinkPort::show_drops(const UplinkDrops& drops) {
  drops_ = drops_before_ + drops;
  return control_.show_counts();
}

LineCounts UplinkPort::counts_behind_line() const noexcept {
  return {.dropped_in = drops_.there, .dropped_out = drops_.back + cut_back_};
}

void UplinkPort::lose_what_waits() {
  if (!line_.has_carrier()) return;  // then nothing waits
  line_.set_carrier(false);
  line_.set_carrier(true);
}

std::pair<BridgeWay, BridgeWay> UplinkPort::ways(const tap::PairCounters& frames,
                                                 const std::string& bus,
                                                 const std::string& far) const {
  auto ways = ways_over(line_.counters(), line_.faults(), frames, bus, far);
  BridgeWay& back = ways.second;
  back.cut_at_source = cut_back_;
  // The bridge met them, and gave them to nobody.
  back.counters.received -= cut_back_;
  back.counters.consumed -= cut_back_;
  return ways;
}

namespace {

constexpr std::chrono::milliseconds kLoopPatience{1500};
constexpr std::chrono::seconds kShowDrops{1};

}  // namespace

UplinkLine::UplinkLine(UplinkPort& port, AnyLink& far, std::string bus_text, std::string far_text,
                       std::function<UplinkDrops()> far_drops)
    : port_(port),
      far_(far),
      bus_text_(std::move(bus_text)),
      far_text_(std::move(far_text)),
      far_drops_(std::move(far_drops)),
      guard_([this] { met_loop(); }),
      loop_timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (!loop_timer_) throw Exception(Error::from_errno(errno, "cannot make a timer"));
}

/// The guard has proven a loop: warns, and looks again later, or ends.
void UplinkLine::met_loop() {
  if (loop_ == Loop::seen) {
    loop_ = Loop::proven;
    bridge_->stop();
    return;
  }
  loop_ = Loop::seen;
  complain(loop_text(bus_text_, far_text_, "another uplink or bridge") +
           "; if it goes on, this uplink ends");
  std::random_device random;
  std::uniform_int_distribution<std::int64_t> any(1, kLoopPatience.count());
  const std::int64_t ms = any(random);
  itimerspec next{};
  next.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1'000'000};
  static_cast<void>(timerfd_settime(loop_timer_.get(), 0, &next, nullptr));
}

/// Looks for the loop anew, with a guard that has seen nothing yet.
bool UplinkLine::look_at_loop() {
  std::uint64_t expirations = 0;
  static_cast<void>(read(loop_timer_.get(), &expirations, sizeof expirations) > 0);
  guard_ = LoopGuard([this] { met_loop(); });
  return true;
}

bool UplinkLine::bus_is_there() {
  const Result<Port::LinkState> link = port_.port().link();
  bus_removed_ = link && !link->still_named;
  return !bus_removed_;
}

/// Frames that the line dropped, which `stat` shows. If there are more, looks again in a second.
void UplinkLine::show_drops() {
  const auto dropped = [](const tap::DirectionCounters& way) {
    return way.dropped_full + way.dropped_too_long + way.dropped_error;
  };
  const tap::PairCounters now = bridge_->counters(0);
  shown_ = HomeTable::Clock::now();
  if (port_.show_drops(UplinkDrops{dropped(now.to_right), dropped(now.to_left)} + far_drops_()))
    buses_.look_soon();
}

/// To call for each frame.
void UplinkLine::show_drops_if_due() {
  if (HomeTable::Clock::now() - shown_ >= kShowDrops) show_drops();
}

tap::BridgeOptions UplinkLine::bridge_options() {
  tap::BridgeOptions options;
  options.on_too_long = [this](const FrameView& frame, AnyLink& from, AnyLink&) {
    const bool from_bus = &from == &port_.link();
    too_long_.say(frame.size(), from_bus ? bus_text_ : far_text_, std::nullopt,
                  from_bus ? far_text_ : bus_text_,
                  from_bus ? std::nullopt : std::optional(port_.port().mtu()));
  };
  options.on_trouble = [this](AnyLink& link, std::error_code error) {
    if (&link != &port_.link()) {
      far_trouble_ = far_trouble_ || error;
      if (error) complain(far_text_ + ": " + error.message() + ": an invalid record came");
    } else {
      follow_bus(bus_text_.substr(bus_text_.find(':') + 1), -1, LinkKind::bridge, error);
    }
  };
  return options;
}

void UplinkLine::join(tap::Bridge& bridge, const std::vector<UplinkWatch>& watches) {
  const PingAnswerer answer(port_.port());
  bridge
      .add(
          port_.link(), far_,
          [this, answer](const FrameView& frame, AnyLink& back) {
            show_drops_if_due();
            return guard_.look(LoopGuard::Side::left, frame, back) || answer(frame, back);
          },
          [this](const FrameView& frame, AnyLink& back) {
            show_drops_if_due();
            return port_.refuses_from_afar(frame) ||
                   guard_.look(LoopGuard::Side::right, frame, back);
          })
      .value();
  const auto look_after = [this] {
    port_.settle();
    show_drops();
    return bus_is_there();
  };
  buses_.join(bridge, look_after).value();
  port_.control().join(bridge).value();
  bridge.watch(loop_timer_.get(), [this] { return look_at_loop(); }).value();
  for (const UplinkWatch& each : watches) bridge.watch(each.descriptor, each.on_ready).value();
}

UplinkEnd UplinkLine::carry(int stop_descriptor, const std::vector<UplinkWatch>& watches) {
  tap::Bridge bridge = tap::Bridge::create(bridge_options()).value();
  join(bridge, watches);
  const PortUp up(port_.port(), bus_text_);
  bridge_ = &bridge;
  const tap::BridgeEnd end = bridge.run(stop_descriptor);
  show_drops();
  port_.end_line();
  bridge_ = nullptr;
  counts_ = bridge.counters(0);
  return end_of(end);
}

UplinkEnd UplinkLine::end_of(const tap::BridgeEnd& end) const {
  if (loop_ == Loop::proven) {
    return {UplinkEnd::Why::loop, "frames from " + bus_text_ + " still come back from " +
                                      far_text_ + ": the uplink ends (leave only one connection " +
                                      "between the two)"};
  }
  if (bus_removed_) return {UplinkEnd::Why::bus_ended, bus_text_ + " was removed: the uplink ends"};
  if (end.why == tap::BridgeEnd::Why::stopped) {
    if (!end.error) return {};
    return {UplinkEnd::Why::bus_ended, "cannot wait for signals: " + end.error.message()};
  }
  const bool is_bus = end.address == port_.link().address();
  return {is_bus ? UplinkEnd::Why::bus_ended : UplinkEnd::Why::far_ended,
          "cannot go on with " + (is_bus ? bus_text_ : far_text_) + ": " + end.error.message(),
          !is_bus && !far_trouble_ && end.error == Errc::link_ended};
}

}  // namespace shmif::tools
