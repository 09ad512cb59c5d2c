#pragma once
// The causes of a job whose frames come from another server. Its own server does not know what the
// faults of the sender took, nor how many frames were sent, so its causes speak of other losses.
//
// Threads: any. Blocks: never.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace shmif::perf {

/// Adds the faults on what job `from` sent to the causes of `report`, which has the losses of job
/// `to`, and corrects what the other causes of that job say of its losses: faults come first, and
/// no frame is explained twice. `known_lost` is how many losses its own server knew of when it
/// found these causes. `sending` is the report of the server `server`, which has `from`. Changes
/// nothing if the causes of `report` are not known.
void blame_faults(const nlohmann::json& sending, const std::string& server, const std::string& from,
                  nlohmann::json& report, const std::string& to, std::uint64_t known_lost);

/// Takes out what the causes of a job say of its losses, because these are not known.
void forget_losses_of_causes(nlohmann::json& report, const std::string& job);

/// Puts the heaviest causes first.
void sort_causes(std::vector<nlohmann::json>& causes);

}  // namespace shmif::perf
