#include "perf/report/words.hpp"

#include <cstring>

namespace shmif::perf {

const char* word_of(Role role) noexcept {
  switch (role) {
    case Role::tx: return "tx";
    case Role::rx: return "rx";
    case Role::txrx: return "txrx";
    case Role::echo: return "echo";
    case Role::pingpong: return "pingpong";
  }
  return "unknown";
}

const char* word_of(EngineKind engine) noexcept {
  switch (engine) {
    case EngineKind::bus: return "bus";
    case EngineKind::tap: return "tap";
    case EngineKind::packet: return "packet";
    case EngineKind::unix_pair: return "unix";
    case EngineKind::udp: return "udp";
    case EngineKind::pcap: return "pcap";
    case EngineKind::null: return "null";
    case EngineKind::host: return "host";
  }
  return "unknown";
}

const char* word_of(JobState state) noexcept {
  switch (state) {
    case JobState::not_created: return "not-created";
    case JobState::created: return "created";
    case JobState::initialised: return "initialised";
    case JobState::ramp: return "ramp";
    case JobState::running: return "running";
    case JobState::draining: return "draining";
    case JobState::verifying: return "verifying";
    case JobState::finishing: return "finishing";
    case JobState::exited: return "exited";
    case JobState::reaped: return "reaped";
  }
  return "unknown";
}

const char* word_of(Search search) noexcept {
  switch (search) {
    case Search::none: return "none";
    case Search::ndr: return "ndr";
    case Search::pdr: return "pdr";
    case Search::latency_target: return "latency_target";
  }
  return "unknown";
}

std::string word_of_signal(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

}  // namespace shmif::perf
