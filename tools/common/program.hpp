#pragma once
// Shared by both programs: a table of commands, and what main() does with it; and their version.

#include <span>
#include <string>
#include <vector>

#include "tools/common/command.hpp"

namespace shmif::tools {

/// "0.1.0"
std::string version_number();
/// The version of the program and the signature of the bus format that it supports.
std::string version_text();

/// A program: its commands, and the texts of its --help.
struct Program {
  const char* name;                          ///< "shmifctl"
  const char* about;                         ///< sentences, as base::unfolded() reads them
  const char* examples;                      ///< the lines below "examples:"
  std::span<const Command* const> commands;  ///< in alphabetical order
  /// Sentences about the exit codes of the commands that run a program.
  const char* more_exit_codes = "";
  /// What to do instead, for a word that is no command but has a meaning; otherwise empty.
  std::string (*right_way)(std::string_view word) = nullptr;
};

/// Everything that main() does: --help, --version, --log-level, the command, and its errors.
/// Threads: the main thread. Result: the exit code.
int run_program(const Program& program, int argc, char** argv);

/// In a forked child of this program that has the signals, streams and environment of a program
/// that is just started: does what main() does with `words`, without the time that exec(2) and the
/// dynamic linker take. Lists of processes show `words`. `in_host`: see CommandLine. Threads: the
/// only one. Blocks: as the command. Result: the exit code.
int run_in_child(std::vector<std::string> words, const InHost& in_host);

/// Lets this process open as many files as it may. Threads: any, also in the child of a process
/// with threads (async-signal-safe).
void allow_all_descriptors() noexcept;

/// The words as execv(3) takes them: pointers into `words`, and a null. Threads: any.
inline std::vector<char*> argv_of(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace shmif::tools
