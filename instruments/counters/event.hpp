#pragma once
// An event that can be counted or sampled, described as the kernel needs it.

#include <linux/perf_event.h>

#include <cstdint>
#include <string>
#include <vector>

namespace shmif::perf {

/// What perf_event_open(2) is told about an event. EventNames::find() makes it from a name.
struct CounterEvent {
  std::string name;             ///< as the user wrote it
  std::uint32_t type = 0;       ///< as in perf_event_attr: PERF_TYPE_SOFTWARE, ..., or from sysfs
  std::uint64_t config = 0;     ///< with config1 to config3: the event of that type
  std::uint64_t config1 = 0;    ///< most types leave it 0
  std::uint64_t config2 = 0;    ///< most types leave it 0
  std::uint64_t config3 = 0;    ///< most types leave it 0
  bool exclude_user = false;    ///< do not count in user space
  bool exclude_kernel = false;  ///< do not count in the kernel
  bool exclude_hypervisor = false;  ///< do not count in the hypervisor
  bool exclude_host = false;        ///< do not count outside virtual machines
  bool exclude_guest = false;       ///< do not count in virtual machines
  std::uint8_t precise = 0;         ///< 0 to 3, as precise_ip: 3 is the most exact address
  double scale = 1;                 ///< factor from the count to `unit`
  std::string unit;                 ///< "ns", "MiB"; empty: the value is a number of events
  std::string source;               ///< what defines the name: a file, a library, or a header
  std::vector<int> cpus;            ///< counts everything on these CPUs only; empty: no limit
};

/// Whether the event also happens in user space. A switch between threads does not, so without the
/// kernel its count would always be 0.
bool happens_in_user_space(const CounterEvent& event) noexcept;
/// Whether the event is task-clock or cpu-clock. Their counts include the time in the kernel even
/// as task-clock:u; only their samples can be in user space only.
bool is_software_clock(const CounterEvent& event) noexcept;
/// The name of this event in user space only: "cycles:u".
std::string user_space_name(const CounterEvent& event);

/// How an event is sampled. A period or a frequency makes it a sampled event.
struct Sampling {
  std::uint64_t period = 0;     ///< events per sample
  std::uint64_t frequency = 0;  ///< samples per second; the kernel adapts the period
  std::uint64_t fields = 0;     ///< PERF_SAMPLE_ bits besides those that the session itself needs
  /// The first overflow masks the session: no event counts until restart(). Needs a period, and a
  /// target that is one thread or CPU. Only one event of a set may mask or switch.
  bool mask = false;
  /// An overflow begins the turn of the next event set. Needs a period. Only one event of a set may
  /// have it. On a thread or on CPUs, the kernel itself stops the event at the overflow. In a
  /// process, each thread has its own period, so the event may overflow again before the session
  /// has noticed.
  bool switch_set = false;

  /// Whether the event is sampled, not only counted.
  bool on() const noexcept { return period != 0 || frequency != 0; }
};

}  // namespace shmif::perf
