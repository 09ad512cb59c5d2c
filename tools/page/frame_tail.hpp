#pragma once
// FrameTail: the last frames of a bus as lines, for all who watch them.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "shmif/port.hpp"
#include "tools/capture/sender_names.hpp"

namespace shmif::tools {

/// Reads the bus only when somebody asks, and without a port: senders never wait for it. What
/// passes faster than it is asked for is counted, and not shown. Threads: safe.
class FrameTail {
 public:
  static constexpr std::size_t kKept = 200;  ///< lines

  explicit FrameTail(std::string path);

  /// The lines of the frames after number `after` (empty: all that are kept) as JSON text:
  /// docs/page.md. If the bus has no frame of that number, it was made anew since then: all that
  /// are kept. Throws Exception if the bus cannot be read, or lines cannot be made. Blocks: at most
  /// 0.3 s.
  std::string lines_after(std::optional<std::uint64_t> after);

 private:
  using Clock = std::chrono::steady_clock;
  struct Line {
    std::uint64_t number;  ///< of the frame on its bus, so that it stays the same
    std::string text;
  };

  void open(Start start);
  void read();

  const std::string path_;
  std::mutex mutex_;  // guards the next ones
  std::optional<Follower> follower_;
  std::optional<SenderNames> names_;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> file_;  // device and inode
  std::deque<Line> lines_;
  std::optional<std::uint64_t> last_;  // the number of the last frame that was read
  std::uint64_t lost_ = 0;
  Clock::time_point asked_{};
};

}  // namespace shmif::tools
