#pragma once
// A directory on tmpfs that goes away with the test, and buses in it.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"

namespace shmif::test {

/// A fresh directory. The destructor removes it and all that is in it.
class TempDir {
 public:
  explicit TempDir(std::string parent = "/dev/shm")
      : path_(std::move(parent) + "/shmif-test-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

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
