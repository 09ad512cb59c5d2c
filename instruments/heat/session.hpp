#pragma once
// Watches several processes: takes samples, ends windows, and keeps the results.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "instruments/heat/damon.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/heat/source.hpp"
#include "instruments/watch/capability.hpp"
#include "instruments/watch/process.hpp"

namespace shmif::perf {

class DamonRecord;

/// One window. Times are of the steady clock, in seconds since the session began.
struct HeatWindow {
  double begin_s = 0, end_s = 0;
  std::uint32_t samples = 0;  ///< looks in it; a region has at most as many `accesses`
  std::uint64_t working_set_bytes = 0;
  std::vector<Region> regions;
};

/// All that is known of one target.
struct HeatResult {
  TaskId process;    ///< number 0: physical memory
  std::string name;  ///< of its program
  HeatProvenance provenance;
  std::string reason;           ///< why there are no windows, or no new ones; empty if there are
  std::string fallback_reason;  ///< why clear_refs watches it, although pages were wanted
  bool has_ended = false;
  /// The process closed its connection while it lived: it left its bus, or was about to end.
  bool has_left = false;
  double rest_s = 0;  ///< rest after the last sample, so that samples stay within the budget
  std::vector<NamedRange> ranges;
  MappingLooks mappings;            ///< if the source also knows them
  pid_t kernel_thread = 0;          ///< of DAMON; 0 if there is none
  std::vector<HeatWindow> windows;  ///< the oldest first
};

/// The source that the user wants.
enum class HeatBackend : std::uint8_t {
  /// client if the process takes part, otherwise written if this command began it, otherwise
  /// clear_refs
  automatic,
  client,
  written,
  clear_refs,
  damon,  ///< the kernel's own; used only if the user asks for it
};

/// What a user sets.
struct HeatSettings {
  HeatAttributes attributes;
  HeatBackend backend = HeatBackend::automatic;
  std::string clients;  ///< directory; empty: ask each process's environment
  DamonMemory damon;    ///< what the kernel's monitor watches
};

struct HeatOptions : HeatSettings {
  /// Knows which of the kernel's contexts belong to this session.
  std::shared_ptr<DamonRecord> damon_record = nullptr;
  KernelFiles files;
  std::size_t keep_windows = 600;  ///< older ones are forgotten
  double budget = 0.01;            ///< the share of the time that samples may take
  /// Whether to end. Called between two targets and while one does not answer.
  std::function<bool()> stops = [] { return false; };
};

/// Threads: one at a time.
class HeatSession {
 public:
  using Clock = std::chrono::steady_clock;

  explicit HeatSession(HeatOptions options);
  ~HeatSession();
  HeatSession(HeatSession&&) noexcept;
  HeatSession& operator=(HeatSession&&) = delete;

  /// Adds a process, even if it cannot be watched; its result then has the reason.
  void add(const Process& process);
  /// Adds a program that has just begun. `userfaultfd`: of its memory, or why there is none
  /// (instruments/watch/exec_stop.hpp).
  void add(const Process& program, Result<UniqueFd> userfaultfd);
  /// Adds several processes, or the physical memory (DamonSpace::paddr). The kernel's own monitor
  /// takes all targets together, so call this only once for it.
  void add_all(const std::vector<Process>& processes);
  /// Adds a process with a connected source.
  void add(const Process& process, std::unique_ptr<HeatSource> source);
  /// Adds a process that is not watched. Its result has `name` and the reason.
  void add_unwatched(const TaskId& process, const std::string& name, const std::string& reason);

  /// Does what is due. Result: when to call it again. Blocks: at most five seconds for a target.
  Clock::time_point step();
  /// Ends the open windows that have samples.
  void finish();

  /// Whether any target is left to watch.
  bool is_watching() const noexcept;
  std::size_t windows() const noexcept;  ///< the largest number that a target has had
  /// Grows whenever results() may have changed.
  std::uint64_t changes() const noexcept { return changes_; }
  std::vector<HeatResult> results() const;
  /// The same without a copy, which would take megabytes after 600 windows of a thousand regions.
  /// Valid until the session looks again or is moved or destroyed.
  std::vector<const HeatResult*> views() const;

 private:
  struct Target;
  void connect(Target& target, Result<UniqueFd> userfaultfd);
  void add_to_damon(const std::vector<TaskId>& processes);
  void search(Target& target);
  void begin(Target& target, std::unique_ptr<HeatSource> source);
  void start_regions(Target& target);
  void sample(Target& target);
  bool look(Target& target);
  void forget(Target& target);
  void end_window(Target& target);
  void update(Target& target);
  void fail(Target& target, const Error& why);
  void stop(Target& target, const Error& why);
  void learn(Target& target);
  double seconds(Clock::time_point then) const noexcept;

  HeatOptions options_;
  KernelFiles client_files_;  ///< opens the directory of the clients
  Clock::time_point begun_;
  std::uint64_t changes_ = 0;
  std::vector<std::unique_ptr<Target>> targets_;
};

/// Tells which sources this machine has: heat.client, heat.pagemap_scan, heat.written,
/// heat.clear_refs, heat.damon.
std::vector<Capability> heat_capabilities(const KernelFiles& files = KernelFiles());

}  // namespace shmif::perf
