#include "shmif/ping.hpp"

#include <algorithm>
#include <cstring>

namespace shmif {
namespace {

constexpr std::uint32_t kMagic = 0x53484d50;  // "SHMP"
constexpr std::uint8_t kVersion = 1;

template <class T>
void put(std::byte* at, T value) noexcept {
  for (std::size_t i = sizeof(T); i-- > 0; value = static_cast<T>(value >> 8U)) {
    at[i] = static_cast<std::byte>(value & 0xffU);
  }
}
template <>
void put(std::byte* at, std::uint8_t value) noexcept {
  *at = static_cast<std::byte>(value);
}

template <class T>
T get(const std::byte* at) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = value << 8U | std::to_integer<std::uint64_t>(at[i]);
  }
  return static_cast<T>(value);
}

}  // namespace

void write_ping(const Ping& ping, std::span<std::byte, kPingFrameBytes> into) noexcept {
  std::byte* const p = into.data();
  std::ranges::fill(into, std::byte{0});
  std::memcpy(p, ping.destination.bytes.data(), 6);
  std::memcpy(p + 6, ping.source.bytes.data(), 6);
  put<std::uint16_t>(p + 12, kPingEtherType);
  put<std::uint32_t>(p + 14, kMagic);
  put<std::uint8_t>(p + 18, kVersion);
  put<std::uint8_t>(p + 19, static_cast<std::uint8_t>(ping.type));
  put<std::uint32_t>(p + 22, ping.id);
  put<std::uint32_t>(p + 26, ping.sequence);
  put<std::uint64_t>(p + 30, ping.sent_ns);
}

std::optional<Ping> read_ping(const FrameView& frame) noexcept {
  if (frame.size() < kPingFrameBytes) return std::nullopt;
  const std::byte* const p = frame.bytes.data();
  const auto type = get<std::uint8_t>(p + 19);
  if (get<std::uint16_t>(p + 12) != kPingEtherType || get<std::uint32_t>(p + 14) != kMagic ||
      get<std::uint8_t>(p + 18) != kVersion || (type != 1 && type != 2)) {
    return std::nullopt;
  }
  return Ping{.destination = frame.destination(),
              .source = frame.source(),
              .type = static_cast<PingType>(type),
              .id = get<std::uint32_t>(p + 22),
              .sequence = get<std::uint32_t>(p + 26),
              .sent_ns = get<std::uint64_t>(p + 30)};
}

std::optional<FrameView> answer_ping(const FrameView& frame, MacAddress self,
                                     std::span<std::byte, kPingFrameBytes> into) noexcept {
  std::optional<Ping> ping = read_ping(frame);
  if (!ping || ping->type != PingType::request) return std::nullopt;
  if (ping->destination != self && !ping->destination.is_broadcast()) return std::nullopt;
  if (ping->source.is_group() || ping->source.is_zero() || ping->source == self) {
    return std::nullopt;
  }
  ping->type = PingType::reply;
  ping->destination = ping->source;
  ping->source = self;
  write_ping(*ping, into);
  return FrameView(into.data(), into.size());
}

}  // namespace shmif
