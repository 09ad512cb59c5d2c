#pragma once
// Emulated hosts. A job of engine=host runs in its own network namespaces, with an interface and an
// IP address. Its frames go through the kernel's UDP or TCP, out of the interface, over the bus,
// and into the kernel of another host.
//
//   job's process: the guest's supervisor        the guest: the job's work, or a program of its own
//   bus port <--- bridge ---> TAP or veth end <-------> interface, IP stack, socket <---> worker
//         faults
//
// The faults of the job (fault, fault_rx) are between the port and the bridge, as on a cable. They
// hit every frame of the host, also those of TCP and of programs.
//
// Both processes are forks of one process, so the worker in the guest writes to the same shared
// memory as any other worker.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"
#include "perf/worker/job_counting.hpp"
#include "perf/worker/run_memory.hpp"

namespace shmif::perf {

/// One of the hosts of a run.
struct HostSetup {
  std::string bus;      ///< path
  std::string address;  ///< CIDR
  std::string local;    ///< "198.18.0.1:40000"
  std::string remote;   ///< address of the job it sends to or answers; empty: any host
  MacAddress remote_mac;
  bool listens = false;       ///< TCP: the other host connects
  std::size_t max_bytes = 0;  ///< size of the longest frame that it sends or receives
};

/// Errors: bad_argument if `ip` is not an address. `number`: the job's number.
Result<std::string> host_address(const JobOptions& job, std::size_t number);
/// "198.18.0.1/15" and 40000 make "198.18.0.1:40000".
std::string socket_address(const std::string& cidr, std::uint16_t port);

/// Frames that the kernel of this network namespace dropped at its interfaces (except the loopback)
/// because the queue of the device or of the receiving CPU was full. Empty if /proc does not say.
struct InterfaceDrops {
  std::uint64_t received = 0, sent = 0;
};
std::optional<InterfaceDrops> interface_drops();

/// Opens the job's end inside the guest. Blocks: for TCP, until the peer is there, but at most for
/// the job's startup_timeout.
Result<std::unique_ptr<End>> open_host_end(const JobOptions& job, const HostSetup& host,
                                           const EndOptions& options);

/// Makes the guest, attaches it to the bus, runs `work` or the job's program in it, and carries
/// frames until that has ended. The guest inherits the CPUs and priorities of the caller. Result:
/// the exit status; errors are in `block`. Blocks: until `work` or the program has ended. Threads:
/// the process must have no other threads. `counting` counts events of the whole host; it is null
/// if no events are counted.
int run_host(const JobOptions& job, const HostSetup& host, const EndOptions& options,
             JobBlock& block, const std::function<int()>& work, JobCounting* counting);

}  // namespace shmif::perf
