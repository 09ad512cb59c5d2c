// The rows about the job itself, and about how long it runs.

#include "perf/option/option_kinds.hpp"
#include "shmif/socket_address.hpp"

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

// The rows about the run as a whole.

using R = RunOptions;
namespace {

using enum OnServer;

constexpr Word<OutputFormat> kFormats[] = {
    {"normal", OutputFormat::normal},
    {"json", OutputFormat::json},
    {"json+", OutputFormat::json_plus},
    {"terse", OutputFormat::terse},
};
constexpr std::span<const Word<OutputFormat>> kFormatWords = kFormats;

/// Whether the value begins with a word and a colon, and not as ./a:b or 10:30.txt do.
bool is_word_before(std::string_view value, std::size_t colon) {
  constexpr std::size_t kShortest = 2;
  if (colon == std::string_view::npos || colon < kShortest) return false;
  return std::ranges::all_of(value.substr(0, colon), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+';
  });
}

/// PATH or FORMAT:PATH, any number of times.
Kind<R> output_places() {
  Kind<R> kind{.placeholder = "[FORMAT:]PATH",
               .range =
                   "the path of a file, or - for standard output; with a format before it "
                   "(" +
                   listed(kFormatWords) +
                   "), as in json:result.json. ./ before a path with another word and a colon"};
  kind.set = [](std::string_view value, R& run) -> Result<void> {
    constexpr std::size_t kMaxPath = 4096;
    const std::size_t colon = value.find(':');
    const auto* const format =
        colon == std::string_view::npos ? nullptr : find_word(kFormatWords, value.substr(0, colon));
    if (format == nullptr && is_word_before(value, colon)) {
      return refused(value, "begins with \"" + std::string(value.substr(0, colon)) +
                                "\", which is not a format (" + listed(kFormatWords) +
                                "; for a file of that name, write ./" + std::string(value) + ')');
    }
    const std::string_view path = format == nullptr ? value : value.substr(colon + 1);
    if (path.empty()) return refused(value, "has no path");
    if (path.size() >= kMaxPath) return refused(value, "is too long");
    if (path.find('\0') != std::string_view::npos) return refused(value, "holds a NUL byte");
    run.outputs.push_back(
        {.path = std::string(path),
         .format = format == nullptr ? std::nullopt : std::optional(format->value)});
    return {};
  };
  kind.show = [](const R&) { return std::string("none"); };
  return kind;
}

/// fio's lists are read, too. The command refuses them where one place would hold several formats.
Kind<R> output_formats() {
  const auto words = kFormatWords;
  Kind<R> kind{.placeholder = "FORMAT", .range = listed(words)};
  kind.set = [words](std::string_view value, R& run) -> Result<void> {
    const auto read = read_words(words, value);
    if (!read) return refused(value, "is not known (" + listed(words) + ')');  // suggests no list
    run.output_format.clear();
    for (const OutputFormat format : *read) {
      const auto& known = run.output_format;
      if (std::find(known.begin(), known.end(), format) == known.end()) {
        run.output_format.push_back(format);
      }
    }
    return {};
  };
  kind.show = [](const R&) { return std::string("normal"); };
  return kind;
}

Kind<R> metrics_format() {
  Kind<R> kind = text(&R::metrics_format, "FORMAT", "influx");
  kind.set = [](std::string_view value, R& run) -> Result<void> {
    if (value != "influx") return refused(value, "is not a known format (influx)");
    run.metrics_format = std::string(value);
    return {};
  };
  return kind;
}

/// ADDRESS:PORT, [ADDRESS]:PORT or PORT, which is a port of the loopback.
Kind<R> metrics_address() {
  Kind<R> kind = text(&R::metrics_address, "ADDRESS", "ADDRESS:PORT, or a port on 127.0.0.1");
  kind.set = [](std::string_view value, R& run) -> Result<void> {
    const bool port_alone = value.find_first_not_of("0123456789") == std::string_view::npos;
    const std::string address = (port_alone ? "127.0.0.1:" : "") + std::string(value);
    const auto split = split_host_port(address);
    if (!split || !split->port) {
      return refused(value,
                     "is not an address (such as 127.0.0.1:9400, [::1]:9400, or 9400 alone)");
    }
    run.metrics_address = address;
    return {};
  };
  return kind;
}

void add_output_rows(Rows& rows) {
  rows.add("output", client_only, output_places(),
           R"(Write the result to this file, in the format before the colon or else in that of
              output-format; without either, a file called *.json gets json. May be given
              several times, for different files. Standard output gets the result, too, if every
              file has a format before it; otherwise it gets only whether the run passed.)",
           "standard output");
  rows.add("output-format", client_only, output_formats(),
           R"(How results are written: normal (for people), json, json+ (json with the bins of
              the histograms), terse (a line for each job). Each place holds one format: for
              another one, give a file of its own, as in --output=json:FILE. fio's lists
              (normal,json), which mix them in one file, are refused.)");
  rows.add("details", client_only, yes_or_no(&R::details),
           R"(Print every figure, not only a summary of about eight lines. A file of --output
              has every figure in any case.)");
  rows.add("status-interval", allowed, time(&R::status_interval, TimeUnit::seconds, 0ns, 24h),
           R"(Print the results so far at this interval; 0: only at the end. With --json-stream
              or --format this is the interval of the stream, and 0 means each second.)",
           "0, at the end");
  rows.add(
      "eta", client_only,
      one_of(&R::eta,
             {{"auto", R::Eta::automatic}, {"always", R::Eta::always}, {"never", R::Eta::never}},
             "WHEN"),
      R"(When to show a line of progress for each group of jobs: auto, on a terminal only;
         always, which prints plain lines where there is no terminal; or never.)");
  rows.add("json-stream", client_only, yes_or_no(&R::json_stream),
           R"(Print one JSON object, on its own line, every --status-interval (every second if
              that is 0). Without --output, the result then goes to standard error.)");
  rows.add("format", client_only, metrics_format(),
           R"(Print the figures every --status-interval (every second if that is 0), as lines
              for the time-series database InfluxDB; the only FORMAT is influx. Without
              --output, the result then goes to standard error.)");
  rows.add("metrics", client_only, metrics_address(),
           R"(Serve the figures for Prometheus at http://ADDRESS/metrics while the run lasts.
              Port 0 is any free port. Everyone who reaches that address can read them.)");
  rows.add("aux-path", needs_directory, text(&R::aux_path, "PATH", "a directory"),
           R"(The directory for logs, for the states that verify_state_save saves, and for the
              output of exec_prerun and exec_postrun. With --client it is a directory of each
              server.)",
           "the current directory");
}

void add_trigger_rows(Rows& rows) {
  rows.add("trigger-file", needs_directory, text(&R::trigger_file, "PATH", "the path of a file"),
           R"(When this file appears, the trigger fires: all jobs stop and save their states (as
              with verify_state_save), and then the program of --trigger runs. The file is
              removed. The trigger fires once, whichever of the trigger options is the first. With
              --client, the file may appear on any server or on the client: all servers stop.)");
  rows.add("trigger-timeout", saves_state,
           time(&R::trigger_timeout, TimeUnit::seconds, 0ns, 365 * 24h),
           "Fire the trigger when this time has passed since the first jobs began; 0 is never.",
           "0, never");
  rows.add("trigger-match", matches_frames,
           text(&R::trigger_match, "FILTER", "a filter of pcap-filter(7)"),
           R"(Fire the trigger when a job receives a frame that matches FILTER, an expression as
              for tcpdump: see pcap-filter(7).)");
  rows.add("trigger trigger-command", needs_exec, command(&R::trigger_command),
           "The program to run after the trigger has fired and all jobs have ended.");
}

}  // namespace

void add_run_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::run);
  add_output_rows(rows);
  rows.add("repeat", allowed, number(&R::repeat, 1, 1000, "times"),
           "Run everything this many times, and report the median and the spread of each figure.");
  rows.add("why", allowed, yes_or_no(&R::why),
           R"(Watch the jobs, ten times a second, and report what held them back: whether they
              waited for a CPU, were stopped or throttled, and so on. It takes at most 0.5 % of
              a CPU.)");
  rows.add("continue_on_start_error", allowed, yes_or_no(&R::continue_on_start_error),
           "Go on without the jobs that cannot start; the run still exits 1.");
  rows.add(
      "stuck_timeout", allowed, time(&R::stuck_timeout, TimeUnit::seconds, 1ms, 24h),
      "Kill a job that still runs this long after it should have ended. The job has then failed.");
  add_trigger_rows(rows);
  rows.add("membw", allowed, yes_or_no(&R::membw),
           R"(Measure the memory bandwidth while frames are sent, from three sources: the
              counters of the memory controllers, resctrl, and the bytes that the jobs and their
              buses copied. A source that this machine does not have is reported with the
              reason.)");
  rows.add("heat", allowed, yes_or_no(&R::heat),
           R"(Watch which parts of their bus the jobs use and write, ten times a second at most.
              A job that cannot be watched, for example because it is on no bus, is reported
              with the reason. In each look, the job faults in its pages again, which its page
              faults contain.)");
}

}  // namespace shmif::perf
