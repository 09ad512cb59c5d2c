// shmifctl: the table of commands, and what is common to all of them.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

#include "shmif/bus.hpp"
#include "tools/commands.hpp"
#include "tools/options.hpp"
#include "tools/version.hpp"

namespace shmif::tools {

namespace {

// In the order of the alphabet.
constexpr std::array kCommands = {
    &kAuditCommand, &kBridgeCommand, &kCreateCommand, &kDestroyCommand, &kDumpCommand,
    &kExecCommand,  &kInjectCommand, &kPingCommand,   &kRepairCommand,  &kStatCommand,
    &kTapCommand,   &kTopCommand,    &kWaitCommand,
};

const Command* find_command(std::string_view name) {
  const auto* const it = std::find_if(kCommands.begin(), kCommands.end(),
                                      [&](const Command* c) { return c->name == name; });
  return it == kCommands.end() ? nullptr : *it;
}

void print_overview() {
  std::printf(
      "usage: shmifctl [--log-level LEVEL] COMMAND [OPTION]... ARGUMENT...\n\n"
      "A bus is one memory-mapped file that behaves as a shared Ethernet segment:\n"
      "every program attached to it hears every frame.\n\ncommands:\n");
  for (const Command* command : kCommands) {
    std::printf("  %-8s  %s\n", command->name, command->summary);
  }
  std::printf(
      "  help      explain a command, as COMMAND --help does\n\n"
      "options:\n"
      "      --log-level LEVEL  what to report: debug, info, warning, error, off\n"
      "      --version          print the version and the signature of the bus format\n"
      "  -h, --help             print this and exit\n\n"
      "examples:\n"
      "  shmifctl create /dev/shm/bus0\n"
      "      make a bus\n"
      "  shmifctl exec /dev/shm/bus0 --ip 198.18.0.1/24 -- bash\n"
      "      a shell on a host of its own, attached to the bus, without privileges\n"
      "  shmifctl dump /dev/shm/bus0\n"
      "      watch what passes\n\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 77 not supported on this machine,\n"
      "128+n ended by signal n. More: man shmifctl, shmifctl COMMAND --help.\n");
}

[[noreturn]] void refuse_unknown_command(const std::string& name) {
  std::vector<std::string> known = {"help"};
  for (const Command* command : kCommands) known.emplace_back(command->name);
  std::string what = "unknown command \"" + name + '"';
  if (const auto meant = nearest(name, known)) what += ", did you mean \"" + *meant + "\"?";
  throw UsageError{what};
}

int help_command(const std::vector<std::string>& words) {
  if (words.empty() || words[0].starts_with('-')) {
    print_overview();
    return kDone;
  }
  const Command* const command = find_command(words[0]);
  if (command == nullptr) refuse_unknown_command(words[0]);
  return command->run({{"--help"}, std::nullopt});
}

/// Cuts the words at the first "--".
CommandLine cut(std::vector<std::string> words) {
  CommandLine line;
  const auto dashes = std::find(words.begin(), words.end(), "--");
  if (dashes != words.end()) line.tail.emplace(dashes + 1, words.end());
  words.erase(dashes, words.end());
  line.words = std::move(words);
  return line;
}

/// Runs what `words` ask for; `command` becomes the name of the command as soon as it is known.
int run(std::vector<std::string> words, std::string& command) {
  while (!words.empty() && words[0].starts_with('-') && words[0] != "--") {
    const std::string option = words[0];
    words.erase(words.begin());
    if (option == "-h" || option == "--help") {
      print_overview();
      return kDone;
    }
    if (option == "--version" || option == "-V") {
      std::printf("shmifctl %s\n", version_text().c_str());
      return kDone;
    }
    if (option.starts_with("--log-level=")) {
      apply_log_level(option.substr(std::strlen("--log-level=")));
    } else if (option == "--log-level") {
      if (words.empty()) throw UsageError{"--log-level needs a value behind it"};
      apply_log_level(words[0]);
      words.erase(words.begin());
    } else {
      throw UsageError{"unknown option " + option};
    }
  }
  if (words.empty() || words[0] == "--") throw UsageError{"no command given"};
  const std::string name = words[0];
  words.erase(words.begin());
  if (name == "help") return help_command(words);
  const Command* const found = find_command(name);
  if (found == nullptr) refuse_unknown_command(name);
  command = name;
  return found->run(cut(std::move(words)));
}

/// What was printed must have arrived: a full disk or a closed pipe is a failure, not silence.
int finish_output(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  const int number = errno;
  complain(std::string("cannot write to standard output: ") + std::strerror(number));
  return code == kDone ? kFailed : code;
}

int guarded_main(std::vector<std::string> words) {
  // A bus that somebody truncates under us is an error then, and not our death.
  install_sigbus_guard();
  std::string command;
  try {
    return finish_output(run(std::move(words), command));
  } catch (const Exit& exit) {
    return finish_output(exit.code);
  } catch (const UsageError& error) {
    const std::string where = command.empty() ? "" : ' ' + command;
    const std::string prefix = command.empty() ? "" : command + ": ";
    const char* const joint = error.what.ends_with('?') ? " See" : "; see";
    complain(prefix + error.what + joint + " 'shmifctl" + where + " --help'");
    return kWrongUsage;
  } catch (const Exception& error) {
    complain_of(command, error.what());
    return exit_code_of(error.code());
  } catch (const std::exception& error) {
    return fail((command.empty() ? "" : "cannot finish " + command + ": ") + error.what());
  }
}

}  // namespace

}  // namespace shmif::tools

int main(int argc, char** argv) {
  return shmif::tools::guarded_main(std::vector<std::string>(argv + 1, argv + argc));
}
