#pragma once
// A file of records that is being written: the buffer, the file, and what went wrong with it. The
// writers of pcap and pcapng share it, and so does the text of `shmifctl dump`.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "bus/frame.hpp"
#include "bus/result.hpp"
#include "bus/unique_fd.hpp"
#include "shmif/link.hpp"

namespace shmif {

/// Records are put into a buffer, which is written when it is full and at each flush(). A write
/// that fails leaves a regular file that ends with a whole record.
/// Threads: any, where `mutex` is held; create() and descriptor() need no lock. Blocks: while the
/// disk or the reader of a pipe is slow.
class CaptureFile {
 public:
  struct Options {
    std::size_t buffer_bytes = 0;
    bool terminal = false;  ///< whether standard output may be one
  };
  /// Makes the file, or replaces it, and writes `header`; "-" is standard output. Errors: the
  /// system's, bad_argument.
  static Result<std::unique_ptr<CaptureFile>> create(const std::string& path,
                                                     const Options& options,
                                                     std::span<const std::byte> header);

  std::mutex mutex;  ///< guards what follows: a bridge may sleep in one thread and send in another

  /// Where the next record of up to `bytes` is to be made; flushes when there is no room. Result:
  /// nullptr after a failure, and for a record that is larger than the buffer.
  std::byte* reserve(std::size_t bytes) noexcept;
  /// Takes what was made there as a record of `bytes`.
  void commit(std::size_t bytes, bool is_frame) noexcept;
  void flush() noexcept;
  /// Sends frames in order: `put(frame)` makes and commits one record. Errors: as PcapWriter.
  template <class Put>
  SendResult send(std::span<const FrameView> frames, Put put) noexcept {
    SendResult result;
    for (const FrameView& frame : frames) {
      if (frame.size() < kEthernetHeaderBytes) result.error = Errc::frame_too_short;
      if (frame.size() > (frame.offload.is_super_frame() ? kMaxSuperFrameBytes : kMaxFrameBytes)) {
        result.error = Errc::frame_too_long;
      }
      if (!result.error) {
        put(frame);
        result.error = report();
      }
      if (result.error) return result;
      ++result.taken;
    }
    return result;
  }

  bool failed() const noexcept { return failure_ != 0; }
  /// Result: nothing; the failure, the first time; link_ended from then on.
  [[nodiscard]] std::error_code report() noexcept;
  /// Nothing, or why the file can take no more.
  Result<void> status() const;
  /// Frames whole in the file; those buffered do not count.
  std::uint64_t written() const noexcept { return written_; }
  /// How long the file is, with what is buffered.
  std::uint64_t bytes() const noexcept { return file_bytes_ + used_; }

  /// Readable only once the writer has failed.
  int descriptor() const noexcept { return never_.get(); }
  const std::string& path() const noexcept { return path_; }

 private:
  struct Record {
    std::uint32_t end : 31;  // in the buffer
    std::uint32_t is_frame : 1;
  };
  void cut_back(std::size_t torn) noexcept;

  std::string path_;
  UniqueFd fd_;
  UniqueFd never_;
  bool regular_ = false;
  std::vector<std::byte> buffer_;
  std::size_t used_ = 0;
  std::vector<Record> records_;  // in the buffer
  std::uint64_t written_ = 0;
  std::uint64_t file_bytes_ = 0;
  int failure_ = 0;        // errno of the write that failed
  bool reported_ = false;  // and whether the caller has been told
};

}  // namespace shmif
