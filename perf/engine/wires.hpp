#pragma once
// The wires that make_wire() chooses from, one function for each engine. Internal to perf/engine.

#include <cstddef>
#include <memory>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

// All of them as make_wire(). It has checked that `ends` is at least 1 and no more than
// capabilities_of() allows.
Result<std::unique_ptr<Wire>> make_bus_wire(const JobOptions& job, std::size_t ends);
Result<std::unique_ptr<Wire>> make_null_wire(const JobOptions& job);
Result<std::unique_ptr<Wire>> make_unix_wire(const JobOptions& job);
Result<std::unique_ptr<Wire>> make_udp_wire(const JobOptions& job, std::size_t ends);
Result<std::unique_ptr<Wire>> make_pcap_wire(const JobOptions& job);
Result<std::unique_ptr<Wire>> make_tap_wire(const JobOptions& job, std::size_t ends);
Result<std::unique_ptr<Wire>> make_packet_wire(const JobOptions& job, std::size_t ends);

/// The longest frame on a bus of this MTU: with header and two tags. Engines whose medium has no
/// MTU use the same limit, so a job means the same on each.
std::size_t max_frame_bytes_of(const JobOptions& job) noexcept;
/// The address in the options, or a random one if there is none.
MacAddress mac_of(const EndOptions& options) noexcept;
/// Errors: bad_argument if the wire does not have this end.
Result<void> check_index(const EndOptions& options, std::size_t ends, const std::string& address);

}  // namespace shmif::perf
