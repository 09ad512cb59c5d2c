#pragma once
// The table of options: what a job file and the command line call the members of JobOptions and
// RunOptions, what each means, and what it may be. Setting, checking and all documentation come
// from the same rows.
//
// An option that fio has keeps fio's name and, as far as a frame can stand for a block, its
// meaning; what fio's manual says of writes holds for tx, of reads for rx.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/result.hpp"
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
  const char* name;   ///< as `shmifperf options NAME` takes it
  const char* title;  ///< "How long a job runs"
  const char* intro;  ///< paragraphs, and lines that begin with two spaces, kept as they are
};
const std::vector<CategoryInfo>& option_categories();

/// A row. One of the setters is empty: an option concerns a job, or the run as a whole.
struct OptionRow {
  std::string name;
  std::vector<std::string> aliases;
  OptionCategory category{};
  std::string placeholder;  ///< "TIME"
  std::string unit;         ///< of a number without one; empty: it has none
  std::string standard;     ///< the value when it is not given, or "none"
  std::string range;        ///< what it may be
  bool flag = false;        ///< may stand alone, which is "1"
  bool pair = false;        ///< "A,B": a half that is left out stays as it was
  std::string text;         ///< one to three sentences
  std::function<Result<void>(std::string_view value, JobOptions&)> set_job;
  std::function<Result<void>(std::string_view value, RunOptions&)> set_run;

  bool of_run() const noexcept { return set_run != nullptr; }
};

/// All rows, by category, in the order in which they are read about. Threads: any.
const std::vector<OptionRow>& option_table();
/// The row of that name or alias; '-' and '_' are the same. Null: there is none.
const OptionRow* find_option(std::string_view name);
/// "unknown option "rat", did you mean "rate"?"
Error unknown_option(std::string_view name);

/// Sets the option `row` to `value`, nothing being the value of a flag that stands alone, and notes
/// it in `given`; a half of a pair is noted with the half that was given before. Errors:
/// bad_argument, with the option's name before why.
Result<void> set_option(const OptionRow& row, std::optional<std::string_view> value,
                        JobOptions& job);
Result<void> set_option(const OptionRow& row, std::optional<std::string_view> value,
                        RunOptions& run);

/// Whether a job can have that name: 1 to 64 printable characters, no '/', not "global".
bool is_job_name(std::string_view name) noexcept;

}  // namespace shmif::perf
