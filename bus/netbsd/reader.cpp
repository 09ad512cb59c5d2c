#include "bus/netbsd/reader.hpp"

#include <algorithm>
#include <utility>

#include "base/wall_clock.hpp"
#include "bus/learned_word.hpp"

namespace shmif::bus {
namespace {

/// After overruns in quick succession, the reader skips this much of the ring.
constexpr std::uint64_t kHeadStart = kNetbsdDataBytes / 8;

/// This many walks pass a whole ring, even if it is full of the smallest headers.
constexpr unsigned kWalksPerRing = 192;

/// Clocks that show less have not counted since 1970, but since their kernel started.
constexpr std::uint32_t kFirstWallClockSecond = 1'000'000'000;

}  // namespace

bool NetbsdAddresses::accepts(MacAddress mac) const noexcept {
  const std::uint64_t number = mac.to_u64();
  if (mac.is_group() || number == own_.load(std::memory_order_relaxed)) return true;
  if (promiscuous_.load(std::memory_order_relaxed) || learned_too_many_ || listed_too_many_)
    return true;
  const std::uint64_t wanted = learned_word(number);
  for (const std::atomic<std::uint64_t>& other : others_) {
    const std::uint64_t known = other.load(std::memory_order_relaxed);
    if (known == 0) return false;
    if (known == wanted) return true;
  }
  return false;
}

void NetbsdAddresses::set_own(MacAddress mac) noexcept {
  const std::lock_guard guard(mutex_);
  own_ = mac.to_u64();
  const auto end = listed_.begin() + static_cast<std::ptrdiff_t>(listed_count_);
  if (std::find(listed_.begin(), end, mac.to_u64()) == end) forget(mac.to_u64());
}

/// Result: false if there is no room.
bool NetbsdAddresses::add(std::uint64_t mac) noexcept {
  const std::uint64_t word = learned_word(mac);
  std::atomic<std::uint64_t>* vacant = nullptr;
  for (std::atomic<std::uint64_t>& other : others_) {
    const std::uint64_t known = other.load(std::memory_order_relaxed);
    if (known == word) return true;
    if ((known == 0 || known == kVacantWord) && vacant == nullptr) vacant = &other;
    if (known == 0) break;
  }
  if (vacant == nullptr) return false;
  vacant->store(word);
  return true;
}

void NetbsdAddresses::forget(std::uint64_t mac) noexcept {
  const std::uint64_t word = learned_word(mac);
  for (std::atomic<std::uint64_t>& other : others_) {
    if (other.load(std::memory_order_relaxed) == word) other.store(kVacantWord);
  }
  last_learned_ = 0;
}

void NetbsdAddresses::learn(std::span<const FrameView> frames) noexcept {
  const std::lock_guard guard(mutex_);
  for (const FrameView& frame : frames) {
    const MacAddress source = frame.source();
    const std::uint64_t mac = source.to_u64();
    if (learned_word(mac) == last_learned_ || source.is_group() || mac == own_) continue;
    last_learned_ = learned_word(mac);
    if (!add(mac)) learned_too_many_ = true;
  }
}

void NetbsdAddresses::list(std::span<const MacAddress> macs) noexcept {
  const std::lock_guard guard(mutex_);
  for (const std::uint64_t before : std::span(listed_).first(listed_count_)) {
    const auto is_it = [&](MacAddress mac) { return mac.to_u64() == before; };
    if (std::ranges::none_of(macs, is_it)) forget(before);
  }
  listed_count_ = std::min(macs.size(), listed_.size());
  bool fits = macs.size() <= listed_.size();
  for (std::size_t i = 0; i < listed_count_; ++i) {
    listed_[i] = macs[i].to_u64();
    fits = add(listed_[i]) && fits;
  }
  listed_too_many_ = !fits;
}

static_assert(kWalksPerRing * std::uint64_t{512} * kNetbsdOldPacketHeaderBytes > kNetbsdDataBytes);

NetbsdLook NetbsdReader::seek(std::uint64_t NetbsdState::* place) noexcept {
  NetbsdState state;
  repairs_ = ring_.repairs();
  const NetbsdLook look = ring_.look(state);
  if (look == NetbsdLook::seen) {
    position_ = state.*place;
    header_bytes_ = state.header_bytes;
  }
  return look;
}

NetbsdLook NetbsdReader::seek_oldest_unless_behind() noexcept {
  NetbsdState state;
  const NetbsdLook look = ring_.look(state);
  if (look != NetbsdLook::seen) return look;
  const bool stays = position_ >= state.first && position_ <= state.end;
  if (!stays) position_ = state.first;
  return look;
}

NetbsdRead NetbsdReader::read(FrameBatch& into, std::size_t most, NetbsdTally& tally) noexcept {
  for (unsigned round = 0; round < kWalksPerRing; ++round) {
    const std::uint64_t before = position_;
    const NetbsdRead result = pass(&into, most, tally);
    if (result != NetbsdRead::more || position_ == before || into.size() >= most) return result;
  }
  return NetbsdRead::more;  // it has read more than the ring holds, or the words go to and fro
}

NetbsdRead NetbsdReader::find(NetbsdTally& tally) noexcept {
  for (unsigned round = 0; round < kRounds; ++round) {
    const std::uint64_t before = position_;
    const NetbsdRead result = pass(nullptr, 0, tally);
    if (result != NetbsdRead::more || position_ == before) return result;
  }
  return NetbsdRead::more;  // a flood of frames for others: the caller looks at the clock
}

/// One walk. If it returns `more` without a change of the position, the next frame is one to take,
/// and there is no room for it.
NetbsdRead NetbsdReader::pass(FrameBatch* into, std::size_t most, NetbsdTally& tally) noexcept {
  for (unsigned round = 0; round < kRounds; ++round) {
    NetbsdState state;
    switch (ring_.look(state)) {
      case NetbsdLook::held: return NetbsdRead::held;
      case NetbsdLook::corrupt: ++tally.corrupt; return NetbsdRead::corrupt;
      case NetbsdLook::seen: break;
    }
    touches_end_ = state.touches_end();
    // The first frame of a new bus has shown its version.
    if (state.header_bytes != header_bytes_ && position_ == header_bytes_)
      position_ = state.header_bytes;
    header_bytes_ = state.header_bytes;
    if (position_ < state.first || position_ > state.end) catch_up(state, tally);
    if (position_ == state.end) return NetbsdRead::empty;
    bool again = false;
    const NetbsdRead result = pass_to(state, into, most, tally, again);
    if (!again) return result;
  }
  // Writers are faster. Go to the end, where their next frames come.
  const std::uint64_t before = position_;
  if (seek_end() == NetbsdLook::seen && position_ > before) {
    ++tally.overruns;
    tally.lost_bytes += position_ - before;
  }
  return NetbsdRead::empty;
}

/// Moves to where reading continues after an overrun, or after a repair, which overwrites nothing
/// that was not read.
void NetbsdReader::catch_up(const NetbsdState& state, NetbsdTally& tally) noexcept {
  const std::uint64_t before = position_;
  const std::uint32_t repairs = ring_.repairs();
  const bool was_repaired = std::exchange(repairs_, repairs) != repairs;
  // A position behind the end: the words were set back, so everything in the ring is new.
  const bool is_overrun = !was_repaired && before <= state.end;
  const bool soon =
      is_overrun && before - std::min(before, caught_up_at_) < kHeadStart && caught_up_at_ != 0;
  position_ = resume_newest_ ? state.end : state.first;
  leave_out_to_ = soon ? std::min(state.end, state.first + kHeadStart) : 0;
  caught_up_at_ = position_;
  if (was_repaired) return;
  ++(is_overrun ? tally.overruns : tally.corrupt);
  if (is_overrun) tally.lost_bytes += position_ - before;
}

/// Walks to the end of `state`, and keeps what was not overwritten meanwhile. `again`: all was
/// lost.
NetbsdRead NetbsdReader::pass_to(const NetbsdState& state, FrameBatch* into, std::size_t most,
                                 NetbsdTally& tally, bool& again) noexcept {
  const std::size_t had = into == nullptr ? 0 : into->size();
  const Walk walked = walk(into, most, state.end);
  fence_loads();
  NetbsdState after;
  const NetbsdLook look = ring_.look(after);
  const auto give_back = [&](std::size_t from) {
    if (into != nullptr) into->drop(from, into->size());
  };
  if (look != NetbsdLook::seen || after.end < state.end ||
      after.header_bytes != state.header_bytes) {
    give_back(had);
    if (look == NetbsdLook::held) return NetbsdRead::held;
    if (look == NetbsdLook::corrupt) {
      ++tally.corrupt;
      return NetbsdRead::corrupt;
    }
    again = true;
    return NetbsdRead::more;
  }
  const auto begin = steps_.begin();
  const auto end = begin + static_cast<std::ptrdiff_t>(walked.steps);
  auto whole = begin;
  if (after.first > position_) {
    whole = std::lower_bound(begin, end, after.first,
                             [](const Step& s, std::uint64_t at) { return s.position < at; });
    const bool on_chain =
        whole != end ? whole->position == after.first : walked.stopped_at == after.first;
    if (!on_chain) {
      give_back(had);
      again = true;
      return NetbsdRead::more;
    }
    const auto torn =
        std::count_if(begin, whole, [](const Step& s) { return s.verdict == Verdict::taken; });
    if (into != nullptr) into->drop(had, had + static_cast<std::size_t>(torn));
    ++tally.overruns;
    tally.lost_bytes += after.first - position_;
    caught_up_at_ = after.first;
  }
  for (auto step = whole; step != end; ++step) {
    switch (step->verdict) {
      case Verdict::taken:
        ++tally.frames;
        tally.bytes += step->bytes;
        break;
      case Verdict::own: ++tally.own; break;
      case Verdict::filtered: ++tally.filtered; break;
      case Verdict::wrong: ++tally.corrupt; break;
      case Verdict::left_out: tally.lost_bytes += header_bytes_ + step->bytes; break;
      case Verdict::pad: break;
    }
  }
  number_ += walked.numbered;
  position_ = walked.stopped_at;
  if (walked.end == End::broken) {  // no header leads on from here
    ++tally.corrupt;
    tally.lost_bytes += state.end - position_;
    position_ = state.end;
  }
  return position_ == after.end ? NetbsdRead::empty : NetbsdRead::more;
}

NetbsdReader::Walk NetbsdReader::walk(FrameBatch* into, std::size_t most,
                                      std::uint64_t end) noexcept {
  Walk walked{.stopped_at = position_};
  now_ns_ = 0;
  while (walked.stopped_at < end) {
    NetbsdRecord record;
    if (walked.steps == kSteps) {
      walked.end = End::steps;
      break;
    }
    if (!ring_.read_header(walked.stopped_at, end, record)) {
      walked.end = End::broken;
      break;
    }
    const Verdict verdict = judge(record, walked.stopped_at);
    if (verdict == Verdict::taken && (into == nullptr || into->size() >= most ||
                                      !take(*into, record, number_ + walked.numbered))) {
      walked.end = End::full;
      break;
    }
    steps_[walked.steps++] = {walked.stopped_at, record.header.bytes, verdict};
    if (verdict != Verdict::pad) ++walked.numbered;
    walked.stopped_at = record.next;
  }
  return walked;
}

NetbsdReader::Verdict NetbsdReader::judge(const NetbsdRecord& record,
                                          std::uint64_t position) const noexcept {
  const std::uint32_t bytes = record.header.bytes;
  if (bytes < kNetbsdMinFrame) return Verdict::pad;
  if (position < leave_out_to_) return Verdict::left_out;
  if (bytes > kNetbsdMaxFrame) return Verdict::wrong;
  if (sender_ != 0 && record.header.sender == sender_) return Verdict::own;
  if (own_ != nullptr && header_bytes_ == kNetbsdOldPacketHeaderBytes &&
      own_->has(position, record.header))
    return Verdict::own;
  if (addresses_ == nullptr) return Verdict::taken;
  std::array<std::byte, 6> destination;
  ring_.read(record.frame, destination.data(), destination.size());
  return addresses_->accepts(MacAddress::read(destination.data())) ? Verdict::taken
                                                                   : Verdict::filtered;
}

/// Result: false if there is no room for the frame.
bool NetbsdReader::take(FrameBatch& into, const NetbsdRecord& record,
                        std::uint64_t number) noexcept {
  const std::size_t bytes = record.header.bytes;
  const std::span<std::byte> room = into.room();
  if (into.full() || !into.has_room_for(bytes)) return false;
  const std::size_t copied = std::min(room.size(), bytes);
  ring_.read(record.frame, room.data(), copied);
  FrameView& view = into.next();
  view.bytes = room.first(copied);
  view.true_bytes = copied < bytes ? static_cast<std::uint32_t>(bytes) : 0;
  view.number = number;
  view.time_ns = time_of(record.header);
  into.keep();
  return true;
}

std::uint64_t NetbsdReader::time_of(const NetbsdPacketHeader& header) noexcept {
  if (header.seconds >= kFirstWallClockSecond && header.microseconds < 1'000'000) {
    return std::uint64_t{header.seconds} * 1'000'000'000 +
           std::uint64_t{header.microseconds} * 1000;
  }
  if (now_ns_ == 0) now_ns_ = base::wall_clock_ns();
  return now_ns_;
}

std::optional<std::uint64_t> NetbsdReader::frames_ahead() const noexcept {
  for (unsigned round = 0; round < kRounds; ++round) {
    NetbsdState state;
    if (ring_.look(state) != NetbsdLook::seen) return std::nullopt;
    std::uint64_t position = std::clamp(position_, state.first, state.end);
    const std::uint64_t begin = position;
    std::uint64_t frames = 0;
    NetbsdRecord record;
    while (position < state.end && ring_.read_header(position, state.end, record)) {
      if (record.header.bytes >= kNetbsdMinFrame) ++frames;
      position = record.next;
    }
    fence_loads();
    NetbsdState after;
    if (ring_.look(after) != NetbsdLook::seen) return std::nullopt;
    if (after.first <= begin) return frames;
  }
  return std::nullopt;
}

}  // namespace shmif::bus
