// The rows about the job itself, and about how long it runs.

#include "perf/option/option_kinds.hpp"

namespace shmif::perf {

using J = JobOptions;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kAny = std::numeric_limits<std::uint64_t>::max();
constexpr auto kDay = 24h;
constexpr auto kYear = 365 * kDay;

Kind<J> job_name() {
  Kind<J> kind = text(&J::name, "NAME", "1 to 64 printable characters without / [ ]");
  kind.set = [](std::string_view value, J& job) -> Result<void> {
    if (!is_job_name(value)) {
      return refused(value,
                     "is not a name of a job (1 to 64 printable characters without / [ ], and "
                     "not \"global\")");
    }
    job.name = std::string(value);
    return {};
  };
  return kind;
}

}  // namespace

void add_job_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::job);
  rows.add("name", job_name(),
           "The job's name: that of its section. On the command line it begins a new job.",
           "the section's name");
  rows.add("description", text(&J::description, "TEXT", "any text"),
           "A remark, which is shown with the results.");
  rows.add("numjobs", number(&J::numjobs, 1, 256, "jobs"),
           "Makes so many clones of this job, named NAME.0, NAME.1 and so on. They send the same "
           "frames with different seeds.");
  rows.add("thread", yes_or_no(&J::thread),
           "The job is a thread of the program. By default it is a process, whose crash does not "
           "harm other jobs.");
  rows.add("wait_for", text(&J::wait_for, "NAME", "the name of another job"),
           "Starts when every clone of that job has ended.");
  rows.add(
      "stonewall wait_for_previous", yes_or_no(&J::stonewall),
      "This job and all jobs after it start when every job before it has ended. This also begins "
      "a new group.");
  rows.add("start_delay startdelay", time(&J::start_delay, TimeUnit::seconds, 0ns, kYear),
           "Delays the start by that time.");
  rows.add("new_group", yes_or_no(&J::new_group),
           "Begins a new group of jobs, which has figures of its own.");
  rows.add("group_reporting", yes_or_no(&J::group_reporting),
           "Reports the sums of the group in place of each of its jobs.");
  rows.add("exitall", yes_or_no(&J::exitall), "When this job ends, all jobs of its group do.");
  rows.add("exitall_on_error exitall_error", yes_or_no(&J::exitall_on_error),
           "When this job fails, all jobs of its group end.");
  rows.add("background", yes_or_no(&J::background),
           "The job does not keep a run going: it is ended when all other jobs have ended.");
  rows.add("startup_timeout", time(&J::startup_timeout, TimeUnit::seconds, 1ms, 1h),
           "A job whose process or thread is not there by then has failed. The limit for getting "
           "ready is startup_batch_timeout.");
}

void add_length_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::length);
  rows.add("runtime timeout", time(&J::runtime, TimeUnit::seconds, 0ns, kYear),
           "How long the job sends; 0 is no limit.", "0, no limit");
  rows.add("time_based", yes_or_no(&J::time_based),
           "Sends for all of runtime; starts again when size, replay or loops are done.");
  rows.add("ramp_time", time(&J::ramp_time, TimeUnit::seconds, 0ns, kDay),
           "Sends for that time before runtime begins; these frames do not count in any result.");
  rows.add("drain_time", time(&J::drain_time, TimeUnit::seconds, 0ns, 1h),
           "How long to wait for the last frames after the last was sent. Frames that come later "
           "are late, not lost. A ping-pong waits that long for each reply, or 1 s with 0.");
  rows.add("loops", number(&J::loops, 1, kAny, "times"),
           "How many times to send size bytes, or the capture of replay. Sequence numbers run on.");
  rows.add("number_ios", number(&J::number_ios, 0, kAny, "frames"),
           "Sends no more frames than that, in all loops together; 0 is no limit.", "0, no limit");
  rows.add("size", bytes(&J::size_bytes, 0, kAny),
           "The bytes of one loop, counted in frames without FCS; 0 is no limit.", "0, no limit");
  rows.add("io_limit io_size", bytes(&J::io_limit_bytes, 0, kAny),
           "Sends no more bytes than that, in all loops together; 0 is no limit.", "0, no limit");
}

}  // namespace shmif::perf
