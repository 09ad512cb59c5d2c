// shmifperf sample: shows in which functions programs spend their time.

#include <algorithm>
#include <chrono>
#include <string>

#include "base/quantity.hpp"
#include "instruments/counters/event_names.hpp"
#include "instruments/counters/sample_profile.hpp"
#include "perf/report/counters_report.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/watched.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

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

}  // namespace

const Command kSampleCommand{"sample", "show in which functions programs spend their time",
                             run_sample};

}  // namespace shmif::tools
