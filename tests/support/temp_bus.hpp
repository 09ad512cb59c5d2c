#pragma once
// A bus that goes away with the test, and ports on it.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {

/// A bus in a directory of its own.
class TempBus {
 public:
  explicit TempBus(const BusOptions& options = {}) : path_(dir_.file("bus")) {
    Bus::create(path_, options).value();
  }

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return dir_.file(name); }
  BusInfo info() const { return Bus::open(path_).value().info(); }
  AuditReport audit() const { return Bus::open(path_).value().audit(); }

 private:
  TempDir dir_;
  std::string path_;
};

inline BusOptions small_ring(std::uint32_t mtu = 1500) {
  return {.ring_bytes = 64U << 10U, .mtu = mtu};
}

/// A port that is attached and up.
inline Port port_on(const std::string& path, PortOptions options = {}) {
  Port port(std::move(options));
  port.attach(path).value();
  if (const std::error_code error = port.up()) throw std::system_error(error, "up");
  return port;
}

/// How many ports hear what is sent from now on: one in the table need not be up yet.
inline std::size_t ports_up(const BusInfo& info) {
  return static_cast<std::size_t>(std::ranges::count_if(info.ports, &PortInfo::up));
}

/// Passes when the audit found nothing, else prints what it found.
inline testing::AssertionResult is_clean(const AuditReport& report) {
  if (report.clean()) return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure();
  for (const AuditFinding& f : report.findings) failure << f.invariant << ": " << f.what << "\n";
  return failure;
}

/// All that passed a port by, of which each frame is exactly one thing.
inline std::uint64_t passed(const PortCounters& c) {
  return c.rx_frames + c.own_frames + c.filtered_frames + c.skipped_frames + c.lost_frames;
}

}  // namespace shmif::test
