#include "perf/worker/run_memory.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <new>

namespace shmif::perf {

void JobBlock::note_tx_error(Period period, std::error_code why) noexcept {
  sent[period].errors.add(1);
  if (period == Period::window) first_tx_error.set(why.message());
}

void JobBlock::note_rx_error(Period period, std::error_code why) noexcept {
  received[period].errors.add(1);
  if (period == Period::window) first_rx_error.set(why.message());
}

Result<std::unique_ptr<RunMemory>> RunMemory::create(std::size_t jobs,
                                                     std::span<const std::size_t> with_histograms,
                                                     std::span<const std::size_t> with_counters) {
  const std::size_t bytes = jobs * (sizeof(JobBlock) + sizeof(FlowBlock) + sizeof(EchoBlock)) +
                            alignof(JobBlock) + with_counters.size() * sizeof(CounterLog) +
                            with_histograms.size() * kHistogramBlocks * sizeof(HistogramBlock);
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error::from_errno(errno, "cannot get " + std::to_string(bytes) +
                                        " bytes of memory for " + std::to_string(jobs) + " jobs");
  }
  std::unique_ptr<RunMemory> made(new RunMemory(memory, bytes, jobs));
  std::byte* at = reinterpret_cast<std::byte*>(made->echoes_.data() + jobs);
  // What follows needs no more alignment than the objects before it.
  for (const std::size_t job : with_counters) {
    made->job(job).counter_log = new (at) CounterLog();
    at += sizeof(CounterLog);
  }
  for (const std::size_t job : with_histograms) {
    auto* const blocks = reinterpret_cast<HistogramBlock*>(at);
    for (std::size_t i = 0; i < kHistogramBlocks; ++i) new (blocks + i) HistogramBlock();
    made->job(job).histograms = blocks;
    at += kHistogramBlocks * sizeof(HistogramBlock);
  }
  return made;
}

RunMemory::RunMemory(void* memory, std::size_t bytes, std::size_t jobs)
    : memory_(memory), bytes_(bytes) {
  auto* const blocks = static_cast<JobBlock*>(memory);
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

// The objects need no destructors.
RunMemory::~RunMemory() {
  ::munmap(memory_, bytes_);
}

}  // namespace shmif::perf
