#pragma once
// A report as one HTML page that needs only a browser.

#include <string>

#include "perf/report/report.hpp"

namespace shmif::perf {

/// The complete page, with styles, scripts and the result. Its policy forbids loading or sending
/// anything, and names in the result always appear as text. Errors: not_supported if shmifperf was
/// built without the page.
Result<std::string> to_html(const Report& report);

}  // namespace shmif::perf
