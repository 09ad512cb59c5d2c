#pragma once
// The queues of a network namespace, and its neighbours that do not answer, over rtnetlink.

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

/// A queueing discipline at the root of an interface, or at its ingress. Its counts contain those
/// of the classes and queues below it.
struct QueueCounts {
  int interface = 0;  ///< its number
  bool ingress = false;
  std::string kind{};  ///< "fq_codel"
  std::uint64_t packets = 0, drops = 0;
};

/// The messages of one datagram of netlink that answer the request `sequence`. Every other message
/// is left out: an answer to a request that was given up, or one that somebody else sent.
struct DumpPart {
  bool done = false;
  int error = 0;  ///< errno; EINTR: the tables changed meanwhile, so the answer is not one state
};
DumpPart read_dump(std::span<const std::byte> datagram, std::uint32_t sequence,
                   const std::function<void(std::uint16_t type, std::span<const std::byte>)>& take);

/// A session with the rtnetlink of one namespace. Threads: one at a time. Blocks: only open(), for
/// a helper thread or process that enters the namespace.
class QueueDump {
 public:
  /// Errors: EPERM, if the namespace may not be entered.
  static Result<QueueDump> open(pid_t process);
  /// Over a socket that is open, and does not block.
  static QueueDump over(UniqueFd socket) { return QueueDump(std::move(socket)); }

  /// Errors: the kernel's; EINTR if the tables changed while they were read.
  Result<std::vector<QueueCounts>> queues();
  /// The first neighbour that does not answer, as text; empty if there is none. Errors: as above.
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
