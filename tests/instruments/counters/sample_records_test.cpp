// What comes through the rings of sampled events: each field of each record in its place, records
// that lie across the end of a ring, the order of time, and what is lost.

#include <linux/perf_event.h>
#include <ctime>
#include <string_view>

#include "instruments/counters/sample_buffers.hpp"
#include "instruments/counters/sample_format.hpp"
#include "tests/instruments/counters/session_rig.hpp"

namespace shmif::perf::test {
namespace {

using Words64 = std::vector<std::uint64_t>;

std::span<const std::byte> bytes_of_words(const Words64& words) {
  return std::as_bytes(std::span(words));
}

/// Two numbers of 32 bits, the first in the lower half.
constexpr std::uint64_t halves(std::uint32_t low, std::uint32_t high) {
  return low | std::uint64_t{high} << 32U;
}

TEST(SampleRecord, HasEachFieldInItsPlace) {
  const std::uint64_t all = kOwnFields | kOptionalFields | PERF_SAMPLE_PERIOD;
  const Words64 words{11, 22, halves(33, 44), 55, 66, halves(7, 99), 88, 2, 101, 102};
  std::vector<std::uint64_t> chain{1, 2, 3};
  const auto sample = read_sample(bytes_of_words(words), all, chain);
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->id, 11U);
  EXPECT_EQ(sample->ip, 22U);
  EXPECT_EQ(sample->process, 33);
  EXPECT_EQ(sample->thread, 44);
  EXPECT_EQ(sample->time_ns, 55U);
  EXPECT_EQ(sample->address, 66U);
  EXPECT_EQ(sample->cpu, 7);
  EXPECT_EQ(sample->period, 88U);
  EXPECT_EQ(Words64(sample->chain.begin(), sample->chain.end()), (Words64{101, 102}));
  for (std::size_t words_left = 0; words_left < words.size(); ++words_left) {
    EXPECT_FALSE(read_sample(bytes_of_words(words).first(8 * words_left), all, chain))
        << words_left;
  }
  Words64 longer = words;
  longer[7] = 3;
  EXPECT_FALSE(read_sample(bytes_of_words(longer), all, chain)) << "one caller is missing";
  longer[7] = ~std::uint64_t{0};
  EXPECT_FALSE(read_sample(bytes_of_words(longer), all, chain));
  longer[7] = 0;
  EXPECT_TRUE(read_sample(bytes_of_words(longer), all, chain)->chain.empty());
}

struct RecordLog final : SampleSink {
  void sample(const Sample& sample) override {
    lines.push_back("sample " + std::to_string(sample.event) + ' ' + std::to_string(sample.ip) +
                    ' ' + std::to_string(sample.process) + ' ' + std::to_string(sample.thread) +
                    ' ' + std::to_string(sample.period) + (sample.in_kernel ? " kernel" : ""));
  }
  void mapped(const CodeMapping& mapping) override {
    lines.push_back("mapped " + std::to_string(mapping.process) + ' ' +
                    std::to_string(mapping.begin) + ' ' + std::string(mapping.file));
  }
  void executed(pid_t process, std::string_view name) override {
    lines.push_back("executed " + std::to_string(process) + ' ' + std::string(name));
  }
  void forked(pid_t parent, pid_t child) override {
    lines.push_back("forked " + std::to_string(parent) + ' ' + std::to_string(child));
  }
  std::vector<std::string> lines;
};

class RecordSession : public ScriptedSession {
 protected:
  int file_of(std::uint64_t config) const {
    return std::ranges::find_if(
               kernel.events,
               [&](const auto& each) { return each.second.attr.base.config == config; })
        ->first;
  }
  std::uint64_t id_of(std::uint64_t config) const { return kernel.events.at(file_of(config)).id; }
  void put(std::uint32_t type, const Words64& words, std::uint16_t misc = 2) {
    kernel.put(ring, type, bytes_of_words(words), misc);
  }
  std::vector<std::string> read_lines() {
    RecordLog log;
    const auto got = session.read_samples(log);
    EXPECT_TRUE(got);
    if (got) counts = *got;
    return log.lines;
  }

  int ring = -1;
  SampleCounts counts;
};

TEST_F(RecordSession, HandsOutEachKindOfRecord) {
  start({{fake_event(1), 0, {.period = 10}}}, thread);
  ring = file_of(1);
  constexpr std::uint64_t kAb = 0x6261;  // "ab", and zeros
  put(PERF_RECORD_MMAP, {halves(5, 6), 100, 1, 2, kAb});
  put(PERF_RECORD_MMAP2, {halves(7, 8), 200, 1, 2, 0, 0, 0, 0, kAb});
  put(PERF_RECORD_FORK, {halves(31, 30), halves(33, 32), 0});
  put(PERF_RECORD_COMM, {halves(40, 41), kAb}, PERF_RECORD_MISC_COMM_EXEC | 2);
  put(PERF_RECORD_COMM, {halves(50, 51), kAb}, 2);
  put(PERF_RECORD_COMM, {halves(60, 61), 0x6867666564636261}, PERF_RECORD_MISC_COMM_EXEC);
  put(PERF_RECORD_COMM, {halves(70, 71)}, PERF_RECORD_MISC_COMM_EXEC);
  put(PERF_RECORD_EXIT, {halves(31, 30), halves(33, 32), 0});
  EXPECT_EQ(read_lines(),
            (std::vector<std::string>{"mapped 5 100 ab", "mapped 7 200 ab", "forked 30 31",
                                      "executed 40 ab", "executed 60 abcdefgh"}))
      << "a name that only changed, or has no letters, is no exec";
  EXPECT_EQ(counts.samples, 0U);
}

TEST_F(RecordSession, TellsOfASampleWhichEventItWasAndHowManyItStandsFor) {
  start(
      {{fake_event(9)}, {fake_event(1), 0, {.period = 10}}, {fake_event(2), 0, {.frequency = 100}}},
      thread);
  ring = file_of(1);
  EXPECT_EQ(kernel.events.at(file_of(2)).output, ring) << "they share it";
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x10, halves(5, 6)});
  put(PERF_RECORD_SAMPLE, {id_of(2), 0x20, halves(7, 8), 4321}, PERF_RECORD_MISC_KERNEL);
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x30, halves(5, 6)},
      PERF_RECORD_MISC_KERNEL | PERF_RECORD_MISC_EXACT_IP);
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x40, halves(5, 6)}, PERF_RECORD_MISC_GUEST_KERNEL);
  put(PERF_RECORD_SAMPLE, {987654, 0x50, halves(5, 6)});  // either event's
  EXPECT_EQ(read_lines(),
            (std::vector<std::string>{"sample 1 16 5 6 10", "sample 2 32 7 8 4321 kernel",
                                      "sample 1 48 5 6 10 kernel", "sample 1 64 5 6 10"}));
  EXPECT_EQ(counts.samples, 4U);
  EXPECT_EQ(counts.lost, 1U);
  ASSERT_TRUE(session.stop());
  ASSERT_TRUE(session.set_values(std::array{ValueSetup{1, {}, 25}}));
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x10, halves(5, 6)});
  EXPECT_EQ(read_lines(), (std::vector<std::string>{"sample 1 16 5 6 25"})) << "the period of now";
}

/// As the kernel numbers it where another session samples the same software event.
TEST_F(RecordSession, GivesASampleWithAnotherSessionsNumberToTheOnlyEvent) {
  start({{fake_event(9)}, {fake_event(1), 0, {.period = 10}}}, thread);
  ring = file_of(1);
  put(PERF_RECORD_SAMPLE, {987654, 0x50, halves(5, 6)});
  EXPECT_EQ(read_lines(), (std::vector<std::string>{"sample 1 80 5 6 10"}));
  EXPECT_EQ(counts.lost, 0U);
  ASSERT_TRUE(session.unload());
  ASSERT_TRUE(session.load(CounterTarget::thread({})));
  ring = file_of(1);
  put(PERF_RECORD_SAMPLE, {987655, 0x60, halves(5, 6)});
  EXPECT_EQ(read_lines(), (std::vector<std::string>{"sample 1 96 5 6 10"}))
      << "after another load, too";
}

TEST_F(RecordSession, HandsOutRecordsThatLieAcrossTheEndOfTheRing) {
  session = session_over({.switch_by_itself = false, .ring_pages = 1}, kernel);
  start({{fake_event(1), 0, {.period = 10}}}, thread);
  ring = file_of(1);
  constexpr std::uint64_t kAb = 0x6261, kRecords = 400;  // of 48 bytes each, in a page
  for (std::uint64_t begin = 0; begin < kRecords; ++begin) {
    put(PERF_RECORD_MMAP, {halves(7, 8), begin, 1, 2, kAb});
    ASSERT_EQ(read_lines(), std::vector<std::string>{"mapped 7 " + std::to_string(begin) + " ab"});
  }
}

/// A header of zeros does not say where the next record begins. Later records are read again.
TEST_F(RecordSession, PassesOverARingWithoutSenseOnce) {
  start({{fake_event(1), 0, {.period = 10}}}, thread);
  auto& bytes = kernel.events.rbegin()->second.ring;
  auto* const page = reinterpret_cast<perf_event_mmap_page*>(bytes.data());
  kernel.overflow(1, 1);
  page->data_head = page->data_head + 24;
  EXPECT_EQ(read_lines().size(), 1U);
  kernel.overflow(1, 2);
  kernel.overflow(1, 3);
  EXPECT_EQ(read_lines().size(), 2U);
}

// ---- In the order of time ----

struct OrderSink final : SampleSink {
  void sample(const Sample& sample) override {
    heard.push_back("sample " + std::to_string(sample.time_ns));
  }
  void executed(pid_t /*process*/, std::string_view name) override {
    heard.push_back("exec " + std::string(name));
  }
  std::vector<std::string> take() { return std::exchange(heard, {}); }
  std::vector<std::string> heard;
};

/// A program that moves to another CPU executes on one and is sampled on the other.
TEST(RecordTimes, AreTheOrderInWhichTheRecordsOfAllCpusAreHeard) {
  FakeCounters kernel;
  CounterSession cpus = session_over({.switch_by_itself = false}, kernel);
  const Sampling with_cpu{.period = 10, .fields = PERF_SAMPLE_CPU};
  ASSERT_TRUE(cpus.program(std::array{EventSetup{fake_event(1), 0, with_cpu}}));
  ASSERT_TRUE(cpus.load(CounterTarget::cpu({0, 1})));
  ASSERT_TRUE(cpus.start());
  std::array<int, 2> files{};
  std::array<std::uint64_t, 2> ids{};
  for (const auto& [file, event] : kernel.events) {
    if (event.attr.base.config != 1) continue;
    EXPECT_EQ(event.attr.base.sample_id_all, 1U);
    EXPECT_EQ(event.attr.base.clockid, CLOCK_MONOTONIC);
    files.at(static_cast<std::size_t>(event.cpu)) = file;
    ids.at(static_cast<std::size_t>(event.cpu)) = event.id;
  }
  constexpr std::uint64_t kPlace = 0x2a0000002a, kRx = 0x7872;  // "rx", and zeros
  const auto put_sample = [&](std::size_t cpu, std::uint64_t time_ns) {
    kernel.put(files.at(cpu), PERF_RECORD_SAMPLE,
               bytes_of_words({ids.at(cpu), 0x1000, kPlace, time_ns, cpu}));
  };
  put_sample(0, 5);
  put_sample(0, 30);
  put_sample(0, 40);
  kernel.put(files[1], PERF_RECORD_COMM, bytes_of_words({kPlace, kRx, kPlace, 20, 1, ids[1]}),
             PERF_RECORD_MISC_COMM_EXEC);
  put_sample(1, 35);
  OrderSink sink;
  ASSERT_TRUE(cpus.read_samples(sink));
  EXPECT_EQ(sink.take(), (std::vector<std::string>{"sample 5", "exec rx", "sample 30", "sample 35",
                                                   "sample 40"}));
  // Later than the call: the other ring, which was looked at before, may get an earlier one.
  constexpr std::uint64_t kFuture = std::uint64_t{1} << 62U;
  put_sample(1, kFuture);
  put_sample(0, 50);
  ASSERT_TRUE(cpus.read_samples(sink));
  EXPECT_EQ(sink.take(), (std::vector<std::string>{"sample 50"}));
  ASSERT_TRUE(cpus.stop());
  ASSERT_TRUE(cpus.read_samples(sink));
  EXPECT_EQ(sink.take(), (std::vector<std::string>{"sample " + std::to_string(kFuture)}));
}

// ---- Lost records ----

TEST_F(ScriptedSession, CountsLostRecordsAndPassesOverBrokenOnes) {
  program({{fake_event(1), 0, {.period = 10}}});
  ASSERT_TRUE(session.load(thread));
  ASSERT_TRUE(session.start());
  const int file = kernel.events.rbegin()->first;
  const std::array<std::uint64_t, 2> lost{kernel.events.at(file).id, 9};
  kernel.overflow(1, 1);
  kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
  const std::array<std::uint64_t, 1> lost_samples{4};
  kernel.put(file, PERF_RECORD_LOST_SAMPLES, std::as_bytes(std::span(lost_samples)));
  kernel.put(file, PERF_RECORD_SAMPLE, std::as_bytes(std::span(lost)));  // cut off
  kernel.overflow(1, 2);
  const SampleCounts counts = samples();
  EXPECT_EQ(counts.lost, 13U);
  EXPECT_EQ(counts.samples, 2U);
}

/// What was lost behind the last record that found room is in no record.
TEST_F(ScriptedSession, CountsTheRecordsThatWereLostLast) {
  for (const bool alone : {true, false}) {
    CounterSession one = session_over({.switch_by_itself = false}, kernel);
    const std::array sampled{EventSetup{fake_event(1), 0, {.period = 10}},
                             EventSetup{fake_event(2), 0, {.period = 10}}};
    ASSERT_TRUE(one.program(std::span(sampled).first(alone ? 1 : 2)));
    ASSERT_TRUE(one.load(thread));
    ASSERT_TRUE(one.start());
    const int file = std::ranges::find_if(kernel.events, [](const auto& each) {
                       return each.second.attr.base.config == 1;
                     })->first;
    const auto counts = [&] {
      NoSink sink;
      return one.read_samples(sink).value();
    };
    EXPECT_EQ(counts().lost, 0U);
    EXPECT_FALSE(counts().lost_is_least);
    kernel.lose(1, 9);
    const std::array<std::uint64_t, 2> lost{kernel.events.at(file).id, 9};
    kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(lost)));
    EXPECT_EQ(counts().lost, 9U) << "not twice";
    kernel.lose(1, 5);
    EXPECT_EQ(counts().lost, 5U) << "without a record";
    const std::array<std::uint64_t, 2> late{kernel.events.at(file).id, 5};
    kernel.put(file, PERF_RECORD_LOST, std::as_bytes(std::span(late)));
    EXPECT_EQ(counts().lost, 0U) << "its record comes late";
    if (!alone) {
      kernel.lose(2, 3);
      EXPECT_EQ(counts().lost, 3U);
    }
    kernel.run(kTask, 10, {{1, 4}});
    std::array readings{Reading{0}};
    ASSERT_TRUE(one.read(readings));
    EXPECT_EQ(readings[0].value, 4U);
    EXPECT_EQ(readings[0].enabled_ns, 10U);
    ASSERT_TRUE(one.stop() && one.unload() && one.load(thread) && one.start());
    kernel.lose(1, 2);
    EXPECT_EQ(counts().lost, 2U) << "of this load";
  }
}

}  // namespace

// The formats in which samples are told, and those of a user of the library.

namespace {

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
