#include "tools/common/options.hpp"

#include <gtest/gtest.h>

namespace shmif::tools {
namespace {

TEST(Values, BytesAreWrittenForPeople) {
  constexpr std::uint64_t kOne = 1;
  for (const auto& [bytes, text] : {std::pair<std::uint64_t, const char*>{0, "0 B"},
                                    {14, "14 B"},
                                    {1023, "1023 B"},
                                    {1024, "1 KiB"},
                                    {1536, "1.5 KiB"},
                                    {(1023 << 10U) + 973, "1.0 MiB"},
                                    {(kOne << 40U) * 5 / 2, "2.5 TiB"},
                                    {kOne << 63U, "8 EiB"}}) {
    EXPECT_EQ(format_bytes(bytes), text);
  }
}

}  // namespace
}  // namespace shmif::tools
