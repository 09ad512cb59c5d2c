#pragma once
// Values of JSON that may be missing: then the value is null, and another key has the reason.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace shmif::perf {

using OrderedJson = nlohmann::ordered_json;

// Null if the value is missing, not finite, or empty.
OrderedJson json_number(std::optional<double> value);
OrderedJson json_integer(std::optional<std::uint64_t> value);
OrderedJson json_integer(std::optional<int> value);
OrderedJson json_text(const std::string& value);

/// Writes `key` with `value`, and another key with the reason why it is null; that key is null if
/// the value is not.
void put_or_reason(OrderedJson& into, const std::string& key, OrderedJson value,
                   const char* reason);

}  // namespace shmif::perf
