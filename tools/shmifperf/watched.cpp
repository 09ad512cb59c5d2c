#include "tools/shmifperf/watched.hpp"

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/quantity.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/watch/exec_stop.hpp"

namespace shmif::tools {

bool have_ended(const std::vector<perf::Process>& processes) {
  return !processes.empty() && std::ranges::all_of(processes, &perf::Process::has_ended);
}

bool wait_until(std::chrono::steady_clock::time_point then,
                const std::vector<perf::Process>& processes, const StopSignals& stop,
                const std::vector<int>& more) {
  for (;;) {  // runs until `then`, the end, or a signal
    if (stop.stopped() || have_ended(processes)) return false;
    const auto milliseconds =
        std::chrono::ceil<std::chrono::milliseconds>(then - std::chrono::steady_clock::now());
    const auto left = static_cast<int>(std::clamp<long>(milliseconds.count(), 0, 3'600'000));
    if (left == 0) return true;
    std::vector<pollfd> ready;
    ready.reserve(more.size() + 1 + processes.size());
    for (const int descriptor : more) ready.push_back({descriptor, POLLIN, 0});
    ready.push_back({stop.descriptor(), POLLIN, 0});
    for (const perf::Process& process : processes) {
      if (!process.has_ended()) ready.push_back({process.descriptor(), POLLIN, 0});
    }
    ::poll(ready.data(), ready.size(), left);
    const auto is_ready = [](const pollfd& each) { return each.revents != 0; };
    const auto end_of_more = ready.begin() + static_cast<std::ptrdiff_t>(more.size());
    if (std::any_of(ready.begin(), end_of_more, is_ready) && !stop.stopped()) return true;
  }
}

void Watched::describe(Options& options) {
  options.repeatable("p,pid", "PID[,PID]...", "watch these processes, until they end or Ctrl-C");
  options.words(0, 0).may_take_program();
}

void Watched::describe_with_cpus(Options& options) {
  describe(options);
  options.flag("a,all-cpus", "watch everything on all CPUs, until PROGRAM ends or Ctrl-C")
      .value("C,cpu", "CPU[,CPU]...", "watch everything on these CPUs, such as 0,2-3");
}

std::vector<int> Watched::cpus_of(const Arguments& args) {
  const auto list = args.text("cpu");
  if (!list && !args.flag("all-cpus")) return {};
  if (list && args.flag("all-cpus")) throw UsageError{"-a and -C exclude each other"};
  if (args.given("pid")) {
    throw UsageError{"-p cannot be combined with -a or -C, which watch everything on the CPUs"};
  }
  std::vector<int> online = perf::kernel_counters().online_cpus();
  if (!list) {
    if (online.empty()) throw UsageError{"-a: the kernel does not list its online CPUs (use -C)"};
    return online;
  }
  const auto cpus = base::read_number_list(*list);
  if (!cpus || cpus->empty()) {
    throw UsageError{"-C: \"" + *list + "\" is not a list of CPUs (write it as 0,2-3)"};
  }
  for (const int cpu : *cpus) {
    if (online.empty() || std::ranges::find(online, cpu) != online.end()) continue;
    throw UsageError{"-C: CPU " + std::to_string(cpu) + " is not online (online are " +
                     base::number_list_text(online) + ')'};
  }
  return *cpus;
}

std::optional<std::vector<pid_t>> Watched::pids_of(const Arguments& args) {
  std::string all;
  for (const std::string& list : args.all("pid")) all += (all.empty() ? "" : ",") + list;
  if (all.empty()) return {};
  auto pids = perf::read_pids(all);
  if (!pids) throw UsageError{"--pid: " + pids.error().message};
  return *std::move(pids);
}

Watched::Watched(const Arguments& args, perf::ChildOptions program) {
  const auto pids = pids_of(args);
  if (pids && !args.program().empty()) {
    throw UsageError{"-p and a program cannot be watched together (give one of them)"};
  }
  if (!pids && args.program().empty()) {
    if (args.given("all-cpus") || args.given("cpu")) return;
    throw UsageError{"nothing to watch (give -p PID, or -- PROGRAM)"};
  }
  std::vector<pid_t> numbers;
  if (pids) {
    numbers = *pids;
  } else {
    program.argv = args.program();
    child_.emplace(perf::HeldChild::start(program).value());
    numbers = {child_->pid()};
  }
  for (const pid_t pid : numbers) processes_.push_back(perf::Process::open(pid).value());
}

void Watched::begin() {
  if (child_) expect_begun(child_->release());
}

Result<UniqueFd> Watched::begin_with_userfaultfd() {
  auto program = perf::begin_with_userfaultfd(*child_);
  expect_begun(program.begun);
  return std::move(program.userfaultfd);
}

void Watched::expect_begun(const Result<void>& begun) const {
  if (begun) return;
  complain(begun.error().message);
  throw Exit{child_->exit_code_of_failure()};
}

void Watched::end(int signal) {
  if (!child_ || child_->ended()) return;
  // The terminal has already sent SIGINT to the program.
  if (signal != SIGINT) child_->kill(signal);
  constexpr std::chrono::seconds kPatience{2};
  if (child_->ends_within(kPatience)) return;
  child_->kill(SIGKILL);
  if (child_->ends_within(kPatience)) return;
  complain(perf::HeldChild::kStays);
}

int Watched::exit_code(const StopSignals& stop, Measured measured) {
  std::optional<int> program;
  if (child_ && !stop.stopped()) program = perf::shell_status(child_->wait());
  return exit_code_of_instrument(stop.signal(), program, measured);
}

}  // namespace shmif::tools
