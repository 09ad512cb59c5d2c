#pragma once
// RecordWriter: each frame that was sent, with the time it was sent at and the one it was intended
// for (`write_pcap`).
//
// The file is pcapng: the time of a record is the real one, and the intended one is the record's
// comment. Wireshark shows that beside the frame, and finds it (frame.comment); it cannot be lost,
// as a second file can; and whoever reads no comments (libpcap, and so a replay) reads the rest all
// the same. Times are of the wall clock, to the nanosecond.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "bus/result.hpp"
#include "shmif/frame.hpp"

namespace shmif::perf {

/// Threads: one at a time. Blocks: for the disk, once for each `buffer_bytes`.
class RecordWriter {
 public:
  /// Makes or overwrites the file at `path`. Errors: the system's; exists when
  /// that is a bus, which is left alone.
  static Result<RecordWriter> create(const std::string& path,
                                     std::size_t buffer_bytes = std::size_t{1} << 20U);
  RecordWriter(RecordWriter&&) noexcept;
  RecordWriter& operator=(RecordWriter&&) noexcept;
  ~RecordWriter();  ///< writes what is left; ask finish() whether that worked

  /// Times are CLOCK_MONOTONIC, ns. Once writing has failed, this does nothing.
  void put(const FrameView& frame, std::uint64_t sent_ns, std::uint64_t intended_ns) noexcept;
  /// Writes what is left. Errors: why the record is not whole, as a full disk; the frames went
  /// out all the same.
  Result<void> finish() noexcept;
  std::uint64_t written() const noexcept;  ///< frames in the file or its buffer

 private:
  struct Impl;
  explicit RecordWriter(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
