#pragma once
// The kernel events of a session while it is loaded: its clocks, and groups of events.
//
// Each open event of the kernel, except the clocks, is in exactly one group.

#include <poll.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/event_sets.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/sample_buffers.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: never.
class OpenEvents {
 public:
  OpenEvents(KernelCounters& kernel, EventSets& sets, SampleBuffers& samples) noexcept
      : kernel_(kernel), sets_(sets), samples_(samples) {}
  OpenEvents(const OpenEvents&) = delete;
  OpenEvents& operator=(const OpenEvents&) = delete;
  ~OpenEvents() { close(); }

  /// Opens all events of all sets. After an error, some are open. `fault` gets the event that the
  /// kernel refused.
  Result<void> open(const TargetBinding& target, const SessionOptions& options,
                    std::optional<VectorFault>* fault);
  /// Opens the events from number `first` on, in addition to the open ones. After an error, some of
  /// them are open.
  Result<void> open_more(std::size_t first, const TargetBinding& target,
                         const SessionOptions& options, std::optional<VectorFault>* fault);
  /// Lets the events from `first` on that are in the active set count. After an error, some count.
  Result<void> enable_from(std::size_t first);
  void close_from(std::size_t first) noexcept;
  /// Whether every group that was opened last can be read, and no event was refused because a
  /// thread came or went meanwhile. Such a thread can have inherited a part of a group (C6).
  bool is_whole();
  /// Also closes the rings of samples.
  void close() noexcept;

  /// Lets the clocks and the events of the active set count. After an error, no event counts.
  Result<void> enable_all();
  void disable_all() noexcept;
  /// After an error, no event of the set counts.
  Result<void> enable_set(unsigned id);
  void disable_set(unsigned id) noexcept;

  /// The event of the active set that masks or switches, if it has overflowed since let_go() last
  /// let it count.
  std::optional<std::size_t> take_overflow() noexcept;
  /// Adds the descriptors that become readable at such an overflow.
  void add_wakers(std::vector<pollfd>& wakers) const;

  /// Reads the counts of the wanted events since they were opened into `now`. Does not allocate.
  Result<void> read_wanted();
  /// How many sample records were lost since the events were opened, because a ring was full.
  /// Empty if the kernel does not tell, or if no event is sampled.
  std::optional<std::uint64_t> lost_records();
  /// Whether an open event is sampled.
  bool samples() const noexcept;
  /// How long the target has run since the events were opened.
  Result<std::uint64_t> clock_ns() const;
  /// Sets all periods. After an error, no period has changed.
  Result<void> set_periods(std::span<const ValueSetup> values);

 private:
  struct Member {
    std::size_t event = 0;
    int file = -1;
    std::uint64_t id = 0;
    std::uint64_t lost = 0;  ///< lost records, by the kernel's newest count
  };
  /// Events that the kernel schedules together.
  struct Group {
    unsigned set = 0;
    CounterPlace place;
    std::vector<Member> members{};
    bool sampled = false;
    LostRecords lost{};
    int leader() const noexcept { return members.front().file; }
    /// Only if the first event masks or switches: its ring, and the head of that ring when
    /// let_go() last let the group count.
    std::optional<std::size_t> trigger_ring{};
    std::uint64_t trigger_seen = 0;
    /// The kernel stops the group at an overflow. False if children inherit the event, and until
    /// the first overflow after a start by exec.
    bool limited = false;
    bool exhausted = true;  ///< the kernel let it count to one overflow, and the overflow came
  };
  Result<void> open_clocks(const TargetBinding& target);
  Result<void> open_group(const GroupPlan& plan, CounterPlace place, const TargetBinding& target,
                          std::uint32_t ring_pages, std::optional<VectorFault>* fault);
  int open_event(Group& group, const GroupPlan& plan, std::size_t number,
                 const TargetBinding& target, std::uint32_t ring_pages);
  bool may_be_left_out(int error, const Group& group, const TargetBinding& target) const;
  static bool may_have_moved(int error, const Group& group, const TargetBinding& target);
  bool has_ended(pid_t thread, const TargetBinding& target) const;
  bool is_offline(int cpu) const;
  bool is_of_cpu(int error, int cpu) const;
  bool permitted_in_user_space(std::size_t number, CounterPlace place,
                               const TargetBinding& target) const;
  Refusal refusal_of(int error, std::size_t number, CounterPlace place,
                     const TargetBinding& target) const;
  Result<void> open_ring(Group& group, const Member& member);
  Result<void> let_go(Group& group);
  void close_group(const Group& group) noexcept;
  void close_members(Group& group) noexcept;
  /// Reads into `words_`; repeats while a thread is ending. Result: the bytes, or a negative errno.
  ssize_t read_file(const Group& group, std::size_t bytes, int tries);
  Result<void> read_words(const Group& group);
  Result<void> read_group(Group& group);
  int set_period(std::size_t event, std::uint64_t period);

  KernelCounters& kernel_;
  EventSets& sets_;
  SampleBuffers& samples_;
  bool tells_lost_ = true;       ///< false once the kernel has refused PERF_FORMAT_LOST
  bool refused_member_ = false;  ///< the kernel took the first event of a group, but not another
  std::vector<int> clocks_;
  std::vector<Group> groups_;
  std::vector<std::uint64_t> words_;  ///< room for the values of the largest group
};

}  // namespace shmif::perf
