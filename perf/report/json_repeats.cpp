// With repetitions (--repeat), figures are medians.

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "perf/report/json_values.hpp"
#include "perf/stats/confidence.hpp"

namespace shmif::perf {

namespace {

using Json = OrderedJson;

/// The figures with a median over repetitions: rates, shares and times, but not counts, which
/// belong together.
constexpr std::array<std::string_view, 13> kFigures{"rate_fps",
                                                    "rate_bps",
                                                    "offered_fps",
                                                    "offered_bps",
                                                    "lost_share",
                                                    "jitter_ns",
                                                    "found_fps",
                                                    "found_bps",
                                                    "user_seconds",
                                                    "system_seconds",
                                                    "limit_fps",
                                                    "limit_share",
                                                    "frames_per_busy_second"};
constexpr std::array<std::string_view, 3> kHistograms{"latency_ns", "service_ns",
                                                      "spacing_error_ns"};

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

void put_median(Json& value, const std::vector<const Json*>& all) {
  std::vector<double> values;
  for (const Json* each : all) {
    if (each->is_number()) values.push_back(each->get<double>());
  }
  const auto over = estimate(values);
  if (!over || value.is_null()) return;
  // Whole nanoseconds stay whole.
  if (value.is_number_integer()) {
    value = static_cast<std::uint64_t>(std::llround(over->median));
  } else {
    value = over->median;
  }
}

/// The same member of each object that has it.
std::vector<const Json*> members(const std::vector<const Json*>& all, const std::string& key) {
  std::vector<const Json*> found;
  for (const Json* each : all) {
    if (each->is_object() && each->contains(key)) found.push_back(&each->at(key));
  }
  return found;
}

/// The same element of each list.
std::vector<const Json*> elements(const std::vector<const Json*>& lists, std::size_t i) {
  std::vector<const Json*> found;
  for (const Json* list : lists) {
    if (i < list->size()) found.push_back(&list->at(i));
  }
  return found;
}

void put_medians_in(Json& into, const std::vector<const Json*>& all, bool histogram) {
  for (auto& [key, value] : into.items()) {
    const bool is_figure = histogram ? key != "count" && key != "bins" : is_one_of(kFigures, key);
    if (key == "flows") {
      for (std::size_t i = 0; i < value.size(); ++i) {
        put_medians_in(value[i], elements(members(all, key), i), false);
      }
    } else if (value.is_object()) {
      // Also of the percentiles of percentile_list, which are an object in the histogram.
      put_medians_in(value, members(all, key), histogram || is_one_of(kHistograms, key));
    } else if (is_figure) {
      put_median(value, members(all, key));
    }
  }
}

}  // namespace

void put_medians(Json& into, const std::vector<Json>& all, const char* name) {
  for (Json& shown : into) {
    std::vector<const Json*> same;
    for (const Json& list : all) {
      for (const Json& each : list) {
        const bool sizes_fit =
            !shown.contains("frame_bytes") || shown.at("frame_bytes") == each.at("frame_bytes");
        if (each.at(name) == shown.at(name) && sizes_fit) same.push_back(&each);
      }
    }
    put_medians_in(shown, same, false);
  }
}

}  // namespace shmif::perf
