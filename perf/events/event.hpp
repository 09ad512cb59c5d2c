#pragma once
// An event that can be counted or sampled, as the kernel wants it described.

#include <linux/perf_event.h>

#include <cstdint>
#include <string>
#include <vector>

namespace shmif::perf {

struct CounterEvent {
  std::string name;          ///< as the user wrote it
  std::uint32_t type = 0;    ///< of perf_event_attr: PERF_TYPE_SOFTWARE, or what sysfs says
  std::uint64_t config = 0;  ///< and config1 to config3: which event of that type
  std::uint64_t config1 = 0;
  std::uint64_t config2 = 0;
  std::uint64_t config3 = 0;
  bool exclude_user = false;
  bool exclude_kernel = false;
  bool exclude_hypervisor = false;
  bool exclude_host = false;
  bool exclude_guest = false;
  std::uint8_t precise = 0;  ///< 0 to 3: how far an address may be from the event
  double scale = 1;          ///< the value times this is in `unit`
  std::string unit;          ///< "ns", "MiB"; empty: a number of events
  std::string source;        ///< who gave the meaning of the name: a file, a library, or a header
  std::vector<int> cpus;     ///< counts only on these, for everything on them; empty: on any
};

/// Whether the event also happens in user space. A switch between threads does not, so without the
/// kernel its count would always be 0.
bool happens_in_user_space(const CounterEvent& event) noexcept;
/// How one asks for this event in user space only: "cycles:u".
std::string user_space_name(const CounterEvent& event);

/// How an event is sampled. A period or a frequency makes it a sampled event.
struct Sampling {
  std::uint64_t period = 0;     ///< a sample every so many events
  std::uint64_t frequency = 0;  ///< so many samples each second; the kernel adapts the period
  std::uint64_t fields = 0;     ///< PERF_SAMPLE_ bits beside those that the session needs itself
  /// The first overflow masks the session: nothing counts until restart(). With a period, on one
  /// thread or CPU only, once in a set.
  bool mask = false;
  /// An overflow makes the next event set count. With a period, once in a set. On a thread or on
  /// CPUs, the kernel itself stops the event at the overflow; in a process, where each thread has
  /// its own period, it may overflow again until the session has learned of it.
  bool switch_set = false;

  bool on() const noexcept { return period != 0 || frequency != 0; }
};

}  // namespace shmif::perf
