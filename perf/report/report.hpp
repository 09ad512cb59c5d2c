#pragma once
// Report: a result file that has been checked against its schema, which all outputs are made from.

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "bus/result.hpp"

namespace shmif::perf {

/// Threads: as const as it looks; copies share the data. Blocks: load() alone, on the disk.
class Report {
 public:
  /// Reads what to_json() wrote. `name` is the file's, for messages. Errors: bad_argument for what
  /// is no JSON, nested deeper or larger than any result, of another format_version (the message
  /// names both), or not as docs/shmifperf.schema.json has it (the message names the place).
  static Result<Report> parse(std::string_view text, const std::string& name);
  /// The same of a file; "-" is standard input. Errors: also those of reading.
  static Result<Report> load(const std::string& path);

  const nlohmann::json& json() const noexcept { return *json_; }
  const std::string& name() const noexcept { return name_; }

 private:
  Report(std::shared_ptr<const nlohmann::json> json, std::string name);

  std::shared_ptr<const nlohmann::json> json_;
  std::string name_;
};

/// docs/shmifperf.schema.json, as it was when this was built.
std::string_view schema_text() noexcept;

}  // namespace shmif::perf
