#include <algorithm>
#include <string>
#include <vector>

#include "perf/plan/plan.hpp"
#include "perf/remote/limits.hpp"
#include "perf/remote/protocol.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

using namespace perf;

/// What a server makes of jobs, up to where it would run them.
void take_jobs(const JobsMessage& message) {
  std::vector<std::string> problems;
  const ServerLimits limits;
  JobSet set = job_set_of(message.set, limits, problems);
  require(problems.size() <= 20, "more problems than anybody reads");
  if (!problems.empty()) return;
  if (!apply_limits(limits, set).empty()) return;
  require(!set.run.allow_exec && set.run.trigger_command.empty(), "a command of a stranger");
  for (const JobOptions& job : set.jobs) {
    require(job.exec.empty() && job.exec_prerun.empty() && job.exec_postrun.empty(),
            "a command of a stranger");
    require(job.nice.value_or(0) >= 0 && !job.rtprio, "a privilege of a stranger");
    require(job.bus.empty() && job.filename.empty() && job.replay.empty() &&
                job.write_pcap.empty() && job.uid.empty() && !job.verify_state_save &&
                !job.allow_live && !job.no_peer,
            "a file, a user or a network for a stranger");
  }
  require(set.run.trigger_file.empty() && set.run.trigger_match.empty() &&
              set.run.trigger_timeout.count() == 0,
          "states of a stranger");
  const Planning planning = plan_of(set);
  if (!planning.problems.empty()) return;
  require(planning.jobs.size() <= 2 * limits.max_jobs, "more jobs than are allowed");
  (void)too_much_memory(limits, planning.jobs, set.run);
}

void check(const std::string& text) {
  const auto message = decode(text);
  if (!message) return;
  const std::string again = encode(*message);
  const auto back = decode(again);
  require(back.has_value() && encode(*back) == again, "a message that does not come back");
  if (const auto* jobs = std::get_if<JobsMessage>(&*message)) take_jobs(*jobs);
}

}  // namespace

/// The bytes are a message, and a stream of messages that comes in pieces.
void remote(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  check(text);
  MessageReader reader(kMaxHelloBytes);
  const std::size_t piece = text.empty() ? 1 : 1 + bytes[0] % 64U;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    reader.feed(std::string_view(text).substr(at, piece));
    for (;;) {
      const auto next = reader.next();
      if (!next) return;
      if (!*next) break;
      require(!(*next)->empty() && (*next)->size() <= kMaxHelloBytes, "a length out of bounds");
      check(**next);
    }
  }
}

}  // namespace shmif::fuzz
