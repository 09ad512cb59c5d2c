#pragma once
// Emulated hosts: a job of engine=host runs in network namespaces of its own, with an interface and
// an IP address; its frames go through the kernel's UDP or TCP, out of the interface, over the bus,
// and into the kernel of another host.
//
//   job's process: the guest's supervisor        the guest: the job's work, or a program of its own
//   bus port <--- bridge ---> TAP or veth end <-------> interface, IP stack, socket <---> worker
//
// Both are forks of one process, so the worker in the guest writes to the same memory as any other.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "bus/result.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/job_options.hpp"
#include "perf/run/run_memory.hpp"

namespace shmif::perf {

/// One host among those of a run.
struct HostSetup {
  std::string bus;             ///< path
  std::string address;         ///< CIDR
  std::string local;           ///< "198.18.0.1:40000"
  std::string remote;          ///< of the job that it sends to or answers; empty: of anybody
  bool listens = false;        ///< of TCP: the other one connects
  std::size_t most_bytes = 0;  ///< of the frames that it sends or receives
};

/// Errors: bad_argument for an `ip` that is none. `number` is the job's.
Result<std::string> host_address(const JobOptions& job, std::size_t number);
/// "198.18.0.1/15" and 40000 make "198.18.0.1:40000".
std::string socket_address(const std::string& cidr, std::uint16_t port);

/// Frames that the kernel of this network namespace dropped at its interfaces, but the loopback: a
/// full queue of the device, or of the CPU that receives. Nothing where /proc does not say.
struct InterfaceDrops {
  std::uint64_t received = 0, sent = 0;
};
std::optional<InterfaceDrops> interface_drops();

/// Inside the guest: the job's end. Blocks: of TCP until the peer is there, at most its
/// startup_timeout.
Result<std::unique_ptr<End>> open_host_end(const JobOptions& job, const HostSetup& host,
                                           const EndOptions& options);

/// Makes the guest, attaches it to the bus, runs `work` in it, or the job's program, and carries
/// frames until that has ended. The guest inherits the place that the caller has taken. Result: the
/// exit status; what went wrong is in `block`. Blocks: until then. Threads: of a process that has
/// no others.
int run_host(const JobOptions& job, const HostSetup& host, const EndOptions& options,
             JobBlock& block, const std::function<int()>& work);

}  // namespace shmif::perf
