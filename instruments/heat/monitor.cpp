#include "instruments/heat/monitor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/text.hpp"
#include "instruments/heat/heat_map.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

Error is_busy(const char* what) {
  return {Errc::busy, std::string("cannot ") + what +
                          ": the monitor of access heat is on (end it with --off first)"};
}

/// The process of a target. An error if another process has its number now.
Result<Process> reopen(const TaskId& target, const KernelFiles& files) {
  auto process = Process::open(target.number, files);
  if (!process || process->id() == target) return process;
  return Error::from_errno(ESRCH, "cannot watch process " + std::to_string(target.number));
}

const HeatResult* result_for(const std::vector<HeatResult>& results, const TaskId& target) {
  const auto found = std::ranges::find(results, target, &HeatResult::process);
  return found == results.end() ? nullptr : &*found;
}

/// Answers a request. Sets `ends` if the monitor must end.
Result<std::string> answer_heat(HeatMonitor& monitor, const HeatRequest& request, bool& ends) {
  const auto done = [](const Result<void>& result) {
    return result ? Result<std::string>(std::string()) : Result<std::string>(result.error());
  };
  switch (request.verb) {
    case HeatVerb::set: return done(monitor.set(request));
    case HeatVerb::on: return done(monitor.start(request));
    case HeatVerb::off: monitor.stop(); return std::string();
    case HeatVerb::forget: ends = true; return std::string();
    case HeatVerb::status: {
      const HeatStatus status = monitor.status();
      return request.as_json ? heat_status_json(status) : heat_status_text(status);
    }
    case HeatVerb::show: {
      const auto results = monitor.results();
      return request.as_json
                 ? heat_json(results, monitor.attributes(), monitor.status().is_on)
                 : heat_text(results, monitor.attributes(), request.columns, request.in_colour);
    }
  }
  return Error(Errc::bad_argument, "the monitor of access heat does not know this request");
}

}  // namespace

void merge_heat_results(std::vector<HeatResult>& known, std::vector<HeatResult> now) {
  for (HeatResult& each : now) {
    const auto before = std::ranges::find(known, each.process, &HeatResult::process);
    if (before == known.end()) {
      known.push_back(std::move(each));
      continue;
    }
    std::vector<HeatWindow> windows = std::move(before->windows);
    const double last = windows.empty() ? -1 : windows.back().begin_s;
    for (HeatWindow& window : each.windows) {
      if (window.begin_s > last) windows.push_back(std::move(window));
    }
    // After a change of the source, drop what the first one saw, because its addresses differ.
    const bool begins_anew = before->provenance.source != each.provenance.source;
    if (begins_anew) std::erase_if(windows, [&](const auto& w) { return w.begin_s <= last; });
    if (windows.size() > HeatMonitor::kKeptWindows) {
      windows.erase(windows.begin(), windows.end() - HeatMonitor::kKeptWindows);
    }
    *before = std::move(each);
    before->windows = std::move(windows);
  }
}

/// A run, from on to off. Only its thread uses the session.
class HeatMonitor::Run {
 public:
  Run(const Settings& settings, const KernelFiles& files,
      const std::shared_ptr<DamonRecord>& record, std::vector<HeatResult> before)
      : attributes_(settings.attributes),
        results_(std::move(before)),
        thread_([this, settings, files, record](const std::stop_token& stop) {
          HeatOptions options;
          static_cast<HeatSettings&>(options) = settings;
          options.damon_record = record;
          options.files = files;
          watch(std::move(options), settings.targets, stop);
        }) {}

  void end() { thread_.request_stop(); }
  bool was_told_to_end() const { return thread_.get_stop_token().stop_requested(); }
  bool is_over() const {
    const std::lock_guard guard(mutex_);
    return is_over_;
  }
  const HeatAttributes& attributes() const { return attributes_; }
  std::vector<HeatResult> results() const {
    const std::lock_guard guard(mutex_);
    return results_;
  }

 private:
  void watch(HeatOptions options, const std::vector<TaskId>& targets, const std::stop_token& stop) {
    constexpr std::size_t kFew = 4;  // results_ has the others
    options.keep_windows = kFew;
    options.stops = [&stop] { return stop.stop_requested(); };
    HeatSession session(options);
    std::vector<Process> processes;
    for (const TaskId& target : targets) {
      auto process = reopen(target, options.files);
      if (process) processes.push_back(*std::move(process));
    }
    session.add_all(processes);
    std::uint64_t known = 0;
    while (!stop.stop_requested() && session.is_watching() &&
           !std::ranges::all_of(processes, &Process::has_ended)) {
      const auto next = session.step();
      if (session.changes() != known) publish(session);
      known = session.changes();
      wait_until(next, stop);
    }
    session.finish();
    publish(session);
    const std::lock_guard guard(mutex_);
    is_over_ = true;
  }

  void publish(const HeatSession& session) {
    auto now = session.results();
    const std::lock_guard guard(mutex_);
    merge_heat_results(results_, std::move(now));
  }

  void wait_until(HeatSession::Clock::time_point then, const std::stop_token& stop) {
    // So that the end of all targets is noticed within this time.
    const auto latest = HeatSession::Clock::now() + std::chrono::milliseconds(100);
    std::unique_lock lock(sleep_);
    bell_.wait_until(lock, stop, std::min(then, latest), [] { return false; });
  }

  const HeatAttributes attributes_;
  mutable std::mutex mutex_;
  std::vector<HeatResult> results_;
  bool is_over_ = false;
  std::mutex sleep_;
  std::condition_variable_any bell_;
  std::jthread thread_;  ///< the last member: it uses the others
};

HeatMonitor::HeatMonitor(KernelFiles files) : files_(std::move(files)) {}
HeatMonitor::~HeatMonitor() = default;

bool HeatMonitor::is_on() const {
  return run_ && !run_->was_told_to_end() && !run_->is_over();
}

/// The settings that the request would make.
Result<HeatMonitor::Settings> HeatMonitor::with(const HeatRequest& request) const {
  Settings settings = settings_;
  settings.attributes = request.attributes.value_or(settings.attributes);
  settings.backend = request.backend.value_or(settings.backend);
  settings.damon = request.damon.value_or(settings.damon);
  settings.clients = request.clients.value_or(settings.clients);
  if (!request.targets) return settings;
  settings.targets.clear();
  for (const pid_t pid : *request.targets) {
    const auto process = Process::open(pid, files_);
    if (!process) return process.error();
    settings.targets.push_back(process->id());
  }
  return settings;
}

Result<void> HeatMonitor::set(const HeatRequest& request) {
  if (is_on()) return is_busy("change settings");
  auto settings = with(request);
  if (!settings) return std::move(settings).error();
  settings_ = *std::move(settings);
  return {};
}

Result<void> HeatMonitor::start(const HeatRequest& request) {
  if (is_on()) return is_busy("begin");
  if (run_ && !run_->is_over()) {
    return Error(Errc::busy, "cannot begin: the last watch still waits for a target (try again)");
  }
  auto settings = with(request);
  if (!settings) return std::move(settings).error();
  if (settings->targets.empty()) {
    return Error(Errc::bad_argument, "cannot begin: there is no target (give -p or --bus)");
  }
  const bool lives = std::ranges::any_of(
      settings->targets, [&](const TaskId& target) { return reopen(target, files_).has_value(); });
  if (!lives) return Error::from_errno(ESRCH, "cannot begin: all targets have ended");
  settings_ = *std::move(settings);
  // A target that has ended keeps its last map.
  std::vector<HeatResult> kept;
  const auto last = results();
  for (const TaskId& target : settings_.targets) {
    const HeatResult* const known = result_for(last, target);
    if (reopen(target, files_)) {
      HeatResult& none = kept.emplace_back();
      none.process = target;
      none.reason = "no look at it has ended yet";
    } else if (known != nullptr) {
      kept.push_back(*known);
    }
  }
  debug(Debug::heat, [&] {
    return "a watch begins, as a request said: " + std::to_string(settings_.targets.size()) +
           " targets";
  });
  run_ = std::make_unique<Run>(settings_, files_, damon_record_, std::move(kept));
  return {};
}

void HeatMonitor::stop() {
  debug(Debug::heat, [] { return "the watch ends, as a request said"; });
  if (run_) run_->end();
}

std::vector<HeatResult> HeatMonitor::results() const {
  return run_ ? run_->results() : std::vector<HeatResult>();
}

HeatAttributes HeatMonitor::attributes() const {
  return run_ ? run_->attributes() : settings_.attributes;
}

HeatStatus HeatMonitor::status() const {
  HeatStatus status;
  static_cast<HeatSettings&>(status) = settings_;
  status.is_on = is_on();
  const auto results = this->results();
  for (const TaskId& target : settings_.targets) {
    HeatTarget told;
    told.process = target;
    told.is_alive = reopen(target, files_).has_value();
    if (const HeatResult* const known = result_for(results, target)) {
      told.name = known->name;
      told.reason = known->reason;
      told.windows = known->windows.size();
    }
    if (!told.is_alive && told.reason.empty()) told.reason = "the process has ended";
    status.targets.push_back(std::move(told));
  }
  const auto contexts = count_damon_contexts(damon_record_->threads(), files_);
  if (contexts) {
    status.contexts = *contexts;
  } else {
    status.contexts_reason = contexts.error().message;
  }
  return status;
}

namespace {

using Json = nlohmann::ordered_json;

std::string contexts_line(const HeatStatus& status) {
  if (!status.contexts) return "kernel DAMON: " + status.contexts_reason;
  const auto [own, foreign] = *status.contexts;
  if (own + foreign == 0) return "kernel DAMON: nobody uses it";
  std::string text = "kernel DAMON: ";
  if (own > 0) text += "this monitor uses " + std::to_string(own) + " contexts";
  if (own > 0 && foreign > 0) text += "; ";
  if (foreign == 0) return text;
  return text + "others use " + std::to_string(foreign) +
         " contexts, which the monitor does not touch";
}

Json null_if_empty(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

}  // namespace

std::string heat_status_text(const HeatStatus& status) {
  std::string text = status.is_on ? "on" : "off";
  text += "\nattrs " + attributes_text(status.attributes) + "\nbackend " + to_word(status.backend) +
          '\n';
  if (status.backend == HeatBackend::damon) {
    text += std::string("damon ") + to_word(status.damon.space);
    if (!status.damon.ranges.empty()) text += ' ' + address_ranges_text(status.damon.ranges);
    text += '\n';
  }
  if (!status.clients.empty()) text += "clients " + base::printable(status.clients) + '\n';
  if (status.targets.empty()) text += "no targets\n";
  for (const HeatTarget& each : status.targets) {
    text += "target " + std::to_string(each.process.number);
    if (!each.name.empty()) text += " (" + base::printable(each.name) + ')';
    text += each.is_alive ? "" : ", ended";
    text += ", " + std::to_string(each.windows) + " windows";
    if (!each.reason.empty()) text += ": " + base::printable(each.reason);
    text += '\n';
  }
  return text + base::printable(contexts_line(status)) + '\n';
}

std::string heat_status_json(const HeatStatus& status) {
  auto targets = Json::array();
  for (const HeatTarget& each : status.targets) {
    targets.push_back({{"pid", each.process.number},
                       {"start_ticks", each.process.start_ticks},
                       {"name", null_if_empty(each.name)},
                       {"is_alive", each.is_alive},
                       {"windows", each.windows},
                       {"reason", null_if_empty(each.reason)}});
  }
  const auto& contexts = status.contexts;
  const Json whole{{"state", status.is_on ? "on" : "off"},
                   {"attrs", attributes_text(status.attributes)},
                   {"backend", to_word(status.backend)},
                   {"damon", to_word(status.damon.space)},
                   {"ranges", null_if_empty(address_ranges_text(status.damon.ranges))},
                   {"clients", null_if_empty(status.clients)},
                   {"targets", std::move(targets)},
                   {"own_contexts", contexts ? Json(contexts->own) : Json(nullptr)},
                   {"foreign_contexts", contexts ? Json(contexts->foreign) : Json(nullptr)},
                   {"foreign_reason", null_if_empty(status.contexts_reason)}};
  constexpr int kIndent = 1;
  return whole.dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxCallers = 16;
constexpr std::chrono::seconds kCallerPatience(10);
constexpr mode_t kOwnerOnly = 0700;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error(Errc::bad_argument, "cannot use " + path + " as a socket: the path is too long");
  }
  std::memcpy(&address.sun_path[0], path.c_str(), path.size());
  return address;
}

UniqueFd new_socket(int flags) {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

/// Whether the peer is this user, or root.
bool is_trusted(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         (peer.uid == ::geteuid() || peer.uid == 0);
}

/// One connection. It receives a request, sends the answer, and ends.
class Caller {
 public:
  explicit Caller(UniqueFd socket) : socket_(std::move(socket)) {}
  int descriptor() const { return socket_.get(); }
  short wants() const { return out_.empty() ? POLLIN : POLLOUT; }
  Clock::time_point begun() const { return begun_; }
  bool has_asked() const { return !out_.empty(); }

  /// Reads or writes as much as possible without waiting. Result: false when the connection is
  /// done.
  bool go_on(HeatMonitor& monitor, bool& ends) {
    return out_.empty() ? take(monitor, ends) : give();
  }

 private:
  bool take(HeatMonitor& monitor, bool& ends) {
    std::array<char, 4096> part;
    const ssize_t got = ::recv(socket_.get(), part.data(), part.size(), 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    in_.append(part.data(), static_cast<std::size_t>(got));
    const bool is_whole = in_.ends_with("\n\n");
    if (!is_whole && in_.size() <= kMaxRequestBytes) return true;
    const auto request = read_heat_request(in_);
    out_ = heat_answer_text(request ? answer_heat(monitor, *request, ends)
                                    : Result<std::string>(request.error()));
    return give();
  }

  bool give() {
    const ssize_t sent =
        ::send(socket_.get(), &out_[given_], out_.size() - given_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    given_ += static_cast<std::size_t>(sent);
    return given_ < out_.size();
  }

  UniqueFd socket_;
  std::string in_, out_;
  std::size_t given_ = 0;
  Clock::time_point begun_ = Clock::now();
};

/// Makes room for one more caller. Drops the oldest caller that has not sent a request yet; if
/// there is no such caller, the oldest one.
void make_room(std::list<Caller>& callers) {
  if (callers.size() < kMaxCallers) return;
  auto leaves = std::ranges::find_if(callers, [](const Caller& each) { return !each.has_asked(); });
  if (leaves == callers.end()) leaves = callers.begin();
  callers.erase(leaves);
}

/// Reads until the peer closes. Errors: as ask_heat_monitor().
Result<std::string> read_all(int socket) {
  std::string text;
  std::array<char, 16384> part;
  const auto deadline = Clock::now() + kCallerPatience;
  for (;;) {  // until the end, or the deadline
    pollfd ready{socket, POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) {
      return Error(Errc::timed_out, "the monitor of access heat does not answer (is it stopped?)");
    }
    const ssize_t got = ::recv(socket, part.data(), part.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got < 0) return Error(Errc::link_ended, "the monitor of access heat has died");
    if (got == 0) break;
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  if (text.empty()) return Error(Errc::link_ended, "the monitor of access heat has died");
  return text;
}

/// Whether the file of this descriptor still has this name.
bool has_name(int descriptor, const std::string& path) {
  struct stat held{};
  struct stat named{};
  return ::fstat(descriptor, &held) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

std::string lock_path(const std::string& folder) {
  return folder + "/lock";
}

/// Locks the folder for one monitor. A monitor that ends removes the lock file. So the file that we
/// locked may have lost its name; then this tries again with a new file.
Result<UniqueFd> lock_folder(const std::string& folder) {
  const std::string path = lock_path(folder);
  constexpr mode_t kPrivate = 0600;
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    UniqueFd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kPrivate));
    if (!lock && errno == ENOENT) {  // the last monitor has just removed the folder
      if (auto made = make_private_folder(folder); !made) return std::move(made).error();
      continue;
    }
    if (!lock) return Error::from_errno(errno, "cannot open " + path);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0 && has_name(lock.get(), path)) return lock;
    if (has_name(lock.get(), path)) break;
  }
  return Error(Errc::busy, "another monitor of access heat has " + folder);
}

}  // namespace

Result<void> make_private_folder(const std::string& path) {
  if (::mkdir(path.c_str(), kOwnerOnly) != 0 && errno != EEXIST) {
    return Error::from_errno(errno, "cannot make " + path);
  }
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0)
    return Error::from_errno(errno, "cannot look at " + path);
  constexpr mode_t kOthers = 077;
  if (S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() && (status.st_mode & kOthers) == 0) {
    return {};
  }
  return Error::from_errno(EPERM, "cannot use " + path,
                           "it must be a directory of this user that no other may use");
}

std::string heat_control_path() {
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  return runtime != nullptr && *runtime == '/' ? std::string(runtime) + "/shmif-heat"
                                               : "/tmp/shmif-heat-" + std::to_string(::geteuid());
}

Result<std::string> heat_control_folder() {
  std::string path = heat_control_path();
  if (auto made = make_private_folder(path); !made) return std::move(made).error();
  return path;
}

Result<std::string> ask_heat_monitor(const std::string& folder, const HeatRequest& request) {
  const auto address = address_of(folder + "/control");
  if (!address) return address.error();
  const UniqueFd socket = new_socket(0);
  if (!socket) return Error::from_errno(errno, "cannot make a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) {
      return Error(Errc::link_ended, "there is no monitor of access heat in " + folder);
    }
    return Error::from_errno(errno, "cannot connect to " + folder + "/control");
  }
  if (!is_trusted(socket.get())) {
    return Error::from_errno(EPERM, "cannot use the monitor in " + folder, "another user runs it");
  }
  const std::string text = heat_request_text(request);
  // The request fits into the socket's buffer.
  if (::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) {
    return Error(Errc::link_ended, "the monitor of access heat has died");
  }
  const auto answer = read_all(socket.get());
  if (!answer) return answer.error();
  return read_heat_answer(*answer);
}

Result<HeatListener> HeatListener::open(const std::string& folder) {
  HeatListener listener;
  auto lock = lock_folder(folder);
  if (!lock) return lock.error();
  listener.lock_ = *std::move(lock);
  const auto address = address_of(folder + "/control");
  if (!address) return address.error();
  const std::string path = folder + "/control";
  // A socket with this name was left by a killed monitor. Another kind of file belongs to somebody
  // else.
  struct stat status{};
  const bool is_there = ::lstat(path.c_str(), &status) == 0;
  if (is_there && !S_ISSOCK(status.st_mode)) {
    return Error::from_errno(EEXIST, "cannot listen at " + path, "that file is no socket");
  }
  if (is_there) ::unlink(path.c_str());
  listener.socket_ = new_socket(SOCK_NONBLOCK);
  constexpr int kBacklog = 16;
  if (!listener.socket_ ||
      ::bind(listener.socket_.get(), reinterpret_cast<const sockaddr*>(&*address),
             sizeof *address) != 0 ||
      ::listen(listener.socket_.get(), kBacklog) != 0) {
    return Error::from_errno(errno, "cannot listen at " + path);
  }
  listener.path_ = path;
  return listener;
}

HeatListener::~HeatListener() {
  if (!socket_ || path_.empty()) return;
  ::unlink(path_.c_str());
  ::unlink(lock_path(path_.substr(0, path_.rfind('/'))).c_str());
}

void HeatListener::serve(HeatMonitor& monitor) {
  std::list<Caller> callers;
  bool ends = false;
  while (!ends || !callers.empty()) {
    std::vector<pollfd> ready{{ends ? -1 : socket_.get(), POLLIN, 0}};
    for (const Caller& each : callers) ready.push_back({each.descriptor(), each.wants(), 0});
    constexpr int kLookMs = 1000;
    ::poll(ready.data(), ready.size(), kLookMs);
    std::size_t i = 1;
    for (auto caller = callers.begin(); caller != callers.end(); ++i) {
      bool goes_on = Clock::now() - caller->begun() < kCallerPatience;
      if (ready[i].revents != 0) goes_on = caller->go_on(monitor, ends);
      caller = goes_on ? std::next(caller) : callers.erase(caller);
    }
    if (ready[0].revents == 0) continue;
    UniqueFd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) continue;
    if (!is_trusted(socket.get())) {
      debug(Debug::heat, [] { return "hung up on a caller: another user's"; });
      continue;
    }
    make_room(callers);
    callers.emplace_back(std::move(socket));
  }
}

}  // namespace shmif::perf
