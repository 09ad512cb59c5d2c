#pragma once
// Network namespaces: how to name one, and how to run code inside it.

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tap {

/// A network namespace that is held open: it exists at least as long as this object.
/// Threads: const calls from any. Blocks: never.
class NetNamespace {
 public:
  /// The calling thread's namespace.
  static Result<NetNamespace> current();
  /// Where `ip netns` makes namespaces.
  static constexpr const char* kNamed = "/run/netns/";
  /// The namespace of that name in kNamed.
  static Result<NetNamespace> by_name(const std::string& name);
  /// The namespace that a file stands for, such as /proc/PID/ns/net or a bind mount of it.
  static Result<NetNamespace> by_path(const std::string& path);
  /// The namespace of process `pid`.
  static Result<NetNamespace> by_pid(pid_t pid);
  /// The namespace in which a TAP device is now. `tun`: a file of the device. Errors: EBADFD if the
  /// device was deleted; an errno before Linux 5.2, or if the caller may not know.
  static Result<NetNamespace> of_device(int tun);
  /// The namespace of a socket. Errors: an errno.
  static Result<NetNamespace> of_socket(int socket);
  /// Parses what a person writes: a path if it has a '/'; a pid if is_pid(); otherwise a name.
  static Result<NetNamespace> parse(std::string_view text);
  /// Whether parse() takes the text for a pid: it is all digits, and no namespace has it as its
  /// name. Names come first in ip(8), too.
  static bool is_pid(std::string_view text);

  /// Makes a new, empty namespace that only this object holds. If the caller is not allowed to make
  /// one, it belongs to a user namespace of its own, which run_in() enters. Blocks: some
  /// milliseconds. Errors: not_supported, with the reason.
  static Result<NetNamespace> create();

  /// For setns(2). This object keeps it.
  int descriptor() const noexcept { return fd_.get(); }
  const std::string& name() const noexcept { return name_; }  ///< for messages: "process 4711"
  /// True when the calling thread is in it.
  bool is_current() const noexcept;
  /// Whether both are the same namespace, however they were named. False if that cannot be told.
  bool is_same(const NetNamespace& other) const noexcept;

 private:
  NetNamespace(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
  static Result<NetNamespace> open(const std::string& path, std::string name);
  UniqueFd fd_;
  std::string name_;
};

/// Code to run inside a namespace. It returns descriptors to hand out, in an order that it chooses.
using NamespaceTask = std::function<Result<std::vector<UniqueFd>>()>;

/// Runs `task` inside `where`, and returns the descriptors that it returned (at most 16).
///
/// The task runs in a forked child. The child first enters the user namespace that owns `where`, if
/// that is another one. The caller cannot do this: setns of a user namespace fails in a process
/// with threads, and the caller's threads must not move. So the task sees a copy of the caller's
/// memory, and its changes there are lost afterwards. It must not touch locks that other threads
/// may hold (no logging), and a Port returns Errc::forked in it. Threads: safe. Blocks: until the
/// task is done. Errors: the task's own; EPERM if the namespace may not be entered.
Result<std::vector<UniqueFd>> run_in(const NetNamespace& where, const NamespaceTask& task);

}  // namespace shmif::tap
