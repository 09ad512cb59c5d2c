#pragma once
// JsonSchema: says whether JSON that others wrote has the form of a documented schema.
//
// It supports the part of JSON Schema (draft 7) that our schema uses; make() refuses other schemas.
// It stops at the first error, and looks at each value once for each form that is allowed there, so
// its time is linear in the number of values.

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.hpp"

namespace shmif::perf {

/// Threads: any, if const. Blocks: never.
class JsonSchema {
 public:
  /// Errors: bad_argument, with the unknown keyword.
  static Result<JsonSchema> make(const nlohmann::json& schema);
  JsonSchema(JsonSchema&& other) noexcept;
  JsonSchema& operator=(JsonSchema&&) = delete;
  ~JsonSchema();

  /// Where and how `json` differs: "/jobs/0/tx/frames: it is less than 0"; empty if it does not
  /// differ. If several forms are allowed, reports the one that fits furthest.
  std::string complaint(const nlohmann::json& json) const;

 private:
  struct Impl;
  explicit JsonSchema(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::perf
