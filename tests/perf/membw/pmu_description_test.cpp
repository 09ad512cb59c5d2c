// The texts of sysfs that describe PMUs: what they mean, and that no other text is taken for one.

#include "perf/membw/pmu_description.hpp"

#include <gtest/gtest.h>

#include <random>

namespace shmif::perf::test {
namespace {

PmuFields fields_of(const std::map<std::string, std::string>& texts) {
  PmuFields fields;
  for (const auto& [name, text] : texts) fields.emplace(name, read_pmu_field(text).value());
  return fields;
}

TEST(PmuFieldText, NamesAWordAndItsBits) {
  const auto field = read_pmu_field("config1:0-7,32,59-60\n");
  ASSERT_TRUE(field);
  EXPECT_EQ(field->word, 1U);
  EXPECT_EQ(field->bits, (std::vector<std::pair<unsigned, unsigned>>{{0, 7}, {32, 32}, {59, 60}}));
  EXPECT_EQ(read_pmu_field("config2:63")->word, 2U);
  for (const char* text :
       {"", "\n", "config", "config:", "config:\n", "config:8-", "config:-8", "config:8-7",
        "config:64", "config:0-7,", "config:,1", "config:1,,2", "config:0-7,7", "config3:0",
        "Config:0", "config:0x1", "config: 1", "config:1 2", "config:0-18446744073709551616"}) {
    EXPECT_FALSE(read_pmu_field(text)) << text;
  }
}

TEST(PmuEventText, PutsEachValueIntoItsBits) {
  const PmuFields fields = fields_of({{"event", "config:0-7,32-37"},
                                      {"umask", "config:8-15,24-27"},
                                      {"edge", "config:18"},
                                      {"match", "config1:0-63"}});
  EXPECT_EQ(read_pmu_event("event=0x04,umask=0x03\n", fields).value(), (EventWords{0x304, 0, 0}));
  // As the kernel of an EPYC shows it for the first channel of the data fabric.
  EXPECT_EQ(read_pmu_event("event=0x1f,umask=0xffe", fields).value(),
            (EventWords{0x0F00FE1F, 0, 0}));
  EXPECT_EQ(read_pmu_event("event=479,umask=1,edge", fields).value(),
            (EventWords{0x1000401DF, 0, 0}));
  EXPECT_EQ(read_pmu_event("match=0xFFFFFFFFFFFFFFFF,config2=7", fields).value(),
            (EventWords{0, ~std::uint64_t{0}, 7}));
}

TEST(PmuEventText, ThatIsCutOffOrUnknownIsRefused) {
  const PmuFields fields = fields_of({{"event", "config:0-7"}, {"umask", "config:8-15"}});
  for (const char* text :
       {"", "\n", ",", "event=0x04,", ",event=1", "event=", "event=0x",
        "event=0x04,umask=", "event=0x100", "event=-1", "event=1=2", "inv=1", "Event=1", "event =1",
        "event=1,,umask=2", "event=0x10000000000000000"}) {
    EXPECT_FALSE(read_pmu_event(text, fields)) << text;
  }
  EXPECT_EQ(read_pmu_event("event=0x100", fields).error().message,
            "\"0x100\" is not a value for the bits of event");
  EXPECT_EQ(read_pmu_event("inv=1", fields).error().message, "\"inv\" is not a field of this PMU");
}

TEST(PmuEventText, OfAnyFieldsGivesEveryBitBack) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 500; ++round) {
    // Fields that share the 64 bits of a word.
    const unsigned first = static_cast<unsigned>(random() % 40);
    const unsigned width = 1 + static_cast<unsigned>(random() % 8);
    const std::string low = std::to_string(first) + '-' + std::to_string(first + width - 1);
    const unsigned high = first + width + static_cast<unsigned>(random() % 8);
    const std::string text = "config:" + low + ',' + std::to_string(high);
    const PmuFields fields = fields_of({{"x", text}});
    const std::uint64_t value = random() & ((std::uint64_t{2} << width) - 1);
    const auto words = read_pmu_event("x=" + std::to_string(value), fields);
    ASSERT_TRUE(words) << text;
    const std::uint64_t mask = (std::uint64_t{1} << width) - 1;
    EXPECT_EQ((*words)[0] >> first & mask, value & mask) << text;
    EXPECT_EQ((*words)[0] >> high & 1U, value >> width) << text;
    EXPECT_FALSE(read_pmu_event("x=" + std::to_string(std::uint64_t{2} << width), fields)) << text;
  }
}

TEST(ScaleAndUnit, AreBytesForOneCount) {
  EXPECT_EQ(read_bytes_per_count("6.103515625e-5\n", "MiB\n").value(), 64.0);
  EXPECT_EQ(read_bytes_per_count("64", "Bytes").value(), 64.0);
  EXPECT_EQ(read_bytes_per_count("0.5", "KB").value(), 500.0);
  for (const char* scale :
       {"", "\n", "0", "-1", "inf", "nan", "1e999", "6.1e", "0x10", "1 2", "+1"}) {
    EXPECT_FALSE(read_bytes_per_count(scale, "MiB")) << scale;
  }
  for (const char* unit : {"", "\n", "mib", "Joules", "MiB/s", "M"}) {
    EXPECT_FALSE(read_bytes_per_count("1", unit)) << unit;
  }
}

}  // namespace
}  // namespace shmif::perf::test
