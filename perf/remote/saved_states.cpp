#include "perf/remote/saved_states.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "perf/engine/engine.hpp"
#include "perf/report/table.hpp"
#include "perf/verify/verify_state.hpp"

namespace shmif::perf {
namespace {

/// Numbers that differ between two states of one name. Each state is a new file, so its inode or
/// its time differs.
std::optional<std::string> marks_of(const std::string& path) {
  struct stat file{};
  // Jobs do not save links, and a link could lead out of the server's directory.
  if (::lstat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return std::nullopt;
  return std::to_string(file.st_ino) + ' ' + std::to_string(file.st_ctim.tv_sec) + ' ' +
         std::to_string(file.st_ctim.tv_nsec);
}

/// The names that the jobs of a set can have in its plan, with their copies and peers.
std::set<std::string> possible_names(const JobSet& set) {
  std::set<std::string> names;
  for (const JobOptions& job : set.jobs) {
    std::vector<std::string> written{job.name};
    for (const EngineKind engine : job.engines) written.push_back(job.name + '-' + name_of(engine));
    for (const std::string& name : written) {
      for (std::uint32_t clone = 0; clone <= job.numjobs; ++clone) {
        const std::string one = clone == job.numjobs ? name : name + '.' + std::to_string(clone);
        for (const char* const end : {"", ".sink", ".peer", ".echo"}) names.insert(one + end);
      }
    }
  }
  return names;
}

}  // namespace

SavedStates::SavedStates(const std::vector<PlannedJob>& plan, const RunOptions& options) {
  const std::string folder = options.aux_path.empty() ? "." : options.aux_path;
  const bool triggers = !options.trigger_file.empty() || options.trigger_timeout.count() != 0 ||
                        !options.trigger_match.empty();
  for (const PlannedJob& job : plan) {
    // Other jobs do not save states. A file with such a name belongs to another program.
    if (!triggers && !job.options.verify_state_save) continue;
    const std::string& name = job.options.name;
    std::string path = verify_state_path(folder, name);
    auto before = marks_of(path);
    files_.push_back({name, std::move(path), std::move(before)});
  }
}

void SavedStates::tell(const std::function<void(const StateMessage&)>& teller) const {
  std::size_t rest = kMaxRunStatesBytes;
  for (const File& file : files_) {
    const auto now = marks_of(file.path);
    if (!now || now == file.before) continue;
    auto state = read_verify_state(file.path, std::min(rest, kMaxStateBytes));
    StateMessage message{file.job, state ? *std::move(state) : std::vector<std::byte>{}};
    rest -= message.state.size();
    teller(message);
  }
}

bool has_states_to_send(const JobSet& set) {
  return std::ranges::any_of(
      set.jobs, [](const JobOptions& job) { return job.verify_state_load == kStateOfClient; });
}

Result<void> add_states(const std::string& server, JobTexts& texts) {
  const auto loads = [](const auto& option) { return option.first == "verify_state_load"; };
  std::size_t room = kMaxSentStatesBytes;
  for (JobTexts::Job& job : texts.jobs) {
    const auto last = std::find_if(job.options.rbegin(), job.options.rend(), loads);
    if (last == job.options.rend() || last->second != kStateOfClient) continue;
    std::erase_if(job.options, loads);
    auto state = read_verify_state(verify_state_path("", server + '-' + job.name), room);
    if (!state) return std::move(state).error();
    room -= state->size();
    job.state = *std::move(state);
  }
  return {};
}

KeptStates::KeptStates(const JobSet& set) : jobs_(possible_names(set)) {}

Result<std::string> KeptStates::keep(const std::string& server, const StateMessage& state) {
  const std::string job = '"' + printable(state.job) + '"';
  const std::string what = "the verification state of job " + job;
  if (!jobs_.contains(state.job)) {
    return Error(Errc::bad_argument,
                 "it sent a verification state of job " + job +
                     ", which was not sent to it (is that a shmifperf server?)");
  }
  const auto is_control = [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; };
  if (std::ranges::any_of(state.job, is_control)) {
    return Error(Errc::bad_argument,
                 what + " cannot be kept: its name has control characters (choose another name)");
  }
  std::string path = verify_state_path("", server + '-' + state.job);
  if (written_.contains(path)) {
    return Error(Errc::bad_argument, what + " would overwrite \"" + path +
                                         "\", which this run has written (choose another name)");
  }
  if (state.state.empty()) {
    return Error(Errc::bad_argument,
                 what + " was not sent: it is longer than " +
                     std::to_string(kMaxStateBytes >> 20U) + " MiB, all states of the run than " +
                     std::to_string(kMaxRunStatesBytes >> 20U) +
                     " MiB, or it cannot be read; it stays in the server's directory (copy it)");
  }
  const auto read = decode_verify_state(state.state, "of job " + job);
  if (!read) return read.error();
  if (read->job != state.job) {
    return Error(Errc::bad_argument, what + " is that of job \"" + printable(read->job) + '"');
  }
  if (auto done = write_verify_state(path, state.state); !done) return std::move(done).error();
  written_.insert(path);
  return path;
}

void KeptStates::sync() const {
  if (!written_.empty()) sync_directory_of(*written_.begin());
}

}  // namespace shmif::perf
