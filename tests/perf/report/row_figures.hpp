#pragma once
// What the rows of figures promise of every output, so that a test of an output spells no key.
// distinct_json.txt has them: there a row whose member is another figure's goes red.

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "perf/report/units.hpp"
#include "perf/stats/figure.hpp"
#include "tests/perf/report/figures.hpp"

namespace shmif::test {

/// The figures of `of` in `places` that are members, each at `path` and its key. A missing one is
/// null, and so is an empty text. What a row computes is not among them: a test computes it itself.
template <class T>
Figures row_figures(const T& of, perf::Places places, const std::string& path = "") {
  Figures all;
  perf::for_each_member<T>([&](const perf::Figure<T>& row, auto member) {
    if (!row.is_in(places)) return;
    const auto& value = of.*member;
    nlohmann::json& into = all[path + row.key];
    using V = std::remove_cvref_t<decltype(value)>;
    if constexpr (perf::kIsOptional<V>) {
      if (value) into = *value;
    } else if constexpr (std::is_same_v<V, std::string>) {
      if (!value.empty()) into = value;
    } else {
      into = value;
    }
  });
  return all;
}

/// A figure of a result as JSON, as people read it; "-" if it is null, or not there.
inline std::string in_words(const nlohmann::json& of, const char* key, perf::Format format) {
  const auto found = of.find(key);
  if (found == of.end() || found->is_null()) return "-";
  switch (format) {
    case perf::Format::count:
    case perf::Format::exact_bytes: break;
    case perf::Format::bytes: return perf::format_bytes(found->get<std::uint64_t>());
    case perf::Format::ns: return perf::format_ns(found->get<double>());
    case perf::Format::seconds: return perf::format_seconds(found->get<double>());
    case perf::Format::fps: return perf::format_fps(found->get<double>());
    case perf::Format::bps: return perf::format_bps(found->get<double>());
    case perf::Format::share: return perf::format_share(found->get<double>());
    case perf::Format::text: return found->get<std::string>();
  }
  return perf::format_count(found->get<std::uint64_t>());
}

}  // namespace shmif::test
