#include "perf/remote/served_run.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>
#include <new>

#include "base/descriptors.hpp"
#include "instruments/watch/clock.hpp"
#include "perf/control/campaign.hpp"
#include "perf/engine/engine.hpp"
#include "perf/job/values.hpp"
#include "perf/remote/saved_states.hpp"
#include "perf/report/report.hpp"

namespace shmif::perf {
namespace {

/// The server reads at once, whatever the client does; a minute is for machines under heavy load.
constexpr std::chrono::seconds kLastWords{60};
/// If more progress than this is waiting, it would be outdated on arrival.
constexpr std::size_t kMaxWaitingToReport = 64U << 10U;

/// Reports the run's progress to the server.
class Reporter : public RunObserver {
 public:
  explicit Reporter(Connection& server) : server_(server) {}
  void on_run(const std::string& what) override { server_.send(RunMessage{what}); }
  void on_trigger(const std::string& why) override { server_.send(TriggeredMessage{why}); }
  void on_progress(const RunProgress& progress) override {
    report({.progress = progress, .interval = false});
  }
  void on_interval(const RunProgress& progress) override {
    report({.progress = progress, .interval = true});
  }

 private:
  void report(const ProgressMessage& message) {
    server_.pump();
    if (server_.waiting_bytes() < kMaxWaitingToReport) server_.send(message);
  }
  Connection& server_;
};

/// Sets up the run's process: it dies with the server, is detached from the server's terminal, and
/// closes the server's sockets.
int become_run(pid_t server, int socket) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != server) ::_exit(1);  // the server died before prctl took effect
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) ::signal(number, SIG_DFL);
  const int nowhere = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nowhere >= 0) ::dup2(nowhere, STDIN_FILENO);
  constexpr int kSocket = 3;
  if (socket != kSocket) ::dup2(socket, kSocket);
  base::close_all_but({kSocket}, kSocket);
  ::fcntl(kSocket, F_SETFD, FD_CLOEXEC);
  return kSocket;
}

void run_to_the_end(int socket, const std::function<RunPlan()>& make_plan,
                    const RunIdentity& identity, RunControl& control) {
  Connection server(UniqueFd(socket), kMaxHelloBytes);
  try {
    const RunPlan plan = make_plan();
    if (!plan.problems.empty()) {
      server.send(RefusedMessage{plan.problems});
      (void)server.flush(kLastWords);
      return;
    }
    server.send(PreparedMessage{plan.jobs.size()});
    const SavedStates states(plan.jobs, plan.options);
    Reporter reporter(server);
    bool stuck = false;
    auto result = run_campaign(plan.options, plan.jobs, &reporter, control, stuck);
    if (result) {
      result->version = identity.version;
      result->command = identity.command;
      states.tell([&](const StateMessage& state) {
        server.send(state);
        (void)server.flush(kLastWords);  // one at a time in memory
      });
      FinishedMessage finished{to_json(*result, Bins::with)};
      for (JobResult& job : result->jobs) {
        if (job.half) finished.halves.emplace_back(job.name, *std::move(job.half));
      }
      server.send(finished);
    } else {
      const bool unsupported = result.error().code == Errc::not_supported;
      server.send(RefusedMessage{{result.error().message}, unsupported ? kNotSupportedCode : 1});
    }
  } catch (const std::exception& error) {
    server.send(RefusedMessage{{std::string("the run ended early: ") + error.what()}});
  }
  (void)server.flush(kLastWords);
}

}  // namespace

Result<std::unique_ptr<RunChild>> RunChild::start(const std::function<RunPlan()>& make_plan,
                                                  const RunIdentity& identity) {
  auto memory = base::SharedMemory::anonymous(sizeof(RunControl), "cannot get memory for a run");
  if (!memory) return memory.error();
  std::unique_ptr<RunChild> child(new RunChild(std::move(*memory)));
  child->control_->start_at_ns.store(RunControl::kHeld);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return Error::from_errno(errno, "cannot make a pair of sockets");
  }
  child->messages_ = std::make_unique<Connection>(UniqueFd(ends[0]), kMaxResultBytes);
  const UniqueFd theirs(ends[1]);
  std::fflush(nullptr);
  const pid_t server = ::getpid();
  child->pid_ = ::fork();
  if (child->pid_ < 0) return Error::from_errno(errno, "cannot start a process for a run");
  if (child->pid_ == 0) {
    const int socket = become_run(server, theirs.get());
    run_to_the_end(socket, make_plan, identity, *child->control_);
    ::_exit(0);  // skips destructors: the server's objects and stuck threads stay as they are
  }
  return child;
}

RunChild::RunChild(base::SharedMemory memory)
    : memory_(std::move(memory)), control_(new(memory_.data()) RunControl()) {}

RunChild::~RunChild() {
  if (pid_ <= 0 || ended_) return;
  kill();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  remove_buses_of(pid_);
}

void RunChild::stop(int signal) noexcept {
  int none = 0;
  if (signal != 0) control_->signal.compare_exchange_strong(none, signal);
  none = 0;
  control_->stops.compare_exchange_strong(none, 1);
}

void RunChild::stop_hard(int signal) noexcept {
  stop(signal);
  control_->stops.store(2);
}

void RunChild::kill() noexcept {
  if (pid_ > 0 && !ended_) ::kill(pid_, SIGKILL);
}

bool RunChild::ended() {
  if (ended_) return true;
  int status = 0;
  const pid_t pid = ::waitpid(pid_, &status, WNOHANG);
  if (pid == 0 || (pid < 0 && errno == EINTR)) return false;
  ended_ = true;
  remove_buses_of(pid_);
  if (pid < 0) {
    how_ = "vanished";
  } else if (WIFSIGNALED(status)) {
    how_ = "was killed by signal " + std::to_string(WTERMSIG(status)) + " (" +
           ::strsignal(WTERMSIG(status)) + ')';
  } else if (WEXITSTATUS(status) != 0) {
    how_ = "ended with status " + std::to_string(WEXITSTATUS(status));
  }
  return ended_;
}

namespace {

using namespace std::chrono_literals;

/// Time to read and check the options of the client's jobs and to plan them: a few milliseconds,
/// and longer if they name frames of a long capture.
constexpr auto kPlanTime = 20s;
/// Time for jobs to be ready, or to fail by their own deadlines (startup_timeout).
constexpr auto kPrepareTime = 120s;
/// Time between being ready and `go`: other servers of the client may be slow.
constexpr auto kHeldTime = 180s;
/// How long a run that the server stops may drain, also when the server ends, and how long a hard
/// stop may take. The runner gives its jobs one second of that.
constexpr auto kSoftTime = 5s;
constexpr auto kEndingSoftTime = 1s;
constexpr auto kHardStopTime = 5s;
constexpr int kLastReadings = 16;
/// A later start is a mistake or malicious.
constexpr std::uint64_t kFarthestStart = 10'000'000'000;

}  // namespace

void ServedRun::go(std::uint64_t start_ns) {
  if (gone_) return;
  gone_ = Clock::now();
  child_->go(std::min(start_ns, now_ns() + kFarthestStart));
}

void ServedRun::stop(int signal, const std::string& why, Clock::time_point now) {
  child_->stop(signal);
  if (jobs_ == 0) kill_planner("the run was stopped before its jobs were planned");
  if (why.empty()) return;
  tell(NoticeMessage{why});
  reason_ = why;
  if (!stopped_) stopped_ = now;
  if (!hard_at_) hard_at_ = now + kSoftTime;
}

void ServedRun::end(int signal, const std::string& why, Clock::time_point now) {
  stop(signal, why, now);
  hard_at_ = std::min(*hard_at_, now + kEndingSoftTime);
}

void ServedRun::stop_hard(int signal, Clock::time_point now) {
  child_->stop_hard(signal);
  if (jobs_ == 0) kill_planner("the run was stopped before its jobs were planned");
  if (!hard_) hard_ = now;
}

/// Kills the process while it plans: it does not yet read orders, and has no results to report.
void ServedRun::kill_planner(const std::string& why) {
  if (killed_ || !last_words_.empty()) return;
  killed_ = true;
  refusal_ = why;
  child_->kill();
}

void ServedRun::abandon(Clock::time_point now) {
  abandoned_ = true;
  stop_hard(0, now);
}

void ServedRun::listen() {
  auto messages = child_->messages().receive();
  if (!messages) return;  // closed; the exit status of the process tells why
  for (std::string& text : *messages) {
    const auto message = decode(text);
    if (!message) continue;
    if (const auto* const planned = std::get_if<PreparedMessage>(&*message)) {
      jobs_ = jobs_to_tell_ = planned->jobs;
      continue;
    }
    const auto* const refused = std::get_if<RefusedMessage>(&*message);
    if (refused != nullptr && jobs_ == 0 && !refused->why.empty()) refusal_ = refused->why.front();
    if (refused != nullptr || std::holds_alternative<FinishedMessage>(*message)) {
      last_words_ = std::move(text);
    } else if (std::holds_alternative<StateMessage>(*message)) {
      states_.push_back({std::move(text)});
    } else {
      told_.push_back({std::move(text), std::holds_alternative<ProgressMessage>(*message)});
    }
  }
}

void ServedRun::watch_the_clock(Clock::time_point now) {
  if (!ready_ && jobs_ != 0 && child_->ready()) {
    ready_ = now;
    tell(PreparedMessage{jobs_});
  }
  if (gone_ && !told_start_ && child_->started_ns() != 0) {
    told_start_ = true;
    tell(StartedMessage{child_->started_ns()});
  }
  if (hard_ || stopped_) return;
  if (jobs_ == 0 && now > made_ + kPlanTime) {
    kill_planner("the jobs were not planned within " + time_text(kPlanTime) +
                 " (name a frame nearer to the beginning of its capture in headers, or ask for "
                 "fewer jobs)");
  } else if (!ready_ && now > made_ + kPrepareTime) {
    stop(0,
         "the jobs were not ready after " + time_text(kPrepareTime) +
             " (is an exec_prerun still waiting? otherwise ask for fewer jobs)",
         now);
  } else if (ready_ && !gone_ && now > *ready_ + kHeldTime) {
    stop(0,
         "the client did not say when to start within " + time_text(kHeldTime) +
             " (another of its servers may be slow: run it again, or without that one)",
         now);
  } else if (gone_ && now > *gone_ + max_runtime_) {
    stop(0,
         "the run was stopped, because it took longer than the server's --max-runtime, " +
             time_text(max_runtime_),
         now);
  }
}

void ServedRun::escalate(Clock::time_point now) {
  if (hard_at_ && !hard_ && now > *hard_at_) stop_hard(0, now);
  if (hard_ && !killed_ && now > *hard_ + kHardStopTime) {
    killed_ = true;
    child_->kill();
  }
}

std::vector<Told> ServedRun::look(Clock::time_point now) {
  const bool ended = child_->ended();  // before reading, so that no last message is missed
  // The rest from an ended process fits a socket's buffer, so a few reads get all of it.
  for (int i = 0; i == 0 || (ended && last_words_.empty() && i < kLastReadings); ++i) listen();
  watch_the_clock(now);
  escalate(now);
  if (ended) {
    if (!refusal_.empty() && last_words_.empty()) {
      tell(RefusedMessage{{refusal_}});
    } else if (last_words_.empty()) {
      const std::string how = child_->how().empty() ? "ended without a result" : child_->how();
      tell(RefusedMessage{{"the process of the run " + how}});
    } else {
      // Sends states with the result, so that the client has as much time to read them.
      std::ranges::move(states_, std::back_inserter(told_));
      // Once the client has the result, the server is free.
      told_.push_back({std::move(last_words_)});
    }
    over_ = true;
  }
  return std::exchange(told_, {});
}

}  // namespace shmif::perf
