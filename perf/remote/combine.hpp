#pragma once
// The results of several servers as one result, in the same schema as that of one run.
//
// Jobs, groups and whatever names them are called HOST/NAME: no job has a '/' in its name, so two
// servers' jobs stay apart in every output and in `shmifperf compare`. `hosts` tells of each
// server.

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "perf/remote/client.hpp"
#include "perf/remote/protocol.hpp"
#include "perf/report/json.hpp"
#include "perf/report/report.hpp"

namespace shmif::perf {

/// What the client knows of the whole.
struct WholeRun {
  std::string version;
  std::vector<std::string> command;
  OptionTexts options;  ///< of the run
  std::chrono::system_clock::time_point began{}, ended{};
  int signal = 0;  ///< that stopped it; 0: none
};

/// 0: every server's jobs passed; 128+n: it was stopped by a signal; 77: a machine cannot do what
/// was asked for, and nothing else failed; 1: else.
int exit_code_of(const std::vector<HostResult>& hosts, const WholeRun& whole);

/// Every failure, with the server's name before it.
std::vector<std::string> failures_of(const std::vector<HostResult>& hosts, const WholeRun& whole);

/// The JSON of all of it, as to_json() writes one.
std::string combined_json(const std::vector<HostResult>& hosts, const WholeRun& whole, Bins bins);

/// For people: what went wrong first, how far apart they started, then each server's own report.
std::string combined_text(const std::vector<HostResult>& hosts, const WholeRun& whole,
                          std::size_t width = 0);

}  // namespace shmif::perf
