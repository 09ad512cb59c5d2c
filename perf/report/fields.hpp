#pragma once
// Short access to the figures of a Report. It has been checked, so the keys that the schema
// requires exist. Internal to perf/report and perf/compare.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace shmif::perf {

using ReportJson = nlohmann::json;

/// Empty for null. `count` is for integers.
std::optional<double> figure(const ReportJson& of, const char* key);
std::optional<std::uint64_t> count(const ReportJson& of, const char* key);
/// Text to print: without control characters; null is empty.
std::string words(const ReportJson& of, const char* key);
/// The unchanged text, for comparisons.
std::string name_in(const ReportJson& of, const char* key);

}  // namespace shmif::perf
