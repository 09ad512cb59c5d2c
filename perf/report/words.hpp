#pragma once
// The words that reports have for enumerations: those of job files, so that what a report says can
// be given back to `shmifperf run`.

#include <string>

#include "perf/run/run_result.hpp"

namespace shmif::perf {

const char* word_of(Role role) noexcept;      ///< "tx", as rw= has it
const char* word_of(Search search) noexcept;  ///< "ndr", as search= has it
std::string word_of_signal(int signal);       ///< "SIGINT"; "signal 99" where it has no name

}  // namespace shmif::perf
