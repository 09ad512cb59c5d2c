#include "bus/fragmenter.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "bus/network_bytes.hpp"
#include "bus/offload.hpp"

namespace shmif::bus {
namespace {

constexpr std::size_t kFragmentHeaderBytes = 8;
constexpr std::size_t kUnit = 8;  // fragment offsets count units of so many bytes
constexpr std::uint16_t kMoreFragments = 0x2000;
constexpr std::uint16_t kOffsetMask = 0x1fff;
constexpr std::size_t kMaxPacket = 0xffff;

constexpr std::uint8_t kOptionEnd = 0;
constexpr std::uint8_t kOptionNothing = 1;
constexpr std::uint8_t kOptionCopied = 0x80;

/// The bytes of the option at `at`; 0 if it does not end before `end`.
std::size_t option_bytes(std::span<const std::byte> b, std::size_t at, std::size_t end) {
  if (get8(b, at) == kOptionNothing) return 1;
  if (at + 2 > end) return 0;
  const std::size_t bytes = get8(b, at + 1);
  return bytes >= 2 && bytes <= end - at ? bytes : 0;
}

/// Whether each of the IPv4 options from `at` to `end` shows where the next one begins.
bool options_are_sound(std::span<const std::byte> b, std::size_t at, std::size_t end) {
  while (at < end && get8(b, at) != kOptionEnd) {
    const std::size_t bytes = option_bytes(b, at, end);
    if (bytes == 0) return false;
    at += bytes;
  }
  return true;
}

/// Replaces each option that only the first fragment has (RFC 791 section 3.1) by No Operation. The
/// options must be sound.
void drop_options(std::span<std::byte> b, std::size_t at, std::size_t end) {
  while (at < end && get8(b, at) != kOptionEnd) {
    const std::size_t bytes = option_bytes(b, at, end);
    if ((get8(b, at) & kOptionCopied) == 0) {
      std::memset(b.data() + at, kOptionNothing, bytes);
    }
    at += bytes;
  }
}

/// A bijection (the last step of MurmurHash3), so that different numbers stay different.
std::uint32_t scramble(std::uint32_t v) {
  v ^= v >> 16U;
  v *= 0x85ebca6bU;
  v ^= v >> 13U;
  v *= 0xc2b2ae35U;
  return v ^ v >> 16U;
}

}  // namespace

bool Fragmenter::begin(std::span<const std::byte> frame, std::size_t mtu) noexcept {
  frame_ = frame;
  next_ = end_ = 0;
  if (frame.size() < kEthernetHeaderBytes) return false;
  const std::size_t type_at = ether_type_at(frame);
  const std::uint16_t type = get16(frame, type_at);
  l3_ = type_at + 2;
  const bool fits = (type == 0x0800 && begin_v4(mtu)) || (type == 0x86dd && begin_v6(mtu));
  if (fits) next_ = payload_;
  return fits;
}

bool Fragmenter::begin_v4(std::size_t mtu) noexcept {
  if (l3_ + kIpv4MinBytes > frame_.size() || get8(frame_, l3_) >> 4U != 4) return false;
  const std::size_t header_bytes = std::size_t{4} * (get8(frame_, l3_) & 15U);
  const std::size_t packet_bytes = get16(frame_, l3_ + 2);
  // F5. With the next line, the packet is also longer than its header.
  if (header_bytes < kIpv4MinBytes || packet_bytes > frame_.size() - l3_) return false;
  if (packet_bytes <= mtu || mtu < header_bytes + kUnit) return false;
  if (internet_sum(frame_.subspan(l3_, header_bytes)) != 0xffff) return false;
  payload_ = l3_ + header_bytes;
  if (!options_are_sound(frame_, l3_ + kIpv4MinBytes, payload_)) return false;
  flags_ = get16(frame_, l3_ + 6);
  const std::size_t payload_bytes = packet_bytes - header_bytes;
  if ((flags_ & kMoreFragments) != 0 && payload_bytes % kUnit != 0) return false;
  // The offset of the last piece has 13 bits, because the whole packet has 16 bits of length.
  if (kUnit * (flags_ & kOffsetMask) + packet_bytes > kMaxPacket) return false;
  end_ = l3_ + packet_bytes;
  added_ = 0;
  chunk_ = (mtu - header_bytes) / kUnit * kUnit;
  return true;
}

bool Fragmenter::begin_v6(std::size_t mtu) noexcept {
  if (l3_ + kIpv6Bytes > frame_.size() || get8(frame_, l3_) >> 4U != 6) return false;
  const std::size_t payload_bytes = get16(frame_, l3_ + 4);
  // F5. A jumbogram (RFC 2675) says 0 here, so it counts as not longer than the MTU.
  if (payload_bytes > frame_.size() - l3_ - kIpv6Bytes) return false;
  const std::size_t packet_bytes = kIpv6Bytes + payload_bytes;
  if (packet_bytes <= mtu) return false;
  const std::size_t end = l3_ + packet_bytes;

  // F4. Bounded: each step advances at least 8 bytes.
  std::size_t at = l3_ + kIpv6Bytes;
  std::size_t type_at = l3_ + 6;
  payload_ = at;
  next_type_ = type_at;
  for (std::uint8_t type = get8(frame_, type_at); type != IPPROTO_FRAGMENT;) {
    const bool each_has_it = type == IPPROTO_HOPOPTS || type == IPPROTO_ROUTING;
    if (!each_has_it && type != IPPROTO_DSTOPTS) break;
    if (at + kUnit > end) return false;
    type_at = at;
    at += kUnit * (std::size_t{1} + get8(frame_, at + 1));
    if (at > end) return false;
    if (each_has_it) {
      payload_ = at;
      next_type_ = type_at;
    }
    type = get8(frame_, type_at);
  }
  if (get8(frame_, type_at) == IPPROTO_FRAGMENT) return false;
  const std::size_t header_bytes = payload_ - l3_ + kFragmentHeaderBytes;
  // The packet is longer than the MTU, so it continues behind these headers.
  if (mtu < header_bytes + kUnit) return false;
  end_ = end;
  added_ = kFragmentHeaderBytes;
  chunk_ = (mtu - header_bytes) / kUnit * kUnit;
  ++packets_;
  return true;
}

std::size_t Fragmenter::next_bytes() const noexcept {
  if (done()) return 0;
  return payload_ + added_ + std::min(chunk_, end_ - next_);
}

std::size_t Fragmenter::next(std::span<std::byte> into) noexcept {
  const std::size_t size = next_bytes();
  if (size == 0 || into.size() < size) return 0;
  const std::size_t bytes = size - payload_ - added_;
  const std::span<std::byte> out = into.first(size);
  std::memcpy(out.data(), frame_.data(), payload_);
  std::memcpy(out.data() + payload_ + added_, frame_.data() + next_, bytes);
  const bool last = next_ + bytes == end_;
  if (added_ == 0) {
    write_v4(out, last);
  } else {
    write_v6(out, last);
  }
  next_ += bytes;
  return size;
}

/// F3: length, flags and offset, options, checksum.
void Fragmenter::write_v4(std::span<std::byte> out, bool last) const noexcept {
  const std::size_t offset = (next_ - payload_) / kUnit;
  put16(out, l3_ + 2, out.size() - l3_);
  put16(out, l3_ + 6, (flags_ + offset) | (last ? 0U : kMoreFragments));
  if (offset != 0) drop_options(out, l3_ + kIpv4MinBytes, payload_);
  put_sum(out, l3_ + 10, 0);
  put_sum(out, l3_ + 10,
          static_cast<std::uint16_t>(~internet_sum(out.subspan(l3_, payload_ - l3_))));
}

/// F4: the length, and the Fragment header between the headers that each fragment has and the rest.
void Fragmenter::write_v6(std::span<std::byte> out, bool last) const noexcept {
  put16(out, l3_ + 4, out.size() - l3_ - kIpv6Bytes);
  out[payload_] = frame_[next_type_];
  out[payload_ + 1] = std::byte{0};
  // The field holds the offset in its upper 13 bits, in units of 8 bytes: that is the offset in
  // bytes.
  put16(out, payload_ + 2, (next_ - payload_) | (last ? 0U : 1U));
  put32(out, payload_ + 4, scramble(packets_ ^ key_));
  out[next_type_] = static_cast<std::byte>(IPPROTO_FRAGMENT);
}

}  // namespace shmif::bus
