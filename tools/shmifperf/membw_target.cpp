#include "tools/shmifperf/membw_target.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <thread>
#include <utility>

#include "base/quantity.hpp"
#include "instruments/membw/fill_load.hpp"
#include "instruments/watch/clock.hpp"
#include "tools/common/command.hpp"
#include "tools/shmifperf/watched.hpp"

namespace shmif::tools {

namespace {

using SteadyClock = std::chrono::steady_clock;
using Woken = perf::MembwHooks::Woken;

perf::ChildOptions child_of(const Arguments& args) {
  perf::ChildOptions child;
  child.own_group = true;
  // Otherwise its first read from the terminal would stop it.
  child.no_input = ::isatty(STDIN_FILENO) == 1;
  child.output = args.text("program-output").value_or("");
  if (const auto cpu = args.count("cpu", 0, 65535)) child.cpu = static_cast<int>(*cpu);
  child.argv = args.program();
  const auto load = args.text("load");
  if (!load) return child;
  if (child.output.empty()) child.output = "/dev/null";
  return child;
}

perf::FillOptions load_of(const Arguments& args) {
  auto options = perf::read_fill_load(*args.text("load"));
  if (!options) throw UsageError{"--load " + options.error().message};
  if (args.given("cpu")) options->threads = 1;
  perf::check_fill(*options).value();
  for (const char* const several : {"sweep", "interval"}) {
    if (options->once && args.given(several)) {
      throw UsageError{std::string("--") + several +
                       " needs more than one sample, and with \"once\" the load makes one round, "
                       "which is the only sample (leave out \"once\")"};
    }
  }
  if (options->once && args.count("samples", 1, UINT64_MAX).value_or(1) != 1) {
    throw UsageError{
        "--samples: with \"once\" the load makes one round, which is the only sample (leave out "
        "\"once\")"};
  }
  return *options;
}

/// The command line of the process that makes the load.
std::vector<std::string> load_argv(const perf::FillOptions& load, const std::string& counts,
                                   std::chrono::nanoseconds longest) {
  return {"/proc/self/exe", "membw", "--fill", base::time_text(longest),
          "--fill-counts",  counts,  "--load", perf::fill_load_text(load)};
}

}  // namespace

void MembwTarget::describe(Options& options) {
  options.repeatable("p,pid", "PID[,PID]...", "watch these processes, until they end or Ctrl-C")
      .value("load", "LOAD",
             R"(watch a built-in load: fill, which fills buffers on all CPUs, or
                fill:size=SIZE,op=read|write|copy,once,flush: SIZE for each thread; read, write,
                or (default) fill one half and copy it; once: a single round, which is the only
                sample; flush: first drop the buffers from the caches)")
      .value("cpu", "CPU", "the only CPU that the program or load may use")
      .value("program-output", "FILE",
             R"(write the output and errors of the program to this file (default: they go where
                those of shmifperf go))")
      .words(0, 0)
      .may_take_program();
}

MembwTarget::MembwTarget(const Arguments& args, std::chrono::nanoseconds longest) {
  const int given =
      (args.given("pid") ? 1 : 0) + (args.program().empty() ? 0 : 1) + (args.given("load") ? 1 : 0);
  if (given > 1) throw UsageError{"-p, --load and a program exclude each other (give one of them)"};
  pids_ = Watched::pids_of(args).value_or(std::vector<pid_t>());
  perf::ChildOptions child = child_of(args);
  if (args.given("load")) {
    const perf::FillOptions load = load_of(args);
    one_round_ = load.once;
    counts_.emplace(perf::FillCounts::create().value());
    child.argv = load_argv(load, counts_->path(), longest);
  }
  if (!child.argv.empty()) {
    child_.emplace(perf::HeldChild::start(child).value());
    pids_ = {child_->pid()};
  }
  for (const pid_t pid : pids_) processes_.push_back(perf::Process::open(pid).value());
}

Result<void> MembwTarget::begin() {
  return child_ ? child_->release() : Result<void>();
}

void MembwTarget::wait_for_load(const StopSignals& stop) {
  if (!counts_) return;
  constexpr std::chrono::milliseconds kLook{10};
  constexpr std::chrono::minutes kLongest{2};
  const auto latest = SteadyClock::now() + kLongest;
  const auto prepares = [&] {
    return one_round_ ? counts_->turn() == perf::FillTurn::preparing : counts_->look().empty();
  };
  while (prepares() && SteadyClock::now() < latest) {
    if (sleep(kLook, stop) != Woken::time_is_up) return;
  }
}

bool MembwTarget::pause() {
  if (!child_) return false;
  child_->kill(SIGSTOP);
  const auto latest = SteadyClock::now() + std::chrono::seconds(1);
  while (!have_ended(processes_) && SteadyClock::now() < latest) {
    const auto stat = perf::task_stat_in("/proc/" + std::to_string(child_->pid()));
    if (stat && stat->state == 'T') return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  resume();
  return false;
}

bool MembwTarget::resume() {
  if (child_) child_->kill(SIGCONT);
  return child_.has_value();
}

Woken MembwTarget::sleep(std::chrono::nanoseconds time, const StopSignals& stop) {
  if (wait_until(SteadyClock::now() + time, processes_, stop)) return Woken::time_is_up;
  return stop.stopped() ? Woken::stopped : Woken::nothing_left;
}

Woken MembwTarget::round(const StopSignals& stop) {
  constexpr std::chrono::milliseconds kLook{10};
  counts_->begin_round(perf::now_ns());
  while (counts_->turn() != perf::FillTurn::done) {
    if (stop.stopped()) return Woken::stopped;
    if (have_ended(processes_)) return Woken::nothing_left;
    counts_->wait_while(perf::FillTurn::running, kLook);
  }
  return Woken::time_is_up;
}

void MembwTarget::end(int signal) {
  if (!child_ || child_->ended()) return;
  constexpr std::chrono::milliseconds kPatience{2000};
  child_->kill(signal);
  pollfd ended{child_->descriptor(), POLLIN, 0};
  ::poll(&ended, 1, static_cast<int>(kPatience.count()));
  // Also kills processes of its group that ignored the signal. The group exists until this process
  // has waited for the program.
  child_->kill(SIGKILL);
  if (!child_->ends_within(kPatience)) complain(perf::HeldChild::kStays);
}

std::optional<int> MembwTarget::program_code() {
  const auto status = child_ ? child_->ended() : std::nullopt;
  return status ? std::optional(perf::shell_status(*status)) : std::nullopt;
}

}  // namespace shmif::tools
