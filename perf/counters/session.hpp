#pragma once
// Counts and samples the events of a thread, a process or a CPU. The life of a session is that of
// perfmon2's: it is created, loaded on a target, started, stopped, restarted after an overflow,
// unloaded, and closed. session_table.hpp says which call is legal when.
//
// Events belong to event sets. One set counts at a time; with more than one, they take turns (after
// a time, at an overflow, or when switch_set() is called). A value is then scaled by the session's
// own clock: a clock event that counts on the target from start to stop, whichever set is active.
// It advances only while the target runs, and so do the times of the sets. Time of day does not do:
// a target that sleeps while one set is active would make that set's share look too small.
//
// Calls that take vectors check all elements before they do anything. If one is wrong, the message
// names the first such element and why, and nothing is changed. Empty vectors succeed.
//
// Threads: any, at the same time, for every call; only construction, moving and destruction must be
// alone. A read() never spans a switch of event sets. Blocks: shortly, for other calls.
// Processes: a session is that of the one that made it. In a child of fork(), it is closed: calls
// return Errc::forked, and its destruction leaves the parent's session as it is.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/counters/errors.hpp"
#include "perf/counters/session_table.hpp"
#include "perf/events/event.hpp"
#include "perf/watch/task_id.hpp"

namespace shmif::perf {

class KernelCounters;
class SampleSink;

/// Whom a session watches.
struct CounterTarget {
  enum class Kind {
    thread,   ///< this one; nothing of what it starts
    process,  ///< all threads that it has, and all threads and children that those start later
    cpu,      ///< everything on these CPUs
  } kind = Kind::thread;
  TaskId task;            ///< of thread and process; start_ticks 0: whoever has the number
  std::vector<int> cpus;  ///< of cpu
  bool on_exec = false;   ///< start() takes effect when the task executes a program

  static CounterTarget thread(TaskId task) { return {Kind::thread, task, {}, false}; }
  static CounterTarget process(TaskId task) { return {Kind::process, task, {}, false}; }
  static CounterTarget cpu(std::vector<int> cpus) {
    return {Kind::cpu, {}, std::move(cpus), false};
  }
};

struct SessionOptions {
  /// The events of a set are one group of the kernel: they count at the same time or not at all.
  bool group = true;
  /// A thread of the session switches sets after their time and at overflows. Without it, no time
  /// switches sets, and after an overflow that is to switch them, the next call of any kind does.
  bool switch_by_itself = true;
  /// Of the ring that samples come through, in pages; a power of two.
  std::uint32_t ring_pages = 64;
};

struct EventSetup {
  CounterEvent event;
  unsigned set = 0;
  Sampling sampling{};
};

/// What set_values() changes about an event; what is left out remains.
struct ValueSetup {
  std::size_t event = 0;               ///< as program() numbered it
  std::optional<std::uint64_t> value;  ///< it counts on from here
  std::optional<std::uint64_t> period;
};

struct Reading {
  std::size_t event = 0;         ///< in: which one
  std::uint64_t value = 0;       ///< with what set_values() gave it
  std::uint64_t enabled_ns = 0;  ///< how long the target ran and the event was to count
  std::uint64_t running_ns = 0;  ///< how long it did count; less: the kernel or we switched
  /// What it would be, had it counted all the time. None: it did not count at all.
  std::optional<double> scaled{};
  bool one_instant = false;  ///< false: the target may have run between the values of this read
};

struct SetSetup {
  unsigned id = 0;
  /// The next set's turn comes after it; 0: it does not come by time.
  std::chrono::nanoseconds turn{0};
};

struct SetQuery {
  unsigned id = 0;  ///< in: which one
  std::size_t events = 0;
  std::uint64_t activations = 0;  ///< since it was created
  std::uint64_t active_ns = 0;    ///< of the session's clock
  bool is_active = false;         ///< its turn now, or at the next start
};

struct SampleCounts {
  std::uint64_t samples = 0;
  std::uint64_t lost = 0;  ///< records that found no room in the ring, or whose event is unknown
  /// `lost` may be too small. A kernel before Linux 6.0 tells what was lost only with the next
  /// record that finds room, so it says nothing of the last ones.
  bool lost_is_least = false;
};

/// Why the kernel refused to open an event, and what would help.
struct Refusal {
  enum class State { not_supported, not_permitted, failed } state = State::failed;
  std::string reason;
  std::string enable_with;  ///< empty: nothing that we know
};
/// What is known of a refusal beside its errno.
struct RefusalHints {
  bool in_user_space = false;  ///< the kernel would permit the event there
  bool whole_cpu = false;      ///< it was to count everything on a CPU
};
/// By the errno of perf_event_open(2). Threads: any. Blocks: never.
Refusal explain_refusal(int number, const CounterEvent& event, const RefusalHints& hints = {});
/// For a task of another user.
Refusal foreign_refusal(uid_t owner);
/// For an event that is counted or sampled in user space only, because the kernel permits no more:
/// by which name one can ask for that, and what permits more.
std::string user_space_note(const CounterEvent& event);
/// The same in short, as the end of the source of such an event.
std::string user_space_source(const CounterEvent& event);

/// Which element of a vector made a call fail.
struct VectorFault {
  std::size_t element = 0;
  int number = 0;  ///< errno, if the kernel refused it
  Refusal refusal{};
};

class CounterSession {
 public:
  /// An unloaded session with the empty set 0.
  explicit CounterSession(SessionOptions options = {});
  CounterSession(CounterSession&& other) noexcept;
  CounterSession& operator=(CounterSession&& other) noexcept;
  /// As close().
  ~CounterSession();

  /// As the table and the target say now. Of a session that was moved away: closed.
  SessionState state();

  /// Makes event sets. A set that exists is replaced, and loses its events. Errors: invalid for
  /// a set twice in the vector, or a turn below 0.
  Result<void> create_sets(std::span<const SetSetup> sets);
  /// Their events go, too; the numbers of other events remain. Errors: invalid for set 0, for a set
  /// that does not exist, and for one twice in the vector.
  Result<void> delete_sets(std::span<const unsigned> ids);
  Result<void> query_sets(std::span<SetQuery> sets);

  /// Adds events to sets. While the session is loaded, also opens them on its target, all or none;
  /// they are then groups of their own, which the kernel may let count at other times than the
  /// existing events. Errors: busy for a session that is loaded on a process; those of load().
  /// `fault`: the event that the kernel refused. Result: the number of the first; the others follow
  /// it.
  Result<std::size_t> program(std::span<const EventSetup> events,
                              std::optional<VectorFault>* fault = nullptr);
  /// Errors: invalid for an event that does not exist, or a period of an event without one.
  Result<void> set_values(std::span<const ValueSetup> values);

  /// Opens all events on the target, or none. Errors: as perf_event_open(2); ESRCH if the task is
  /// not there or is not the one meant. `fault`: the event that the kernel refused.
  Result<void> load(const CounterTarget& target, std::optional<VectorFault>* fault = nullptr);
  /// Counts from now on, or from the exec on that the target waits for. A session that is started
  /// stays so. Errors: as the table; those of the kernel, and then nothing counts.
  Result<void> start();
  /// Counts no more. The counts remain, and start() goes on from them. Errors: as the table.
  Result<void> stop();
  /// Goes on after an overflow that masked the session. Errors: as start().
  Result<void> restart();
  /// Begins the turn of the next set in the order of their numbers, or of this one. Errors: invalid
  /// for a set that does not exist; those of the kernel, and then the old set goes on.
  Result<void> switch_set(std::optional<unsigned> id = {});

  /// Errors: invalid for an event that does not exist, and then none is read; those of the kernel.
  /// Allocates nothing. Blocks: while the kernel cannot add up a group because a thread is ending,
  /// at most for about a second. `stop_target`: the threads of the target stand still meanwhile, so
  /// the values are of one instant; not for CPUs.
  Result<void> read(std::span<Reading> readings, bool stop_target = false);
  /// How long the target has run since the first start, by the session's own clock, in nanoseconds:
  /// all of its threads or CPUs together.
  Result<std::uint64_t> clock_ns();

  /// For poll and epoll: readable when an overflow or a sample came, and from the end of the target
  /// on. A poll may consume the notification of a sample. So call read_samples() or restart() after
  /// it, and poll in one place only. If the session switches sets by itself, an overflow that masks
  /// or switches leaves the descriptor readable until one of these calls.
  /// Closed on exec, and by unload(). -1: not loaded.
  int wake_descriptor();
  /// Hands all records that are there to `sink`. Blocks: never. `sink` must not call the session.
  Result<SampleCounts> read_samples(SampleSink& sink);

  /// Counts and programs remain; the session can be loaded again, and counts on.
  Result<void> unload();
  /// Unloads, and ends the session. The target is not touched. Blocks: until the thread that
  /// switches sets has ended.
  Result<void> close();

 private:
  friend CounterSession session_over(SessionOptions options, KernelCounters& kernel);
  class Impl;
  explicit CounterSession(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
