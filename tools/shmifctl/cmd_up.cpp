// shmifctl up: runs a lab.

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "tools/common/options.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/results.hpp"
#include "tools/lab/run.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

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
  if (options.results.empty()) throw UsageError{"--artifacts \"\" names no folder (give one)"};
  const std::string keep = args.text("keep").value_or("failed");
  if (keep != "failed" && keep != "always") {
    throw UsageError{"--keep \"" + keep + "\" is neither failed nor always"};
  }
  options.keep_results = keep == "always";
  if (const auto junit = args.text("junit")) {
    if (junit->empty()) throw UsageError{"--junit \"\" names no file (give one)"};
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

}  // namespace

const Command kUpCommand{"up", "run a lab", run_up};

}  // namespace shmif::tools
