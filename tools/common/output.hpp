#pragma once
// Standard output of a command: whether a path leads there, and what is said if a write fails.
//
// A command that only shows something ends by SIGPIPE when its reader has gone, as other programs
// do: `shmifctl stat PATH | head -1`. A command that has done work (create, repair, inject, dump,
// bridge between links) prints a report of it. If that fails, the user must learn that the work is
// done, so that it is not done again: note_done(). Gateways and bridges to programs leave no
// result that the message could name.

#include <string>

namespace shmif::tools {

/// Call it when the work of the command is done, before the report is printed. From now on, this
/// process gets no SIGPIPE. If standard output cannot be written, main() says so, with `what` in
/// parentheses, and the exit code is 1: "cannot write to standard output: Broken pipe (7 frames
/// were sent)". `what`: a clause, or empty. Threads: the main thread. Blocks: never.
void note_done(std::string what);

/// Flushes standard output. Result: 0, or the errno of the first failure to write there since
/// begin_output(). Threads: the main thread. Blocks: while the reader is slow.
int flush_output() noexcept;

/// The message about standard output that could not be written. `number`: what flush_output()
/// returned. Threads: the main thread. Blocks: never.
std::string lost_output_text(int number);

/// Forgets what was noted. main() calls it first. Threads: the main thread. Blocks: never.
void begin_output();

/// Whether `path` is "-", or leads to the file that standard output is, under any name:
/// /dev/stdout, /proc/self/fd/1, /dev/tty on a terminal, or x.pcap in `... -w x.pcap >x.pcap`. Not
/// /dev/null, which takes any number of outputs. Threads: safe. Blocks: for the disk.
bool is_standard_output(const std::string& path);

}  // namespace shmif::tools
