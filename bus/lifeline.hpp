#pragma once
// Lifeline: what makes a port live, in the words of bus/liveness.hpp: an open file description that
// holds the lock of a slot, and that one page of address space keeps open.
//
// A description that a child of a fork inherits would keep a dead port alive for as long as that
// child lives. So this one exists for the lock alone, and not for the mapping of the bus: between
// its open and the close of its descriptor lie four system calls, while fork() in other threads
// waits (ForkHold). After that only a page keeps it, which no child inherits (MADV_DONTFORK). What
// remains is a child made by a bare clone(2), without exec, within these four calls.

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "bus/result.hpp"

namespace shmif::bus {

class Lifeline {
 public:
  Lifeline() = default;
  /// Opens a description of the file behind `fd`, and lets `take_lock` take a lock on it. The lock
  /// stands until the lifeline goes, or the process does. When `take_lock` says false, there is
  /// none. Errors: those of reopen(), or the system's.
  static Result<Lifeline> open(int fd, const std::string& path,
                               const std::function<bool(int description)>& take_lock);
  Lifeline(Lifeline&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  Lifeline& operator=(Lifeline&& other) noexcept {
    if (this != &other) {
      reset();
      page_ = std::exchange(other.page_, nullptr);
    }
    return *this;
  }
  ~Lifeline() { reset(); }

  explicit operator bool() const noexcept { return page_ != nullptr; }
  void reset() noexcept;
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_ = nullptr; }

 private:
  void* page_ = nullptr;
};

}  // namespace shmif::bus
