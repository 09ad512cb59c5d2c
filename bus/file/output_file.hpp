#pragma once
// OutputFile: every file that a user names for output is opened here, by all programs.
//
// O1  A bus is never written over. The first bytes of the file decide whether it is one, so this
//     holds for buses of other versions, for copies, and for any name or link that leads to the
//     file.
// O2  An input of the same run is never written over. Files are compared, not their names.
// O3  A file that is made whole (write_whole()) gets its name only when it is complete.
// O4  After a failure, a file that was there before has its old content and its name, and an empty
//     file that we made is gone. A capture that is full keeps the records that it has.
// O5  A file that is not regular (a FIFO, a terminal, /dev/full), and the file that /dev/stdout
//     leads to, is opened and written as it is.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::bus {

/// Which regular files may be replaced. An empty file may always be replaced.
enum class Replace : std::uint8_t {
  any,       ///< any, except a bus and the inputs (O1, O2)
  captures,  ///< only captures: pcap or pcapng
  nothing,   ///< no file, because the user might still want it
};

struct OutputRules {
  /// Begins each message: "cannot write a.json".
  std::string what;
  Replace replace = Replace::any;
  std::vector<std::string> inputs =
      {};  ///< paths of files that the run reads, or writes beside this one
  /// With Replace::nothing: advice for the user, such as "to replace it, give --force".
  std::string remedy = {};
  /// open_stream() of a FIFO waits for its reader until this is readable; -1: for ever.
  int stop_descriptor = -1;
};

/// What the user can do if a file cannot be opened for writing, or cannot be written, with this
/// errno; empty if that is not known. Threads: safe. Blocks: never.
const char* output_advice(int number) noexcept;

/// Whether both paths lead to one regular file, or to one that does not exist yet. Threads: safe.
/// Blocks: for the disk.
bool is_same_file(const std::string& left, const std::string& right);

/// Whether `path` may be written, as open_stream() and write_whole() would say, but without opening
/// it for writing or making it. Errors: exists for O1, O2 and OutputRules::replace; an errno.
/// Threads: safe. Blocks: for the disk.
Result<void> check_output(const std::string& path, const OutputRules& rules);

/// Makes a file that consists of `content` (O3). If it was there before, it keeps its mode, and a
/// symbolic link stays a link. If no file can be made beside it, it is written in place. Errors:
/// those of check_output(), and an errno, such as a full disk. Threads: safe. Blocks: for the
/// disk, or for the reader of a FIFO.
Result<void> write_whole(const std::string& path, std::span<const std::byte> content,
                         const OutputRules& rules);

/// A file that is written piece by piece. Threads: one at a time.
class OutputFile {
 public:
  /// Opens a file, or makes it. Its old content stays until start(). Errors: those of
  /// check_output(), and an errno; interrupted if the stop descriptor ended the wait. Blocks:
  /// for the disk, or until a FIFO has a reader.
  static Result<OutputFile> open_stream(const std::string& path, const OutputRules& rules);
  /// Opens a file to append to it. Errors and Blocks: as open_stream().
  static Result<OutputFile> open_append(const std::string& path, const OutputRules& rules);

  OutputFile() = default;
  OutputFile(OutputFile&& other) noexcept { *this = std::move(other); }
  OutputFile& operator=(OutputFile&& other) noexcept;
  ~OutputFile() { close(); }

  int descriptor() const noexcept { return fd_.get(); }
  /// Gives the descriptor to the caller, who closes it before close().
  int release() noexcept { return fd_.release(); }
  std::uint64_t old_bytes() const noexcept { return old_bytes_; }  ///< when it was opened
  /// Writes `head` over the beginning of the old content, then removes the rest of the old content.
  /// Errors: an errno. Blocks: as write().
  Result<void> start(std::span<const std::byte> head);
  /// Closes the file. If start() was not called or failed, or `failed` is true, then an empty file
  /// that we made is removed (O4).
  void close(bool failed = false) noexcept;

 private:
  std::string path_;
  std::string what_;
  UniqueFd fd_;
  bool regular_ = false;
  bool is_new_ = false;
  bool started_ = false;
  std::uint64_t device_ = 0, inode_ = 0;
  std::uint64_t old_bytes_ = 0;
};

}  // namespace shmif::bus
