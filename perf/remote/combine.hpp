#pragma once
// Combines the results of several servers into one result, in the schema of a single run.
//
// Jobs and groups are renamed to HOST/NAME wherever their names appear. A job's name has no '/', so
// the jobs of different servers stay distinct in every output and in `shmifperf compare`. `hosts`
// describes each server.

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "perf/remote/client.hpp"
#include "perf/remote/protocol.hpp"
#include "perf/report/report.hpp"

namespace shmif::perf {

// The causes of a job whose frames come from another server. Its own server does not know what the
// faults of the sender took, nor how many frames were sent, so its causes speak of other losses.
//
// Threads: any. Blocks: never.

/// Adds the faults on what job `from` sent to the causes of `report`, which has the losses of job
/// `to`, and corrects what the other causes of that job say of its losses: faults come first, and
/// no frame is explained twice. `known_lost` is how many losses its own server knew of when it
/// found these causes. `sending` is the report of the server `server`, which has `from`. Changes
/// nothing if the causes of `report` are not known.
void blame_faults(const nlohmann::json& sending, const std::string& server, const std::string& from,
                  nlohmann::json& report, const std::string& to, std::uint64_t known_lost);

/// Takes out what the causes of a job say of its losses, because these are not known.
void forget_losses_of_causes(nlohmann::json& report, const std::string& job);

/// What the client knows about the whole run.
struct WholeRun {
  std::string version;
  std::vector<std::string> command;
  OptionTexts options;  ///< of the run
  std::chrono::system_clock::time_point began{}, ended{};
  int signal = 0;  ///< the signal that stopped it; 0: no signal did
};

/// The exit code. 0: every server's jobs passed; 128+n: stopped by signal n; 77: a machine cannot
/// do what was asked for, and there was no other failure; 1: otherwise.
int exit_code_of(const std::vector<HostResult>& hosts, const WholeRun& whole);

/// The JSON of the combined result, in the format of to_json().
std::string combined_json(const std::vector<HostResult>& hosts, const WholeRun& whole, Bins bins);

/// A readable text: first the failures, then how far apart the servers started, then each server's
/// own report.
std::string combined_text(const std::vector<HostResult>& hosts, const WholeRun& whole,
                          std::size_t width = 0);

}  // namespace shmif::perf
