#pragma once
// Finds events by the names that users write.
//
//   task-clock  page-faults  cycles  L1-dcache-load-misses    the kernel's generic events
//   r1a8                                                      a raw code of the CPU's PMU
//   sched:sched_switch                                        a tracepoint
//   cpu/event=0x3c,umask=1/  uncore_imc_0/cas_count_read/     a PMU that sysfs describes
//   other names                                               a name that libpfm4 knows
//
// Modifiers follow a colon, or the second slash: cycles:u, cpu/cycles/k.

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/event.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

/// Threads: any. Blocks: as the kernel does for its files.
class EventNames {
 public:
  /// `library`: looks up all other names in libpfm4.
  explicit EventNames(KernelFiles files = KernelFiles(), bool library = true)
      : files_(std::move(files)), library_(library) {}
  /// The names that the kernel and its files explain, without those of libpfm4.
  static EventNames of_kernel(KernelFiles files) {
    EventNames names(std::move(files));
    names.library_ = false;
    return names;
  }

  /// Errors: Errc::bad_argument for an unknown name, or a wrong term or modifier;
  /// Errc::not_supported if there is no such PMU or no tracefs; the errno of a file that cannot be
  /// read.
  Result<CounterEvent> find(std::string_view name) const;
  /// All events of "a,b/c,d/,e". Errors: the error of the first name that fails.
  Result<std::vector<CounterEvent>> find_all(std::string_view list) const;

 private:
  Result<CounterEvent> of_pmu(std::string_view pmu, std::string_view terms) const;
  Result<void> put_term(const std::string& folder, std::string_view term_name, std::uint64_t value,
                        CounterEvent& event) const;
  Result<void> put_alias(const std::string& folder, const std::string& alias,
                         const std::vector<std::string>& given, CounterEvent& event) const;
  Result<CounterEvent> tracepoint(const std::string& system, const std::string& name) const;

  KernelFiles files_;
  bool library_;
};

/// A generic software, hardware or cache event of the kernel. Null for other names.
const CounterEvent* generic_event(std::string_view name);
/// The names of all generic events, for messages.
const std::vector<std::string>& generic_event_names();

/// Looks the name up in libpfm4. Errors: Errc::bad_argument.
Result<CounterEvent> library_event(const std::string& name);

/// The kernel's number for a tracepoint. Errors: Errc::not_supported if there is no tracefs or no
/// such tracepoint; EACCES.
Result<std::uint64_t> tracepoint_id(const KernelFiles& files, const std::string& system,
                                    const std::string& name);

}  // namespace shmif::perf
