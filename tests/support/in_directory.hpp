#pragma once
// The working directory of a test, for code that writes its files there.

#include <filesystem>
#include <string>

namespace shmif::test {

/// Makes `path` the working directory of this process, for as long as the object lives. Threads:
/// all of the process have it.
class InDirectory {
 public:
  explicit InDirectory(const std::string& path) : before_(std::filesystem::current_path()) {
    std::filesystem::current_path(path);
  }
  ~InDirectory() { std::filesystem::current_path(before_); }
  InDirectory(const InDirectory&) = delete;
  InDirectory& operator=(const InDirectory&) = delete;

 private:
  std::filesystem::path before_;
};

}  // namespace shmif::test
