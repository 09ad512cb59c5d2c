#pragma once
// CaptureFile: writes a capture file through a buffer, and keeps the first error. The writers of
// pcap, pcapng and the text of `shmifctl dump` use it. A *record* here is one piece of that file,
// such as a packet or a line of text. It is not a record of the ring.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/output_file.hpp"
#include "bus/frame.hpp"
#include "shmif/link.hpp"

namespace shmif {

/// Collects records in a buffer, and writes the buffer when it is full and at each flush(). After a
/// failed write, a regular file still ends with a whole record.
/// Threads: any thread that holds `mutex`; create() and descriptor() need no lock. Blocks: while
/// the disk or the reader of a pipe is slow.
class CaptureFile {
 public:
  CaptureFile() = default;
  CaptureFile(const CaptureFile&) = delete;
  CaptureFile& operator=(const CaptureFile&) = delete;
  ~CaptureFile();

  struct Options {
    std::size_t buffer_bytes = 0;
    bool terminal = false;  ///< whether "-" is allowed if standard output is a terminal
    bus::Replace replace = bus::Replace::captures;  ///< which files may be replaced
    int stop_descriptor = -1;                       ///< as PcapWriteOptions::stop_descriptor
  };
  /// Creates the file, or replaces it, and writes `header`; "-" is standard output. Errors: the
  /// system's, bad_argument; exists if a file is there that may not be replaced
  /// (bus/file/output_file.hpp).
  static Result<std::unique_ptr<CaptureFile>> create(const std::string& path,
                                                     const Options& options,
                                                     std::span<const std::byte> header);

  /// Guards the members below, except descriptor(); callers lock it. One thread may call a writer's
  /// send() while another calls its prepare_wait(), which flushes.
  std::mutex mutex;

  /// Returns the address at which the caller must write the next record, of at most `bytes` bytes.
  /// Flushes if there is no room. Result: nullptr after a failure, and for a record that is larger
  /// than the buffer.
  std::byte* reserve(std::size_t bytes) noexcept;
  /// Adds the `bytes` that the caller has written at reserve()'s result, as one record. written()
  /// counts those that hold a frame.
  enum class Holds : std::uint8_t { frame, no_frame };
  void commit(std::size_t bytes, Holds holds) noexcept;
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
  /// Result: no error if all went well. After a failure: that error the first time, and then
  /// link_ended.
  [[nodiscard]] std::error_code report() noexcept;
  /// Success, or why the file takes no more records.
  Result<void> status() const;
  /// Frames that are completely in the file. Buffered frames do not count.
  std::uint64_t written() const noexcept { return written_; }
  /// Length of the file, including what is buffered.
  std::uint64_t bytes() const noexcept { return file_bytes_ + used_; }

  /// Becomes readable only when a write has failed.
  int descriptor() const noexcept { return failed_fd_.get(); }
  const std::string& path() const noexcept { return path_; }

 private:
  struct Record {
    std::uint32_t end : 31;  // offset in the buffer
    std::uint32_t is_frame : 1;
  };
  int write_all(std::span<const std::byte> bytes, std::size_t& done) noexcept;
  bool wait_for_room() noexcept;
  void cut_back(std::size_t torn) noexcept;
  void tell_opened() noexcept;

  int fd() const noexcept { return fd_ ? fd_.get() : file_.descriptor(); }

  std::string path_;
  UniqueFd fd_;           // standard output,
  bus::OutputFile file_;  // or this
  UniqueFd failed_fd_;    // an eventfd
  bool opened_ = false;
  bool regular_ = false;
  int stop_descriptor_ = -1;
  bool stopped_ = false;  // the stop descriptor was readable
  bool is_socket_ = false;
  std::vector<std::byte> buffer_;
  std::size_t used_ = 0;
  std::vector<Record> records_;  // in the buffer
  std::uint64_t written_ = 0;
  std::uint64_t file_bytes_ = 0;
  int failure_ = 0;        // errno of the write that failed
  bool reported_ = false;  // and whether the caller has been told
};

/// Which files a capture may replace.
constexpr bus::Replace replaceable(bool captures) noexcept {
  return captures ? bus::Replace::captures : bus::Replace::nothing;
}

}  // namespace shmif
