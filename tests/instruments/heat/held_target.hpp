#pragma once
// A process whose memory cannot be looked at while a test holds it: a tree of files in which a
// write to its clear_refs waits.

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/unique_fd.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {

class HeldTarget {
 public:
  explicit HeldTarget(pid_t pid) : folder_(tree_.path() + "/proc/" + std::to_string(pid)) {
    std::filesystem::create_directories(folder_);
    for (const char* const each : {"stat", "smaps", "maps", "comm", "environ"}) {
      std::filesystem::create_symlink("/proc/" + std::to_string(pid) + '/' + each,
                                      folder_ + '/' + each);
    }
    put_file();
  }

  const std::string& root() const { return tree_.path(); }

  /// The next look waits: it writes to a pipe that is full.
  void hold() {
    const std::string pipe = folder_ + "/pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    pipe_.reset(::open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    const std::array<char, 4096> bytes{};
    while (::write(pipe_.get(), bytes.data(), bytes.size()) > 0) {
    }
    notices_.reset(::inotify_init1(IN_CLOEXEC));
    ASSERT_GE(::inotify_add_watch(notices_.get(), pipe.c_str(), IN_OPEN), 0);
    std::filesystem::rename(pipe, folder_ + "/clear_refs");
  }
  /// Whether a look has come to the pipe.
  bool wait_until_held() const {
    constexpr int kPatienceMs = 60'000;
    pollfd opened{notices_.get(), POLLIN, 0};
    return ::poll(&opened, 1, kPatienceMs) == 1;
  }
  void release() {
    put_file();
    std::array<char, 65536> bytes{};
    while (::read(pipe_.get(), bytes.data(), bytes.size()) > 0) {
    }
  }

 private:
  void put_file() const {
    std::ofstream(folder_ + "/file") << '\n';
    std::filesystem::rename(folder_ + "/file", folder_ + "/clear_refs");
  }

  const shmif::test::TempDir tree_;
  const std::string folder_;
  UniqueFd pipe_;
  UniqueFd notices_;
};

}  // namespace shmif::perf::test
