#pragma once
// Page faults, an event that every machine counts.

#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sys/mman.h>

#include <cstddef>

#include "instruments/counters/event.hpp"

namespace shmif::perf::test {

inline CounterEvent page_faults() {
  CounterEvent event;
  event.name = "page-faults";
  event.type = PERF_TYPE_SOFTWARE;
  event.config = PERF_COUNT_SW_PAGE_FAULTS;
  return event;
}

/// Touches pages that cost one fault each, and those of a sanitizer, if there is one.
inline void fault(std::size_t pages) {
  constexpr std::size_t kPage = 4096;
  void* const memory =
      ::mmap(nullptr, kPage * pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ::madvise(memory, kPage * pages, MADV_NOHUGEPAGE);
  for (std::size_t at = 0; at < pages; ++at) static_cast<volatile char*>(memory)[at * kPage] = 1;
  ::munmap(memory, kPage * pages);
}

}  // namespace shmif::perf::test
