#pragma once
// Counts and samples the events of a thread, a process or a CPU. A session has the same life as in
// perfmon2: it is created, loaded on a target, started, stopped, restarted after an overflow,
// unloaded, and closed. session_table.hpp says which call is legal when.
//
// Events belong to event sets. One set counts at a time; with more than one, they take turns (after
// a time, at an overflow, or when switch_set() is called). A value is then scaled by the session's
// own clock: a clock event that counts on the target from start to stop, whichever set is active.
// It advances only while the target runs, and so do the times of the sets. Time of day would be
// wrong: if a target sleeps while one set is active, that set's share would look too small.
//
// Calls that take vectors check all elements before they do anything. If one is wrong, nothing is
// changed, and the message names the first wrong element and the reason. Empty vectors succeed.
//
// Threads: any, at the same time, for every call; only construction, moving and destruction must
// not overlap another call. A read() never spans a switch of event sets. Blocks: shortly, for other
// calls.
// Processes: a session belongs to the process that made it. In a child of fork(), it is closed:
// calls return Errc::forked, and its destruction leaves the parent's session as it is.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/errors.hpp"
#include "instruments/counters/event.hpp"
#include "instruments/counters/session_table.hpp"
#include "instruments/watch/task_id.hpp"

namespace shmif::perf {

class KernelCounters;
class SampleSink;

/// What a session watches.
struct CounterTarget {
  /// What `task` and `cpus` mean.
  enum class Kind {
    thread,   ///< this thread, but not the threads and children that it starts
    process,  ///< all threads that it has, and all threads and children that they start later
    cpu,      ///< everything on these CPUs
  } kind = Kind::thread;  ///< one of these
  TaskId task;            ///< for thread and process; start_ticks 0: any task with that number
  std::vector<int> cpus;  ///< for cpu
  bool on_exec = false;   ///< start() takes effect when the task executes a program

  /// As Kind::thread.
  static CounterTarget thread(TaskId task) { return {Kind::thread, task, {}, false}; }
  /// As Kind::process.
  static CounterTarget process(TaskId task) { return {Kind::process, task, {}, false}; }
  /// As Kind::cpu, for these CPUs. The kernel permits it only with privileges, or if
  /// perf_event_paranoid is at most 0.
  static CounterTarget cpu(std::vector<int> cpus) {
    return {Kind::cpu, {}, std::move(cpus), false};
  }
};

/// How a session counts. These properties hold for its whole life.
struct SessionOptions {
  /// Puts the events of a set into one group of the kernel: they count together or not at all.
  bool group = true;
  /// A thread of the session switches sets when their time is over and at overflows. Without that
  /// thread, sets are not switched by time, and after an overflow that must switch sets, the next
  /// call of any kind does it.
  bool switch_by_itself = true;
  /// Size of the ring for samples, in pages; a power of two.
  std::uint32_t ring_pages = 64;
};

/// An event that program() adds.
struct EventSetup {
  CounterEvent event;   ///< what to count
  unsigned set = 0;     ///< the set that it belongs to, which exists: 0, or one of create_sets()
  Sampling sampling{};  ///< by default, the event is only counted
};

/// What set_values() changes about an event. An empty member leaves the value as it is.
struct ValueSetup {
  std::size_t event = 0;                ///< as program() numbered it
  std::optional<std::uint64_t> value;   ///< the event counts on from this value
  std::optional<std::uint64_t> period;  ///< events per sample, from now on
};

/// What read() returns of one event. You set `event`.
struct Reading {
  std::size_t event = 0;         ///< in: number of the event
  std::uint64_t value = 0;       ///< the count, from the value that set_values() gave it
  std::uint64_t enabled_ns = 0;  ///< how long the target ran while the event had to count
  std::uint64_t running_ns = 0;  ///< how long it did count; less if the kernel or we switched
  /// Estimate of the value for the whole time. Empty if the event did not count at all.
  std::optional<double> scaled{};
  bool one_instant = false;  ///< false: the target may have run between the reads of two values
};

/// An event set that create_sets() makes.
struct SetSetup {
  unsigned id = 0;  ///< number of the set, chosen by you; 0 exists from the start
  /// How long the set's turn lasts; 0: it does not end by time.
  std::chrono::nanoseconds turn{0};
};

/// What query_sets() returns of one set. You set `id`.
struct SetQuery {
  unsigned id = 0;                ///< in: number of the set
  std::size_t events = 0;         ///< how many events it has
  std::uint64_t activations = 0;  ///< since the set was created
  std::uint64_t active_ns = 0;    ///< by the session's clock
  bool is_active = false;         ///< it has its turn now, or at the next start
};

/// What one call of read_samples() has read.
struct SampleCounts {
  std::uint64_t samples = 0;  ///< passed to the sink
  std::uint64_t lost = 0;     ///< records for which the ring was full, or whose event is unknown
  /// `lost` may be too small. A kernel before Linux 6.0 reports losses only with the next record
  /// that finds room, so it does not report the last ones.
  bool lost_is_least = false;
};

/// Why the kernel refused to open an event, and how to enable it.
struct Refusal {
  /// What kind of reason it is.
  enum class State {
    not_supported,          ///< this machine or this kernel cannot count the event
    not_permitted,          ///< this user may not count it
    failed,                 ///< another reason, which may pass
  } state = State::failed;  ///< one of these
  std::string reason;       ///< for the message: why
  std::string enable_with;  ///< empty: no remedy is known
};
/// What is known about a refusal besides its errno.
struct RefusalHints {
  bool in_user_space = false;  ///< the kernel would permit the event in user space only
  bool whole_cpu = false;      ///< the event was for everything on a CPU
};
/// Explains the errno `number` of perf_event_open(2). Threads: any. Blocks: never.
Refusal explain_refusal(int number, const CounterEvent& event, const RefusalHints& hints = {});
/// The refusal for a task of another user.
Refusal foreign_refusal(uid_t owner);
/// A note for an event that is counted or sampled in user space only, because the kernel does not
/// permit more: the name for exactly that, and how to permit more.
std::string user_space_note(const CounterEvent& event);
/// A short form, to be added to the source of such an event.
std::string user_space_source(const CounterEvent& event);

/// Which element of a vector made a call fail.
struct VectorFault {
  std::size_t element = 0;  ///< its index, from 0
  int number = 0;           ///< errno if the kernel refused it
  Refusal refusal{};        ///< why the kernel refused it
};

/// Counts and samples events of one target: create the session, load() it on the target, start(),
/// stop(), read(), unload(), close(). session_table.hpp says which call is legal when. Threads:
/// any, at the same time, for every call; only construction, moving and destruction must not
/// overlap another call. Blocks: shortly, for other calls. Fork: in the child, calls return
/// Errc::forked.
class CounterSession {
 public:
  /// Makes an unloaded session with the empty set 0.
  explicit CounterSession(SessionOptions options = {});
  /// Calls on the session that was moved away return CounterErrc::bad_session.
  CounterSession(CounterSession&& other) noexcept;
  /// Closes this session first. Then as the constructor.
  CounterSession& operator=(CounterSession&& other) noexcept;
  /// As close().
  ~CounterSession();

  /// The state now, by the calls so far and by the target. `closed` after a move.
  SessionState state();

  /// Makes event sets. An existing set is replaced and loses its events. Errors: invalid for
  /// a set twice in the vector, or a turn below 0.
  Result<void> create_sets(std::span<const SetSetup> sets);
  /// Deletes sets with their events; other events keep their numbers. Errors: invalid for set 0,
  /// for a set that does not exist, and for a set twice in the vector.
  Result<void> delete_sets(std::span<const unsigned> ids);
  /// Fills in each element but its `id`. Errors: invalid for a set that does not exist, and then no
  /// element is filled in.
  Result<void> query_sets(std::span<SetQuery> sets);

  /// Adds events to sets. If the session is loaded, also opens them on its target; if one fails, no
  /// event is added. They then form groups of their own, which the kernel may let count at other
  /// times than the existing events. Errors: busy for a session that is loaded on a process; those
  /// of load(). `fault` gets the event that the kernel refused. Result: the number of the first
  /// event; the numbers of the others follow.
  Result<std::size_t> program(std::span<const EventSetup> events,
                              std::optional<VectorFault>* fault = nullptr);
  /// Errors: invalid for an event that does not exist, or a period for an event without a period.
  Result<void> set_values(std::span<const ValueSetup> values);

  /// Opens all events on the target; if one fails, all are closed. Errors: as perf_event_open(2);
  /// ESRCH if the task does not exist or has another start time. `fault` gets the event that the
  /// kernel refused.
  Result<void> load(const CounterTarget& target, std::optional<VectorFault>* fault = nullptr);
  /// Starts counting: now, or at the exec with `on_exec`. A started session stays started. Errors:
  /// as the table; those of the kernel, and then no event counts.
  Result<void> start();
  /// Stops counting. The counts remain, and start() continues from them. Errors: as the table.
  Result<void> stop();
  /// Continues after an overflow that masked the session. Errors: as start().
  Result<void> restart();
  /// Begins the turn of set `id`, or of the next set in the order of their numbers. Errors: invalid
  /// for a set that does not exist; those of the kernel, and then the old set continues.
  Result<void> switch_set(std::optional<unsigned> id = {});

  /// Reads counts. Errors: invalid for an event that does not exist, and then no event is read;
  /// those of the kernel. Does not allocate. Blocks: while the kernel cannot add up a group because
  /// a thread is ending, at most for about a second. `stop_target`: stops the threads of the target
  /// meanwhile, so the values are of one instant; not for CPUs.
  Result<void> read(std::span<Reading> readings, bool stop_target = false);
  /// How long the target has run since the first start, by the session's own clock, in nanoseconds;
  /// the sum over its threads or CPUs.
  Result<std::uint64_t> clock_ns();

  /// A descriptor for poll and epoll. It becomes readable when an overflow or a sample comes, and
  /// stays readable once the target has ended. A poll may consume the notification of a sample. So
  /// call read_samples() or restart() after it, and poll in one place only. If the session switches
  /// sets by itself, an overflow that masks or switches leaves the descriptor readable until one of
  /// these calls. The descriptor is closed on exec, and by unload(). -1: not loaded.
  int wake_descriptor();
  /// Passes all available records to `sink`. Blocks: never. `sink` must not call the session.
  Result<SampleCounts> read_samples(SampleSink& sink);

  /// Closes the events. Counts, sets and events remain: after another load() the counts go on.
  Result<void> unload();
  /// Unloads, and ends the session. The target runs on as before. Blocks: until the thread that
  /// switches sets has ended.
  Result<void> close();

 private:
  friend CounterSession session_over(SessionOptions options, KernelCounters& kernel);
  struct Impl;
  explicit CounterSession(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
