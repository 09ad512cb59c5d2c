// Compares the built-in load of `shmifperf membw` with plain copies. They take turns, with as many
// threads and buffers of the same size, so the ratio does not depend on other work of the machine.
//
// A copy counts both the bytes that it reads and the bytes that it writes.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "instruments/membw/fill_load.hpp"

namespace shmif::perf {
namespace {

using Clock = std::chrono::steady_clock;

/// Bytes per second that `threads` threads move together. `round`: one round of one thread, which
/// returns its bytes.
template <class Round>
double rate_of(unsigned threads, std::size_t bytes, std::chrono::nanoseconds time, Round round) {
  std::vector<std::vector<char>> buffers(threads, std::vector<char>(bytes, 1));
  std::atomic<std::uint64_t> moved = 0;
  const auto begin = Clock::now();
  {
    std::vector<std::jthread> running;
    for (auto& buffer : buffers) {
      running.emplace_back([&] {
        while (Clock::now() - begin < time) moved += round(buffer);
      });
    }
  }
  return static_cast<double>(moved) / std::chrono::duration<double>(Clock::now() - begin).count();
}

std::uint64_t copy_round(std::vector<char>& buffer) {
  const std::size_t half = buffer.size() / 2;
  std::memcpy(buffer.data() + half, buffer.data(), half);
  asm volatile("" : : "r"(buffer.data()) : "memory");
  return 2 * half;
}
std::uint64_t set_round(std::vector<char>& buffer) {
  std::memset(buffer.data(), 2, buffer.size());
  asm volatile("" : : "r"(buffer.data()) : "memory");
  return buffer.size();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

int compare_loads() {
  constexpr int kRounds = 9;
  constexpr auto kTime = std::chrono::milliseconds(700);
  std::vector<double> fills;
  std::vector<double> copies;
  std::vector<double> sets;
  std::vector<double> ratios;
  for (int round = 0; round < kRounds; ++round) {
    const auto filled = fill_memory(kTime);
    if (!filled) return std::fprintf(stderr, "%s\n", filled.error().message.c_str()), 1;
    fills.push_back(static_cast<double>(filled->bytes) / filled->seconds);
    const auto bytes = static_cast<std::size_t>(filled->buffer_bytes);
    copies.push_back(rate_of(filled->threads, bytes, kTime, copy_round));
    sets.push_back(rate_of(filled->threads, bytes, kTime, set_round));
    ratios.push_back(fills.back() / copies.back());
  }
  std::printf("medians of %d rounds: fill %.2f GB/s, memcpy %.2f GB/s, memset %.2f GB/s\n", kRounds,
              median(fills) / 1e9, median(copies) / 1e9, median(sets) / 1e9);
  std::printf("fill / memcpy: median %.3f, from %.3f to %.3f\n", median(ratios),
              *std::ranges::min_element(ratios), *std::ranges::max_element(ratios));
  return 0;
}

}  // namespace
}  // namespace shmif::perf

int main() {
  return shmif::perf::compare_loads();
}
