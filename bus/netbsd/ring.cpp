#include "bus/netbsd/ring.hpp"

#include <time.h>

#include <algorithm>

namespace shmif::bus {
namespace {

constexpr std::uint64_t kData = kNetbsdDataBytes;
/// Positions beyond could overflow. At a gigabyte a second, that is in 290 years.
constexpr std::uint64_t kMaxGeneration = (std::uint64_t{1} << 62U) / kData;

/// One hold covers at most this much, so that others seldom sleep: they look 1001 times, and then
/// sleep for a whole millisecond.
constexpr std::size_t kMaxHoldBytes = std::size_t{32} << 10U;

constexpr std::uint32_t offset_of(std::uint64_t position) noexcept {
  return static_cast<std::uint32_t>(position % kData);
}

}  // namespace

NetbsdWords NetbsdRing::words() const noexcept {
  const NetbsdHeader& h = header();
  return {load_acquire(h.generation), load_acquire(h.first), load_acquire(h.last)};
}

std::uint32_t NetbsdRing::version() const noexcept {
  if (const std::uint32_t told = load_relaxed(header().version); told != 0) return told;
  if (load_acquire(header().first) != kData || load_acquire(header().last) == 0)
    return kNetbsdVersion;
  std::uint32_t bytes = 0;  // of the first frame of version 2; in version 3, padding of a new bus
  read(kNetbsdOldPacketHeaderBytes, reinterpret_cast<std::byte*>(&bytes), sizeof bytes);
  return bytes != 0 ? kNetbsdOldVersion : kNetbsdVersion;
}

NetbsdLook NetbsdRing::interpret(const NetbsdWords& words, NetbsdState& state) const noexcept {
  if (words.generation > kMaxGeneration || words.first > kData || words.last >= kData ||
      words.first == words.last) {
    return NetbsdLook::corrupt;
  }
  std::uint32_t newest_bytes = 0;
  read(words.last, reinterpret_cast<std::byte*>(&newest_bytes), sizeof newest_bytes);
  if (newest_bytes > kLongest) return NetbsdLook::corrupt;
  state.header_bytes = header_bytes();
  const std::uint64_t record = state.header_bytes + newest_bytes;
  const std::uint64_t base = words.generation * kData;
  state.end = base + (words.last + record) % kData;  // N1
  if (state.end < record) return NetbsdLook::corrupt;
  state.last = state.end - record;
  state.first = base + words.first;  // N2
  if (state.first >= state.end) {
    if (state.first < kData) return NetbsdLook::corrupt;
    state.first -= kData;
  }
  return state.first <= state.last ? NetbsdLook::seen : NetbsdLook::corrupt;
}

NetbsdLook NetbsdRing::look(NetbsdState& state) const noexcept {
  for (unsigned looks = 0; looks < kLooks; ++looks) {
    // Words, lock, header, lock, words: a writer that began before the first look at the lock shows
    // there, or has ended. Then the words of the end differ from those that were read while it was
    // at work. A writer that begins later shows at the second look at the lock, or has ended, and
    // changed the words (N5). With the lock before the words, a writer could begin between the two,
    // move `last`, and not yet have written the header that is read here.
    const NetbsdWords before = words();
    if (lock() != 0) {
      cpu_relax();
      continue;
    }
    NetbsdState seen;
    const NetbsdLook look = interpret(before, seen);
    fence_loads();
    if (lock() != 0 || words() != before) continue;
    if (load_relaxed(header().magic) != kNetbsdMagic) return NetbsdLook::corrupt;
    state = seen;
    return look;
  }
  return NetbsdLook::held;
}

NetbsdLook NetbsdRing::look_inside(NetbsdState& state) const noexcept {
  if (load_relaxed(header().magic) != kNetbsdMagic) return NetbsdLook::corrupt;
  return interpret(words(), state);
}

bool NetbsdRing::read_header(std::uint64_t position, std::uint64_t end,
                             NetbsdRecord& record) const noexcept {
  const std::uint32_t size = header_bytes();
  if (position > end || end - position < size) return false;
  record.header.sender = 0;
  read(position, reinterpret_cast<std::byte*>(&record.header), size);
  record.frame = position + size;
  record.next = record.frame + record.header.bytes;
  return record.header.bytes <= kLongest && record.next <= end;
}

void NetbsdRing::read(std::uint64_t position, std::byte* to, std::size_t size) const noexcept {
  const std::uint32_t offset = offset_of(position);
  const std::size_t before = std::min<std::size_t>(size, kData - offset);
  copy_from_shared(to, data() + offset, before);
  if (before < size) copy_from_shared(to + before, data(), size - before);
}

void NetbsdRing::write(std::uint64_t position, const std::byte* from,
                       std::size_t size) const noexcept {
  if (size == 0) return;  // the frame of a pad
  const std::uint32_t offset = offset_of(position);
  const std::size_t before = std::min<std::size_t>(size, kData - offset);
  copy_to_shared(data() + offset, from, before);
  if (before < size) copy_to_shared(data(), from + before, size - before);
}

// ---- The lock ----

bool NetbsdLock::try_acquire() const noexcept {
  std::uint32_t& word = ring_.header().lock;
  return load_relaxed(word) == 0 && compare_and_swap(word, std::uint32_t{0}, std::uint32_t{1});
}

bool NetbsdLock::try_to_take() const noexcept {
  for (unsigned looks = 0; looks < NetbsdRing::kLooks; ++looks) {
    if (try_acquire()) return true;
    cpu_relax();
  }
  return false;
}

bool NetbsdLock::acquire() noexcept {
  using Clock = std::chrono::steady_clock;
  if (try_to_take()) {
    given_up_ = false;
    return true;
  }
  constexpr timespec kCooldown{0, 1'000'000};
  const Clock::time_point begin = Clock::now();
  Clock::time_point since = begin;
  NetbsdWords seen = ring_.words();
  for (;;) {  // ends when the lock is free, or when the time is over
    ++sleeps_;
    nanosleep(&kCooldown, nullptr);
    if (try_to_take()) {
      given_up_ = false;
      return true;
    }
    if (given_up_) return false;
    const Clock::time_point now = Clock::now();
    const NetbsdWords words = ring_.words();
    if (words != seen) {
      seen = words;
      since = now;
    }
    if (now - since >= kPatience || now - begin >= kLongestWait) {
      given_up_ = true;
      return false;
    }
  }
}

void NetbsdLock::release() const noexcept {
  store_seq_cst(ring_.header().lock, std::uint32_t{0});
}

bool NetbsdStuckLock::Sight::lasts(Clock::time_point now, Clock::duration patience) noexcept {
  if (looks == 0) since = now;
  looks = std::min(looks + 1, kMinLooks);
  return looks == kMinLooks && now - since >= patience;
}

bool NetbsdStuckLock::is_stuck(const NetbsdRing& ring, Clock::time_point now) noexcept {
  const NetbsdWords words = ring.words();
  if (words != words_) still_ = {};
  words_ = words;
  stands_still_ = still_.lasts(now, NetbsdLock::kPatience);
  return held_.lasts(now, NetbsdLock::kLongestWait) || stands_still_;
}

// ---- Writing ----

std::size_t netbsd_batch(std::span<const FrameView> frames) noexcept {
  std::size_t count = 0;
  for (std::size_t bytes = 0; count < frames.size(); ++count) {
    bytes += kNetbsdPacketHeaderBytes + frames[count].size();
    if (bytes > kMaxHoldBytes) break;
  }
  return count;
}

std::error_code netbsd_append(const NetbsdRing& ring, std::span<const FrameView> frames,
                              std::uint64_t sender, std::uint64_t time_ns,
                              NetbsdOwnFrames* own) noexcept {
  NetbsdState state;
  if (ring.look_inside(state) != NetbsdLook::seen) return make_error_code(Errc::corrupt);
  const NetbsdWords before = ring.words();
  std::uint64_t last = state.last;
  std::uint64_t end = state.end;
  const std::uint32_t header = state.header_bytes;
  bool touches_the_end = state.touches_end();
  const auto place = [&](std::size_t bytes) {  // of a header and its frame
    last = end;
    end += header + bytes;
    touches_the_end = end / kData != last / kData;
  };
  for (const FrameView& frame : frames) place(frame.size());
  const bool fills = touches_the_end;
  if (fills) place(0);

  // N4: `first` passes every header that is overwritten. In a new generation that includes the
  // first header of a new bus, whose offset does not exist in that generation (N2): a batch never
  // ends exactly where the data ends, since a pad follows.
  std::uint64_t first = state.first;
  const std::uint64_t oldest = end < kData ? 0 : end - kData;
  while (first < oldest) {
    NetbsdRecord record;
    if (!ring.read_header(first, state.end, record)) return make_error_code(Errc::corrupt);
    first = record.next;
  }
  NetbsdHeader& h = ring.header();
  if (first != state.first) store_release(h.first, offset_of(first));
  fence_stores();

  NetbsdPacketHeader packet{.seconds = static_cast<std::uint32_t>(time_ns / 1'000'000'000),
                            .microseconds = static_cast<std::uint32_t>(time_ns / 1000 % 1'000'000),
                            .sender = sender};
  std::uint64_t at = state.end;
  const auto put = [&](std::span<const std::byte> frame) {
    packet.bytes = static_cast<std::uint32_t>(frame.size());
    if (own != nullptr) own->add(at, packet);
    ring.write(at, reinterpret_cast<const std::byte*>(&packet), header);
    ring.write(at + header, frame.data(), frame.size());
    at += header + frame.size();
  };
  for (const FrameView& frame : frames) put(frame.bytes);
  if (fills) put({});
  // If a repair freed the lock meanwhile, it has raised the generation. Then do not send this
  // batch.
  const NetbsdWords now = ring.words();
  if (now.generation != before.generation || now.last != before.last)
    return make_error_code(Errc::busy);
  store_release(h.generation, end / kData);
  store_release(h.last, offset_of(last));
  return {};
}

}  // namespace shmif::bus
