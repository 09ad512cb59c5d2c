#pragma once
// Tells when no other process uses a network namespace any more.

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {

/// A network namespace, and a way to find out that its use is over.
///
/// A device in a namespace keeps the namespace alive as long as the device's descriptor is open. So
/// the kernel never tells the owner of the device that all other processes have left. This class
/// finds out:
///
/// - A namespace given by a process id is over when that process ends, even if others are in it.
/// - A namespace given by a name or a path is over when the path no longer leads to it (`ip netns
///   del`, a container runtime that cleans up) and no other process is in it.
///
/// Threads: one at a time. Blocks: never.
class NetNamespaceWatch {
 public:
  /// `text` as NetNamespace::parse takes it. Errors: those of parse; ESRCH for a process that has
  /// just ended.
  static Result<NetNamespaceWatch> open(std::string_view text);

  const NetNamespace& space() const noexcept { return space_; }
  /// For poll and epoll: becomes readable when look() should be called.
  int descriptor() const noexcept { return descriptor_.get(); }
  /// Result: why the namespace is over, as the beginning of a sentence ("process 4711 has ended");
  /// empty while it is in use.
  std::optional<std::string> look() const;

 private:
  NetNamespaceWatch(NetNamespace space, std::string path, UniqueFd descriptor, bool is_process)
      : space_(std::move(space)),
        path_(std::move(path)),
        descriptor_(std::move(descriptor)),
        is_process_(is_process) {}

  NetNamespace space_;
  std::string path_;
  UniqueFd descriptor_;  ///< a pidfd, or a timer that fires regularly
  bool is_process_;
};

}  // namespace shmif::tap
