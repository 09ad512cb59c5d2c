#pragma once
// Figures for tests that must notice one in the place of another: values that are all different,
// and outputs as tables. The key of a table is the place of a figure: "jobs.0.tx.frames" in JSON,
// "traffic/sent/rate" in a text.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "perf/report/table.hpp"
#include "perf/stats/figure.hpp"

namespace shmif::test {

// ---- Values of their own ----

/// Each value is new. Steps of the golden ratio spread the values, so that values drawn one after
/// the other differ in their first three digits.
class OwnValues {
 public:
  /// 100,000 to 999,999.
  std::uint64_t count() { return static_cast<std::uint64_t>(100'000 + 899'999 * next()); }
  /// 10 to 99.
  double seconds() { return 10 + 89 * next(); }
  /// 0.1 to 0.9.
  double share() { return 0.1 + 0.8 * next(); }
  /// A number with a fraction, 1,000 to 9,999.
  double number() { return 1000 + 8999 * next(); }

  /// Begins a struct whose members draw by their keys, so that a new one changes no other.
  double begin() { return next(); }
  /// For the member `key` of the struct that began at `begin`. FNV-1a and one more step spread the
  /// keys.
  static OwnValues of(double begin, std::string_view key) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ hash >> 32U) * 0x9e3779b97f4a7c15;
    OwnValues own;
    own.place_ = begin + std::ldexp(static_cast<double>(hash >> 11U), -53);
    return own;
  }

 private:
  double next() {
    constexpr double kGolden = 0.6180339887498949;
    place_ = std::fmod(place_ + kGolden, 1);
    return place_;
  }
  double place_ = 0;
};

/// Gives each number of `of` that has a row a value of its own.
template <class T>
void fill_figures(T& of, OwnValues& own) {
  const double begin = own.begin();
  perf::for_each_member<T>([&](const auto& row, auto member) {
    OwnValues drawn = OwnValues::of(begin, row.key);
    using V = std::remove_reference_t<decltype(of.*member)>;
    if constexpr (std::is_same_v<V, std::uint64_t> ||
                  std::is_same_v<V, std::optional<std::uint64_t>>) {
      of.*member = drawn.count();
    } else if constexpr (std::is_same_v<V, double>) {
      of.*member = drawn.seconds();
    } else if constexpr (std::is_same_v<V, std::optional<double>>) {
      of.*member = drawn.number();
    }
  });
}

// ---- Outputs as tables ----

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

/// What the rows promise of every output, so that a test of an output spells no key: the figures of
/// `of` in `places` that are members, each at `path` and its key. A missing one is
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
