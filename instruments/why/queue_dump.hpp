#pragma once
// Asks rtnetlink for the queues of a network namespace, and for neighbours that do not answer.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::perf {

/// A queueing discipline at the root of an interface, or at its ingress. Its counts include those
/// of the classes and queues below it.
struct QueueCounts {
  int interface = 0;  ///< its number
  bool ingress = false;
  std::string kind{};  ///< "fq_codel"
  std::uint64_t packets = 0, drops = 0;
};

/// Reads the messages in a netlink datagram that answer the request `sequence`. Skips all others:
/// answers to a request that was given up, and messages that somebody else sent.
struct DumpPart {
  bool done = false;
  int error = 0;  ///< errno; EINTR: the tables changed meanwhile, so the answer mixes two states
};
DumpPart read_dump(std::span<const std::byte> datagram, std::uint32_t sequence,
                   const std::function<void(std::uint16_t type, std::span<const std::byte>)>& take);

/// A session with the rtnetlink of one namespace. Threads: one at a time. Blocks: only open(),
/// while a helper thread or process enters the namespace.
class QueueDump {
 public:
  /// Errors: EPERM if this process may not enter the namespace.
  static Result<QueueDump> open(pid_t process);
  /// Uses an open socket, which must not block.
  static QueueDump over(UniqueFd socket) { return QueueDump(std::move(socket)); }

  /// Reads all queues. Errors: the kernel's; EINTR if the tables changed meanwhile.
  Result<std::vector<QueueCounts>> queues();
  /// The first neighbour that does not answer, as text; empty if there is none. Errors: those of
  /// queues().
  Result<std::string> silent_neighbour();
  /// The name of an interface; empty if it is gone.
  std::string name_of(int interface) const;

 private:
  explicit QueueDump(UniqueFd socket) : socket_(std::move(socket)) {}
  Result<void> dump(std::uint16_t type, std::size_t family_bytes,
                    const std::function<void(std::uint16_t, std::span<const std::byte>)>& take);

  UniqueFd socket_;
  std::uint32_t sequence_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace shmif::perf
