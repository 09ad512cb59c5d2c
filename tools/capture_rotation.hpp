#pragma once
// A capture that goes into several files, one after the other, as tcpdump's -C, -G and -W.

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "tools/capture_file.hpp"

namespace shmif::tools {

struct RotationWish {
  std::uint64_t file_bytes = 0;     ///< a new file when one is larger than that; 0: never
  std::chrono::seconds seconds{0};  ///< a new file after that long; 0: never
  /// With `file_bytes`: so many files, the oldest is overwritten. With `seconds` alone: the capture
  /// ends after so many. With both it only widens the numbers in the names. 0: no limit.
  std::uint64_t files = 0;

  bool any() const noexcept { return file_bytes != 0 || seconds.count() != 0; }
};

/// The name of file number `count` of those that a size limits, of which there are `files` at most
/// (0: any number): the first keeps the name, "x.pcap1" is the second; with a limit all have
/// numbers, as wide as the largest. `time` is filled in as strftime does.
std::string rotated_name(const std::string& pattern, std::uint64_t count, std::uint64_t files,
                         std::optional<std::time_t> time);

/// Threads: one.
class RotatingCapture {
 public:
  using Open = std::function<CaptureWriter(const std::string& file)>;
  /// Opens the first file. Throws as `open` does.
  RotatingCapture(std::string name, RotationWish wish, Open open);

  CaptureWriter& file() noexcept { return file_; }
  const CaptureWriter& file() const noexcept { return file_; }
  /// Whether the next frame goes into another file.
  bool is_due() const noexcept;
  /// Whether that file would be one more than was asked for: the capture is complete.
  bool is_last() const noexcept;
  /// How long until the file is complete.
  std::chrono::nanoseconds time_left() const noexcept;
  /// Opens the next file. Throws as `open` does.
  void next();

 private:
  using Clock = std::chrono::steady_clock;
  bool time_is_over() const noexcept;
  std::string name() const;

  std::string pattern_;
  RotationWish wish_;
  Open open_;
  std::uint64_t count_ = 0;  // of files since the last change for the time
  std::uint64_t spans_ = 1;  // of time that have begun
  Clock::time_point began_ = Clock::now();
  CaptureWriter file_;
};

}  // namespace shmif::tools
