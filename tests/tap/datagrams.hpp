#pragma once
// Frames of UDP flows, as the kernel of another guest hands them to its TAP device: whole, each
// with an unfinished checksum.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "bus/frame.hpp"
#include "tests/support/super_frames.hpp"

namespace shmif::tap::test {

using shmif::test::Bytes;
using shmif::test::set16;

/// Every field has a value of its own. Station and host 1 of 198.18.0.0/24 and fd00::/64 send to 2.
struct Flow {
  bool v6 = false;
  std::uint16_t from = 4001;
  std::uint16_t to = 4002;
  bool may_be_fragmented = false;

  shmif::test::Shape shape() const { return {.v6 = v6, .tcp = false}; }
  std::size_t header_bytes() const { return shape().payload(); }
};

inline Bytes random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// Writes the checksum of the IPv4 header and the unfinished one of UDP anew.
inline void restore_sums(const Flow& flow, Bytes& f) {
  const shmif::test::Shape shape = flow.shape();
  if (!flow.v6) {
    set16(f, 24, 0);
    set16(f, 24, ~shmif::test::plain_sum(f, 14, 34) & 0xffffU);
  }
  const unsigned sum = shmif::test::pseudo_sum(shape, f);
  set16(f, shape.l4() + 6, (sum & 0xffffU) + (sum >> 16U));
}

inline Bytes datagram(const Flow& flow, const Bytes& payload, unsigned identification = 7) {
  const shmif::test::Shape shape = flow.shape();
  Bytes f(shape.payload() + payload.size());
  const auto put = [&](std::size_t at, std::initializer_list<unsigned> bytes) {
    for (const unsigned b : bytes) f.at(at++) = static_cast<std::byte>(b);
  };
  put(0, {0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1});
  if (flow.v6) {
    put(12, {0x86, 0xdd, 0x62, 0x81, 0x23, 0x45});  // traffic class 0x28, flow label 0x12345
    set16(f, 18, f.size() - 54);
    put(20, {17, 61, 0xfd});
    put(37, {1, 0xfd});
    put(53, {2});
  } else {
    put(12, {8, 0, 0x45, 0x28});
    set16(f, 16, f.size() - 14);
    set16(f, 18, identification & 0xffffU);
    put(20, {flow.may_be_fragmented ? 0U : 0x40U, 0, 61, 17});
    put(26, {198, 18, 0, 1, 198, 18, 0, 2});
  }
  set16(f, shape.l4(), flow.from);
  set16(f, shape.l4() + 2, flow.to);
  set16(f, shape.l4() + 4, 8 + payload.size());
  if (!payload.empty()) std::memcpy(f.data() + shape.payload(), payload.data(), payload.size());
  restore_sums(flow, f);
  return f;
}

/// A frame of `flow` as a view, which says that its checksum is unfinished.
inline FrameView unfinished(const Flow& flow, const Bytes& frame) {
  FrameView view(frame.data(), frame.size());
  view.offload = header_for(flow.shape(), 0);
  return view;
}

}  // namespace shmif::tap::test
