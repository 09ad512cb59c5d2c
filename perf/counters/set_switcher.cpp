#include "perf/counters/set_switcher.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace shmif::perf {

SetSwitcher::SetSwitcher(Look look)
    : look_(std::move(look)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

SetSwitcher::~SetSwitcher() {
  request_stop();
}

void SetSwitcher::wake() const noexcept {
  (void)::eventfd_write(wake_.get(), 1);
}

void SetSwitcher::request_stop() noexcept {
  thread_.request_stop();
  wake();
}

void SetSwitcher::run(const std::stop_token& stop) {
  std::vector<pollfd> wakers;
  for (;;) {  // until look_ ends it
    wakers.assign(1, {wake_.get(), POLLIN, 0});
    const std::optional<int> left = look_(stop, wakers);
    if (!left) return;
    ::poll(wakers.data(), wakers.size(), *left);
    eventfd_t ignored = 0;
    (void)::eventfd_read(wake_.get(), &ignored);
  }
}

}  // namespace shmif::perf
