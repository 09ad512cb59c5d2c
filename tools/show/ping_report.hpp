#pragma once
// The report of `shmifctl ping` on the answers.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "shmif/mac.hpp"

namespace shmif::tools {

/// One answering port. Every round trip is kept, for exact percentiles.
struct PingResponder {
  std::string name = {};  ///< empty if it is not in the port table, like a guest's own MAC
  std::vector<std::uint64_t> round_trips_ns = {};  ///< in the order of the answers; at least one
  std::vector<bool> answered = {};  ///< by sequence number, to ignore a second answer
};
using PingResponders = std::map<MacAddress, PingResponder>;

/// The line of one answer: "web (b2:a0:00:00:00:01): seq 3, 12.5 us".
std::string ping_answer_text(MacAddress mac, const PingResponder& from, std::uint32_t sequence,
                             std::uint64_t round_trip_ns);

/// The results after `sent` requests: two lines for each responder; and the same as JSON.
std::string ping_text(std::uint64_t sent, PingResponders responders);
std::string ping_json(const std::string& path, std::uint64_t sent, PingResponders responders);

}  // namespace shmif::tools
