#include "perf/report/fields.hpp"

#include <nlohmann/json.hpp>
#include <utility>

#include "perf/result/run_result.hpp"

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

bool is_lower_bound(const ReportJson& job) {
  return job.at("counts").value("wire_lost_is_lower_bound", false);  // missing in older results
}

std::string name_in(const ReportJson& of, const char* key) {
  const ReportJson& value = of.at(key);
  return value.is_null() ? std::string() : value.get<std::string>();
}

namespace {

/// The names of the functions in web/units.js.
const char* name_on_page(Format format) {
  switch (format) {
    case Format::count: break;
    case Format::bytes:
    case Format::exact_bytes: return "bytes";
    case Format::ns: return "ns";
    case Format::seconds: return "seconds";
    case Format::fps: return "fps";
    case Format::bps: return "bps";
    case Format::share: return "share";
    case Format::text: return "text";
  }
  return "count";
}

template <class T>
ReportJson columns_on_page() {
  ReportJson columns = ReportJson::array();
  for (const Figure<T>& row : kRowsOf<T>) {
    const Column& column = row.column;
    if (column.page == nullptr) continue;
    columns.push_back({row.key, column.page, name_on_page(column.format), column.bad});
  }
  return columns;
}

}  // namespace

std::string cell(const ReportJson& of, const char* key, Format format) {
  if (of.is_null() || !of.contains(key)) return "-";
  switch (format) {
    case Format::count:
    case Format::exact_bytes: break;
    case Format::bytes: return format_bytes(count(of, key));
    case Format::ns: return format_ns(figure(of, key));
    case Format::seconds: return format_seconds(figure(of, key));
    case Format::fps: return format_fps(figure(of, key));
    case Format::bps: return format_bps(figure(of, key));
    case Format::share: return format_share(figure(of, key));
    case Format::text: return words(of, key);
  }
  return format_count(count(of, key));
}

ReportJson page_columns() {
  ReportJson errors = ReportJson::array();
  for (const ErrorClass error : kErrorClasses) errors.push_back(word_of(error));
  return {{"errors", std::move(errors)},
          {"traffic", columns_on_page<TrafficResult>()},
          {"fates", columns_on_page<FlowResult>()},
          {"tcp", columns_on_page<TcpResult>()},
          {"cpu", columns_on_page<CpuResult>()},
          {"links", columns_on_page<FaultsMade>()}};
}

}  // namespace shmif::perf
