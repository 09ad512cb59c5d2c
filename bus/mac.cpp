#include "bus/mac.hpp"

#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>

namespace shmif {
namespace {

std::optional<unsigned> hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

/// Four bytes that other processes and calls are unlikely to get, without getrandom(2): a seccomp
/// filter may refuse that call, and early at boot it would wait. Attaching finds out whether an
/// address is taken, so they need not be secret.
std::uint32_t unlikely_number() noexcept {
  static std::atomic<std::uint64_t> calls{0};
  std::uint64_t mixed = calls.fetch_add(1) << 32U;
  std::uint64_t part = 0;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): 16 bytes that the kernel gives each program
  const auto* const of_program = reinterpret_cast<const char*>(::getauxval(AT_RANDOM));
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto mix = [&mixed](std::uint64_t more) {  // the step of splitmix64
    mixed += more + 0x9e3779b97f4a7c15U;
    mixed = (mixed ^ mixed >> 30U) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ mixed >> 27U) * 0x94d049bb133111ebU;
    mixed ^= mixed >> 31U;
  };
  if (of_program != nullptr) {
    std::memcpy(&part, of_program, sizeof part);
    mix(part);
  }
  mix(static_cast<std::uint64_t>(::getpid()));
  mix(static_cast<std::uint64_t>(now.tv_sec) << 32U ^ static_cast<std::uint64_t>(now.tv_nsec));
  return static_cast<std::uint32_t>(mixed >> 32U);
}

}  // namespace

std::string MacAddress::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2],
                bytes[3], bytes[4], bytes[5]);
  return text;
}

std::optional<MacAddress> MacAddress::parse(std::string_view text) noexcept {
  if (text.size() != 17) return std::nullopt;
  MacAddress m;
  for (std::size_t i = 0; i < 6; ++i) {
    const auto high = hex_digit(text[3 * i]);
    const auto low = hex_digit(text[3 * i + 1]);
    if (!high || !low) return std::nullopt;
    if (i < 5 && text[3 * i + 2] != ':' && text[3 * i + 2] != '-') return std::nullopt;
    m.bytes[i] = static_cast<std::uint8_t>(*high << 4U | *low);
  }
  return m;
}

MacAddress MacAddress::random() noexcept {
  MacAddress m;
  m.bytes[0] = 0xb2;  // NetBSD if_shmem.c: locally administered, not a group
  m.bytes[1] = 0xa0;
  if (::getrandom(&m.bytes[2], 4, GRND_NONBLOCK) != 4) {
    const std::uint32_t number = unlikely_number();
    std::memcpy(&m.bytes[2], &number, sizeof number);
  }
  return m;
}

}  // namespace shmif
