#pragma once
// The events that the kernel counts for a session while it is loaded: its clocks, and groups of
// events.
//
// An event of the kernel is in exactly one group; one that is in no group is closed.

#include <poll.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "perf/counters/event_sets.hpp"
#include "perf/counters/group_plan.hpp"
#include "perf/counters/kernel_counters.hpp"
#include "perf/counters/sample_buffers.hpp"
#include "perf/counters/target_binding.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: never.
class OpenEvents {
 public:
  OpenEvents(KernelCounters& kernel, EventSets& sets, SampleBuffers& samples) noexcept
      : kernel_(kernel), sets_(sets), samples_(samples) {}
  OpenEvents(const OpenEvents&) = delete;
  OpenEvents& operator=(const OpenEvents&) = delete;
  ~OpenEvents() { close(); }

  /// Opens all events of all sets; after an error, some are open. `fault`: the event that the
  /// kernel refused.
  Result<void> open(const TargetBinding& target, const SessionOptions& options,
                    std::optional<VectorFault>* fault);
  /// Opens the events from number `first` on, beside those that are open; after an error, some are
  /// open.
  Result<void> open_more(std::size_t first, const TargetBinding& target,
                         const SessionOptions& options, std::optional<VectorFault>* fault);
  /// Lets those of the active set count. Errors: then some do.
  Result<void> enable_from(std::size_t first);
  void close_from(std::size_t first) noexcept;
  /// Whether every group that was opened last can be read, and none was refused because of a thread
  /// that came or went meanwhile. Such a thread can have inherited a part of a group (C6).
  bool is_whole();
  /// Also closes the rings of samples.
  void close() noexcept;

  /// The clocks, and the events of the active set. Errors: then none counts.
  Result<void> enable_all();
  void disable_all() noexcept;
  /// Errors: then no event of the set counts.
  Result<void> enable_set(unsigned id);
  void disable_set(unsigned id) noexcept;

  /// The event of the active set that masks or switches, if an overflow of it has come since it was
  /// last let go.
  std::optional<std::size_t> take_overflow() noexcept;
  /// Adds what becomes readable at such an overflow.
  void add_wakers(std::vector<pollfd>& wakers) const;

  /// Reads the events that are wanted, since they were opened, into `now`. Allocates nothing.
  Result<void> read_wanted();
  /// How many records of samples have found no room since then; none: the kernel does not tell, or
  /// nothing is sampled.
  std::optional<std::uint64_t> lost_records();
  /// Whether something is sampled.
  bool samples() const noexcept;
  /// How long the target has run since then.
  Result<std::uint64_t> clock_ns() const;
  /// All periods or none.
  Result<void> set_periods(std::span<const ValueSetup> values);

 private:
  struct Member {
    std::size_t event = 0;
    int file = -1;
    std::uint64_t id = 0;
    std::uint64_t lost = 0;  ///< records, as the kernel told last
  };
  /// Events that the kernel schedules together.
  struct Group {
    unsigned set = 0;
    CounterPlace place;
    std::vector<Member> members{};
    bool sampled = false;
    LostRecords lost{};
    int leader() const noexcept { return members.front().file; }
    /// Of a group whose first event masks or switches: its ring, and how far that was when the
    /// group was last let go.
    std::optional<std::size_t> trigger_ring{};
    std::uint64_t trigger_seen = 0;
    /// The kernel stops it at an overflow. False if children inherit the event, and until the first
    /// overflow after a start by exec.
    bool limited = false;
    bool exhausted = true;  ///< the kernel let it count to one overflow, and that came
  };
  Result<void> open_clocks(const TargetBinding& target);
  Result<void> open_group(const GroupPlan& plan, CounterPlace place, const TargetBinding& target,
                          std::uint32_t ring_pages, std::optional<VectorFault>* fault);
  int open_event(Group& group, const GroupPlan& plan, std::size_t number,
                 const TargetBinding& target, std::uint32_t ring_pages);
  bool may_be_left_out(int error, const Group& group, const TargetBinding& target) const;
  bool is_offline(int cpu) const;
  bool permitted_in_user_space(std::size_t number, CounterPlace place,
                               const TargetBinding& target) const;
  Refusal refusal_of(int error, std::size_t number, CounterPlace place,
                     const TargetBinding& target) const;
  Result<void> open_ring(Group& group, const Member& member);
  Result<void> let_go(Group& group);
  void close_group(const Group& group) noexcept;
  /// Reads into `words_`, again while a thread is ending. Result: the bytes, or a negative errno.
  ssize_t read_file(const Group& group, std::size_t bytes, int tries);
  Result<void> read_words(const Group& group);
  Result<void> read_group(Group& group);
  int set_period(std::size_t event, std::uint64_t period);

  KernelCounters& kernel_;
  EventSets& sets_;
  SampleBuffers& samples_;
  bool tells_lost_ = true;       ///< the kernel knows PERF_FORMAT_LOST, as far as we know
  bool refused_member_ = false;  ///< the kernel took the first event of a group, but not another
  std::vector<int> clocks_;
  std::vector<Group> groups_;
  std::vector<std::uint64_t> words_;  ///< room for the values of the largest group
};

}  // namespace shmif::perf
