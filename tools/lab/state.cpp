#include "tools/lab/state.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <system_error>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kMaxStateBytes = std::size_t{4} << 20U;
/// `ls` of root looks at so many files of each other user.
constexpr std::size_t kMaxStatesOfOthers = 1000;

std::string runtime_folder() {
  const char* const given = std::getenv("XDG_RUNTIME_DIR");
  if (given != nullptr && *given == '/') return std::string(given) + "/shmif";
  return "/tmp/shmif-" + std::to_string(::geteuid());
}

/// Whether only its owner may write to a folder.
bool is_private_folder(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && (info.st_mode & 0022U) == 0;
}

/// Whether only we may write to a folder, and nobody else can exchange it for another one.
bool is_safe_folder(const std::string& path) {
  struct stat above{};
  if (::stat(path.substr(0, path.rfind('/') + 1).c_str(), &above) != 0) return false;
  const bool may_exchange =
      above.st_uid != ::geteuid() && above.st_uid != 0 && (above.st_mode & S_ISVTX) == 0;
  return is_private_folder(path) && is_own_folder(path) && !may_exchange;
}

std::string lock_path(const std::string& folder, const std::string& name) {
  return folder + '/' + name + ".lock";
}

std::string state_path(const std::string& folder, const std::string& name) {
  return folder + '/' + name + ".json";
}

Result<UniqueFd> open_lock(const std::string& folder, const std::string& name) {
  const std::string path = lock_path(folder, name);
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!file) return Error::from_errno(errno, "cannot open " + path);
  return file;
}

int lock_file(int file, int how) {
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  int done = 0;
  do {
    done = ::fcntl(file, how, &whole);
  } while (done != 0 && errno == EINTR && how == F_SETLKW);
  return done;
}

/// The locks that this process has, or had.
std::set<std::pair<dev_t, ino_t>>& had_locks() {
  static std::set<std::pair<dev_t, ino_t>> all;
  return all;
}

/// Whether a process, by its number here, is the controller of a lab. Its start is the same in all
/// pid namespaces.
bool is_controller(pid_t pid, const LabState& state) {
  return pid > 0 && state.started != 0 && start_of_process(pid) == state.started;
}

/// Looks whether a lab lives. After a controller was killed, its guardian has the lock for a
/// moment: that lab is dead.
FoundLab found_lab(const std::string& folder, LabState state) {
  FoundLab lab{.state = std::move(state),
               .folder = folder,
               .own = is_own_folder(folder),
               .user = owner_of(folder)};
  if (is_controller(lab.state.pid, lab.state)) {
    lab.alive = true;
    lab.pid = lab.state.pid;
    return lab;
  }
  const LabLock::Holder holder = LabLock::holder(folder, lab.state.name);
  if (is_controller(holder.pid, lab.state)) lab.pid = holder.pid;
  lab.alive = lab.pid != 0 || (holder.is_there && holder.pid == 0);
  return lab;
}

}  // namespace

Result<std::string> lab_state_folder() {
  const std::string folder = runtime_folder();
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, "cannot make the folder of labs " + folder,
                             "set XDG_RUNTIME_DIR to a folder that you may write to");
  }
  if (!is_safe_folder(folder)) {
    return Error(std::make_error_code(std::errc::permission_denied),
                 "cannot use the folder of labs " + folder +
                     ": it, or the folder around it, belongs to somebody else, or others may write "
                     "to it (set XDG_RUNTIME_DIR to a folder of your own)");
  }
  return folder;
}

std::vector<std::string> lab_state_folders() {
  std::vector<std::string> all{runtime_folder()};
  const std::string user = std::to_string(::geteuid());
  all.push_back("/run/user/" + user + "/shmif");
  all.push_back("/tmp/shmif-" + user);
  if (::geteuid() == 0) {
    std::error_code failed;
    for (const auto& each : std::filesystem::directory_iterator("/run/user", failed)) {
      all.push_back(each.path().string() + "/shmif");
    }
    for (const auto& each : std::filesystem::directory_iterator("/tmp", failed)) {
      const std::string name = each.path().filename().string();
      if (name.starts_with("shmif-") && base::read_digits(name.substr(6))) {
        all.push_back(each.path().string());
      }
    }
  }
  std::ranges::sort(all);
  const auto rest = std::ranges::unique(all);
  all.erase(rest.begin(), rest.end());
  std::erase_if(all, [](const std::string& each) {
    return !is_private_folder(each) || (!is_own_folder(each) && ::geteuid() != 0);
  });
  return all;
}

std::string owner_of(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return "?";
  std::array<char, 4096> room{};
  passwd row{};
  passwd* found = nullptr;
  if (::getpwuid_r(info.st_uid, &row, room.data(), room.size(), &found) == 0 && found != nullptr) {
    return row.pw_name;
  }
  return std::to_string(info.st_uid);
}

bool is_own_folder(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0 && info.st_uid == ::geteuid();
}

std::vector<FoundLab> find_labs() {
  std::vector<FoundLab> found;
  for (const std::string& folder : lab_state_folders()) {
    std::size_t left = is_own_folder(folder) ? SIZE_MAX : kMaxStatesOfOthers;
    std::error_code failed;
    for (const auto& each : std::filesystem::directory_iterator(folder, failed)) {
      if (each.path().extension() != ".json") continue;
      if (left-- == 0) break;
      auto state = read_lab_state(folder, each.path().stem().string());
      if (!state) continue;
      found.push_back(found_lab(folder, std::move(*state)));
    }
  }
  std::ranges::sort(found, {}, [](const FoundLab& each) { return each.state.name; });
  return found;
}

std::optional<FoundLab> find_lab(const std::string& name) {
  std::optional<FoundLab> found;
  for (const std::string& folder : lab_state_folders()) {
    if (!is_own_folder(folder)) continue;
    auto state = read_lab_state(folder, name);
    if (!state) continue;
    FoundLab lab = found_lab(folder, std::move(*state));
    if (!found || lab.alive) found = std::move(lab);
  }
  return found;
}

bool is_of_file(const LabState& state, const std::string& file) {
  std::error_code failed;
  const std::string path = std::filesystem::absolute(file, failed).lexically_normal();
  // The state is UTF-8, so U+FFFD replaces all other bytes.
  const std::string in_state = Json::parse(json_line(path));
  return path == state.file || in_state == state.file ||
         std::filesystem::equivalent(file, state.file, failed);
}

Result<std::optional<FoundLab>> find_lab_of_file(const std::string& file, const std::string& name) {
  std::optional<FoundLab> named = find_lab(name);
  if (named && is_of_file(named->state, file)) return named;
  std::vector<FoundLab> all = find_labs();
  std::erase_if(all, [&](const FoundLab& each) {  // the part of a lab on another machine, too
    return !each.own || each.state.results_are_temporary || !is_of_file(each.state, file);
  });
  if (std::ranges::any_of(all, &FoundLab::alive)) {
    std::erase_if(all, [](const FoundLab& each) { return !each.alive; });
  }
  if (all.empty()) return named;
  if (all.size() == 1) return std::optional(std::move(all.front()));
  std::string names;
  for (const FoundLab& each : all) names += (names.empty() ? "" : ", ") + each.state.name;
  return Error(Errc::bad_argument, "there are several labs of " + file + ": " + names +
                                       " (give the name of one instead of the file)");
}

Result<std::optional<LabLock>> LabLock::take(const std::string& folder, const std::string& name) {
  return lock(folder, name, F_SETLK);
}

Result<LabLock> LabLock::wait(const std::string& folder, const std::string& name) {
  Result<std::optional<LabLock>> taken = lock(folder, name, F_SETLKW);
  if (!taken) return std::move(taken).error();
  return std::move(**taken);
}

LabLock::Holder LabLock::holder(const std::string& folder, const std::string& name) {
  const std::string path = lock_path(folder, name);
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || had_locks().contains({info.st_dev, info.st_ino}))
    return {};
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (!file || ::fcntl(file.get(), F_GETLK, &whole) != 0 || whole.l_type == F_UNLCK) return {};
  return {true, whole.l_pid};
}

Result<std::optional<LabLock>> LabLock::lock(const std::string& folder, const std::string& name,
                                             int how) {
  for (;;) {  // again only if another process has removed the file meanwhile
    Result<UniqueFd> file = open_lock(folder, name);
    if (!file) return std::move(file).error();
    if (lock_file(file->get(), how) != 0) {
      if (errno == EAGAIN || errno == EACCES) return std::optional<LabLock>();
      return Error::from_errno(errno, "cannot lock " + lock_path(folder, name));
    }
    struct stat locked{};
    struct stat named{};
    if (::fstat(file->get(), &locked) == 0 &&
        ::stat(lock_path(folder, name).c_str(), &named) == 0 && locked.st_ino == named.st_ino &&
        locked.st_dev == named.st_dev) {
      had_locks().insert({locked.st_dev, locked.st_ino});
      return std::optional<LabLock>(LabLock(*std::move(file)));
    }
  }
}

Result<void> write_lab_state(const std::string& folder, const LabState& state) {
  Json buses = Json::array();
  for (const LabStateBus& bus : state.buses)
    buses.push_back({{"name", bus.name}, {"path", bus.path}, {"file_id", bus.file_id}});
  Json hosts = Json::array();
  for (const LabStateHost& host : state.hosts)
    hosts.push_back({{"name", host.name}, {"buses", host.buses}});
  const std::string text = json_text({{"name", state.name},
                                      {"file", state.file},
                                      {"results", state.results},
                                      {"results_are_temporary", state.results_are_temporary},
                                      {"pid", state.pid},
                                      {"started", state.started},
                                      {"ready", state.ready},
                                      {"buses", buses},
                                      {"hosts", hosts},
                                      {"far_hosts", state.far_hosts},
                                      {"groups", state.groups}});
  const auto written = write_plain_file(state_path(folder, state.name), text, 0644);
  if (written) return {};
  return Error(written.error().code, "the state of the lab: " + written.error().message);
}

std::optional<LabState> read_lab_state(const std::string& folder, const std::string& name) {
  if (name.find('/') != std::string::npos) return std::nullopt;
  const auto text = read_plain_file(state_path(folder, name), kMaxStateBytes);
  if (!text) return std::nullopt;
  const Json json = Json::parse(*text, nullptr, false);
  try {
    LabState state;
    json.at("name").get_to(state.name);
    json.at("file").get_to(state.file);
    json.at("results").get_to(state.results);
    state.results_are_temporary = json.value("results_are_temporary", false);
    json.at("pid").get_to(state.pid);
    json.at("started").get_to(state.started);
    json.at("ready").get_to(state.ready);
    for (const Json& bus : json.at("buses")) {
      state.buses.push_back({bus.at("name").get<std::string>(), bus.at("path").get<std::string>(),
                             bus.value("file_id", "")});
    }
    for (const Json& host : json.at("hosts")) {
      state.hosts.push_back(
          {host.at("name").get<std::string>(), host.at("buses").get<std::vector<std::string>>()});
    }
    state.far_hosts = json.value("far_hosts", std::vector<std::string>());
    json.at("groups").get_to(state.groups);
    if (state.name != name) return std::nullopt;
    return state;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::string file_id_of(const std::string& path) {
  struct statx info{};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &info) != 0) {
    return {};
  }
  std::string id = std::to_string(info.stx_dev_major) + ':' + std::to_string(info.stx_dev_minor) +
                   ' ' + std::to_string(info.stx_ino);
  if ((info.stx_mask & STATX_BTIME) == 0) return id;
  // Some file systems give the number of a removed file to the next one.
  return id + ' ' + std::to_string(info.stx_btime.tv_sec) + '.' +
         std::to_string(info.stx_btime.tv_nsec);
}

std::vector<std::string> remove_lab_but_lock(const std::string& folder, const LabState& state) {
  std::vector<std::string> stays;
  for (const LabStateBus& bus : state.buses) {
    const std::string now = file_id_of(bus.path);
    if (bus.file_id.empty() || now == bus.file_id) {
      const Result<void> gone = Bus::destroy(bus.path, true);
      // It may be no bus any more (somebody has truncated it), but it is the file of this lab.
      const bool stayed =
          !gone && !now.empty() && (bus.file_id.empty() || ::unlink(bus.path.c_str()) != 0);
      if (stayed) stays.push_back("the file " + bus.path + " stays: " + gone.error().message);
    } else if (!now.empty()) {
      stays.push_back("the file " + bus.path + " stays: it is not the one that the lab " +
                      state.name + " has made (if nobody needs it, " +
                      base::quote_command("shmifctl destroy", bus.path) + ')');
    }
  }
  for (const std::string& group : state.groups) ::rmdir(group.c_str());
  if (state.results_are_temporary && is_own_folder(state.results)) {
    std::error_code ignored;
    std::filesystem::remove_all(state.results, ignored);
  }
  ::unlink(state_path(folder, state.name).c_str());
  ::unlink((state_path(folder, state.name) + ".new").c_str());
  return stays;
}

std::vector<std::string> remove_lab(const std::string& folder, const LabState& state) {
  std::vector<std::string> stays = remove_lab_but_lock(folder, state);
  // Whoever waits for this lock notices that it has no name any more.
  ::unlink(lock_path(folder, state.name).c_str());
  return stays;
}

std::uint64_t start_of_process(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text, '\0');  // an iterator would throw if the process ends meanwhile
  const std::size_t behind_name = text.rfind(')');
  if (behind_name == std::string::npos) return 0;
  std::istringstream words(text.substr(behind_name + 1));
  std::string word;
  // The state is word 3 of proc(5), and the start is word 22.
  for (int number = 3; number <= 22; ++number) {
    words >> word;
    if (number == 3 && (word == "Z" || word == "X")) return 0;  // it has ended
  }
  return base::read_digits(word).value_or(0);
}

bool runs(const std::string& folder, const LabState& state) {
  return found_lab(folder, state).alive;
}

UniqueFd open_controller(const std::string& folder, const LabState& state) {
  const pid_t holder = LabLock::holder(folder, state.name).pid;
  if (!is_controller(holder, state)) return UniqueFd();
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, holder, 0U)));
  // Now that it is held, the number cannot come to mean another process.
  if (process && !is_controller(holder, state)) process.reset();
  return process;
}

Result<UniqueFd> open_plain_file(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0) {
    return Error::from_errno(errno, "cannot read " + path);
  }
  if (!S_ISREG(info.st_mode)) {
    return Error(Errc::bad_argument, "cannot read " + path + ": it is not a regular file");
  }
  return file;
}

Result<std::string> read_plain_file(const std::string& path, std::size_t max_bytes) {
  const Result<UniqueFd> file = open_plain_file(path);
  if (!file) return file.error();
  constexpr std::size_t kPiece = 65'536;
  std::string text;
  for (std::size_t had = 0;; had = text.size()) {
    text.resize(had + std::min(kPiece, max_bytes + 1 - had));
    const ssize_t n = ::read(file->get(), text.data() + had, text.size() - had);
    if (n < 0 && errno != EINTR) return Error::from_errno(errno, "cannot read " + path);
    text.resize(had + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n == 0) return text;
    if (text.size() > max_bytes) {
      return Error(Errc::bad_argument, "cannot read " + path + ": it has more than " +
                                           std::to_string(max_bytes) + " bytes");
    }
  }
}

Result<UniqueFd> make_plain_file(const std::string& path, unsigned mode) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Error::from_errno(errno, "cannot replace " + path);
  }
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!file) return Error::from_errno(errno, "cannot make " + path);
  return file;
}

Result<void> write_plain_file(const std::string& path, std::string_view text, unsigned mode) {
  const std::string fresh = path + ".new";
  Result<UniqueFd> file = make_plain_file(fresh, mode);
  if (!file) return std::move(file).error();
  int error = 0;
  while (!text.empty() && error == 0) {
    const ssize_t n = ::write(file->get(), text.data(), text.size());
    if (n >= 0) text.remove_prefix(static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) error = errno;
  }
  if (::close(file->release()) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(fresh.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(fresh.c_str());
  return Error::from_errno(error, "cannot write " + path);
}

namespace {

/// Of a process with more, the rest is not looked at: others may have any number of mappings.
constexpr std::size_t kMaxMapsOfProcess = std::size_t{4} << 20U;

/// The paths of files that a process maps as shared memory.
void add_shared_mappings(const std::string& maps, std::set<std::string>& paths) {
  std::ifstream file(maps);
  std::size_t bytes = 0;
  for (std::string line; bytes < kMaxMapsOfProcess && std::getline(file, line);) {
    bytes += line.size() + 1;
    // "7f12-7f34 rw-s 00000000 00:1a 123     /dev/shm/bus0"
    const std::size_t mode = line.find(' ');
    const std::size_t path = line.find('/');
    if (mode == std::string::npos || path == std::string::npos || mode + 4 >= path) continue;
    if (line[mode + 4] != 's' || line.ends_with(" (deleted)")) continue;
    if (std::string_view(line).substr(path).starts_with("/memfd:")) continue;
    paths.insert(line.substr(path));
  }
}

}  // namespace

std::vector<BusInfo> find_buses(const std::vector<std::string>& also) {
  std::set<std::string> paths(also.begin(), also.end());
  std::error_code failed;
  for (const auto& each : std::filesystem::directory_iterator("/dev/shm", failed)) {
    paths.insert(each.path().string());
  }
  for (const auto& each : std::filesystem::directory_iterator("/proc", failed)) {
    if (base::read_digits(each.path().filename().string())) {
      add_shared_mappings(each.path().string() + "/maps", paths);
    }
  }
  std::set<std::pair<dev_t, ino_t>> seen;
  std::vector<BusInfo> found;
  found.reserve(paths.size());
  for (const std::string& path : paths) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (!seen.emplace(info.st_dev, info.st_ino).second) continue;
    if (const Result<Bus> bus = Bus::open(path)) found.push_back(bus->info());
  }
  return found;
}

}  // namespace shmif::tools
