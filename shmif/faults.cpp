#include "shmif/faults.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "shmif/filter.hpp"

namespace shmif {
namespace {

using std::chrono::nanoseconds;

/// How long a frame that is held back waits at most for another one to overtake it.
constexpr std::chrono::milliseconds kLongestHold{10};
/// How many frames may be held back; their copies are not counted.
constexpr std::size_t kMaxHeld = 64;
constexpr std::size_t kAddressBytes = 12;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
/// The memory that a waiting frame takes besides its bytes, approximately.
constexpr std::size_t kBytesOfFrame = 192;
/// How many buffers of frames that have gone are kept for later frames.
constexpr std::size_t kMaxSpare = 256;

}  // namespace

bool FaultOptions::any() const noexcept {
  return loss > 0 || duplicate > 0 || reorder > 0 || corrupt > 0 || truncate > 0 || bursts ||
         delay.count() > 0 || rate_bps > 0 || !drop.empty();
}

FaultCounters& FaultCounters::operator+=(const FaultCounters& more) noexcept {
  frames += more.frames;
  lost += more.lost;
  duplicated += more.duplicated;
  reordered += more.reordered;
  corrupted += more.corrupted;
  truncated += more.truncated;
  queue_full += more.queue_full;
  return *this;
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
  bad_ = false;
}

void Faults::change(const FaultOptions& options) {
  options_ = options;
  not_before_ = last_due_;
  counted_ = next_drop_ = 0;
  seed_random();
}

void Faults::hurry(Time now) noexcept {
  let_go(held_.size(), {});
  Queue hurried;
  while (!queue_.empty()) {
    Queue::node_type node = queue_.extract(queue_.begin());
    Frame& frame = node.mapped();
    if (frame.due > now) {
      if (frame.view.time_ns != 0)
        frame.view.time_ns -= static_cast<std::uint64_t>(nanoseconds(frame.due - now).count());
      frame.due = now;
    }
    node.key() = {std::min(node.key().due, now), ++turns_};
    hurried.insert(hurried.end(), std::move(node));
  }
  queue_.swap(hurried);
  last_due_ = not_before_ = now;
  line_free_ = {};
  line_rest_ = 0;
  line_.clear();
}

std::size_t Faults::discard() noexcept {
  const std::size_t count = waiting();
  queue_.clear();
  held_.clear();
  line_.clear();
  bytes_ = passing_ = 0;
  last_due_ = not_before_ = line_free_ = {};
  line_rest_ = 0;
  return count;
}

/// Counts a frame for `drop`. Result: whether that is to be lost.
bool Faults::is_to_drop() noexcept {
  ++counted_;
  const std::vector<FaultOptions::Range>& ranges = options_.drop;
  while (next_drop_ < ranges.size() && ranges[next_drop_].last < counted_) ++next_drop_;
  return next_drop_ < ranges.size() && ranges[next_drop_].first <= counted_;
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
  if (bytes_ + bytes + kBytesOfFrame > kMaxFaultBytes) return false;
  if (options_.queue_frames != 0) return waiting() - passing_ < options_.queue_frames;
  while (!line_.empty() && line_.front() <= now) line_.pop_front();
  // What waits for the bottleneck as long as the delay is rate times delay. A queue shorter than
  // that makes a TCP connection slower than the line.
  return options_.rate_bps == 0 || line_.size() < kMaxQueuedForLine ||
         line_free_ - now <= options_.delay;
}

/// Whether there is also room for the copy of a frame that has just come in.
bool Faults::has_room_for_copy() const noexcept {
  return options_.queue_frames == 0 || waiting() - passing_ < options_.queue_frames;
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
  if (options_.match.filter && !options_.match.filter->matches(frame)) {
    pass_by(frame, now);
  } else {
    put_matching(frame, now);
  }
}

/// Lets a frame go on at once. It neither waits for others nor counts in any queue.
void Faults::pass_by(const FrameView& frame, Time now) noexcept {
  try {
    enter(frame, now, now)->second.passes_by = true;
    ++passing_;
  } catch (const std::bad_alloc&) {
    ++counters_.queue_full;
  }
}

void Faults::put_matching(const FrameView& frame, Time now) noexcept {
  // Draw all random numbers for each frame, whatever becomes of it. Then those of the next frame do
  // not depend on that.
  const bool to_drop = is_to_drop();
  const bool lost = is_lost() || to_drop;
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
  entered.is_copy = entered.passes_by = false;
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
    if (frame.passes_by) {
      --passing_;
    } else if (!frame.is_copy) {
      if (frame.number < gone_) ++counters_.reordered;
      gone_ = std::max(gone_, frame.number);
    }
    if (spare_.size() < kMaxSpare) spare_.push_back(std::move(node));
  }
}

}  // namespace shmif
