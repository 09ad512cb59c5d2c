// shmifperf membw: measures memory bandwidth by the counters of the memory controllers, by resctrl,
// and by what software copied.

#include <poll.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/quantity.hpp"
#include "instruments/membw/fill_load.hpp"
#include "instruments/membw/measure.hpp"
#include "instruments/membw/pmu_source.hpp"
#include "instruments/membw/resctrl.hpp"
#include "instruments/membw/schemata.hpp"
#include "instruments/membw/software_source.hpp"
#include "instruments/watch/clock.hpp"
#include "instruments/watch/held_child.hpp"
#include "instruments/watch/process.hpp"
#include "perf/report/table.hpp"
#include "tools/common/command.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/membw_output.hpp"
#include "tools/shmifperf/watched.hpp"

namespace shmif::tools {

namespace {

// The target of `shmifperf membw`: processes that run already, a program or the built-in load that
// the command starts itself, or the whole machine.

/// A program leads its own process group, so all that it started ends with it. It is killed when
/// its owner ends. Threads: one at a time.
class MembwTarget {
 public:
  /// Adds its options to the description of a command line.
  static void describe(Options& options);
  /// Throws UsageError for a wrong command line, and Exception for processes that cannot be
  /// watched. `longest`: how long the built-in load may run.
  MembwTarget(const Arguments& args, std::chrono::nanoseconds longest);

  /// If this is empty, the target is the whole machine.
  const std::vector<pid_t>& pids() const noexcept { return pids_; }
  /// The counts that the built-in load keeps of itself; null if there is no such load.
  const perf::FillCounts* counts() const noexcept { return counts_ ? &*counts_ : nullptr; }

  /// Lets the program begin. Errors: why it cannot begin.
  Result<void> begin();
  /// Waits until the built-in load has its memory and fills it, which takes seconds on a busy
  /// machine. Blocks: at most two minutes, and not longer than the load runs or until a signal
  /// comes.
  void wait_for_load(const StopSignals& stop);
  /// The exit code that a shell would return for a program that could not begin; 0 if it could.
  int failure_code() const { return child_ ? child_->exit_code_of_failure() : 0; }
  /// Stops the program, or lets it go on. Blocks: until it has stopped, at most a second. Result:
  /// false if there is no program, or it did not stop.
  bool pause();
  bool resume();
  perf::MembwHooks::Woken sleep(std::chrono::nanoseconds time, const StopSignals& stop);
  /// Whether the built-in load makes a single round.
  bool has_one_round() const noexcept { return one_round_; }
  /// Lets that round begin. Blocks: until it has ended, or a signal comes.
  perf::MembwHooks::Woken round(const StopSignals& stop);
  /// Ends the program if it runs: sends `signal`, and at most two seconds later SIGKILL. Its whole
  /// process group ends with it.
  void end(int signal);
  /// The exit code of a program that ended by itself, as a shell returns it; empty if there is no
  /// program, or it still runs.
  std::optional<int> program_code();

 private:
  std::optional<perf::FillCounts> counts_;
  bool one_round_ = false;
  std::optional<perf::HeldChild> child_;
  std::vector<perf::Process> processes_;
  std::vector<pid_t> pids_;
};

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

struct Sources {
  std::vector<std::unique_ptr<perf::MemorySource>> all;
  perf::ResctrlSource* resctrl = nullptr;  ///< one of the sources; null if it was not asked for
};
using std::chrono::nanoseconds;

constexpr std::uint64_t kMaxSamples = 1'000'000;
constexpr std::size_t kSamplesOfLoad = 5;
constexpr std::size_t kSamplesOfStep = 4;

Options describe_membw() {
  Options options("membw", "[-p PID[,PID]... | --load LOAD | -- PROGRAM [ARGUMENT]...]");
  options.about(
      R"(Measures memory bandwidth, from up to three independent sources: the counters of the
         memory controllers (pmu), the monitoring of the resctrl file system (resctrl), and the
         bytes that software copied (software). A source that this machine does not have is
         listed with the reason. Without processes, a program or a load, it measures the whole
         machine. It drops the first sample, unless that is the single round of a load.)");
  MembwTarget::describe(options);
  options
      .repeatable("source", "SOURCE", "only this source: pmu, resctrl or software (default: all)")
      .flag("compare", "compare each pair of sources, and say whether they agree")
      .value("report", "WHAT",
             "which bytes --compare compares: reads, writes or total (default: total)")
      .value("tolerance", "SHARE", "with --compare: how far apart sources may be (default: 8%)")
      .value("floor", "SIZE",
             R"(with --compare: do not compare sources that measured fewer bytes per second
                (default: 750M))")
      .value("bus", "PATH", "also count what the ports of this bus read and write")
      .value("samples", "N",
             R"(keep N samples; the first one, which is dropped, does not count (default: with a
                program or -p, until it ends; with --load, 5; for the whole machine, 1))")
      .value("window", "TIME", "length of a sample (default: 1s)")
      .value("interval", "TIME", "from one sample to the next (default: they follow each other)")
      .value("settle", "TIME", "wait this long before the first sample (default: 1s)")
      .value("socket", "N", "only the memory controllers of this socket")
      .flag("mount", "mount resctrl if it is not, and unmount it at the end")
      .value("control-group", "GROUP",
             R"(measure in this control group of resctrl, such as g1, or in its monitoring group
                m1: g1/mon_groups/m1; mon_groups/m1 is below the group of the processes. A group
                that is missing is made, and deleted at the end)")
      .value("schemata", "ALLOCATION",
             R"(measure with this allocation of bandwidth and caches, such as 'MB:0=50;L3:0=ff'.
                It is set on the group of --control-group, or on a new group, and undone at the
                end)")
      .value("sweep", "ALLOCATIONS",
             R"(measure with each allocation of a range, such as 'MB:0=100..10/10', and compare
                the sources at each; exits with 1 if they differ at one of them, or if the
                processes end before the last one)")
      .flag("local",
            R"(with --cpu: compare the local bytes of that CPU's last-level cache (resctrl) with
               the memory controllers of its socket (pmu))")
      .value("pairs-csv", "FILE",
             R"(with --compare or --sweep: append a line for each sample and pair of sources to
                this file)")
      .value("csv", "FILE", "append a line for each source and sample to this file")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .value("fill", "TIME", "only run the built-in load (see --load) for that long")
      .value("fill-counts", "FILE",
             "with --fill: the file in which the load counts what it has filled, for membw --load")
      .flag("json", "print JSON, for scripts");
  return options;
}

Arguments parse_membw(const CommandLine& line) {
  return describe_membw()
      .example("shmifperf membw --load fill --samples 3 --compare",
               "what the sources say about a known load")
      .example("shmifperf membw --load fill:size=250M,op=read,flush --cpu 1 --samples 3",
               "the load of the kernel's resctrl selftest: one thread reads 250 MiB repeatedly")
      .example(
          "shmifperf membw --sweep 'MB:0=100..10/10' --local --cpu 1 "
          "--load fill:size=250M,op=read,flush",
          "the bandwidth allocation test of the kernel's resctrl selftest")
      .example("shmifperf membw --schemata 'MB:0=50;L3:0=ff' --samples 5 -- ./rx",
               "a program with half of the bandwidth and eight ways of the last-level cache")
      .example("shmifperf membw -p $(pidof -s rx) --bus /dev/shm/bus0 --samples 10",
               "a receiver, and the bus that it reads")
      .example(
          "shmifperf membw --json -o membw.json -- ./rx; jq '.sources[] | {source, "
          "total_bytes_per_s}' membw.json",
          "for a script")
      .parse(line);
}

nanoseconds time_of(const Arguments& args, const char* option, nanoseconds usual,
                    nanoseconds least) {
  const nanoseconds time = args.seconds(option).value_or(usual);
  if (time >= least && time <= std::chrono::hours(1)) return time;
  throw UsageError{std::string("--") + option + ": it must be " +
                   (least.count() > 0 ? "10ms to 1h" : "at most 1h")};
}

perf::MembwOptions options_of_membw(const Arguments& args) {
  constexpr nanoseconds kLeastWindow = std::chrono::milliseconds(10);
  perf::MembwOptions options;
  options.window = time_of(args, "window", options.window, kLeastWindow);
  options.settle = time_of(args, "settle", options.settle, {});
  options.interval = time_of(args, "interval", options.interval, {});
  std::size_t usual = args.given("load") ? kSamplesOfLoad : 1;
  if (args.given("pid") || !args.program().empty()) usual = 0;
  if (args.given("sweep")) usual = kSamplesOfStep;
  options.samples = static_cast<std::size_t>(args.count("samples", 1, kMaxSamples).value_or(usual));
  return options;
}

/// The allocations of --schemata (one) or --sweep (one for each step). Empty if neither was given.
std::vector<perf::Schemata> allocations_of(const Arguments& args) {
  const bool sweeps = args.given("sweep");
  if (!sweeps && !args.given("schemata")) return {};
  const std::string name = sweeps ? "--sweep" : "--schemata";
  if (sweeps && args.given("schemata")) {
    throw UsageError{"--schemata and --sweep exclude each other"};
  }
  if (!args.given("load") && !args.given("pid") && args.program().empty()) {
    throw UsageError{
        name + " needs a program, --load or -p: the allocation is set for these processes only"};
  }
  const auto asked = args.all("source");
  if (!asked.empty() && std::ranges::find(asked, "resctrl") == asked.end()) {
    throw UsageError{name + " needs --source resctrl"};
  }
  if (sweeps) {
    auto steps = perf::read_schemata_steps(*args.text("sweep"));
    if (!steps) throw UsageError{"--sweep: " + steps.error().message};
    return *std::move(steps);
  }
  auto one = perf::read_schemata(*args.text("schemata"));
  if (!one) throw UsageError{"--schemata: " + one.error().message};
  return {*std::move(one)};
}

/// Where --local measures; empty means everywhere.
std::optional<perf::CpuPlace> local_place_of(const Arguments& args,
                                             const perf::KernelFiles& files) {
  if (!args.flag("local")) return std::nullopt;
  const auto cpu = args.count("cpu", 0, 65535);
  if (!cpu)
    throw UsageError{"--local needs --cpu N: it compares the local memory traffic of that CPU"};
  if (args.given("socket"))
    throw UsageError{"--local and --socket exclude each other (--local uses the socket of --cpu)"};
  return perf::place_of_cpu(files, static_cast<unsigned>(*cpu)).value();
}

perf::MemoryReport report_of(const Arguments& args) {
  const std::string word = args.text("report").value_or("total");
  for (const auto each :
       {perf::MemoryReport::reads, perf::MemoryReport::writes, perf::MemoryReport::total}) {
    if (word == perf::word_of(each)) return each;
  }
  throw UsageError{"--report \"" + word + "\" is not known (write reads, writes or total)"};
}

/// Refuses options that would have no effect.
void check_uses(const Arguments& args) {
  const bool compares = args.flag("compare") || args.given("sweep");
  for (const char* const option : {"report", "tolerance", "floor", "pairs-csv"}) {
    if (compares || !args.given(option)) continue;
    throw UsageError{std::string("--") + option + " needs --compare or --sweep"};
  }
  const bool starts = args.given("load") || !args.program().empty();
  if (args.given("program-output") && !starts) {
    throw UsageError{"--program-output needs a program or --load"};
  }
  if (args.given("control-group") && !starts && !args.given("pid")) {
    throw UsageError{"--control-group needs a program, --load or -p, which it is for"};
  }
}

void check_source(const std::string& word) {
  if (word == "pmu" || word == "resctrl" || word == "software") return;
  throw UsageError{"--source \"" + word + "\" is not known (write pmu, resctrl or software)"};
}

/// Reads "g1", "g1/mon_groups/m1" or "mon_groups/m1".
void put_group(const std::string& text, perf::ResctrlOptions& options) {
  constexpr std::string_view kBelow = "mon_groups/";
  const std::string_view all = text;
  const std::size_t at =
      all.starts_with(kBelow) ? 0 : std::min(all.find("/mon_groups/"), all.size());
  options.control_group = all.substr(0, at);
  if (at < all.size()) {
    options.monitoring_group = all.substr(at + kBelow.size() + (at == 0 ? 0 : 1));
  }
  // These names do not belong to groups, or lead to the group of the whole machine.
  const auto is_name = [](const std::string& name) {
    const auto others = {".", "..", "info", "mon_groups", "mon_data"};
    return name.find('/') == std::string::npos && std::ranges::find(others, name) == others.end();
  };
  const bool whole = at == all.size() || !options.monitoring_group.empty();
  if (whole && is_name(options.control_group) && is_name(options.monitoring_group)) return;
  throw UsageError{"--control-group: \"" + text +
                   "\" is not a group (write a name, or g1/mon_groups/m1)"};
}

std::unique_ptr<perf::ResctrlSource> resctrl_of(const Arguments& args,
                                                const perf::KernelFiles& files,
                                                std::optional<unsigned> local_domain) {
  perf::ResctrlOptions options;
  options.mount = args.flag("mount");
  options.local_domain = local_domain;
  put_group(args.text("control-group").value_or(""), options);
  if (options.mount && args.given("sysroot")) {
    throw UsageError{"--mount is for this machine, and --sysroot is for another one"};
  }
  // If a group belongs to others, an allocation is set on it only if the user named the group.
  const bool allocates = args.given("schemata") || args.given("sweep");
  if (allocates && options.control_group.empty()) {
    options.control_group = "shmifperf-" + std::to_string(::getpid());
  }
  return std::make_unique<perf::ResctrlSource>(files, std::move(options));
}

Sources sources_of(const Arguments& args, const perf::KernelFiles& files,
                   const MembwTarget& target) {
  const auto asked = args.all("source");
  std::ranges::for_each(asked, check_source);
  const auto wants = [&](const char* name) {
    return asked.empty() || std::ranges::find(asked, name) != asked.end();
  };
  const auto local = local_place_of(args, files);
  Sources sources;
  if (wants("pmu")) {
    std::optional<unsigned> socket;
    if (const auto number = args.count("socket", 0, 65535)) socket = static_cast<unsigned>(*number);
    if (local) socket = local->socket;
    sources.all.push_back(std::make_unique<perf::PmuSource>(files, socket));
  }
  if (wants("resctrl")) {
    auto resctrl = resctrl_of(args, files, local ? std::optional(local->l3_domain) : std::nullopt);
    sources.resctrl = resctrl.get();
    sources.all.push_back(std::move(resctrl));
  }
  if (wants("software")) {
    if (const auto bus = args.text("bus")) {
      sources.all.push_back(std::make_unique<perf::BusSource>(*bus));
    }
    if (target.counts() != nullptr) {
      sources.all.push_back(std::make_unique<perf::LoadSource>(*target.counts()));
    }
    if (!target.pids().empty()) {
      sources.all.push_back(std::make_unique<perf::ProcessIoSource>(files));
    }
    sources.all.push_back(std::make_unique<perf::DeviceSource>(files));
  }
  return sources;
}

int fill(const Arguments& args) {
  std::optional<perf::FillCounts> counts;
  if (const auto path = args.text("fill-counts")) {
    counts.emplace(perf::FillCounts::open(*path).value());
  }
  auto load = perf::read_fill_load(args.text("load").value_or("fill"));
  if (!load) throw UsageError{"--load " + load.error().message};
  load->counts = counts ? &*counts : nullptr;
  load->takes_turns = load->once && counts;
  const auto filled = perf::fill_memory(args.seconds("fill").value(), *load).value();
  const double rate = static_cast<double>(filled.bytes) / filled.seconds;
  std::printf("filled %s/s (read and written) in %s by %u threads, with %s each\n",
              perf::format_bytes(static_cast<std::uint64_t>(rate)).c_str(),
              perf::format_seconds(filled.seconds).c_str(), filled.threads,
              perf::format_memory(filled.buffer_bytes).c_str());
  return kDone;
}

/// How long the built-in load may run: much longer than it is measured.
nanoseconds longest_load(const perf::MembwOptions& options) {
  const nanoseconds one = std::max(options.window, options.interval);
  const std::size_t steps = std::max<std::size_t>(options.steps, 1);
  const auto windows = static_cast<std::int64_t>((options.samples + 1) * steps + 1);
  return options.settle + one * windows + std::chrono::seconds(10);
}

int exit_code_of_run(const perf::MembwResult& result, const StopSignals& stop,
                     MembwTarget& target) {
  if (result.error && !stop.stopped()) {
    return target.failure_code() != 0 ? target.failure_code() : exit_code_of(result.error->code);
  }
  const auto any = [&](const auto& holds) { return std::ranges::any_of(result.sources, holds); };
  Measured measured = Measured::unsupported;
  if (any([](const perf::MemorySummary& each) {
        return each.rates.total || each.rates.reads || each.rates.writes || each.rates.local;
      })) {
    measured = Measured::values;
  } else if (any([](const perf::MemorySummary& each) { return each.samples != 0; })) {
    measured = Measured::nothing;
  } else if (any([no_window = perf::mean_of({}).reason](const perf::MemorySummary& each) {
               return each.rates.reason == no_window;
             })) {
    measured = Measured::too_short;  // this source was open
  }
  return exit_code_of_instrument(stop.signal(), target.program_code(), measured);
}

/// The places to which the result goes.
struct Places {
  std::string csv, pairs_csv, output;
};
Places places_of(const Arguments& args) {
  Places places{args.text("csv").value_or(""), args.text("pairs-csv").value_or(""),
                args.text("output").value_or("-")};
  for (const auto& [option, path] :
       {std::pair{"--csv ", &places.csv}, {"--pairs-csv ", &places.pairs_csv}}) {
    if (path->empty() || !is_standard_output(*path) || !is_standard_output(places.output)) continue;
    throw UsageError{(args.flag("json") ? "--json and " : "the result and ") + (option + *path) +
                     " both need standard output (name another file, by this option or by "
                     "--output)"};
  }
  if (!places.csv.empty() && !places.pairs_csv.empty() && is_standard_output(places.csv) &&
      is_standard_output(places.pairs_csv)) {
    throw UsageError{"--csv and --pairs-csv both need standard output (give each its own file)"};
  }
  if (args.given("csv")) check_file(places.csv).value();
  if (args.given("pairs-csv")) check_file(places.pairs_csv, {places.csv}).value();
  check_file(places.output, {places.csv, places.pairs_csv}).value();
  check_csv(places.csv).value();
  check_pairs_csv(places.pairs_csv).value();
  return places;
}

void tell(const Arguments& args, const Places& places, const perf::MembwResult& result,
          const perf::MembwExtras& extras) {
  const perf::MemoryReport report = report_of(args);
  std::vector<perf::MemoryComparison> comparisons;
  if (args.flag("compare") && result.steps.empty()) {
    comparisons = perf::compare_all(result.sources, report, membw_limits(args));
  }
  const std::size_t width = places.output == "-" ? terminal_columns() : 0;
  write_file(places.output, args.flag("json")
                                ? perf::membw_json(result, report, comparisons, extras)
                                : membw_text(result, report, comparisons, extras, width))
      .value();
  if (!places.csv.empty()) append_csv(places.csv, result).value();
  if (!places.pairs_csv.empty()) {
    append_pairs_csv(places.pairs_csv, result, report, extras).value();
  }
}

int run_membw(const CommandLine& line) {
  const Arguments args = parse_membw(line);
  if (args.given("fill")) return fill(args);
  perf::MembwOptions options = options_of_membw(args);
  const perf::MemoryReport report = report_of(args);
  const perf::CompareLimits limits = membw_limits(args);
  const std::vector<perf::Schemata> allocations = allocations_of(args);
  if (args.given("sweep")) options.steps = allocations.size();
  check_uses(args);
  const Places places = places_of(args);
  // A signal stops the command, which then undoes its settings.
  const StopSignals stop{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  const perf::KernelFiles files(args.text("sysroot").value_or("/"));
  MembwTarget target(args, longest_load(options));
  options.once = target.has_one_round();
  if (options.once) options.samples = 1;
  const Sources sources = sources_of(args, files, target);
  perf::MembwHooks hooks;
  bool begun = false;
  hooks.sleep = [&](nanoseconds time) { return target.sleep(time, stop); };
  hooks.begin = [&] {
    begun = true;
    auto begin = target.begin();
    if (begin) target.wait_for_load(stop);
    return begin;
  };
  hooks.round = [&] { return target.round(stop); };
  hooks.pause = [&] { return target.pause(); };
  hooks.resume = [&] { return target.resume(); };
  std::optional<perf::AllocationSteps> steps;
  if (!allocations.empty()) {
    steps.emplace(files, allocations, options.samples, *sources.resctrl);
    steps->hook_into(hooks);
  }
  const perf::MembwResult result = perf::measure_memory(sources.all, target.pids(), options, hooks);
  const int code = exit_code_of_run(result, stop, target);
  target.end(stop.stopped() ? stop.signal() : SIGTERM);
  if (result.error) complain(result.error->message);
  if (target.failure_code() != 0 || !begun) return code;  // there is no result to print
  perf::MembwExtras extras;
  if (args.flag("compare") || args.given("sweep")) extras.pairs = limits;
  if (steps) extras.allocations = steps->texts();
  tell(args, places, result, extras);
  if (code != kDone) return code;
  if (result.partial) return fail("the processes ended before the last allocation of --sweep");
  return membw_exit_code(result, report, limits);
}

}  // namespace

const Command kMembwCommand{"membw", "measure memory bandwidth, from up to three sources",
                            run_membw};

}  // namespace shmif::tools
