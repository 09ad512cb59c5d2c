#pragma once
// The output of `shmifctl dump`: lines on standard output, or capture files.

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shmif/capture/capture_file.hpp"
#include "tools/capture/capture_rotation.hpp"
#include "tools/capture/dump_gaps.hpp"
#include "tools/capture/sender_names.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::tools {

struct WantedOutput {
  std::string bus;                  ///< its path, for the comment of a file
  std::string filter;               ///< the filter, for the same comment
  std::optional<std::string> file;  ///< empty means text on standard output
  CaptureFormat format = CaptureFormat::by_name;
  RotationWish rotation;
  std::uint32_t snap_bytes = 0;  ///< keep at most this many bytes of each frame; 0: all
  DecodeOptions lines;
  bool senders = false;      ///< begin each line with the name of the sending port
  int stop_descriptor = -1;  ///< when it is readable, the sink no longer waits for a reader
};

/// Threads: one at a time. Blocks: while the disk or the reader of a pipe is slow.
class DumpSink {
 public:
  /// `names` may be nullptr if senders are not needed. Throws if a file cannot be created, or if
  /// the module that makes lines (packets()) is missing.
  DumpSink(const WantedOutput& wanted, SenderNames* names);

  /// Whether this output needs the names of senders.
  static bool needs_senders(const WantedOutput& wanted);

  /// Outputs a frame. `lost_before`: how many frames were lost between the last frame and this one.
  /// `changes`: what was changed on the bus between the two, as lines of text. A pcap file cannot
  /// hold that; the first time, this says so.
  void put(FrameView frame, std::uint64_t lost_before, const std::string& changes = {});
  /// Prints changes after which no frame came yet. Only if prints_lines().
  void put_changes(const std::string& changes);
  bool prints_lines() const { return text_ != nullptr; }
  /// Makes all output visible. Call it before a possible pause.
  void flush();
  /// Completes a file whose time is over. Call it when time_left() has passed, or more often.
  void end_span();
  /// Whether no more can be output, because of a failure or because the reader is gone.
  bool failed() const { return !status(); }
  /// Whether all files asked for are complete.
  bool is_complete() const { return capture_ && capture_->is_last(); }
  std::chrono::nanoseconds time_left() const;  ///< of the current file
  /// Ends the output. A pcapng file gets the totals of the whole capture; if there are several
  /// files, each gets the totals of its own part. Result: success, or the failure. It is not a
  /// failure if the reader is gone. `changes`: those after which no frame came. A pcapng file gets
  /// them as the comment of a section without frames, which Wireshark and capinfos show.
  Result<void> finish(const PcapngStatistics& statistics, const std::string& changes = {});
  /// How many frames were completely written.
  std::uint64_t arrived() const;
  bool records() const { return capture_.has_value(); }
  /// Standard output, if frames go there and a program may read them as they come; otherwise -1.
  int output() const;

 private:
  Result<void> status() const;
  void finish_checksum(FrameView& frame);
  void put_line(const FrameView& frame);
  void put_text(const std::string& line, CaptureFile::Holds holds);
  void put_change_lines(const std::string& changes);
  void say_no_changes();
  void put_pcapng(PcapngWriter& file, const FrameView& frame, std::uint64_t lost_before,
                  const std::string& changes);
  void begin_file();
  void end_file();
  std::string comment() const;

  WantedOutput wanted_;
  SenderNames* names_;
  const Packets* packets_ = nullptr;                   // set together with `text_`
  std::unique_ptr<CaptureFile> text_;                  // either this is set
  std::optional<RotatingCapture> capture_;             // or this
  std::map<std::uint64_t, std::uint32_t> interfaces_;  // of the current file, by sender id
  bool rotated_ = false;
  bool said_no_changes_ = false;
  std::uint64_t earlier_files_ = 0;  // frames in earlier files
  PcapngStatistics file_counts_;     // of the current file, in frames of the bus
  UnitOfBus last_unit_;
  std::vector<std::byte> finished_;  // a frame whose checksum the sender had left unfinished
};

}  // namespace shmif::tools
