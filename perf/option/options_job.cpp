// The rows about the job itself, and about how long it runs.

#include "perf/option/option_kinds.hpp"

namespace shmif::perf {

using J = JobOptions;
using namespace std::chrono_literals;

namespace {

using enum OnServer;

constexpr std::uint64_t kAny = std::numeric_limits<std::uint64_t>::max();
constexpr auto kDay = 24h;
constexpr auto kYear = 365 * kDay;

Kind<J> job_name() {
  Kind<J> kind = text(&J::name, "NAME", "1 to 64 printable characters without / [ ]");
  kind.set = [](std::string_view value, J& job) -> Result<void> {
    if (!is_job_name(value)) {
      return refused(
          value,
          "is not a job name (1 to 64 printable characters without / [ ], and not \"global\")");
    }
    job.name = std::string(value);
    return {};
  };
  return kind;
}

}  // namespace

void add_job_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::job);
  rows.add("name", allowed, job_name(),
           R"(The job's name. In a job file, the section's heading gives the name. On the
              command line, this option begins a new job.)",
           "the heading, or \"job\" on the command line");
  rows.add("description", allowed, text(&J::description, "TEXT", "any text"),
           "A remark, which is shown with the results.");
  rows.add("numjobs", allowed, number(&J::numjobs, 1, 256, "jobs"),
           R"(Runs this many copies (clones) of the job in all. If there are two or more, they
              are named NAME.0, NAME.1 and so on. They send frames of the same kind, made from
              different seeds.)");
  rows.add("thread", allowed, yes_or_no(&J::thread),
           R"(The job is a thread of the program. By default it is a process, whose crash does
              not harm other jobs.)")
      .to_peer()
      .only([](const J& job) { return job.engine != EngineKind::host; },
            "is not for engine=host: an emulated host is a process");
  rows.add("wait_for", allowed, text(&J::wait_for, "NAME", "the name of another job"),
           "Starts when every clone of that job has ended.");
  rows.add("stonewall wait_for_previous", allowed, yes_or_no(&J::stonewall),
           R"(This job and all jobs after it start when every job before it has ended. This also
              begins a new group.)");
  rows.add("start_delay startdelay", allowed, time(&J::start_delay, TimeUnit::seconds, 0ns, kYear),
           "Delays the start by that time.")
      .to_peer();
  rows.add("server", client_only,
           text(&J::server, "HOST[:PORT]", "the address of a 'shmifperf server'", 256),
           R"(The machine that runs the job; 'shmifperf server' must be running there. Give it to
              each job, or to none. A job may send to a job on another server (to): over
              engine=udp with rw=tx, if that one has rw=rx, hostname and port; over engine=bus, if
              both give a bus, and 'shmifctl uplink' joins these buses, also with rw=pingpong and
              rw=echo. See also run --client, which runs all jobs on each server.)",
           "this machine");
  rows.add("new_group", allowed, yes_or_no(&J::new_group),
           "Begins a new group of jobs, which has figures of its own.");
  rows.add("group_reporting", allowed, yes_or_no(&J::group_reporting),
           "Reports the sums of the group in place of each of its jobs.")
      .to_peer();
  rows.add("exitall", allowed, yes_or_no(&J::exitall),
           "When this job ends, all jobs of its group end.");
  rows.add("exitall_on_error exitall_error", allowed, yes_or_no(&J::exitall_on_error),
           "When this job fails, all jobs of its group end.")
      .to_peer();
  rows.add("background", allowed, yes_or_no(&J::background),
           "The job does not keep a run going: it is ended when all other jobs have ended.")
      .to_peer();
  rows.add("startup_timeout", allowed, time(&J::startup_timeout, TimeUnit::seconds, 1ms, 1h),
           R"(How long the job may take to become ready; then it fails. To become ready, it
              starts its process or thread, opens its devices, fills its buffers and runs
              exec_prerun. Jobs that start together wait for each other: when one of them
              becomes ready, the time of the others begins anew.)")
      .to_peer();
}

void add_length_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::length);
  rows.add("runtime timeout", allowed, time(&J::runtime, TimeUnit::seconds, 0ns, kYear),
           "How long the job sends; 0 is no limit.", "0, no limit")
      .to_peer();
  rows.add("time_based", allowed, yes_or_no(&J::time_based),
           "Sends for all of runtime: the job starts again when size, replay or loops are done.")
      .to_sending_peer()
      .only(sends_by_itself, kSendsByItself);
  rows.add("ramp_time", allowed, time(&J::ramp_time, TimeUnit::seconds, 0ns, kDay),
           "Sends for that time before runtime begins; these frames do not count in any result.")
      .to_peer();
  rows.add("drain_time", allowed, time(&J::drain_time, TimeUnit::seconds, 0ns, 1h),
           R"(How long the receiver waits for missing frames after the last frame was sent. Then
              it listens equally long again: a frame that arrives in this second time counts as
              late, and a frame that does not arrive counts as lost. With rw=pingpong, the job
              waits this long for each reply. If drain_time is 0, it waits 1 s.)")
      .to_peer();
  rows.add("loops", allowed, number(&J::loops, 1, kAny, "times"),
           "How many times to send size bytes, or the capture of replay. Sequence numbers run on.")
      .to_sending_peer()
      .only(sends_by_itself, kSendsByItself);
  rows.add("number_ios", allowed, number(&J::number_ios, 0, kAny, "frames"),
           "Sends no more frames than that, in all loops together; 0 is no limit.", "0, no limit")
      .to_sending_peer()
      .only(sends_by_itself, kSendsByItself);
  rows.add("size", allowed, bytes(&J::size_bytes, 0, kAny),
           "The bytes of one loop, counted in frames without FCS; 0 is no limit.", "0, no limit")
      .to_sending_peer()
      .only(sends_by_itself, kSendsByItself);
  rows.add("io_limit io_size", allowed, bytes(&J::io_limit_bytes, 0, kAny),
           "Sends no more bytes than that, in all loops together; 0 is no limit.", "0, no limit")
      .to_sending_peer()
      .only(sends_by_itself, kSendsByItself);
}

}  // namespace shmif::perf
