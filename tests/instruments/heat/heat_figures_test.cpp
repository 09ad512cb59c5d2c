// Whole texts about access heat, and figures at the limits of their units.

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "bus/layout.hpp"
#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/control_text.hpp"
#include "instruments/heat/heat_map.hpp"
#include "instruments/heat/monitor.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf::test {
namespace {

TEST(HeatFigures, HaveTheUnitsThatTheirSizeNeeds) {
  const std::uint64_t kibi = 1024;
  for (const auto& [bytes, text] : {std::pair(std::uint64_t{0}, "0 B"),
                                    {1023U, "1023 B"},
                                    {1536U, "1.5 KiB"},
                                    {1023 * kibi + 973, "1.0 MiB"},
                                    {kibi << 20U, "1.0 GiB"},
                                    {kibi << 41U, "2048.0 TiB"}}) {
    EXPECT_EQ(heat_bytes(bytes), text);
  }
  for (const auto& [share, text] : {std::pair(0.0, "0 %"),
                                    {1e-9, "below 1 %"},
                                    {0.016, "2 %"},
                                    {0.991, "over 99 %"},
                                    {1.0, "100 %"}}) {
    EXPECT_EQ(heat_share(share), text) << share;
  }
  EXPECT_EQ(heat_strip({0, 1e-6, 0.5, 1, 2}), " .+@@");
}

/// Everything that a source can say.
HeatResult told_result() {
  HeatResult result;
  result.process = {41, 1};
  result.name = "rig";
  result.provenance = {"written", "page", "means", "no writes"};
  result.provenance.reads_precision = "mapping";
  result.provenance.reads_reason = "no reads";
  result.provenance.note = "a note";
  result.reason = "it left";
  result.fallback_reason = "no pages";
  result.kernel_thread = 57;
  result.ranges = {{{0x10000, 0x14000}, "pool", 0}};
  result.mappings.looks = 4;
  result.mappings.mappings = {{{{0x30000, 0x31000}, "", 0}, 1},
                              {{{0x20000, 0x22000}, "/lib/x", 0}, 3},
                              {{{0x40000, 0x41000}, "never", 0}, 0},
                              {{{0x10000, 0x14000}, "pool", 0}, 1}};
  for (int i = 0; i < 2; ++i) {
    result.windows.push_back(
        {1.0 + i, 2.0 + i, 10, 4096U << static_cast<unsigned>(i), {{0x10000, 0x14000, 0, 0, 0}}});
  }
  return result;
}

std::string behind_head(const HeatResult& result) {
  const std::string text = heat_text({result}, {}, 100);
  return text.substr(text.find("\n\n") + 2);
}

TEST(HeatWords, OfATargetThatWroteNothingAreAllThatIsKnown) {
  const std::string head =
      "process 41 (rig): by written, precision: page for writes, mapping for reads, kdamond: "
      "process 57\n"
      "  it left\n"
      "  pages are not known: no pages\n"
      "  writes are not measured: no writes\n"
      "  reads are not measured: no reads\n"
      "  a note\n";
  const std::string mappings =
      "whole mappings, read or written: share of 4 looks\n"
      "/lib/x                     8.0 KiB 75 %\n"
      "pool                      16.0 KiB 25 %\n"
      "0x30000                    4.0 KiB 25 %\n";
  HeatResult result = told_result();
  EXPECT_EQ(behind_head(result), head + "  no write in any of 2 windows\n" + mappings);
  result.provenance.reads_precision.clear();
  result.mappings.looks = 0;
  const std::string text = behind_head(result);
  EXPECT_TRUE(text.ends_with("  no access in any of 2 windows\n")) << text;
  EXPECT_TRUE(text.starts_with("process 41 (rig): by written, precision: page, kdamond: "));
}

TEST(HeatMapOverTime, ShowsEachRangeInTheOrderOfAddressesAndEachWindowInItsRow) {
  HeatResult result;
  result.process = {41, 1};
  result.ranges = {{{0x20000, 0x21000}, "late", 0}, {{0x10000, 0x13000}, "early", 0}};
  for (int i = 0; i < 3; ++i) {
    HeatWindow window{0.25 + i, 1.25 + i, 10, 4096, {}};
    window.regions = {{0x10000, 0x13000, i == 0 ? 10U : 0U, {}, 0},
                      {0x20000, 0x21000, i > 0 ? 10U : 0U, {}, 0}};  // the hotter one
    result.windows.push_back(std::move(window));
  }
  const std::string text = behind_head(result);
  EXPECT_NE(text.find("over time, addresses of these one after another:\n    0.25 s |" +
                      std::string(66, '@') + std::string(22, ' ') + "\n    1.25 s |" +
                      std::string(66, ' ') + std::string(22, '@') + "\n    2.25 s |" +
                      std::string(66, ' ') + std::string(22, '@') + '\n'),
            std::string::npos)
      << text;
}

constexpr std::uint64_t kMappedAt = 1U << 20U, kBytesOfRing = 1U << 20U;

BusInfo seventh_bus() {
  BusInfo bus;
  bus.path = "/dev/shm/bus7";
  bus.ring_bytes = kBytesOfRing;
  bus.inode = 77;
  return bus;
}

std::string picture_of(const std::vector<HeatResult>& results, std::size_t columns = 63) {
  return bus_heat_text(results, seventh_bus(), columns, false);
}

HeatResult with_port(const std::string& port, std::uint64_t at) {
  HeatResult result;
  result.process = {41, 1};
  result.name = "rig";
  result.provenance = {"client", "page", "means", "no writes"};
  result.ranges = {{{at, at + bus::kRingOffset + 2 * kBytesOfRing}, port + "@/dev/shm/bus7", 77}};
  result.windows = {{1.0, 1.5, 4, 0, {{at, at + 4096, 4, {}, 0}}}};
  return result;
}

TEST(BusWords, OfEachPortOfAProcessAreItsOwn) {
  HeatResult result = with_port("rx", kMappedAt);
  const HeatResult other = with_port("tx", 64 * kMappedAt);
  result.ranges.push_back(other.ranges[0]);
  result.ranges.push_back({{1, 4097}, "else@/dev/shm/bus8", 78});
  result.provenance.precision = "sampled page";
  result.reason = "it left";
  const std::string text = picture_of({result}, 100);
  EXPECT_NE(text.find("bus /dev/shm/bus7\nrx used about 4.0 KiB of 1.2 MiB; most: about 4.0 KiB "
                      "of the header, in 100 % of the looks\ntx used about 0 B of 1.2 MiB\n"
                      "the last 0.5 s, 4 looks; h: the bus's header\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\nrx: rig, process 41, by sampled page (it left)\n  touched |@|"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\ntx: rig, process 41, by sampled page (it left)\n  touched | |"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("else"), std::string::npos);
  result.ranges = {result.ranges[2]};
  EXPECT_NE(picture_of({result}).find("\nrig, process 41: it has left the bus\n"),
            std::string::npos);
}

TEST(BusWords, PointAtThePlaceOfTheNextFrame) {
  BusInfo bus = seventh_bus();
  const auto column_of = [&](std::uint64_t last) {
    bus.last = last;
    const std::string text = bus_heat_text({with_port("rx", kMappedAt)}, bus, 63, false);
    const std::size_t at = text.find('^');
    return at - text.rfind('\n', at) - 1;
  };
  EXPECT_EQ(column_of(0), 22U) << "the first character of the ring";
  EXPECT_EQ(column_of(kBytesOfRing - 1), 61U) << "the last one";
  EXPECT_EQ(column_of(7 * kBytesOfRing + kBytesOfRing / 4), 32U);
}

TEST(BusParties, ThatAreNotWatchedHaveTheNamesOfTheirPortsAndTheReason) {
  HeatSession session{HeatOptions()};
  std::vector<BusParty> parties(2);
  parties[0].pid = 41;
  parties[0].ports = {"rx", "tx", "more"};
  parties[0].reason = "it shares nothing";
  parties[1].pid = 42;
  parties[1].ports = {"one"};
  parties[1].reason = "nor does it";
  EXPECT_TRUE(add_parties(session, std::move(parties)).empty());
  const auto results = session.results();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].process, (TaskId{41, 0}));
  EXPECT_EQ(results[0].name, "rx, tx, more");
  EXPECT_EQ(results[0].reason, "it shares nothing");
  EXPECT_EQ(results[1].process, (TaskId{42, 0}));
  EXPECT_EQ(results[1].name, "one");
  EXPECT_EQ(results[1].reason, "nor does it");
  EXPECT_FALSE(session.is_watching());
}

TEST(HeatAnswers, ComeBackWithTheirCodes) {
  const std::vector<std::pair<std::error_code, std::string>> words{
      {make_error_code(Errc::busy), "busy"},
      {make_error_code(Errc::bad_argument), "bad_argument"},
      {make_error_code(Errc::not_supported), "not_supported"},
      {std::make_error_code(std::errc::no_such_process), "no_such_process"},
      {std::make_error_code(std::errc::operation_not_permitted), "not_permitted"},
      {std::make_error_code(std::errc::io_error), "failed"}};
  for (const auto& [code, word] : words) {
    const std::string text = heat_answer_text(Error(code, "why\nso"));
    EXPECT_EQ(text, word + " 6\nwhy\nso");
    const auto read = read_heat_answer(text);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, code);
    EXPECT_EQ(read.error().message, "why\nso");
  }
  const auto other = heat_answer_text(Error(std::make_error_code(std::errc::file_exists), "no"));
  EXPECT_EQ(other, "failed 2\nno");
  EXPECT_EQ(read_heat_answer(other).error().code, std::errc::io_error);
  EXPECT_EQ(heat_answer_text(std::string("text")), "ok 4\ntext");
  EXPECT_EQ(read_heat_answer("ok 0\n").value(), "");
  for (const char* const text : {"", "ok", "ok 1", "ok 2\na", "ok 1\nab", "what 1\na", "ok x\na"}) {
    EXPECT_EQ(read_heat_answer(text).error().code, Errc::not_supported) << text;
  }
}

TEST(HeatAnswers, ToARequestThatIsTooLongAreARefusal) {
  const std::string head = "on\nclients ";
  const std::string most = head + std::string(kMaxRequestBytes - head.size() - 2, 'x') + "\n\n";
  ASSERT_EQ(most.size(), kMaxRequestBytes);
  EXPECT_TRUE(read_heat_request(most));
  EXPECT_FALSE(read_heat_request("on\nclients x" + most.substr(head.size())));
  const auto read = read_heat_request("show\njson\ncolour\ncolumns 0\n\n").value();
  EXPECT_TRUE(read.as_json);
  EXPECT_TRUE(read.in_colour);
  EXPECT_EQ(read.columns, 0U);
  const auto plain = read_heat_request("show\n\n").value();
  EXPECT_FALSE(plain.as_json);
  EXPECT_FALSE(plain.in_colour);
  EXPECT_EQ(plain.columns, 80U);
  EXPECT_EQ(heat_request_text(plain), "show\ncolumns 80\n\n") << "as earlier monitors know it";
}

/// A result that is told anew has what is known now, and the windows of before.
TEST(HeatResultsOfAMonitor, AreTheNewestWithTheWindowsOfBefore) {
  const auto result_of = [](pid_t pid, double begin) {
    HeatResult result;
    result.process = {pid, 7};
    result.provenance.source = "written";
    result.name = "at " + std::to_string(static_cast<int>(begin));
    result.windows = {{begin, begin + 1, 10, 0, {}}};
    return result;
  };
  std::vector<HeatResult> known;
  merge_heat_results(known, {result_of(41, 0), result_of(42, 10)});
  HeatResult ended = result_of(42, 11);
  ended.has_ended = true;
  ended.reason = "the process has ended";
  merge_heat_results(known, {ended});
  ASSERT_EQ(known.size(), 2U);
  EXPECT_EQ(known[0].process.number, 41);
  EXPECT_EQ(known[0].windows.size(), 1U);
  EXPECT_FALSE(known[0].has_ended);
  EXPECT_TRUE(known[1].has_ended);
  EXPECT_EQ(known[1].name, "at 11");
  EXPECT_EQ(known[1].reason, "the process has ended");
  ASSERT_EQ(known[1].windows.size(), 2U);
  EXPECT_EQ(known[1].windows[0].begin_s, 10);
  EXPECT_EQ(known[1].windows[1].begin_s, 11);
  merge_heat_results(known, {ended});
  EXPECT_EQ(known[1].windows.size(), 2U) << "each once, although it is told again";
  HeatResult later = result_of(42, 12);
  later.process.start_ticks = 8;
  merge_heat_results(known, {later});
  EXPECT_EQ(known.size(), 3U) << "a later process of the same number";
  HeatResult anew = result_of(41, 20);
  anew.provenance.source = "client";
  merge_heat_results(known, {anew});
  ASSERT_EQ(known[0].windows.size(), 1U) << "those of another source are forgotten";
  EXPECT_EQ(known[0].windows[0].begin_s, 20);
}

}  // namespace
}  // namespace shmif::perf::test
