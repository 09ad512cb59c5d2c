#include "shmif/faults.hpp"

#include <algorithm>
#include <iterator>
#include <new>

#include "base/quantity.hpp"
#include "base/text.hpp"

namespace shmif {
namespace {

using std::chrono::nanoseconds;

/// How long a frame that is held back waits at most for another one to overtake it.
constexpr std::chrono::milliseconds kLongestHold{10};
/// How many frames may be held back; their copies are not counted.
constexpr std::size_t kMaxHeld = 64;
constexpr std::size_t kAddressBytes = 12;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
/// A longer delay is surely a mistake, and so is a higher rate.
constexpr std::chrono::hours kMaxDelay{1};
constexpr std::uint64_t kMaxBps = 1'000'000'000'000;
constexpr std::uint64_t kMaxQueued = 10'000'000;
/// The memory that a waiting frame takes besides its bytes, approximately.
constexpr std::size_t kBytesOfFrame = 192;
/// How many buffers of frames that have gone are kept for later frames.
constexpr std::size_t kMaxSpare = 256;

Error bad_part(const std::string& what) {
  return {Errc::bad_argument, "fault " + what};
}

/// What is wrong with a fault: first the faulty text, then the reason. Empty if it is valid.
using Why = std::string;
/// A part of the text: the characters before the value ("loss="), and the value.
struct Part {
  std::string before;
  std::string_view value;

  Why wrong(const char* why) const { return '"' + before + std::string(value) + "\" " + why; }
};

Why set_delay(const Part& part, FaultOptions& o) {
  constexpr std::string_view kSigns[] = {"\u00b1", "+-"};
  nanoseconds jitter{0};
  Part mean = part;
  for (const std::string_view sign : kSigns) {
    const std::size_t at = part.value.find(sign);
    if (at == std::string_view::npos) continue;
    const std::string_view spread_text = part.value.substr(at + sign.size());
    const auto spread = base::read_time(spread_text, std::nullopt);
    if (!spread) return spread.why(spread_text, std::string(sign));
    jitter = *spread;
    mean.value = part.value.substr(0, at);
    break;
  }
  const auto delay = base::read_time(mean.value, std::nullopt);
  if (!delay) return delay.why(mean.value, mean.before);
  if (*delay > kMaxDelay) return mean.wrong("is longer than an hour");
  if (jitter > *delay) return mean.wrong("varies by more than the delay itself");
  o.delay = *delay;
  o.jitter = jitter;
  return {};
}

Why set_bursts(const Part& part, FaultOptions& o) {
  const auto parts = base::split(part.value, ':');
  if (parts.size() < 2 || parts.size() > 4) {
    return part.wrong(
        "needs two to four shares, such as 1%:20%:100%:0% (to bad, to good, loss in each)");
  }
  FaultOptions::Bursts bursts;
  double* const into[] = {&bursts.to_bad, &bursts.to_good, &bursts.loss_in_bad,
                          &bursts.loss_in_good};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto share = base::read_share(parts[i]);
    if (!share) return share.why(parts[i]);
    *into[i] = *share;
  }
  o.bursts = bursts;
  return {};
}

template <double FaultOptions::* member>
Why set_share(const Part& part, FaultOptions& o) {
  const auto share = base::read_share(part.value);
  if (!share) return share.why(part.value, part.before);
  o.*member = *share;
  return {};
}

Why set_rate(const Part& part, FaultOptions& o) {
  const auto rate = base::read_rate(part.value);
  if (!rate) return rate.why(part.value, part.before);
  if (*rate == 0 || *rate > kMaxBps) return part.wrong("is out of range (1bit to 1000Gbit)");
  o.rate_bps = *rate;
  return {};
}

Why set_queue(const Part& part, FaultOptions& o) {
  const auto frames = base::read_count(part.value);
  if (!frames) return frames.why(part.value, part.before);
  if (*frames == 0 || *frames > kMaxQueued)
    return part.wrong("is out of range (1 to 10000000 frames)");
  o.queue_frames = *frames;
  return {};
}

Why set_order(const Part& part, FaultOptions& o) {
  if (part.value != "keep" && part.value != "free") {
    return part.wrong("is not known (keep or free)");
  }
  o.keep_order = part.value == "keep";
  return {};
}

Why set_seed(const Part& part, FaultOptions& o) {
  const auto seed = base::read_count(part.value);
  if (!seed) return seed.why(part.value, part.before);
  o.seed = *seed;
  return {};
}

struct Key {
  std::string_view name;
  Why (*set)(const Part& part, FaultOptions& options);
  const char* example;
};
constexpr Key kKeys[] = {
    {"loss", set_share<&FaultOptions::loss>, "1%"},
    {"duplicate", set_share<&FaultOptions::duplicate>, "1%"},
    {"reorder", set_share<&FaultOptions::reorder>, "1%"},
    {"corrupt", set_share<&FaultOptions::corrupt>, "1%"},
    {"truncate", set_share<&FaultOptions::truncate>, "1%"},
    {"burst", set_bursts, "1%:20%"},
    {"delay", set_delay, "5ms±1ms"},
    {"order", set_order, "keep"},
    {"rate", set_rate, "10Mbit"},
    {"queue", set_queue, "1000"},
    {"seed", set_seed, "1"},
};

std::string known_keys() {
  std::string names;
  for (const Key& key : kKeys) names += (names.empty() ? "" : ", ") + std::string(key.name);
  return names;
}

}  // namespace

bool FaultOptions::any() const noexcept {
  return loss > 0 || duplicate > 0 || reorder > 0 || corrupt > 0 || truncate > 0 || bursts ||
         delay.count() > 0 || rate_bps > 0;
}

Result<FaultOptions> parse_faults(std::string_view text) {
  FaultOptions options;
  std::vector<std::string_view> given;
  for (const std::string_view part : base::split(text, ',')) {
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const auto* const key = std::ranges::find(kKeys, name, &Key::name);
    if (key == std::end(kKeys)) {
      return bad_part('"' + std::string(part) + "\": there is no such fault (" + known_keys() +
                      ")");
    }
    const std::string before = std::string(name) + '=';
    if (equals == std::string_view::npos || equals + 1 == part.size()) {
      return bad_part('"' + std::string(part) + "\" needs a value (such as " + before +
                      key->example + ')');
    }
    if (std::ranges::find(given, name) != given.end()) {
      return bad_part('"' + std::string(part) + "\": " + std::string(name) +
                      " is given twice (leave one out)");
    }
    given.push_back(name);
    const Why why = key->set({before, part.substr(equals + 1)}, options);
    if (!why.empty()) return bad_part(why);
  }
  if (std::ranges::find(given, "order") != given.end() && options.jitter.count() == 0) {
    return bad_part(
        "\"order\" has no effect without jitter (write delay=5ms±1ms, or leave it out)");
  }
  return options;
}

std::string to_string(const FaultOptions& o) {
  using namespace base;
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ",") + part; };
  const auto add_share = [&](const char* name, double share) {
    if (share > 0) add(std::string(name) + "=" + share_text(share));
  };
  add_share("loss", o.loss);
  if (o.bursts) {
    const FaultOptions::Bursts& b = *o.bursts;
    add("burst=" + share_text(b.to_bad) + ':' + share_text(b.to_good) + ':' +
        share_text(b.loss_in_bad) + ':' + share_text(b.loss_in_good));
  }
  add_share("duplicate", o.duplicate);
  add_share("reorder", o.reorder);
  add_share("corrupt", o.corrupt);
  add_share("truncate", o.truncate);
  if (o.delay.count() > 0) {
    add("delay=" + time_text(o.delay) +
        (o.jitter.count() > 0 ? "\u00b1" + time_text(o.jitter) : ""));
    if (o.jitter.count() > 0 && o.keep_order) add("order=keep");
  }
  if (o.rate_bps > 0) {
    add("rate=" + rate_text(o.rate_bps));
  }
  if (!text.empty() && o.queue_frames != FaultOptions().queue_frames) {
    add("queue=" + std::to_string(o.queue_frames));
  }
  return text.empty() ? "none" : text;
}

Faults::Faults(const FaultOptions& options) : options_(options) {
  spare_.reserve(kMaxSpare);
  held_.reserve(2 * kMaxHeld);  // now, because later there may be no memory
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
  not_before_ = last_due_;
  if (another_seed) seed_random();
}

bool Faults::happens(Kind kind, double share) noexcept {
  const auto drawn = static_cast<double>(random_[kind]() >> 11U);  // 53 bits, as a double holds
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
  const auto max = static_cast<std::uint64_t>(options_.jitter.count());
  const std::uint64_t drawn = random_[kJitter]();
  // The bias is less than 2^-20: a jitter has at most 42 bits.
  return nanoseconds(static_cast<std::int64_t>(drawn % (2 * max + 1))) - options_.jitter;
}

/// Whether there is room for a frame that comes in now.
bool Faults::has_room(std::size_t bytes, Time now) noexcept {
  if (options_.queue_frames != 0) return waiting() < options_.queue_frames;
  while (!line_.empty() && line_.front() <= now) line_.pop_front();
  return line_.size() < kMaxQueuedForLine && bytes_ + bytes + kBytesOfFrame <= kMaxFaultBytes;
}

/// Whether there is also room for the copy of a frame that has just come in.
bool Faults::has_room_for_copy() const noexcept {
  return options_.queue_frames == 0 || waiting() < options_.queue_frames;
}

/// When a frame that comes in now is due. Reserves its time on the bottleneck. Throws bad_alloc.
Faults::Time Faults::due_of(std::size_t bytes, nanoseconds jitter, Time now) {
  Time sent = now;
  if (options_.rate_bps > 0) {
    if (options_.queue_frames == 0) line_.push_back(line_free_);
    if (line_free_ < now) {
      line_free_ = now;
      line_rest_ = 0;
    }
    const std::uint64_t work = bytes * 8 * kNsPerSecond + line_rest_;
    line_free_ += nanoseconds(static_cast<std::int64_t>(work / options_.rate_bps));
    line_rest_ = work % options_.rate_bps;
    sent = line_free_;
    if (options_.queue_frames == 0) line_.back() = sent;
  }
  const bool may_overtake = options_.jitter.count() > 0 && !options_.keep_order;
  const Time due = std::max(may_overtake ? not_before_ : last_due_, sent + options_.delay + jitter);
  last_due_ = std::max(last_due_, due);
  return due;
}

void Faults::put(const FrameView& frame, Time now) noexcept {
  ++counters_.frames;
  // Draw all random numbers for each frame, whatever becomes of it. Then those of the next frame do
  // not depend on that.
  const bool lost = is_lost();
  const bool twice = happens(kDuplicate, options_.duplicate);
  const bool reordered = happens(kReorder, options_.reorder);
  const bool cut = happens(kTruncate, options_.truncate);
  const std::uint64_t where_cut = random_[kTruncate]();
  const bool flip = happens(kCorrupt, options_.corrupt);
  const std::uint64_t which_bit = random_[kCorrupt]();
  const nanoseconds jitter = draw_jitter();
  if (lost) {
    ++counters_.lost;
    return;
  }
  if (!has_room(frame.size(), now)) {
    ++counters_.queue_full;
    return;
  }
  ++numbers_;
  Queue::iterator entered;
  try {
    entered = enter(frame, due_of(frame.size(), jitter, now), now);
  } catch (const std::bad_alloc&) {
    ++counters_.queue_full;
    return;
  }
  const Time due = entered->second.due;
  if (cut) cut_short(entered->second, where_cut);
  if (flip) flip_a_bit(entered->second, which_bit);
  Queue::iterator copy = queue_.end();
  try {
    if (twice && has_room_for_copy()) copy = enter(frame, due, now);
  } catch (const std::bad_alloc&) {
    copy = queue_.end();
  }
  const bool has_copy = copy != queue_.end();
  if (has_copy) {
    copy->second.is_copy = true;
    ++counters_.duplicated;
  }
  if (!reordered || !may_hold(has_copy ? 2 : 1)) return let_go(held_.size(), due);
  hold(entered);
  if (has_copy) hold(copy);
}

/// Whether `count` more frames may be held back. The queue itself must have room for them.
bool Faults::may_hold(std::size_t count) const noexcept {
  if (options_.queue_frames != 0 && held_.size() + count >= options_.queue_frames) return false;
  const auto originals =
      std::ranges::count_if(held_, [](const auto& node) { return !node.mapped().is_copy; });
  return static_cast<std::size_t>(originals) < kMaxHeld;
}

/// Holds a frame back, until another one overtakes it.
void Faults::hold(Queue::iterator at) noexcept {
  held_.push_back(queue_.extract(at));
}

/// Copies a frame into the queue. Throws bad_alloc.
Faults::Queue::iterator Faults::enter(const FrameView& frame, Time due, Time now) {
  Queue::node_type node;
  if (spare_.empty()) {
    Queue one;
    one.try_emplace(Place{});
    node = one.extract(one.begin());
  } else {
    node = std::move(spare_.back());
    spare_.pop_back();
  }
  Frame& entered = node.mapped();
  entered.bytes.assign(frame.bytes.begin(), frame.bytes.end());
  entered.view = frame;
  entered.view.bytes = entered.bytes;
  if (frame.time_ns != 0) {
    entered.view.time_ns += static_cast<std::uint64_t>(nanoseconds(due - now).count());
  }
  entered.due = due;
  entered.number = numbers_;
  entered.is_copy = false;
  bytes_ += entered.bytes.size() + kBytesOfFrame;
  node.key() = {due, ++turns_};
  return queue_.insert(queue_.end(), std::move(node));
}

void Faults::cut_short(Frame& frame, std::uint64_t where) noexcept {
  const std::size_t size = frame.view.size();
  if (size <= kEthernetHeaderBytes) return;
  const std::size_t max = size - kEthernetHeaderBytes;
  frame.view.bytes = frame.view.bytes.first(kEthernetHeaderBytes + where % max);
  ++counters_.truncated;
}

void Faults::flip_a_bit(Frame& frame, std::uint64_t which) noexcept {
  const std::size_t bits = (frame.view.size() - kAddressBytes) * 8;
  const std::size_t bit = which % bits;
  frame.bytes[kAddressBytes + bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  ++counters_.corrupted;
}

/// Puts the first `count` frames that were held back into the queue, due not before `not_before`.
void Faults::let_go(std::size_t count, Time not_before) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    held_[i].key() = {std::max(held_[i].mapped().due, not_before), ++turns_};
    queue_.insert(queue_.end(), std::move(held_[i]));
  }
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
}

std::optional<Faults::Time> Faults::due() const noexcept {
  if (!queue_.empty()) return queue_.begin()->first.due;
  if (!held_.empty()) return held_.front().mapped().due + kLongestHold;
  return std::nullopt;
}

std::size_t Faults::ready(std::span<FrameView> into, Time now) noexcept {
  if (queue_.empty()) {
    const auto waits = [now](const auto& node) { return node.mapped().due + kLongestHold > now; };
    let_go(static_cast<std::size_t>(std::ranges::find_if(held_, waits) - held_.begin()), {});
  }
  std::size_t count = 0;
  for (const auto& [place, frame] : queue_) {
    if (count == into.size() || place.due > now) break;
    into[count++] = frame.view;
  }
  return count;
}

void Faults::pop(std::size_t count) noexcept {
  for (; count > 0; --count) {
    Queue::node_type node = queue_.extract(queue_.begin());
    const Frame& frame = node.mapped();
    bytes_ -= frame.bytes.size() + kBytesOfFrame;
    if (!frame.is_copy) {
      if (frame.number < gone_) ++counters_.reordered;
      gone_ = std::max(gone_, frame.number);
    }
    if (spare_.size() < kMaxSpare) spare_.push_back(std::move(node));
  }
}

}  // namespace shmif
