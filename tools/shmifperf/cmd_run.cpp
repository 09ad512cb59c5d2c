// The command line of `shmifperf run`: job files, profiles, and every option of a job or the run.
//
//   shmifperf run a.job --rate=1Mbit            the option overrides that of every job in a.job
//   shmifperf run --rw=tx --runtime=5           one job, named "job"
//   shmifperf run --runtime=5 --name=a --name=b --rw=pingpong
//                                               two jobs; options before --name are for both

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "perf/control/campaign.hpp"
#include "perf/control/runner.hpp"
#include "perf/job/job_options.hpp"
#include "perf/option/job_file.hpp"
#include "perf/option/option_table.hpp"
#include "perf/plan/plan.hpp"
#include "perf/remote/combine.hpp"
#include "perf/remote/connection.hpp"
#include "perf/remote/shares.hpp"
#include "perf/report/report.hpp"
#include "perf/report/stream.hpp"
#include "perf/report/table.hpp"
#include "perf/verify/verify_state.hpp"
#include "tools/common/command.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/program.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/run_output.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kMaxServers = 256;

void add_servers(std::string_view list, std::vector<std::string>& into) {
  for (const std::string_view part : base::split(list, ',')) {
    const std::string name(part);
    const auto address = perf::parse_server_address(name);
    if (!address) throw UsageError{"--client: " + address.error().message};
    if (std::find(into.begin(), into.end(), name) != into.end()) {
      throw UsageError{"--client: \"" + name + "\" is given twice (a server runs one set of jobs)"};
    }
    into.push_back(name);
  }
}

/// The servers in "--client=a,b --client=c". Each appears once. Throws UsageError.
std::vector<std::string> servers_of(const std::vector<std::string>& values) {
  std::vector<std::string> servers;
  for (const std::string& value : values) add_servers(value, servers);
  if (servers.size() > kMaxServers) throw UsageError{"--client: there are more than 256 servers"};
  return servers;
}

struct RunLine {
  perf::JobSet set;
  std::vector<perf::PlannedJob> plan;  ///< made from `set`
  std::vector<std::string> servers;    ///< from --client or the jobs; empty: here
  bool show_command = false;
  bool parse_only = false;
};

using perf::JobOptions;
using perf::OptionRow;

constexpr std::size_t kMaxErrors = 20;
constexpr std::size_t kMaxFiles = 256;
constexpr const char* kWhere = "command line";

/// The name as written, and with '-' and '_' exchanged.
std::vector<std::string> spellings(const std::string& name) {
  std::string dashes = name;
  std::string underscores = name;
  std::replace(dashes.begin(), dashes.end(), '_', '-');
  std::replace(underscores.begin(), underscores.end(), '-', '_');
  std::vector<std::string> all{name};
  if (dashes != name) all.push_back(dashes);
  if (underscores != name) all.push_back(underscores);
  return all;
}

/// The first sentence, in the style of --help.
std::string brief(const std::string& text) {
  std::string sentence = text.substr(0, std::min(text.find(". "), text.size() - 1));
  sentence[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(sentence[0])));
  return sentence;
}

/// The same, with the default of a time or a flag, and with the unit of a time that is given
/// without one.
std::string brief(const OptionRow& row) {
  const bool is_time = row.placeholder.starts_with("TIME");
  if (!is_time && !row.flag) return brief(row.text);
  return brief(row.text) + " (default: " + row.standard +
         (is_time ? "; default unit: " + row.unit : "") + ')';
}

/// Adds every row of the table. --help lists only options of the whole run.
void add_rows(Options& options) {
  for (const OptionRow& row : perf::option_table()) {
    const std::optional<std::string> alone =
        row.flag ? std::optional<std::string>("1") : std::nullopt;
    std::vector<std::string> names = row.aliases;
    names.insert(names.begin(), row.name);
    for (const std::string& name : names) {
      for (const std::string& spelling : spellings(name)) {
        const bool listed = row.of_run() && spelling == row.name;
        options.open(spelling, row.placeholder, listed ? brief(row) : "", alone);
      }
    }
  }
}

Options options_of_run() {
  std::string names;
  for (const perf::Profile& profile : perf::profiles()) {
    names += (names.empty() ? "" : ", ") + std::string(profile.name);
  }
  Options options("run", "[JOBFILE]...");
  options
      .about(
          R"(Runs jobs, which send, receive or echo frames and verify every byte of those that
             arrive, and reports their results. Jobs are described by job files, by a profile,
             or on the command line. A job file has fio's syntax, and a section for each job.
             The options below are those of the whole run. 'shmifperf options' also lists those
             of a job; on the command line, write them as --OPTION=VALUE. --name=NAME begins the
             description of a new job. The options of a job that follow it belong to that job.
             Those before the first --name apply to every job, also to those of the files, and
             override what the files say. Without any --name or file, all of them describe one
             job.)")
      .words(0, kMaxFiles)
      .value("profile", "NAME", "run a built-in job file: " + names)
      .repeatable("client", "HOST[:PORT][,...]",
                  R"(run all jobs on each of these machines at once; 'shmifperf server' must be
                     running there)")
      .repeatable("section", "NAME", "run only the job of this section of the job files")
      .flag("showcmd", "print the jobs as a command line, and exit")
      .flag("parse-only", "check the job files and options without running them, and exit");
  add_rows(options);
  options
      .example("shmifperf run --profile rfc2544",
               "for each frame size, the highest rate at which no frame is lost")
      .example(
          "shmifperf run --rw=tx --bs=imix --rate=2Gbit --runtime=30 --engine=bus,tap,packet,unix",
          R"(the same load over four media, one after the other: a bus, TAP devices, packet
             sockets and Unix sockets (tap and packet need user namespaces, or root))")
      .example(
          "shmifperf run --runtime=10 --name=calls --bs=200 --rate_iops=50 --numjobs=20 "
          "--name=noise --rate=1Gbit --rate_process=poisson",
          "two kinds of jobs at once")
      .example(
          "shmifperf options --profile voip >voip.job\n"
          "  shmifperf run voip.job --section=voip --output-format=json --output=voip.json",
          "one section of a job file, with its results as JSON");
  return options;
}

/// Collects all errors, so that they can be reported together.
class Reader {
 public:
  explicit Reader(const Arguments& args) : args_(args) {}

  RunLine read() {
    read_files();
    read_options();
    refuse_errors();
    for (const std::string& each : line_.set.warnings) complain("run: " + each);
    perf::Planning planning = perf::plan_of(line_.set);
    errors_ = std::move(planning.problems);
    refuse_errors();
    line_.plan = std::move(planning.jobs);
    line_.servers = servers_of(args_.all("client"));
    read_servers();
    line_.show_command = args_.flag("showcmd");
    line_.parse_only = args_.flag("parse-only");
    return std::move(line_);
  }

 private:
  void read_files();
  void keep_sections();
  void read_options();
  void read_servers();
  void set(const OptionRow& row, const std::string& value, JobOptions& job);
  void refuse_errors() const;

  const Arguments& args_;
  RunLine line_;
  std::vector<std::string> errors_;
};

void Reader::read_files() {
  const auto add = [this](std::vector<std::string> errors) {
    errors_.insert(errors_.end(), errors.begin(), errors.end());
  };
  if (const auto name = args_.text("profile")) {
    const perf::Profile* const profile = perf::find_profile(*name);
    if (profile == nullptr) throw UsageError{perf::unknown_profile(*name)};
    add(perf::read_job_text("profile " + *name, profile->text, line_.set));
  }
  for (const std::string& path : args_.positional()) add(perf::read_job_file(path, line_.set));
  if (args_.given("section")) keep_sections();
}

void Reader::keep_sections() {
  const std::vector<std::string> wanted = args_.all("section");
  std::vector<std::string> known;
  known.reserve(line_.set.jobs.size());
  for (const JobOptions& job : line_.set.jobs) known.push_back(job.name);
  for (const std::string& name : wanted) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string what = "--section: there is no section \"" + name + '"';
    if (const auto meant = nearest(name, known)) what += ", did you mean \"" + *meant + "\"?";
    errors_.push_back(what);
  }
  std::erase_if(line_.set.jobs, [&](const JobOptions& job) {
    return std::find(wanted.begin(), wanted.end(), job.name) == wanted.end();
  });
}

void Reader::read_options() {
  const bool files = args_.given("profile") || !args_.positional().empty();
  const std::size_t of_files = line_.set.jobs.size();
  // Options of the command line replace those of files.
  for (JobOptions& each : line_.set.jobs) each.given_before = each.given.size();
  JobOptions common;  // options before the first --name
  common.where = kWhere;
  bool any = false;
  bool has_output = false;
  JobOptions* job = &common;
  for (const auto& [name, value] : args_.in_order()) {
    const OptionRow* const row = perf::find_option(name);
    if (row == nullptr) continue;  // an option such as --profile
    if (row->name == "name") {
      line_.set.jobs.push_back(common);
      job = &line_.set.jobs.back();
      job->given_before = common.given.size();
    }
    any = any || !row->of_run();
    // The places on the command line replace those of the files.
    if (row->name == "output" && !std::exchange(has_output, true)) {
      line_.set.run.outputs.clear();
      std::erase_if(line_.set.run.given, [](const auto& each) { return each.first == "output"; });
    }
    set(*row, value, *job);
    if (job != &common || row->of_run()) continue;
    for (std::size_t i = 0; i < of_files; ++i) {
      if (!set_option(*row, value, line_.set.jobs[i])) break;
      line_.set.jobs[i].where_of[row->name] = kWhere;
    }
  }
  if (!files && any && line_.set.jobs.empty()) {
    common.name = "job";
    line_.set.jobs.push_back(common);
  }
}

/// The servers that jobs name.
void Reader::read_servers() {
  const std::vector<std::string> named = perf::servers_in(line_.set);
  if (named.empty()) return;
  if (!line_.servers.empty()) {
    throw UsageError{
        "--client runs all jobs on each server, but jobs also name servers of their own by the "
        "option server (leave one out)"};
  }
  errors_ = perf::server_problems(line_.set);
  refuse_errors();
  line_.servers = servers_of(named);
}

void Reader::set(const OptionRow& row, const std::string& value, JobOptions& job) {
  const Result<void> done =
      row.of_run() ? set_option(row, value, line_.set.run) : set_option(row, value, job);
  if (!done) errors_.push_back("--" + done.error().message);
}

void Reader::refuse_errors() const {
  if (errors_.empty()) return;
  const std::size_t shown = std::min(errors_.size(), kMaxErrors);
  for (std::size_t i = 0; i + 1 < shown; ++i) complain("run: " + errors_[i]);
  throw UsageError{errors_[shown - 1]};
}

/// " --NAME=VALUE" for each option, with its last value.
std::string written(const std::vector<std::pair<std::string, std::string>>& given) {
  std::string text;
  for (auto it = given.begin(); it != given.end(); ++it) {
    const bool again = std::any_of(it + 1, given.end(),
                                   [&](const auto& later) { return later.first == it->first; });
    if ((again && it->first != "output") || it->first == "name") continue;
    text += " --" + it->first + '=' + base::quote_word(it->second);
  }
  return text;
}

/// Reads the line and the files that it names. Throws UsageError, or Exit after --help. If there
/// are several errors, complain() has printed the others.
RunLine read_run_line(const CommandLine& line) {
  const Arguments args = options_of_run().parse(line);
  return Reader(args).read();
}

/// A command line for a shell that means the same as `set`, one job per line.
std::string command_line_of(const perf::JobSet& set) {
  std::string text = "shmifperf run" + written(set.run.given);
  for (const JobOptions& job : set.jobs) {
    text += " \\\n  --name=" + base::quote_word(job.name) + written(job.given);
  }
  return text + '\n';
}

/// Lets the servers run the jobs, and prints the result to `output`. Result: the exit code.
int run_remotely(const perf::JobSet& set, const std::vector<std::string>& servers,
                 const std::vector<std::string>& argv, RunOutput& output,
                 perf::RunControl& control) {
  perf::WholeRun whole{.version = version_number(), .command = argv, .options = set.run.given};
  whole.began = std::chrono::system_clock::now();
  const std::vector<perf::HostResult> hosts = perf::run_on_servers(
      {.servers = servers, .version = whole.version, .command = argv}, set, &output, control);
  whole.ended = std::chrono::system_clock::now();
  whole.signal = control.signal.load();
  const std::vector<std::string> lost = output.finish();
  for (const std::string& why : lost) complain(why);
  std::vector<std::string> states;
  for (const perf::HostResult& host : hosts) {
    states.insert(states.end(), host.states.begin(), host.states.end());
    if (output.tells_failures()) continue;
    for (const std::string& why : host.failures) complain("run: " + host.name + ": " + why);
  }
  const ResultForms forms(
      [&](perf::Bins bins) { return perf::combined_json(hosts, whole, bins); },
      [&](std::size_t columns) { return perf::combined_text(hosts, whole, columns); });
  const int code = perf::exit_code_of(hosts, whole);
  const bool all_written = output.print_result(forms, states) && lost.empty();
  return all_written || code != kDone ? code : kFailed;
}

using perf::RunControl;

/// The signal handlers store the signals here, and do no other work.
std::atomic<RunControl*> heard{nullptr};

extern "C" void on_signal(int number) {
  RunControl* const control = heard.load();
  if (control == nullptr || number == SIGPIPE) return;
  if (number == SIGUSR1) {
    control->status.store(true);
    return;
  }
  int none = 0;
  control->signal.compare_exchange_strong(none, number);
  control->stops.fetch_add(1);
}

/// While this exists, SIGINT, SIGTERM and SIGHUP stop the run; a second one stops it hard. SIGHUP
/// stays ignored if nohup ignores it. SIGUSR1 asks for the run's status. This process ignores
/// SIGPIPE, so its writers get an error. In programs that jobs run, SIGPIPE has its default effect.
class RunSignals {
 public:
  explicit RunSignals(RunControl& control) {
    heard.store(&control);
    install();
  }
  /// Installs the handlers again, after a library replaced them.
  static void install() { handle(on_signal); }
  RunSignals(const RunSignals&) = delete;
  RunSignals& operator=(const RunSignals&) = delete;
  ~RunSignals() {
    heard.store(nullptr);
    handle(SIG_DFL);
  }

 private:
  static void handle(void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    ::sigemptyset(&action.sa_mask);
    for (const int number : kNumbers) {
      struct sigaction before{};
      ::sigaction(number, nullptr, &before);
      if (number == SIGHUP && before.sa_handler == SIG_IGN) continue;
      ::sigaction(number, &action, nullptr);
    }
  }

  static constexpr int kNumbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE};
};

/// Says how long a search will take, if it takes long.
void say_how_long(const perf::RunOptions& options, const std::vector<perf::PlannedJob>& plan) {
  constexpr double kWorthSaying = 10;
  const auto time = perf::search_time(options, plan);
  if (!time || time->max_seconds < kWorthSaying) return;
  complain(std::to_string(time->searches) + (time->searches == 1 ? " search" : " searches") +
           " with trials of " + perf::format_seconds(time->trial_seconds) + ": " +
           perf::format_eta(time->min_seconds) + " to " + perf::format_eta(time->max_seconds) +
           (time->bounded ? "" : ", or longer on a busy machine, where trials are repeated"));
}

/// The files that the jobs of a run will write.
class JobFiles {
 public:
  /// Call it before the run.
  JobFiles(const std::vector<perf::PlannedJob>& plan, const perf::RunOptions& options)
      : paths_(perf::outputs_of(plan, options)) {
    for (const perf::PlannedJob& job : plan) {
      if (!job.options.verify_state_save) continue;
      paths_.push_back(perf::verify_state_path(options.aux_path, job.options.name));
    }
    for (const std::string& path : paths_) before_.push_back(state_of(path));
  }

  /// The files that the run has written. Leaves out those that a message in `lost` calls
  /// incomplete.
  std::vector<std::string> written(const std::vector<std::string>& lost) const {
    std::vector<std::string> files;
    for (std::size_t i = 0; i < paths_.size(); ++i) {
      const std::optional<State> now = state_of(paths_[i]);
      const std::string begin = "the log " + paths_[i] + " is not complete: ";
      const auto is_of_it = [&](const std::string& text) { return text.starts_with(begin); };
      if (now && now != before_[i] && std::ranges::none_of(lost, is_of_it)) {
        files.push_back(paths_[i]);
      }
    }
    return files;
  }

 private:
  /// The properties that change when a file is written or made anew.
  using State = std::tuple<dev_t, ino_t, off_t, std::int64_t, std::int64_t>;

  static std::optional<State> state_of(const std::string& path) {
    struct stat file{};
    if (::stat(path.c_str(), &file) != 0) return std::nullopt;
    return State(file.st_dev, file.st_ino, file.st_size, file.st_mtim.tv_sec, file.st_mtim.tv_nsec);
  }

  std::vector<std::string> paths_;
  std::vector<std::optional<State>> before_;
};

/// Runs the jobs on this machine, or on the servers if there are any, and prints the result.
/// `argv`: the command line, for the report. Result: the exit code.
int run_jobs(const RunLine& wanted, const std::vector<std::string>& argv) {
  const perf::JobSet& set = wanted.set;
  // This is checked before the run, so that the result of an hour is not lost.
  const std::vector<std::string> inputs = perf::inputs_of(wanted.plan, set.run);
  for (const perf::OutputPlace& place : set.run.outputs) {
    if (auto may = check_file(place.path, inputs); !may) return fail(may.error());
  }
  RunControl control;
  const RunSignals signals(control);
  auto output = RunOutput::open(set.run, control);
  if (!output) return fail(output.error());
  RunSignals::install();
  if (!wanted.servers.empty()) {
    return run_remotely(set, wanted.servers, argv, **output, control);
  }
  say_how_long(set.run, wanted.plan);
  const JobFiles job_files(wanted.plan, set.run);
  bool stuck = false;
  auto result = perf::run_campaign(set.run, wanted.plan, output->get(), control, stuck);
  std::vector<std::string> lost = (*output)->finish();
  if (!result) return fail(result.error());
  for (const std::string& log : result->lost_outputs) complain(log);
  std::ranges::move(lost, std::back_inserter(result->lost_outputs));
  if (!result->lost_outputs.empty() && result->exit_code == kDone) result->exit_code = kFailed;
  result->version = version_number();
  result->command = argv;
  const ResultForms forms([&](perf::Bins bins) { return perf::to_json(*result, bins); });
  int code = result->exit_code;
  if (!(*output)->print_result(forms, job_files.written(result->lost_outputs)) && code == kDone) {
    code = kFailed;
  }
  if (stuck) {
    // Destructors would destroy objects that the stuck thread still uses.
    std::fflush(nullptr);
    ::_exit(code);
  }
  return code;
}

int run_run(const CommandLine& line) {
  if (const auto help = help_asked_for(line.words)) {
    std::fwrite(help->data(), 1, help->size(), stdout);
    return kDone;
  }
  const RunLine wanted = read_run_line(line);
  const std::string problem = problem_of_outputs(
      wanted.set.run, wanted.servers.empty() ? wanted.plan : std::vector<perf::PlannedJob>());
  if (!problem.empty()) throw UsageError{problem};
  if (wanted.show_command) {
    const std::string text = command_line_of(wanted.set);
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  if (wanted.show_command || wanted.parse_only) return kDone;
  std::vector<std::string> argv{program_name(), "run"};
  argv.insert(argv.end(), line.words.begin(), line.words.end());
  if (line.tail) {
    argv.emplace_back("--");
    argv.insert(argv.end(), line.tail->begin(), line.tail->end());
  }
  return run_jobs(wanted, argv);
}

}  // namespace

const Command kRunCommand{"run", "run jobs and report their results", run_run};

}  // namespace shmif::tools
