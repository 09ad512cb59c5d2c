#pragma once
// Short access to the figures of a Report, and the columns that the rows of figures ask for
// (perf/stats/figure.hpp), in tables of text and on the page. A Report has been checked, so the
// keys that the schema requires exist. Internal to perf/report and perf/compare.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "perf/report/table.hpp"
#include "perf/stats/figure.hpp"

namespace shmif::perf {

using ReportJson = nlohmann::json;

/// Empty for null. `count` is for integers.
std::optional<double> figure(const ReportJson& of, const char* key);
std::optional<std::uint64_t> count(const ReportJson& of, const char* key);
/// Text to print: without control characters; null is empty.
std::string words(const ReportJson& of, const char* key);
/// Whether the frames that a job lost by overruns are more than were counted.
bool is_lower_bound(const ReportJson& job);
/// The unchanged text, for comparisons.
std::string name_in(const ReportJson& of, const char* key);

/// A figure for people; "-" if `of` is null, or does not have the key.
std::string cell(const ReportJson& of, const char* key, Format format);

/// The head of a table with the figures of T. The first column has the title `name`.
template <class T>
Table::Row head_of(const std::string& name) {
  Table::Row row = {name};
  for (const Figure<T>& figure : kRowsOf<T>) {
    if (figure.column.title != nullptr) row.emplace_back(figure.column.title);
  }
  return row;
}

/// A row of that table: the figures of `of`, the JSON of a T.
template <class T>
Table::Row cells_of(const std::string& name, const ReportJson& of) {
  Table::Row row = {name};
  for (const Figure<T>& figure : kRowsOf<T>) {
    if (figure.column.title != nullptr) row.push_back(cell(of, figure.key, figure.column.format));
  }
  return row;
}

/// The columns of the page, by the name of their table: a list of [key, title, format, whether a
/// value above 0 is bad] for each. "errors" has the classes of errors, in their order.
ReportJson page_columns();

}  // namespace shmif::perf
