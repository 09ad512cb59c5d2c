#pragma once
// Debug lines: why a program does what it does, by category (--debug=process,rate). Not for the
// path of each frame: a category that is off costs a relaxed load and a branch. Never call this
// from a signal handler.

#include <atomic>
#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

namespace shmif {

/// What a debug line is about. debug_categories() has the words and what each is for.
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
  const char* about;  ///< for a list of the categories
};
/// All categories, in the order of Debug.
std::span<const DebugCategory> debug_categories() noexcept;

/// Turns categories on: their names, separated by commas, or "all". Those that are on stay on, also
/// in processes that this one forks. Errors: bad_argument with the word that is no category;
/// nothing changes then. Threads: safe.
Result<void> add_debug(std::string_view names);

namespace detail {
extern std::atomic<std::uint32_t> debug_mask;
/// Writes a line with one system call, so lines of several processes do not mix. It takes no lock
/// that another thread could hold during a fork, and keeps errno.
void write_debug(Debug category, std::string_view text) noexcept;
/// Keeps errno for code that builds a line.
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
/// is on. errno is kept, and a line for which there is no memory is left out. Threads: safe.
/// Blocks: as standard error does.
template <class Make>
void debug(Debug category, Make&& make) noexcept {
  if (!debugs(category)) [[likely]]
    return;
  const detail::KeptErrno kept;
  try {
    detail::write_debug(category, std::forward<Make>(make)());
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): goes on without, as promised
  }
}

/// While this exists, the debug lines of the thread that made it, and of processes that the thread
/// forks, name their subject: a job, for example.
class DebugSubject {
 public:
  explicit DebugSubject(std::string_view name);
  DebugSubject(const DebugSubject&) = delete;
  DebugSubject& operator=(const DebugSubject&) = delete;
  ~DebugSubject();

 private:
  std::string before_;
};

}  // namespace shmif
