#pragma once
// The inside of CounterSession, in three files: session.cpp has the calls, session_loading.cpp
// loads and unloads, and session_turns.cpp lets event sets take turns. Internal to
// instruments/counters.
//
// The states of a session, and what each call does to its parts:
//
//   C1  Every call holds `mutex_` from its first test to its last effect.
//   C2  A call begins with update(), which asks the kernel whether the target has ended and whether
//       an overflow came. Only then does it consult the table.
//   C3  While the session counts, the clocks and the groups of the active set are enabled; all
//       other groups are disabled.
//   C4  Only one place polls each descriptor of the kernel: the kernel reports an overflow to the
//       first poll only (perf_poll in kernel/events/core.c). If there is a switcher, it polls. The
//       wake descriptor then watches `news_`, and the code that takes an overflow writes to it.
//   C5  A session belongs to the process that made it. A child of fork() inherits its descriptors,
//       which are the same events, but neither the rings nor the switcher. In the child, no call
//       does anything, and destruction only closes the descriptors.
//   C6  A thread inherits each event that is open when it starts. If it has only a part of a group,
//       reads of that group fail with ECHILD (__perf_read_group_add in kernel/events/core.c). If
//       the thread started between two openings, they always fail; if it is ending, only for a
//       moment. So a process counts as loaded only if its threads were the same before and after,
//       and a read is repeated while a thread is ending.
//   C7  If a thread has inherited all events of another, the kernel may swap the events of both
//       instead of their counts (context_equiv in kernel/events/core.c). An event then ends with
//       the wrong thread, and the kernel adds no more members to its group. The kernel never swaps
//       the events of a thread that has an event which is not inherited. So if a member is refused,
//       the thread gets such an event (an anchor) while the group is opened once more.

#include <poll.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"
#include "instruments/counters/event_sets.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/open_events.hpp"
#include "instruments/counters/sample_buffers.hpp"
#include "instruments/counters/session.hpp"
#include "instruments/counters/target_binding.hpp"

namespace shmif::perf {

class CounterSession::Impl {
 public:
  Impl(SessionOptions options, KernelCounters& kernel)
      : options_(options),
        target_(kernel),
        samples_(kernel, options.ring_pages),
        open_(kernel, sets_, samples_) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (is_forked()) {
      leave_to_parent();
    } else {
      (void)close();
    }
  }

  /// C5: in a child of the process that made it.
  bool is_forked() const noexcept { return process_ != 0 && !base::is_this_process(process_); }
  SessionState state();
  Result<void> create_sets(std::span<const SetSetup> sets);
  Result<void> delete_sets(std::span<const unsigned> ids);
  Result<void> query_sets(std::span<SetQuery> sets);
  Result<std::size_t> program(std::span<const EventSetup> events,
                              std::optional<VectorFault>* fault);
  Result<void> set_values(std::span<const ValueSetup> values);
  Result<void> load(const CounterTarget& target, std::optional<VectorFault>* fault);
  Result<void> start();
  Result<void> stop();
  Result<void> restart();
  Result<void> switch_set(std::optional<unsigned> id);
  Result<void> read(std::span<Reading> readings, bool stop_target);
  Result<std::uint64_t> clock_ns();
  int wake_descriptor();
  Result<SampleCounts> read_samples(SampleSink& sink);
  Result<void> unload();
  Result<void> close();

 private:
  using Lock = std::unique_lock<std::mutex>;

  void update();
  Result<void> check(SessionCall call);
  Result<void> check_change(SessionCall call);
  void tell(const char* what) const;
  bool counts() const noexcept { return state_ == SessionState::started; }
  bool is_loaded() const noexcept {
    return state_ != SessionState::unloaded && state_ != SessionState::closed;
  }
  Result<std::uint64_t> clock_now() const;
  std::uint64_t clock_or_zero() const {
    const auto clock = clock_now();
    return clock ? *clock : 0;
  }
  Result<void> open_all(const CounterTarget& target, std::optional<VectorFault>* fault);
  Result<void> open_settled(std::optional<VectorFault>* fault);
  Result<void> open_wake();
  Result<void> add_wakers();
  Result<void> open_more(std::size_t first, std::optional<VectorFault>* fault);
  bool has_switcher() const noexcept { return options_.switch_by_itself && !sets_.alone(); }
  void forget_news() noexcept;
  void close_all() noexcept;
  void leave_to_parent() noexcept;
  Result<void> unload_now();

  void begin_turn();
  void end_turn();
  Result<void> make_active(unsigned id);
  std::optional<int> give_turns(const std::stop_token& stop, std::vector<pollfd>& wakers);
  std::uint64_t samples_until() const noexcept;
  void end_switcher(Lock& lock);

  std::mutex mutex_;
  const std::uint64_t process_ = base::process_token();  ///< C5; 0: there was no memory to find out
  SessionOptions options_;
  SessionState state_ = SessionState::unloaded;
  EventSets sets_;
  TargetBinding target_;
  SampleBuffers samples_;
  OpenEvents open_;
  LostCount lost_;
  UniqueFd wake_;                          // while loaded
  UniqueFd news_;                          // C4; while loaded, with a switcher
  std::uint64_t clock_before_ = 0;         // clock of earlier loads
  std::unique_ptr<SetSwitcher> switcher_;  // from the first start() of a load to unload()
};

}  // namespace shmif::perf
