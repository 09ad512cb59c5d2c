// The formats in which samples are told, and those of a user of the library.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "instruments/counters/sample_format.hpp"
#include "tests/instruments/counters/session_rig.hpp"

namespace shmif::perf::test {
namespace {

Sample sample_of(std::uint64_t ip, bool in_kernel = false, pid_t process = 5) {
  Sample sample;
  sample.ip = ip;
  sample.process = process;
  sample.in_kernel = in_kernel;
  return sample;
}

TEST(SampleFormats, HaveEachFieldOfASampleInItsPlaceAndKeepWhatTheirArgumentSays) {
  Sample sample = sample_of(0x55, false, 33);
  sample.time_ns = 11;
  sample.cpu = 2;
  sample.thread = 44;
  sample.address = 0x66;
  sample.period = 77;
  const std::array<std::uint64_t, 5> chain{PERF_CONTEXT_KERNEL, 0x88, PERF_CONTEXT_USER, 0x55,
                                           0x99};
  sample.chain = chain;
  const auto text_of = [&](const std::string& name) {
    auto format = sample_formats().make(name).value();
    for (const bool in_kernel : {false, true, false}) {
      sample.in_kernel = in_kernel;
      format->sample(sample);
    }
    return format->text();
  };
  const std::string raw = "time 11 cpu 2 process 33 thread 44 ip 0x55 address 0x66 period 77";
  EXPECT_EQ(text_of("raw"), raw + '\n' + raw + " kernel\n" + raw + '\n');
  EXPECT_EQ(text_of("raw:max=1"), raw + "\nand 2 more, which were not kept\n");
  EXPECT_EQ(text_of("raw:max=1,only=kernel"), raw + " kernel\n");
  EXPECT_EQ(text_of("addresses"), "3 process 33 ip 0x55\n");
  EXPECT_EQ(text_of("addresses:only=user"), "2 process 33 ip 0x55\n");
  EXPECT_EQ(text_of("chains"), "3 process 33 0x88 0x55 0x99\n") << "marks are no callers";
  EXPECT_EQ(text_of("chains:depth=2,only=kernel"), "1 process 33 0x88 0x55\n");
}

TEST(SampleFormats, RefuseAnArgumentThatIsWrong) {
  for (const auto& [name, words] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"raw:max=0", {"\"raw\"", "max=0", "1 to 100000000"}},
           {"raw:max=100000001", {"1 to 100000000"}},
           {"raw:max=1k", {"max=1k"}},
           {"chains:depth=128", {"\"chains\"", "1 to 127"}},
           {"chains:max=5", {"unknown argument \"max=5\"", "depth=N"}},
           {"addresses:depth=5", {"unknown argument", "only=user"}},
           {"raw:only=guest", {"only=guest"}},
           {"raw:max", {"\"max\"", "KEY=VALUE"}},
           {"raw:max=1,", {"KEY=VALUE"}},
           {"raw:=1", {"KEY=VALUE"}},
           {"raw:max=1,max=2", {"\"max\" is given twice"}},
           {"cpu", {"no sampling format \"cpu\"", "addresses"}}}) {
    const auto made = sample_formats().make(name);
    ASSERT_FALSE(made) << name;
    expect_words(made.error().message, words);
  }
  EXPECT_TRUE(sample_formats().make("raw:max=100000000"));
  EXPECT_TRUE(sample_formats().make("chains:depth=127"));
}

/// A format of somebody who uses the library.
class Cpus final : public SampleFormat {
 public:
  std::uint64_t fields() const override { return PERF_SAMPLE_CPU; }
  void sample(const Sample& sample) override { ++counts_[sample.cpu]; }
  std::string text() const override { return std::to_string(counts_.size()) + " CPUs"; }

 private:
  std::map<int, int> counts_;
};

TEST(SampleFormats, TakeThoseOfAUserOfTheLibrary) {
  SampleFormats formats;
  std::string seen = "nothing";
  ASSERT_TRUE(formats.add("one", "takes one",
                          [&](std::string_view argument) -> Result<std::unique_ptr<SampleFormat>> {
                            seen = argument;
                            if (argument == "bad") return Error(Errc::bad_argument, "not that");
                            return std::unique_ptr<SampleFormat>(std::make_unique<Cpus>());
                          }));
  const SampleFormats::Make make = [] { return std::make_unique<Cpus>(); };
  ASSERT_TRUE(formats.add("cpus", "by CPU", make));
  for (const char* const refused : {"cpus", "", "a:b"}) {
    EXPECT_FALSE(formats.add(refused, "", make)) << refused;
  }
  EXPECT_EQ(formats.names(), (std::vector<std::string>{"one", "cpus"}));
  EXPECT_EQ(formats.descriptions(), (std::vector<std::string>{"takes one", "by CPU"}));
  auto format = formats.make("cpus").value();
  format->sample(sample_of(1));
  EXPECT_EQ(format->text(), "1 CPUs");
  EXPECT_TRUE(formats.make("one:x:y=2"));
  EXPECT_EQ(seen, "x:y=2");
  expect_words(formats.make("one:bad").error().message, {"\"one\"", "not that"});
  expect_words(formats.make("cpus:x").error().message, {"\"cpus\"", "takes no argument"});
}

}  // namespace
}  // namespace shmif::perf::test
