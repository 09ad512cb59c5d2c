#pragma once
// Outputs as tables from the place of a figure to the figure, to be compared with what is to be
// there: "jobs.0.tx.frames" of JSON, "traffic/sent/rate" of a text.

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace shmif::test {

using Figures = std::map<std::string, nlohmann::json>;

/// Puts all that `json` holds into `into`; of what is empty, itself.
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

/// Alike but for how numbers are rounded when they are computed in another order.
inline bool is_alike(const nlohmann::json& a, const nlohmann::json& b) {
  if (!a.is_number() || !b.is_number()) return a == b;
  const auto x = a.get<double>();
  const auto y = b.get<double>();
  return std::fabs(x - y) <= 1e-12 * std::max(std::fabs(x), std::fabs(y));
}

/// Each figure that is to be there is, and there is no other.
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
