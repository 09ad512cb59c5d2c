#include "perf/remote/limits.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

#include "base/text.hpp"
#include "perf/job/values.hpp"
#include "perf/option/option_table.hpp"
#include "perf/remote/job_texts.hpp"
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

std::string too_many_jobs(const ServerLimits& limits, std::size_t jobs, std::size_t helpers) {
  if (jobs + helpers <= limits.max_jobs) return {};
  return "numjobs: there are " + std::to_string(jobs) + " jobs" +
         (helpers == 0 ? ""
                       : " and " + std::to_string(helpers) +
                             " threads that help them (verify_async, io_submit_mode=offload)") +
         ", but this server takes at most " + std::to_string(limits.max_jobs) +
         (helpers == 0 ? "" : " in all") + " (start it with --max-jobs)";
}

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

}  // namespace shmif::perf
