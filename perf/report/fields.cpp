#include "perf/report/fields.hpp"

#include <nlohmann/json.hpp>

#include "perf/report/table.hpp"

namespace shmif::perf {

std::optional<double> figure(const ReportJson& of, const char* key) {
  const ReportJson& value = of.at(key);
  return value.is_null() ? std::nullopt : std::optional(value.get<double>());
}

std::optional<std::uint64_t> count(const ReportJson& of, const char* key) {
  const ReportJson& value = of.at(key);
  return value.is_null() ? std::nullopt : std::optional(value.get<std::uint64_t>());
}

std::string words(const ReportJson& of, const char* key) {
  return printable(name_in(of, key));
}

std::string name_in(const ReportJson& of, const char* key) {
  const ReportJson& value = of.at(key);
  return value.is_null() ? std::string() : value.get<std::string>();
}

}  // namespace shmif::perf
