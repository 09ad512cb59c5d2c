#pragma once
// Text for a standard stream whose reader may be slow, or stand still: a pager that shows its first
// page, a terminal that Ctrl-S has stopped. The writer has more to do than to wait for it.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"

namespace shmif::tools {

/// Lines on their way to one of the standard streams. What the reader does not take waits here, up
/// to kMaxWaiting bytes. Later lines are left out; when there is room again, a line in their place
/// says how many. Other users of the stream are not affected: it does not become non-blocking for
/// them. Threads: one at a time.
class PatientOutput {
 public:
  static constexpr std::size_t kMaxWaiting = std::size_t{1} << 20U;

  /// `stream`: a descriptor, which stays open. `hint`: what the line about lines that were left out
  /// says in the end, such as " (the logs have them)".
  explicit PatientOutput(int stream, std::string hint = {});

  /// Writes a line (without its end), now or in flush(). Blocks: for a disk only.
  void write(std::string_view line);
  /// Writes what write() could not. Blocks: for a disk only.
  void flush();
  /// Flushes until everything is written, or `is_enough` says so, which is asked every 50 ms.
  template <typename IsEnough>
  void flush_until(IsEnough is_enough) {
    while (wanted() >= 0 && !is_enough()) {
      wait_a_moment();
      flush();
    }
  }
  /// Leaves out what still waits. Result: how many lines nobody will read or be told of.
  std::uint64_t give_up();
  /// What to poll(2) for POLLOUT; -1 if nothing waits.
  int wanted() const noexcept;
  /// The errno of the first write that failed; 0 if none has. From then on, text vanishes.
  int failure() const noexcept { return failure_; }

 private:
  /// How a write that must not wait is made.
  enum class Way : std::uint8_t { direct, own, socket, polled };

  void tell_left_out();
  void wait_a_moment() const;
  std::size_t write_some(std::string_view text);

  int stream_;
  std::string hint_;
  Way way_ = Way::direct;
  UniqueFd own_;  ///< the same pipe or terminal, opened again
  std::string waiting_;
  std::uint64_t left_out_ = 0;
  int failure_ = 0;
};

}  // namespace shmif::tools
