#pragma once
// Lifeline: makes a port live in the sense of bus/file/liveness.hpp. It is an open file description
// that holds the lock of a slot, and that one page of address space keeps open.
//
// If a forked child inherited such a description, a dead port would seem to live as long as the
// child. So this description serves the lock alone, not the mapping of the bus. Between its open
// and the close of its descriptor there are four system calls; meanwhile, fork() in other threads
// waits (ForkHold). After that only a page keeps it open, which no child inherits (MADV_DONTFORK).
// One case remains: a child that was made by a bare clone(2) within these four calls, and that does
// not exec.

#include <functional>
#include <string>

#include "base/result.hpp"
#include "bus/file/own_page.hpp"

namespace shmif::bus {

class Lifeline {
 public:
  Lifeline() = default;
  /// Opens a description of the file behind `fd`, and lets `take_lock` take a lock on it. The lock
  /// stands until the lifeline or the process ends. If `take_lock` returns false, the lifeline is
  /// empty. Errors: those of reopen(), or an errno.
  static Result<Lifeline> open(int fd, const std::string& path,
                               const std::function<bool(int description)>& take_lock);

  explicit operator bool() const noexcept { return static_cast<bool>(page_); }
  void reset() noexcept { page_.reset(); }
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_.forget(); }

 private:
  OwnPage page_;
};

}  // namespace shmif::bus
