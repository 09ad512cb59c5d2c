#pragma once
// Reads JSON that others wrote, messages of a client or server and stored results, and says whether
// it has the form of a documented schema.
//
// The sender chooses the text, so the cost must follow from its length alone. Time is linear in the
// length, apart from the logarithm of the number of keys in one object. Memory is at most
// kMaxJsonMemory times the length, plus kFreeJsonMemory: a text that would need more is refused
// while it is read. With `stop`, the caller can end the reading early.

#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace shmif::perf {

/// Bytes of memory for a byte of text, and those that any text may use. Compact results of runs
/// need 5 to 12 times their length.
inline constexpr std::size_t kMaxJsonMemory = 16;
inline constexpr std::size_t kFreeJsonMemory = std::size_t{1} << 20U;

struct JsonLimits {
  std::size_t max_depth = 32;  ///< of lists and objects in each other
  std::size_t max_values = ~std::size_t{0};
  std::function<bool()> stop{};  ///< asked every 64 KiB of text; true ends the reading
};

/// Errors: bad_argument for a text that is not JSON or exceeds a limit; interrupted if `stop` said
/// so. Never throws, except std::bad_alloc. Threads: any. Blocks: never.
Result<nlohmann::json> read_json(std::string_view text, const JsonLimits& limits = {});

/// Whether JSON has the form of a documented schema. It supports the part of JSON Schema (draft 7)
/// that our schema uses; make() refuses other schemas. It stops at the first error, and looks at
/// each value once for each form that is allowed there, so its time is linear in the number of
/// values. Threads: any, if const. Blocks: never.
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
