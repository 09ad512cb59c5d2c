#pragma once
// A report to look at and to mail: one page that needs nothing but a browser.

#include <string>

#include "perf/report/report.hpp"

namespace shmif::perf {

/// The page, whole: styles, scripts and the result itself are in it, its policy forbids it to load
/// or send anything, and names in the result are text wherever they stand. Errors: not_supported
/// where shmifperf was built without the page.
Result<std::string> to_html(const Report& report);

}  // namespace shmif::perf
