#include "perf/control/job_thread.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <system_error>

namespace shmif::perf {

struct JobRunner::ThreadState {
  std::atomic<bool> ended{false};
  std::atomic<pid_t> number{0};
};

namespace {

/// Sets up a forked job: it dies with the controller and ignores the terminal's signals.
void become_job(pid_t controller) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != controller) ::_exit(1);  // the controller died before prctl took effect
  // The controller handles these signals, and orders its jobs to stop.
  for (const int number : {SIGINT, SIGQUIT, SIGHUP, SIGUSR1}) ::signal(number, SIG_IGN);
  ::signal(SIGTERM, SIG_DFL);
}

}  // namespace

Result<std::unique_ptr<JobRunner>> JobRunner::start(bool thread, std::function<int()> body) {
  std::unique_ptr<JobRunner> job(new JobRunner());
  if (thread) {
    job->state_ = std::make_shared<ThreadState>();
    try {
      job->thread_ = std::thread([state = job->state_, body = std::move(body)] {
        state->number.store(::gettid(), std::memory_order_release);
        body();
        state->ended.store(true, std::memory_order_release);
      });
    } catch (const std::system_error& error) {
      return Error(error.code(), std::string("cannot start a thread: ") + error.what());
    }
    return job;
  }
  std::fflush(nullptr);
  const pid_t controller = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) {
    return Error::from_errno(errno, "cannot start a process", "ulimit -u shows the limit");
  }
  if (pid == 0) {
    become_job(controller);
    ::_exit(body());
  }
  job->pid_ = pid;
  return job;
}

JobRunner::~JobRunner() {
  if (is_thread()) {
    if (!thread_.joinable()) return;
    if (state_->ended.load(std::memory_order_acquire)) {
      thread_.join();
    } else {
      thread_.detach();
    }
    return;
  }
  if (ended_) return;
  signal(SIGKILL);
  wait();
}

void JobRunner::take(int status) noexcept {
  ended_ = true;
  if (WIFEXITED(status)) exit_.status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) exit_.signal = WTERMSIG(status);
}

pid_t JobRunner::task() const noexcept {
  return is_thread() ? state_->number.load(std::memory_order_acquire) : pid_;
}

bool JobRunner::ended() {
  if (ended_) return true;
  if (is_thread()) {
    if (!state_->ended.load(std::memory_order_acquire)) return false;
    thread_.join();
    ended_ = true;
    return true;
  }
  int status = 0;
  const pid_t pid = ::waitpid(pid_, &status, WNOHANG);
  if (pid == pid_) take(status);
  // ECHILD: it has vanished, and its status or signal is unknown.
  if (pid < 0 && errno == ECHILD) ended_ = true;
  return ended_;
}

void JobRunner::signal(int number) noexcept {
  if (!is_thread() && !ended_) ::kill(pid_, number);
}

void JobRunner::wait() {
  if (ended_ || is_thread()) return;
  int status = 0;
  pid_t pid = 0;
  do {
    pid = ::waitpid(pid_, &status, 0);
  } while (pid < 0 && errno == EINTR);
  if (pid == pid_) take(status);
  ended_ = true;
}

}  // namespace shmif::perf
