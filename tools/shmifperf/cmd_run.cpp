#include <cstdio>

#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/job_line.hpp"
#include "tools/shmifperf/run_jobs.hpp"
#include "tools/shmifperf/run_output.hpp"

namespace shmif::tools {

namespace {

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
