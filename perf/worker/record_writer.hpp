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
#include <memory>
#include <string>

#include "base/result.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: for the disk, after every `buffer_bytes`.
class RecordWriter {
 public:
  /// Creates the file at `path`. It replaces a capture that is there. Errors: those of
  /// PcapngWriter::create().
  static Result<RecordWriter> create(const std::string& path,
                                     std::size_t buffer_bytes = std::size_t{1} << 20U);
  RecordWriter(RecordWriter&&) noexcept;
  RecordWriter& operator=(RecordWriter&&) = delete;
  ~RecordWriter();  ///< writes the rest; call finish() to learn whether that worked

  /// Times are CLOCK_MONOTONIC, ns. After a failed write, this does nothing.
  void put(const FrameView& frame, std::uint64_t sent_ns, std::uint64_t intended_ns) noexcept;
  /// Records a frame that nobody intended for a certain time; it passes now.
  void put(const FrameView& frame) noexcept;
  /// Writes the rest. Errors: why the record is incomplete, for example a full disk. The frames
  /// were sent nevertheless.
  Result<void> finish() noexcept;

 private:
  struct Impl;
  explicit RecordWriter(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
