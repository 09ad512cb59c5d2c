#include "perf/frame/pacer.hpp"

#include <algorithm>
#include <cmath>

namespace shmif::perf {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
__extension__ using Uint128 = unsigned __int128;

}  // namespace

Pacer::Pacer(const PaceOptions& options) : options_(options), random_(options.seed) {
  frames_.rate = options.frames_per_s;
  bits_.rate = options.bits_per_s;
}

/// Adds the time that `amount` takes at the rate.
void Pacer::Clock::advance(std::uint64_t amount) noexcept {
  if (rate == 0) return;
  if (amount != amount_before) {
    const Uint128 work = static_cast<Uint128>(amount) * kNsPerSecond;
    step_ns = static_cast<std::uint64_t>(work / rate);
    step_rest = static_cast<std::uint64_t>(work % rate);
    amount_before = amount;
  }
  ns += step_ns;
  rest += step_rest;
  if (rest >= rate) {
    rest -= rate;
    ++ns;
  }
}

/// How many steps of `amount` certainly end before `now_ns`: all but the last one or two.
std::uint64_t Pacer::Clock::steps_before(std::uint64_t now_ns,
                                         std::uint64_t amount) const noexcept {
  if (rate == 0) return std::numeric_limits<std::uint64_t>::max();
  if (now_ns <= ns) return 0;
  const Uint128 steps =
      static_cast<Uint128>(now_ns - ns) * rate / (static_cast<Uint128>(amount) * kNsPerSecond);
  return steps < 2 ? 0 : static_cast<std::uint64_t>(steps - 2);
}

/// A gap of a Poisson stream, in units of its mean.
double Pacer::draw_gap() noexcept {
  const auto drawn = static_cast<double>(random_() >> 11U) * 0x1p-53;  // 0 to 1, without 1
  return -std::log1p(-drawn);
}

void Pacer::advance(std::size_t bytes) noexcept {
  const std::uint64_t bits = (std::uint64_t{bytes} + options_.overhead_bytes) * 8;
  if (options_.process == PaceOptions::Process::linear) {
    frames_.advance(1);
    bits_.advance(bits);
    due_ns_ = std::max(frames_.ns, bits_.ns);
    return;
  }
  double mean = 0;
  if (frames_.rate != 0)
    mean = static_cast<double>(kNsPerSecond) / static_cast<double>(frames_.rate);
  if (bits_.rate != 0) {
    mean = std::max(mean, static_cast<double>(bits) * static_cast<double>(kNsPerSecond) /
                              static_cast<double>(bits_.rate));
  }
  const double gap = draw_gap() * mean + fraction_;
  const double whole = std::floor(gap);
  fraction_ = gap - whole;
  due_ns_ += static_cast<std::uint64_t>(whole);
}

std::uint64_t Pacer::skip_to(Nanoseconds now, std::size_t bytes) noexcept {
  if (frames_.rate == 0 && bits_.rate == 0) return 0;  // a stream without a rate is never late
  std::uint64_t skipped = 0;
  if (options_.process == PaceOptions::Process::linear && now.count() > 0) {
    // Skips most frames in one step: after a long stall of a fast stream there are billions.
    const auto now_ns = static_cast<std::uint64_t>(now.count());
    const std::uint64_t bits = (std::uint64_t{bytes} + options_.overhead_bytes) * 8;
    skipped = std::min(frames_.steps_before(now_ns, 1), bits_.steps_before(now_ns, bits));
    frames_.advance(skipped);
    bits_.advance(skipped * bits);
  }
  // Some are always left, and the last of them sets the time of the next frame.
  for (; due() < now; ++skipped) advance(bytes);
  return skipped;
}

}  // namespace shmif::perf
