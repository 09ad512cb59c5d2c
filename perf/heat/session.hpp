#pragma once
// Watches several processes: samples, windows, and what comes of them.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/heat/attributes.hpp"
#include "perf/heat/damon_space.hpp"
#include "perf/heat/regions.hpp"
#include "perf/heat/source.hpp"
#include "perf/watch/capability.hpp"
#include "perf/watch/process.hpp"

namespace shmif::perf {

class DamonRecord;

/// Time of the steady clock, in seconds since a session began.
struct HeatWindow {
  double begin_s = 0, end_s = 0;
  std::uint32_t samples = 0;  ///< looks in it: what `accesses` of a region is a part of
  std::uint64_t working_set_bytes = 0;
  std::vector<Region> regions;
};

/// What is known of one target.
struct HeatResult {
  TaskId process;    ///< number 0: physical memory
  std::string name;  ///< of its program
  HeatProvenance provenance;
  std::string reason;  ///< why there are no windows, or no more of them; empty: none
  std::string
      fallback_reason;  ///< why a process is watched by clear_refs, though pages were wanted
  bool has_ended = false;
  /// It closed its connection while it lived: it left its bus, or was about to end.
  bool has_left = false;
  double rest_s = 0;  ///< after the last sample, so that it costs no more than 1 % of the time
  std::vector<NamedRange> ranges;
  MappingLooks mappings;            ///< if the source knows them besides
  pid_t kernel_thread = 0;          ///< of DAMON; 0: none
  std::vector<HeatWindow> windows;  ///< the oldest first
};

/// Which source is wanted.
enum class HeatBackend : std::uint8_t {
  automatic,  ///< client if the process takes part, or else written, or else clear_refs
  client,
  written,
  clear_refs,
  damon,  ///< the kernel's; never taken unless asked for
};

struct HeatOptions {
  HeatAttributes attributes;
  HeatBackend backend = HeatBackend::automatic;
  std::string clients;  ///< directory; empty: what each process's own environment says
  DamonMemory damon;    ///< what the kernel's watches
  /// Knows which of the kernel's contexts are of this session.
  std::shared_ptr<DamonRecord> damon_record = nullptr;
  KernelFiles files;
  std::size_t keep_windows = 600;  ///< older ones are forgotten
  /// Whether to end; asked between two targets, each of which may take a second to answer.
  std::function<bool()> stops = [] { return false; };
};

/// Threads: one at a time.
class HeatSession {
 public:
  using Clock = std::chrono::steady_clock;

  explicit HeatSession(HeatOptions options);
  ~HeatSession();
  HeatSession(HeatSession&&) noexcept;
  HeatSession& operator=(HeatSession&&) noexcept;

  /// Adds a process. One that cannot be watched is added, too, and its result has the reason.
  void add(const Process& process);
  /// Adds several, or the physical memory if that is to be watched (DamonSpace::paddr). The
  /// kernel's own monitor takes all of its targets at once, so this is called only once for it.
  void add_all(const std::vector<Process>& processes);
  /// Adds a process that is connected already.
  void add(const Process& process, std::unique_ptr<HeatSource> source);
  /// Adds one that is not watched: its result has `name` and the reason.
  void add_unwatched(const TaskId& process, const std::string& name, const std::string& reason);

  /// Does what is due. Result: when it must be called again. Blocks: while the kernel, or a target
  /// for a second at most, answers.
  Clock::time_point step();
  /// Ends the windows that are open, if they have samples.
  void finish();

  /// Whether anybody is left to watch.
  bool is_watching() const noexcept;
  std::size_t windows() const noexcept;  ///< the most that a target has had
  /// Grows whenever results() may have changed.
  std::uint64_t changes() const noexcept { return changes_; }
  std::vector<HeatResult> results() const;

 private:
  struct Target;
  void connect(Target& target);
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
  Clock::time_point begun_;
  std::uint64_t changes_ = 0;
  std::vector<std::unique_ptr<Target>> targets_;
};

/// The least number of bytes that so many per cent of the windows do not exceed: 0, 25, 50, 75 and
/// 100 per cent. Empty if there are no windows.
std::vector<std::uint64_t> working_set_percentiles(const std::vector<HeatWindow>& windows);

/// `target` and `windows` of one result; or `targets`, a list of these, of several. Addresses are
/// numbers. `partial`: a signal ended it early.
std::string heat_json(const std::vector<HeatResult>& results, const HeatAttributes& attributes,
                      bool partial);
/// A sentence of each target (heat_conclusion()), then its heat map, at most `columns` wide, and
/// its working set. If samples were taken more seldom than asked for, it says how often.
/// `in_colour`: for a terminal.
std::string heat_text(const std::vector<HeatResult>& results, const HeatAttributes& attributes,
                      std::size_t columns, bool in_colour = false);

/// Why the next sample of a target comes a second or more after the last one; empty: it does not.
std::string heat_slowness(const HeatResult& result);

/// heat.client, heat.pagemap_scan, heat.written, heat.clear_refs, heat.damon.
std::vector<Capability> heat_capabilities(const KernelFiles& files = KernelFiles());

}  // namespace shmif::perf
