#include <array>

#include "perf/result/run_result.hpp"

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

}  // namespace shmif::perf
