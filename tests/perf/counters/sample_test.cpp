// What is made of samples: formats, profiles, and a run of the sampler.

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "perf/counters/sample_profile.hpp"
#include "perf/report/counters_report.hpp"
#include "perf/watch/held_child.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

constexpr std::array kSampledTasks{TaskId{kTask, 7}};

Sample sample_at(std::uint64_t ip, pid_t process = 5, bool in_kernel = false) {
  Sample sample;
  sample.ip = ip;
  sample.process = process;
  sample.in_kernel = in_kernel;
  return sample;
}

TEST(SampleFormats, HaveRawSamplesAddressesAndChains) {
  EXPECT_EQ(sample_formats().names(), (std::vector<std::string>{"raw", "addresses", "chains"}));
  Sample sample = sample_at(0x20, 5);
  const std::array<std::uint64_t, 3> chain{PERF_CONTEXT_USER, 0x20, 0x30};
  sample.chain = chain;
  const auto text_of = [&](const std::string& name) {
    auto format = sample_formats().make(name).value();
    format->sample(sample);
    format->sample(sample_at(0x10, 6));
    format->sample(sample);
    return format->text();
  };
  EXPECT_EQ(text_of("addresses"), "2 process 5 ip 0x20\n1 process 6 ip 0x10\n");
  EXPECT_EQ(text_of("chains"), "2 process 5 0x20 0x30\n1 process 6\n");
  const std::string raw = text_of("raw");
  EXPECT_EQ(raw.find("time 0 cpu -1 process 5 thread 0 ip 0x20 address 0x0 period 0\n"), 0U) << raw;
  EXPECT_EQ(std::ranges::count(raw, '\n'), 3);
  EXPECT_EQ(sample_formats().make("chains").value()->fields(),
            std::uint64_t{PERF_SAMPLE_CALLCHAIN});
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
  ASSERT_TRUE(formats.add("cpus", "by CPU", [] { return std::make_unique<Cpus>(); }));
  EXPECT_FALSE(formats.add("cpus", "again", [] { return std::make_unique<Cpus>(); }));
  EXPECT_FALSE(formats.add("", "no name", [] { return std::make_unique<Cpus>(); }));
  EXPECT_EQ(formats.names(), std::vector<std::string>{"cpus"});
  EXPECT_EQ(formats.descriptions(), std::vector<std::string>{"by CPU"});
  auto format = formats.make("cpus").value();
  format->sample(sample_at(1));
  EXPECT_EQ(format->text(), "1 CPUs");
  const auto none = formats.make("cpu");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "there is no sampling format \"cpu\" (there are cpus)");
}

/// The message with which "NAME:ARGUMENT" is refused; empty if it is taken.
std::string refusal_of_format(const std::string& name) {
  const auto made = sample_formats().make(name);
  return made ? "" : made.error().message;
}

TEST(SampleFormats, KeepWhatTheirArgumentSays) {
  const std::array<std::uint64_t, 3> callers{0x20, 0x30, 0x40};
  const auto text_of = [&](const std::string& name) {
    auto format = sample_formats().make(name).value();
    for (const bool in_kernel : {false, true, false}) {
      Sample sample = sample_at(in_kernel ? 0x90 : 0x20, 5, in_kernel);
      sample.chain = callers;
      format->sample(sample);
    }
    return format->text();
  };
  EXPECT_EQ(text_of("addresses:only=user"), "2 process 5 ip 0x20\n");
  EXPECT_EQ(text_of("addresses:only=kernel"), "1 process 5 ip 0x90\n");
  EXPECT_EQ(text_of("chains:depth=2,only=kernel"), "1 process 5 0x20 0x30\n");
  EXPECT_EQ(text_of("chains:depth=127"), "3 process 5 0x20 0x30 0x40\n");
  const std::string raw = text_of("raw:max=1,only=user");
  EXPECT_NE(raw.find("ip 0x20 "), std::string::npos) << raw;
  EXPECT_NE(raw.find("\nand 1 more, which were not kept\n"), std::string::npos) << raw;
  EXPECT_EQ(text_of("raw:max=1,only=kernel").find("and "), std::string::npos);
}

TEST(SampleFormats, RefuseAnArgumentThatIsWrong) {
  EXPECT_EQ(refusal_of_format("raw:max=0"),
            "sampling format \"raw\": \"max=0\": it must be 1 to 100000000");
  EXPECT_EQ(refusal_of_format("raw:max=100000000"), "");
  EXPECT_NE(refusal_of_format("raw:max=100000001"), "");
  EXPECT_NE(refusal_of_format("raw:max=1k"), "");
  EXPECT_EQ(refusal_of_format("chains:depth=128"),
            "sampling format \"chains\": \"depth=128\": it must be 1 to 127");
  EXPECT_EQ(refusal_of_format("chains:max=5"),
            "sampling format \"chains\": unknown argument \"max=5\" (use only=user, only=kernel or "
            "depth=N)");
  EXPECT_EQ(
      refusal_of_format("addresses:depth=5"),
      "sampling format \"addresses\": unknown argument \"depth=5\" (use only=user, only=kernel)");
  EXPECT_NE(refusal_of_format("raw:only=guest"), "");
  EXPECT_EQ(refusal_of_format("raw:max"), "sampling format \"raw\": \"max\": it is not KEY=VALUE");
  EXPECT_EQ(refusal_of_format("raw:max=1,"), "sampling format \"raw\": \"\": it is not KEY=VALUE");
  EXPECT_EQ(refusal_of_format("raw:max=1,max=2"),
            "sampling format \"raw\": \"max\" is given twice");
}

TEST(SampleFormats, OfAUserMayTakeAnArgument) {
  SampleFormats formats;
  std::string seen = "nothing";
  ASSERT_TRUE(formats.add("one", "takes one",
                          [&](std::string_view argument) -> Result<std::unique_ptr<SampleFormat>> {
                            seen = argument;
                            if (argument == "bad") return Error(Errc::bad_argument, "not that");
                            return std::unique_ptr<SampleFormat>(std::make_unique<Cpus>());
                          }));
  ASSERT_TRUE(formats.add("none", "takes none", [] { return std::make_unique<Cpus>(); }));
  EXPECT_FALSE(formats.add("a:b", "a colon", [] { return std::make_unique<Cpus>(); }));
  EXPECT_TRUE(formats.make("one"));
  EXPECT_EQ(seen, "");
  EXPECT_TRUE(formats.make("one:x:y=2"));
  EXPECT_EQ(seen, "x:y=2");
  EXPECT_EQ(formats.make("one:bad").error().message, "sampling format \"one\": not that");
  EXPECT_EQ(formats.make("none:x").error().message,
            "sampling format \"none\": \"x\": it takes no argument");
}

const ProfileRow* row_of_symbol(const SampleProfileResult& result, const std::string& symbol) {
  const auto row = std::ranges::find(result.rows, symbol, &ProfileRow::symbol);
  return row == result.rows.end() ? nullptr : &*row;
}

/// A record of a mapping may come behind samples in it, from another CPU's ring.
TEST(SampleProfile, LooksSamplesUpWhenAllRecordsOfAReadHaveCome) {
  SampleProfile profile;
  profile.sample(sample_at(0x1010));
  profile.mapped({5, 0x1000, 0x1000, 0, "/nonexistent/program"});
  profile.sample(sample_at(0x9000));
  profile.finish();
  const auto result = profile.result();
  EXPECT_EQ(result.samples, 2U);
  ASSERT_EQ(result.rows.size(), 2U);
  EXPECT_EQ(result.rows[0].object, "[unknown]");
  EXPECT_EQ(result.rows[1].object, "program");
  EXPECT_EQ(result.rows[1].symbol, "[no symbol]");
  EXPECT_EQ(result.rows[1].share, 0.5);
  ASSERT_EQ(result.notes.size(), 1U);
  EXPECT_EQ(result.notes[0], "/nonexistent/program: cannot open it: No such file or directory");
}

TEST(SampleProfile, GivesAChildTheMappingsOfItsParentAndForgetsThemAtAnExec) {
  SampleProfile profile;
  profile.mapped({5, 0x1000, 0x1000, 0, "/nonexistent/program"});
  profile.forked(5, 6);
  profile.sample(sample_at(0x1010, 6));
  profile.finish();
  profile.executed(6, "other");
  profile.sample(sample_at(0x1010, 6));
  profile.sample(sample_at(0x1010, 5));
  profile.finish();
  const auto result = profile.result();
  ASSERT_EQ(result.rows.size(), 2U);
  EXPECT_EQ(result.rows[0].object, "program");
  EXPECT_EQ(result.rows[0].samples, 2U);
  EXPECT_EQ(result.rows[1].object, "[unknown]");
}

/// The child ran on another CPU, whose ring was read after that of its parent.
TEST(SampleProfile, KnowsAChildWhoseForkComesWithTheNextRead) {
  SampleProfile profile;
  profile.sample(sample_at(0x1010, 6));
  profile.settle();
  profile.forked(5, 6);
  profile.mapped({5, 0x1000, 0x1000, 0, "/nonexistent/program"});
  profile.settle();
  const auto result = profile.result();
  ASSERT_EQ(result.rows.size(), 1U);
  EXPECT_EQ(result.rows[0].object, "program");
  EXPECT_EQ(result.rows[0].samples, 1U);
}

TEST(SampleProfile, WaitsOnceForTheMappingOfASample) {
  SampleProfile profile;
  profile.sample(sample_at(0x1010));
  profile.settle();
  EXPECT_EQ(profile.result().samples, 0U);
  profile.settle();
  const auto result = profile.result();
  ASSERT_EQ(result.rows.size(), 1U);
  EXPECT_EQ(result.rows[0].object, "[unknown]");
}

/// Files that are mapped while the samples come, without records, as those of another namespace.
TEST(SampleProfile, ReadsTheMappingsOfAProcessOnceInEachRead) {
  for (const bool at_the_end : {false, true}) {
    const shmif::test::TempDir root;
    const std::filesystem::path folder = root.path() + "/proc/5";
    std::filesystem::create_directories(folder);
    const auto map = [&](const std::string& lines) { std::ofstream(folder / "maps") << lines; };
    SampleProfile profile(false, KernelFiles(root.path()));
    map("1000-2000 r-xp 00000000 fe:01 1 /nonexistent/first\n");
    profile.sample(sample_at(0x1010));
    profile.sample(sample_at(0x3010));
    profile.settle();
    map("3000-4000 r-xp 00000000 fe:01 2 /nonexistent/second\n");
    if (!at_the_end) profile.settle();
    if (!at_the_end) std::filesystem::remove(folder / "maps");  // it has ended
    profile.finish();
    const auto result = profile.result();
    ASSERT_EQ(result.rows.size(), 2U) << at_the_end;
    EXPECT_EQ(result.rows[0].object, "first");
    EXPECT_EQ(result.rows[1].object, "second") << at_the_end;
  }
}

TEST(SampleProfile, MakesATreeOfCallsFromTheOutermostOn) {
  SampleProfile profile(true);
  profile.mapped({5, 0x1000, 0x1000, 0, "/nonexistent/inner"});
  profile.mapped({5, 0x3000, 0x1000, 0, "/nonexistent/outer"});
  const std::array<std::uint64_t, 3> chain{PERF_CONTEXT_USER, 0x1010, 0x3010};
  Sample inner = sample_at(0x1010);
  inner.chain = chain;
  profile.sample(inner);
  Sample outer = sample_at(0x3000);
  outer.chain = std::span(chain).last(1);
  profile.sample(outer);
  profile.finish();
  const auto result = profile.result();
  ASSERT_EQ(result.roots.size(), 1U);
  EXPECT_EQ(result.roots[0].object, "outer");
  EXPECT_EQ(result.roots[0].samples, 2U);
  EXPECT_EQ(result.roots[0].own, 1U);
  ASSERT_EQ(result.roots[0].calls.size(), 1U);
  EXPECT_EQ(result.roots[0].calls[0].object, "inner");
  EXPECT_EQ(result.roots[0].calls[0].own, 1U);

  SampleReport report{"cpu-clock", result, 3, 1.5, true, true};
  const std::string text = sample_text(report, 0);
  EXPECT_NE(text.find("2 samples of cpu-clock in 1.500 s, 3 lost, until a signal came\n"),
            std::string::npos);
  EXPECT_NE(text.find("100.00%  [no symbol] (outer)\n 50.00%    [no symbol] (inner)\n"),
            std::string::npos)
      << text;
  EXPECT_EQ(sample_text(report, 0.6).find("(inner)"), std::string::npos);
  const auto json = nlohmann::json::parse(sample_json(report));
  EXPECT_EQ(json["samples"], 2);
  EXPECT_EQ(json["lost_samples"], 3);
  EXPECT_TRUE(json["lost_samples_reason"].is_null());
  report.lost_is_least = true;
  EXPECT_NE(sample_text(report, 0).find(", at least 3 lost, until a signal came\n"),
            std::string::npos);
  EXPECT_NE(
      nlohmann::json::parse(sample_json(report))["lost_samples_reason"].get<std::string>().find(
          "more samples than 3 may be lost"),
      std::string::npos);
  EXPECT_EQ(json["partial"], true);
  EXPECT_EQ(json["profile"].size(), 2U);
  EXPECT_EQ(json["profile"][0].size(), 4U);
  EXPECT_EQ(json["callgraph"][0]["calls"][0]["samples"], 1);
}

TEST(SampleText, GivesEachCallItsShareOfAllSamples) {
  SampleReport report;
  report.callgraph = true;
  report.profile.samples = 8;
  const CallNode leaf{"leaf", "x", 2, 2, {}};
  const CallNode middle{"middle", "x", 4, 2, {leaf}};
  report.profile.roots = {{"main", "x", 6, 2, {middle}}};
  const std::string text = sample_text(report, 0);
  EXPECT_NE(text.find(" 75.00%  main (x)\n 50.00%    middle (x)\n 25.00%      leaf (x)\n"),
            std::string::npos)
      << text;
}

/// A call can be the last instruction of its function. It returns to where the next one begins.
TEST(SampleProfile, TakesACallForWhereItWasMade) {
  SampleProfile profile(true);
  profile.mapped({5, 0x1000, 0x1000, 0, "/nonexistent/inner"});
  profile.mapped({5, 0x3000, 0x1000, 0, "/nonexistent/outer"});
  profile.mapped({5, 0x4000, 0x1000, 0, "/nonexistent/behind"});
  const std::array<std::uint64_t, 3> chain{PERF_CONTEXT_USER, 0x1000, 0x4000};
  Sample sample = sample_at(0x1000);
  sample.chain = chain;
  profile.sample(sample);
  profile.finish();
  const auto result = profile.result();
  ASSERT_EQ(result.roots.size(), 1U);
  EXPECT_EQ(result.roots[0].object, "outer");
  ASSERT_EQ(result.roots[0].calls.size(), 1U);
  EXPECT_EQ(result.roots[0].calls[0].object, "inner");
}

/// The kernel puts a mark before its own callers, and another one before those in user space.
TEST(SampleProfile, LooksForCallersWhereTheMarksSayThatTheyAre) {
  SampleProfile profile(true);
  profile.mapped({5, 0x3000, 0x1000, 0, "/nonexistent/program"});
  const std::array<std::uint64_t, 4> chain{PERF_CONTEXT_KERNEL, 0xffffffff81000010,
                                           PERF_CONTEXT_USER, 0x3010};
  Sample sample = sample_at(0xffffffff81000010, 5, true);
  sample.chain = chain;
  profile.sample(sample);
  profile.finish();
  const auto result = profile.result();
  ASSERT_EQ(result.roots.size(), 1U);
  EXPECT_EQ(result.roots[0].object, "program");
  ASSERT_EQ(result.roots[0].calls.size(), 1U);
  EXPECT_EQ(result.roots[0].calls[0].object, "[kernel]");
}

TEST(SampleRun, SaysThatMoreMayBeLostIfOneOfItsTargetsDoesNotTell) {
  static constexpr std::array kTwo{TaskId{kTask, 7}, TaskId{kOther, 7}};
  for (const pid_t tells : {kTask, kOther}) {
    FakeCounters kernel;
    // The clock of a session is opened before its events are.
    kernel.before = [&](KernelCall call, int) {
      if (call != KernelCall::open || kernel.events.empty()) return 0;
      kernel.tells_lost = kernel.events.rbegin()->second.task == tells;
      return 0;
    };
    SampleOptions options;
    options.sampling.period = 10;
    auto run = SampleRun::start(fake_event(1), kTwo, options, nullptr, kernel);
    ASSERT_TRUE(run) << run.error().message;
    auto addresses = sample_formats().make("addresses").value();
    ASSERT_TRUE(run->read(*addresses));
    EXPECT_TRUE(run->counts().lost_is_least) << tells;
  }
}

TEST(SampleRun, FallsBackToUserSpaceAndCountsLostRecords) {
  FakeCounters kernel;
  // The clock; the event on two CPUs, of which the first is refused.
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 2 ? -EACCES : 0;
  };
  SampleOptions options;
  options.sampling.period = 10;
  auto run = SampleRun::start(fake_event(1), kSampledTasks, options, nullptr, kernel);
  ASSERT_TRUE(run) << run.error().message;
  EXPECT_TRUE(run->user_space_only());
  kernel.overflow(1, 0x1234);
  const auto lose = [&kernel](std::uint64_t count) {
    const std::array<std::uint64_t, 2> lost{0, count};
    for (const auto& [file, event] : kernel.events) {
      if (event.ring.empty()) continue;
      kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
      break;
    }
  };
  lose(9);
  auto addresses = sample_formats().make("addresses").value();
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().samples, 2U) << "one on each CPU";
  EXPECT_EQ(run->counts().lost, 9U);
  EXPECT_EQ(addresses->text(), "2 process 42 ip 0x1234\n");
  lose(5);
  ASSERT_TRUE(run->read(*addresses));
  EXPECT_EQ(run->counts().lost, 14U) << "of all reads together";
}

TEST(SampleRun, TellsWhatTheKernelRefuses) {
  FakeCounters kernel;
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::open && nth == 2 ? -ENOENT : 0;
  };
  SampleOptions options;
  options.sampling.frequency = 10;
  std::optional<Refusal> refused;
  EXPECT_FALSE(SampleRun::start(fake_event(1), kSampledTasks, options, &refused, kernel));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->state, Refusal::State::not_supported);
}

/// With a period, each so many events are one sample. Which function was at work is known.
TEST(SampleRun, SamplesAProgramOfThisMachineAndNamesItsFunctions) {
  auto child = HeldChild::start({.argv = {shmif::test::in_build("tests/perf/known_load"), "faults",
                                          "2000", "children", "2"}})
                   .value();
  CounterEvent faults;
  faults.name = "page-faults";
  faults.type = PERF_TYPE_SOFTWARE;
  faults.config = PERF_COUNT_SW_PAGE_FAULTS;
  SampleProfile profile;
  SampleOptions options;
  options.sampling.period = 1;
  options.on_exec = true;
  const std::array targets{TaskId{child.pid(), 0}};
  auto run = SampleRun::start(faults, targets, options);
  ASSERT_TRUE(run) << run.error().message;
  ASSERT_TRUE(child.release());
  EXPECT_TRUE(shmif::test::eventually([&] {
    const bool ended = child.ended().has_value();
    EXPECT_TRUE(run->read(profile));
    profile.finish();
    return ended;
  }));
  const auto result = profile.result();
  EXPECT_EQ(result.samples, run->counts().samples);
  const ProfileRow* const row = row_of_symbol(result, "(anonymous namespace)::touch_pages(long)");
  ASSERT_NE(row, nullptr) << sample_text({"", result}, 0);
  EXPECT_EQ(row->object, "known_load");
  EXPECT_GE(row->samples + run->counts().lost, 6000U) << "of the program and its two children";
}

}  // namespace
}  // namespace shmif::perf::test
