#include "perf/remote/run_child.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "base/descriptors.hpp"
#include "perf/control/campaign.hpp"
#include "perf/engine/engine.hpp"
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

}  // namespace shmif::perf
