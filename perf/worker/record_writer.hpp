#pragma once
// RecordWriter: records each frame that was sent, with its real and its intended time
// (`write_pcap`).
//
// The file is pcapng. The time of a record is the real time, and the record's comment has the
// intended time, if there was one. Wireshark shows the comment beside the frame and can search for
// it (frame.comment). Unlike a second file, the comment cannot get lost. Programs that read no
// comments (libpcap, and so a replay) can read the file, too. Times are wall-clock times, to the
// nanosecond.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: for the disk, after every `buffer_bytes`.
class RecordWriter {
 public:
  /// Creates the file at `path`. It replaces a capture that is there. Errors: those of
  /// PcapngWriter::create().
  static Result<RecordWriter> create(const std::string& path,
                                     std::size_t buffer_bytes = std::size_t{1} << 20U);
  // The destructor writes the rest. Call finish() to learn whether that worked.

  /// Times are CLOCK_MONOTONIC, ns. After a failed write, this does nothing.
  void put(const FrameView& frame, std::uint64_t sent_ns, std::uint64_t intended_ns) noexcept;
  /// Records a frame that nobody intended for a certain time; it passes now.
  void put(const FrameView& frame) noexcept;
  /// Writes the rest. Errors: why the record is incomplete, for example a full disk. The frames
  /// were sent nevertheless.
  Result<void> finish() noexcept;

 private:
  RecordWriter(std::string path, PcapngWriter file);
  void put(FrameView frame, std::uint64_t sent_ns, std::string_view comment) noexcept;

  std::string path_;
  PcapngWriter file_;
  std::uint32_t interface_;
  /// Difference between the wall clock and CLOCK_MONOTONIC when the file was made. If the wall
  /// clock is set later, the times in the record do not jump.
  std::uint64_t epoch_ns_;
};

}  // namespace shmif::perf
