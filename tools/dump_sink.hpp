#pragma once
// Where `shmifctl dump` puts frames: lines on standard output, or capture files.

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "shmif/capture_file.hpp"
#include "tools/capture_rotation.hpp"
#include "tools/decode.hpp"
#include "tools/sender_names.hpp"

namespace shmif::tools {

struct WantedOutput {
  std::string bus;                  ///< its path, for the comment of a file
  std::string filter;               ///< likewise
  std::optional<std::string> file;  ///< nothing: text on standard output
  CaptureFormat format = CaptureFormat::by_name;
  RotationWish rotation;
  std::uint32_t snap_bytes = 0;  ///< keep at most so much of each frame; 0: all
  DecodeOptions lines;
  bool senders = false;  ///< name the port that sent a frame at the beginning of its line
};

/// Threads: one. Blocks: while the disk or the reader of a pipe is slow.
class DumpSink {
 public:
  /// `names` may be nullptr where nobody asks for senders. Throws where a file cannot be made.
  DumpSink(const WantedOutput& wanted, SenderNames* names);

  /// Whether the names of senders are needed for that.
  static bool needs_senders(const WantedOutput& wanted);

  /// Passes a frame on. `lost_before`: so many were lost between the frame before and this one.
  void put(FrameView frame, std::uint64_t lost_before);
  /// Makes everything visible, before nothing may happen for a while.
  void flush();
  /// Whether nothing more can be put: a failure, or the reader has gone.
  bool failed() const { return !status(); }
  /// Whether all files that were asked for are complete.
  bool is_complete() const { return capture_ && capture_->is_last(); }
  std::chrono::nanoseconds time_left() const;
  /// Ends the output with what a file says about the whole capture; one of several files says it
  /// about its own part. Result: nothing, or the failure; a reader that has gone is none.
  Result<void> finish(const PcapngStatistics& statistics);
  /// How many frames have arrived where they should.
  std::uint64_t arrived() const;
  bool records() const { return capture_.has_value(); }
  /// The standard output, when frames go there and somebody may read them as they come; else -1.
  int output() const;

 private:
  Result<void> status() const { return capture_ ? capture_->file().status() : text_->status(); }
  void put_line(const FrameView& frame);
  void put_pcapng(PcapngWriter& file, const FrameView& frame, std::uint64_t lost_before);
  void begin_file();
  std::string comment() const;

  WantedOutput wanted_;
  SenderNames* names_;
  std::unique_ptr<CaptureFile> text_;                  // one of these
  std::optional<RotatingCapture> capture_;             // two is there
  std::map<std::uint64_t, std::uint32_t> interfaces_;  // of the file, by the sender's id
  bool rotated_ = false;
  std::uint64_t earlier_files_ = 0;  // frames in them
  PcapngStatistics file_counts_;     // of the file, in frames of the bus
  std::uint64_t last_number_ = 0;
};

}  // namespace shmif::tools
