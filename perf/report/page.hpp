#pragma once
// The page for HTML reports, made at build time (perf/report/web). Internal to perf/report.

#include <span>
#include <string_view>

namespace shmif::perf {

/// The page in pieces. @RESULT@ marks the place for the JSON, and @TEXT@ that for the text. Empty
/// if this was built without the page.
std::span<const std::string_view> page_pieces() noexcept;

}  // namespace shmif::perf
