#pragma once
// The inside of a counter session. Only its own sources include this.
//
//   C1  Every call holds `mutex_` from its first test to its last effect.
//   C2  A call begins with update(), which learns from the kernel whether the target has ended and
//       whether an overflow came; only then it asks the table.
//   C3  An event of the kernel is in exactly one group; one that is in no group is closed.
//   C4  While the session counts, the groups of the active set are enabled, and the clocks; all
//       others are disabled.

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/unique_fd.hpp"
#include "perf/counters/sample.hpp"
#include "perf/counters/session.hpp"

namespace shmif::perf {

/// Where an event of the kernel counts, as perf_event_open(2) takes it.
struct CounterPlace {
  pid_t task = -1;
  int cpu = -1;
  bool operator==(const CounterPlace&) const = default;
};

/// What was counted.
struct CountSum {
  std::uint64_t value = 0;
  std::uint64_t enabled_ns = 0;
  std::uint64_t running_ns = 0;
};

class CounterSession::Impl {
 public:
  Impl(SessionOptions options, KernelCounters& kernel);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  SessionState state();
  Result<void> create_sets(std::span<const SetSetup> sets);
  Result<void> delete_sets(std::span<const unsigned> ids);
  Result<void> query_sets(std::span<SetQuery> sets);
  Result<std::size_t> program(std::span<const EventSetup> events);
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
  struct Event {
    EventSetup setup;
    std::uint64_t initial = 0;  ///< of the value
    CountSum before{};          ///< counted before this load, since `initial` was set
    std::uint64_t clock_begin = 0;
    CountSum now{};       ///< for one read
    bool wanted = false;  ///< by that read
  };
  struct Set {
    SetSetup setup;
    std::uint64_t activations = 0;
    std::uint64_t active_ns = 0;
    std::uint64_t active_since = 0;  ///< by the clock; while it is active
  };
  struct Member {
    std::size_t event = 0;
    int file = -1;
    std::uint64_t id = 0;
  };
  /// Events that the kernel schedules together.
  struct Group {
    unsigned set = 0;
    CounterPlace place;
    std::vector<Member> members{};
    int leader() const noexcept { return members.front().file; }
    /// Of a group whose first event masks or switches: its ring, and how far that was when the
    /// group was last let go.
    std::optional<std::size_t> trigger_ring{};
    std::uint64_t trigger_seen = 0;
    bool exhausted = true;  ///< the kernel let it count to one overflow, and that came
  };
  struct Ring {
    CounterPlace place;
    int file = -1;  ///< of the event whose ring it is
    void* memory = nullptr;
    std::size_t bytes = 0;
    SampleRing ring;
    bool shared = true;
  };
  /// A group before it is opened at each of its places.
  struct Plan {
    unsigned set = 0;
    std::vector<std::size_t> events{};
    std::vector<int> cpus{};
    std::uint32_t unit = 0;  ///< the PMU that counts it; kAnyUnit if software does
    bool sampled = false;
  };
  using Lock = std::unique_lock<std::mutex>;

  // session.cpp
  void update();
  Result<void> check(SessionCall call);
  bool counts() const noexcept { return state_ == SessionState::started; }
  bool is_loaded() const noexcept {
    return state_ != SessionState::unloaded && state_ != SessionState::closed;
  }
  Result<void> enable_all();
  void disable_all();
  Result<void> let_go(Group& group);
  Result<void> enable_set(unsigned id);
  void disable_set(unsigned id);
  Result<void> unload_now();
  std::string event_name(std::size_t event) const;

  // session_sets.cpp
  Result<void> check_set_setup(std::span<const SetSetup> sets) const;
  unsigned set_after(unsigned id) const;
  Result<void> make_active(unsigned id);
  void begin_activation();
  void end_activation();
  void run_switcher(const std::stop_token& stop, int wake);
  int turn_left_ms(std::chrono::steady_clock::time_point now) const;
  void end_switcher(Lock& lock);

  // session_load.cpp
  Result<void> find_task(const CounterTarget& target);
  std::vector<Plan> plans() const;
  std::vector<CounterPlace> places_of(const Plan& plan) const;
  EventAttr attr_of(const Event& event, bool leader, bool active, CounterPlace place) const;
  Result<void> open_clocks();
  Result<void> open_group(const Plan& plan, CounterPlace place, std::optional<VectorFault>* fault);
  Result<void> open_ring(const Event& event, const Member& member, Group& group);
  Result<void> open_all(std::optional<VectorFault>* fault);
  Result<void> open_wake();
  void close_all() noexcept;

  // session_read.cpp
  Result<void> read_group(const Group& group);
  Result<std::uint64_t> clock_now();
  Result<void> read_wanted();
  std::optional<double> scaled(const Event& event, const CountSum& sum, std::uint64_t clock) const;
  Result<void> hold_target(std::vector<std::pair<pid_t, int>>& held);
  static std::uint64_t sample_fields(const Sampling& sampling) noexcept;
  void restore_periods(std::span<const ValueSetup> values);
  void take_record(SampleSink& sink, const perf_event_header& header, SampleCounts& counts);
  void take_sample(SampleSink& sink, const perf_event_header& header, SampleCounts& counts);

  std::mutex mutex_;
  SessionOptions options_;
  KernelCounters& kernel_;
  SessionState state_ = SessionState::unloaded;
  std::vector<std::optional<Event>> events_;
  std::map<unsigned, Set> sets_{{0, Set{}}};
  unsigned active_ = 0;

  // While loaded:
  CounterTarget target_;
  bool own_ = false;  ///< the target is who loaded it
  std::vector<pid_t> threads_;
  int task_file_ = -1;
  std::vector<int> clocks_;
  std::vector<Group> groups_;
  std::vector<Ring> rings_;
  std::map<std::uint64_t, std::size_t> event_of_id_;
  UniqueFd wake_;
  std::vector<std::uint64_t> words_;  ///< room for the values of the largest group
  std::vector<std::byte> record_;
  std::vector<std::uint64_t> chain_;

  std::uint64_t clock_before_ = 0;  ///< of earlier loads
  /// The thread that switches sets, from the first start() of a load to unload().
  struct Switcher {
    UniqueFd wake;
    std::jthread thread{};
  };
  std::unique_ptr<Switcher> switcher_;
  std::chrono::steady_clock::time_point turn_end_{};
};

}  // namespace shmif::perf
