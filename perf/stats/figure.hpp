#pragma once
// A figure of a result is one row, right below the struct of its member. Every output follows from
// the rows: JSON, streams, messages between machines, shared memory, tables and sums. So a new
// figure is a member, its row, and the line that measures it.
//
//   template <>
//   inline constexpr auto kRowsOf<CpuResult> = rows_of<CpuResult>({
//       {"user_seconds", &CpuResult::user_seconds, Sum::add, kInResult},
//
// Two rows with one key, or a sum that the member's type does not have, do not compile.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace shmif::perf {

/// How the figure of a whole follows from those of its parts: of the jobs of a group, the flows of
/// a job, or intervals that follow each other.
enum class Sum : std::uint8_t {
  none,      ///< it does not: the whole keeps what it has
  add,       ///< a figure that is not known for each part is not known for the whole
  greatest,  ///< of the parts for which it is known
  newest,    ///< that of the part that came last
  first,     ///< of a text: the first that is not empty
  any,       ///< whether it holds for one part
  all,       ///< whether it holds for each part
};

/// Where a figure appears, and what it is like; the values are bits.
using Places = std::uint16_t;
inline constexpr Places kInResult = 1;     ///< in the JSON of a result
inline constexpr Places kInStream = 2;     ///< in --json-stream and --format=influx
inline constexpr Places kInMessages = 4;   ///< in the progress that a server sends to its client
inline constexpr Places kOfSender = 8;     ///< of traffic: what a job sent
inline constexpr Places kOfReceiver = 16;  ///< of traffic: what a job received
inline constexpr Places kOfProgram = 32;   ///< of traffic: known for a program (exec), too
inline constexpr Places kZeroIsNone = 64;  ///< 0 stands for a missing figure: null in JSON
/// With --repeat, the result has the median of this measured rate or time. Counts have no median:
/// those of one run belong together.
inline constexpr Places kHasMedian = 128;
inline constexpr Places kMoreIsBetter = 256;  ///< `shmifperf compare` judges it so
inline constexpr Places kLessIsBetter = 512;

/// How people read a figure. The page shows exact_bytes rounded, tables of text all digits.
enum class Format : std::uint8_t { count, bytes, exact_bytes, ns, seconds, fps, bps, share, text };

/// The metric of a figure for Prometheus (--metrics); null: it is not served.
struct Metric {
  const char* name = nullptr;
  const char* help = nullptr;
  double scale = 1;             ///< the value is the figure times this
  const char* label = nullptr;  ///< of figures that share a name: figure="p50"
  const char* value = nullptr;
  bool counts = false;  ///< it counts on from run to run
};

/// The column of a figure in tables (null: tables do not show it), and its metric.
struct Column {
  const char* title = nullptr;  ///< in text
  const char* page = nullptr;   ///< on the page
  Format format = Format::count;
  bool bad = false;  ///< the page marks a value above 0
  Metric metric = {};
};
/// A column that text and page have under one title.
consteval Column column(const char* title, Format format = Format::count) {
  return {.title = title, .page = title, .format = format};
}
/// The same for a count of something bad: the page marks a value above 0.
consteval Column bad_column(const char* title) {
  return {.title = title, .page = title, .bad = true};
}
/// No column, but a metric: one that may fall, and one that counts on.
consteval Column gauge(const char* name, const char* help) {
  return {.metric = {.name = name, .help = help}};
}
consteval Column counter(const char* name, const char* help) {
  return {.metric = {.name = name, .help = help, .counts = true}};
}

template <class T>
struct Figure {
  const char* key;
  /// The member; or a function that computes the figure from others.
  std::variant<std::uint64_t T::*, std::optional<std::uint64_t> T::*, double T::*,
               std::optional<double> T::*, bool T::*, std::string T::*,
               std::optional<double> (*)(const T&)>
      from;
  Sum sum = Sum::none;
  Places places = 0;
  const char* description = nullptr;  ///< in the schema; null: the key says it all
  Column column = {};

  constexpr bool is_in(Places place) const noexcept { return (places & place) != 0; }
  /// What a row computes is a rate or a share, so it has a median, too.
  constexpr bool has_median() const noexcept {
    return is_in(kHasMedian) || std::holds_alternative<std::optional<double> (*)(const T&)>(from);
  }
};

/// The rows of T, in the order of its outputs.
template <class T>
inline constexpr std::nullptr_t kRowsOf = nullptr;

template <class V>
inline constexpr bool kIsOptional = false;
template <class V>
inline constexpr bool kIsOptional<std::optional<V>> = true;

/// Whether values of type V have this sum.
template <class V>
constexpr bool has_sum(Sum sum) noexcept {
  switch (sum) {
    case Sum::none:
    case Sum::newest: return true;
    case Sum::add:
    case Sum::greatest: return !std::is_same_v<V, bool> && !std::is_same_v<V, std::string>;
    case Sum::first: return std::is_same_v<V, std::string>;
    case Sum::any:
    case Sum::all: return std::is_same_v<V, bool>;
  }
  return false;
}

/// Calls `act(row, pointer)` for each row of T with a member, with the pointer to it.
template <class T, class Act>
constexpr void for_each_member(const Act& act) {
  for (const Figure<T>& row : kRowsOf<T>) {
    std::visit(
        [&](auto from) {
          if constexpr (std::is_member_object_pointer_v<decltype(from)>) act(row, from);
        },
        row.from);
  }
}

/// Checks rows while the program is compiled.
template <class T, std::size_t N>
consteval std::array<Figure<T>, N> rows_of(const Figure<T> (&rows)[N]) {
  for (std::size_t i = 0; i < N; ++i) {
    for (std::size_t other = 0; other < i; ++other) {
      if (std::string_view(rows[i].key) == rows[other].key) throw "two rows have one key";
    }
    const bool fits = std::visit(
        [&]<class M>(M) {
          if constexpr (std::is_member_object_pointer_v<M>) {
            return has_sum<std::remove_cvref_t<decltype(std::declval<T&>().*std::declval<M>())>>(
                rows[i].sum);
          } else {
            return rows[i].sum == Sum::none && !rows[i].is_in(kInMessages);
          }
        },
        rows[i].from);
    if (!fits) throw "the figure cannot be summed so";
  }
  return std::to_array(rows);
}

/// A figure as a number; empty if it is missing, or a text.
template <class T>
std::optional<double> number_of(const Figure<T>& row, const T& of) {
  return std::visit(
      [&](auto from) -> std::optional<double> {
        if constexpr (!std::is_member_object_pointer_v<decltype(from)>) {
          return from(of);
        } else if constexpr (std::is_same_v<decltype(from), std::string T::*>) {
          return std::nullopt;
        } else if constexpr (kIsOptional<std::remove_cvref_t<decltype(of.*from)>>) {
          const auto& value = of.*from;
          return value ? std::optional(static_cast<double>(*value)) : std::nullopt;
        } else {
          return static_cast<double>(of.*from);
        }
      },
      row.from);
}

/// Adds one value to a sum.
template <class V>
void add_value(Sum how, V& sum, const V& next) {
  if (how == Sum::newest) sum = next;
  if constexpr (std::is_same_v<V, bool>) {
    if (how == Sum::any) sum = sum || next;
    if (how == Sum::all) sum = sum && next;
  } else if constexpr (std::is_same_v<V, std::string>) {
    if (how == Sum::first && sum.empty()) sum = next;
  } else if constexpr (kIsOptional<V>) {
    if (how == Sum::add) sum = sum && next ? V(*sum + *next) : std::nullopt;
    if (how == Sum::greatest && next) sum = std::max(sum.value_or(*next), *next);
  } else {
    if (how == Sum::add) sum += next;
    if (how == Sum::greatest) sum = std::max(sum, next);
  }
}

/// Adds the figures of a part to those of the whole, each as its row says. Threads: any. Blocks:
/// never.
template <class T>
void add_figures(T& sum, const T& part) {
  for_each_member<T>(
      [&](const Figure<T>& row, auto member) { add_value(row.sum, sum.*member, part.*member); });
}

/// What the counts of `now` (the rows with Sum::add) have grown by since `before`; of all other
/// figures, those of `now`. Threads: any. Blocks: never.
template <class T>
T grown_since(const T& before, T now) noexcept {
  for_each_member<T>([&](const Figure<T>& row, auto member) {
    if constexpr (std::is_same_v<decltype(member), std::uint64_t T::*>) {
      if (row.sum == Sum::add) now.*member -= std::min(now.*member, before.*member);
    }
  });
  return now;
}

}  // namespace shmif::perf
