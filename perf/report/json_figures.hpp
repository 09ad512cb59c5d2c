#pragma once
// Figures as JSON, and back, as their rows say (perf/stats/figure.hpp). A value that is missing is
// null, and another key has the reason.

#include <cmath>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "perf/report/report.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/figure.hpp"

namespace shmif::perf {

using OrderedJson = nlohmann::ordered_json;

// Null if the value is missing, not finite, or empty.
inline OrderedJson json_number(std::optional<double> value) {
  return value && std::isfinite(*value) ? OrderedJson(*value) : OrderedJson(nullptr);
}
template <class Integer>
OrderedJson json_integer(std::optional<Integer> value) {
  return value ? OrderedJson(*value) : OrderedJson(nullptr);
}
inline OrderedJson json_text(const std::string& value) {
  return value.empty() ? OrderedJson(nullptr) : OrderedJson(value);
}

/// Writes `key` with `value`, and another key with the reason why it is null; that key is null if
/// the value is not.
inline void put_or_reason(OrderedJson& into, const std::string& key, OrderedJson value,
                          const char* reason) {
  const bool missing = value.is_null();
  into[key] = std::move(value);
  into[key + "_reason"] = missing ? OrderedJson(reason) : OrderedJson(nullptr);
}

/// The value of a figure; null if it is missing, not finite, or an empty text.
template <class Json, class T>
Json json_of_figure(const Figure<T>& row, const T& of) {
  const auto json = [&](const auto& value) -> Json {
    using V = std::remove_cvref_t<decltype(value)>;
    if constexpr (kIsOptional<V>) {
      if (!value) return nullptr;
    }
    if constexpr (std::is_same_v<V, double> || std::is_same_v<V, std::optional<double>>) {
      const double number = std::optional<double>(value).value_or(0);
      if (!std::isfinite(number) || (row.is_in(kZeroIsNone) && !(number > 0))) return nullptr;
      return number;
    } else if constexpr (std::is_same_v<V, std::string>) {
      return value.empty() ? Json(nullptr) : Json(value);
    } else if constexpr (kIsOptional<V>) {
      return *value;
    } else {
      return value;
    }
  };
  return std::visit(
      [&](auto from) -> Json {
        if constexpr (std::is_member_object_pointer_v<decltype(from)>) {
          return json(of.*from);
        } else {
          return json(from(of));
        }
      },
      row.from);
}

/// Writes the figures of `of` that are in one of `places`, each under its key.
template <class T, class Json>
void put_figures(Json& into, const T& of, Places places) {
  for (const Figure<T>& row : kRowsOf<T>) {
    if (row.is_in(places)) into[row.key] = json_of_figure<Json>(row, of);
  }
}

/// Reads figures that put_figures() wrote into messages. Throws std::exception if one is missing,
/// or has another type, or if a text is longer than `max_text` bytes.
template <class T, class Json>
void take_figures(const Json& json, T& into, std::size_t max_text) {
  const auto expect = [](bool holds, const char* otherwise) {
    if (!holds) throw std::invalid_argument(otherwise);
  };
  for_each_member<T>([&](const Figure<T>& row, auto member) {
    if (!row.is_in(kInMessages)) return;
    const Json& value = json.at(row.key);
    auto& to = into.*member;
    using V = std::remove_reference_t<decltype(to)>;
    if constexpr (std::is_same_v<V, std::string>) {
      const auto* text = value.template get_ptr<const std::string*>();
      expect(value.is_null() || (text != nullptr && text->size() <= max_text),
             "a name is not a text, or too long");
      to = text != nullptr ? *text : std::string();
    } else if constexpr (std::is_same_v<V, bool>) {
      to = value.template get<bool>();
    } else if (kIsOptional<V> && value.is_null()) {
      to = {};
    } else if constexpr (std::is_same_v<V, std::uint64_t> ||
                         std::is_same_v<V, std::optional<std::uint64_t>>) {
      expect(value.is_number_unsigned(), "a count is not a whole number");
      to = value.template get<std::uint64_t>();
    } else {
      expect(value.is_null() || value.is_number(), "a figure is not a number");
      to = value.is_null() ? 0 : value.template get<double>();
    }
  });
}

// Parts that to_json() uses for runs and jobs. Internal to perf/report.

/// The events that were counted for a job, if it was asked for any, and what follows from them.
void put_counters(OrderedJson& into, const JobResult& job);
/// The access heat of a job, if it was asked for.
void put_heat(OrderedJson& into, const JobResult& job);
/// The memory bandwidth of a run; null if it was not asked for.
OrderedJson memory_json(const RunResult& result);

}  // namespace shmif::perf
