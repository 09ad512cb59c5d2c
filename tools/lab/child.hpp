#pragma once
// A program that a lab runs: a host, a capture, a gateway, a change, the test.

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "tools/common/command.hpp"
#include "tools/lab/lab.hpp"

namespace shmif::tools {

/// What to run, and how.
struct ChildWish {
  /// Found in the PATH. Empty: a command of `shmifctl`, by run_in_child().
  std::string program{};
  std::vector<std::string> words{};  ///< its arguments
  /// What the process does in place of a program; its result is the exit code.
  std::function<int()> body{};
  InHost in_host{};                                                ///< of run_in_child()
  std::string folder{};                                            ///< its working directory
  std::vector<std::pair<std::string, std::string>> environment{};  ///< beside ours
  /// What it gets when the lab's controller dies. SIGKILL of 'shmifctl exec' ends its whole host.
  int on_death = 9;
  /// Directories of control groups that it joins before it starts.
  std::vector<std::string> groups{};
  /// Its standard input and output are a socket, whose other end is take_line().
  bool has_line = false;
  /// Joined to its standard error. False: to the standard streams of this process.
  bool catch_output = true;
};

/// A running program, in a session of its own, so that keys of the terminal do not reach it. The
/// destructor kills it. Threads: one at a time, and always the thread that started it: the child
/// gets `on_death` when that thread ends.
class LabChild {
 public:
  /// Starts it. If there is no such program, the child ends with exit code 127. Errors: of fork(2),
  /// pipe(2), pidfd_open(2). Blocks: for fork(2).
  static Result<LabChild> start(const ChildWish& wish);
  LabChild(LabChild&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)),
        process_(std::move(other.process_)),
        output_(std::move(other.output_)),
        line_(std::move(other.line_)) {}
  ~LabChild();

  pid_t pid() const noexcept { return pid_; }
  /// Readable when the program has ended; -1 when its end was taken.
  int process() const noexcept { return process_.get(); }
  /// Readable when there is output; -1 after its end.
  int output() const noexcept { return output_.get(); }
  /// The other end of its standard input and output, if the wish has a line.
  UniqueFd take_line() noexcept { return std::move(line_); }
  /// Adds what can be read now to `into`: at most kMaxRead, and kMaxReadAtEnd when the end of the
  /// program was taken, because then nobody asks again. Blocks: never. Result: false at the end of
  /// the output.
  bool read_output(std::string& into);
  static constexpr std::size_t kMaxRead = std::size_t{256} << 10U;
  /// A pipe holds 64 KiB, or up to 1 MiB if the program has made it larger.
  static constexpr std::size_t kMaxReadAtEnd = std::size_t{2} << 20U;
  /// The exit status, 128 + n for signal n, when the program has ended. Blocks: never.
  std::optional<int> take_end();
  bool has_ended() const noexcept { return pid_ <= 0; }
  void signal(int number) const noexcept;

 private:
  LabChild() = default;
  pid_t pid_ = 0;
  UniqueFd process_;
  UniqueFd output_;
  UniqueFd line_;
};

/// Runs a program that ends soon. Result: its exit status, and what it has printed. Errors: of
/// LabChild::start(). Blocks: until its end.
Result<std::pair<int, std::string>> run_short(const ChildWish& wish);

/// A process that waits for the end of this one, in whatever way, and then does the last work.
/// Threads: one at a time.
class LabKeeper {
 public:
  enum class Works : bool { always, if_killed };
  /// Call it before other processes start. `name`: of the process. `what`: for messages, "a
  /// process". `work`: of `if_killed`, is not done if the destructor runs. Throws Exception.
  LabKeeper(const char* name, const std::string& what, Works works,
            const std::function<void()>& work);
  LabKeeper(const LabKeeper&) = delete;
  LabKeeper& operator=(const LabKeeper&) = delete;
  /// Blocks: until its work is done.
  ~LabKeeper();

 private:
  Works works_;
  pid_t pid_ = 0;
  UniqueFd line_;
};

/// A mark for each host, in memory that the controller shares with the processes that it starts. A
/// host sets its mark when it is set up, just before it becomes its program: whether its port is up
/// does not tell that. Threads, processes: any.
class LabMarks {
 public:
  /// Throws Exception if there is no memory.
  explicit LabMarks(std::size_t count);
  LabMarks(const LabMarks&) = delete;
  LabMarks& operator=(const LabMarks&) = delete;
  ~LabMarks();

  void set(std::size_t host) const noexcept { marks_[host].store(true); }
  void clear(std::size_t host) const noexcept { marks_[host].store(false); }
  bool is_set(std::size_t host) const noexcept { return marks_[host].load(); }

 private:
  std::atomic<bool>* marks_;
  std::size_t bytes_;
};

/// The first process of the host that `supervisor` ('shmifctl exec') runs. Empty: not there yet.
/// Blocks: never.
std::optional<pid_t> init_of_lab_host(pid_t supervisor);

/// "ended by signal 9 (Killed)", "exit code 3": what became of a program.
std::string end_text(int status);

// Hosts of a lab that are containers of podman.
//
//   controller
//     `-- runner, one for each container (this code)
//           |-- keeper: waits for the runner's end, and then removes the container
//           |-- shmifctl tap, one for each interface
//           `-- podman start --attach: the output of the container
//
// podman's containers are not children of the process that starts them, so the kernel cannot end
// them with the controller. K1: the keeper removes the container, in whatever way the runner ended.
// If somebody kills the keeper, too, the container stays until the next start of this host, or
// `podman rm`.

/// Makes the container, connects it, runs its program, and removes it. Errors are printed. `seed`:
/// of --seed. `environment`: of the host. `pid_file`: gets the pid of its first process.
/// `on_start`: is called when its program was started. Threads: the only one of its process.
/// Blocks: until the container has ended, or SIGTERM came. Result: its exit code, or 1.
int run_container(const Lab& lab, const LabHost& host, std::optional<std::uint64_t> seed,
                  const std::vector<std::pair<std::string, std::string>>& environment,
                  const std::string& pid_file, const std::function<void()>& on_start);

/// The first process of a container, by its file. Empty: not there yet.
std::optional<pid_t> pid_of_container(const std::string& pid_file);

}  // namespace shmif::tools
