#include "tools/common/signals.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

// A handler can access only static objects. All of these are lock-free, so a handler can use them
// safely.
std::atomic<int> caught{0};
std::atomic<bool> caught_again{false};
std::atomic<int> bell{-1};
std::vector<std::pair<int, struct sigaction>> replaced_handlers;

std::atomic<bool> bounds_writes{false};

/// It comes without SA_RESTART, so its arrival ends a write.
void on_alarm(int) {
  ::alarm(1);
}

/// A handler is needed: if the signal were ignored, started programs would ignore it, too.
void do_nothing(int) {}

void on_signal(int number) {
  const int saved = errno;
  if (bounds_writes.load()) ::alarm(1);
  int none = 0;
  if (!caught.compare_exchange_strong(none, number)) caught_again = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(bell.load(), &one, sizeof one);
  errno = saved;
}

}  // namespace

StopSignals::StopSignals(std::initializer_list<int> signals) {
  caught = 0;
  caught_again = false;
  bounds_writes = false;
  bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (bell < 0) throw Exception(Error::from_errno(errno, "cannot make an eventfd for signals"));
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int number : signals) {
    struct sigaction before{};
    sigaction(number, nullptr, &before);
    // nohup ignores SIGHUP on purpose. An ignored SIGINT only means that a script's shell runs this
    // program in the background; the script's `kill -INT` must still end it.
    if (before.sa_handler == SIG_IGN && number == SIGHUP) continue;
    sigaction(number, &action, &before);
    replaced_handlers.emplace_back(number, before);
  }
  action.sa_handler = do_nothing;
  for (const int number : {SIGUSR1, SIGUSR2}) {
    struct sigaction before{};
    sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_DFL) continue;
    sigaction(number, &action, nullptr);
    replaced_handlers.emplace_back(number, before);
  }
}

StopSignals::~StopSignals() {
  for (const auto& [number, before] : replaced_handlers) sigaction(number, &before, nullptr);
  replaced_handlers.clear();
  close(bell.exchange(-1));
}

int StopSignals::signal() const noexcept {
  return caught.load();
}

bool StopSignals::urged() const noexcept {
  return caught_again.load();
}

int StopSignals::descriptor() const noexcept {
  return bell.load();
}

void StopSignals::bound_writes() const noexcept {
  struct sigaction action{};
  action.sa_handler = on_alarm;
  sigemptyset(&action.sa_mask);
  sigaction(SIGALRM, &action, nullptr);
  bounds_writes = true;
  if (stopped()) ::alarm(1);
}

bool StopSignals::wait(int milliseconds) const noexcept {
  pollfd entry{descriptor(), POLLIN, 0};
  poll(&entry, 1, milliseconds);
  return stopped();
}

}  // namespace shmif::tools
