#pragma once
// What the programs of this folder share: a table of commands, and what main() does with it.

#include <span>
#include <string>

#include "tools/command.hpp"

namespace shmif::tools {

/// A program: its commands, and what --help says of it all.
struct Program {
  const char* name;                          ///< "shmifctl"
  const char* about;                         ///< a sentence or two, in lines
  const char* examples;                      ///< the lines below "examples:"
  std::span<const Command* const> commands;  ///< in the order of the alphabet
};

/// All that main() does: --help, --version, --log-level, the command, and its errors. Threads: the
/// main thread. Result: the exit code.
int run_program(const Program& program, int argc, char** argv);

}  // namespace shmif::tools
