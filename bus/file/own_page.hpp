#pragma once
// OwnPage: a page of address space that cannot be accessed, and that forked children do not
// inherit. It keeps an open file description for exactly as long as the process lives and does not
// exec, and /proc/PID/maps shows which process has it.

#include <system_error>
#include <utility>

namespace shmif::bus {

/// Threads: one at a time.
class OwnPage {
 public:
  OwnPage() = default;
  OwnPage(OwnPage&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  OwnPage& operator=(OwnPage&& other) noexcept {
    if (this != &other) {
      reset();
      page_ = std::exchange(other.page_, nullptr);
    }
    return *this;
  }
  ~OwnPage() { reset(); }

  /// Maps the first page of the file behind `fd` in place of the present page. Errors: the
  /// system's.
  [[nodiscard]] std::error_code map(int fd) noexcept;
  /// Call it before another thread may fork (base::ForkHold). Errors: an errno.
  [[nodiscard]] std::error_code hide_from_children() noexcept;

  explicit operator bool() const noexcept { return page_ != nullptr; }
  void reset() noexcept;
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_ = nullptr; }

 private:
  void* page_ = nullptr;
};

}  // namespace shmif::bus
