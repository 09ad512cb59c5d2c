#include "tap/host_mac.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

namespace shmif::tap {
namespace {

constexpr unsigned kMaxAttempts = 16;

/// Differs from boot to boot, and between machines. Empty if /proc does not show it.
const std::string& boot_id() {
  static const std::string id = [] {
    std::string text;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
    return text;
  }();
  return id;
}

/// FNV-1a, with the finalizer of MurmurHash3, so that each bit of the input changes the low bits.
class MacHash {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) {
      value_ ^= static_cast<unsigned char>(c);
      value_ *= 0x100000001b3U;
    }
  }
  void add(std::uint64_t number) {
    for (unsigned shift = 0; shift < 64; shift += 8) {
      value_ ^= number >> shift & 0xffU;
      value_ *= 0x100000001b3U;
    }
  }
  std::uint64_t mixed() const {
    std::uint64_t v = value_;
    v = (v ^ v >> 33U) * 0xff51afd7ed558ccdU;
    v = (v ^ v >> 33U) * 0xc4ceb9fe1a85ec53U;
    return v ^ v >> 33U;
  }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325U;
};

}  // namespace

MacAddress host_mac(const BusInfo& bus, std::string_view name, unsigned attempt) {
  constexpr std::uint64_t kPrefix = 0xb2a0;  // as MacAddress::random()
  MacHash hash;
  hash.add(bus.created_ns);
  hash.add(bus.inode);
  hash.add(boot_id());
  hash.add(attempt);
  hash.add(name);
  return MacAddress::from_u64(kPrefix << 32U | (hash.mixed() & 0xffffffffU));
}

void take_host_mac(Port& port, const BusInfo& bus) {
  const std::string name = port.name();
  for (unsigned attempt = 0; attempt < kMaxAttempts; ++attempt) {
    if (!port.set_mac(host_mac(bus, name, attempt))) return;
  }
  // The port keeps the random address with which it was attached.
}

MacAddress device_mac(const BusInfo& bus, std::string_view device) {
  if (!bus.has_port_table()) return MacAddress::random();
  // No port's name contains a blank.
  const std::string name = "device " + std::string(device);
  for (unsigned attempt = 0; attempt < kMaxAttempts; ++attempt) {
    const MacAddress mac = host_mac(bus, name, attempt);
    const auto has_it = [&](const PortInfo& port) { return port.live && port.mac == mac; };
    if (std::ranges::none_of(bus.ports, has_it)) return mac;
  }
  return MacAddress::random();
}

}  // namespace shmif::tap
