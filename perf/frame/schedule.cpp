#include "perf/frame/schedule.hpp"

#include <cmath>

namespace shmif::perf {

FrameSizes imix_sizes() {
  return {{{.min = 60, .max = 60, .weight = 7},
           {.min = 590, .max = 590, .weight = 4},
           {.min = 1514, .max = 1514, .weight = 1}}};
}

SizeChooser::SizeChooser(const FrameSizes& sizes, std::uint64_t seed, std::uint64_t position)
    : random_(seed, position) {
  std::uint64_t weights = 0;
  double sum = 0;
  for (const FrameSizes::Part& part : sizes.parts) {
    if (part.weight == 0) continue;
    const std::uint32_t max = std::max(part.min, part.max);
    weights += part.weight;
    sum += part.weight * (static_cast<double>(part.min) + max) / 2;
    min_ = parts_.empty() ? part.min : std::min(min_, part.min);
    max_ = std::max(max_, max);
    parts_.push_back({.end = weights, .min = part.min, .sizes = std::uint64_t{max} - part.min + 1});
  }
  mean_ = sum / static_cast<double>(weights);
  if (min_ == max_) fixed_ = min_;
}

std::uint32_t SizeChooser::draw() noexcept {
  const Part* part = parts_.data();
  if (parts_.size() > 1) {
    const std::uint64_t drawn = random_.below(parts_.back().end);
    while (part->end <= drawn) ++part;
  }
  if (part->sizes == 1) return part->min;
  return part->min + static_cast<std::uint32_t>(random_.below(part->sizes));
}

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

namespace {

template <class Sizes>
std::size_t mean_bytes(const Sizes& sizes) noexcept {
  return static_cast<std::size_t>(std::llround(sizes.mean()));
}

}  // namespace

ScheduleOptions schedule_options(const JobOptions& job, bool of_peer) {
  ScheduleOptions options;
  options.pace.frames_per_s = of_peer ? job.rate_fps.rx : job.rate_fps.tx;
  options.pace.bits_per_s = of_peer ? job.rate_bps.rx : job.rate_bps.tx;
  options.pace.overhead_bytes = job.rate_overhead_bytes;
  options.pace.process = job.rate_process == RateProcess::poisson ? PaceOptions::Process::poisson
                                                                  : PaceOptions::Process::linear;
  options.pace.seed = Random::derive(job.randseed, of_peer ? 1 : 0);
  options.catch_up = job.rate_catchup;
  options.think = {
      .pause = job.thinktime, .spin = job.thinktime_spin, .blocks = job.thinktime_blocks};
  return options;
}

Schedule::Schedule(const ScheduleOptions& options, std::uint64_t start_ns, std::uint64_t end_ns,
                   std::uint64_t measure_from_ns)
    : pacer_(options.pace),
      think_(options.think),
      catch_up_(options.catch_up),
      paced_(options.pace.frames_per_s != 0 || options.pace.bits_per_s != 0),
      stall_ns_(static_cast<std::uint64_t>(options.stall.count())),
      start_ns_(start_ns),
      end_ns_(end_ns),
      measure_from_ns_(std::max(measure_from_ns, start_ns)) {}

template <class Sizes>
std::size_t Schedule::take(std::uint64_t now_ns, Sizes& sizes, std::span<Slot> into) noexcept {
  if (now_ns < resume_ns_) return 0;
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), think_.left())));
  if (!paced_) return take_unpaced(now_ns, sizes, into);
  if (catch_up_ == CatchUp::skip) skip(now_ns, sizes);
  std::size_t taken = 0;
  for (; taken < into.size(); ++taken) {
    const std::uint64_t due = due_ns();
    const std::uint64_t intended = std::max(due, resume_ns_);
    if (intended > now_ns || intended >= end_ns_) break;
    if (catch_up_ == CatchUp::limited && is_held_back(due, now_ns)) break;
    into[taken] = {.intended_ns = intended, .bytes = sizes.next()};
    pacer_.advance(into[taken].bytes);
  }
  think_.note(taken);
  return taken;
}

template <class Sizes>
std::size_t Schedule::take_unpaced(std::uint64_t now_ns, Sizes& sizes,
                                   std::span<Slot> into) noexcept {
  if (now_ns < start_ns_ || now_ns >= end_ns_) return 0;
  for (Slot& slot : into) slot = {.intended_ns = now_ns, .bytes = sizes.next()};
  think_.note(into.size());
  return into.size();
}

/// Whether a frame that is due must wait, because the stream catches up at no more than twice its
/// rate. While it catches up, gaps are half as long as the pacer's, counted from the end of the
/// stall. So this rate is kept however the frames are batched.
bool Schedule::is_held_back(std::uint64_t due_ns, std::uint64_t now_ns) noexcept {
  const std::uint64_t expected = catching_up_ ? release_ns(due_ns) : due_ns;
  if (now_ns > expected && now_ns - expected > stall_ns_) {
    catching_up_ = true;
    caught_from_ns_ = now_ns;
    caught_due_ns_ = due_ns;
    return false;
  }
  if (!catching_up_) return false;
  if (expected <= due_ns) {
    catching_up_ = false;
    return false;
  }
  return expected > now_ns;
}

template <class Sizes>
void Schedule::skip(std::uint64_t now_ns, const Sizes& sizes) noexcept {
  // Frames due in a pause were not offered.
  if (resume_ns_ > start_ns_ && due_ns() < resume_ns_) {
    pacer_.skip_to(Pacer::Nanoseconds(resume_ns_ - start_ns_), mean_bytes(sizes));
  }
  if (now_ns < due_ns() || now_ns - due_ns() <= stall_ns_) return;
  const std::uint64_t given_up = give_up(now_ns, sizes);
  skipped_ += given_up;
  skipped_bytes_ += given_up * mean_bytes(sizes);
}

std::uint64_t Schedule::next_ns() const noexcept {
  if (!paced_) {
    const std::uint64_t next = std::max(start_ns_, resume_ns_);
    return next < end_ns_ ? next : kNever;
  }
  const std::uint64_t due = due_ns();
  const std::uint64_t intended = std::max(due, resume_ns_);
  if (intended >= end_ns_) return kNever;
  return catching_up_ ? std::max(intended, release_ns(due)) : intended;
}

ThinkTime::Pause Schedule::pause(std::uint64_t now_ns) noexcept {
  const ThinkTime::Pause pause = think_.begin(now_ns, end_ns_);
  resume_ns_ = pause.until_ns;
  return pause;
}

template <class Sizes>
std::uint64_t Schedule::give_up(std::uint64_t now_ns, const Sizes& sizes) noexcept {
  const std::uint64_t until = std::min(now_ns, end_ns_);
  if (!paced_ || until <= start_ns_) return 0;
  const std::uint64_t ramp_end = std::min(until, measure_from_ns_);
  if (due_ns() < ramp_end) {
    pacer_.skip_to(Pacer::Nanoseconds(ramp_end - start_ns_), mean_bytes(sizes));
  }
  return pacer_.skip_to(Pacer::Nanoseconds(until - start_ns_), mean_bytes(sizes));
}

template std::size_t Schedule::take(std::uint64_t, SizeChooser&, std::span<Slot>) noexcept;
template std::size_t Schedule::take(std::uint64_t, FrameLengths&, std::span<Slot>) noexcept;
template std::uint64_t Schedule::give_up(std::uint64_t, const SizeChooser&) noexcept;
template std::uint64_t Schedule::give_up(std::uint64_t, const FrameLengths&) noexcept;

}  // namespace shmif::perf
