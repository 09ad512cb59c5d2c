#include "shmif/debug/debug.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/sink.h>
#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/signals.hpp"
#include "base/text.hpp"

namespace shmif {
namespace {

constexpr std::array<DebugCategory, 17> kCategories{{
    {Debug::plan, "plan",
     "the jobs made from the options: peers, groups, and which job waits for which"},
    {Debug::process, "process", "jobs and programs: started, states, orders, signals, ends"},
    {Debug::place, "place", "CPUs, user, group and cgroup of a job"},
    {Debug::wire, "wire", "buses, devices and sockets: made, opened, attached to"},
    {Debug::rate, "rate", "the pace: offered and sent frames, windows, refusals, minimum rates"},
    {Debug::verify, "verify", "flows and their losses, draining, saved and loaded states"},
    {Debug::trigger, "trigger", "what the trigger waits for, and why it fired"},
    {Debug::search, "search", "trials of a search, repetitions, steady states"},
    {Debug::record, "record", "log files that are created, captures: opened, failed, ended"},
    {Debug::counters, "counters", "events that are counted or sampled"},
    {Debug::heat, "heat", "which processes and buses are watched, and how"},
    {Debug::membw, "membw", "sources of the memory bandwidth, and loads"},
    {Debug::why, "why", "which jobs and tasks the diagnosis (why) watches"},
    {Debug::remote, "remote", "client and server: connections and messages"},
    {Debug::relay, "relay", "bridges and taps: their ends, addresses, gateways, reconnections"},
    {Debug::guest, "guest", "hosts of exec: namespaces, interfaces, mounts, programs"},
    {Debug::link, "link",
     "sockets, devices, machines (vhost-user, memif): opened, what was agreed on, why they ended"},
}};

constexpr std::uint32_t bit(Debug category) noexcept {
  return 1U << static_cast<unsigned>(category);
}
constexpr bool in_order() noexcept {
  for (std::size_t i = 0; i < kCategories.size(); ++i) {
    if (static_cast<std::size_t>(kCategories[i].category) != i) return false;
  }
  return true;
}
static_assert(in_order(), "a category is found by its number");

/// The longest text of a line. With what precedes it, a line fits into PIPE_BUF, so a pipe takes it
/// whole.
constexpr std::size_t kMaxText = 3800;

std::string& subject() {
  thread_local std::string name;
  return name;
}

spdlog::logger& debug_logger() {
  static spdlog::logger& instance = make_whole_lines_logger("debug", "%n %v");
  return instance;
}

/// A place between two UTF-8 characters where the text can be cut: at `most`, or up to three bytes
/// before.
std::size_t whole_characters(const std::string& text, std::size_t most) {
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0U) == 0x80U) --most;
  return most;
}

/// The time of day, with microseconds.
std::string time_of_day() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  constexpr long kDay = 24L * 60 * 60;
  const long of_day = now.tv_sec % kDay;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%02ld:%02ld:%02ld.%06ld", of_day / 3600,
                of_day / 60 % 60, of_day % 60, now.tv_nsec / 1000);
  return text.data();
}

class WholeLines final : public spdlog::sinks::sink {
 public:
  explicit WholeLines(std::string pattern) : pattern_(std::move(pattern)) {}

  void log(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    spdlog::pattern_formatter(pattern_).format(message, line);
    // A broken pipe, or a file at its size limit, must not end the process.
    const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
    const char* at = line.data();
    const char* const end = at + line.size();
    while (at < end) {  // a full pipe takes only a part
      const ssize_t count = ::write(STDERR_FILENO, at, static_cast<std::size_t>(end - at));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return;  // an error here cannot be reported
      at += count;
    }
  }
  void flush() override {}
  void set_pattern(const std::string& pattern) override { pattern_ = pattern; }
  void set_formatter(std::unique_ptr<spdlog::formatter> /*formatter*/) override {}

 private:
  std::string pattern_;
};

}  // namespace

namespace detail {

std::atomic<std::uint32_t> debug_mask{0};

KeptErrno::KeptErrno() noexcept : number_(errno) {}
KeptErrno::~KeptErrno() {
  errno = number_;
}

void write_debug(Debug category, std::string_view text) noexcept {
  try {
    std::string line = time_of_day() + ' ' + std::to_string(::getpid()) + ' ' +
                       kCategories.at(static_cast<std::size_t>(category)).name + ": ";
    if (!subject().empty()) line += '[' + base::printable(subject()) + "] ";
    std::string shown = base::printable(text);
    if (shown.size() > kMaxText)
      shown.replace(whole_characters(shown, kMaxText), shown.npos, "...");
    debug_logger().info(line + shown);
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): drops the line, as promised
  }
}

}  // namespace detail

std::span<const DebugCategory> debug_categories() noexcept {
  return kCategories;
}

Result<void> add_debug(std::string_view names) {
  std::uint32_t wanted = 0;
  for (const std::string_view name : base::split(names, ',')) {
    const auto* const found = std::find_if(kCategories.begin(), kCategories.end(),
                                           [&](const DebugCategory& c) { return c.name == name; });
    if (name == "all") {
      for (const DebugCategory& each : kCategories) wanted |= bit(each.category);
    } else if (found == kCategories.end()) {
      return Error(Errc::bad_argument, std::string(name));
    } else {
      wanted |= bit(found->category);
    }
  }
  (void)debug_logger();  // made now, so that a forked process need not make it
  detail::debug_mask.fetch_or(wanted, std::memory_order_relaxed);
  return {};
}

DebugSubject::DebugSubject(std::string_view name) : before_(std::exchange(subject(), name)) {}
DebugSubject::~DebugSubject() {
  subject().swap(before_);
}

spdlog::logger& make_whole_lines_logger(const std::string& name, std::string pattern) {
  return *new spdlog::logger(name, std::make_shared<WholeLines>(std::move(pattern)));
}

}  // namespace shmif
