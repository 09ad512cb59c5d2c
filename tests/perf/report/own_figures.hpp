#pragma once
// Figures that are all different, in every member that has a row.

#include "perf/stats/figure.hpp"
#include "tests/perf/report/own_values.hpp"

namespace shmif::test {

/// Gives each number of `of` that has a row a value of its own.
template <class T>
void fill_figures(T& of, OwnValues& own) {
  perf::for_each_member<T>([&](const auto&, auto member) {
    using V = std::remove_reference_t<decltype(of.*member)>;
    if constexpr (std::is_same_v<V, std::uint64_t> ||
                  std::is_same_v<V, std::optional<std::uint64_t>>) {
      of.*member = own.count();
    } else if constexpr (std::is_same_v<V, double>) {
      of.*member = own.seconds();
    } else if constexpr (std::is_same_v<V, std::optional<double>>) {
      of.*member = own.number();
    }
  });
}

}  // namespace shmif::test
