#pragma once
// Opens, reads and writes files in a child process.
//
// What another process made or named can keep the caller waiting. Its mappings in /proc wait for
// the lock of its memory. A thread of it can hold this lock while a file system that a program
// serves (FUSE) does not answer. A directory that it names can be of such a file system: then not
// even SIGKILL ends the call. So only a child waits, and this process can go on or end.

#include <sys/types.h>

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::perf {

/// Threads: any; one call at a time. The child has no descriptor of this process.
class FileHelper {
 public:
  /// `stops`: whether to give up a call that does not come back. Called by the thread that waits.
  explicit FileHelper(std::function<bool()> stops) : stops_(std::move(stops)) {}
  FileHelper(const FileHelper&) = delete;
  FileHelper& operator=(const FileHelper&) = delete;
  ~FileHelper();

  /// As KernelFiles::read() and write() for a path. Blocks: until the kernel answers, and five
  /// seconds at most. Errors: also Errc::timed_out. Its child then ends when the kernel lets it. If
  /// four children wait so, all later calls fail at once.
  Result<std::string> read(const std::string& path);
  Result<void> write(const std::string& path, std::string_view text);
  /// As KernelFiles::open_folder(). Errors: also Errc::unsupported_file_system
  /// for a directory of FUSE.
  Result<UniqueFd> open_folder(const std::string& path);

 private:
  struct Answer {
    std::string text;
    UniqueFd folder;
  };
  Result<Answer> ask(const std::string& request, const std::string& path);
  bool start();
  void give_up();
  bool wait() const;

  std::function<bool()> stops_;
  std::mutex mutex_;
  pid_t child_ = 0;
  UniqueFd socket_;
  std::vector<pid_t> lost_;  ///< children that do not come back
};

}  // namespace shmif::perf
