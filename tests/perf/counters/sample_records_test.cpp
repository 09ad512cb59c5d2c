// What comes through the rings of sampled events: each field of each record in its place, records
// that lie across the end of a ring, and what is lost.

#include <gtest/gtest.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "perf/counters/sample_buffers.hpp"
#include "perf/counters/session.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/support/debug_lines.hpp"

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

TEST(SampleRecord, HasNothingInFieldsThatWereNotAskedFor) {
  std::vector<std::uint64_t> chain{1, 2, 3};
  const Words64 words{11, 22, halves(33, 44)};
  const auto own = read_sample(bytes_of_words(words), kOwnFields, chain);
  ASSERT_TRUE(own);
  EXPECT_EQ(own->thread, 44);
  EXPECT_EQ(own->time_ns, 0U);
  EXPECT_EQ(own->address, 0U);
  EXPECT_EQ(own->cpu, -1);
  EXPECT_EQ(own->period, 0U);
  EXPECT_TRUE(own->chain.empty()) << "not that of the sample before";
  const auto cpu =
      read_sample(bytes_of_words({5, halves(3, 0)}), PERF_SAMPLE_ADDR | PERF_SAMPLE_CPU, chain);
  ASSERT_TRUE(cpu);
  EXPECT_EQ(cpu->address, 5U);
  EXPECT_EQ(cpu->cpu, 3);
  EXPECT_EQ(cpu->ip, 0U);
}

TEST(MappingRecord, HasBothForms) {
  const auto named = [](Words64 words, std::string_view name) {
    std::vector<std::byte> body(8 * words.size() + name.size());
    std::memcpy(body.data(), words.data(), 8 * words.size());
    std::memcpy(body.data() + 8 * words.size(), name.data(), name.size());
    return body;
  };
  const auto first = named({halves(5, 6), 0x1000, 0x2000, 0x3000}, std::string_view("/a\0x", 4));
  const auto one = read_mapping(first, false);
  ASSERT_TRUE(one);
  EXPECT_EQ(one->process, 5);
  EXPECT_EQ(one->begin, 0x1000U);
  EXPECT_EQ(one->bytes, 0x2000U);
  EXPECT_EQ(one->file_offset, 0x3000U);
  EXPECT_EQ(one->file, "/a");
  const auto second = named({halves(7, 8), 1, 2, 3, 91, 92, 93, 94}, "/without/an/end");
  const auto two = read_mapping(second, true);
  ASSERT_TRUE(two);
  EXPECT_EQ(two->process, 7);
  EXPECT_EQ(two->begin, 1U);
  EXPECT_EQ(two->bytes, 2U);
  EXPECT_EQ(two->file_offset, 3U);
  EXPECT_EQ(two->file, "/without/an/end");
  EXPECT_TRUE(read_mapping(std::span(second).first(64), true));
  EXPECT_FALSE(read_mapping(std::span(second).first(63), true)) << "it is cut off";
  EXPECT_TRUE(read_mapping(std::span(second).first(32), false));
  EXPECT_FALSE(read_mapping(std::span(second).first(31), false));
}

/// A ring of 64 bytes behind a header page of 4096.
class SmallRing : public testing::Test {
 protected:
  static constexpr std::size_t kHeader = 4096;
  static constexpr std::size_t kBytes = 64;

  void put(std::uint16_t size, const std::vector<std::uint8_t>& body, std::uint32_t type = 9) {
    perf_event_header header{type, 2, size};
    std::vector<std::byte> record(sizeof header);
    std::memcpy(record.data(), &header, sizeof header);
    for (const std::uint8_t each : body) record.push_back(std::byte{each});
    for (const std::byte each : record) {
      memory_[kHeader + page().data_head % kBytes] = each;
      page().data_head = page().data_head + 1;
    }
  }
  perf_event_mmap_page& page() { return *reinterpret_cast<perf_event_mmap_page*>(memory_.data()); }

  alignas(8) std::array<std::byte, kHeader + kBytes> memory_{};
  SampleRing ring_{memory_.data(), kHeader, kBytes};
  std::vector<std::byte> record_;
};

TEST_F(SmallRing, HandsOutRecordsThatLieAcrossItsEnd) {
  for (const std::uint64_t begin : {0U, 40U, 52U, 60U, 63U}) {
    page().data_head = page().data_tail = begin;
    put(24, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 77);
    EXPECT_EQ(ring_.head(), begin + 24);
    const auto header = ring_.next(record_, ring_.head());
    ASSERT_TRUE(header) << begin;
    EXPECT_EQ(header->type, 77U);
    EXPECT_EQ(header->size, 24U);
    ASSERT_EQ(record_.size(), 16U);
    for (std::size_t at = 0; at < 16; ++at) {
      EXPECT_EQ(record_[at], std::byte{static_cast<std::uint8_t>(at + 1)}) << begin;
    }
    EXPECT_EQ(page().data_tail, begin + 24) << "the kernel may write there again";
    EXPECT_FALSE(ring_.next(record_, ring_.head()));
  }
}

TEST_F(SmallRing, GivesNothingBehindTheEndOfARead) {
  put(16, {1, 1, 1, 1, 1, 1, 1, 1});
  const std::uint64_t until = ring_.head();
  put(16, {2, 2, 2, 2, 2, 2, 2, 2});
  EXPECT_TRUE(ring_.next(record_, until));
  EXPECT_FALSE(ring_.next(record_, until));
  EXPECT_EQ(page().data_tail, 16U) << "the second is for the next read";
  EXPECT_TRUE(ring_.next(record_, ring_.head()));
  EXPECT_EQ(record_.at(0), std::byte{2});
  // Of a header only: a record without a body.
  put(8, {});
  EXPECT_TRUE(ring_.next(record_, ring_.head()));
  EXPECT_TRUE(record_.empty());
}

TEST_F(SmallRing, IsEmptiedByARecordThatCannotBe) {
  for (const std::uint16_t size : std::array<std::uint16_t, 3>{0, 7, 25}) {
    page().data_head = page().data_tail = 0;
    put(size, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
    EXPECT_FALSE(ring_.next(record_, ring_.head())) << size;
    EXPECT_EQ(page().data_tail, 24U) << size;
  }
  page().data_tail = 0;
  page().data_head = kBytes + 1;  // more than there can be
  EXPECT_FALSE(ring_.next(record_, ring_.head()));
}

TEST_F(SmallRing, IsNearlyFullWhenLessThanAQuarterIsFree) {
  page().data_tail = 1000;
  page().data_head = 1048;
  EXPECT_FALSE(ring_.nearly_full()) << "a quarter is free";
  page().data_head = 1049;
  EXPECT_TRUE(ring_.nearly_full());
}

TEST(LostRecords, AreToldOnceByRecordsOrByTheEvents) {
  LostCount lost;
  const auto add = [&](std::uint64_t by_records, std::optional<std::uint64_t> by_events,
                       bool sampled = true) {
    SampleCounts counts{.samples = 3, .lost = by_records, .lost_is_least = false};
    lost.add(counts, by_events, sampled);
    EXPECT_EQ(counts.samples, 3U);
    EXPECT_EQ(counts.lost_is_least, sampled && !by_events);
    return counts.lost;
  };
  EXPECT_EQ(add(0, {}), 0U);
  EXPECT_EQ(add(4, {}), 4U);
  EXPECT_EQ(add(3, {}), 3U) << "records tell what is new";
  EXPECT_EQ(add(0, 9), 2U) << "events tell the sum";
  EXPECT_EQ(add(2, 9), 0U);
  EXPECT_EQ(add(1, 9), 1U) << "the records have told ten by now";
  EXPECT_EQ(add(0, 5), 0U) << "never less";
  EXPECT_EQ(add(0, {}, false), 0U);
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

class RecordSession : public testing::Test {
 protected:
  void start(const std::vector<EventSetup>& events) {
    ASSERT_TRUE(session.program(events));
    ASSERT_TRUE(session.load(CounterTarget::thread({kTask, 7})));
    ASSERT_TRUE(session.start());
  }
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
  std::vector<std::string> read() {
    RecordLog log;
    const auto got = session.read_samples(log);
    EXPECT_TRUE(got);
    if (got) counts = *got;
    return log.lines;
  }

  FakeCounters kernel;
  CounterSession session = session_over({.switch_by_itself = false}, kernel);
  int ring = -1;
  SampleCounts counts;
};

TEST_F(RecordSession, HandsOutEachKindOfRecord) {
  start({{fake_event(1), 0, {.period = 10}}});
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
  EXPECT_EQ(read(), (std::vector<std::string>{"mapped 5 100 ab", "mapped 7 200 ab", "forked 30 31",
                                              "executed 40 ab", "executed 60 abcdefgh"}))
      << "a name that only changed, or has no letters, is no exec";
  EXPECT_EQ(counts.samples, 0U);
}

TEST_F(RecordSession, TellsOfASampleWhichEventItWasAndHowManyItStandsFor) {
  start({{fake_event(9)},
         {fake_event(1), 0, {.period = 10}},
         {fake_event(2), 0, {.frequency = 100}}});
  ring = file_of(1);
  EXPECT_EQ(kernel.events.at(file_of(2)).output, ring) << "they share it";
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x10, halves(5, 6)});
  put(PERF_RECORD_SAMPLE, {id_of(2), 0x20, halves(7, 8), 4321}, PERF_RECORD_MISC_KERNEL);
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x30, halves(5, 6)},
      PERF_RECORD_MISC_KERNEL | PERF_RECORD_MISC_EXACT_IP);
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x40, halves(5, 6)}, PERF_RECORD_MISC_GUEST_KERNEL);
  put(PERF_RECORD_SAMPLE, {987654, 0x50, halves(5, 6)});  // either event's
  EXPECT_EQ(read(), (std::vector<std::string>{"sample 1 16 5 6 10", "sample 2 32 7 8 4321 kernel",
                                              "sample 1 48 5 6 10 kernel", "sample 1 64 5 6 10"}));
  EXPECT_EQ(counts.samples, 4U);
  EXPECT_EQ(counts.lost, 1U);
  ASSERT_TRUE(session.stop());
  ASSERT_TRUE(session.set_values(std::array{ValueSetup{1, {}, 25}}));
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x10, halves(5, 6)});
  EXPECT_EQ(read(), (std::vector<std::string>{"sample 1 16 5 6 25"})) << "the period of now";
}

/// As the kernel numbers it where another session samples the same software event.
TEST_F(RecordSession, GivesASampleWithAnotherSessionsNumberToTheOnlyEvent) {
  start({{fake_event(9)}, {fake_event(1), 0, {.period = 10}}});
  ring = file_of(1);
  put(PERF_RECORD_SAMPLE, {987654, 0x50, halves(5, 6)});
  EXPECT_EQ(read(), (std::vector<std::string>{"sample 1 80 5 6 10"}));
  EXPECT_EQ(counts.lost, 0U);
  ASSERT_TRUE(session.unload());
  ASSERT_TRUE(session.load(CounterTarget::thread({})));
  ring = file_of(1);
  put(PERF_RECORD_SAMPLE, {987655, 0x60, halves(5, 6)});
  EXPECT_EQ(read(), (std::vector<std::string>{"sample 1 96 5 6 10"})) << "after another load, too";
}

/// With a ring for each CPU, each record has its time. One that is cut off comes first.
TEST(RecordTimes, OfRecordsThatAreCutOffAreTheBeginning) {
  FakeCounters kernel;
  CounterSession session = session_over({.switch_by_itself = false}, kernel);
  const Sampling with_cpu{.period = 10, .fields = PERF_SAMPLE_CPU};
  ASSERT_TRUE(session.program(std::array{EventSetup{fake_event(1), 0, with_cpu}}));
  ASSERT_TRUE(session.load(CounterTarget::cpu({0, 1})));
  std::array<int, 2> rings{};
  std::array<std::uint64_t, 2> ids{};
  for (const auto& [file, event] : kernel.events) {
    if (event.ring.empty()) continue;
    rings.at(static_cast<std::size_t>(event.cpu)) = file;
    ids.at(static_cast<std::size_t>(event.cpu)) = event.id;
  }
  const auto put = [&](std::size_t cpu, std::uint32_t type, const Words64& words) {
    kernel.put(rings.at(cpu), type, bytes_of_words(words));
  };
  constexpr std::uint64_t kFork = 0x500000006;
  put(0, PERF_RECORD_SAMPLE, {ids[0], 0x10, halves(5, 6), 100, 0});
  put(0, PERF_RECORD_FORK, {});
  put(0, PERF_RECORD_FORK, {kFork});
  put(1, PERF_RECORD_FORK, {kFork, ids[1]});
  put(1, PERF_RECORD_FORK, {kFork, kFork, 9, 50, 1, ids[1]});
  put(1, PERF_RECORD_SAMPLE, {ids[1], 0x20, halves(5, 6), 99, 1});
  put(1, PERF_RECORD_SAMPLE, {ids[1], 0x30, halves(5, 6), 100, 1});
  put(1, PERF_RECORD_SAMPLE, {ids[1], 0x40, halves(5, 6), 101, 1});
  RecordLog log;
  ASSERT_TRUE(session.read_samples(log));
  EXPECT_EQ(log.lines, (std::vector<std::string>{"forked 5 6", "forked 5 6", "sample 0 32 5 6 10",
                                                 "sample 0 16 5 6 10", "forked 0 0", "forked 5 6",
                                                 "sample 0 48 5 6 10", "sample 0 64 5 6 10"}));
}

TEST_F(RecordSession, TellsWhatThePmuLostOnce) {
  start({{fake_event(1), 0, {.period = 10}}});
  ring = file_of(1);
  put(PERF_RECORD_LOST_SAMPLES, {4});
  put(PERF_RECORD_LOST_SAMPLES, {3});
  read();
  EXPECT_EQ(counts.lost, 7U);
  read();
  EXPECT_EQ(counts.lost, 0U);
}

TEST_F(RecordSession, KeepsTheRingOfAnEventWhenALaterOneIsRefused) {
  start({{fake_event(1), 0, {.period = 10}}});
  ASSERT_TRUE(session.stop());
  const auto files = kernel.open_files();
  for (const bool masks : {false, true}) {
    kernel.before = [asked = 0](KernelCall call, int) mutable {
      return call == KernelCall::open && ++asked == 2 ? -ENOENT : 0;
    };
    const Sampling sampling{.period = 5, .mask = masks};
    EXPECT_FALSE(session.program(
        std::array{EventSetup{fake_event(2), 0, sampling}, EventSetup{fake_event(3)}}));
    kernel.before = {};
    EXPECT_EQ(kernel.open_files(), files) << masks;
  }
  ASSERT_TRUE(session.start());
  ring = file_of(1);
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x10, halves(5, 6)});
  EXPECT_EQ(read(), (std::vector<std::string>{"sample 0 16 5 6 10"}));
}

TEST_F(RecordSession, GivesBackAllOfARingThatWasMadeSmaller) {
  kernel.before = [](KernelCall call, int nth) {
    return call == KernelCall::map && nth < 3 ? -EPERM : 0;
  };
  const std::string told =
      shmif::test::debug_lines_of("counters", [&] { start({{fake_event(1), 0, {.period = 10}}}); });
  EXPECT_EQ(told.substr(0, told.find('\n')),
            "a ring for samples has 16 pages instead of 64: all that this user may lock is in use");
  EXPECT_EQ(kernel.events.at(file_of(1)).ring.size(), (1U + 16U) * 4096) << "of 64 pages";
  ring = file_of(1);
  put(PERF_RECORD_SAMPLE, {id_of(1), 0x10, halves(5, 6)});
  EXPECT_EQ(read().size(), 1U);
  ASSERT_TRUE(session.unload());
  EXPECT_EQ(kernel.open_files(), 0U);
}

/// A sample whose number is not known is that of the only event, also if there were others.
TEST(SampleBuffersOfEvents, KnowTheOnlyOneThatIsLeft) {
  FakeCounters kernel;
  SampleBuffers buffers(kernel, 1);
  EXPECT_EQ(buffers.event_of(99), std::nullopt);
  for (const std::uint64_t id : {11U, 12U}) buffers.know(id, 0);
  EXPECT_EQ(buffers.event_of(99), 0U);
  buffers.know(13, 1);
  EXPECT_EQ(buffers.event_of(99), std::nullopt);
  EXPECT_EQ(buffers.event_of(13), 1U);
  buffers.forget(-1, 11);
  EXPECT_EQ(buffers.event_of(99), std::nullopt) << "both are still there";
  buffers.forget(-1, 12);
  EXPECT_EQ(buffers.event_of(99), 1U);
}

}  // namespace
}  // namespace shmif::perf::test
