#include "tap/guest/ids.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <seccomp.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tap/namespaces.hpp"

namespace shmif::tap {
namespace {

enum class Kind { user, group };

std::string map_path(pid_t init, Kind kind) {
  return "/proc/" + std::to_string(init) + (kind == Kind::user ? "/uid_map" : "/gid_map");
}

/// Writes a file of /proc in one write, because the kernel wants id maps that way. Result: 0, or
/// errno.
int write_once(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return errno;
  const ssize_t n = ::write(file.get(), text.data(), text.size());
  if (n == static_cast<ssize_t>(text.size())) return 0;
  return n < 0 ? errno : EIO;
}

/// A map that maps every id that exists here to itself.
std::string identity_map(Kind kind) {
  std::ifstream ours(kind == Kind::user ? "/proc/self/uid_map" : "/proc/self/gid_map");
  std::string map;
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  while (ours >> inside >> outside >> count) {
    const std::string first = std::to_string(inside);
    map.append(first).append(" ").append(first).append(" ");
    map.append(std::to_string(count)).append("\n");
  }
  return map;
}

struct Range {
  std::uint64_t first;
  std::uint64_t count;
};

/// The ranges that /etc/subuid or /etc/subgid give the caller (lines NAME:FIRST:COUNT, see
/// subuid(5)). Both files name the caller by user, not by group.
std::vector<Range> subordinate_ranges(Kind kind) {
  const passwd* const entry = ::getpwuid(::geteuid());
  const std::string name = entry != nullptr ? entry->pw_name : "";
  const std::string number = std::to_string(::geteuid());
  std::vector<Range> ranges;
  std::ifstream file(kind == Kind::user ? "/etc/subuid" : "/etc/subgid");
  for (std::string line; std::getline(file, line);) {
    std::replace(line.begin(), line.end(), ':', ' ');
    std::istringstream fields(line);
    std::string who;
    Range range{};
    if (fields >> who >> range.first >> range.count && range.count > 0 &&
        (who == name || who == number)) {
      ranges.push_back(range);
    }
  }
  return ranges;
}

/// Runs a helper of shadow-utils. Result: whether it exists and succeeded.
bool run_helper(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  // Hide the helper's messages; a note says the same in our words.
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  // If SIGCHLD is ignored, the exit status is lost. How the helper itself handles SIGCHLD does not
  // matter.
  struct sigaction plain{};
  struct sigaction before{};
  plain.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &plain, &before);
  pid_t child = -1;
  int status = -1;
  const bool started =
      ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ) == 0;
  ::posix_spawn_file_actions_destroy(&actions);
  if (started) {
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }
  ::sigaction(SIGCHLD, &before, nullptr);
  return started && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// Maps 0 to the caller, and the caller's subordinate ranges after it.
bool map_ranges(pid_t init, Kind kind, const std::vector<Range>& ranges) {
  if (ranges.empty()) return false;
  const bool user = kind == Kind::user;
  std::vector<std::string> words{user ? "newuidmap" : "newgidmap", std::to_string(init), "0",
                                 std::to_string(user ? ::geteuid() : ::getegid()), "1"};
  std::uint64_t inside = 1;
  for (const Range& range : ranges) {
    for (const std::uint64_t n : {inside, range.first, range.count}) {
      words.push_back(std::to_string(n));
    }
    inside += range.count;
  }
  return run_helper(words);
}

/// Maps only 0, to the caller.
Result<void> map_single(pid_t init, Kind kind) {
  if (kind == Kind::group) {
    // Without this, an ordinary user may not map a group. Only kernels before Linux 3.19 lack the
    // file.
    (void)write_once("/proc/" + std::to_string(init) + "/setgroups", "deny");
  }
  const unsigned id = kind == Kind::user ? ::geteuid() : ::getegid();
  const int number = write_once(map_path(init, kind), "0 " + std::to_string(id) + " 1\n");
  if (number == 0) return {};
  const std::string what = "cannot map the ids of a user namespace";
  if (number == ENOENT && ::access("/proc/self/uid_map", F_OK) != 0) {
    return Error::from_errno(number, what, "/proc must be mounted for this");
  }
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self", failed);
  if (self != std::to_string(::getpid())) {
    return Error(Errc::not_supported,
                 what +
                     ": /proc is that of another pid namespace (mount one for this: mount -t "
                     "proc proc /proc)");
  }
  if (number != EPERM && number != EACCES) return Error::from_errno(number, what);
  return Error(Errc::not_supported,
               Error::from_errno(number, what, why_no_namespaces(number)).message);
}

struct FilterDeleter {
  void operator()(scmp_filter_ctx context) const noexcept { ::seccomp_release(context); }
};
using FilterPtr = std::unique_ptr<void, FilterDeleter>;

/// The architectures of programs that this machine can run, and that are filtered: x86-64 has two
/// companions. A program of another architecture runs unfiltered, which is better than not at all.
std::vector<std::uint32_t> filtered_architectures() {
  std::vector<std::uint32_t> all{::seccomp_arch_native()};
  if (all.front() == SCMP_ARCH_X86_64) all.insert(all.end(), {SCMP_ARCH_X86, SCMP_ARCH_X32});
  return all;
}

Result<FilterPtr> filter_for(const std::vector<std::uint32_t>& architectures) {
  FilterPtr filter(::seccomp_init(SCMP_ACT_ALLOW));
  if (!filter) return Error::from_errno(ENOMEM, "cannot make a seccomp filter");
  (void)::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
  (void)::seccomp_arch_remove(filter.get(), SCMP_ARCH_NATIVE);
  for (const std::uint32_t each : architectures) {
    if (const int e = ::seccomp_arch_add(filter.get(), each); e < 0) {
      return Error::from_errno(-e, "cannot make a seccomp filter");
    }
  }
  return filter;
}

Result<void> load(const FilterPtr& filter) {
  if (const int e = ::seccomp_load(filter.get()); e < 0) {
    return Error::from_errno(-e, "cannot load a seccomp filter (the host has a single user id)");
  }
  return {};
}

/// If 0 is the only id: makes chown and similar calls return 0 without effect if they name an id
/// that does not exist. Some daemons give their directories to the user whose ids they pretend to
/// take; with this they go on. Calls that are not allowed to that only id fail as always.
Result<void> pretend_to_give_away(std::uint32_t architecture) {
  auto filter = filter_for({architecture});
  if (!filter) return std::move(filter).error();
  struct Call {
    int number;
    unsigned owner;  ///< which argument is the user; the next is the group
  };
  // If an architecture lacks one of these calls, it has no rule for the call.
  constexpr std::array<Call, 7> kCalls{{{SCMP_SYS(chown), 1},
                                        {SCMP_SYS(fchown), 1},
                                        {SCMP_SYS(lchown), 1},
                                        {SCMP_SYS(fchownat), 2},
                                        {SCMP_SYS(chown32), 1},
                                        {SCMP_SYS(fchown32), 1},
                                        {SCMP_SYS(lchown32), 1}}};
  // 0 is an id that exists, and -1 means "unchanged". Every other id below 2^31 has at least one
  // bit set, and the highest bit clear. There is a rule per bit, because a rule can compare an
  // argument only once.
  constexpr unsigned kHighest = 31;
  for (const Call& call : kCalls) {
    for (const unsigned argument : {call.owner, call.owner + 1}) {
      for (unsigned bit = 0; bit < kHighest; ++bit) {
        const std::uint64_t one = std::uint64_t{1} << bit;
        const scmp_arg_cmp names_other{argument, SCMP_CMP_MASKED_EQ,
                                       one | std::uint64_t{1} << kHighest, one};
        const int e = ::seccomp_rule_add_array(filter->get(), SCMP_ACT_ERRNO(0), call.number, 1,
                                               &names_other);
        if (e < 0) return Error::from_errno(-e, "cannot make a seccomp filter");
      }
    }
  }
  return load(*filter);
}

}  // namespace

Result<GuestIds> map_guest_ids(pid_t init) {
  GuestIds ids;
  const bool root = ::geteuid() == 0;
  const std::vector<Range> users = root ? std::vector<Range>{} : subordinate_ranges(Kind::user);
  const std::vector<Range> groups = root ? std::vector<Range>{} : subordinate_ranges(Kind::group);
  const bool ranged = !users.empty() && !groups.empty();
  for (const Kind kind : {Kind::user, Kind::group}) {
    const bool all = root ? write_once(map_path(init, kind), identity_map(kind)) == 0
                          : ranged && map_ranges(init, kind, kind == Kind::user ? users : groups);
    if (all) continue;
    ids.single = true;
    if (auto mapped = map_single(init, kind); !mapped) return std::move(mapped).error();
  }
  if (ids.single && ranged) {
    ids.notes.emplace_back(
        "the ranges of /etc/subuid and /etc/subgid cannot be used (newuidmap and newgidmap failed "
        "or are missing; Debian has them in the package uidmap): root is the only user in the "
        "host");
  }
  return ids;
}

Result<void> pretend_to_change_ids() {
  const std::vector<std::uint32_t> architectures = filtered_architectures();
  const auto filter = filter_for(architectures);
  if (!filter) return filter.error();
  static constexpr std::array<int, 18> kCalls{
      SCMP_SYS(setgroups),  SCMP_SYS(setuid),      SCMP_SYS(setgid),      SCMP_SYS(setreuid),
      SCMP_SYS(setregid),   SCMP_SYS(setresuid),   SCMP_SYS(setresgid),   SCMP_SYS(setfsuid),
      SCMP_SYS(setfsgid),   SCMP_SYS(setgroups32), SCMP_SYS(setuid32),    SCMP_SYS(setgid32),
      SCMP_SYS(setreuid32), SCMP_SYS(setregid32),  SCMP_SYS(setresuid32), SCMP_SYS(setresgid32),
      SCMP_SYS(setfsuid32), SCMP_SYS(setfsgid32)};
  for (const int call : kCalls) {
    if (const int e = ::seccomp_rule_add(filter->get(), SCMP_ACT_ERRNO(0), call, 0); e < 0) {
      return Error::from_errno(-e, "cannot make a seccomp filter");
    }
  }
  if (auto loaded = load(*filter); !loaded) return loaded;
  // One filter for each architecture: together they would be longer than the kernel allows.
  for (const std::uint32_t each : architectures) {
    if (auto done = pretend_to_give_away(each); !done) return done;
  }
  return {};
}

}  // namespace shmif::tap
