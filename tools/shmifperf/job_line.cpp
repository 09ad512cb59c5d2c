#include "tools/shmifperf/job_line.hpp"

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/text.hpp"
#include "perf/option/job_file.hpp"
#include "perf/option/option_table.hpp"
#include "perf/remote/shares.hpp"
#include "tools/common/options.hpp"
#include "tools/shmifperf/run_remote.hpp"

namespace shmif::tools {

namespace {

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

}  // namespace

RunLine read_run_line(const CommandLine& line) {
  const Arguments args = options_of_run().parse(line);
  return Reader(args).read();
}

std::string command_line_of(const perf::JobSet& set) {
  std::string text = "shmifperf run" + written(set.run.given);
  for (const JobOptions& job : set.jobs) {
    text += " \\\n  --name=" + base::quote_word(job.name) + written(job.given);
  }
  return text + '\n';
}

}  // namespace shmif::tools
