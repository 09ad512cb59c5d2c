#pragma once
// The rings into which the kernel writes the samples of a counter session, and their records.

#include <linux/perf_event.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/event_sets.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/sample.hpp"

namespace shmif::perf {

/// The fields of every sample that we ask for. PERF_SAMPLE_PERIOD is added only for frequencies:
/// with it, software events ignore a fixed period and make a sample for each event.
inline constexpr std::uint64_t kOwnFields =
    PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_IP | PERF_SAMPLE_TID;
/// The fields that may be asked for in addition.
inline constexpr std::uint64_t kOptionalFields =
    PERF_SAMPLE_TIME | PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU | PERF_SAMPLE_CALLCHAIN;

/// Reads the body of a PERF_RECORD_SAMPLE with these fields. Empty if the record is cut off.
/// `chain` stores the callers.
std::optional<Sample> read_sample(std::span<const std::byte> body, std::uint64_t fields,
                                  std::vector<std::uint64_t>& chain);
/// Reads the body of a PERF_RECORD_MMAP2 (`second_form`) or PERF_RECORD_MMAP.
std::optional<CodeMapping> read_mapping(std::span<const std::byte> body, bool second_form);

/// The ring into which the kernel writes records for us (linux/perf_event.h). A header page
/// precedes it.
/// Threads: one at a time. Blocks: never.
class SampleRing {
 public:
  /// `memory`: the header page of `header` bytes, followed by `bytes` bytes (a power of two).
  SampleRing(void* memory, std::size_t header, std::size_t bytes) noexcept;

  /// How many bytes the kernel has ever written.
  std::uint64_t head() const noexcept;
  /// Whether less than a quarter of the ring is free.
  bool nearly_full() const noexcept;
  /// The header of the next record. Replaces `record` by the record's body. Empty if there is no
  /// whole record before `until`. A broken record empties the ring up to `until`.
  std::optional<perf_event_header> next(std::vector<std::byte>& record, std::uint64_t until);

 private:
  void copy_out(std::uint64_t position, std::span<std::byte> to) const noexcept;

  perf_event_mmap_page* page_;
  const std::byte* data_;
  std::uint64_t bytes_;
};

/// Where an event of the kernel counts, as perf_event_open(2) takes it.
struct CounterPlace {
  pid_t task = -1;
  int cpu = -1;
  bool operator==(const CounterPlace&) const = default;
};

/// How many records were lost since the last call. A ring also reports losses in a record, but only
/// when a later record has found room after the gap.
class LostCount {
 public:
  /// `counts.lost`: the losses that the records of this call report. `by_events`: the losses since
  /// the load by the events' own counts; empty if the kernel does not count them.
  void add(SampleCounts& counts, std::optional<std::uint64_t> by_events, bool sampled) noexcept;

 private:
  std::uint64_t by_records_ = 0;
  std::uint64_t told_ = 0;
};

/// If there is a ring for each CPU, records have a time, and read() passes them on in order of
/// time. The reader must learn of a program's exec before its samples, and the record of the exec
/// may be in another ring.
/// Threads: one at a time. Blocks: never.
class SampleBuffers {
 public:
  /// `pages`: the size of a ring in pages; a power of two.
  SampleBuffers(KernelCounters& kernel, std::uint32_t pages) noexcept
      : kernel_(kernel), pages_(pages) {}
  SampleBuffers(const SampleBuffers&) = delete;
  SampleBuffers& operator=(const SampleBuffers&) = delete;
  ~SampleBuffers() { close(); }

  /// share() lets the event of this descriptor use the shared ring of its place, or makes that
  /// ring. make() always makes a ring. Result of make(): the number of the ring. Errors: the
  /// system's.
  Result<void> share(CounterPlace place, int file);
  enum class Use : std::uint8_t { own, shared };
  Result<std::size_t> make(CounterPlace place, int file, Use use);
  /// Whether the records have times: true for targets that are TargetBinding::is_spread().
  void order(bool spread) noexcept { spread_ = spread; }
  /// Notes that the kernel has given the event this number.
  void know(std::uint64_t id, std::size_t event);
  /// Call before closing an event: removes its ring, if it has one. That must be the last ring.
  void forget(int file, std::uint64_t id) noexcept;
  /// Unmaps the rings; does not close the descriptors.
  void close() noexcept;
  /// For a child of fork(), which does not inherit the rings: their addresses may be in other use.
  void forget_all() noexcept;

  /// The event with the kernel's number `id`. If several sessions sample the same software event in
  /// one thread or CPU, a sample can have the number of another session's event: at each
  /// occurrence, the kernel fills in the values once for all of them (do_perf_sw_event in
  /// kernel/events/core.c, seen with Linux 6.18). So an unknown number is taken for the only event;
  /// empty if there are several.
  std::optional<std::size_t> event_of(std::uint64_t id) const;
  /// Drops the oldest records of this ring if it is nearly full. Their samples count as lost.
  void make_room(std::size_t ring);
  /// How many samples make_room() dropped, or had an unknown event, since the last call.
  std::uint64_t take_dropped() noexcept { return std::exchange(dropped_, 0); }
  /// How many bytes the kernel has ever written to this ring.
  std::uint64_t head(std::size_t ring) const noexcept { return rings_[ring].ring.head(); }
  /// The descriptors that become readable when samples come. `triggers`: also those of events that
  /// mask the session or switch sets, whose rings are not shared.
  std::vector<int> files(bool triggers) const;
  /// Passes all records to `sink`, in order of time. Records later than `until_ns`
  /// (CLOCK_MONOTONIC) wait for the next call, because a ring that was already read may still get
  /// earlier records.
  SampleCounts read(SampleSink& sink, const EventSets& sets, std::uint64_t until_ns);
  /// How many samples the PMU itself lost before they reached a ring, found by the last read().
  std::uint64_t lost_in_pmu() const noexcept { return lost_in_pmu_; }

  /// The PERF_SAMPLE_ bits of an event. `spread`: as for order().
  static std::uint64_t fields_of(const Sampling& sampling, bool spread) noexcept;

 private:
  struct Ring {
    CounterPlace place;
    int file = -1;  ///< the event that has the ring
    void* memory = nullptr;
    std::size_t bytes = 0;
    SampleRing ring;
    bool shared = true;
    std::optional<perf_event_header> next{};  ///< taken from the ring, not yet passed on
    std::vector<std::byte> body{};            ///< body of `next`
    std::uint64_t time_ns = 0;                ///< time of `next`
  };
  std::uint64_t time_of(const Ring& ring, const EventSets& sets) const;
  void take_record(SampleSink& sink, const Ring& ring, const EventSets& sets, SampleCounts& counts);
  void take_sample(SampleSink& sink, const Ring& ring, const EventSets& sets, SampleCounts& counts);

  KernelCounters& kernel_;
  std::uint32_t pages_;
  std::vector<Ring> rings_;
  std::map<std::uint64_t, std::size_t> event_of_id_;
  std::map<std::size_t, std::size_t> ids_of_event_;  ///< how many kernel numbers each event has
  std::uint64_t lost_in_pmu_ = 0;
  std::uint64_t dropped_ = 0;
  /// Losses reported by records that make_room() dropped since the last read().
  std::uint64_t lost_before_ = 0;
  bool spread_ = false;
  std::vector<std::uint64_t> ends_;
  std::vector<std::uint64_t> chain_;
};

}  // namespace shmif::perf
