// shmifctl check, up, down: whether the file of a lab is right; runs the lab; ends it.

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/lab_run.hpp"
#include "tools/lab/results.hpp"
#include "tools/lab/state.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

Json json_of_lab(const Lab& lab, const LabProblems& problems) {
  Json json;
  json["file"] = lab.file;
  json["errors"] = problems.errors();
  json["warnings"] = problems.warnings();
  json["problems"] = Json::array();
  for (const LabProblem& each : problems.sorted()) {
    Json& row = json["problems"].emplace_back();
    row["line"] = each.place.line;
    row["column"] = each.place.column;
    row["severity"] = each.is_error ? "error" : "warning";
    row["text"] = each.text;
  }
  json["lab"] = lab.name;
  json["buses"] = Json::array();
  for (const LabBus& bus : lab.buses) {
    json["buses"].push_back({{"name", bus.name}, {"path", bus.path}, {"mtu", bus.options.mtu}});
  }
  json["hosts"] = Json::array();
  for (const LabHost& host : lab.hosts) {
    Json& row = json["hosts"].emplace_back();
    row["name"] = host.name;
    row["interfaces"] = Json::array();
    for (const LabInterface& interface : host.interfaces) {
      Json& line = row["interfaces"].emplace_back();
      line["bus"] = interface.bus.value;
      line["addresses"] = Json::array();
      for (const auto& each : interface.addresses) {
        line["addresses"].push_back(each.value.to_string());
      }
    }
  }
  return json;
}

int run_check(const CommandLine& line) {
  const Arguments args =
      Options("check", "FILE")
          .about(
              R"(Checks the file of a lab and runs nothing. Prints everything that is wrong, each
                 with its line and column, and exits 1 if there is an error. docs/labs.md
                 describes the file, and docs/lab.schema.json is its JSON schema, for editors.)")
          .flag("json", "print what is wrong, and the hosts with their addresses, as JSON")
          .example("shmifctl check three.toml", "is the file right?")
          .example("shmifctl check three.toml --json | jq -r '.hosts[].name'",
                   "the names of all hosts, also those of a count")
          .parse(line);
  LabProblems problems;
  const Lab lab = load_lab(args.positional()[0], problems).value();
  if (args.flag("json")) {
    const std::string text = json_text(json_of_lab(lab, problems));
    std::fwrite(text.data(), 1, text.size(), stdout);
  } else {
    for (const LabProblem& each : problems.sorted()) {
      std::fprintf(stderr, "%s\n", to_text(lab.file, each).c_str());
    }
  }
  if (problems.errors() != 0) {
    return fail("the lab " + lab.file + " has " + base::counted(problems.errors(), "error"));
  }
  if (!args.flag("json")) {
    std::printf("%s: lab %s has %s on %s\n", lab.file.c_str(), lab.name.c_str(),
                base::counted(lab.hosts.size(), "host").c_str(),
                base::counted(lab.buses.size(), "bus", "buses").c_str());
  }
  return kDone;
}

Arguments read_up_line(const CommandLine& line) {
  return Options("up", "FILE")
      .about(
          R"(Runs a lab: makes its buses, starts its captures, gateways and hosts, and waits until
             every host is ready. If one does not start, takes everything down again and says
             why. docs/labs.md describes the file.

             Then what the file says under "at" happens, its runs of shmifperf begin, and its test
             runs. The exit code is that of the test; or 1 if the test passed, but a host or a
             run of shmifperf failed, or an event could not be applied. A lab without a test runs
             until its runs of shmifperf have ended, or, if it has none, its programs, or until
             Ctrl-C; a second Ctrl-C kills what has not ended.

             Lines of output begin with the host's name. Logs, captures, reports of shmifperf and
             timeline.jsonl, which says what happened when, are in a folder. If a test has run
             and passed, the folder is removed.

             If this command is killed, the kernel ends all processes of the lab, and the buses
             are removed.)")
      .flag("detach",
            "return when the lab is ready; it runs on until 'shmifctl down'. Runs no test")
      .value("seed", "N",
             R"(each line with faults that has no seed of its own gets one that follows from N and
                the names of host and bus: the same N gives the same losses)")
      .value("artifacts", "DIR", "the folder for logs and captures (default: LAB.out)")
      .value("keep", "failed|always",
             "whether to keep that folder if the test passed (default: failed)")
      .value("junit", "FILE",
             R"(write a report in JUnit's XML: a case for the test, for each host, for each run of
                shmifperf, and for each event; and a failed one, "up", for a lab that did not
                become ready. A report of an earlier run is removed first. A bus, the lab's file,
                and other files that the lab reads or writes are not replaced)")
      .value("time-limit", "SECONDS", "end the lab after that time, with exit code 124")
      .flag("stdio",
            R"(for labs on several machines: 'shmifctl up' on the first machine runs this by ssh
               on the others. It reads from standard input what to start)")
      .example("shmifctl up three.toml", "run the lab, and its test if it has one")
      .example("shmifctl up three.toml --detach\n  shmifctl down three.toml",
               "run it in the background, and end it")
      .example("shmifctl up three.toml --junit report.xml --artifacts out --time-limit 2m",
               "a lab as a test in CI")
      .parse(line);
}

LabRunOptions run_options(const Arguments& args, const Lab& lab) {
  LabRunOptions options;
  options.seed = args.count("seed");
  options.results = args.text("artifacts").value_or(lab.name + ".out");
  const std::string keep = args.text("keep").value_or("failed");
  if (keep != "failed" && keep != "always") {
    throw UsageError{"--keep \"" + keep + "\" is neither failed nor always"};
  }
  options.keep_results = keep == "always";
  if (const auto junit = args.text("junit")) {
    if (*junit == "-") {
      throw UsageError{
          "--junit -: standard output has the output of the hosts (give a file; ./- is one of that "
          "name)"};
    }
    std::error_code ignored;
    options.junit = std::filesystem::absolute(*junit, ignored).string();
  }
  options.time_limit = args.seconds("time-limit");
  if (options.time_limit) {
    options.time_limit_text = *args.text("time-limit");
    if (options.time_limit_text.find_first_not_of("0123456789.") == std::string::npos) {
      options.time_limit_text += " s";
    }
  }
  return options;
}

/// In the process that runs a detached lab: no terminal, and none of its signals.
int run_detached(const Lab& lab, LabRunOptions options, UniqueFd news) {
  ::setsid();
  std::signal(SIGPIPE, SIG_IGN);
  const UniqueFd none(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!none || ::dup2(none.get(), STDIN_FILENO) < 0)
    throw Exception(Error::from_errno(errno, "cannot leave the terminal"));
  const StopSignals stop;
  options.news = &news;
  return run_lab(lab, options, stop);
}

int detach(const Lab& lab, const LabRunOptions& options) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw Exception(Error::from_errno(errno, "cannot make a pipe"));
  }
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) throw Exception(Error::from_errno(errno, "cannot start a process for the lab"));
  if (pid == 0) {
    read_end.reset();
    return run_detached(lab, options, std::move(write_end));
  }
  write_end.reset();
  unsigned char code = kFailed;
  ssize_t n = 0;
  do {
    n = ::read(read_end.get(), &code, 1);
  } while (n < 0 && errno == EINTR);
  if (n == 1 && code == kDone) return kDone;
  int status = 0;  // it has failed, and takes the lab down
  ::waitpid(pid, &status, 0);
  if (n == 1) return code;
  return WIFEXITED(status) && WEXITSTATUS(status) != kDone ? WEXITSTATUS(status) : kFailed;
}

int run_up(const CommandLine& line) {
  const Arguments args = read_up_line(line);
  if (args.flag("stdio")) {
    for (const char* const other : {"detach", "seed", "artifacts", "keep", "junit", "time-limit"}) {
      if (args.given(other)) {
        throw UsageError{std::string("--") + other +
                         " is not for --stdio, which another 'shmifctl up' uses"};
      }
    }
    return run_far_lab();
  }
  LabProblems problems;
  const Lab lab = load_lab(args.positional()[0], problems).value();
  const LabRunOptions options = run_options(args, lab);
  const std::vector<std::string> others = files_of_lab(lab, options.results);
  if (!options.junit.empty()) remove_junit(options.junit, others);  // it is not one of this run
  std::string texts;
  for (const LabProblem& each : problems.sorted()) texts += to_text(lab.file, each) + '\n';
  std::fputs(texts.c_str(), stderr);
  if (problems.errors() != 0) {
    const std::string why =
        "the lab " + lab.file + " has " + base::counted(problems.errors(), "error");
    if (!options.junit.empty()) {
      const auto written = write_junit(options.junit, lab.name, {{"up", why, 0, texts}}, 0, others);
      if (!written) complain(written.error().message);
    }
    return fail(why);
  }
  if (args.flag("detach")) {
    if (!options.junit.empty()) throw UsageError{"--junit needs the test: leave --detach out"};
    return detach(lab, options);
  }
  std::signal(SIGPIPE, SIG_IGN);
  const StopSignals stop;
  stop.bound_writes();
  return run_lab(lab, options, stop);
}

using DownClock = std::chrono::steady_clock;

/// The guardian removes files only.
constexpr std::chrono::nanoseconds kTimeForGuardian = std::chrono::seconds(5);
constexpr int kLockLookMs = 20;

/// Whether a word means a file, and not the name of a lab that there is.
bool names_file(const std::string& word) {
  std::error_code failed;
  return word.find('/') != std::string::npos || word.ends_with(".toml") ||
         (!find_lab(word) && std::filesystem::is_regular_file(word, failed));
}

/// Waits for the end of a process. Result: false if the time was up, or a signal came.
bool wait_for_lab_end(const UniqueFd& process, std::chrono::nanoseconds at_most,
                      const StopSignals& stop, const std::string& name) {
  const DownClock::time_point end = DownClock::now() + at_most;
  Progress progress;
  for (;;) {
    pollfd entries[2] = {{process.get(), POLLIN, 0}, {stop.descriptor(), POLLIN, 0}};
    ::poll(entries, 2, 100);
    if (entries[0].revents != 0) return true;
    if (stop.stopped() || DownClock::now() >= end) return false;
    if (progress.due()) progress.show("waiting for the lab " + name + " to end");
  }
}

/// A controller that was killed before it wrote its state has left only its lock.
void remove_stray_locks(const std::string& name) {
  for (const std::string& folder : lab_state_folders()) {
    std::error_code failed;
    const std::filesystem::path lock_file = std::filesystem::path(folder) / (name + ".lock");
    if (!is_own_folder(folder) || !std::filesystem::exists(lock_file, failed)) continue;
    const auto lock = LabLock::take(folder, name);
    if (lock && *lock && !read_lab_state(folder, name)) remove_lab(folder, {name, {}, {}});
  }
}

/// Takes the lock of a lab whose controller has ended. Its guardian may have it for a moment.
/// Result: empty if a signal came. Throws if another process keeps it.
std::optional<LabLock> lock_of_ended_lab(const FoundLab& lab, std::chrono::nanoseconds at_most,
                                         const StopSignals& stop) {
  const std::string& name = lab.state.name;
  const DownClock::time_point end = DownClock::now() + std::max(at_most, kTimeForGuardian);
  Progress progress;
  for (;;) {
    Result<std::optional<LabLock>> lock = LabLock::take(lab.folder, name);
    if (!lock || *lock) return std::move(lock).value();
    if (stop.stopped()) return std::nullopt;
    if (DownClock::now() >= end) {
      const pid_t holder = LabLock::holder(lab.folder, name).pid;
      std::string why = "cannot remove what the lab ";
      why.append(name).append(" has left: ");
      why += holder > 0 ? "process " + std::to_string(holder) : "another process";
      why.append(" has locked ").append(lab.folder).append("/").append(name);
      why += ".lock (end it, or wait longer with --timeout)";
      throw Exception(Error(Errc::busy, why));
    }
    if (progress.due()) progress.show("waiting for the lock of the lab " + name);
    stop.wait(kLockLookMs);
  }
}

/// Root sees labs of other users, and might mean one of them.
std::string hint_at_others(const std::string& name) {
  for (const FoundLab& each : find_labs()) {
    if (each.own || each.state.name != name) continue;
    return " (user " + base::printable(each.user) +
           " has a lab of that name, which only that user ends)";
  }
  return {};
}

int run_down(const CommandLine& line) {
  const Arguments args =
      Options("down", "FILE|LAB")
          .about(
              R"(Ends a lab, and returns when its programs have ended and its buses are removed.
                 Also removes what a killed lab has left. If there is nothing to do, says so and
                 exits 0, so it can be repeated. FILE also means the lab that was started from it
                 when the file had another name. A running lab of the same name that is of another
                 file is ended only by its name.)")
          .value("timeout", "SECONDS",
                 "how long to wait, before the lab's programs are killed (default 10)")
          .example("shmifctl down three.toml", "end the lab of that file")
          .example("shmifctl down three", "the same, by its name ('shmifctl ls' lists them)")
          .parse(line);
  const std::string& word = args.positional()[0];
  if (word.empty()) throw UsageError{"\"\" names no lab (give its file or its name)"};
  const bool is_file = names_file(word);
  const std::string name_now = is_file ? name_of_lab_file(word) : word;
  const std::chrono::nanoseconds patience =
      args.seconds("timeout").value_or(std::chrono::seconds(10));
  const StopSignals stop;
  const auto found = is_file ? find_lab_of_file(word, name_now).value() : find_lab(name_now);
  const std::string name = found ? found->state.name : name_now;
  if (!found) {
    remove_stray_locks(name);
    std::fprintf(stderr, "%s: the lab %s is not up%s\n", program_name(),
                 base::printable(name).c_str(), hint_at_others(name).c_str());
    return kDone;
  }
  if (const UniqueFd controller = open_controller(found->folder, found->state)) {
    if (is_file && !is_of_file(found->state, word)) {
      return fail("cannot end the lab of " + word + ": the lab " + name + " that is up is of " +
                  found->state.file + " (" + base::quote_command("shmifctl down", name) +
                  " ends that one)");
    }
    ::syscall(SYS_pidfd_send_signal, controller.get(), SIGTERM, nullptr, 0);
    if (!wait_for_lab_end(controller, patience, stop, name)) {
      if (stop.stopped()) return kEndedBySignal + stop.signal();
      // The kernel ends its children with it, and the lock is free then.
      ::syscall(SYS_pidfd_send_signal, controller.get(), SIGKILL, nullptr, 0);
      wait_for_lab_end(controller, std::chrono::seconds(10), stop, name);
    }
  }
  if (found->alive && found->pid == 0) {
    return fail("cannot end the lab " + name + ": its process is in another pid namespace (" +
                base::quote_command("shmifctl down", name) + " ends it there)");
  }
  const auto lock = lock_of_ended_lab(*found, patience, stop);
  if (!lock) return kEndedBySignal + stop.signal();
  if (const auto left = read_lab_state(found->folder, name)) {
    if (left->pid == found->state.pid && left->started == found->state.started) {
      for (const std::string& each : remove_lab(found->folder, *left)) complain(each);
    }
  } else {
    remove_lab(found->folder, {name, {}, {}});
  }
  return kDone;
}

}  // namespace

const Command kCheckCommand{"check", "check the file of a lab", run_check};
const Command kUpCommand{"up", "run a lab", run_up};
const Command kDownCommand{"down", "end a lab", run_down};

}  // namespace shmif::tools
