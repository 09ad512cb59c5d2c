#pragma once
// A run whose jobs say on which server each of them runs (option `server`): which jobs a server
// gets, and what two servers say together about the frames between them.
//
// A job on one server sends to a job on another over engine=udp, or over a bus of each server if
// these are joined. On a bus, it may also ask, and get replies:
//
//   server a:  [j] server=a, to=k                     gets no_peer, and the address of k
//   server b:  [k] server=b, rw=rx, hostname, port    gets verify_only, and how long j sends
//   server b:  [k] server=b, rw=rx or echo, bus       the same, and its address on the bus
//
// Neither server knows the other's job. The client knows how many frames one has sent, and how many
// the other has received, so it finds the losses, also those after the last frame that arrived.
//
// A receiver that ended early took none of the frames that were sent later: these are `cancelled`,
// not lost. The sender keeps marks of how many frames it had sent when, and the receiver says when
// it ended. Frames that it may have been sent before count as lost.
//
// The frames carry times of the sender's clock. If both servers read one clock, or if the client
// could compare their clocks closely enough, b learns what to add to these times, and measures
// latencies. Otherwise there are none.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/job/job_options.hpp"
#include "perf/remote/client.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf {

/// Why jobs cannot run where they say, each with job and advice; empty: they can. A set in which no
/// job names a server has none. Threads: any. Blocks: never.
std::vector<std::string> server_problems(const JobSet& set);
/// The servers that the jobs name, each once, in the order of the jobs.
std::vector<std::string> servers_in(const JobSet& set);

/// The jobs of one server.
struct ServerShare {
  std::string server;
  JobTexts texts;
};
/// From a job on one server to a job on another.
struct CrossFlow {
  std::string from_server, from;
  std::string to_server, to;
  bool asks = false;  ///< the receiver answers
};
struct Shares {
  std::vector<ServerShare> servers;
  std::vector<CrossFlow> flows;
};
/// Splits `set`, which must have no server_problems(). Threads: any. Blocks: never.
Shares shares_of(const JobSet& set);

/// How two clocks were compared.
struct ClockPair {
  /// What to add to a time of the sender's clock to get the receiver's. Empty: the clocks cannot be
  /// compared closely enough, or the frames carry no times.
  std::optional<std::int64_t> shift_ns{};
  /// By how much shift_ns and apart_ns may be wrong; 0: it is one clock.
  std::uint64_t error_ns = 0;
  std::int64_t apart_ns = 0;  ///< as shift_ns, however closely they were compared
};
/// Clocks that are compared less closely are not known to agree.
inline constexpr std::uint64_t kMaxClockErrorNs = 1'000'000;

/// Completes what the receiver of a flow reports by what its sender reports. Without the sender's
/// report, takes out what only that could tell. Frames that cannot be accounted for become a
/// failure of the receiver.
void account_for(const CrossFlow& flow, const ClockPair& clocks, HostResult& sender,
                 HostResult& receiver);

}  // namespace shmif::perf
