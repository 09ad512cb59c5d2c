// The rows about verification, latency, searches and records.

#include "base/text.hpp"
#include "perf/engine/engine.hpp"
#include "perf/option/option_kinds.hpp"

namespace shmif::perf {

using J = JobOptions;
using namespace std::chrono_literals;

namespace {

using enum OnServer;

/// 1, 0, or fio's names for this check and for no check.
Kind<J> verify() {
  Kind<J> kind = yes_or_no(&J::verify);
  kind.range = "1 or crc32c, 0 or none, regenerate";
  kind.placeholder = "0|1|regenerate";
  kind.set = [set = kind.set](std::string_view value, J& job) -> Result<void> {
    // Other checks that fio has under this name.
    for (const std::string_view of_fio : {"md5", "crc", "sha", "xxhash", "meta", "pattern"}) {
      if (value == "crc32c" || !value.starts_with(of_fio)) continue;
      return Error(Errc::bad_argument, "\"" + std::string(value) +
                                           "\" is a check of fio; shmifperf's frames carry a "
                                           "CRC-32C (verify=crc32c, which is the default)");
    }
    job.verify_regenerate = value == "regenerate";
    if (value == "crc32c" || value == "regenerate") value = "1";
    if (value == "none" || value == "null") value = "0";
    return set(value, job);
  };
  kind.copy = [](const J& from, J& to) {
    to.verify = from.verify;
    to.verify_regenerate = from.verify_regenerate;
  };
  return kind;
}

Kind<J> end_on() {
  return one_of(&J::end_on_overrun, {{"none", false}, {"overrun", true}}, "EVENT");
}

Kind<J> steady_state() {
  Kind<J> kind = text(&J::steadystate, "WHAT:LIMIT",
                      "iops, iops_slope, bw or bw_slope, and a number or a percentage");
  kind.set = [](std::string_view value, J& job) -> Result<void> {
    const auto read = parse_steady_state(value);
    if (!read) return read.error();
    job.steadystate = std::string(value);
    return {};
  };
  return kind;
}

/// fio's list of percentiles, "50:99:99.9".
Result<std::vector<double>> parse_percentiles(std::string_view text) {
  constexpr std::size_t kMax = 20;
  std::vector<double> list;
  for (const std::string_view part : base::split(text, ':')) {
    const auto each = parse_per_cent(part);
    if (!each || *each <= 0 || list.size() == kMax) {
      return refused(
          text,
          "is not a list of percentiles (up to 20 numbers above 0, up to 100, as 50:99:99.9)");
    }
    list.push_back(*each);
  }
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

/// As in fio, a bound starts a search for it, unless another search is asked for.
Kind<J> latency_target() {
  Kind<J> kind = time(&J::latency_target, TimeUnit::microseconds, 0ns, 1h);
  kind.set = [set = kind.set](std::string_view value, J& job) -> Result<void> {
    const Result<void> done = set(value, job);
    if (done && job.search == Search::none && job.latency_target.count() > 0) {
      job.search = Search::latency_target;
    }
    return done;
  };
  return kind;
}

/// fio's percentage of the original speed; the member is the factor for times.
Kind<J> replay_time_scale() {
  Kind<J> kind{.placeholder = "N", .range = "1 to 100000", .unit = "per cent"};
  kind.set = [](std::string_view value, J& job) -> Result<void> {
    const auto read = parse_count(value);
    if (!read) return read.error();
    if (*read < 1 || *read > 100'000) return refused(value, "is out of range (1 to 100000)");
    job.replay_time_scale = 100.0 / static_cast<double>(*read);
    return {};
  };
  kind.show = [](const J&) { return std::string("100"); };
  return kind;
}

Kind<J> above_zero_share(double J::* member) {
  Kind<J> kind = share(member, "above 0% to 100%");
  kind.set = [set = kind.set](std::string_view value, J& job) -> Result<void> {
    if (const auto read = parse_share(value); read && *read <= 0) {
      return refused(value, "is out of range (above 0)");
    }
    return set(value, job);
  };
  return kind;
}

bool searches(const J& job) {
  return job.search != Search::none && sends_by_itself(job);
}
bool searches_partial_loss(const J& job) {
  return job.search == Search::pdr && sends_by_itself(job);
}
bool searches_latency(const J& job) {
  return job.search == Search::latency_target && sends_by_itself(job);
}
bool takes_capture(const J& job) {
  return job.rw == Role::tx || job.rw == Role::txrx;
}
bool replays(const J& job) {
  return !job.replay.empty() && takes_capture(job);
}
bool has_times_of_capture(const J& job) {
  return !has_own_pace(job) && takes_capture(job);
}
bool ends_when_steady(const J& job) {
  return !job.steadystate.empty();
}

bool writes_averages(const J& job) {
  return !job.write_bw_log.empty() || !job.write_iops_log.empty() || !job.write_lat_log.empty();
}
bool writes_histograms(const J& job) {
  return !job.write_hist_log.empty();
}
bool writes_logs(const J& job) {
  return writes_averages(job) || writes_histograms(job);
}

/// Whether this run receives what the job sends, or the job itself receives.
bool has_receiver(const J& job) {
  if (job.rw != Role::tx) return true;
  if (job.engine == EngineKind::udp || job.engine == EngineKind::bus) return !job.no_peer;
  return engine_of(job.engine).has_receiver;
}
constexpr const char* kNoReceiver =
    "needs a receiver; there is none with no_peer, or with rw=tx on engine=pcap or null";

/// Whether frames may be checked some time after they have come.
bool checks_later(const J& job) {
  return has_receiver(job) && job.rw != Role::pingpong && job.rw != Role::echo;
}
constexpr const char* kChecksLater =
    "needs a receiver that sends no replies; with rw=pingpong and echo, each frame is checked "
    "before the next is sent, and there is no receiver with no_peer, or with rw=tx on engine=pcap "
    "or null";

bool has_latency(const J& job) {
  return has_receiver(job) && engine_of(job.engine).capabilities.has_latency && !job.verify_only;
}
constexpr const char* kNoLatency =
    "needs a latency; there is none on engine=pcap, with verify_only or no_peer, or with rw=tx on "
    "engine=null";

/// per_job_logs: 0 or 1, or agg, which is a shared log of sums.
Kind<J> shared_logs() {
  Kind<J> kind = yes_or_no(&J::per_job_logs);
  kind.placeholder = "0|1|agg";
  kind.range = "0, 1 or agg";
  kind.set = [plain = kind.set](std::string_view value, J& job) -> Result<void> {
    job.agg_logs = value == "agg";
    return plain(job.agg_logs ? "0" : value, job);
  };
  return kind;
}

}  // namespace

void add_verification_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::verification);
  rows.add("verify", allowed, verify(),
           R"(Each frame carries a CRC-32C of all its bytes, which the receiver checks. With
              regenerate, the receiver also makes each frame again from the seed and compares
              both: this finds wrong contents with a right checksum. With 0, frames are still
              numbered and counted.)")
      .to_peer();
  rows.add("do_verify", allowed, yes_or_no(&J::do_verify),
           R"(With 0, frames carry what verification needs, but only a later run checks them.
              Most damage is then not detected: a damaged frame counts as received, under the
              number that it carries. This run reports only frames that were cut short, and
              frames with an impossible length or with a sequence number that the sender never
              sent.)")
      .to_peer()
      .only(has_receiver, kNoReceiver);
  rows.add("verify_backlog", allowed, number(&J::verify_backlog, 0, 1'000'000'000, "frames"),
           R"(Checks frames in batches of this size. With 0, each frame is checked when it
              comes. Not for rw=pingpong and echo.)")
      .to_peer()
      .only(checks_later, kChecksLater);
  rows.add("verify_async", allowed, number(&J::verify_async, 0, 64, "threads"),
           R"(The number of extra threads that check frames. With 0 the job itself checks them.
              Not for rw=pingpong and echo.)")
      .to_peer()
      .only(checks_later, kChecksLater);
  rows.add("verify_only", allowed, yes_or_no(&J::verify_only),
           R"(For rw=rx: checks frames of any earlier run, from a capture (engine=pcap) or a
              bus. It finds missing, duplicate and damaged frames. With verify=regenerate it
              also finds frames whose contents differ from those generated from randseed.)");
  rows.add("verify_state_save", saves_state, yes_or_no(&J::verify_state_save),
           R"(At the end, on a signal and on a trigger, saves to NAME-verify.state what a later
              run needs to continue the verification.)")
      .to_peer();
  rows.add("verify_state_load", needs_directory,
           text(&J::verify_state_load, "PATH", "the path of a saved state"),
           R"(Continues from a saved state. A state is refused if it has the file format of
              another version of shmifperf, or if a job with another name or with other frames
              (bs, payload, randseed and so on) saved it. It is also refused if it counts frames
              from a job that does not send to this job now. Give it to the sender, too: a sender
              without it begins with frame 0 again, and its frames count as new ones. With --client,
              PATH is a file of the server; "client" means the file SERVER-JOB-verify.state in the
              client's current directory, which the client then sends. fio's option is a yes or
              no, and finds the file itself.)");
  rows.add("continue_on_error", allowed,
           parsed(
               &J::continue_on_error, parse_error_classes,
               +[](const ErrorClasses&) { return std::string("none"); }, "CLASSES",
               "none, all, or some of tx, rx, io, verify, overrun, lock, separated by commas"),
           R"(Goes on after errors of these classes. They are counted, and do not make the job
              or the run fail: the exit code is 0 if nothing else is wrong. tx: a frame could
              not be sent. rx: receiving failed. io: both of these. verify: a frame arrived
              damaged. overrun: senders overwrote frames before the job had read them; this is
              an error only on a bus that pauses its senders (bus_pause). lock: other ports hold
              the lock or the space of the ring, and do not release it. The result has the
              count and the first error of each class. A bus or link that is gone or corrupt
              always ends the job.)")
      .to_peer();
  rows.add("end_on", allowed, end_on(), "Ends the job, without failure, when this happens.")
      .to_peer()
      .only(has_receiver, kNoReceiver);
}

void add_measurement_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::measurement);
  rows.add("disable_lat", allowed, yes_or_no(&J::disable_lat),
           "Does not measure times. This gives the highest rate with the smallest frames.")
      .to_peer();
  rows.add("percentile_list", allowed,
           kind_of(&J::percentile_list, "N[:N]...",
                   "up to 20 numbers above 0, up to 100, separated by colons", parse_percentiles,
                   [](const auto&) { return "none"; }),
           R"(Extra percentiles of the latency, for example 99.5:99.95. The result shows them in
              "percentile". Every result also has the usual ones.)")
      .to_peer()
      .only(has_latency, kNoLatency);
  rows.add("max_latency", allowed, time(&J::max_latency, TimeUnit::microseconds, 0ns, 1h),
           R"(The job fails when one of its frames takes longer, from its intended send time to
              its arrival or its reply. Frames of ramp_time do not count.)",
           "0, no limit")
      .to_peer()
      .only(has_latency, kNoLatency);
  rows.add("search", allowed,
           one_of(&J::search,
                  {{"none", Search::none},
                   {"ndr", Search::ndr},
                   {"pdr", Search::pdr},
                   {"latency_target", Search::latency_target}},
                  "WHAT"),
           R"(Searches for a rate: the highest rate at which no frame is lost (ndr, RFC 2544),
              at which no more than search_loss is lost (pdr), or at which latency_percentile
              per cent of the frames arrive within latency_target (latency_target).)")
      .only(sends_by_itself, kSendsByItself);
  rows.add("search_loss", allowed, share(&J::search_loss, "0% to 100%"),
           "For search=pdr: the share of frames that may be lost.")
      .only(searches_partial_loss, "is for search=pdr");
  rows.add("search_resolution", allowed, above_zero_share(&J::search_resolution),
           R"(The search ends when it knows the rate to within this share of it, or to within
              one frame per second.)")
      .only(searches, "has no effect without a search");
  rows.add("search_max_iops search_max_fps", allowed,
           number(&J::search_max_fps, 0, 1'000'000'000, "frames per second"),
           R"(The highest rate that the search tries; 0 means the rate that a trial at full
              speed reaches.)")
      .only(searches, "has no effect without a search");
  rows.add("search_trial", allowed, time(&J::search_trial, TimeUnit::seconds, 1ms, 24h),
           "How long each trial sends. RFC 2544 wants 60 s.")
      .only(searches, "has no effect without a search");
  rows.add("latency_target", allowed, latency_target(),
           R"(The highest latency allowed in search=latency_target. This option alone starts
              that search: for the highest rate at which latency_percentile per cent of the
              frames have no more than this latency. It cannot be given together with another
              search.)",
           "0, no limit")
      .only(sends_by_itself, kSendsByItself);
  rows.add("latency_percentile", allowed,
           real(&J::latency_percentile, parse_per_cent, "PERCENTAGE", "0 to 100"),
           R"(The share of frames, in per cent, whose latency must be within latency_target.
              fio's default is 100, all frames.)")
      .only(searches_latency, "is for search=latency_target");
  rows.add("steadystate ss", allowed, steady_state(),
           R"(Ends the job when its rate is steady: over ss_dur, its deviation from the mean, or
              its slope, is not above the limit. iops is in frames per second, bw in bits per
              second. Example: iops:0.3%.)");
  rows.add("ss_dur steadystate_duration", allowed, time(&J::ss_dur, TimeUnit::seconds, 0ns, 24h),
           R"(How far steadystate looks back: whole seconds, rounded up, at least 2; 0 means 2.
              With fio, 0 switches steadystate off.)",
           "0, which is 2 seconds")
      .only(ends_when_steady, "has no effect without steadystate");
  rows.add("counters", allowed,
           text(&J::counters, "EVENT[,EVENT]...", "up to 16 events, separated by commas"),
           R"(Counts these events for the job's process, with its threads and children, in the
              measured window. For engine=host, that is the whole host. An event is a name that
              the kernel knows (task-clock, page-faults, context-switches, cycles,
              instructions), a raw code (r1a8), a tracepoint (sched:sched_switch), or the terms
              of a PMU (cpu/event=0x3c/). Where the kernel permits only user space, that part is
              counted, as with task-clock:u. What cannot be counted here is reported with the
              reason.)")
      .to_peer();
  rows.add("ss_ramp steadystate_ramp_time", allowed, time(&J::ss_ramp, TimeUnit::seconds, 0ns, 24h),
           "How long steadystate waits before it begins to look: whole seconds, rounded up.")
      .only(ends_when_steady, "has no effect without steadystate");
}

void add_record_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::records);
  rows.add("replay read_iolog", needs_directory,
           text(&J::replay, "PATH", "the path of a capture file"),
           R"(Sends the frames of a capture at the times of the capture, or at rate or rate_iops
              if one is given. The frames carry no probes, so they are counted but not verified.
              Frames that are too long for the wire are left out, with a warning.)")
      .only(takes_capture, "is for jobs that send frames which get no replies (rw=tx and txrx)");
  rows.add("replay_time_scale", allowed, replay_time_scale(),
           "The speed of replay, in per cent: 200 is twice as fast as the capture.")
      .only(has_times_of_capture,
            "has no effect: it needs replay at the times of the capture, without rate, rate_iops "
            "and replay_no_stall");
  rows.add("replay_max_gap", allowed, time(&J::replay_max_gap, TimeUnit::seconds, 1us, 24h),
           "The longest pause of a replay; longer gaps of the capture are cut to it.",
           "pauses are as long as in the capture")
      .only(has_times_of_capture,
            "has no effect: it needs replay at the times of the capture, without rate, rate_iops "
            "and replay_no_stall");
  rows.add("replay_no_stall", allowed, yes_or_no(&J::replay_no_stall),
           R"(Replays without the pauses of the capture, as fast as rate allows.
              replay_time_scale has no effect then.)")
      .only(replays, "has no effect without replay");
  rows.add("write_pcap", needs_directory, text(&J::write_pcap, "PATH", "the path of a file"),
           R"(Writes each sent frame to a capture file, with the times when it was due and when
              it was sent; with engine=host, each packet that passes the interface of the host in
              either direction, before fault and behind fault_rx, also what its kernel sends.
              replay can read the file. A capture that exists is replaced, any other file never.
              Clones add .0, .1 and so on to the path; a list of engines adds their names.)")
      .only([](const J& job) { return job.rw != Role::rx; },
            "is for jobs that send or reply: only sent frames are recorded");
  rows.add("write_bw_log", needs_directory,
           text(&J::write_bw_log, "PREFIX", "the beginning of a path"),
           R"(Writes a line for each interval of log_avg_msec to PREFIX_bw.NAME.log, with five
              fields, as fio does: the time in ms, KiB per second, the direction (0 received, 1
              sent), and two that are always 0. If a log cannot be completed, there is a warning
              and exit code 1; the figures stay valid.)");
  rows.add("write_iops_log", needs_directory,
           text(&J::write_iops_log, "PREFIX", "the beginning of a path"),
           "The same for frames per second, PREFIX_iops.NAME.log.");
  rows.add("write_lat_log", needs_directory,
           text(&J::write_lat_log, "PREFIX", "the beginning of a path"),
           R"(The same for the mean latency in ns, PREFIX_lat.NAME.log. Lines with direction 1
              are for frames that the job sent. Its peer measures them. They are written only if
              the peer was made for the job.)")
      .only(has_latency, kNoLatency);
  rows.add("write_hist_log", needs_directory,
           text(&J::write_hist_log, "PREFIX", "the beginning of a path"),
           R"(For each interval of log_hist_msec, writes one line to PREFIX_clat_hist.NAME.log,
              in fio's format. The fields are: time in ms, direction, mean frame size, and the
              number of frames in each of 1856 latency bins (fio's, in ns). log_hist_coarseness
              reduces the number of bins.)")
      .only(has_latency, kNoLatency);
  rows.add("log_hist_msec", allowed, time(&J::log_hist, TimeUnit::milliseconds, 10ms, 1h),
           R"(The interval of write_hist_log. If other logs are written too, one of the two
              intervals (log_hist_msec, log_avg_msec) must be a multiple of the other. fio's
              default is 0, no histograms.)")
      .only(writes_histograms, "has no effect without write_hist_log");
  rows.add("log_hist_coarseness", allowed, number(&J::log_hist_coarseness, 0, 6),
           "Halves the number of bins this many times: 1 gives 928 bins, 6 gives 29.")
      .only(writes_histograms, "has no effect without write_hist_log");
  rows.add("per_job_logs", allowed, shared_logs(),
           R"(With 0, the jobs that have the same prefix share one log: PREFIX_bw.log, without
              the name of a job. Each of them adds its own lines, and the times are the same for
              all. So the rate of all is the sum over the lines with the same time and
              direction. With agg, the log has these sums instead, and is written at the end.
              Unlike fio, a log that exists is replaced.)")
      .only(writes_logs, "has no effect without logs (write_bw_log and so on)");
  rows.add("log_avg_msec", allowed, time(&J::log_avg, TimeUnit::milliseconds, 10ms, 1h),
           "The interval of the logs, except write_hist_log.")
      .only(writes_averages,
            "has no effect without write_bw_log, write_iops_log and write_lat_log");
}

}  // namespace shmif::perf
