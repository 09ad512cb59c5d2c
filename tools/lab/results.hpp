#pragma once
// What a run of a lab leaves: the folder of logs, captures and the timeline, and the report for CI.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tools {

/// One row of the report.
struct LabCase {
  std::string name;                 ///< "host web", "at 2: link r1.right down", "test"
  std::string failure;              ///< empty: it passed
  std::optional<double> seconds{};  ///< empty: not measured
  std::string output{};             ///< its last lines
  std::string skipped{};            ///< why it did not happen; empty if it did
};

/// JUnit's XML, which CI servers read.
std::string to_junit(const std::string& lab, const std::vector<LabCase>& cases, double seconds);

/// Writes that report to a file. `others`: files that the lab reads or writes. Errors: as
/// check_junit_path(), and of write(2). Blocks: for the disk.
Result<void> write_junit(const std::string& file, const std::string& lab,
                         const std::vector<LabCase>& cases, double seconds,
                         const std::vector<std::string>& others);
/// Whether the report can be written, before a lab runs for long. Leaves no file. Errors: of
/// open(2); the file is a bus, or one of `others`.
Result<void> check_junit_path(const std::string& file, const std::vector<std::string>& others);
/// Removes a report of an earlier run. A bus and `others` stay.
void remove_junit(const std::string& file, const std::vector<std::string>& others);

/// The folder of results. Threads: one at a time. Blocks: for the disk.
class LabResults {
 public:
  /// Makes the folder. Removes what an earlier run of the lab `lab` has left there: its captures
  /// and logs would be taken for those of this run. Errors: of mkdir(2); the path is a file; the
  /// folder belongs to another user, or everybody may write to it: the links of others would lead
  /// us to files of ours; another lab uses it now (busy).
  static Result<LabResults> open(const std::string& folder, const std::string& lab);
  /// A new folder for temporary files, whose name nobody knows beforehand. Errors: of mkdtemp(3).
  static Result<LabResults> make_temporary(const std::string& name);
  LabResults(LabResults&&) noexcept = default;

  /// The absolute path.
  const std::string& folder() const noexcept { return folder_; }
  /// The absolute path of a file in it, which remove() also removes. The first call for a name
  /// removes a link that has it.
  std::string file(const std::string& name);
  /// Adds text to NAME.log. If the disk is full, the rest of that log is missing;
  /// why_incomplete() says so.
  void log(const std::string& name, std::string_view text);
  /// Adds a line to timeline.jsonl. `wall_ns`: the same moment as `since_ready`.
  void note(std::chrono::nanoseconds since_ready, std::uint64_t wall_ns, const std::string& what,
            bool applied, const std::string& result);
  /// Why something could not be written; empty: all was.
  const std::string& why_incomplete() const noexcept { return why_incomplete_; }
  /// Lets other labs use the folder.
  void unlock() noexcept { lock_.reset(); }
  /// Writes all logs to the disk.
  void flush();
  /// Removes what this run has written, and the folder if it is empty then.
  void remove();

 private:
  struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;

  LabResults(std::string folder, const std::string& lab)
      : folder_(std::move(folder)), list_path_(folder_ + "/." + lab + ".files") {}
  std::FILE* open_file(const std::string& name);
  void begin_list();
  void write(const std::string& name, std::FILE* file, std::string_view text);

  std::string folder_;
  std::map<std::string, File> open_;
  std::vector<std::string> files_;
  std::string list_path_;  ///< a file with the names of all files of this run, for the next one
  UniqueFd list_;
  UniqueFd lock_;  ///< the folder, locked as long as this lab writes into it
  bool made_folder_ = false;
  std::string why_incomplete_{};
};

// One capture of several buses.

/// A pcapng file that `shmifctl dump` has written, and the name of its bus.
struct BusCapture {
  std::string file;
  std::string bus;
};

/// Writes the frames of all captures to the file `to`, in the order of their times, with everything
/// else that is noted in them. Each interface gets the name of its bus as a comment. A capture that
/// ends within a block is taken up to there. Errors: a file cannot be read or written, or is not
/// such a capture; then `to` is removed. Threads: any. Blocks: for the disk.
Result<void> merge_captures(const std::vector<BusCapture>& captures, const std::string& to);

}  // namespace shmif::tools
