#pragma once
// --json of shmifctl: one object on standard output, for scripts.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/unique_fd.hpp"

namespace shmif::tools {

/// Keeps the fields in the order in which they are written.
using Json = nlohmann::ordered_json;

/// The text of an object: indented, in ASCII, with a final newline. A path or a name may contain
/// invalid UTF-8, which is replaced.
std::string json_text(Json object);

/// The same on one line.
std::string json_line(const Json& json);

/// Sets `object[name]` to null, and `object["why_null"][name]` to the reason.
void set_null(Json& object, const char* name, const char* why);
/// Sets `object[name]` to a figure that was measured, or to null with the reason.
void set_figure(Json& object, const char* name, std::optional<std::uint64_t> figure,
                const char* why_null);

/// For a command that also prints for people while it runs: with --json, all of that goes to
/// standard error, so standard output has only the object. The destructor restores standard output.
/// Only one may exist at a time. Threads: one at a time.
class JsonOutput {
 public:
  /// `wanted`: whether --json was given. If not, this does nothing. Throws if there is no free
  /// descriptor.
  explicit JsonOutput(bool wanted);
  JsonOutput(const JsonOutput&) = delete;
  JsonOutput& operator=(const JsonOutput&) = delete;
  ~JsonOutput();

  bool is_wanted() const noexcept { return static_cast<bool>(output_); }
  /// Prints the text of the object to standard output. Only if is_wanted(). Errors: as of all
  /// printing; main() reports them. Blocks: while the reader is slow.
  void print(const std::string& text) const;

 private:
  UniqueFd output_;  ///< standard output, as it was
};

}  // namespace shmif::tools
