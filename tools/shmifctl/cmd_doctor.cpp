// shmifctl doctor: what works on this machine, and what to do about the rest.

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tap/namespaces.hpp"
#include "tap/netns.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/lab/host_words.hpp"
#include "tools/shmifctl/commands.hpp"

extern char** environ;

namespace shmif::tools {

namespace {

enum class Health : std::uint8_t {
  works,
  limited,  ///< something that not everybody needs does not work
  fails,    ///< buses or hosts do not work
};

/// What was tried.
struct Finding {
  const char* subject;  ///< a word: "buses"
  Health health;
  std::string text;    ///< what works, or why it does not
  std::string remedy;  ///< what to do; empty if nothing need be done
};

constexpr std::chrono::seconds kHostPatience(10);
constexpr std::uint64_t kLittleRoom = 64U << 20U;  // what Docker gives a container's /dev/shm

/// A bus of the checkup. The destructor removes it.
class TrialBus {
 public:
  explicit TrialBus(const std::string& folder)
      : path_(folder + "/shmif-doctor-" + std::to_string(::getpid())) {
    BusOptions options;
    options.ring_bytes = 64U << 10U;
    made_ = Bus::create(path_, options);
  }
  TrialBus(const TrialBus&) = delete;
  TrialBus& operator=(const TrialBus&) = delete;
  ~TrialBus() {
    if (made_) (void)Bus::destroy(path_, true);
  }
  const Result<void>& made() const noexcept { return made_; }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  Result<void> made_;
};

/// Sends a frame from one port to another. Result: an error's message; empty if it arrived.
std::string carry_a_frame(const std::string& path) {
  Port from;
  Port to;
  for (Port* const port : {&from, &to}) {
    if (const auto attached = port->attach(path); !attached) return attached.error().message;
    if (const std::error_code error = port->up()) return error.message();
  }
  std::array<std::byte, 60> frame{};
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{0x02};
  const FrameView view(frame.data(), frame.size());
  if (const std::error_code error = from.send({&view, 1}).error) return error.message();
  FrameBatch batch;
  const ReceiveResult received = to.receive(batch);
  if (received.error) return received.error.message();
  return received.frames == 1 ? "" : "a frame that was sent did not arrive";
}

Finding check_buses(const std::string& folder, const TrialBus& bus) {
  const char* const remedy =
      "a folder on a tmpfs that you may write to: 'shmifctl doctor FOLDER' tries another";
  if (!bus.made()) return {"buses", Health::fails, bus.made().error().message, remedy};
  if (const std::string why = carry_a_frame(bus.path()); !why.empty()) {
    return {"buses", Health::fails, why, remedy};
  }
  struct statvfs room{};
  const std::string works = "a bus in " + folder + " carried a frame";
  if (::statvfs(folder.c_str(), &room) != 0) return {"buses", Health::works, works, ""};
  const std::uint64_t free = static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize;
  const std::string text = works + "; " + format_bytes(free) + " are free";
  if (free >= kLittleRoom) return {"buses", Health::works, text, ""};
  return {"buses", Health::limited, text,
          "a bus takes 4 MiB unless 'create --size' says less; a container gets more by "
          "--shm-size=1g"};
}

/// How a program ended, and the last line that it printed.
struct ProgramEnd {
  int status = -1;  ///< the exit code; -1: it was ended after its time, or did not start
  std::string last_line;
};

ProgramEnd run_quietly(std::vector<std::string> words, std::chrono::milliseconds patience) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {-1, std::strerror(errno)};
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), 2);
  pid_t pid = -1;
  const int failure = ::posix_spawn(&pid, pointers[0], &actions, nullptr, pointers.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return {-1, words[0] + ": " + std::strerror(failure)};
  writing.reset();
  std::string output;
  const auto until = std::chrono::steady_clock::now() + patience;
  bool late = false;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    pollfd ready{.fd = reading.get(), .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) == 0) {
      late = true;
      break;
    }
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(reading.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    output.append(bytes.data(), static_cast<std::size_t>(count));
  }
  // It ends the host that it has started before it ends itself.
  if (late) ::kill(pid, SIGTERM);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  while (output.ends_with('\n')) output.pop_back();
  const std::string last = output.substr(output.rfind('\n') + 1);
  if (late) return {-1, "it has not ended after its time. " + last};
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, last};
}

Finding check_hosts(const std::string& shmifctl, const TrialBus& bus) {
  if (!bus.made()) return {"hosts", Health::fails, "not tried without a bus", ""};
  const ProgramEnd end = run_quietly({shmifctl, "exec", bus.path(), "--name", "doctor", "--ip",
                                      "198.18.0.1/15", "--", "/bin/sh", "-c", "exit 0"},
                                     kHostPatience);
  if (end.status == 0) {
    return {"hosts", Health::works,
            ::geteuid() == 0 ? "exec started a program as a host, as root"
                             : "exec started a program as a host, as an ordinary user",
            ""};
  }
  return {"hosts", Health::fails,
          end.last_line.empty() ? "exec failed and did not say why" : end.last_line,
          "see the lines about namespaces and tun"};
}

Finding check_namespaces() {
  if (!tap::NetNamespace::create()) {
    return {"namespaces", Health::fails, "no network namespace can be made",
            tap::why_no_namespaces()};
  }
  return {"namespaces", Health::works, "a new network namespace was made", ""};
}

/// exec makes veth pairs where the device is missing.
Finding check_tun(bool hosts_work) {
  const UniqueFd device(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (device) return {"tun", Health::works, "/dev/net/tun can be opened", ""};
  const int number = errno;
  const char* remedy = "as root: chmod 0666 /dev/net/tun";
  if (number == ENOENT) {
    remedy = "as root: modprobe tun; in a container: --device /dev/net/tun";
  } else if (number == ENODEV || number == ENXIO) {
    remedy = "as root: modprobe tun";
  } else if (number == EPERM) {
    remedy = "in a container: --device /dev/net/tun";
  }
  const std::string text = std::string("/dev/net/tun: ") + std::strerror(number);
  if (!hosts_work) return {"tun", Health::fails, text, remedy};
  return {"tun", Health::limited, text + "; hosts work by veth pairs, tap does not work", remedy};
}

Finding check_proc() {
  if (!std::filesystem::exists("/proc/self/maps")) {
    return {"proc", Health::fails, "/proc is not mounted", "as root: mount -t proc proc /proc"};
  }
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    const auto words = base::split(line, ' ');
    if (words.size() < 4 || words[1] != "/proc") continue;
    const std::string options(words[3]);
    const auto at = options.find("hidepid=");
    if (at == std::string::npos || options.substr(at + 8, 1) == "0" ||
        options.substr(at + 8, 3) == "off") {
      break;
    }
    return {"proc", Health::limited, "/proc hides the processes of other users (hidepid)",
            "ps, stop and ls show your own only; as root they show all"};
  }
  return {"proc", Health::works, "/proc shows processes", ""};
}

Finding check_seccomp() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("Seccomp:")) continue;
    if (line.find_first_of("12") == std::string::npos) break;
    return {"seccomp", Health::limited, "a filter is in force, as in a container",
            "if a line above fails: --security-opt seccomp=unconfined"};
  }
  return {"seccomp", Health::works, "no filter is in force", ""};
}

bool is_in_path(const std::string& name) {
  const char* const path = std::getenv("PATH");
  for (const std::string_view folder :
       base::split(std::string(path == nullptr ? "" : path) + ":/usr/sbin:/sbin", ':')) {
    if (::access((std::string(folder) + '/' + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

Finding check_groups() {
  LabHost host;
  host.name = "doctor";
  host.memory_bytes = 64U << 20U;
  host.cpus = 1;
  const auto groups = make_lab_groups("doctor-" + std::to_string(::getpid()), host);
  if (!groups) {
    return {
        "limits", Health::limited, groups.error().message,
        std::string("labs run, but without the limits 'memory' and 'cpu' of a host: 'shmifctl up' "
                    "warns and goes on; ") +
            (is_in_path("systemd-run")
                 ? "as an ordinary user: "
                   "systemd-run --user --scope -p Delegate=yes shmifctl up FILE"
                 : "the limits need root, or a control group that was given to this user")};
  }
  for (const std::string& each : *groups) ::rmdir(each.c_str());
  return {"limits", Health::works, "a lab can limit the memory and CPUs of a host", ""};
}

Finding check_files() {
  constexpr rlim_t kFewFiles = 256;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const std::string text =
      "a program may open " +
      (files.rlim_cur == RLIM_INFINITY ? "any number of" : std::to_string(files.rlim_cur)) +
      " files";
  if (files.rlim_cur >= kFewFiles) return {"files", Health::works, text, ""};
  return {"files", Health::limited, text, "ulimit -n 1024"};
}

Finding check_programs() {
  struct Helper {
    const char* program;
    const char* package;
    const char* use;
  };
  constexpr std::array kHelpers{
      Helper{"newuidmap", "uidmap", "hosts with more than one user"},
      Helper{"ssh", "openssh-client", "uplink --ssh and machines of labs"},
      Helper{"bgpd", "frr", "uplink --evpn"},
      Helper{"tcpdump", "tcpdump", "captures in hosts"},
  };
  std::string missing;
  std::string packages;
  for (const Helper& each : kHelpers) {
    if (is_in_path(each.program) ||
        ::access((std::string("/usr/lib/frr/") + each.program).c_str(), X_OK) == 0) {
      continue;
    }
    missing += (missing.empty() ? "" : ", ") + std::string(each.program) + " (" + each.use + ")";
    packages += std::string(" ") + each.package;
  }
  if (missing.empty()) return {"programs", Health::works, "all that commands can use are here", ""};
  return {"programs", Health::limited, "not here: " + missing, "apt-get install" + packages};
}

/// Tries a bus in `folder`, a host on it, namespaces, the TUN device, /proc, seccomp filters,
/// control groups, limits, and which programs of others are there. `shmifctl`: the program that
/// runs the host. Leaves nothing behind. Threads: one at a time. Blocks: while a host starts and
/// ends, at most ten seconds.
std::vector<Finding> check_machine(const std::string& folder, const std::string& shmifctl) {
  std::vector<Finding> found;
  {
    const TrialBus bus(folder);
    found.push_back(check_buses(folder, bus));
    found.push_back(check_hosts(shmifctl, bus));
  }
  const bool hosts_work = found.back().health == Health::works;
  found.push_back(check_namespaces());
  found.push_back(check_tun(hosts_work));
  for (const auto check : {check_proc, check_seccomp, check_groups, check_files, check_programs}) {
    found.push_back(check());
  }
  return found;
}

/// "ok", "limited" or "FAILS".
const char* to_string(Health health) noexcept {
  switch (health) {
    case Health::works: return "ok";
    case Health::limited: return "limited";
    case Health::fails: return "FAILS";
  }
  return "?";
}

std::string doctor_json(const std::vector<Finding>& findings) {
  Json json;
  json["findings"] = Json::array();
  for (const Finding& each : findings) {
    Json& row = json["findings"].emplace_back();
    row["subject"] = each.subject;
    row["health"] = each.health == Health::fails ? "fails" : to_string(each.health);
    row["text"] = each.text;
    if (each.remedy.empty()) {
      set_null(row, "remedy", "nothing need be done");
    } else {
      row["remedy"] = each.remedy;
    }
  }
  return json_text(std::move(json));
}

int run_doctor(const CommandLine& line) {
  const Arguments args =
      Options("doctor", "[FOLDER]")
          .about(
              R"(Tries what shmifctl needs, and says in a line for each what works on this machine:
                 a bus in FOLDER (default: /dev/shm), a program as a host on it, network
                 namespaces, the TUN device, /proc, seccomp filters, control groups for the limits
                 of labs, open files, and programs of others that some commands use. After an
                 arrow stands what to do.

                 Exits with 0 if buses and hosts work, also if something else is limited, and
                 with 1 if they do not. Leaves nothing behind.)")
          .words(0, 1)
          .flag("json", "print JSON, for scripts")
          .example("shmifctl doctor", "what works here")
          .example("shmifctl doctor /tmp", "whether buses in /tmp work")
          .example("shmifctl doctor --json | jq -r '.findings[] | select(.health == \"fails\")'",
                   "what does not work, for scripts")
          .parse(line);
  const std::vector<Finding> findings = check_machine(
      args.positional().empty() ? "/dev/shm" : args.positional()[0], "/proc/self/exe");
  if (args.flag("json")) {
    const std::string text = doctor_json(findings);
    std::fwrite(text.data(), 1, text.size(), stdout);
  } else {
    for (const Finding& each : findings) {
      std::printf("%-8s %-11s %s%s%s\n", to_string(each.health), each.subject,
                  base::printable(each.text).c_str(), each.remedy.empty() ? "" : " -> ",
                  each.remedy.c_str());
    }
  }
  return std::ranges::any_of(findings,
                             [](const Finding& each) { return each.health == Health::fails; })
             ? kFailed
             : kDone;
}

}  // namespace

const Command kDoctorCommand{"doctor", "say what works on this machine, and what to do",
                             run_doctor};

}  // namespace shmif::tools
