// Values of JSON that may be missing, and the reasons beside them.

#include "perf/report/json_figures.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace shmif::perf {
namespace {

TEST(JsonValues, ThatAreMissingNotFiniteOrEmptyAreNull) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const std::optional<double> none :
       {std::optional<double>(), std::optional(kInfinity), std::optional(-kInfinity),
        std::optional(std::numeric_limits<double>::quiet_NaN())}) {
    EXPECT_TRUE(json_number(none).is_null());
  }
  EXPECT_EQ(json_number(0.0), 0.0);
  EXPECT_EQ(json_number(-1.5), -1.5);
  EXPECT_TRUE(json_integer(std::optional<std::uint64_t>()).is_null());
  EXPECT_TRUE(json_integer(std::optional<int>()).is_null());
  EXPECT_EQ(json_integer(std::optional<std::uint64_t>(0)), 0U);
  EXPECT_EQ(json_integer(std::optional(~std::uint64_t{0})).dump(), "18446744073709551615");
  EXPECT_EQ(json_integer(std::optional(-7)), -7);
  EXPECT_TRUE(json_text("").is_null());
  EXPECT_EQ(json_text("x"), "x");
}

TEST(JsonValues, HaveAReasonBesideThemWhereTheyAreNullAndOnlyThere) {
  OrderedJson into;
  put_or_reason(into, "a", json_number(0.0), "why");
  put_or_reason(into, "b", json_number(std::numeric_limits<double>::quiet_NaN()), "why not");
  EXPECT_EQ(into.dump(), R"({"a":0.0,"a_reason":null,"b":null,"b_reason":"why not"})");
}

}  // namespace
}  // namespace shmif::perf
