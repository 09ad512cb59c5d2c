#pragma once
// Capture files as links: PcapReader replays one, PcapWriter records into one.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bus/result.hpp"
#include "shmif/link.hpp"

namespace shmif {

struct PcapReadOptions {
  /// How fast frames come: 1 as they were recorded, 2 twice as fast, and so on; 0 flat out.
  double speed = 0;
};

/// A capture file (any pcap or pcapng that libpcap reads) as a link on which its frames arrive,
/// with the times of the recording, to the nanosecond. Sending takes every frame and drops it. Ends
/// after the last frame. A record that was captured cut short arrives as a truncated frame with its
/// true length; records of less than 14 bytes are skipped. Threads: one at a time; send() at any
/// time. Blocks: for the disk; on a pipe until its next frame is there.
class PcapReader {
 public:
  /// Opens the file at `path`, "-" for standard input. Errors: the system's; bad_argument when it
  /// is no capture file; not_supported when its frames are not Ethernet.
  static Result<PcapReader> open(const std::string& path, const PcapReadOptions& options = {});
  PcapReader(PcapReader&&) noexcept;
  PcapReader& operator=(PcapReader&&) noexcept;
  ~PcapReader();

  SendResult send(std::span<const FrameView> frames) noexcept;
  /// Brings what is due. The clock starts at the first receive() or prepare_wait().
  ReceiveResult receive(FrameBatch& into) noexcept;
  /// A timer that expires when the next frame is due; -1 flat out, when a frame always is.
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();  ///< "pcap:PATH"

  /// Once the link has ended: nothing, or why that was before the end of the file (a damaged
  /// record).
  Result<void> status() const;
  std::uint64_t skipped() const noexcept;  ///< records with less than an Ethernet header
  /// How much of the file has been read, 0 to 1. Nothing when it has no size, as a pipe.
  std::optional<double> progress() const noexcept;

 private:
  struct Impl;
  explicit PcapReader(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<PcapReader>);

struct PcapWriteOptions {
  std::uint32_t snap_bytes = 0;          ///< keep at most so much of each frame; 0: all
  std::size_t buffer_bytes = 1U << 20U;  ///< written when full; at least 128 KiB
};

/// Records every frame sent into a capture file: classic pcap, Ethernet, nanoseconds. Frames are
/// buffered and written in large pieces, and whenever the caller is about to sleep (prepare_wait)
/// or says flush(), so that a live reader (`wireshark -k -i -`) sees them at once. Nothing is ever
/// received from it. Threads: any. Blocks: while the disk or the reader of a pipe is slow.
class PcapWriter {
 public:
  /// Makes the file, or replaces it; "-" is standard output, refused when that is a terminal. The
  /// file's header is written at once. Errors: the system's, bad_argument.
  static Result<PcapWriter> create(const std::string& path, const PcapWriteOptions& options = {});
  PcapWriter(PcapWriter&&) noexcept;
  PcapWriter& operator=(PcapWriter&&) noexcept;
  ~PcapWriter();  ///< flush()

  /// Frames without a time are stamped now. Errors: frame_too_short, frame_too_long; once, the
  /// system's when the file can take no more (a full disk, a closed pipe; never SIGPIPE or
  /// SIGXFSZ), and link_ended from then on. A regular file is then cut back to its last whole
  /// record.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;  ///< flushes
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();  ///< "pcap:PATH"

  /// Writes what is buffered. Errors: as send().
  std::error_code flush() noexcept;
  /// Nothing, or why the file can take no more.
  Result<void> status() const;
  std::uint64_t written()
      const noexcept;  ///< frames whole in the file; those buffered do not count

 private:
  struct Impl;
  explicit PcapWriter(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<PcapWriter>);

}  // namespace shmif
