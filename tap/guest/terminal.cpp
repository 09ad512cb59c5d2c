#include "tap/guest/terminal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace shmif::tap {

Terminal::Terminal() : file_(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {
  note_modes();
}

bool Terminal::is_ours() const {
  return file_ && ::tcgetpgrp(file_.get()) == ::getpgrp();
}

void Terminal::note_modes() {
  if (!has_modes_ && is_ours()) has_modes_ = ::tcgetattr(file_.get(), &modes_) == 0;
}

bool Terminal::is_all_streams() const {
  if (!file_) return false;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::tcgetsid(fd) != ::getsid(0)) return false;
  }
  return true;
}

void Terminal::take_back() const {
  if (!has_modes_) return;  // it was never ours
  const pid_t group = ::tcgetpgrp(file_.get());
  if (group <= 0) return;
  // Another living group has the terminal by right: the shell that put us into the background.
  const bool ours = group == ::getpgrp();
  if (!ours && (::kill(-group, 0) == 0 || errno != ESRCH)) return;
  sigset_t output;
  sigset_t before;
  ::sigemptyset(&output);
  ::sigaddset(&output, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &output, &before);
  if (!ours) ::tcsetpgrp(file_.get(), ::getpgrp());
  // TCSANOW, because output that somebody holds back (Ctrl-S) would make us wait.
  ::tcsetattr(file_.get(), TCSANOW, &modes_);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool stop_by(int number, bool with_group) {
  sigset_t stop;
  ::sigemptyset(&stop);
  ::sigaddset(&stop, number);
  struct sigaction plain{};
  struct sigaction before{};
  plain.sa_handler = SIG_DFL;
  ::sigaction(number, &plain, &before);
  with_group ? ::kill(0, number) : ::raise(number);
  ::pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);  // stops here
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  ::sigaction(number, &before, nullptr);
  // The SIGCONT that ended the stop is blocked and pending. Take it now, because otherwise it would
  // be read later, perhaps after the command has been stopped again. A SIGCONT from before the stop
  // is not pending: the stop discarded it.
  sigset_t continued;
  ::sigemptyset(&continued);
  ::sigaddset(&continued, SIGCONT);
  const timespec now{};
  return ::sigtimedwait(&continued, nullptr, &now) == SIGCONT;
}

}  // namespace shmif::tap
