#pragma once
// The words of reports for enumerations. They are those of job files, so values of a report can be
// passed to `shmifperf run`.

#include <string>

#include "perf/result/run_result.hpp"

namespace shmif::perf {

const char* word_of(Role role) noexcept;      ///< "tx", as in rw=
const char* word_of(Search search) noexcept;  ///< "ndr", as in search=
std::string word_of_signal(int signal);       ///< "SIGINT"; "signal 99" if it has no name

}  // namespace shmif::perf
