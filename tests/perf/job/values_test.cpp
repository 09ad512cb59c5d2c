#include "perf/job/values.hpp"

#include <gtest/gtest.h>

#include <array>

#include "base/text.hpp"
#include "tests/support/run_tool.hpp"

namespace shmif::perf {
namespace {

using Words = std::vector<std::string>;

template <class T>
std::optional<T> value_of(const Result<T>& result) {
  return result ? std::optional<T>(*result) : std::nullopt;
}

/// Every one of `texts` is refused, and the message shows it.
template <class Read>
void expect_refused(Read read, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    const auto result = read(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code, Errc::bad_argument) << text;
    EXPECT_EQ(result.error().message.rfind('"' + text + '"', 0), 0U) << result.error().message;
  }
}

TEST(JobValues, BooleansAreOneOrZero) {
  for (const char* yes : {"1", "true", "yes", "on", "TRUE"}) {
    EXPECT_EQ(value_of(parse_boolean(yes)), true);
  }
  for (const char* no : {"0", "false", "no", "off"}) EXPECT_EQ(value_of(parse_boolean(no)), false);
  expect_refused(parse_boolean, {"", "2", "y", "-1", "maybe"});
}

TEST(JobValues, FrameSizesAreNumbersRangesOrTheMixOfTheInternet) {
  using Part = FrameSizes::Part;
  EXPECT_EQ(value_of(parse_frame_sizes("64")), (FrameSizes{{Part{64, 64, 1}}}));
  EXPECT_EQ(value_of(parse_frame_sizes("64-1514")), (FrameSizes{{Part{64, 1514, 1}}}));
  EXPECT_EQ(value_of(parse_frame_sizes("1k")), (FrameSizes{{Part{1024, 1024, 1}}}));
  EXPECT_EQ(value_of(parse_frame_sizes("imix")),
            (FrameSizes{{Part{60, 60, 7}, Part{590, 590, 4}, Part{1514, 1514, 1}}}));
  expect_refused(parse_frame_sizes, {"", "59", "1514-64", "64-", "-64", "64-100-200", "64/10",
                                     "imixx", "1048577", "4294967360"});
}

TEST(JobValues, WeightsOfASplitAreFiosPercentagesOrSharesOfTheirSum) {
  using Part = FrameSizes::Part;
  EXPECT_EQ(value_of(parse_frame_split("64/70:1514/30")),
            (FrameSizes{{Part{64, 64, 70}, Part{1514, 1514, 30}}}));
  EXPECT_EQ(value_of(parse_frame_split("64/7:590-600/4:1514/1")),
            (FrameSizes{{Part{64, 64, 7}, Part{590, 600, 4}, Part{1514, 1514, 1}}}));
  // Of one size it is the whole, so that it reads the same again.
  EXPECT_EQ(value_of(parse_frame_split("64/7150")), (FrameSizes{{Part{64, 64, 1}}}));
  // Those without share what the percentages leave: 20 % each.
  EXPECT_EQ(value_of(parse_frame_split("64/60:590:1514/")),
            (FrameSizes{{Part{64, 64, 120}, Part{590, 590, 40}, Part{1514, 1514, 40}}}));
  EXPECT_EQ(value_of(parse_frame_split("100:200")),
            (FrameSizes{{Part{100, 100, 100}, Part{200, 200, 100}}}));
  expect_refused(parse_frame_split, {"", "64/0:1514/0", "64/70:1514/30:", "64/60:590/60:1514",
                                     "64/x", "64/-1", "64/1.5", "64/9999999", "64//1", "/30"});
}

TEST(JobValues, ASplitGoesAsFarAsItsLimits) {
  using Part = FrameSizes::Part;
  // Percentages that leave nothing for the rest.
  EXPECT_EQ(value_of(parse_frame_split("64/100:590")),
            (FrameSizes{{Part{64, 64, 100}, Part{590, 590, 0}}}));
  EXPECT_TRUE(parse_frame_split("64/1000000:590/1"));
  EXPECT_EQ(value_of(parse_frame_split("60/1:1048576/1")).value().parts[1].max, 1048576U);
  std::string parts = "64/1";
  for (int i = 1; i < 256; ++i) parts += ":64/1";
  EXPECT_EQ(value_of(parse_frame_split(parts)).value().parts.size(), 256U);
  expect_refused(parse_frame_split, {"64/101:590", "64/1000001:590/1", parts + ":64/1"});
}

TEST(JobValues, TextsOfFrameSizesComeBack) {
  for (const char* text : {"64", "64-1514", "imix", "64/70:1514/30", "64-100/1:200/2"}) {
    const FrameSizes sizes = parse_frame_split(text).value();
    EXPECT_EQ(parse_frame_split(to_string(sizes)).value(), sizes) << text;
    EXPECT_EQ(to_string(sizes), text);
  }
}

TEST(JobValues, ListsOfCpusAreSortedAndHoldEachOnce) {
  EXPECT_EQ(value_of(parse_cpus("0-3,7")), (std::vector<int>{0, 1, 2, 3, 7}));
  EXPECT_EQ(value_of(parse_cpus("7,0,3-1023")).value().size(), 1022U);
  EXPECT_EQ(value_of(parse_cpus("1,1,0-1")), (std::vector<int>{0, 1}));
  EXPECT_EQ(value_of(parse_nodes("2,0-1")), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(value_of(parse_nodes("all")), (std::vector<int>{kAllNodes}));
  EXPECT_EQ(to_string_of_nodes({kAllNodes}), "all");
  EXPECT_EQ(to_string_of_nodes({0, 1, 3}), "0-1,3");
  for (const char* text : {"default", "prefer:3", "bind:0,2-4", "interleave:all", "local"}) {
    EXPECT_EQ(to_string(value_of(parse_numa_policy(text)).value()), text);
  }
  EXPECT_EQ(to_string_of_cpus({0, 1, 2, 3, 7}), "0-3,7");
  EXPECT_EQ(to_string_of_cpus({1, 2, 5, 8, 9}), "1-2,5,8-9");
  expect_refused(parse_cpus,
                 {"", ",", "1,", "3-1", "1024", "-1", "0-", "a", "0-99999999999", "1 2"});
}

std::string text_of(const std::vector<std::byte>& bytes) {
  std::string text;
  for (const std::byte b : bytes) text += static_cast<char>(b);
  return text;
}

TEST(JobValues, PatternsAreHexadecimalOrQuoted) {
  EXPECT_EQ(text_of(parse_pattern("0x414243").value()), "ABC");
  EXPECT_EQ(text_of(parse_pattern("\"abc\"").value()), "abc");
  EXPECT_EQ(text_of(parse_pattern("0X4a4B").value()), "JK");
  EXPECT_EQ(parse_pattern('"' + std::string(512, 'x') + '"').value().size(), 512U);
  EXPECT_EQ(text_of(parse_pattern("0x41\"b\\\"\\\\\"0x43").value()), "Ab\"\\C");
  expect_refused(parse_pattern, {"", "0x", "0x4", "0xzz", "abc", "\"abc", "\"\"", "\"a\\",
                                 "0x41,0x42", '"' + std::string(513, 'x') + '"'});
}

TEST(JobValues, CommandsAreSplitAsAShellDoesAndNothingIsExpanded) {
  EXPECT_EQ(value_of(split_words("echo a  b")), (Words{"echo", "a", "b"}));
  EXPECT_EQ(value_of(split_words("  sh -c 'a \"b\" \\c' ")), (Words{"sh", "-c", "a \"b\" \\c"}));
  EXPECT_EQ(value_of(split_words("p \"a \\\" \\\\ \\x\" c\\ d e''f \"\"")),
            (Words{"p", "a \" \\ \\x", "c d", "ef", ""}));
  EXPECT_EQ(value_of(split_words("p $HOME *|;")), (Words{"p", "$HOME", "*|;"}));
  expect_refused(split_words, {"", "   ", "a 'b", "a \"b", "a \\", "'' x"});
}

TEST(JobValues, WordsAreSeparatedByAnySpaceUpToAThousandAndSome) {
  EXPECT_EQ(value_of(split_words("a\tb\nc\rd \t e")), (Words{"a", "b", "c", "d", "e"}));
  EXPECT_EQ(value_of(split_words("p \"\\$x\" '\\$x' \\$x")), (Words{"p", "$x", "\\$x", "$x"}));
  std::string many = "w";
  for (int i = 1; i < 1024; ++i) many += " w";
  EXPECT_EQ(value_of(split_words(many)).value().size(), 1024U);
  expect_refused(split_words, {many + " w"});
}

TEST(JobValues, AShellReadsAQuotedWordAsOneWord) {
  std::string command = "printf '<%s>'";
  std::string wanted;
  for (char c = ' '; c <= '~'; ++c) {
    for (const std::string& word :
         {std::string(1, c), c + std::string("x"), std::string("x") + c}) {
      command += ' ' + base::quote_word(word);
      wanted += '<' + word + '>';
    }
  }
  EXPECT_EQ(test::run_program({"sh", "-c", command}).out, wanted);
}

TEST(JobValues, ClassesOfErrorsHaveFiosNamesToo) {
  struct Case {
    const char* text;
    std::array<bool, 5> classes;  // tx, rx, verify, overrun, lock
  };
  for (const Case& c : std::initializer_list<Case>{{"none", {}},
                                                   {"tx", {true}},
                                                   {"write", {true}},
                                                   {"rx", {false, true}},
                                                   {"read", {false, true}},
                                                   {"io", {true, true}},
                                                   {"verify", {false, false, true}},
                                                   {"overrun", {false, false, false, true}},
                                                   {"lock", {false, false, false, false, true}},
                                                   {"lock,tx", {true, false, false, false, true}},
                                                   {"all", {true, true, true, true, true}}}) {
    const ErrorClasses read = parse_error_classes(c.text).value();
    EXPECT_EQ((std::array{read.tx, read.rx, read.verify, read.overrun, read.lock}), c.classes)
        << c.text;
  }
  expect_refused(parse_error_classes, {"", "tx,", "some", "tx none", "none,tx"});
}

TEST(JobValues, SteadyStatesNameAFigureAndALimit) {
  const SteadyState slope = parse_steady_state("bw_slope:0.1%").value();
  EXPECT_TRUE(slope.bandwidth && slope.slope && slope.relative);
  EXPECT_DOUBLE_EQ(slope.limit, 0.001);
  EXPECT_DOUBLE_EQ(parse_steady_state("iops_slope:100%")->limit, 1);
  EXPECT_FALSE(parse_steady_state("iops_slope:100%")->bandwidth);
  EXPECT_FALSE(parse_steady_state("bw:1%")->slope);
  const SteadyState flat = parse_steady_state("iops:250").value();
  EXPECT_FALSE(flat.bandwidth || flat.slope || flat.relative);
  EXPECT_EQ(flat.limit, 250);
  expect_refused(parse_steady_state,
                 {"", "iops", "iops:", "lat:1%", "iops:101%", "iops:x", "bwslope:1", "iops:1%%"});
}

TEST(JobValues, APairMayLeaveOneDirectionOut) {
  const auto pair = [](const char* text) {
    const PairText both = split_pair(text).value();
    return std::string(both.tx) + '|' + std::string(both.rx);
  };
  EXPECT_EQ(pair("1k"), "1k|1k");
  EXPECT_EQ(pair("1k,2k"), "1k|2k");
  EXPECT_EQ(pair("1k,"), "1k|");
  EXPECT_EQ(pair(",2k"), "|2k");
  expect_refused(split_pair, {",", "1,2,3"});
}

}  // namespace
}  // namespace shmif::perf
