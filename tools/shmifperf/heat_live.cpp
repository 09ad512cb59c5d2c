#include "tools/shmifperf/heat_live.hpp"

#include <unistd.h>

#include <array>
#include <csignal>
#include <string_view>

#include "instruments/heat/heat_map.hpp"
#include "tools/common/progress.hpp"

namespace shmif::tools {

LiveHeat::LiveHeat(const perf::HeatAttributes& attributes, bool keys)
    : attributes_(attributes), keys_(keys) {}

std::vector<int> LiveHeat::descriptors() const {
  std::vector<int> all{screen_.signal_descriptor()};
  if (keys_) all.push_back(STDIN_FILENO);
  return all;
}

/// Reads the pending keys.
bool LiveHeat::quits() {
  if (!keys_) return false;
  std::array<char, 64> keys;
  const ssize_t n = ::read(STDIN_FILENO, keys.data(), keys.size());
  // On a terminal, nothing was typed. Elsewhere, an empty read means the end.
  if (n <= 0) {
    keys_ = ::isatty(STDIN_FILENO) == 1;
    return false;
  }
  return std::string_view(keys.data(), static_cast<std::size_t>(n)).find_first_of("qQ") !=
         std::string_view::npos;
}

bool LiveHeat::look(const perf::HeatSession& session) {
  while (const int number = screen_.next_signal()) {
    if (number == SIGTSTP) screen_.suspend();
    is_stale_ = true;
  }
  if (quits()) return false;
  const Clock::time_point now = Clock::now();
  if (!is_stale_ && (session.changes() == drawn_ || now < next_)) return true;
  constexpr std::chrono::milliseconds kBetween{50};
  next_ = now + kBetween;
  drawn_ = session.changes();
  is_stale_ = false;
  const Screen::Size size = screen_.size();
  screen_.show(
      perf::heat_picture(session.views(), attributes_, size.columns, size.rows, shows_colours()) +
      (keys_ ? "q quits" : "Ctrl-C quits"));
  return true;
}

}  // namespace shmif::tools
