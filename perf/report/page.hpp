#pragma once
// The page that reports are shown in, made at build time (perf/report/web). Internal to
// perf/report.

#include <span>
#include <string_view>

namespace shmif::perf {

/// The page, cut into pieces: with @RESULT@ where the JSON goes and @TEXT@ where the same goes as
/// text. Nothing where this was built without it.
std::span<const std::string_view> page_pieces() noexcept;

}  // namespace shmif::perf
