#pragma once
// A report as one HTML page that needs only a browser.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "perf/report/report.hpp"

namespace shmif::perf {

/// The complete page, with styles, scripts and the result. Its policy forbids loading or sending
/// anything, and names in the result always appear as text. Errors: not_supported if shmifperf was
/// built without the page.
Result<std::string> to_html(const Report& report);

/// The most results on a page: it has so many colours.
inline constexpr std::size_t kMaxOverlaid = 8;
/// One page of several results: their figures side by side, and their curves over each other. It
/// names each by its file, or by its path if files of several folders have the same name. Errors:
/// as above, and bad_argument for more than kMaxOverlaid.
Result<std::string> to_html(const std::vector<Report>& reports);

/// The names of the results on that page, in their order.
std::vector<std::string> names_on_page(const std::vector<Report>& reports);

/// The page in pieces, made at build time (perf/report/web). @RESULT@ marks the place for the JSON,
/// and @TEXT@ that for the text. Empty if this was built without the page. Internal to perf/report.
std::span<const std::string_view> page_pieces() noexcept;

}  // namespace shmif::perf
