#pragma once
// Tables of the page: their cells as the browser shows them, and figures as the page writes them.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "perf/report/units.hpp"
#include "tests/perf/report/web/in_browser.hpp"

namespace shmif::perf::page_cells {

using Json = nlohmann::json;
/// The cells of a row, as [head, text]. A cell that is marked as bad ends with "!".
using Cells = std::vector<std::pair<std::string, std::string>>;
using Rows = std::vector<Cells>;

inline std::optional<double> number(const Json& value) {
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}

inline std::string page_words(std::string text) {
  const auto micro = text.find(" us");
  return micro == std::string::npos ? text : text.replace(micro, 3, " µs");
}

inline std::string ns(const Json& value) {
  return page_words(format_ns(number(value)));
}

inline std::string bps(const Json& value) {
  return format_bps(number(value));
}

inline std::string fps(const Json& value) {
  return format_fps(number(value));
}

inline std::string share(const Json& value) {
  return format_share(number(value));
}

inline std::string count(const Json& value) {
  return value.is_number() ? format_count(value.get<std::uint64_t>()) : "-";
}

inline std::string bad(const Json& value) {
  return count(value) + (number(value).value_or(0) > 0 ? "!" : "");
}

/// A table. Its rows may be folded; then `folded` is the title of the fold.
struct Shown {
  Rows rows;
  std::optional<std::string> folded;
};

inline Shown table_of(const Json& facts, const std::string& name) {
  for (const Json& table : facts["tables"]) {
    if (table["name"] != name) continue;
    Shown shown;
    for (const Json& row : table["rows"]) {
      Cells cells;
      EXPECT_EQ(row.size(), table["head"].size()) << name;
      for (std::size_t i = 0; i < std::min(row.size(), table["head"].size()); ++i) {
        cells.emplace_back(table["head"][i], row[i]);
      }
      shown.rows.push_back(cells);
    }
    if (!table["folded"].is_null()) shown.folded = table["folded"];
    return shown;
  }
  ADD_FAILURE() << "no table " << name;
  return {};
}

class TablesInABrowser : public test::PageInABrowser {
 protected:
  static const Json& shown(const char* name, const Json& result) {
    return facts(std::string("own-") + name, [&] { return test::page_of_json(result.dump()); });
  }
};

}  // namespace shmif::perf::page_cells
