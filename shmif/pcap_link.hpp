#pragma once
// Capture files as links: PcapReader replays one, PcapWriter and PcapngWriter record into one.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

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
/// true length. Records of less than 14 bytes, and those with more bytes than any frame can have,
/// are passed over and counted. Threads: one at a time; send() at any time. Blocks: for the disk;
/// on a pipe until its next frame is there.
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

  /// Once the link has ended: nothing, or why not all of the file arrived. Errors: io_error for a
  /// damaged record, not_supported for what libpcap does not read (interfaces of several link
  /// types, or several snapshot lengths); frame_too_long when only too_long() records are missing.
  Result<void> status() const;
  std::uint64_t skipped() const noexcept;  ///< records with less than an Ethernet header
  struct TooLong {
    std::uint64_t records = 0;
    std::uint64_t longest_bytes = 0;  ///< true length of the longest
  };
  /// Records with more bytes than any frame can have.
  TooLong too_long() const noexcept;
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
  [[nodiscard]] std::error_code flush() noexcept;
  /// Nothing, or why the file can take no more.
  Result<void> status() const;
  std::uint64_t written()
      const noexcept;                    ///< frames whole in the file; those buffered do not count
  std::uint64_t bytes() const noexcept;  ///< length of the file, with what is buffered

 private:
  struct Impl;
  explicit PcapWriter(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<PcapWriter>);

/// Whether a capture file of this name is to be pcapng: it ends with ".pcapng".
bool names_pcapng(std::string_view path) noexcept;

struct PcapngWriteOptions {
  std::uint32_t snap_bytes = 0;          ///< keep at most so much of each frame; 0: all
  std::size_t buffer_bytes = 1U << 20U;  ///< written when full; at least 128 KiB
  std::string application = {};          ///< what writes the file, as "shmifctl 0.1.0"
  std::string comment = {};              ///< on the whole file
};

/// What a pcapng file says about one source of frames.
struct PcapngInterface {
  std::string name;
  std::string description = {};
};

/// What a pcapng file says about one frame.
struct PcapngNotes {
  std::uint64_t lost_before = 0;  ///< frames that were lost before this one
  std::string_view comment = {};  ///< empty: none
};

/// What became of all frames of a capture.
struct PcapngStatistics {
  std::uint64_t received = 0;  ///< by the capture, before its filter; lost ones are not among them
  std::uint64_t accepted = 0;  ///< of those, by the filter
  std::uint64_t lost = 0;
};

/// Records frames into a pcapng file (draft-ietf-opsawg-pcapng), Ethernet, nanoseconds, with as
/// many interfaces as its user tells apart, and notes beside the frames. All interfaces have the
/// same link type and snapshot length, so libpcap reads the file, too. send() puts frames on the
/// first interface, a nameless one where none was added. Texts are cut at 60,000 bytes. Threads,
/// buffering and errors: as PcapWriter.
class PcapngWriter {
 public:
  static Result<PcapngWriter> create(const std::string& path,
                                     const PcapngWriteOptions& options = {});
  PcapngWriter(PcapngWriter&&) noexcept;
  PcapngWriter& operator=(PcapngWriter&&) noexcept;
  ~PcapngWriter();  ///< flush()

  /// Result: the number of the interface; they count from 0.
  std::uint32_t add_interface(const PcapngInterface& about) noexcept;
  /// Records one frame. `interface`: one that was added. Errors: as PcapWriter::send().
  [[nodiscard]] std::error_code put(std::uint32_t interface, const FrameView& frame,
                                    const PcapngNotes& notes = {}) noexcept;
  /// Says how the capture went, for `interface`; once, at its end.
  void put_statistics(std::uint32_t interface, const PcapngStatistics& statistics) noexcept;

  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;  ///< flushes
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();  ///< "pcap:PATH"

  [[nodiscard]] std::error_code flush() noexcept;
  Result<void> status() const;
  std::uint64_t written() const noexcept;
  std::uint64_t bytes() const noexcept;

 private:
  struct Impl;
  explicit PcapngWriter(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<PcapngWriter>);

}  // namespace shmif
