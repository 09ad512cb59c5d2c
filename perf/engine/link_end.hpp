#pragma once
// What the files of the engines share. Internal to perf/engine.

#include <poll.h>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/link.hpp"

namespace shmif::perf {

// The rows of the engines.
extern const Engine kBusEngine, kTapEngine, kPacketEngine, kUnixEngine, kUdpEngine, kStreamEngine,
    kDgramEngine, kVdeEngine, kPcapEngine, kNullEngine, kHostEngine;

/// The longest frame on a bus of this MTU: with header and two tags. Engines whose medium has no
/// MTU use the same limit, so a job means the same on each.
std::size_t max_frame_bytes_of(const JobOptions& job) noexcept;
/// The address in the options, or a random one if there is none.
MacAddress mac_of(const EndOptions& options) noexcept;
/// Errors: bad_argument if the wire does not have this end.
Result<void> check_index(const EndOptions& options, std::size_t ends, const std::string& address);

// LinkEnd: any Link as an end of a wire, with faults if the options ask for them.

/// How a sender waits for a full link.
enum class RoomWait : std::uint8_t {
  sleep,  ///< sleeps a short while, because the descriptor cannot tell
  poll,   ///< waits until the descriptor, a socket, is writable
};

/// How long a sender sleeps if the medium cannot tell when it has room.
inline constexpr std::chrono::microseconds kShortWhile{50};

/// Sleeps for `at_most`, or until a signal comes.
inline void sleep_for(std::chrono::nanoseconds at_most) noexcept {
  const auto ns = at_most.count();
  const timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
  (void)::nanosleep(&time, nullptr);
}

/// Sleeps until the descriptor is ready for `events`, `at_most` has passed, or a signal comes.
inline void poll_for(int descriptor, short events, std::chrono::nanoseconds at_most) noexcept {
  pollfd asked{.fd = descriptor, .events = events, .revents = 0};
  const auto ns = at_most.count();
  const timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
  (void)::ppoll(&asked, 1, &time, nullptr);
}

template <Link L>
class LinkEnd final : public End {
 public:
  struct Traits {
    RoomWait room_wait = RoomWait::sleep;
    std::function<WireCounters()> counters;        ///< may be empty
    std::function<std::optional<TcpState>()> tcp;  ///< may be empty
    bool faults_sent = false;                      ///< which faults the FaultLink has
    bool faults_received = false;
  };
  LinkEnd(std::unique_ptr<L> link, Traits traits)
      : link_(std::move(link)), traits_(std::move(traits)) {}

  SendResult send(std::span<const FrameView> frames) noexcept override {
    return link_->send(frames);
  }
  ReceiveResult receive(FrameBatch& into) noexcept override { return link_->receive(into); }
  void wait(std::chrono::nanoseconds at_most) noexcept override {
    const WaitHint hint = link_->prepare_wait();
    if (!hint.ready) poll_for(link_->descriptor(), POLLIN, std::min(at_most, hint.at_most));
    link_->finish_wait();
  }
  void wait_to_send(std::chrono::nanoseconds at_most) noexcept override {
    if (traits_.room_wait == RoomWait::poll) {
      poll_for(link_->descriptor(), POLLOUT, at_most);
    } else {
      sleep_for(std::min<std::chrono::nanoseconds>(at_most, kShortWhile));
    }
  }
  /// A link with faults takes every frame at once. If the medium behind it refuses a frame later,
  /// that frame was never sent.
  Unsent finish_sending(std::chrono::nanoseconds) noexcept override {
    Unsent unsent;
    if constexpr (kHasFaults) unsent.frames = link_->refused();
    return unsent;
  }
  std::size_t max_frame_bytes() noexcept override { return link_->max_frame_bytes(); }
  std::string address() override { return link_->address(); }
  WireCounters counters() noexcept override {
    return traits_.counters ? traits_.counters() : WireCounters{};
  }
  std::optional<TcpState> tcp() noexcept override {
    return traits_.tcp ? traits_.tcp() : std::nullopt;
  }
  std::optional<FaultsMade> faults_sent() const noexcept override {
    if constexpr (kHasFaults) {
      if (traits_.faults_sent) {
        return FaultsMade{link_->sent(), link_->under_way() - link_->to_receive()};
      }
    }
    return std::nullopt;
  }
  std::optional<FaultsMade> faults_received() const noexcept override {
    if constexpr (kHasFaults) {
      if (traits_.faults_received) return FaultsMade{link_->received(), link_->to_receive()};
    }
    return std::nullopt;
  }

 private:
  static constexpr bool kHasFaults = std::is_same_v<L, FaultLink>;

  std::unique_ptr<L> link_;
  Traits traits_;
};

inline bool wants_faults(const EndOptions& options) noexcept {
  return options.sent.any() || options.received.any();
}

/// Makes an end of `link`, within a FaultLink if the options ask for faults. `count` reads the
/// medium's counts from the link. `tcp` reads the state of its connection. Errors: an errno.
template <Link L, class Count>
Result<std::unique_ptr<End>> make_end(L link, const EndOptions& options, RoomWait room_wait,
                                      const Count& count,
                                      std::function<std::optional<TcpState>()> tcp = {}) {
  auto owned = std::make_unique<L>(std::move(link));
  // The link stays at this address when its owner changes.
  std::function<WireCounters()> counters = [at = owned.get(), count] { return count(*at); };
  if (!wants_faults(options)) {
    return std::unique_ptr<End>(std::make_unique<LinkEnd<L>>(
        std::move(owned),
        typename LinkEnd<L>::Traits{
            .room_wait = room_wait, .counters = std::move(counters), .tcp = std::move(tcp)}));
  }
  auto faulty = FaultLink::wrap(AnyLink(std::move(owned)), options.received, options.sent);
  if (!faulty) return std::move(faulty).error();
  using Faulty = LinkEnd<FaultLink>;
  return std::unique_ptr<End>(
      std::make_unique<Faulty>(std::make_unique<FaultLink>(*std::move(faulty)),
                               Faulty::Traits{.room_wait = RoomWait::sleep,
                                              .counters = std::move(counters),
                                              .tcp = std::move(tcp),
                                              .faults_sent = options.sent.any(),
                                              .faults_received = options.received.any()}));
}

}  // namespace shmif::perf
