#pragma once
// A bus of a test's own, and what tests of the commands do on it.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {

class BusRig {
 public:
  explicit BusRig(const BusOptions& options = {}) { Bus::create(path(), options).value(); }

  std::string path() const { return directory_.file("bus"); }
  std::string file(const std::string& name) const { return directory_.file(name); }
  const std::string& directory() const { return directory_.path(); }

  Port port(const std::string& name = {}) const {
    PortOptions options;
    options.name = name;
    Port port(options);
    port.attach(path()).value();
    EXPECT_FALSE(port.up());
    return port;
  }

  /// Waits until a tool's port is up. Result: false when it did not come.
  bool wait_for_port(const std::string& name) const {
    for (int i = 0; i < 2000; ++i) {
      const Bus bus = Bus::open(path()).value();
      for (const PortInfo& p : bus.info().ports) {
        if (p.live && p.up && p.name == name) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

 private:
  TempDir directory_;
};

inline void send(Port& port, const std::vector<Bytes>& frames) {
  const SendResult r = port.send(views(frames));
  ASSERT_FALSE(r.error) << r.error.message();
  ASSERT_EQ(r.taken, frames.size());
}

/// An ARP request for 198.18.0.2, padded to 60 bytes.
inline Bytes arp_request() {
  const std::vector<unsigned> bytes{
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xb2, 0xa0, 0,  0, 0, 1, 8, 6, 0, 1, 8, 0,   6,  4, 0,
      1,    0xb2, 0xa0, 0,    0,    0,    1,    198,  18, 0, 1, 0, 0, 0, 0, 0, 0, 198, 18, 0, 2};
  Bytes frame(60);
  for (std::size_t i = 0; i < bytes.size(); ++i) frame[i] = static_cast<std::byte>(bytes[i]);
  return frame;
}

/// Makes a capture file of `frames`, `apart_ns` apart.
inline void write_capture(const std::string& path, const std::vector<Bytes>& frames,
                          std::uint64_t apart_ns = 1000) {
  PcapWriter writer = PcapWriter::create(path).value();
  std::uint64_t time = 1'700'000'000'000'000'000;
  for (const Bytes& bytes : frames) {
    FrameView frame(bytes.data(), bytes.size());
    frame.time_ns = time += apart_ns;
    ASSERT_EQ(writer.send({&frame, 1}).taken, 1U);
  }
}

/// Everything in a capture file.
inline std::vector<Bytes> read_capture(const std::string& path) {
  PcapReader reader = PcapReader::open(path).value();
  std::vector<Bytes> frames;
  FrameBatch batch;
  while (!reader.receive(batch).error) {
    for (const FrameView& f : batch.frames()) frames.push_back(to_bytes(f));
    batch.clear();
  }
  EXPECT_TRUE(reader.status());
  return frames;
}

// The commands whose first operand is a bus. DefaultBus compares them with the helps.

struct BusLine {
  std::string command;
  Words rest;          ///< of a line that lacks only the bus
  bool stays = false;  ///< on a sound bus it ends only at a signal

  Words on(const std::string& bus) const { return Words{command, bus} + rest; }
};

inline const std::vector<BusLine> kBusLines{
    {"audit", {}},
    {"changes", {}},
    {"create", {}},
    {"dump", {"--timeout", "0"}},
    {"enter", {"web", "--", "true"}},
    {"exec", {"--", "true"}},
    {"fault", {"web"}},
    {"gateway", {}, true},
    {"heal", {"--timeout", "0.01"}},
    {"heat", {}},
    {"inject", {"/dev/null"}},
    {"link", {"web", "--up", "--timeout", "0.01"}},
    {"move", {"web", "/dev/null", "--timeout", "0.01"}},
    {"partition", {"web", "/", "db", "--timeout", "0.01"}},
    {"ping", {"-c", "1", "--timeout", "0.01"}},
    {"ps", {}},
    {"repair", {}},
    {"serve", {"--http", "127.0.0.1:0", "--timeout", "0.01"}},
    {"stat", {}},
    {"stop", {"web"}},
    {"tap", {}, true},
    {"top", {"-n", "1"}},
    {"uplink", {"--stdio"}},
    {"wait", {"--port", "web", "--timeout", "0"}},
};

}  // namespace shmif::test
