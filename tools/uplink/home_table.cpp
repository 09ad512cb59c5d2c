#include "tools/uplink/home_table.hpp"

namespace shmif::tools {
namespace {

constexpr unsigned kPlacesLog2 = 12;

}  // namespace

HomeTable::HomeTable(Behind behind) : behind_(behind), hosts_(std::size_t{1} << kPlacesLog2) {}

HomeTable::Host& HomeTable::place_of(std::uint64_t mac) {
  constexpr std::uint64_t kGolden = 0x9e37'79b9'7f4a'7c15;  // spreads addresses that count up
  return hosts_[mac * kGolden >> (64U - kPlacesLog2)];
}

HomeTable::Host& HomeTable::note(MacAddress mac, bool is_home, Clock::time_point now) {
  const std::uint64_t number = mac.to_u64();
  Host& host = place_of(number);
  if (host.mac != number) host = Host{.mac = number, .seen = now, .passed = now};
  host.is_home = is_home;
  host.seen = now;
  return host;
}

bool HomeTable::stays(const FrameView& frame, Clock::time_point now) {
  const MacAddress from = frame.source();
  if (from.is_group()) return false;
  const MacAddress to = frame.destination();
  const std::uint64_t number = to.to_u64();
  Host& sender = note(from, true, now);
  if (!to.is_group()) {
    const Host& receiver = place_of(number);
    const bool is_home =
        receiver.mac == number && receiver.is_home && now - receiver.seen < kMemory;
    const bool must_remind =
        behind_ == Behind::bridge && (!sender.has_passed || now - sender.passed >= kRemind);
    if (is_home && !must_remind) return true;
  }
  sender.has_passed = true;
  sender.passed = now;
  return false;
}

void HomeTable::came_from_afar(const FrameView& frame, Clock::time_point now) {
  const MacAddress from = frame.source();
  if (!from.is_group()) note(from, false, now);
}

}  // namespace shmif::tools
