#pragma once
// Debug lines: they say why a program does what it does, by category (--debug=process,rate). Do not
// write them for each frame. A category that is off costs a relaxed load and a branch. Never call
// this from a signal handler.

#include <atomic>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

namespace spdlog {
class logger;
}

namespace shmif {

/// What a debug line is about. debug_categories() returns the names, and what each category is for.
enum class Debug : std::uint8_t {
  plan,
  process,
  place,
  wire,
  rate,
  verify,
  trigger,
  search,
  record,
  counters,
  heat,
  membw,
  why,
  remote,
  relay,
  guest,
  link,
};

struct DebugCategory {
  Debug category;
  const char* name;
  const char* about;  ///< its line in a list of the categories
};
/// All categories, in the order of Debug.
std::span<const DebugCategory> debug_categories() noexcept;

/// Turns categories on: their names, separated by commas, or "all". Categories that are on stay on,
/// also in processes that this one forks. Errors: bad_argument, which names the word that is not a
/// category; then no category is turned on. Threads: safe.
Result<void> add_debug(std::string_view names);

namespace detail {
extern std::atomic<std::uint32_t> debug_mask;
/// Writes a line with one system call, so lines of several processes do not mix. It takes no lock
/// that another thread could hold during a fork, and keeps errno.
void write_debug(Debug category, std::string_view text) noexcept;
/// Restores errno after a line was built.
class KeptErrno {
 public:
  KeptErrno() noexcept;
  KeptErrno(const KeptErrno&) = delete;
  KeptErrno& operator=(const KeptErrno&) = delete;
  ~KeptErrno();

 private:
  int number_;
};
}  // namespace detail

/// Whether lines of this category are written.
inline bool debugs(Debug category) noexcept {
  const std::uint32_t mask = detail::debug_mask.load(std::memory_order_relaxed);
  return ((mask >> static_cast<unsigned>(category)) & 1U) != 0;
}

/// Writes the text that `make` returns to standard error, as a line with the time (UTC), the
/// process, the category, and the DebugSubject of the thread. `make` is called only if the category
/// is on. errno is kept. A line is left out if there is no memory for it. Threads: safe. Blocks: as
/// standard error does.
template <class Make>
void debug(Debug category, Make&& make) noexcept {
  if (!debugs(category)) [[likely]]
    return;
  const detail::KeptErrno kept;
  try {
    detail::write_debug(category, std::forward<Make>(make)());
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): drops the line, as promised
  }
}

/// While this exists, debug lines name its subject, for example a job. This holds for the thread
/// that made it, and for processes that the thread forks.
class DebugSubject {
 public:
  explicit DebugSubject(std::string_view name);
  DebugSubject(const DebugSubject&) = delete;
  DebugSubject& operator=(const DebugSubject&) = delete;
  ~DebugSubject();

 private:
  std::string before_;
};

/// For programs that fork; internal to shmif. A logger that writes each line to standard error with
/// one system call. spdlog's own sinks share a lock; a forked process would inherit it locked if
/// another thread logged at that moment. This logger has no lock: it formats each line separately.
/// The pattern must not contain the time, because localtime_r takes such a lock, too. The logger is
/// never destroyed: threads and static objects may log until the process has ended. Threads: safe.
spdlog::logger& make_whole_lines_logger(const std::string& name, std::string pattern);

}  // namespace shmif
