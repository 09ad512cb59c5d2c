#include "perf/result/run_result.hpp"

#include <cstring>

namespace shmif::perf {
namespace {

struct Name {
  const char* word;
  char letter;
};
constexpr std::array<Name, 10> kNames{{{"not-created", '_'},
                                       {"created", 'C'},
                                       {"initialised", 'I'},
                                       {"ramp", '/'},
                                       {"running", 'R'},
                                       {"draining", 'D'},
                                       {"verifying", 'V'},
                                       {"finishing", 'F'},
                                       {"exited", 'E'},
                                       {"reaped", '-'}}};

}  // namespace

const char* name_of(JobState state) noexcept {
  return kNames[static_cast<std::size_t>(state)].word;
}

char letter_of(JobState state) noexcept {
  return kNames[static_cast<std::size_t>(state)].letter;
}

const char* word_of(FlowResult::Kind kind) noexcept {
  switch (kind) {
    case FlowResult::Kind::data: break;
    case FlowResult::Kind::request: return "request";
    case FlowResult::Kind::reply: return "reply";
  }
  return "data";
}

const char* word_of(ErrorClass error) noexcept {
  switch (error) {
    case ErrorClass::tx: break;
    case ErrorClass::rx: return "rx";
    case ErrorClass::verify: return "verify";
    case ErrorClass::overrun: return "overrun";
    case ErrorClass::lock: return "lock";
  }
  return "tx";
}

const char* word_of(Role role) noexcept {
  switch (role) {
    case Role::tx: break;
    case Role::rx: return "rx";
    case Role::txrx: return "txrx";
    case Role::echo: return "echo";
    case Role::pingpong: return "pingpong";
  }
  return "tx";
}

const char* word_of(Search search) noexcept {
  switch (search) {
    case Search::none: break;
    case Search::ndr: return "ndr";
    case Search::pdr: return "pdr";
    case Search::latency_target: return "latency_target";
  }
  return "none";
}

std::string word_of_signal(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

FlowResult& FlowResult::operator+=(const FlowResult& other) {
  add_figures(*this, other);
  return *this;
}

CpuResult& CpuResult::operator+=(const CpuResult& other) noexcept {
  add_figures(*this, other);
  return *this;
}

}  // namespace shmif::perf
