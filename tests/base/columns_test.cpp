// Columns of a terminal: a character of UTF-8 takes one, however many bytes it has.

#include "base/columns.hpp"

#include <gtest/gtest.h>

#include <iterator>

namespace shmif::base {
namespace {

TEST(Columns, AreCharactersAndNotBytes) {
  EXPECT_EQ(columns_of(""), 0U);
  EXPECT_EQ(columns_of("abc"), 3U);
  EXPECT_EQ(columns_of("Z\u00fcrich \u20ac"), 8U);
  EXPECT_EQ(columns_of("\U0001f600"), 1U);
}

TEST(Columns, NoCharacterIsCutInTheMiddle) {
  constexpr std::string_view kText = "a\u00fcb\u20ac";  // of 1, 2, 1 and 3 bytes
  constexpr std::size_t kOffsets[] = {0, 1, 3, 4, 7, 7, 7};
  for (std::size_t columns = 0; columns < std::size(kOffsets); ++columns) {
    EXPECT_EQ(behind_columns(kText, columns), kOffsets[columns]) << columns;
  }
}

}  // namespace
}  // namespace shmif::base
