#include "shmif/faults.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <new>

namespace shmif {
namespace {

using std::chrono::nanoseconds;

/// A frame that lets the next one pass does not wait longer for one.
constexpr std::chrono::milliseconds kLongestHold{10};
constexpr std::size_t kAddressBytes = 12;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
/// Longer is a mistake, and so is a rate above it.
constexpr double kMostDelayNs = 3600e9;
constexpr double kMostBps = 1e12;
constexpr std::uint64_t kMostQueued = 10'000'000;
/// Of the buffers of frames that have gone, so many are kept for others.
constexpr std::size_t kMostSpare = 256;

Error bad_part(std::string_view part, const std::string& why) {
  return {Errc::bad_argument, "fault \"" + std::string(part) + "\": " + why};
}

/// A number at the front of `text`, which is then what follows. Result: nothing when there is none.
std::optional<double> take_number(std::string_view& text) {
  double number = 0;
  const auto [stop, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(number) || number < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return number;
}

struct Unit {
  std::string_view name;
  double factor;
};

/// A number and one of `units`.
std::optional<double> parse_with_unit(std::string_view text, std::span<const Unit> units) {
  const std::optional<double> number = take_number(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (text == unit.name) return *number * unit.factor;
  }
  return std::nullopt;
}

std::optional<double> parse_share(std::string_view text) {
  constexpr std::array<Unit, 2> kUnits{{{"", 1}, {"%", 0.01}}};
  const auto share = parse_with_unit(text, kUnits);
  return share && *share <= 1 ? share : std::nullopt;
}

std::optional<nanoseconds> parse_time(std::string_view text) {
  constexpr std::array<Unit, 4> kUnits{{{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}};
  const auto ns = parse_with_unit(text, kUnits);
  if (!ns || *ns > kMostDelayNs) return std::nullopt;
  return nanoseconds(std::llround(*ns));
}

std::optional<std::uint64_t> parse_rate(std::string_view text) {
  constexpr std::array<Unit, 4> kUnits{{{"bit", 1}, {"kbit", 1e3}, {"Mbit", 1e6}, {"Gbit", 1e9}}};
  const auto bps = parse_with_unit(text, kUnits);
  if (!bps || *bps < 1 || *bps > kMostBps) return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(*bps));
}

std::optional<std::uint64_t> parse_whole(std::string_view text) {
  std::uint64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(at);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool set_delay(std::string_view text, FaultOptions& o) {
  constexpr std::string_view kSigns[] = {"\u00b1", "+-"};
  nanoseconds jitter{0};
  for (const std::string_view sign : kSigns) {
    const std::size_t at = text.find(sign);
    if (at == std::string_view::npos) continue;
    const auto spread = parse_time(text.substr(at + sign.size()));
    if (!spread) return false;
    jitter = *spread;
    text = text.substr(0, at);
    break;
  }
  const auto delay = parse_time(text);
  if (!delay || jitter > *delay) return false;
  o.delay = *delay;
  o.jitter = jitter;
  return true;
}

bool set_bursts(std::string_view text, FaultOptions& o) {
  const auto parts = split(text, ':');
  if (parts.size() < 2 || parts.size() > 4) return false;
  FaultOptions::Bursts bursts;
  double* const into[] = {&bursts.to_bad, &bursts.to_good, &bursts.loss_in_bad,
                          &bursts.loss_in_good};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto share = parse_share(parts[i]);
    if (!share) return false;
    *into[i] = *share;
  }
  o.bursts = bursts;
  return true;
}

template <double FaultOptions::* member>
bool set_share(std::string_view text, FaultOptions& o) {
  const auto share = parse_share(text);
  if (share) o.*member = *share;
  return share.has_value();
}

bool set_rate(std::string_view text, FaultOptions& o) {
  const auto rate = parse_rate(text);
  if (rate) o.rate_bps = *rate;
  return rate.has_value();
}

bool set_queue(std::string_view text, FaultOptions& o) {
  const auto frames = parse_whole(text);
  if (!frames || *frames == 0 || *frames > kMostQueued) return false;
  o.queue_frames = *frames;
  return true;
}

bool set_seed(std::string_view text, FaultOptions& o) {
  const auto seed = parse_whole(text);
  if (seed) o.seed = *seed;
  return seed.has_value();
}

struct Key {
  std::string_view name;
  bool (*set)(std::string_view value, FaultOptions& options);
  const char* form;
};
constexpr const char* kShareForm = "a share of the frames, as 1% or 0.01";
constexpr Key kKeys[] = {
    {"loss", set_share<&FaultOptions::loss>, kShareForm},
    {"duplicate", set_share<&FaultOptions::duplicate>, kShareForm},
    {"reorder", set_share<&FaultOptions::reorder>, kShareForm},
    {"corrupt", set_share<&FaultOptions::corrupt>, kShareForm},
    {"truncate", set_share<&FaultOptions::truncate>, kShareForm},
    {"burst", set_bursts, "two to four shares, as 1%:20%:100%:0% (to bad, to good, loss in each)"},
    {"delay", set_delay, "a time of up to an hour, as 5ms, or 5ms±1ms; the second not the longer"},
    {"rate", set_rate, "bits per second, as 10Mbit (bit, kbit, Mbit or Gbit), up to 1000Gbit"},
    {"queue", set_queue, "a number of frames from 1 to 10000000"},
    {"seed", set_seed, "a whole number"},
};

std::string known_keys() {
  std::string names;
  for (const Key& key : kKeys) names += (names.empty() ? "" : ", ") + std::string(key.name);
  return names;
}

/// With up to nine decimals, and no zeros at their end.
std::string number(double value) {
  std::array<char, 400> text{};
  const int size = std::snprintf(text.data(), text.size(), "%.9f", value);
  std::string_view digits(text.data(), static_cast<std::size_t>(size));
  digits.remove_suffix(digits.size() - 1 - digits.find_last_not_of('0'));
  if (digits.back() == '.') digits.remove_suffix(1);
  return std::string(digits);
}

}  // namespace

bool FaultOptions::any() const noexcept {
  return loss > 0 || duplicate > 0 || reorder > 0 || corrupt > 0 || truncate > 0 || bursts ||
         delay.count() > 0 || rate_bps > 0;
}

Result<FaultOptions> parse_faults(std::string_view text) {
  FaultOptions options;
  for (const std::string_view part : split(text, ',')) {
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const auto* const key = std::ranges::find(kKeys, name, &Key::name);
    if (key == std::end(kKeys)) {
      return bad_part(part, "there is no such fault (" + known_keys() + ")");
    }
    if (equals == std::string_view::npos || !key->set(part.substr(equals + 1), options)) {
      return bad_part(part, std::string(name) + " takes " + key->form);
    }
  }
  return options;
}

std::string to_string(const FaultOptions& o) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ",") + part; };
  const auto add_share = [&](const char* name, double share) {
    if (share > 0) add(std::string(name) + "=" + number(share * 100) + "%");
  };
  add_share("loss", o.loss);
  if (o.bursts) {
    add("burst=" + number(o.bursts->to_bad) + ":" + number(o.bursts->to_good) + ":" +
        number(o.bursts->loss_in_bad) + ":" + number(o.bursts->loss_in_good));
  }
  add_share("duplicate", o.duplicate);
  add_share("reorder", o.reorder);
  add_share("corrupt", o.corrupt);
  add_share("truncate", o.truncate);
  if (o.delay.count() > 0) {
    const auto us = [](nanoseconds t) {
      return number(static_cast<double>(t.count()) / 1000) + "us";
    };
    add("delay=" + us(o.delay) + (o.jitter.count() > 0 ? "\u00b1" + us(o.jitter) : ""));
  }
  if (o.rate_bps > 0) {
    add("rate=" + number(static_cast<double>(o.rate_bps) / 1000) + "kbit");
  }
  if (!text.empty() && o.queue_frames != FaultOptions().queue_frames) {
    add("queue=" + std::to_string(o.queue_frames));
  }
  return text.empty() ? "none" : text;
}

Faults::Faults(const FaultOptions& options) : options_(options) {
  spare_.reserve(kMostSpare);
  seed_random();
}

void Faults::seed_random() {
  for (std::size_t kind = 0; kind < random_.size(); ++kind) {
    std::seed_seq seed{options_.seed & 0xffffffffU, options_.seed >> 32U, std::uint64_t{kind}};
    random_[kind].seed(seed);
  }
}

void Faults::change(const FaultOptions& options) {
  const bool another_seed = options.seed != options_.seed;
  options_ = options;
  if (another_seed) seed_random();
}

bool Faults::happens(Kind kind, double share) noexcept {
  const auto drawn = static_cast<double>(random_[kind]() >> 11U);  // 53 bits, what a double holds
  return drawn * 0x1p-53 < share;
}

bool Faults::is_lost() noexcept {
  const bool alone = happens(kLoss, options_.loss);
  if (!options_.bursts) return alone;
  const FaultOptions::Bursts& b = *options_.bursts;
  if (happens(kBurst, bad_ ? b.to_good : b.to_bad)) bad_ = !bad_;
  const bool in_burst = happens(kBurst, bad_ ? b.loss_in_bad : b.loss_in_good);
  return alone || in_burst;
}

nanoseconds Faults::draw_jitter() noexcept {
  const auto most = static_cast<std::uint64_t>(options_.jitter.count());
  const std::uint64_t drawn = random_[kJitter]();
  // The bias is less than 2^-20: a jitter has at most 42 bits.
  return nanoseconds(static_cast<std::int64_t>(drawn % (2 * most + 1))) - options_.jitter;
}

/// When a frame that comes in now goes out, and the bottleneck's time for it.
Faults::Time Faults::due_of(std::size_t bytes, nanoseconds jitter, Time now) noexcept {
  Time sent = now;
  if (options_.rate_bps > 0) {
    if (line_free_ < now) {
      line_free_ = now;
      line_rest_ = 0;
    }
    const std::uint64_t work = bytes * 8 * kNsPerSecond + line_rest_;
    line_free_ += nanoseconds(static_cast<std::int64_t>(work / options_.rate_bps));
    line_rest_ = work % options_.rate_bps;
    sent = line_free_;
  }
  last_due_ = std::max(last_due_, sent + options_.delay + jitter);
  return last_due_;
}

void Faults::put(const FrameView& frame, Time now) noexcept {
  ++counters_.frames;
  // All draws for each frame, whatever becomes of it: the next one's are then the same.
  const bool lost = is_lost();
  const bool twice = happens(kDuplicate, options_.duplicate);
  const bool held = happens(kReorder, options_.reorder);
  const bool cut = happens(kTruncate, options_.truncate);
  const std::uint64_t where_cut = random_[kTruncate]();
  const bool flip = happens(kCorrupt, options_.corrupt);
  const std::uint64_t which_bit = random_[kCorrupt]();
  const nanoseconds jitter = draw_jitter();
  if (lost) {
    ++counters_.lost;
    return;
  }
  if (waiting() >= options_.queue_frames || !enter(frame, due_of(frame.size(), jitter, now), now)) {
    ++counters_.queue_full;
    return;
  }
  if (cut) cut_short(queue_.back(), where_cut);
  if (flip) flip_a_bit(queue_.back(), which_bit);
  if (held && !held_) {
    held_ = std::move(queue_.back());
    queue_.pop_back();
    return;
  }
  if (twice && enter(frame, last_due_, now)) ++counters_.duplicated;
  if (held_) {
    ++counters_.reordered;
    let_go();
  }
}

/// Copies a frame to the back of the queue. Result: false when there is no memory for it.
bool Faults::enter(const FrameView& frame, Time due, Time now) noexcept {
  try {
    std::vector<std::byte> bytes;
    if (!spare_.empty()) {
      bytes = std::move(spare_.back());
      spare_.pop_back();
    }
    bytes.assign(frame.bytes.begin(), frame.bytes.end());
    Frame& entered = queue_.emplace_back(Frame{due, frame, std::move(bytes)});
    entered.view.bytes = entered.bytes;
    if (frame.time_ns != 0) {
      entered.view.time_ns += static_cast<std::uint64_t>(nanoseconds(due - now).count());
    }
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void Faults::cut_short(Frame& frame, std::uint64_t where) noexcept {
  const std::size_t size = frame.view.size();
  if (size <= kEthernetHeaderBytes) return;
  const std::size_t most = size - kEthernetHeaderBytes;
  frame.view.bytes = frame.view.bytes.first(kEthernetHeaderBytes + where % most);
  ++counters_.truncated;
}

void Faults::flip_a_bit(Frame& frame, std::uint64_t which) noexcept {
  const std::size_t bits = (frame.view.size() - kAddressBytes) * 8;
  const std::size_t bit = which % bits;
  frame.bytes[kAddressBytes + bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  ++counters_.corrupted;
}

/// The frame that was held goes behind all others.
void Faults::let_go() noexcept {
  try {
    queue_.push_back(std::move(*held_));
  } catch (const std::bad_alloc&) {
    ++counters_.queue_full;
  }
  held_.reset();
}

std::optional<Faults::Time> Faults::due() const noexcept {
  if (!queue_.empty()) return queue_.front().due;
  if (held_) return held_->due + kLongestHold;
  return std::nullopt;
}

std::size_t Faults::ready(std::span<FrameView> into, Time now) noexcept {
  if (queue_.empty() && held_ && held_->due + kLongestHold <= now) let_go();
  std::size_t count = 0;
  for (const Frame& frame : queue_) {
    if (count == into.size() || frame.due > now) break;
    into[count++] = frame.view;
  }
  return count;
}

void Faults::pop(std::size_t count) noexcept {
  for (; count > 0; --count) {
    if (spare_.size() < kMostSpare) spare_.push_back(std::move(queue_.front().bytes));
    queue_.pop_front();
  }
}

}  // namespace shmif
