#include "perf/remote/limits.hpp"

#include <netinet/in.h>
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

#include "base/text.hpp"
#include "perf/frame/header_template.hpp"
#include "perf/job/values.hpp"
#include "perf/option/option_table.hpp"
#include "perf/report/table.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/worker/frame_source.hpp"
#include "perf/worker/run_memory.hpp"
#include "shmif/filter.hpp"
#include "shmif/socket_address.hpp"

namespace shmif::perf {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNoFiles =
    "this server does not let clients use files (start it with --directory DIR to allow files "
    "there)";

/// Whether the option makes the run write states. It is OnServer::saves_state, with a valid value.
bool has_states_written(const std::string& option, const std::string& value) {
  if (option == "verify_state_save") return parse_boolean(value).value();
  return option != "trigger-timeout" || parse_time(value).value().count() != 0;
}

/// `path` with symbolic links resolved in the part that exists. Reads the links and does not follow
/// them, because the kernel refuses to follow links in a pinned directory (pinned_directory.hpp).
std::optional<fs::path> without_links(const fs::path& path) {
  const auto real = [](const fs::path& part) {
    return std::unique_ptr<char, decltype(&std::free)>(::realpath(part.c_str(), nullptr),
                                                       &std::free);
  };
  fs::path there = path;
  fs::path missing;
  for (auto found = real(there);; found = real(there)) {
    if (found) return missing.empty() ? found.get() : (found.get() / missing).lexically_normal();
    const bool is_missing = errno == ENOENT || errno == ENOTDIR;
    if (!is_missing || !there.has_relative_path()) return std::nullopt;
    missing = missing.empty() ? there.filename() : there.filename() / missing;
    there = there.parent_path();
  }
}

/// The path below `directory`, with symbolic links resolved; empty if it is elsewhere.
std::optional<std::string> path_below(const std::string& directory, const std::string& path) {
  const auto root = without_links(directory);
  const auto whole = root ? without_links(*root / path) : std::nullopt;
  if (!whole) return std::nullopt;
  const auto end = std::mismatch(root->begin(), root->end(), whole->begin(), whole->end()).first;
  if (end != root->end()) return std::nullopt;
  return whole->string();
}

/// Whether the text of a place is not a path: ADDRESS:PORT, or an invalid place.
bool is_address(const std::string& place) {
  return place.find('/') == std::string::npos && place.find(':') != std::string::npos;
}

/// The URL for libvdeplug of a VDE network that is a bus. `path` checks the path and makes it
/// absolute. The URL always has its scheme: libvdeplug takes a path without a scheme for a file
/// that may contain another URL. Paths of switches are refused: libvdeplug applies realpath() to
/// them, which reads symbolic links by itself, so a neighbour's link would lead out of a pinned
/// directory. Errors: bad_argument for all other networks, and for a path that libvdeplug would
/// read in another way; those of `path`.
Result<std::string> plain_vde_url(
    const std::string& url, const std::function<Result<std::string>(const std::string&)>& path) {
  constexpr std::string_view kScheme = "://";
  const std::size_t at = url.find(kScheme);
  const std::string scheme = at == std::string::npos ? "vde" : url.substr(0, at);
  std::string place = at == std::string::npos ? url : url.substr(at + kScheme.size());
  if (scheme != "shmif") {
    return Error(
        Errc::bad_argument,
        "of VDE networks, this server opens only buses (shmif://PATH) for clients, because "
        "networks of other kinds run programs, open devices, or follow symbolic links to any "
        "switch (start it with --allow-exec to allow them)");
  }
  std::string port;  // "[3]"
  if (const std::size_t bracket = place.find('['); bracket != std::string::npos) {
    port = place.substr(bracket);
    place.resize(bracket);
  }
  const auto is_plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  };
  const bool port_is_plain =
      port.empty() || (port.size() > 2 && port.back() == ']' &&
                       std::all_of(port.begin() + 1, port.end() - 1, is_plain));
  if (place.empty() || !port_is_plain || place.find_first_of("'\"\\") != std::string::npos)
    return Error(Errc::bad_argument,
                 '"' + url + "\" is not the path of a bus (write shmif://PATH, without quotes)");
  auto whole = path(place);
  if (!whole) return std::move(whole).error();
  return scheme + std::string(kScheme) + *whole + port;
}

/// Why a name is refused. A lookup would tell the owner of the name, or an eavesdropper, about it.
std::string no_names(const std::string& name) {
  return "this server looks up no names, and \"" + name +
         "\" is no IP address (write it as 198.18.0.1 or fd00::1)";
}

/// Why a filter with this word is refused.
std::string no_names_in_filter(std::string_view word) {
  return "this server looks up no names, and \"" + std::string(word) +
         "\" is no number and no word of pcap-filter(7) (write addresses and ports as numbers)";
}

/// Checks the options of one job, or of the run.
template <class Options>
class Check {
 public:
  Check(const ServerLimits& limits, std::string who, Options& options,
        std::vector<std::string>& problems)
      : limits_(limits), who_(std::move(who)), options_(options), problems_(problems) {}

  void run() {
    const auto given = options_.given;
    for (const auto& [name, value] : given) check(name, value);
    if constexpr (std::is_same_v<Options, JobOptions>) check_privileges();
  }

 private:
  void refuse(const std::string& option, const std::string& why) {
    if (problems_.size() < kMaxProblems) problems_.push_back(who_ + option + ": " + why);
  }

  void refuse_live(const std::string& option) {
    refuse(option,
           "this server does not let clients use its own networks (start it with --allow-live)");
  }

  void refuse_command(const std::string& option) {
    if (limits_.allow_exec) return;
    refuse(option,
           "this server does not run commands for clients, or change identities and privileges for "
           "them (start it with --allow-exec)");
  }

  void check(const std::string& name, const std::string& value) {
    const OptionRow* const row = find_option(name);
    if (row == nullptr) {
      return refuse(name, "this server does not know this option (update it)");
    }
    switch (row->on_server) {
      // Includes nice: check_privileges() refuses its harmful values.
      case OnServer::allowed: return;
      case OnServer::needs_exec: return refuse_command(name);
      case OnServer::needs_live:
        if (!limits_.allow_live && value != "0") refuse_live(name);
        return;
      case OnServer::names_sockets:
        if (!limits_.allow_live) return refuse_live(name);
        if constexpr (std::is_same_v<Options, JobOptions>) check_sockets(name, value);
        return;
      case OnServer::names_host: return check_host(name, value);
      case OnServer::names_port:
        if constexpr (std::is_same_v<Options, JobOptions>) check_port(name);
        return;
      case OnServer::needs_directory: return check_file(name, value);
      case OnServer::names_capture: return;  // job_set_of() checked the path before it was opened
      case OnServer::saves_state:            // states are written to aux-path
        if (limits_.directory.empty() && has_states_written(name, value)) refuse(name, kNoFiles);
        return;
      case OnServer::matches_frames:
        if (limits_.directory.empty()) return refuse(name, kNoFiles);
        if (const std::string_view word = name_in_filter(value); !word.empty()) {
          refuse(name, no_names_in_filter(word));
        }
        return;
      case OnServer::client_only:
        return refuse(name, "is only for the client, which must not send it to the server");
    }
  }

  /// Refuses privileges that would keep the machine from its other users.
  void check_privileges() {
    if (options_.nice.value_or(0) < 0) refuse_command("nice");
  }

  /// Refuses a host that is not an address of this machine. The job, and its peer (except with
  /// no_peer), make sockets there. If the address has gone by then, making the socket fails.
  void check_host(const std::string& name, const std::string& value) {
    if constexpr (std::is_same_v<Options, JobOptions>) {
      // The address of a port on a bus. A port on a bus that others use needs --allow-live anyway.
      if (options_.engine == EngineKind::bus) {
        if (!limits_.allow_live) refuse_live(name);
        return;
      }
    }
    const auto address = parse_host_address(value, 0);
    if (!address) return refuse(name, no_names(value));
    if (limits_.allow_live || is_of_this_machine(*address)) return;
    refuse(name, '"' + value +
                     "\" is no address of an interface of the server's machine (give one, such as "
                     "127.0.0.1, or start the server with --allow-live)");
  }

  void check_port(const std::string& name) {
    if (!options_.no_peer) check_own_port(name, options_.port);
  }

  /// Refuses a port that the job opens, and that only root may open.
  void check_own_port(const std::string& option, std::uint16_t port) {
    if (port == 0 || port >= IPPORT_RESERVED || limits_.allow_exec) return;
    refuse(option, "this server opens no ports below " + std::to_string(IPPORT_RESERVED) +
                       " for clients (choose another, or start it with --allow-exec)");
  }

  void check_file(const std::string& name, const std::string& value) {
    const auto path = allowed_path(limits_, value);
    if (!path) return refuse(name, path.error().message);
    // Names that are made of it (D2) would be beside the directory.
    if (*path == limits_.directory && name != "aux-path") {
      return refuse(name,
                    '"' + value + "\" is the server's --directory itself (name a file in it)");
    }
    // The name came from a row, so the row exists, and it takes any path.
    (void)set_option(*find_option(name), *path, options_);
  }

  /// Makes the paths absolute, so that the job uses exactly the paths that were checked.
  void check_sockets(const std::string& name, const std::string& value) {
    const auto uses = [&](EngineKind kind) {
      return options_.engine == kind ||
             std::ranges::find(options_.engines, kind) != options_.engines.end();
    };
    const bool vde = uses(EngineKind::vde);
    const bool sockets = !vde || uses(EngineKind::stream) || uses(EngineKind::dgram);
    const auto whole = [&](const std::string& path) { return allowed_path(limits_, path); };
    std::string places;
    bool is_local = uses(EngineKind::dgram);  // LOCAL,REMOTE,LOCAL,...
    const char* before = "";
    for (const std::string_view part : base::split(value, ',')) {
      Result<std::string> place = std::string(part);
      if (vde && !limits_.allow_exec) place = plain_vde_url(*place, whole);
      if (place && sockets && !place->empty() && !is_address(*place)) place = whole(*place);
      if (!place) return refuse(name, place.error().message);
      if (const auto parts = split_host_port(*place); sockets && is_address(*place) && parts) {
        if (!parse_host_address(parts->host, 0)) return refuse(name, no_names(parts->host));
        if (is_local) check_own_port(name, parts->port.value_or(0));
      }
      is_local = uses(EngineKind::dgram) && !is_local;
      places += std::exchange(before, ",") + *place;
    }
    (void)set_option(*find_option(name), places, options_);
  }

  const ServerLimits& limits_;
  const std::string who_;
  Options& options_;
  std::vector<std::string>& problems_;
};

/// How long a job runs by its options. The server's clock limits searches and repetitions.
std::chrono::nanoseconds length_of(const JobOptions& job) {
  // Each is at most a year, so no sum overflows.
  return job.start_delay + job.ramp_time + job.runtime;
}

/// The threads of a job besides its own.
std::size_t helpers_of(const JobOptions& job) {
  return job.verify_async + (job.io_submit_mode == IoSubmit::offload ? 1 : 0);
}

/// Why the server does not run so many jobs with so many additional threads; empty if it does run
/// them.
std::string too_many_jobs(const ServerLimits& limits, std::size_t jobs, std::size_t helpers) {
  if (jobs + helpers <= limits.max_jobs) return {};
  return "numjobs: there are " + std::to_string(jobs) + " jobs" +
         (helpers == 0 ? ""
                       : " and " + std::to_string(helpers) +
                             " threads that help them (verify_async, io_submit_mode=offload)") +
         ", but this server takes at most " + std::to_string(limits.max_jobs) +
         (helpers == 0 ? "" : " in all") + " (start it with --max-jobs)";
}

void check_sizes(const ServerLimits& limits, const JobSet& set,
                 std::vector<std::string>& problems) {
  std::size_t jobs = 0;
  std::size_t helpers = 0;
  for (const JobOptions& job : set.jobs) {
    const std::size_t copies = job.numjobs * std::max<std::size_t>(job.engines.size(), 1);
    jobs += copies;
    helpers += copies * helpers_of(job);
    if (length_of(job) <= limits.max_runtime || problems.size() >= kMaxProblems) continue;
    problems.push_back("job \"" + job.name + "\": runtime: with its delays the job takes " +
                       time_text(length_of(job)) +
                       ", but this server runs nothing for longer than " +
                       time_text(limits.max_runtime) + " (start it with --max-runtime)");
  }
  for (const std::string& why :
       {too_many_jobs(limits, jobs, helpers), too_much_memory(limits, set)}) {
    if (!why.empty() && problems.size() < kMaxProblems) problems.push_back(why);
  }
}

}  // namespace

Result<std::string> allowed_path(const ServerLimits& limits, const std::string& path) {
  if (limits.directory.empty()) return Error{Errc::bad_argument, kNoFiles};
  if (auto whole = path_below(limits.directory, path)) return *std::move(whole);
  return Error{Errc::bad_argument, '"' + path + "\" is not below the server's --directory"};
}

std::vector<std::string> apply_limits(const ServerLimits& limits, JobSet& set) {
  std::vector<std::string> problems;
  Check<RunOptions>(limits, "", set.run, problems).run();
  for (JobOptions& job : set.jobs) {
    Check<JobOptions>(limits, "job \"" + job.name + "\": ", job, problems).run();
  }
  check_sizes(limits, set, problems);
  set.run.allow_exec = limits.allow_exec;
  if (set.run.aux_path.empty()) set.run.aux_path = limits.directory;
  return problems;
}

namespace {

bool is_of_client(const std::string& option) noexcept {
  const OptionRow* const row = find_option(option);
  return row != nullptr && row->on_server == OnServer::client_only;
}

/// The value of `headers` with the path of its capture as the server opens it.
Result<std::string> allowed_headers(const std::string& value, const ServerLimits& limits) {
  const std::string_view capture = HeaderTemplate::capture_in(value);
  if (capture.empty()) return value;
  auto path = allowed_path(limits, std::string(capture));
  if (!path) return Error{path.error().code, "headers: " + path.error().message};
  // Opening a FIFO would wait until a writer opens it.
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(*path, ignored)) {
    return Error{Errc::bad_argument, "headers: there is no file \"" + *path + '"'};
  }
  std::string changed = value;
  changed.replace(static_cast<std::size_t>(capture.data() - value.data()), capture.size(), *path);
  if (HeaderTemplate::capture_in(changed) != *path) {
    return Error{Errc::bad_argument,
                 "headers: the path \"" + *path + "\" has characters that end a path in headers"};
  }
  return changed;
}

/// The value as the server reads it.
Result<std::string> allowed_value(const OptionRow& row, const std::string& value,
                                  const ServerLimits& limits) {
  return row.on_server == OnServer::names_capture ? allowed_headers(value, limits) : value;
}

template <class Options>
void set_all(const OptionTexts& texts, const ServerLimits& limits, const std::string& who,
             Options& into, std::vector<std::string>& problems) {
  for (const auto& [name, value] : texts) {
    if (problems.size() >= kMaxProblems) return;
    const OptionRow* const row = find_option(name);
    if (row == nullptr) {
      problems.push_back(who + unknown_option(printable(name)).message);
      continue;
    }
    const auto allowed = allowed_value(*row, value, limits);
    const auto done = allowed ? set_option(*row, *allowed, into) : Result<void>(allowed.error());
    if (!done) problems.push_back(who + done.error().message);
  }
}

}  // namespace

JobTexts texts_of(const JobSet& set) {
  JobTexts texts;
  for (const auto& option : set.run.given) {
    if (!is_of_client(option.first)) texts.run.push_back(option);
  }
  for (const JobOptions& job : set.jobs) {
    JobTexts::Job text{.name = job.name, .where = job.where, .options = {}};
    for (auto it = job.given.begin(); it != job.given.end(); ++it) {
      const OptionRow* const row = find_option(it->first);
      // The section of the job replaced the value of [global].
      const bool replaced = row != nullptr && row->once &&
                            std::any_of(it + 1, job.given.end(), [&](const auto& later) {
                              return later.first == it->first;
                            });
      const bool is_sent = it->first != "name" && !replaced && !is_of_client(it->first);
      if (is_sent) text.options.push_back(*it);
    }
    texts.jobs.push_back(std::move(text));
  }
  return texts;
}

JobSet job_set_of(const JobTexts& texts, const ServerLimits& limits,
                  std::vector<std::string>& problems) {
  JobSet set;
  // Each text is one job or more, and reading its captures takes time.
  const std::string too_many = too_many_jobs(limits, texts.jobs.size(), 0);
  if (!too_many.empty()) {
    problems.push_back(too_many);
    return set;
  }
  set_all(texts.run, limits, "", set.run, problems);
  for (const JobTexts::Job& text : texts.jobs) {
    if (!is_job_name(text.name)) {
      problems.push_back('"' + printable(text.name) + "\" is not a job name");
      continue;
    }
    JobOptions job;
    job.where = printable(text.where);
    set_all(text.options, limits, "job \"" + printable(text.name) + "\": ", job, problems);
    job.name = text.name;  // overrides an option "name"
    job.clock_shift_ns = text.clock_shift_ns;
    job.other_end_elsewhere = text.other_end_elsewhere;
    job.verify_state = text.state;
    set.jobs.push_back(std::move(job));
  }
  if (problems.size() > kMaxProblems) problems.resize(kMaxProblems);
  return set;
}

// How much of a server's memory a plan uses.

namespace {

/// A process with its stack, histograms, counts, and receive batch.
constexpr std::uint64_t kJobBytes = 4U << 20U;
/// Memory for a frame besides its bytes: for a waiting frame, and for a request without a reply.
constexpr std::uint64_t kFrameBytes = 192;
constexpr std::uint64_t kRequestBytes = 128;
constexpr std::uint64_t kThreadBytes = 256U << 10U;
/// Frames are made in advance, up to two batches. io_submit_mode=offload adds two queues of four
/// batches.
constexpr std::uint64_t kBatches = 2;
constexpr std::uint64_t kOffloadBatches = 10;
/// As in VerifyQueue::Options, with its group size when there is no backlog.
constexpr std::uint64_t kGroupBytes = 16U << 20U;
constexpr std::uint64_t kGroupFrames = 64;
constexpr std::uint64_t kShortestFrame = 60;
/// The Ethernet header with tags.
constexpr std::uint64_t kHeaderBytes = 22;
/// What the result of a run keeps of a job: its histograms and those of its group, and counts.
constexpr std::uint64_t kJobResultBytes = 5 * sizeof(LatencyHistogram) + (16U << 10U);
/// How many copies of a job's options exist as text: parsed, planned, and in its result. kJobBytes
/// includes short ones.
constexpr std::uint64_t kTextCopies = 8;
constexpr std::uint64_t kShortTexts = 4U << 10U;

/// The product, or the greatest number if the product is greater.
std::uint64_t times(std::uint64_t left, std::uint64_t right) {
  std::uint64_t product = 0;
  const bool too_large = __builtin_mul_overflow(left, right, &product);
  return too_large ? std::numeric_limits<std::uint64_t>::max() : product;
}
/// The same for the sum.
std::uint64_t plus(std::uint64_t left, std::uint64_t right) {
  std::uint64_t sum = 0;
  const bool too_large = __builtin_add_overflow(left, right, &sum);
  return too_large ? std::numeric_limits<std::uint64_t>::max() : sum;
}

std::uint64_t waiting_for(const FaultOptions& fault, std::uint64_t frame) {
  const bool waits = fault.delay.count() != 0 || fault.jitter.count() != 0 || fault.rate_bps != 0;
  if (!waits) return 0;
  if (fault.queue_frames == 0) return kMaxFaultBytes;
  return times(fault.queue_frames, frame + kFrameBytes);
}

/// Groups of received frames that are not yet verified: for each thread, one in use and the next.
std::uint64_t verification_of(const JobOptions& job, std::uint64_t frame) {
  if (job.verify_async == 0 && job.verify_backlog == 0) return 0;
  const std::uint64_t max = kGroupBytes / kShortestFrame;
  const std::uint64_t frames =
      std::min(job.verify_backlog == 0 ? kGroupFrames : job.verify_backlog, max);
  const std::uint64_t group = std::min(frames * frame, kGroupBytes + frame) + frames * kFrameBytes;
  return (2 * job.verify_async + 2) * group + job.verify_async * kThreadBytes;
}

/// A capture is kept in memory. If it is not a regular file, its length is not known.
std::uint64_t capture_of(const JobOptions& job) {
  if (job.replay.empty()) return 0;
  const std::uint64_t max = ReplayOptions().max_bytes;
  std::error_code failed;
  const auto status = std::filesystem::status(job.replay, failed);
  if (!std::filesystem::exists(status)) return 0;  // the run will report it
  const auto size = std::filesystem::file_size(job.replay, failed);
  return failed ? max : std::min<std::uint64_t>(size, max);
}

std::uint64_t memory_of(const JobOptions& job) {
  const std::uint64_t frame = job.mtu + kHeaderBytes;
  const bool offload = job.io_submit_mode == IoSubmit::offload;
  const std::uint64_t waiting =
      plus(waiting_for(job.fault, frame), waiting_for(job.fault_rx, frame));
  return plus(waiting,
              kJobBytes + job.iodepth_batch * frame * (offload ? kOffloadBatches : kBatches) +
                  job.iodepth * kRequestBytes + verification_of(job, frame) + capture_of(job));
}

/// The results of all runs are kept to the end. Together they take no longer than max_runtime.
/// `interval`: the length of an interval of the curves, at most a second (see curve_interval()).
/// Logs may divide it further, but the result has whole intervals.
std::uint64_t results_of(const JobOptions& job, std::uint64_t runs,
                         std::chrono::nanoseconds interval, std::chrono::nanoseconds max_runtime) {
  const auto of_second = static_cast<std::uint64_t>(std::chrono::seconds(1) / interval);
  const auto intervals_in = [&](std::chrono::nanoseconds time) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
    return times(of_second, static_cast<std::uint64_t>(seconds) + 1);
  };
  const auto one = job.start_delay + job.ramp_time + job.runtime + job.drain_time;
  const std::uint64_t most = intervals_in(max_runtime);
  const std::uint64_t intervals =
      job.runtime.count() == 0 ? most : std::min(most, times(runs, intervals_in(one)));
  return plus(times(runs, kJobResultBytes), times(intervals, sizeof(IntervalResult)));
}

std::uint64_t texts_of(const JobOptions& job) {
  std::uint64_t bytes = job.name.size() + job.where.size();
  for (const auto& [name, value] : job.given) bytes += name.size() + value.size();
  return bytes <= kShortTexts ? 0 : kTextCopies * bytes;
}

std::string too_much(const ServerLimits& limits, std::uint64_t bytes, const std::string& less) {
  if (bytes <= limits.max_memory) return {};
  return "the jobs may need " + format_memory(bytes) + " of memory, but this server allows " +
         format_memory(limits.max_memory) + " (ask for less by " + less +
         ", or start the server with a larger --max-memory)";
}

}  // namespace

std::uint64_t memory_of(const std::vector<PlannedJob>& plan, std::uint64_t runs,
                        std::chrono::nanoseconds max_runtime) {
  std::map<std::string, std::uint64_t> rings;  // one for each wire
  const std::chrono::nanoseconds curve = curve_interval(plan);
  std::uint64_t sum = 0;
  for (const PlannedJob& planned : plan) {
    const JobOptions& job = planned.options;
    sum = plus(sum, plus(memory_of(job), texts_of(job)));
    sum = plus(sum, results_of(job, runs, curve, max_runtime));
    if (!log_options(plan, planned).write_hist_log.empty())
      sum = plus(sum, kHistogramBlocks * sizeof(HistogramBlock));
    const bool on_bus = job.engine == EngineKind::bus || job.engine == EngineKind::host;
    if (!on_bus || !job.bus.empty()) continue;
    std::uint64_t& ring = rings[wire_key(planned)];
    ring = std::max(ring, job.bus_size_bytes);
  }
  for (const auto& [wire, bytes] : rings) sum = plus(sum, bytes);
  return sum;
}

std::string too_much_memory(const ServerLimits& limits, const JobSet& set) {
  std::uint64_t bytes = 0;
  for (const JobOptions& job : set.jobs) {
    // Each engine has a copy of each clone, and each copy may have a peer.
    const std::uint64_t copies = 2 * std::max<std::uint64_t>(job.engines.size(), 1);
    bytes = plus(bytes, times(times(copies, job.numjobs), texts_of(job)));
  }
  return too_much(limits, bytes, "numjobs, or by shorter options");
}

std::string too_much_memory(const ServerLimits& limits, const std::vector<PlannedJob>& plan,
                            const RunOptions& run) {
  const std::uint64_t bytes =
      memory_of(plan, std::max<std::uint64_t>(run.repeat, 1), limits.max_runtime);
  return too_much(limits, bytes,
                  "repeat, numjobs, runtime, bus_size, iodepth_batch, verify_async, "
                  "verify_backlog or the queue of fault");
}

}  // namespace shmif::perf
