#pragma once
// Namespaces: why the kernel refuses them, work in one by a child process, and when nobody uses one
// any more.

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {

/// True only if the process is surely in a chroot: its root directory is not the root of its mount
/// namespace. The kernel makes no user namespace for such a process (EPERM, user_namespaces(7)).
/// False proves nothing: without /proc the function sees no mounts, and a mount that is the root of
/// every visible process looks like the root of the namespace.
///
/// Threads: any. Blocks: while it reads /proc; use it only for a message about a failure.
bool is_chrooted();

/// Which setting refuses namespaces to this process, and what to do about it, as the
/// end of a message. `number`: the errno of the call that failed, or 0 if it is not known.
///
/// Threads: any. Blocks: as is_chrooted().
std::string why_no_namespaces(int number = 0);

/// Work that changes the process which does it for ever, so that a child process does it: entering
/// a namespace, giving up rights. Returns descriptors to hand out, in an order that it chooses.
using ForkedTask = std::function<Result<std::vector<UniqueFd>>()>;

/// Runs `task` in a forked child, and returns the descriptors that it returned (at most 16). The
/// child must not touch locks that other threads may hold. Threads: safe. Blocks: until the task is
/// done. Errors: the task's own, with at most 4000 bytes of its message; those of fork(2).
Result<std::vector<UniqueFd>> run_forked(const ForkedTask& task);

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
