#include "tools/common/program.hpp"

#include <stdio_ext.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "base/signals.hpp"
#include "base/standard_streams.hpp"
#include "base/text.hpp"
#include "bus/file/parts.hpp"
#include "bus/file/sigbus_guard.hpp"
#include "shmif/bus.hpp"
#include "shmif/log.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"

namespace shmif::tools {

std::string version_number() {
  return SHMIF_VERSION;
}

std::string version_text() {
  char signature[16];
  std::snprintf(signature, sizeof signature, "0x%x", unsigned{bus::format_signature()});
  return std::string(SHMIF_VERSION) + " (bus format " + signature + ')';
}

namespace {

const Command* find_command(const Program& program, std::string_view name) {
  const auto it = std::find_if(program.commands.begin(), program.commands.end(),
                               [&](const Command* c) { return c->name == name; });
  return it == program.commands.end() ? nullptr : *it;
}

void print_overview(const Program& program) {
  std::printf(
      "usage: %s [--log-level LEVEL] [--debug LIST] COMMAND [OPTION]... "
      "ARGUMENT...\n\n%s\ncommands:\n",
      program.name, wrapped(base::unfolded(program.about), 0, 0).c_str());
  std::size_t width = 8;
  for (const Command* c : program.commands)
    width = std::max(width, std::string_view(c->name).size());
  const auto row = [width](const char* name, const char* summary) {
    std::printf("  %-*s  %s\n", static_cast<int>(width), name, summary);
  };
  for (const Command* command : program.commands) row(command->name, command->summary);
  row("help", "explain a COMMAND; 'help values': how to write sizes and times");
  std::printf(
      R"(
options:
      --log-level LEVEL  report messages of this level and of all more serious
                         ones: trace, debug, info, warning (default), error,
                         critical or off
      --debug LIST       write debug messages of these categories (or all) to
                         standard error; --debug=help lists them
      --version          print the program's version and the number that
                         identifies the layout of bus files
  -h, --help             print this and exit

examples:
%s
Exit codes: 0 done, 1 failed, 2 wrong usage, 77 not supported on this machine,
128+n ended by signal n before the work was done.
%s
More: man %s, %s COMMAND --help.
)",
      program.examples, wrapped(base::unfolded(program.more_exit_codes), 0, 0).c_str(),
      program.name, program.name);
}

/// What the user took a name for: a command, or a topic of "help", which also explains the formats
/// of values.
enum class NameOf : std::uint8_t { command, topic };

[[noreturn]] void refuse_unknown(NameOf what_name, const Program& program,
                                 const std::string& name) {
  std::vector<std::string> known = {"help"};
  for (const Command* command : program.commands) known.emplace_back(command->name);
  if (what_name == NameOf::topic) known.emplace_back("values");
  std::string what = "unknown command \"" + name + '"';
  const std::string right = program.right_way != nullptr ? program.right_way(name) : "";
  if (!right.empty()) throw UsageError{what + " (" + right + ')'};
  if (const auto meant = nearest(name, known)) what += ", did you mean \"" + *meant + "\"?";
  throw UsageError{what};
}

[[noreturn]] void refuse_unknown_option(const std::string& option) {
  static const std::vector<std::string> kKnown = {"--debug", "--help", "--log-level", "--version"};
  std::string what = "unknown option " + option;
  const auto meant =
      option.starts_with("--") ? nearest(option.substr(0, option.find('=')), kKnown) : std::nullopt;
  if (meant) what += ", did you mean " + *meant + '?';
  throw UsageError{what};
}

/// The parts of the manual page that its template asks for.
int print_mdoc(const Program& program, const std::string& name) {
  if (name == "values") {
    std::fputs(values_mdoc().c_str(), stdout);
    return kDone;
  }
  const Command* const command = find_command(program, name);
  if (command == nullptr) refuse_unknown(NameOf::topic, program, name);
  return command->run({{"--help"}, std::nullopt, true});
}

int help_command(const Program& program, const std::vector<std::string>& words) {
  if (words.size() == 2 && words[0] == "--man") return print_mdoc(program, words[1]);
  if (words.empty()) {
    print_overview(program);
    return kDone;
  }
  if (words[0].starts_with('-')) {
    std::printf(
        R"(usage: %s help [COMMAND|values]
       %s help --man COMMAND|values

Explains COMMAND, as '%s COMMAND --help' does. With "values", explains
how to write sizes, numbers, rates, times and shares. Without a word, lists
the commands. With --man, prints the explanation as a part of a manual page,
in mdoc.
)",
        program.name, program.name, program.name);
    return kDone;
  }
  if (words[0] == "values") {
    std::fputs(values_help().c_str(), stdout);
    return kDone;
  }
  const Command* const command = find_command(program, words[0]);
  if (command == nullptr) refuse_unknown(NameOf::topic, program, words[0]);
  return command->run({{"--help"}, std::nullopt});
}

/// Splits the words at the first "--".
CommandLine cut(std::vector<std::string> words) {
  CommandLine line;
  const auto dashes = std::find(words.begin(), words.end(), "--");
  if (dashes != words.end()) line.tail.emplace(dashes + 1, words.end());
  words.erase(dashes, words.end());
  line.words = std::move(words);
  return line;
}

/// Runs the command that `words` ask for. Sets `command` as soon as the command's name is known.
int run(const Program& program, std::vector<std::string> words, const InHost& in_host,
        std::string& command) {
  while (!words.empty() && words[0].starts_with('-') && words[0] != "--") {
    const std::string option = words[0];
    words.erase(words.begin());
    if (option == "-h" || option == "--help") {
      print_overview(program);
      return kDone;
    }
    if (option == "--version" || option == "-V") {
      std::printf("%s %s\n", program.name, version_text().c_str());
      return kDone;
    }
    if (option.starts_with("--log-level=")) {
      apply_log_level(option.substr(std::strlen("--log-level=")));
    } else if (option == "--log-level") {
      if (words.empty()) throw UsageError{"--log-level needs a value"};
      apply_log_level(words[0]);
      words.erase(words.begin());
    } else if (option.starts_with("--debug=")) {
      apply_debug(option.substr(std::strlen("--debug=")));
    } else if (option == "--debug") {
      if (words.empty()) throw UsageError{"--debug needs a value (see --debug=help)"};
      apply_debug(words[0]);
      words.erase(words.begin());
    } else {
      refuse_unknown_option(option);
    }
  }
  if (words.empty() || words[0] == "--") throw UsageError{"no command given"};
  const std::string name = words[0];
  words.erase(words.begin());
  if (name == "help") return help_command(program, words);
  const Command* const found = find_command(program, name);
  if (found == nullptr) refuse_unknown(NameOf::command, program, name);
  command = name;
  CommandLine line = cut(std::move(words));
  line.in_host = in_host;
  return found->run(line);
}

/// Makes sure that printed text has arrived: a full disk or a closed pipe is a failure.
int finish_output(int code) {
  const int failure = flush_output();
  if (failure == 0) return code;
  complain(lost_output_text(failure));
  return code == kDone ? kFailed : code;
}

int guarded_main(const Program& program, std::vector<std::string> words,
                 const InHost& in_host = {}) {
  // If somebody truncates a bus, the command reports an error and does not crash.
  if (!bus::renew_sigbus_guard()) {
    log_warning("cannot catch SIGBUS: this command will crash if its bus is truncated");
  }
  std::string command;
  try {
    return finish_output(run(program, std::move(words), in_host, command));
  } catch (const Exit& exit) {
    return finish_output(exit.code);
  } catch (const UsageError& error) {
    const std::string where = command.empty() ? "" : ' ' + command;
    const std::string prefix = command.empty() ? "" : command + ": ";
    const char* const joint = error.what.ends_with('?') ? " See" : "; see";
    complain(prefix + error.what + joint + " '" + program.name + where + " --help'");
    return kWrongUsage;
  } catch (const Exception& error) {
    complain_of(command, with_remedy(error.what(), error.code()));
    return exit_code_of(error.code());
  } catch (const std::bad_alloc&) {
    return fail((command.empty() ? "" : "cannot finish " + command + ": ") +
                "there is not enough memory (allow this program more, see 'ulimit -v')");
  } catch (const std::exception& error) {
    return fail((command.empty() ? "" : "cannot finish " + command + ": ") + error.what());
  }
}

const Program* this_program = nullptr;
/// The memory of the arguments, which lists of processes show, and of the environment behind them.
std::span<char> words_memory;

/// Notes the memory that the kernel has filled from `argv` and the environment: one text behind the
/// other.
void note_shown_words(char** argv) {
  char* end = argv[0];
  const auto take = [&end](char** texts) {
    for (; *texts != nullptr && *texts == end; ++texts) end += std::strlen(*texts) + 1;
  };
  take(argv);
  take(environ);
  words_memory = std::span(argv[0], end);
}

/// Makes lists of processes show these words. The environment must not be in its old place any
/// more.
void show_words(const std::string& name, const std::vector<std::string>& words) {
  if (words_memory.size() < 2) return;
  std::string text = name;
  for (const std::string& word : words) text += ' ' + word;
  std::ranges::replace(text, '\0', ' ');
  // The kernel takes a text that ends behind the arguments for one that a program has put there.
  std::ranges::fill(words_memory, '\0');
  text.copy(words_memory.data(), words_memory.size() - 1);
}

}  // namespace

int run_program(const Program& program, int argc, char** argv) {
  this_program = &program;
  note_shown_words(argv);
  base::hold_standard_streams();
  base::begin_with_plain_signals();
  begin_output();
  set_program_name(program.name);
  return guarded_main(program, std::vector<std::string>(argv + 1, argv + argc));
}

int run_in_child(std::vector<std::string> words, const InHost& in_host) {
  ::__fpurge(stdout);  // the parent will write that
  show_words(this_program->name, words);
  base::hold_standard_streams();
  base::begin_with_plain_signals();
  begin_output();
  return guarded_main(*this_program, std::move(words), in_host);
}

void allow_all_descriptors() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_NOFILE, &limit));
}

}  // namespace shmif::tools
