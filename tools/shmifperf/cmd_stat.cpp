// shmifperf stat, sample, why: counts events of programs; shows in which functions they spend their
// time; says what held them back.

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "base/quantity.hpp"
#include "instruments/counters/event_names.hpp"
#include "instruments/counters/sample_profile.hpp"
#include "instruments/counters/stat.hpp"
#include "instruments/watch/clock.hpp"
#include "perf/report/counters_report.hpp"
#include "perf/report/why_report.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/watched.hpp"

namespace shmif::tools {

namespace {

Arguments parse_stat(const CommandLine& line) {
  Options options("stat", Watched::kSynopsisWithCpus);
  options.about(
      R"(Counts events of programs, with all their threads and the children that they start from
         then on: CPU time, page faults, context switches, tracepoints, and the CPU's cycles,
         instructions and caches where the machine has counters for them. What cannot be counted
         is listed with the reason. The result follows when the programs have ended. With
         PROGRAM, the exit code is that of the program; with -p it is 0, or 130 after Ctrl-C.
         With -a or -C, everything that runs on the CPUs is counted.)");
  Watched::describe_with_cpus(options);
  return options
      .repeatable("e,event", "EVENT[,EVENT]...",
                  R"(count these: task-clock, cycles:u, r1a8, sched:sched_switch,
                     cpu/event=0x3c,umask=1/, or a name that libpfm4 knows. Each -e, and each
                     group in braces as in {a,b},{c}, is an event set. Only one set counts at a
                     time: sets take turns. Use several for events that need more counters than
                     a CPU has)")
      .value("turn", "TIME", "how long each event set counts, 1ms to 60s (default: 10ms)")
      .value("switch-on", "EVENT:N",
             R"(begin the next event set at each Nth EVENT, such as page-faults:1000; with
                --turn, also after that time)")
      .flag("group",
            R"(count the events of a set only while each of them has a counter (default: the
               kernel may let them take turns))")
      .flag("stop-target", "with -p: stop the processes while their counters are read")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .flag("json", "print JSON, for scripts")
      .example("shmifperf stat -- make -j8", "CPU time, switches, faults, cycles and instructions")
      .example("shmifperf stat -e context-switches,sched:sched_switch -p $(pidof -s rx)",
               "a program that runs already, until Ctrl-C")
      .example("shmifperf stat -a -e context-switches,page-faults -- sleep 1",
               "all programs of the machine, for a second")
      .example("shmifperf stat -e cycles,instructions -e cache-misses,cache-references -- ./rx",
               "two event sets")
      .example("shmifperf stat --switch-on page-faults:100 -e task-clock -e cpu-clock -- ./rx",
               "two event sets, the next one at each 100th page fault")
      .example("shmifperf stat --json -o stat.json -- ./rx; jq '.events[].value' stat.json",
               "for scripts")
      .parse(line);
}

std::vector<perf::StatEvent> events_of(const Arguments& args) {
  const perf::EventNames names(perf::KernelFiles(args.text("sysroot").value_or("/")));
  std::vector<std::string> lists = args.all("event");
  if (lists.empty()) lists.emplace_back(perf::kUsualEvents);
  auto found = perf::find_stat_events(names, lists);
  if (!found) throw UsageError{"-e: " + found.error().message};
  return *std::move(found);
}

/// Reads EVENT:N. EVENT may have colons.
void put_switch_event(const std::string& text, const Arguments& args,
                      std::span<const perf::StatEvent> events, perf::StatOptions& options) {
  const std::size_t colon = std::min(text.rfind(':'), text.size());
  const auto period =
      base::read_digits(std::string_view(text).substr(std::min(colon + 1, text.size())));
  if (!period || *period == 0) {
    throw UsageError{"--switch-on: \"" + text + "\" is not EVENT:N, such as page-faults:1000"};
  }
  if (events.empty() || events.back().set == 0) {
    throw UsageError{"--switch-on needs at least two event sets (give -e twice)"};
  }
  const perf::EventNames names(perf::KernelFiles(args.text("sysroot").value_or("/")));
  const auto event = names.find(text.substr(0, colon));
  if (!event) throw UsageError{"--switch-on: " + event.error().message};
  options.switch_event = *event;
  options.switch_period = *period;
  options.turn = {};
}

perf::StatOptions options_of_stat(const Arguments& args, std::span<const perf::StatEvent> events) {
  perf::StatOptions options;
  options.cpus = Watched::cpus_of(args);
  options.on_exec = !args.program().empty();
  options.group = args.flag("group");
  options.stop_target = args.flag("stop-target");
  if (options.stop_target && !options.cpus.empty()) {
    throw UsageError{"--stop-target excludes -a and -C (it stops the processes of -p)"};
  }
  if (const auto text = args.text("switch-on")) put_switch_event(*text, args, events, options);
  if (const auto turn = args.seconds("turn")) {
    if (*turn < std::chrono::milliseconds(1) || *turn > std::chrono::minutes(1)) {
      throw UsageError{"--turn: it must be 1ms to 60s"};
    }
    options.turn = *turn;
  }
  return options;
}

perf::StatRun started_stat(std::vector<perf::StatEvent> events,
                           std::span<const perf::TaskId> processes,
                           const perf::StatOptions& options) {
  auto run = perf::StatRun::start(std::move(events), processes, options);
  if (run) return *std::move(run);
  if (run.error().code != make_error_code(Errc::not_supported)) throw Exception(run.error());
  complain(run.error().message);
  throw Exit{kNotSupported};
}

void print_stat(const Arguments& args, const perf::StatResult& result) {
  const std::string path = args.text("output").value_or("-");
  const std::size_t width = path == "-" ? terminal_columns() : 0;
  write_file(path, args.flag("json") ? perf::stat_json(result) : perf::stat_text(result, width))
      .value();
}

int run_stat(const CommandLine& line) {
  const Arguments args = parse_stat(line);
  std::vector<perf::StatEvent> events = events_of(args);
  const perf::StatOptions options = options_of_stat(args, events);
  const StopSignals stop;
  check_file(args.text("output").value_or("-")).value();
  Watched watched(args);
  std::vector<perf::TaskId> processes;
  for (const perf::Process& process : watched.processes()) processes.push_back(process.id());
  perf::StatRun run = started_stat(std::move(events), processes, options);
  if (!run.counts() && !options.cpus.empty()) {
    print_stat(args, run.finish().value());
    return kNotSupported;  // the program would only have said how long to count
  }
  watched.begin();
  const auto look = options.switch_event ? std::chrono::milliseconds(20) : std::chrono::minutes(1);
  // Runs until the programs have ended, or a signal comes. It does not wait for processes that have
  // no event that can be counted.
  while ((run.counts() || watched.is_program()) &&
         watched.wait_until(std::chrono::steady_clock::now() + look, stop)) {
    run.look();
  }
  perf::StatResult result = run.finish().value();
  result.partial = stop.stopped();
  if (stop.stopped()) watched.end(stop.signal());
  print_stat(args, result);
  const bool any = std::ranges::any_of(result.events, [](const perf::StatEvent& each) {
    return each.state != "not permitted" && each.state != "not supported";
  });
  return watched.exit_code(stop, any ? Measured::values : Measured::unsupported);
}

using std::chrono::steady_clock;

constexpr std::uint64_t kUsualFrequency = 999;
constexpr std::uint64_t kHighestFrequency = 1'000'000;
constexpr double kUsualLeastShare = 0.005;
constexpr const char* kProfile = "profile";

/// "raw (each sample), ..."
std::string formats_in_words() {
  const auto names = perf::sample_formats().names();
  const auto about = perf::sample_formats().descriptions();
  std::string out = std::string(kProfile) + " (functions, the usual one)";
  for (std::size_t at = 0; at < names.size(); ++at)
    out += ", " + names[at] + " (" + about[at] + ')';
  return out;
}

Arguments parse_sample(const CommandLine& line) {
  Options options("sample", Watched::kSynopsisWithCpus);
  options.about(
      R"(Interrupts programs at regular times, notes which function they execute, and shows in
         which functions they spend their time. This covers all their threads, and the children
         that they start from then on. The names come from the symbol tables of their files and
         of the kernel. The result follows when the programs have ended. With PROGRAM, the exit
         code is that of the program; with -p it is 0, or 130 after Ctrl-C. With -a or -C,
         everything that runs on the CPUs is sampled.)");
  Watched::describe_with_cpus(options);
  return options
      .value("e,event", "EVENT",
             "the event that triggers samples (default: cpu-clock); -F or -c says how often")
      .value("F,frequency", "HZ",
             "take about this many samples each second (default: " +
                 std::to_string(kUsualFrequency) + ")")
      .value("c,period", "N", "take a sample at every Nth event, instead of at a frequency")
      .flag("callgraph", "also show who called whom, by frame pointers")
      .value("format", "FORMAT[:ARGUMENT]",
             "what to keep of the samples: " + formats_in_words() +
                 ". The last three take only=user or only=kernel; raw also takes max=N (samples), "
                 "chains also depth=N (callers)")
      .value("least", "SHARE",
             "print no function or call below this share (default: " +
                 base::share_text(kUsualLeastShare) + ")")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read the kernel's files below this directory (default: /)")
      .flag("json", "print JSON, for scripts")
      .example("shmifperf sample -- ./rx", "where a program spends its time")
      .example("shmifperf sample --callgraph -p $(pidof -s rx)",
               "of a program that runs already, until Ctrl-C, with the callers")
      .example("shmifperf sample -C 0 -- sleep 1", "what runs on CPU 0 in a second")
      .example(
          "shmifperf sample --json -o sample.json -- ./rx; jq '.profile[:10][] | {symbol, "
          "share}' sample.json",
          "the ten heaviest functions")
      .example("shmifperf sample --format raw:max=100,only=user -e page-faults -c 1 -- ./rx",
               "the first 100 page faults in user space, one in each line")
      .parse(line);
}

perf::Sampling sampling_of(const Arguments& args, std::uint64_t fields) {
  perf::Sampling sampling;
  const auto frequency = args.count("frequency", 1, kHighestFrequency);
  const auto period = args.count("period", 1);
  if (frequency && period) throw UsageError{"-F and -c exclude each other"};
  sampling.period = period.value_or(0);
  if (!period) sampling.frequency = frequency.value_or(kUsualFrequency);
  sampling.fields = fields;
  return sampling;
}

std::unique_ptr<perf::SampleFormat> format_of(const Arguments& args) {
  if (args.text("format")->starts_with("profile:")) {
    throw UsageError{"--format: profile takes no argument"};
  }
  const std::string name = args.text("format")->substr(0, args.text("format")->find(':'));
  const auto names = perf::sample_formats().names();
  if (std::ranges::find(names, name) == names.end()) {
    throw UsageError{"--format: there is no sampling format \"" + name + "\" (there are " +
                     formats_in_words() + ')'};
  }
  auto made = perf::sample_formats().make(*args.text("format"));
  if (!made) throw UsageError{"--format: " + made.error().message};
  return *std::move(made);
}

/// The place to which the samples go: a profile, or another format.
struct Kept {
  std::unique_ptr<perf::SampleProfile> profile;
  std::unique_ptr<perf::SampleFormat> other;
  perf::SampleFormat& format() const { return other ? *other : *profile; }
};

Kept kept_by(const Arguments& args, const perf::KernelFiles& files) {
  Kept kept;
  if (args.text("format").value_or(kProfile) == kProfile) {
    kept.profile = std::make_unique<perf::SampleProfile>(args.flag("callgraph"), files);
    return kept;
  }
  if (args.flag("json") || args.flag("callgraph")) {
    throw UsageError{"--json and --callgraph are for --format profile"};
  }
  kept.other = format_of(args);
  return kept;
}

perf::SampleRun started(const Arguments& args, const Watched& watched, std::vector<int> cpus,
                        const perf::CounterEvent& event, std::uint64_t fields) {
  std::vector<perf::TaskId> processes;
  for (const perf::Process& process : watched.processes()) processes.push_back(process.id());
  perf::SampleOptions options;
  options.sampling = sampling_of(args, fields);
  options.on_exec = watched.is_program();
  options.cpus = std::move(cpus);
  std::optional<perf::Refusal> refused;
  auto run = perf::SampleRun::start(event, processes, options, &refused);
  if (run) return *std::move(run);
  if (!refused) throw Exception(run.error());
  complain("cannot sample " + event.name + ": " + refused->reason +
           (refused->enable_with.empty() ? "" : " (to change that: " + refused->enable_with + ')'));
  throw Exit{kNotSupported};
}

perf::CounterEvent event_of_sample(const Arguments& args, const perf::KernelFiles& files) {
  const auto found = perf::EventNames(files).find(args.text("event").value_or("cpu-clock"));
  if (found) return *found;
  if (found.error().code == make_error_code(Errc::bad_argument)) {
    throw UsageError{"-e: " + found.error().message};
  }
  complain(found.error().message);
  throw Exit{kNotSupported};
}

std::string text_of_sample(const Arguments& args, const Kept& kept, perf::SampleReport report) {
  if (kept.other) return kept.other->text();
  const std::vector<std::string> notes = std::move(report.profile.notes);
  report.profile = kept.profile->result();
  report.profile.notes.insert(report.profile.notes.begin(), notes.begin(), notes.end());
  if (args.flag("json")) return perf::sample_json(report);
  const std::size_t width = args.text("output").value_or("-") == "-" ? terminal_columns() : 0;
  return perf::sample_text(report, args.share("least").value_or(kUsualLeastShare), width);
}

/// Reads the samples until the programs have ended, or a signal comes.
void collect(perf::SampleRun& run, const Kept& kept, Watched& watched, const StopSignals& stop) {
  const auto read = [&] {
    run.read(kept.format()).value();
    if (kept.profile) kept.profile->settle();
  };
  constexpr std::chrono::milliseconds kLook{50};
  while (watched.wait_until(steady_clock::now() + kLook, stop)) read();
  run.stop();
  read();
  if (kept.profile) kept.profile->finish();
}

int run_sample(const CommandLine& line) {
  const Arguments args = parse_sample(line);
  const perf::KernelFiles files(args.text("sysroot").value_or("/"));
  const perf::CounterEvent event = event_of_sample(args, files);
  const Kept kept = kept_by(args, files);
  sampling_of(args, 0);  // refuses a wrong line before it holds a program
  args.share("least");
  const std::vector<int> cpus = Watched::cpus_of(args);
  check_file(args.text("output").value_or("-")).value();
  const StopSignals stop;
  Watched watched(args);
  perf::SampleRun run = started(args, watched, cpus, event, kept.format().fields());
  for (const perf::Process& process : watched.processes()) {
    if (kept.profile && !watched.is_program()) kept.profile->add_process(process.pid());
  }
  const auto begin = steady_clock::now();
  watched.begin();
  collect(run, kept, watched, stop);
  perf::SampleReport report;
  report.event = event.name + (run.user_space_only() ? " (in user space only)" : "");
  report.lost_samples = run.counts().lost;
  report.lost_is_least = run.counts().lost_is_least;
  if (run.user_space_only()) {
    report.profile.notes.push_back(event.name + " was sampled " + perf::user_space_note(event));
  }
  report.elapsed_s = std::chrono::duration<double>(steady_clock::now() - begin).count();
  report.cpus = cpus;
  report.callgraph = args.flag("callgraph");
  report.partial = stop.stopped();
  if (stop.stopped()) watched.end(stop.signal());
  write_file(args.text("output").value_or("-"), text_of_sample(args, kept, std::move(report)))
      .value();
  return watched.exit_code(stop, Measured::values);
}

constexpr std::uint64_t kUsualIntervalNs = 100'000'000;
constexpr std::uint64_t kShortestNs = 10'000'000;
constexpr std::uint64_t kLongestNs = 60'000'000'000;

Arguments parse_why(const CommandLine& line) {
  Options options("why", Watched::kSynopsis);
  options.about(
      R"(Watches programs and says what held them back: whether they waited for a CPU, were
         stopped, throttled or moved, and whether the hypervisor, the kernel's packet queues,
         network interfaces, a lack of memory or the bus delayed them. Prints the result when
         the programs have ended. With PROGRAM, the exit code is that of the program; with -p it
         is 0, or 130 after Ctrl-C. Needs no privileges for the user's own processes.)");
  Watched::describe(options);
  return options
      .repeatable("bus", "PATH", "also watch this bus, and count what the programs lose on it")
      .value("interval", "TIME",
             "how often to look, 10ms to 60s (default: " +
                 base::time_text(std::chrono::nanoseconds(kUsualIntervalNs)) + ")")
      .value("o,output", "PATH", "write the result there (default: -, standard output)")
      .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
      .flag("json", "print JSON, for scripts")
      .example("shmifperf why -- make -j8", "what slowed the build down")
      .example("shmifperf why -p $(pidof -s rx) --bus /dev/shm/bus0",
               "a receiver, until Ctrl-C, with the frames that it loses")
      .example("shmifperf why --json -o why.json -- ./rx; jq '.causes[0].sentence' why.json",
               "the heaviest cause")
      .parse(line);
}

std::uint64_t interval_of(const Arguments& args) {
  const auto given = args.seconds("interval");
  if (!given) return kUsualIntervalNs;
  const auto ns = static_cast<std::uint64_t>(given->count());
  if (ns < kShortestNs || ns > kLongestNs) {
    throw UsageError{"--interval: it must be 10ms to 60s"};
  }
  return ns;
}

/// The name of the process. Its number is added if another process has the same name.
std::string name_of(const perf::KernelFiles& files, pid_t pid,
                    const std::vector<perf::WatchedJob>& others) {
  const auto text = files.read("/proc/" + std::to_string(pid) + "/stat");
  const auto stat = text ? perf::read_task_stat(*text) : perf::TaskStat{};
  const std::string name = stat ? stat->name : "";
  const bool taken = std::ranges::find(others, name, &perf::WatchedJob::name) != others.end();
  return name.empty() || taken ? name + '(' + std::to_string(pid) + ')' : name;
}

void add_jobs(perf::WhySampler& sampler, const Watched& watched, const Arguments& args,
              const perf::KernelFiles& files) {
  for (const perf::Process& process : watched.processes()) {
    std::string name;
    if (watched.is_program()) {
      name = args.program().front();
      name.erase(0, name.rfind('/') + 1);
    } else {
      name = name_of(files, process.pid(), sampler.series().jobs);
    }
    const std::size_t job = sampler.add_job(std::move(name));
    if (!sampler.add_process(job, process.pid()) && !process.has_ended()) {
      const int number = errno;
      if (const char* const remedy = perf::descriptor_remedy(number); *remedy != 0) {
        throw Exception(Error::from_errno(
            number, "cannot watch process " + std::to_string(process.pid()), remedy));
      }
      throw Exception(Error(Errc::not_supported,
                            "cannot watch process " + std::to_string(process.pid()) + ": " +
                                files.path("/proc/" + std::to_string(process.pid()) + "/task") +
                                " cannot be listed"));
    }
  }
}

steady_clock::time_point time_of(std::uint64_t ns) {
  return steady_clock::time_point(std::chrono::nanoseconds(ns));
}

int run_why(const CommandLine& line) {
  const Arguments args = parse_why(line);
  const std::uint64_t interval = interval_of(args);
  check_file(args.text("output").value_or("-")).value();
  const StopSignals stop;
  Watched watched(args);
  const perf::KernelFiles files(args.text("sysroot").value_or("/"));
  perf::WhySampler sampler(files, perf::now_ns());
  add_jobs(sampler, watched, args, files);
  for (const std::string& bus : args.all("bus")) sampler.add_bus(bus).value();
  sampler.sample(perf::now_ns());
  watched.begin();
  // Runs until the programs have ended, or a signal comes.
  while (watched.wait_until(time_of(sampler.next_ns(interval)), stop)) {
    sampler.sample(perf::now_ns());
  }
  sampler.sample(perf::now_ns());
  perf::WhyResult result = perf::why_result(sampler, traffic_of_ports(sampler.series()));
  result.partial = stop.stopped();
  if (stop.stopped()) watched.end(stop.signal());
  const std::string path = args.text("output").value_or("-");
  const std::size_t width = path == "-" ? terminal_columns() : 0;
  write_file(path, args.flag("json") ? perf::why_json(result) : perf::why_text(result, width))
      .value();
  return watched.exit_code(stop, Measured::values);
}

}  // namespace

const Command kStatCommand{"stat", "count events of programs", run_stat};
const Command kSampleCommand{"sample", "show in which functions programs spend their time",
                             run_sample};
const Command kWhyCommand{"why", "watch programs, and say what held them back", run_why};

}  // namespace shmif::tools
