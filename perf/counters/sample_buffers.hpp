#pragma once
// The rings in which the kernel puts the samples of a counter session, and what is in them.

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "perf/counters/event_sets.hpp"
#include "perf/counters/kernel_counters.hpp"
#include "perf/counters/sample.hpp"

namespace shmif::perf {

/// Where an event of the kernel counts, as perf_event_open(2) takes it.
struct CounterPlace {
  pid_t task = -1;
  int cpu = -1;
  bool operator==(const CounterPlace&) const = default;
};

/// How many records were lost since the last call. A record in a ring says so too, but only when
/// another one has found room behind the gap.
class LostCount {
 public:
  /// `counts.lost`: by the records of this call. `by_events`: since the load, as the events
  /// themselves tell; none: the kernel does not.
  void add(SampleCounts& counts, std::optional<std::uint64_t> by_events, bool sampled) noexcept;

 private:
  std::uint64_t by_records_ = 0;
  std::uint64_t told_ = 0;
};

/// Threads: one at a time. Blocks: never.
class SampleBuffers {
 public:
  /// `pages`: of a ring; a power of two.
  SampleBuffers(KernelCounters& kernel, std::uint32_t pages) noexcept
      : kernel_(kernel), pages_(pages) {}
  SampleBuffers(const SampleBuffers&) = delete;
  SampleBuffers& operator=(const SampleBuffers&) = delete;
  ~SampleBuffers() { close(); }

  /// Gives the event of this descriptor a ring, or lets it use that of its CPU. Result: the number
  /// of the ring. Errors: the system's.
  Result<void> share(CounterPlace place, int file);
  Result<std::size_t> make(CounterPlace place, int file, bool shared);
  /// The event that the kernel has given this number.
  void know(std::uint64_t id, std::size_t event) { event_of_id_[id] = event; }
  /// This event is about to be closed: its ring goes, if it has one. Its ring has to be the last.
  void forget(int file, std::uint64_t id) noexcept;
  /// Does not close the descriptors.
  void close() noexcept;
  /// In a child of fork(), which has none of the rings: another mapping may be in their place.
  void forget_all() noexcept;

  std::optional<std::size_t> event_of(std::uint64_t id) const;
  /// Takes the oldest records out of this ring if it is nearly full; they count as lost.
  void make_room(std::size_t ring);
  /// How many samples make_room() has taken out since the last call.
  std::uint64_t take_dropped() noexcept { return std::exchange(dropped_, 0); }
  /// How many bytes the kernel has ever put into this ring.
  std::uint64_t head(std::size_t ring) const noexcept { return rings_[ring].ring.head(); }
  /// Descriptors that become readable when samples come. `triggers`: also those of events that mask
  /// the session or switch sets, whose rings are not shared.
  std::vector<int> files(bool triggers) const;
  /// Hands all records to `sink`.
  SampleCounts read(SampleSink& sink, const EventSets& sets);
  /// How many samples the PMU itself lost before they came to a ring, by the last read.
  std::uint64_t lost_in_pmu() const noexcept { return lost_in_pmu_; }

  /// The PERF_SAMPLE_ bits of an event.
  static std::uint64_t fields_of(const Sampling& sampling) noexcept;

 private:
  struct Ring {
    CounterPlace place;
    int file = -1;  ///< of the event whose ring it is
    void* memory = nullptr;
    std::size_t bytes = 0;
    SampleRing ring;
    bool shared = true;
  };
  void take_record(SampleSink& sink, const perf_event_header& header, const EventSets& sets,
                   SampleCounts& counts);
  void take_sample(SampleSink& sink, const perf_event_header& header, const EventSets& sets,
                   SampleCounts& counts);

  KernelCounters& kernel_;
  std::uint32_t pages_;
  std::vector<Ring> rings_;
  std::map<std::uint64_t, std::size_t> event_of_id_;
  std::uint64_t lost_in_pmu_ = 0;
  std::uint64_t dropped_ = 0;
  std::vector<std::byte> record_;
  std::vector<std::uint64_t> chain_;
};

}  // namespace shmif::perf
