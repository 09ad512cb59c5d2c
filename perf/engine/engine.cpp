#include "perf/engine/engine.hpp"

#include <algorithm>
#include <utility>

#include "perf/engine/link_end.hpp"

namespace shmif::perf {

std::span<const Engine* const> engines() noexcept {
  static constexpr const Engine* kEngines[] = {
      &kBusEngine,   &kTapEngine, &kPacketEngine, &kUnixEngine, &kUdpEngine, &kStreamEngine,
      &kDgramEngine, &kVdeEngine, &kPcapEngine,   &kNullEngine, &kHostEngine};
  return kEngines;
}

const Engine& engine_of(EngineKind kind) noexcept {
  return **std::ranges::find(engines(), kind, &Engine::kind);
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

}  // namespace

Result<std::unique_ptr<Wire>> make_wire(const JobOptions& job, std::size_t ends) {
  const Engine& engine = engine_of(job.engine);
  const std::size_t max = engine.capabilities.max_ends;
  if (max != 0 && ends > max) {
    return Error(Errc::bad_argument,
                 what_for(job) + ": a wire of engine=" + engine.name + " has 1" +
                     (max == 1 ? " end" : " to " + std::to_string(max) + " ends") + ", but " +
                     std::to_string(ends) +
                     " jobs are on it (give jobs their own wires with 'wire', or use engine=bus, "
                     "tap or packet, which have any number of ends)");
  }
  auto made = engine.make_wire(job, ends);
  if (made) return made;
  const bool unsupported = made.error().code == Errc::not_supported;
  return Error(made.error().code,
               what_for(job) + ": " + made.error().message + (unsupported ? engine.instead : ""));
}

}  // namespace shmif::perf
