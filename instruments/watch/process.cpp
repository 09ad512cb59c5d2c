#include "instruments/watch/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>
#include <utility>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kFirstField = 3;
constexpr std::size_t kLastField = 39;  ///< the last one that we read

/// The words of /proc/PID/stat behind the name: word 0 is field 3. A truncated text has fewer
/// words. Many instruments read such a text many times a second, so this does not allocate memory.
struct StatWords {
  std::array<std::string_view, kLastField - kFirstField + 1> words{};
  std::size_t count = 0;

  explicit StatWords(std::string_view text) {
    while (!text.empty() && count < words.size()) {
      std::size_t end = 0;
      while (end < text.size() && text[end] != ' ' && text[end] != '\n') ++end;
      if (end > 0) words.at(count++) = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }
  bool whole() const noexcept { return count == words.size() && words[0].size() == 1; }
};

Error other_form() {
  return {Errc::bad_argument, "not as proc_pid_stat(5) describes it"};
}

/// Whether SIGKILL is pending, according to the line "SigPnd:\t0000000000000100".
bool is_to_be_killed(const std::string& status) {
  constexpr std::string_view kName = "\nSigPnd:\t";
  constexpr std::size_t kDigits = 16;
  constexpr int kHexadecimal = 16;
  const std::size_t at = status.find(kName);
  if (at == std::string::npos) return false;
  const std::string_view digits = std::string_view(status).substr(at + kName.size(), kDigits);
  const std::uint64_t pending = base::read_digits(digits, kHexadecimal).value_or(0);
  return (pending >> unsigned{SIGKILL - 1} & 1U) != 0;
}

}  // namespace

Result<TaskStat> read_task_stat(std::string_view text) {
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');  // the name may contain parentheses
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    return other_form();
  }
  const StatWords fields(text.substr(close + 1));
  if (!fields.whole()) return other_form();
  bool whole = true;
  const auto field = [&](std::size_t number) {
    const auto value = base::read_digits(fields.words.at(number - kFirstField));
    whole = whole && value.has_value();
    return value.value_or(0);
  };
  TaskStat stat;
  stat.name = text.substr(open + 1, close - open - 1);
  stat.state = fields.words[0][0];
  stat.flags = field(9);
  stat.minor_faults = field(10);
  stat.major_faults = field(12);
  stat.user_ticks = field(14);
  stat.system_ticks = field(15);
  stat.threads = field(20);
  stat.start_ticks = field(22);
  stat.cpu = static_cast<int>(field(39));
  if (!whole) return other_form();
  return stat;
}

Result<TaskStat> task_stat_in(const std::string& folder, const KernelFiles& files) {
  const auto text = files.read(folder + "/stat");
  return text ? read_task_stat(*text) : Result<TaskStat>(text.error());
}

namespace {

/// The words between commas and white space. A comma with no word beside it gives an empty word.
std::vector<std::string> pid_words(std::string_view text) {
  std::vector<std::string> words;
  for (const std::string_view part : base::split(text, ',')) {
    std::istringstream in{std::string(part)};
    const std::size_t before = words.size();
    for (std::string word; in >> word;) words.push_back(std::move(word));
    if (words.size() == before) words.emplace_back();
  }
  return words;
}

}  // namespace

Result<std::vector<pid_t>> read_pids(std::string_view text) {
  constexpr std::size_t kMaxPids = 1024;
  constexpr std::uint64_t kMaxNumber = 1U << 22U;  // PID_MAX_LIMIT of the kernel
  std::vector<pid_t> pids;
  for (const std::string& word : pid_words(text)) {
    const auto number = base::read_digits(word);
    if (!number || *number == 0 || *number > kMaxNumber) {
      return Error(Errc::bad_argument, '"' + word + "\" is not the number of a process");
    }
    const auto pid = static_cast<pid_t>(*number);
    if (std::ranges::find(pids, pid) != pids.end()) {
      return Error(Errc::bad_argument, "process " + word + " is given twice");
    }
    pids.push_back(pid);
  }
  if (pids.size() > kMaxPids) return Error(Errc::bad_argument, "more than 1024 processes");
  return pids;
}

Result<void> check_numbers(const KernelFiles& files) {
  const std::string link = files.path("/proc/self");
  constexpr std::size_t kMaxDigits = 32;
  std::array<char, kMaxDigits> target{};
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  if (length <= 0) return {};
  const std::string_view named(target.data(), static_cast<std::size_t>(length));
  const auto number = base::read_digits(named);
  if (!number || *number == static_cast<std::uint64_t>(::getpid())) return {};
  return Error(Errc::not_supported,
               link + " names process " + std::string(named) +
                   ", but this process has the number " + std::to_string(::getpid()) +
                   ": this /proc is that of another PID namespace, where the same numbers are "
                   "those of other processes (mount a /proc of this namespace: unshare --pid "
                   "--fork --mount-proc, or mount -t proc proc /proc)");
}

bool outlives_first_thread(const TaskId& process, const KernelFiles& files) {
  constexpr std::uint64_t kIsExiting = 4;  // PF_EXITING
  const std::string folder = "/proc/" + std::to_string(process.number);
  const auto first = task_stat_in(folder, files);
  if (!first || first->start_ticks != process.start_ticks || first->state != 'Z') return false;
  const auto names = files.list(folder + "/task");
  return names && std::ranges::any_of(*names, [&](const std::string& name) {
           const std::string task = folder + "/task/" + name;
           // A thread that will die with its process has SIGKILL pending first, and then exits.
           const auto status = files.read(task + "/status");
           const auto stat = task_stat_in(task, files);
           return status && stat && !is_to_be_killed(*status) && (stat->flags & kIsExiting) == 0 &&
                  stat->state != 'Z' && stat->state != 'X';
         });
}

Result<Process> Process::open(pid_t pid, const KernelFiles& files) {
  const std::string name = "process " + std::to_string(pid);
  if (const auto checked = check_numbers(files); !checked) {
    return Error(checked.error().code, "cannot watch " + name + ": " + checked.error().message);
  }
  UniqueFd file(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!file && errno == ENOSYS) {
    return Error(Errc::not_supported, "cannot watch " + name + ": Linux 5.3 or newer is needed");
  }
  // Newer kernels return ENOENT, older ones EINVAL.
  if (!file && (errno == EINVAL || errno == ENOENT)) {
    return Error::from_errno(ESRCH, "cannot watch " + name,
                             "it is a thread: give the number of its process");
  }
  if (!file) return Error::from_errno(errno, "cannot watch " + name);
  const auto text = files.read("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return text.error();
  const auto stat = read_task_stat(*text);
  if (!stat) return Error(stat.error().code, name + ": " + stat.error().message);
  Process process({pid, stat->start_ticks}, std::move(file));
  // If the process ended before we read the file, the file may be another process's.
  if (process.has_ended()) return Error::from_errno(ESRCH, "cannot watch " + name);
  return process;
}

bool Process::has_ended() const noexcept {
  pollfd end{file_.get(), POLLIN, 0};
  return ::poll(&end, 1, 0) > 0;
}

namespace {

bool has_file(const std::string& directory, const char* file) {
  return ::access((directory + '/' + file).c_str(), F_OK) == 0;
}

std::string parent_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

Result<void> set_weight(const std::string& path, std::uint32_t weight) {
  const std::string text = std::to_string(weight);
  const UniqueFd file(::open((path + "/cpu.weight").c_str(), O_WRONLY | O_CLOEXEC));
  if (file && ::write(file.get(), text.data(), text.size()) > 0) return {};
  return Error::from_errno(
      errno, "cannot give cgroup " + path + " the weight " + text + " (cgroup_weight)",
      "its parent must pass on the controller cpu: echo +cpu >" + parent_of(path) +
          "/cgroup.subtree_control");
}

/// Tries for a moment, because the kernel may still count a process that has ended in its group.
bool removed(const std::string& path) {
  constexpr int kTries = 200;
  constexpr timespec kPause{0, 5'000'000};
  for (int i = 0; i < kTries; ++i) {
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return true;
    if (errno != EBUSY) return false;
    (void)::nanosleep(&kPause, nullptr);
  }
  errno = EBUSY;
  return false;
}

}  // namespace

std::string cgroup_path(const std::string& name) {
  std::string path;  // without double slashes, or one at its end
  for (const char each : name) {
    if (each != '/' || !path.ends_with('/')) path += each;
  }
  if (path.ends_with('/')) path.pop_back();
  static constexpr std::string_view kMount = "/sys/fs/cgroup";
  if (path.empty()) return std::string(kMount);
  if (!path.starts_with('/')) return std::string(kMount) + '/' + path;
  const auto is_group = [&] {
    return has_file(path, "cgroup.procs") || has_file(parent_of(path), "cgroup.procs");
  };
  const bool whole = (path + '/').starts_with(std::string(kMount) + '/') || is_group();
  return whole ? path : std::string(kMount) + path;
}

MadeCgroups::~MadeCgroups() {
  (void)remove();
}

Result<void> MadeCgroups::make(const Wish& wish) {
  const std::string path = cgroup_path(wish.name);
  const bool there = ::access(path.c_str(), F_OK) == 0;
  if (const auto known = made_.find(path); there && known != made_.end()) {
    known->second |= wish.stays;
    return wish.weight == 0 ? Result<void>() : set_weight(path, wish.weight);
  }
  if (there) {
    if (wish.weight == 0) return {};
    return Error(Errc::exists, "cgroup_weight: cgroup " + path +
                                   " exists already, and is somebody else's (write its cpu.weight "
                                   "yourself, name another one, or remove it with rmdir if a run "
                                   "that was killed left it)");
  }
  if (!has_file(parent_of(path), "cgroup.controllers")) return {};  // not of version 2
  if (::mkdir(path.c_str(), 0755) != 0) {
    return Error::from_errno(errno, "cannot make cgroup " + path,
                             "its parent must be yours: run as root, or under systemd-run --user "
                             "--scope -p Delegate=yes");
  }
  made_[path] = wish.stays;
  debug(Debug::place, [&] { return "made cgroup " + path; });
  return wish.weight == 0 ? Result<void>() : set_weight(path, wish.weight);
}

std::vector<std::string> MadeCgroups::remove() {
  std::vector<std::string> left;
  const auto made = std::exchange(made_, {});
  // A group must be removed before its parent. Its path sorts behind the parent's, so go backwards.
  for (auto group = made.rbegin(); group != made.rend(); ++group) {
    const std::string& path = group->first;
    if (group->second) {
      made_.emplace(path, true);  // a later run of the campaign may use it
      continue;
    }
    if (removed(path)) {
      debug(Debug::place, [&] { return "removed cgroup " + path; });
      continue;
    }
    left.push_back("cannot remove cgroup " + path + ", which the run made: " +
                   std::strerror(errno) + " (end its processes, and remove it with rmdir)");
  }
  return left;
}

}  // namespace shmif::perf
