#pragma once
// Capture files that commands write.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "shmif/capture/pcap_link.hpp"
#include "tools/capture/change_notes.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

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

}  // namespace shmif::tools
