#pragma once
// Wires for tests of engines, and frames that go over them.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "perf/engine/engine.hpp"
#include "tests/support/frames.hpp"

namespace shmif::perf::rig {

using shmif::test::Bytes;

/// The address of end number `index` in all of these tests.
inline MacAddress end_mac(std::size_t index) {
  return MacAddress::from_u64(0xb2a0'0000'0100U + index);
}

inline EndOptions end_options(std::size_t index) {
  return {.name = "job" + std::to_string(index),
          .index = index,
          .mac = end_mac(index),
          .sent = {},
          .received = {}};
}

/// A frame from one end to another; everything behind the addresses follows from `seed`.
inline Bytes frame_to(std::size_t to, std::size_t from, std::size_t size, std::uint64_t seed) {
  Bytes frame = shmif::test::make_frame(size, seed);
  std::memcpy(frame.data(), end_mac(to).bytes.data(), 6);
  std::memcpy(frame.data() + 6, end_mac(from).bytes.data(), 6);
  return frame;
}

/// `count` frames of `size` bytes, each another.
inline std::vector<Bytes> frames_to(std::size_t to, std::size_t from, std::size_t count,
                                    std::size_t size = 60) {
  std::vector<Bytes> frames;
  for (std::uint64_t seed = 0; seed < count; ++seed) {
    frames.push_back(frame_to(to, from, size, seed));
  }
  return frames;
}

/// What has arrived by now.
inline std::vector<Bytes> arrived(End& end, std::uint64_t* lost = nullptr) {
  std::vector<Bytes> got;
  FrameBatch batch(256, 1U << 20U);
  for (;;) {
    batch.clear();
    const ReceiveResult r = end.receive(batch);
    EXPECT_FALSE(r.error) << r.error.message();
    if (lost != nullptr) *lost += r.lost;
    if (r.frames == 0) return got;
    std::ranges::transform(batch.frames(), std::back_inserter(got), shmif::test::to_bytes);
  }
}

/// Receives until so many frames came, or for long none.
inline std::vector<Bytes> collect(End& end, std::size_t count) {
  std::vector<Bytes> got;
  for (int quiet = 0; got.size() < count && quiet < 200;) {
    auto more = arrived(end);
    quiet = more.empty() ? quiet + 1 : 0;
    std::ranges::move(more, std::back_inserter(got));
    if (quiet > 0 && got.size() < count) end.wait(std::chrono::milliseconds(100));
  }
  return got;
}

/// Sends everything, in as many pieces as it takes. Result: what `to` received meanwhile.
inline std::vector<Bytes> send_all(End& end, const std::vector<Bytes>& frames, End& to) {
  std::vector<Bytes> got;
  const auto out = shmif::test::views(frames);
  std::size_t sent = 0;
  for (int refusals = 0; sent < out.size() && refusals < 10'000;) {
    const SendResult r = end.send(std::span(out).subspan(sent));
    EXPECT_FALSE(r.error) << r.error.message();
    if (r.error) break;
    sent += r.taken;
    refusals = r.taken == 0 ? refusals + 1 : 0;
    if (sent == out.size()) break;
    std::ranges::move(arrived(to), std::back_inserter(got));
    end.wait_to_send(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(sent, out.size());
  return got;
}

/// Whether `part` is what is left of `whole` when some of it is taken away.
inline bool is_subsequence(const std::vector<Bytes>& part, const std::vector<Bytes>& whole) {
  auto from = whole.begin();
  for (const Bytes& frame : part) {
    from = std::find(from, whole.end(), frame);
    if (from == whole.end()) return false;
    ++from;
  }
  return true;
}

}  // namespace shmif::perf::rig
