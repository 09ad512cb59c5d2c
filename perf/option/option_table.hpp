#pragma once
// The table of options: their names in job files and on the command line, the members of JobOptions
// and RunOptions that they set, their meanings and ranges. Setting, checking and all documentation
// use the same rows.
//
// An option that fio has keeps fio's name and, as far as a frame can replace a block, its meaning.
// What fio's manual says about writes holds for tx, and about reads for rx.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "perf/job/job_options.hpp"

namespace shmif::perf {

enum class OptionCategory : std::uint8_t {
  job,
  traffic,
  length,
  frames,
  engine,
  verification,
  measurement,
  records,
  place,
  run,
};
struct CategoryInfo {
  OptionCategory category;
  const char* name;   ///< in `shmifperf options NAME`
  const char* title;  ///< "How long a job runs"
  std::string intro;  ///< paragraphs; lines that begin with two spaces are kept as they are
};
const std::vector<CategoryInfo>& option_categories();

/// What a server needs to have been started with, so that a client may set an option there.
enum class OnServer : std::uint8_t {
  allowed,          ///< needs no option of the server: it is harmless
  needs_exec,       ///< --allow-exec: it runs a program, or takes an identity or a privilege
  needs_directory,  ///< --directory: its value is a path
  names_capture,    ///< --directory, if the value, headers, names a capture
  saves_state,      ///< --directory, if the value lets states be saved
  matches_frames,   ///< --directory; its value is a filter, which may not have names of hosts
  needs_live,       ///< --allow-live: it uses the machine's own network
  names_sockets,    ///< the same, and --directory for the paths of sockets in its value
  names_host,       ///< --allow-live, unless its value is an address of the server's machine
  names_port,       ///< --allow-exec, if only root may open that port
  client_only,      ///< it is not for servers
};

/// A row. One of the setters is empty: an option belongs to a job or to the run as a whole.
struct OptionRow {
  std::string name;
  std::vector<std::string> aliases;
  OptionCategory category{};
  std::string placeholder;  ///< "TIME"
  std::string unit;         ///< of a number without a unit; empty: no unit
  std::string standard;     ///< the default value, or "none"
  std::string range;        ///< allowed values
  bool flag = false;        ///< may have no value, which means "1"
  bool pair = false;        ///< "A,B": a half that is left out is not changed
  bool once = false;        ///< a section may have it only once
  std::string text;         ///< one to three sentences
  std::function<Result<void>(std::string_view value, JobOptions&)> set_job;
  std::function<Result<void>(std::string_view value, RunOptions&)> set_run;
  OnServer on_server{};
  /// Gives the peer that is made for a job the job's value. Empty: the peer has the default.
  std::function<void(const JobOptions& job, JobOptions& peer)> copy_to_peer;
  bool for_sending_peer = false;  ///< only a peer that sends by itself gets it
  /// Whether the option has an effect on this job; null: on every job.
  bool (*is_used)(const JobOptions& job) = nullptr;
  std::string only{};  ///< for which jobs it is, if not for all: "is for engine=host"

  bool of_run() const noexcept { return set_run != nullptr; }
};

/// All rows, by category, in the order in which they are shown. Threads: any.
const std::vector<OptionRow>& option_table();
/// The row with that name or alias; '-' and '_' are the same. Result: null if there is none.
const OptionRow* find_option(std::string_view name);
/// "unknown option "rat", did you mean "rate"?"
Error unknown_option(std::string_view name);

/// Sets the option `row` to `value` and notes it in `given`. A flag without a value has no `value`.
/// If half of a pair is given, it is noted together with the other half as given before. Errors:
/// bad_argument; the message begins with the option's name.
Result<void> set_option(const OptionRow& row, std::optional<std::string_view> value,
                        JobOptions& job);
Result<void> set_option(const OptionRow& row, std::optional<std::string_view> value,
                        RunOptions& run);

/// Whether a job can have that name: 1 to 64 printable characters, no '/', not "global".
bool is_job_name(std::string_view name) noexcept;

// fio's reserved keywords, $ncpus, $mb_memory and $pagesize, in the value of an option, and
// calculations with them: "8*$mb_memoryM", "0-($ncpus-1)".

/// The values of the keywords on this machine.
struct Keywords {
  std::uint64_t ncpus = 1;      ///< that are online
  std::uint64_t mb_memory = 0;  ///< all memory, in MiB
  std::uint64_t pagesize = 4096;
};
Keywords keywords_of_this_machine();

/// `text` with its keywords replaced. If it has keywords, calculations in parentheses are replaced
/// by their results. With `whole`, so is the entire text, if it is a calculation: numbers, + - * /
/// and parentheses, followed by a unit. A text without keywords is not changed. Errors:
/// bad_argument for a calculation without a result. Threads: any. Blocks: never.
Result<std::string> replace_keywords(std::string_view text, bool whole, const Keywords& keywords);

}  // namespace shmif::perf
