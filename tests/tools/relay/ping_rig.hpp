#pragma once
// A port that hears the requests of `shmifctl ping`, and answers them as a test wants.

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "shmif/ping.hpp"
#include "tests/support/frames.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

/// Requests that `port` hears: `count` or more, or fewer when none comes for long.
inline std::vector<Ping> hear_requests(Port& port, std::size_t count) {
  std::vector<Ping> heard;
  FrameBatch batch;
  while (heard.size() < count && wait_for(port, std::chrono::seconds(10))) {
    batch.clear();
    (void)port.receive(batch);
    for (const FrameView& frame : batch.frames()) {
      if (const auto request = read_ping(frame)) heard.push_back(*request);
    }
  }
  return heard;
}

inline std::optional<Ping> hear_request(Port& port) {
  const std::vector<Ping> heard = hear_requests(port, 1);
  return heard.empty() ? std::nullopt : std::optional(heard.front());
}

/// A frame from `source` to the port that sent `request`, with its id.
inline Bytes ping_back(const Ping& request, MacAddress source, PingType type,
                       std::uint32_t sequence) {
  Bytes bytes(kPingFrameBytes);
  write_ping({.destination = request.source,
              .source = source,
              .type = type,
              .id = request.id,
              .sequence = sequence},
             std::span<std::byte, kPingFrameBytes>(bytes.data(), kPingFrameBytes));
  return bytes;
}

}  // namespace shmif::test
