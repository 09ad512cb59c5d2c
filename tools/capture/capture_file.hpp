#pragma once
// Capture files that commands write, one or several, and the changes of the bus between their
// frames.

#include <chrono>
#include <cstdint>
#include <ctime>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <variant>

#include "shmif/capture/pcap_link.hpp"
#include "shmif/control/change.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

/// The change for people: "port web: fault loss=5% (from frame 17 on)". It may contain any
/// characters. Threads: any.
std::string change_text(const BusChange& change);
/// The same behind its date and time: a line of `shmifctl changes`.
std::string change_line(const BusChange& change);

/// The changes that have not been shown yet. Threads: one at a time. Blocks: never.
class ChangeNotes {
 public:
  /// `from`: whether changes from before this call are shown, too. If the bus has no journal, there
  /// are no changes.
  ChangeNotes(const std::string& bus_path, ChangeLog::From from);

  /// Looks for new changes. Call it once for each batch of frames, after it was received.
  void look() {
    if (log_ && log_->has_more()) read();
  }
  /// Whether before() may return something.
  bool any() const noexcept { return !waiting_.empty(); }
  /// The texts of the changes that were in effect before the frame with this number, each on a line
  /// of its own; empty if there are none. They are forgotten then.
  std::string before(std::uint64_t frame);
  /// The same for all that are left.
  std::string rest();

 private:
  void read();

  std::optional<ChangeLog> log_;
  std::deque<BusChange> waiting_;  // in the order of the journal
};

enum class CaptureFormat : std::uint8_t {
  by_name,  ///< pcapng if the name ends with ".pcapng", otherwise pcap
  pcap,
  pcapng,
};

/// Whether a file of this name must be pcapng.
inline bool is_pcapng(const std::string& file, CaptureFormat format) {
  return format == CaptureFormat::pcapng ||
         (format == CaptureFormat::by_name && names_pcapng(file));
}

/// A capture file to write, pcap or pcapng. A Link. Threads, Blocks, Errors: as PcapWriter.
class CaptureWriter {
 public:
  explicit CaptureWriter(PcapWriter file) : file_(std::move(file)) {}
  explicit CaptureWriter(PcapngWriter file) : file_(std::move(file)) {}

  /// From now on, send() adds each change of this bus as a comment to the first frame after it. A
  /// pcap file has no comments, so that is said once. Call finish() at the end.
  void note_changes(const std::string& bus_path);
  /// Adds the changes after which no frame came, and writes all that waits.
  void finish() noexcept;

  SendResult send(std::span<const FrameView> frames) noexcept {
    if (notes_) {
      notes_->look();
      if (notes_->any()) return send_noted(frames);
    }
    return std::visit([&](auto& file) { return file.send(frames); }, file_);
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    return std::visit([&](auto& file) { return file.receive(into); }, file_);
  }
  int descriptor() noexcept {
    return std::visit([](auto& file) { return file.descriptor(); }, file_);
  }
  WaitHint prepare_wait() noexcept {
    return std::visit([](auto& file) { return file.prepare_wait(); }, file_);
  }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept {
    return std::visit([](auto& file) { return file.max_frame_bytes(); }, file_);
  }
  std::string address() {
    return std::visit([](auto& file) { return file.address(); }, file_);
  }

  std::error_code flush() noexcept {
    return std::visit([](auto& file) { return file.flush(); }, file_);
  }
  Result<void> status() const {
    return std::visit([](const auto& file) { return file.status(); }, file_);
  }
  std::uint64_t written() const noexcept {
    return std::visit([](const auto& file) { return file.written(); }, file_);
  }
  std::uint64_t bytes() const noexcept {
    return std::visit([](const auto& file) { return file.bytes(); }, file_);
  }
  /// The file if it is pcapng, otherwise nullptr.
  PcapngWriter* pcapng() noexcept { return std::get_if<PcapngWriter>(&file_); }

 private:
  SendResult send_noted(std::span<const FrameView> frames) noexcept;

  std::variant<PcapWriter, PcapngWriter> file_;
  std::optional<ChangeNotes> notes_;
  bool said_no_comments_ = false;
};

/// Says that a pcap file cannot hold the changes of a bus.
void say_no_comments();

static_assert(Link<CaptureWriter>);

/// Whether the reader of the output is gone, as with `head`. This is not a failure.
inline bool reader_has_gone(const Result<void>& status) {
  return !status && status.error().code == std::errc::broken_pipe;
}

/// Says that the next frame of a capture comes only after `left`, and which option shortens that.
void say_long_gap(const std::string& file, std::chrono::nanoseconds left);

/// The value of --max-gap as PcapReadOptions::max_gap; 0 if it is not given.
std::chrono::nanoseconds max_gap_of(const Arguments& args);

/// Creates a file to record into, or replaces a capture; "-" is standard output. Throws if the file
/// cannot be created, or must not be replaced: a bus, or any other file that is not a capture.
/// `snap_bytes`: keep at most this many bytes of each frame; 0 means all. `comment` is stored if
/// the format has comments. `stop_descriptor`: as in PcapWriteOptions.
CaptureWriter create_capture(const std::string& file, CaptureFormat format = CaptureFormat::by_name,
                             std::uint32_t snap_bytes = 0, const std::string& comment = {},
                             int stop_descriptor = -1);

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
