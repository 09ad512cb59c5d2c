#include "perf/remote/saved_states.hpp"

#include <sys/stat.h>

#include "perf/figures/table.hpp"
#include "perf/verify/verify_state.hpp"

namespace shmif::perf {
namespace {

/// Each state is a new file, so its number or its times differ.
std::optional<std::string> marks_of(const std::string& path) {
  struct stat file{};
  // A link is nothing that a job saved, and could lead out of the server's directory.
  if (::lstat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return std::nullopt;
  return std::to_string(file.st_ino) + ' ' + std::to_string(file.st_ctim.tv_sec) + ' ' +
         std::to_string(file.st_ctim.tv_nsec);
}

}  // namespace

SavedStates::SavedStates(const std::vector<PlannedJob>& plan, const RunOptions& options) {
  const std::string folder = options.aux_path.empty() ? "." : options.aux_path;
  for (const PlannedJob& job : plan) {
    const std::string& name = job.options.name;
    std::string path = verify_state_path(folder, name);
    auto before = marks_of(path);
    files_.push_back({name, std::move(path), std::move(before)});
  }
}

std::vector<StateMessage> SavedStates::saved() const {
  std::vector<StateMessage> all;
  for (const File& file : files_) {
    const auto now = marks_of(file.path);
    if (!now || now == file.before) continue;
    auto state = read_verify_state(file.path, kMaxStateBytes);
    all.push_back({file.job, state ? *std::move(state) : std::vector<std::byte>{}});
  }
  return all;
}

Result<std::string> keep_state(const std::string& directory, const std::string& server,
                               const StateMessage& state) {
  const std::string what = "the verification state of job \"" + printable(state.job) + '"';
  if (state.state.empty()) {
    return Error(Errc::bad_argument, what + " is longer than " +
                                         std::to_string(kMaxStateBytes >> 20U) +
                                         " MiB, and stays in the server's directory (copy it)");
  }
  const auto read = decode_verify_state(state.state, "of job \"" + printable(state.job) + '"');
  if (!read) return read.error();
  if (read->job != state.job) {
    return Error(Errc::bad_argument, what + " is that of job \"" + printable(read->job) + '"');
  }
  std::string path = verify_state_path(directory, server + '-' + state.job);
  if (auto done = write_verify_state(path, state.state); !done) return std::move(done).error();
  return path;
}

}  // namespace shmif::perf
