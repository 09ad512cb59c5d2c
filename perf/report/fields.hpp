#pragma once
// Short ways to the figures of a Report, which has been checked: a key that the schema requires is
// there. Internal to perf/report.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace shmif::perf {

using ReportJson = nlohmann::json;

/// Nothing for null; below, `count` of integers.
std::optional<double> figure(const ReportJson& of, const char* key);
std::optional<std::uint64_t> count(const ReportJson& of, const char* key);
/// For people: no control characters; null is empty.
std::string words(const ReportJson& of, const char* key);
/// The text itself, to compare with others.
std::string name_in(const ReportJson& of, const char* key);

}  // namespace shmif::perf
