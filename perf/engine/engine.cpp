#include "perf/engine/engine.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "perf/engine/wires.hpp"

namespace shmif::perf {

const char* name_of(EngineKind kind) noexcept {
  switch (kind) {
    case EngineKind::bus: return "bus";
    case EngineKind::tap: return "tap";
    case EngineKind::packet: return "packet";
    case EngineKind::unix_pair: return "unix";
    case EngineKind::udp: return "udp";
    case EngineKind::pcap: return "pcap";
    case EngineKind::null: return "null";
    case EngineKind::host: return "host";
  }
  return "?";
}

Capabilities capabilities_of(EngineKind kind) noexcept {
  switch (kind) {
    case EngineKind::bus:
    case EngineKind::packet: return {.counts = true, .batches = true, .overruns = true};
    case EngineKind::tap: return {.counts = true, .batches = true};
    case EngineKind::unix_pair: return {.addresses = false, .batches = true, .max_ends = 2};
    case EngineKind::udp:
      return {.addresses = false, .counts = true, .batches = true, .max_ends = 2};
    case EngineKind::pcap: return {.addresses = false, .counts = true, .max_ends = 1};
    case EngineKind::null:
      return {.addresses = false, .counts = true, .batches = true, .max_ends = 1};
    case EngineKind::host: return {};
  }
  return {};
}

std::size_t max_frame_bytes_of(const JobOptions& job) noexcept {
  constexpr std::size_t kTags = 8;
  return std::min(job.mtu + kEthernetHeaderBytes + kTags, kMaxFrameBytes);
}

MacAddress mac_of(const EndOptions& options) noexcept {
  return options.mac.is_zero() ? MacAddress::random() : options.mac;
}

Result<void> check_index(const EndOptions& options, std::size_t ends, const std::string& address) {
  if (options.index < ends) return {};
  return Error(Errc::bad_argument, "cannot open end " + std::to_string(options.index + 1) + " of " +
                                       address + " for job \"" + options.name + "\": it has " +
                                       std::to_string(ends));
}

namespace {

/// "cannot make a wire for job "a" (voip.job:12)"
std::string what_for(const JobOptions& job) {
  return "cannot make a wire for job \"" + job.name + '"' +
         (job.where.empty() ? "" : " (" + job.where + ')');
}

/// Names engines that work if this machine or this user cannot have the engine's devices.
const char* instead_of(EngineKind engine) noexcept {
  return engine == EngineKind::tap
             ? "; engine=packet needs no such device, engine=bus, unix and udp no namespace either"
             : "; engine=bus, unix and udp need no namespace";
}

Result<std::unique_ptr<Wire>> choose(const JobOptions& job, std::size_t ends) {
  switch (job.engine) {
    case EngineKind::bus: return make_bus_wire(job, ends);
    case EngineKind::unix_pair: return make_unix_wire(job);
    case EngineKind::udp: return make_udp_wire(job, ends);
    case EngineKind::pcap: return make_pcap_wire(job);
    case EngineKind::null: return make_null_wire(job);
    case EngineKind::tap: return make_tap_wire(job, ends);
    case EngineKind::packet: return make_packet_wire(job, ends);
    case EngineKind::host: break;
  }
  return Error(Errc::bad_argument, "engine=host has hosts of its own, and no wire");
}

}  // namespace

Result<std::unique_ptr<Wire>> make_wire(const JobOptions& job, std::size_t ends) {
  const std::size_t max = capabilities_of(job.engine).max_ends;
  if (ends == 0 || (max != 0 && ends > max)) {
    return Error(Errc::bad_argument,
                 what_for(job) + ": engine=" + name_of(job.engine) + " has 1" +
                     (max == 1   ? " end"
                      : max == 0 ? " end or more"
                                 : " to " + std::to_string(max) + " ends") +
                     ", and " + std::to_string(ends) +
                     " are to be on it (give jobs wires of their own by 'wire', or use engine=bus, "
                     "tap or packet, which have any number)");
  }
  auto made = choose(job, ends);
  if (made) return made;
  const bool unsupported = made.error().code == Errc::not_supported;
  return Error(made.error().code, what_for(job) + ": " + made.error().message +
                                      (unsupported ? instead_of(job.engine) : ""));
}

}  // namespace shmif::perf
