#pragma once
// What the files of the engines share. Internal to perf/engine.

#include <cstddef>
#include <memory>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

// The engines, each in its own file.
extern const Engine kBusEngine, kTapEngine, kPacketEngine, kUnixEngine, kUdpEngine, kStreamEngine,
    kDgramEngine, kVdeEngine, kPcapEngine, kNullEngine, kHostEngine;

/// The longest frame on a bus of this MTU: with header and two tags. Engines whose medium has no
/// MTU use the same limit, so a job means the same on each.
std::size_t max_frame_bytes_of(const JobOptions& job) noexcept;
/// The address in the options, or a random one if there is none.
MacAddress mac_of(const EndOptions& options) noexcept;
/// Errors: bad_argument if the wire does not have this end.
Result<void> check_index(const EndOptions& options, std::size_t ends, const std::string& address);

}  // namespace shmif::perf
