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
#include "perf/counters/sample_ring.hpp"

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

/// With a ring for each CPU, records have a time, and are handed out in the order of time: the
/// reader of a program's samples must have heard of its exec first, and that may have come through
/// another ring.
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
  /// Whether the records have times: those of targets for which TargetBinding::is_spread().
  void order(bool spread) noexcept { spread_ = spread; }
  /// The event that the kernel has given this number.
  void know(std::uint64_t id, std::size_t event);
  /// This event is about to be closed: its ring goes, if it has one. Its ring has to be the last.
  void forget(int file, std::uint64_t id) noexcept;
  /// Does not close the descriptors.
  void close() noexcept;
  /// In a child of fork(), which has none of the rings: another mapping may be in their place.
  void forget_all() noexcept;

  /// A sample of a software event that several sessions sample in one thread or CPU can have the
  /// number of another session's event: at each occurrence, the kernel fills in the values for all
  /// of them once (do_perf_sw_event in kernel/events/core.c, seen with Linux 6.18). So a number
  /// that is not known is that of the only event there is; none: there are several.
  std::optional<std::size_t> event_of(std::uint64_t id) const;
  /// Takes the oldest records out of this ring if it is nearly full; they count as lost.
  void make_room(std::size_t ring);
  /// How many samples make_room() has taken out, or had no event, since the last call.
  std::uint64_t take_dropped() noexcept { return std::exchange(dropped_, 0); }
  /// How many bytes the kernel has ever put into this ring.
  std::uint64_t head(std::size_t ring) const noexcept { return rings_[ring].ring.head(); }
  /// Descriptors that become readable when samples come. `triggers`: also those of events that mask
  /// the session or switch sets, whose rings are not shared.
  std::vector<int> files(bool triggers) const;
  /// Hands all records to `sink`, in the order of time. `until_ns`: of CLOCK_MONOTONIC; what is
  /// later is for the next call, because a ring that was looked at before may get earlier records.
  SampleCounts read(SampleSink& sink, const EventSets& sets, std::uint64_t until_ns);
  /// How many samples the PMU itself lost before they came to a ring, by the last read.
  std::uint64_t lost_in_pmu() const noexcept { return lost_in_pmu_; }

  /// The PERF_SAMPLE_ bits of an event. `spread`: as for order().
  static std::uint64_t fields_of(const Sampling& sampling, bool spread) noexcept;

 private:
  struct Ring {
    CounterPlace place;
    int file = -1;  ///< of the event whose ring it is
    void* memory = nullptr;
    std::size_t bytes = 0;
    SampleRing ring;
    bool shared = true;
    std::optional<perf_event_header> next{};  ///< taken out of the ring, and not handed out
    std::vector<std::byte> body{};            ///< of the next record
    std::uint64_t time_ns = 0;                ///< of the next record
  };
  std::uint64_t time_of(const Ring& ring, const EventSets& sets) const;
  void take_record(SampleSink& sink, const Ring& ring, const EventSets& sets, SampleCounts& counts);
  void take_sample(SampleSink& sink, const Ring& ring, const EventSets& sets, SampleCounts& counts);

  KernelCounters& kernel_;
  std::uint32_t pages_;
  std::vector<Ring> rings_;
  std::map<std::uint64_t, std::size_t> event_of_id_;
  std::map<std::size_t, std::size_t> ids_of_event_;  ///< how many numbers each has
  std::uint64_t lost_in_pmu_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t lost_before_ = 0;  ///< told by records that made room since the last read()
  bool spread_ = false;
  std::vector<std::uint64_t> ends_;
  std::vector<std::uint64_t> chain_;
};

}  // namespace shmif::perf
