#pragma once
// A capture that is split into several files, one after the other, as with tcpdump's -C, -G and -W.

#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <optional>
#include <string>

#include "tools/capture/capture_file.hpp"

namespace shmif::tools {

struct RotationWish {
  std::uint64_t file_bytes = 0;     ///< begins a new file when one is larger than this; 0: never
  std::chrono::seconds seconds{0};  ///< begins a new file after this time; 0: never
  /// With `file_bytes`: this many files, then the oldest is overwritten. With only `seconds`: the
  /// capture ends after this many files. With both, it only sets the width of the numbers in the
  /// names. 0: no limit.
  std::uint64_t files = 0;

  bool any() const noexcept { return file_bytes != 0 || seconds.count() != 0; }
};

/// The name of file number `count` when files are limited by size. There are at most `files` files;
/// 0 means any number. The first file keeps the name, and "x.pcap1" is the second. With a limit,
/// all numbers are as wide as the largest. `time` is filled in as by strftime.
std::string rotated_name(const std::string& pattern, std::uint64_t count, std::uint64_t files,
                         std::optional<std::time_t> time);

/// The time spans follow one another without a gap from the start of the capture on, whenever
/// frames come. A file is named after the beginning of its span. Two spans in a row never get the
/// same name: if the pattern gives them one, the numbers go on. If the wall clock is set back, the
/// names go on from the last one. Threads: one at a time.
class RotatingCapture {
 public:
  using Open = std::function<CaptureWriter(const std::string& file)>;
  /// Opens the first file. Throws as `open` does.
  RotatingCapture(std::string name, RotationWish wish, Open open);

  /// Call these only while is_open().
  CaptureWriter& file() noexcept { return *file_; }
  const CaptureWriter& file() const noexcept { return *file_; }
  bool is_open() const noexcept { return file_.has_value(); }
  /// Whether the time of the open file is over, so that the file can be closed.
  bool is_over() const noexcept { return is_open() && time_is_over(); }
  void close() noexcept { file_.reset(); }
  /// Whether the next frame must go into another file.
  bool is_due() const noexcept;
  /// Whether the next file would exceed the number asked for, so that the capture is complete.
  bool is_last() const noexcept;
  /// Time until the open file is over.
  std::chrono::nanoseconds time_left() const noexcept;
  /// Opens the next file. Throws as `open` does.
  void next();

 private:
  using Clock = std::chrono::steady_clock;
  bool time_is_over() const noexcept;
  void begin_span();
  std::string name() const;

  std::string pattern_;
  RotationWish wish_;
  Open open_;
  std::uint64_t count_ = 0;                 // files since the name last changed because of the time
  std::uint64_t spans_ = 1;                 // time spans that have a file
  Clock::time_point began_ = Clock::now();  // begin of the span
  std::time_t named_ = std::time(nullptr);  // the same time, as shown in the name
  std::optional<CaptureWriter> file_;
};

}  // namespace shmif::tools
