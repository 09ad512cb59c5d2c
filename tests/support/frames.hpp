#pragma once
// Frames for tests: made from a seed, told apart from other traffic, waited for, compared.

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "shmif/link.hpp"

namespace shmif::test {

using Bytes = std::vector<std::byte>;

/// The source address of every frame made here, by which tests know their own.
inline constexpr std::array<std::uint8_t, 6> kSuiteMac{0xb2, 0xa0, 0xc0, 0xff, 0xee, 0x01};

/// A broadcast frame of `size` bytes whose contents follow from `seed` alone. `tags` 802.1Q headers
/// (an 802.1ad one outside where there are two) stand before its EtherType, inside `size`.
inline Bytes make_frame(std::size_t size, std::uint64_t seed, unsigned tags = 0) {
  constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15U;  // of SplitMix64: tests make many frames
  Bytes frame(size);
  std::uint64_t state = seed * kStep + size;
  for (std::size_t at = 0; at < size; at += sizeof(state)) {
    std::uint64_t word = state += kStep;
    word = (word ^ (word >> 30U)) * 0xbf58476d1ce4e5b9U;
    word = (word ^ (word >> 27U)) * 0x94d049bb133111ebU;
    word ^= word >> 31U;
    std::memcpy(frame.data() + at, &word, std::min(sizeof(word), size - at));
  }
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  std::memcpy(frame.data() + 6, kSuiteMac.data(), 6);
  std::size_t at = 12;
  const auto put16 = [&](unsigned v) {
    frame.at(at++) = static_cast<std::byte>(v >> 8U);
    frame.at(at++) = static_cast<std::byte>(v);
  };
  for (unsigned tag = tags; tag > 0; --tag) {
    put16(tag == 2 ? 0x88a8 : 0x8100);
    put16(0x6000 | (100 + tag));  // priority 3, VLAN 101 or 102
  }
  put16(0x88b6);  // IEEE 802 local experimental EtherType 2: no stack answers it
  return frame;
}

inline bool is_suite_frame(const FrameView& frame) {
  return frame.size() >= kEthernetHeaderBytes &&
         std::memcmp(frame.bytes.data() + 6, kSuiteMac.data(), 6) == 0;
}

inline std::vector<FrameView> views(const std::vector<Bytes>& frames) {
  std::vector<FrameView> out;
  out.reserve(frames.size());
  for (const Bytes& f : frames) out.emplace_back(f.data(), f.size());
  return out;
}

inline Bytes to_bytes(const FrameView& frame) {
  return {frame.bytes.begin(), frame.bytes.end()};
}

/// Waits as Link prescribes, and no better: what the descriptor (or the hint's time) does not
/// announce is not seen. Result: false when `timeout` passed.
template <Link L>
bool wait_for(L& link, std::chrono::milliseconds timeout) {
  using namespace std::chrono;
  const auto deadline = steady_clock::now() + timeout;
  for (;;) {
    const auto left = duration_cast<nanoseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return false;
    const WaitHint hint = link.prepare_wait();
    if (hint.ready) {
      link.finish_wait();
      return true;
    }
    // Rounded up, else the last millisecond of a wait would be a busy loop.
    const auto ms = duration_cast<milliseconds>(std::min(left, hint.at_most)).count() + 1;
    pollfd p{.fd = link.descriptor(), .events = POLLIN, .revents = 0};
    const int n = poll(&p, 1, static_cast<int>(ms));
    link.finish_wait();
    if (n > 0) return true;
  }
}

/// Receives until `count` frames made here came, or none for a while.
template <Link L>
std::vector<Bytes> collect(L& link, std::size_t count) {
  constexpr std::chrono::seconds kPatience{20};
  std::vector<Bytes> out;
  FrameBatch batch(64, 1U << 20U);
  while (out.size() < count) {
    batch.clear();
    const ReceiveResult r = link.receive(batch);
    EXPECT_EQ(r.frames, batch.size());
    for (const FrameView& f : batch.frames()) {
      if (is_suite_frame(f)) out.push_back(to_bytes(f));
    }
    if (r.error) break;
    if (r.frames == 0 && !wait_for(link, kPatience)) break;
  }
  return out;
}

/// Says where two lists of frames differ, without printing a megabyte.
inline testing::AssertionResult same_frames(const std::vector<Bytes>& expected,
                                            const std::vector<Bytes>& got) {
  for (std::size_t i = 0; i < std::min(expected.size(), got.size()); ++i) {
    if (expected[i] == got[i]) continue;
    const auto diff = std::ranges::mismatch(expected[i], got[i]).in1 - expected[i].begin();
    return testing::AssertionFailure()
           << "frame " << i << " differs: expected " << expected[i].size() << " bytes, got "
           << got[i].size() << ", first difference at byte " << diff;
  }
  if (expected.size() != got.size()) {
    return testing::AssertionFailure()
           << "expected " << expected.size() << " frames, got " << got.size();
  }
  return testing::AssertionSuccess();
}

}  // namespace shmif::test
