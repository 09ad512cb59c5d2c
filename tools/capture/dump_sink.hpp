#pragma once
// The output of `shmifctl dump`: lines on standard output, or capture files; and its summary.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bus/frame.hpp"
#include "shmif/bus.hpp"
#include "shmif/capture/capture_file.hpp"
#include "shmif/frame.hpp"
#include "shmif/mac.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::tools {

/// The senders of the frames of one bus. Threads: one at a time.
class SenderNames {
 public:
  static constexpr std::uint64_t kOthers = 0;
  static constexpr std::chrono::seconds kMaxSearch{2};
  struct Sender {
    std::uint64_t id = 0;       ///< unique among senders
    std::string name{};         ///< name of the port; "slot 7" if the port is no longer known
    std::string description{};  ///< slot, kind of link, MAC address
    bool known = false;
    std::string link{};  ///< the kind of link, such as "tap"; empty if not known
    std::optional<MacAddress> mac{};
    /// As process_text() says it; empty until process_of() has looked.
    std::string process{};
    bool process_is_read = false;
  };

  /// If the bus cannot be opened, senders have no names.
  explicit SenderNames(const std::string& path);

  /// The sender of a frame. A port that has left stays known until another port takes its slot. The
  /// reference is valid until the next call. A writer can forge any number of senders, so reads of
  /// the port table are limited. All senders beyond the limit share one entry, "others".
  const Sender& of(const FrameView& frame);
  /// The process of the frame's sender, as process_text() says it. It is looked up once, so that a
  /// port that has left since keeps its process. All look-ups together take at most kMaxSearch;
  /// then, and if the process is not known, the text is empty.
  std::string process_of(const FrameView& frame);
  /// The sender named "others".
  const Sender& others() const { return others_; }
  /// How many frames got the answer "others".
  std::uint64_t not_looked_up() const { return not_looked_up_; }
  /// Whether the format of the bus names senders. If it does not, all frames have the same sender.
  bool are_told() const { return are_told_; }
  /// The names of the live ports.
  std::vector<std::string> live() const;

 private:
  using Key = std::pair<std::uint16_t, std::uint32_t>;  // slot and incarnation
  using Clock = std::chrono::steady_clock;
  bool may_look();
  void look();
  /// Gives the sender its `id`, if the key is new.
  void add(const Key& key, Sender sender);

  std::optional<Bus> bus_;
  bool are_told_ = true;
  std::map<Key, Sender> senders_;
  std::uint64_t last_id_ = 0;
  Clock::duration searched_{0};  // the time that process_of() has taken
  Sender others_{kOthers, "others", "other senders: too many to list each"};
  Sender untold_{1, "unknown", "the format of the bus does not name senders"};
  std::uint64_t not_looked_up_ = 0;
  unsigned looks_left_;
  Clock::time_point looks_counted_ = Clock::now();
  Key last_key_{};
  const Sender* last_ = nullptr;  // usually the sender of the next frame, too
};

/// The frame of the bus to which a frame belongs: segments of a super-frame share one. The time is
/// compared, too, because a repair can restart the numbers.
class UnitOfBus {
 public:
  UnitOfBus() = default;
  explicit UnitOfBus(const FrameView& frame) : number_(frame.number), time_ns_(frame.time_ns) {}

  bool is_of(const FrameView& frame) const noexcept {
    return number_ == frame.number && time_ns_ == frame.time_ns;
  }

 private:
  std::optional<std::uint64_t> number_;
  std::uint64_t time_ns_ = 0;
};

/// Finds out how many frames were lost before each frame, from the gaps between their numbers.
class Gaps {
 public:
  /// Notes the result of a receive: its frames, and how many frames it reported as lost before,
  /// among and after them.
  void received(std::span<const FrameView> frames, std::uint64_t lost) {
    const std::uint64_t earlier = unplaced_;  // lost after all earlier frames
    unplaced_ += lost;
    if (frames.empty()) return;
    // Before the very first frame, there is no number to count from. Among the frames of its batch,
    // the numbers show which were lost there. The other lost frames were lost before it.
    const std::uint64_t elsewhere = last_ ? unplaced_ - earlier : among(frames);
    before_first_ = unplaced_ - std::min(unplaced_, elsewhere);
  }
  /// Result: how many frames were lost between the last frame and this one. It is never more than
  /// the number reported as lost, because a repair can make numbers jump.
  std::uint64_t before(std::uint64_t number) {
    const bool follows = last_ && number > *last_;
    const std::uint64_t missing = follows ? number - *last_ - 1 : 0;
    const std::uint64_t gap =
        std::min(std::max(missing, std::exchange(before_first_, 0)), unplaced_);
    last_ = number;
    unplaced_ -= gap;
    return gap;
  }

 private:
  static std::uint64_t among(std::span<const FrameView> frames) {
    std::uint64_t missing = 0;
    for (std::size_t i = 1; i < frames.size(); ++i) {
      const std::uint64_t step = frames[i].number - frames[i - 1].number;
      if (frames[i].number > frames[i - 1].number) missing += step - 1;  // segments share a number
    }
    return missing;
  }

  std::optional<std::uint64_t> last_;
  std::uint64_t unplaced_ = 0;
  std::uint64_t before_first_ = 0;  // lost before this batch, at least
};

/// There are two units: frames of the bus, and frames as shown. A super-frame is one frame of the
/// bus, and if it is lost, one frame is lost. But it is shown as the frames that it stands for.
struct DumpCounts {
  std::uint64_t captured = 0;           // frames of the bus that were shown at least in part
  std::uint64_t filtered = 0;           // frames of the bus that were not shown at all
  std::uint64_t lost = 0;               // lost frames of the bus
  bool lost_is_lower_bound = false;     // corruption was seen, so more may be lost
  std::uint64_t captured_segments = 0;  // frames shown
  std::uint64_t filtered_segments = 0;  // frames not shown
  std::uint64_t bytes = 0;              // bytes shown
  /// False if the output did not take all frames, so that `captured` or `bytes` is unknown.
  bool captured_known = true, bytes_known = true;
};

/// "1395 frames captured (44987 after segmentation), 0 filtered out, 60378 lost"
std::string to_text(const DumpCounts& counts);

/// The same as JSON. `path`: of the bus. `file`: the capture; empty if lines were printed.
std::string to_json(const std::string& path, const std::optional<std::string>& file,
                    const DumpCounts& counts);

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
