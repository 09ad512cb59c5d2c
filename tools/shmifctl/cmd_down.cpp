// shmifctl down: ends a lab.

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include "base/text.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/state.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

using DownClock = std::chrono::steady_clock;

/// The guardian removes files only.
constexpr std::chrono::nanoseconds kTimeForGuardian = std::chrono::seconds(5);
constexpr int kLockLookMs = 20;

/// Whether a word means a file, and not the name of a lab that there is.
bool names_file(const std::string& word) {
  std::error_code failed;
  return word.find('/') != std::string::npos || word.ends_with(".toml") ||
         (!find_lab(word) && std::filesystem::is_regular_file(word, failed));
}

/// Waits for the end of a process. Result: false if the time was up, or a signal came.
bool wait_for_lab_end(const UniqueFd& process, std::chrono::nanoseconds at_most,
                      const StopSignals& stop, const std::string& name) {
  const DownClock::time_point end = DownClock::now() + at_most;
  Progress progress;
  for (;;) {
    pollfd entries[2] = {{process.get(), POLLIN, 0}, {stop.descriptor(), POLLIN, 0}};
    ::poll(entries, 2, 100);
    if (entries[0].revents != 0) return true;
    if (stop.stopped() || DownClock::now() >= end) return false;
    if (progress.due()) progress.show("waiting for the lab " + name + " to end");
  }
}

/// A controller that was killed before it wrote its state has left only its lock.
void remove_stray_locks(const std::string& name) {
  for (const std::string& folder : lab_state_folders()) {
    std::error_code failed;
    const std::filesystem::path lock_file = std::filesystem::path(folder) / (name + ".lock");
    if (!is_own_folder(folder) || !std::filesystem::exists(lock_file, failed)) continue;
    const auto lock = LabLock::take(folder, name);
    if (lock && *lock && !read_lab_state(folder, name)) remove_lab(folder, {name, {}, {}});
  }
}

/// Takes the lock of a lab whose controller has ended. Its guardian may have it for a moment.
/// Result: empty if a signal came. Throws if another process keeps it.
std::optional<LabLock> lock_of_ended_lab(const FoundLab& lab, std::chrono::nanoseconds at_most,
                                         const StopSignals& stop) {
  const std::string& name = lab.state.name;
  const DownClock::time_point end = DownClock::now() + std::max(at_most, kTimeForGuardian);
  Progress progress;
  for (;;) {
    Result<std::optional<LabLock>> lock = LabLock::take(lab.folder, name);
    if (!lock || *lock) return std::move(lock).value();
    if (stop.stopped()) return std::nullopt;
    if (DownClock::now() >= end) {
      const pid_t holder = LabLock::holder(lab.folder, name).pid;
      std::string why = "cannot remove what the lab ";
      why.append(name).append(" has left: ");
      why += holder > 0 ? "process " + std::to_string(holder) : "another process";
      why.append(" has locked ").append(lab.folder).append("/").append(name);
      why += ".lock (end it, or wait longer with --timeout)";
      throw Exception(Error(Errc::busy, why));
    }
    if (progress.due()) progress.show("waiting for the lock of the lab " + name);
    stop.wait(kLockLookMs);
  }
}

/// Root sees labs of other users, and might mean one of them.
std::string hint_at_others(const std::string& name) {
  for (const FoundLab& each : find_labs()) {
    if (each.own || each.state.name != name) continue;
    return " (user " + base::printable(each.user) +
           " has a lab of that name, which only that user ends)";
  }
  return {};
}

int run_down(const CommandLine& line) {
  const Arguments args =
      Options("down", "FILE|LAB")
          .about(
              R"(Ends a lab, and returns when its programs have ended and its buses are removed.
                 Also removes what a killed lab has left. If there is nothing to do, says so and
                 exits 0, so it can be repeated. FILE also means the lab that was started from it
                 when the file had another name. A running lab of the same name that is of another
                 file is ended only by its name.)")
          .value("timeout", "SECONDS",
                 "how long to wait, before the lab's programs are killed (default 10)")
          .example("shmifctl down three.toml", "end the lab of that file")
          .example("shmifctl down three", "the same, by its name ('shmifctl ls' lists them)")
          .parse(line);
  const std::string& word = args.positional()[0];
  if (word.empty()) throw UsageError{"\"\" names no lab (give its file or its name)"};
  const bool is_file = names_file(word);
  const std::string name_now = is_file ? name_of_lab_file(word) : word;
  const std::chrono::nanoseconds patience =
      args.seconds("timeout").value_or(std::chrono::seconds(10));
  const StopSignals stop;
  const auto found = is_file ? find_lab_of_file(word, name_now).value() : find_lab(name_now);
  const std::string name = found ? found->state.name : name_now;
  if (!found) {
    remove_stray_locks(name);
    std::fprintf(stderr, "%s: the lab %s is not up%s\n", program_name(),
                 base::printable(name).c_str(), hint_at_others(name).c_str());
    return kDone;
  }
  if (const UniqueFd controller = open_controller(found->folder, found->state)) {
    if (is_file && !is_of_file(found->state, word)) {
      return fail("cannot end the lab of " + word + ": the lab " + name + " that is up is of " +
                  found->state.file + " (" + base::quote_command("shmifctl down", name) +
                  " ends that one)");
    }
    ::syscall(SYS_pidfd_send_signal, controller.get(), SIGTERM, nullptr, 0);
    if (!wait_for_lab_end(controller, patience, stop, name)) {
      if (stop.stopped()) return kEndedBySignal + stop.signal();
      // The kernel ends its children with it, and the lock is free then.
      ::syscall(SYS_pidfd_send_signal, controller.get(), SIGKILL, nullptr, 0);
      wait_for_lab_end(controller, std::chrono::seconds(10), stop, name);
    }
  }
  if (found->alive && found->pid == 0) {
    return fail("cannot end the lab " + name + ": its process is in another pid namespace (" +
                base::quote_command("shmifctl down", name) + " ends it there)");
  }
  const auto lock = lock_of_ended_lab(*found, patience, stop);
  if (!lock) return kEndedBySignal + stop.signal();
  if (const auto left = read_lab_state(found->folder, name)) {
    if (left->pid == found->state.pid && left->started == found->state.started) {
      for (const std::string& each : remove_lab(found->folder, *left)) complain(each);
    }
  } else {
    remove_lab(found->folder, {name, {}, {}});
  }
  return kDone;
}

}  // namespace

const Command kDownCommand{"down", "end a lab", run_down};

}  // namespace shmif::tools
