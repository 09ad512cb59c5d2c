#pragma once
// Capture files as links: PcapReader replays one, PcapWriter and PcapngWriter record into one.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"

namespace shmif {

/// How a capture file is replayed.
struct PcapReadOptions {
  /// How fast frames come: 1 as recorded, 2 twice as fast, and so on; 0 as fast as possible.
  double speed = 0;
  /// The time between a frame and the next is cut to this; 0: as recorded.
  std::chrono::nanoseconds max_gap{0};
  /// Called once, if the next frame is due only after more than a minute, with the time until then.
  /// It runs in prepare_wait() and must not throw; may be empty.
  std::function<void(std::chrono::nanoseconds)> on_long_gap = {};
  /// When it is readable, a wait for input ends; -1: no such descriptor. The caller keeps it.
  int stop_descriptor = -1;
};

/// A capture file (any pcap or pcapng that libpcap reads) as a link. Each frame has its recorded
/// time in FrameView::time_ns, to the nanosecond; PcapReadOptions::speed says when it arrives.
/// shmif/capture/recorded_time.hpp says how gaps are counted. If the capture says that frames have
/// a frame check sequence, they come without it.
/// send() accepts every frame and drops it. The link ends after the last frame. If the capture kept
/// only the beginning of a frame, the view has these bytes, and FrameView::true_bytes has the
/// frame's length. Records of the file with less than 14 bytes are left out, and counted in
/// skipped(). Records with more than kMaxFrameBytes are left out, and counted in too_long().
/// Threads: one at a time, but send() from any. Blocks: for the disk. On a pipe, open() waits for
/// the other end. receive() waits for it only if that has written a frame of more than 17 MiB, or a
/// file whose records cannot be told apart.
class PcapReader {
 public:
  /// Opens the file at `path`, "-" for standard input. Errors: an errno; bad_argument if it is
  /// not a capture file, or its frames are not Ethernet; not_supported if libpcap is not installed;
  /// interrupted if the stop descriptor ended the wait for the file's beginning.
  static Result<PcapReader> open(const std::string& path, const PcapReadOptions& options = {});
  PcapReader(PcapReader&&) noexcept;  ///< the other may then only be assigned to or destroyed
  PcapReader& operator=(PcapReader&&) noexcept;  ///< closes the file that it read before
  ~PcapReader();

  /// Accepts every frame, and drops it.
  SendResult send(std::span<const FrameView> frames) noexcept;
  /// Returns the frames that are due. The clock starts at the first receive() or prepare_wait().
  ReceiveResult receive(FrameBatch& into) noexcept;
  /// Readable when the next frame is due, or has arrived on a pipe; -1 for a file at speed 0, where
  /// a frame is always due.
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;        ///< as Link; calls PcapReadOptions::on_long_gap
  void finish_wait() noexcept;             ///< as Link
  std::size_t max_frame_bytes() noexcept;  ///< kMaxFrameBytes
  std::string address();                   ///< "pcap:PATH"

  /// Once the link has ended: success, or why part of the file did not arrive. Errors: io_error for
  /// a damaged record; not_supported for files that libpcap does not read (several link types or
  /// snapshot lengths); frame_too_long if the whole file was read, but records were left out
  /// because they were too long.
  Result<void> status() const;
  std::uint64_t skipped() const noexcept;  ///< records with less than an Ethernet header
  /// Frames that were read, but have not been received, because they are not due: 0 or 1.
  std::uint64_t waiting() const noexcept;
  /// Frames so far that the capture marks as unsegmented (TSO). They did not look like that on a
  /// wire.
  std::uint64_t unsegmented() const noexcept;
  /// What too_long() returns.
  struct TooLong {
    std::uint64_t records = 0;        ///< how many there were so far
    std::uint64_t longest_bytes = 0;  ///< true length of the longest
  };
  /// Records with more than kMaxFrameBytes.
  TooLong too_long() const noexcept;
  /// When to begin the next loop over the same file, at the same speed. Call it after the link has
  /// ended. Empty at speed 0, and if no frame came.
  std::optional<std::chrono::steady_clock::time_point> next_loop() const noexcept;
  /// How much of the file has been read, 0 to 1. Empty if it has no size, as with a pipe.
  std::optional<double> progress() const noexcept;

 private:
  struct Impl;
  explicit PcapReader(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<PcapReader>);

/// How PcapWriter writes its file.
struct PcapWriteOptions {
  std::uint32_t snap_bytes = 0;          ///< keep at most this many bytes of each frame; 0: all
  std::size_t buffer_bytes = 1U << 20U;  ///< written when full; at least 128 KiB
  bool replace = true;                   ///< whether a capture of this name may be replaced
  /// When this is readable, a write waits half a second for a reader that takes no bytes, and then
  /// fails with timed_out. -1: it waits without a limit. The caller keeps it.
  int stop_descriptor = -1;
};

/// Records frames in a capture file. Frames are buffered and written in large pieces. They are also
/// written whenever the caller is about to sleep (prepare_wait) or calls flush(), so a live reader
/// (`wireshark -k -i -`) sees them at once. receive() never returns a frame. The destructor calls
/// flush(); so does an assignment, for the file that was written before. What was moved from may
/// only be assigned to or destroyed. Threads: any. Blocks: while the disk or the reader of a pipe
/// is slow.
class CaptureWriter {
 public:
  /// No frames; link_ended once a write has failed.
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;               ///< readable once a write has failed
  WaitHint prepare_wait() noexcept;        ///< flushes
  void finish_wait() noexcept;             ///< as Link
  std::size_t max_frame_bytes() noexcept;  ///< kMaxFrameBytes
  std::string address();                   ///< "pcap:PATH"

  /// Writes the buffered frames. Errors: as send().
  [[nodiscard]] std::error_code flush() noexcept;
  /// Success, or why the file takes no more frames.
  Result<void> status() const;
  /// Frames completely in the file; buffered ones do not count.
  std::uint64_t written() const noexcept;
  std::uint64_t bytes() const noexcept;  ///< length of the file, including what is buffered

 private:
  friend class PcapWriter;
  friend class PcapngWriter;
  struct Impl;
  explicit CaptureWriter(std::unique_ptr<Impl> impl) noexcept;
  CaptureWriter(CaptureWriter&&) noexcept;
  CaptureWriter& operator=(CaptureWriter&&) noexcept;
  ~CaptureWriter();
  std::unique_ptr<Impl> impl_;
};

/// Writes classic pcap: Ethernet, nanoseconds.
class PcapWriter : public CaptureWriter {
 public:
  /// Creates the file, or replaces a capture. "-" is standard output, which is refused if it is a
  /// terminal. The file's header is written at once. Errors: an errno, bad_argument; exists if
  /// another kind of file is there (a bus, a text), which stays as it is, or a capture that may not
  /// be replaced.
  static Result<PcapWriter> create(const std::string& path, const PcapWriteOptions& options = {});

  /// Frames without a time get the current time. Errors: frame_too_short, frame_too_long. If the
  /// file takes no more frames, because the disk is full or the pipe was closed: an errno once,
  /// and link_ended from then on. The process gets no SIGPIPE or SIGXFSZ. A regular file is
  /// then truncated to its last whole record.
  SendResult send(std::span<const FrameView> frames) noexcept;

 private:
  explicit PcapWriter(std::unique_ptr<Impl> impl) noexcept;
};

static_assert(Link<PcapWriter>);

/// Whether a file name asks for the format pcapng: it ends with ".pcapng".
bool names_pcapng(std::string_view path) noexcept;

/// How PcapngWriter writes its file.
struct PcapngWriteOptions {
  std::uint32_t snap_bytes = 0;          ///< keep at most this many bytes of each frame; 0: all
  std::size_t buffer_bytes = 1U << 20U;  ///< written when full; at least 128 KiB
  bool replace = true;                   ///< whether a capture of this name may be replaced
  /// When this is readable, a write waits half a second for a reader that takes no bytes, and then
  /// fails with timed_out. -1: it waits without a limit. The caller keeps it.
  int stop_descriptor = -1;
  std::string application = {};  ///< the program that writes the file: "shmifctl 0.1.0"
  std::string comment = {};      ///< about the whole file
};

/// What a pcapng file says about one source of frames. An empty member is left out.
struct PcapngInterface {
  std::string name;                    ///< its name, as Wireshark shows it
  std::string description = {};        ///< more about it, for people
  std::string hardware = {};           ///< what kind of interface it is
  std::optional<MacAddress> mac = {};  ///< its address
};

/// What a pcapng file says about one frame.
struct PcapngNotes {
  std::uint64_t lost_before = 0;  ///< frames that were lost before this one
  std::string_view comment = {};  ///< empty: no comment
};

/// Frame totals of a capture.
struct PcapngStatistics {
  std::uint64_t received = 0;  ///< frames that the capture saw
  std::uint64_t accepted = 0;  ///< how many of them passed its filter
  std::uint64_t lost = 0;      ///< frames that it did not see
};

/// Records frames in a pcapng file (draft-ietf-opsawg-pcapng): Ethernet, nanoseconds, any number of
/// interfaces, and notes on frames. The number of a frame of a bus becomes its packet id
/// (epb_packetid), so the segments of a super-frame have the same one. All interfaces have the same
/// link type and snapshot length, so libpcap can read the file, too. send() records frames on the
/// first interface, or on a nameless one if none was added. Texts are cut at 60,000 bytes.
class PcapngWriter : public CaptureWriter {
 public:
  /// As PcapWriter::create().
  static Result<PcapngWriter> create(const std::string& path,
                                     const PcapngWriteOptions& options = {});

  /// Result: the number of the interface, counted from 0.
  std::uint32_t add_interface(const PcapngInterface& about) noexcept;
  /// Records one frame. `interface`: one that was added. Errors: as PcapWriter::send().
  [[nodiscard]] std::error_code put(std::uint32_t interface, const FrameView& frame,
                                    const PcapngNotes& notes = {}) noexcept;
  /// Records the totals of `interface`; call it once, at the end of the capture.
  void put_statistics(std::uint32_t interface, const PcapngStatistics& statistics) noexcept;
  /// Begins a new section of the file, which has no interfaces and this comment: a text that
  /// belongs to no frame. Wireshark and capinfos show it. No frame may follow.
  void put_section(std::string_view comment) noexcept;

  /// As PcapWriter::send(), on the first interface.
  SendResult send(std::span<const FrameView> frames) noexcept;

 private:
  explicit PcapngWriter(std::unique_ptr<Impl> impl) noexcept;
  std::uint32_t add(const PcapngInterface& about) noexcept;
  void record(std::uint32_t interface, const FrameView& frame, const PcapngNotes& notes) noexcept;
};

static_assert(Link<PcapngWriter>);

}  // namespace shmif
