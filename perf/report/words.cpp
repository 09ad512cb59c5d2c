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
