#include "perf/worker/run_memory.hpp"

#include <new>
#include <utility>

namespace shmif::perf {

ErrorClass class_of_send_error(std::error_code why) noexcept {
  const bool lock = why == Errc::no_room || why == Errc::timed_out || why == Errc::busy;
  return lock ? ErrorClass::lock : ErrorClass::tx;
}

void JobBlock::note_tx_error(Period period, std::error_code why) noexcept {
  sent[period][&TrafficResult::errors].add(1);
  if (period != Period::window) return;
  first_tx_error.set(why.message());
  note_error(class_of_send_error(why), period, why.message());
}

void JobBlock::note_rx_error(Period period, std::error_code why) noexcept {
  received[period][&TrafficResult::errors].add(1);
  if (period != Period::window) return;
  first_rx_error.set(why.message());
  note_error(ErrorClass::rx, period, why.message());
}

void JobBlock::note_error(ErrorClass of, Period period, std::string_view what) noexcept {
  if (period != Period::window) return;
  ErrorBlock& errors = errors_by_class[static_cast<std::size_t>(of)];
  errors.count.add(1);
  errors.first.set(what);
}

std::vector<SentMark> SentLog::marks() const {
  std::vector<SentMark> all(count_.load(std::memory_order_acquire));
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = {.time_ns = marks_[i].time_ns.load(std::memory_order_acquire),
              .frames = marks_[i].frames.load(std::memory_order_relaxed)};
  }
  return all;
}

Result<std::unique_ptr<RunMemory>> RunMemory::create(std::size_t jobs,
                                                     std::span<const std::size_t> with_histograms,
                                                     std::span<const std::size_t> with_counters,
                                                     std::span<const std::size_t> with_sent_logs) {
  const std::size_t bytes = jobs * (sizeof(JobBlock) + sizeof(FlowBlock) + sizeof(EchoBlock)) +
                            alignof(JobBlock) + with_counters.size() * sizeof(CounterLog) +
                            with_sent_logs.size() * sizeof(SentLog) +
                            with_histograms.size() * kHistogramBlocks * sizeof(HistogramBlock);
  auto memory = base::SharedMemory::anonymous(bytes, "cannot get " + std::to_string(bytes) +
                                                         " bytes of memory for " +
                                                         std::to_string(jobs) + " jobs");
  if (!memory) return memory.error();
  std::unique_ptr<RunMemory> made(new RunMemory(std::move(*memory), jobs));
  std::byte* at = reinterpret_cast<std::byte*>(made->echoes_.data() + jobs);
  // The blocks that follow need no more alignment than the objects before them.
  for (const std::size_t job : with_counters) {
    made->job(job).counter_log = new (at) CounterLog();
    at += sizeof(CounterLog);
  }
  for (const std::size_t job : with_sent_logs) {
    made->flow(job).sent_log = new (at) SentLog();
    at += sizeof(SentLog);
  }
  for (const std::size_t job : with_histograms) {
    auto* const blocks = reinterpret_cast<HistogramBlock*>(at);
    for (std::size_t i = 0; i < kHistogramBlocks; ++i) new (blocks + i) HistogramBlock();
    made->job(job).histograms = blocks;
    at += kHistogramBlocks * sizeof(HistogramBlock);
  }
  return made;
}

// The objects need no destructors.
RunMemory::RunMemory(base::SharedMemory memory, std::size_t jobs) : memory_(std::move(memory)) {
  auto* const blocks = static_cast<JobBlock*>(memory_.data());
  for (std::size_t i = 0; i < jobs; ++i) new (blocks + i) JobBlock();
  jobs_ = {blocks, jobs};
  auto* const flows = reinterpret_cast<FlowBlock*>(blocks + jobs);  // same alignment
  for (std::size_t i = 0; i < jobs; ++i) new (flows + i) FlowBlock();
  flows_ = {flows, jobs};
  auto* const echoes = reinterpret_cast<EchoBlock*>(flows + jobs);
  for (std::size_t i = 0; i < jobs; ++i) new (echoes + i) EchoBlock();
  echoes_ = {echoes, jobs};
  static_assert(alignof(FlowBlock) <= alignof(JobBlock));
  static_assert(alignof(EchoBlock) <= alignof(FlowBlock));
}

}  // namespace shmif::perf
