#pragma once
// What held jobs back, as text and as JSON.

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "instruments/why/why.hpp"

namespace shmif::perf {

/// A table of the busiest threads, then a sentence for each cause. `width`: as for to_text().
std::string why_text(const WhyResult& result, std::size_t width = 0);
/// `causes[]`, `tasks[]`, `machine`, `buses[]`, `missing[]`; indented, with a final newline.
std::string why_json(const WhyResult& result);
/// Only `causes[]`.
nlohmann::ordered_json causes_json(std::span<const Cause> causes);
/// Only `missing[]`.
nlohmann::ordered_json missing_json(std::span<const MissingSource> missing);

}  // namespace shmif::perf
