#include "perf/control/trigger.hpp"

#include <unistd.h>

#include <algorithm>

#include "perf/worker/command.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

bool Trigger::exists() const noexcept {
  return !options_.trigger_file.empty() || options_.trigger_timeout.count() > 0 ||
         !options_.trigger_match.empty();
}

std::optional<std::string> Trigger::check(std::uint64_t since_start_ns, bool matched,
                                          bool elsewhere) {
  if (fired_) return std::nullopt;
  std::optional<std::string> why;
  if (!options_.trigger_file.empty() && ::access(options_.trigger_file.c_str(), F_OK) == 0) {
    why = "file " + options_.trigger_file + " appeared";
    if (::unlink(options_.trigger_file.c_str()) != 0) *why += " (but could not be removed)";
  } else if (options_.trigger_timeout.count() > 0 &&
             since_start_ns >= static_cast<std::uint64_t>(options_.trigger_timeout.count())) {
    why = "trigger-timeout has passed";
  } else if (matched) {
    why = "a frame matched \"" + options_.trigger_match + '"';
  } else if (elsewhere && exists()) {
    why = "it fired on another server, or on the client";
  }
  fired_ = why.has_value();
  return why;
}

std::string Trigger::waits_for() const {
  std::string text;
  const auto add = [&text](const std::string& what) {
    text += (text.empty() ? "" : ", or ") + what;
  };
  if (!options_.trigger_file.empty()) add("file " + options_.trigger_file);
  if (options_.trigger_timeout.count() > 0) {
    add(std::to_string(options_.trigger_timeout.count() / 1'000'000) + " ms since the start");
  }
  if (!options_.trigger_match.empty())
    add("a frame that matches \"" + options_.trigger_match + '"');
  return text.empty() ? "there is no trigger" : "waits for " + text;
}

std::optional<std::string> Trigger::run_command(const std::function<bool()>& ended_early) {
  if (!fired_ || options_.trigger_command.empty()) return std::nullopt;
  if (!options_.allow_exec) {
    return "the trigger's command was not run: this server runs no commands (start it with "
           "--allow-exec)";
  }
  debug(Debug::trigger, [this] { return "runs " + options_.trigger_command.front(); });
  if (auto done = shmif::perf::run_command(options_.trigger_command, {}, ended_early); !done) {
    return "the trigger's command: " + done.error().message;
  }
  return std::nullopt;
}

}  // namespace shmif::perf
