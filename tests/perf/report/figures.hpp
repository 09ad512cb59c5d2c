#pragma once
// Outputs as tables, to compare them with what a test expects. The key is the place of a figure:
// "jobs.0.tx.frames" in JSON, "traffic/sent/rate" in a text.

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace shmif::test {

using Figures = std::map<std::string, nlohmann::json>;

/// Puts every value in `json` into `into`. An empty object or list is a value.
inline void flatten(const nlohmann::json& json, const std::string& path, Figures& into) {
  if (!json.is_structured() || json.empty()) {
    into[path] = json;
    return;
  }
  for (const auto& [key, value] : json.items()) {
    flatten(value, path.empty() ? key : path + '.' + key, into);
  }
}

inline Figures flattened(const nlohmann::json& json) {
  Figures all;
  flatten(json, "", all);
  return all;
}

/// Whether both are equal, apart from the rounding of numbers computed in another order.
inline bool is_alike(const nlohmann::json& a, const nlohmann::json& b) {
  if (!a.is_number() || !b.is_number()) return a == b;
  const auto x = a.get<double>();
  const auto y = b.get<double>();
  return std::fabs(x - y) <= 1e-12 * std::max(std::fabs(x), std::fabs(y));
}

/// Expects that `shown` has each figure of `wanted`, and no other.
inline void expect_figures(const Figures& wanted, const Figures& shown) {
  for (const auto& [place, value] : wanted) {
    const auto found = shown.find(place);
    if (found == shown.end()) {
      ADD_FAILURE() << place << " is not there, it should be " << value;
    } else if (!is_alike(found->second, value)) {
      ADD_FAILURE() << place << " is " << found->second << ", it should be " << value;
    }
  }
  for (const auto& [place, value] : shown) {
    EXPECT_TRUE(wanted.contains(place)) << place << " is " << value << ", and no test knows it";
  }
}

}  // namespace shmif::test
