// Event strings and the formats of sysfs, from any text.

#include "perf/counters/event_text.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/number_list.hpp"

namespace shmif::perf::test {
namespace {

using Range = FormatField::Range;

TEST(EventText, SplitsAListAtCommasOutsideOfTerms) {
  EXPECT_EQ(split_events("a,cpu/b=1,c/u,d:k").value(),
            (std::vector<std::string>{"a", "cpu/b=1,c/u", "d:k"}));
  EXPECT_EQ(split_events("one").value(), std::vector<std::string>{"one"});
  for (const char* text : {"", ",", "a,", ",a", "a,,b", "cpu/a,b", "a/b/c/"}) {
    EXPECT_FALSE(split_events(text)) << text;
  }
}

TEST(EventText, SaysWhatIsWrongWithIt) {
  const auto why = [](const auto& read) { return read ? std::string() : read.error().message; };
  EXPECT_EQ(why(split_events("a,,b")), "\"a,,b\" has an empty name between commas");
  EXPECT_EQ(why(split_events("a,cpu/b=1,c")),
            "\"cpu/b=1,c\" lacks its second slash (as in cpu/event=1/)");
  for (const char* const text : {"{a", "{a}b", "a},b", "{a},{b", "a{b}"}) {
    EXPECT_EQ(why(split_event_sets(text)),
              '"' + std::string(text) +
                  "\" has braces that do not match (as in {cycles,instructions},cs)");
  }
  EXPECT_EQ(why(split_event_sets("{},a")), "\"\" has an empty name between commas");
  CounterEvent event;
  EXPECT_EQ(why(apply_modifiers("pppp", event)), "\"pppp\" has more than ppp");
  EXPECT_EQ(why(apply_modifiers("uX", event)),
            "\"uX\" are not modifiers (u, k, h, G, H, p, pp, ppp)");
  EXPECT_EQ(why(read_format("config4:0")), "\"config4:0\" is not a format (as config:0-7,32)");
  EXPECT_EQ(why(read_format("config\n")), "\"config\" is not a format (as config:0-7,32)");
  EXPECT_EQ(why(read_format("config:0-7,7")), "\"config:0-7,7\" has a bit twice");
  EXPECT_EQ(why(read_format("config:0-3,9,2-4")), "\"config:0-3,9,2-4\" has a bit twice");
  EXPECT_EQ(why(read_terms("a=1,=2")), "\"=2\" is not a term (as event=0x3c)");
}

TEST(EventText, PutsEventsOutsideOfBracesIntoOneSetBehindTheOthers) {
  using Sets = std::vector<std::vector<std::string>>;
  EXPECT_EQ(split_event_sets("a,{b,cpu/c=1,d/},e,{f}").value(),
            (Sets{{"b", "cpu/c=1,d/"}, {"f"}, {"a", "e"}}));
  EXPECT_EQ(split_event_sets("{a},{b}").value(), (Sets{{"a"}, {"b"}}));
  EXPECT_EQ(split_event_sets("a,b").value(), (Sets{{"a", "b"}}));
  EXPECT_FALSE(split_event_sets("{a},")) << "an empty name";
  EXPECT_FALSE(split_event_sets(""));
}

TEST(EventText, OfEachModifierNamesItsOwnPlace) {
  struct Excluded {
    bool user, kernel, hypervisor, guest, host;
    bool operator==(const Excluded&) const = default;
  };
  const auto excluded = [](const char* modifiers) {
    CounterEvent event;
    EXPECT_TRUE(apply_modifiers(modifiers, event)) << modifiers;
    return Excluded{event.exclude_user, event.exclude_kernel, event.exclude_hypervisor,
                    event.exclude_guest, event.exclude_host};
  };
  EXPECT_TRUE(excluded("u") == (Excluded{false, true, true, false, false}));
  EXPECT_TRUE(excluded("k") == (Excluded{true, false, true, false, false}));
  EXPECT_TRUE(excluded("h") == (Excluded{true, true, false, false, false}));
  EXPECT_TRUE(excluded("ukh") == Excluded{});
  EXPECT_TRUE(excluded("G") == (Excluded{false, false, false, false, true}));
  EXPECT_TRUE(excluded("H") == (Excluded{false, false, false, true, false}));
  EXPECT_TRUE(excluded("GH") == Excluded{});
  CounterEvent event;
  event.precise = 1;
  event.exclude_host = true;
  ASSERT_TRUE(apply_modifiers("u", event));
  EXPECT_EQ(event.precise, 1) << "of the event itself";
  EXPECT_TRUE(event.exclude_host);
  ASSERT_TRUE(apply_modifiers("ppp", event));
  EXPECT_EQ(event.precise, 3);
}

TEST(EventText, LeavesOutWhatModifiersDoNotName) {
  CounterEvent event;
  ASSERT_TRUE(apply_modifiers("u", event));
  EXPECT_FALSE(event.exclude_user);
  EXPECT_TRUE(event.exclude_kernel);
  EXPECT_TRUE(event.exclude_hypervisor);
  EXPECT_FALSE(event.exclude_guest);
  event = {};
  ASSERT_TRUE(apply_modifiers("khG", event));
  EXPECT_TRUE(event.exclude_user);
  EXPECT_FALSE(event.exclude_kernel);
  EXPECT_FALSE(event.exclude_hypervisor);
  EXPECT_TRUE(event.exclude_host);
  EXPECT_FALSE(event.exclude_guest);
  event = {};
  ASSERT_TRUE(apply_modifiers("pp", event));
  EXPECT_EQ(event.precise, 2);
  EXPECT_FALSE(event.exclude_kernel);
  for (const char* wrong : {"", "x", "uX", "pppp", "u "}) {
    EXPECT_FALSE(apply_modifiers(wrong, event)) << wrong;
  }
}

TEST(EventText, ReadsTermsWithAndWithoutValues) {
  EXPECT_EQ(
      read_terms("event=0x3c,umask=1,edge,ldlat=?\n").value(),
      (std::vector<EventTerm>{
          {"event", 0x3c, false}, {"umask", 1, false}, {"edge", {}, false}, {"ldlat", {}, true}}));
  EXPECT_EQ(read_terms("config=18446744073709551615").value()[0].value, ~std::uint64_t{0});
  for (const char* wrong : {"", "a=", "=1", "a=1,", "a=-1", "a=0x", "a=18446744073709551616",
                            "a=0x10000000000000000", "a=1 2"}) {
    EXPECT_FALSE(read_terms(wrong)) << wrong;
  }
}

TEST(EventText, ReadsFormatsOfAllWordsAndListsOfRanges) {
  EXPECT_EQ(read_format("config:0-7\n").value(), (FormatField{0, {{0, 7}}}));
  EXPECT_EQ(read_format("config1:63").value(), (FormatField{1, {{63, 63}}}));
  EXPECT_EQ(read_format("config2:0-63").value(), (FormatField{2, {{0, 63}}}));
  EXPECT_EQ(read_format("config3:32-35,0-7,9").value(),
            (FormatField{3, {{32, 35}, {0, 7}, {9, 9}}}));
  for (const char* wrong : {"", "config", "config:", "config4:0", "Config:0", "config:64",
                            "config:7-0", "config:0-7,", "config:0-7,7", "config:0-64", "config:-1",
                            "config:0--1", "config: 0", "config:0x1", "config1", "confi:0"}) {
    EXPECT_FALSE(read_format(wrong)) << wrong;
  }
  EXPECT_EQ(read_format("config:1-99").error().message,
            "\"config:1-99\" has \"1-99\", which are not bits of 0 to 63");
}

TEST(EventText, PutsTheLowestBitsOfAValueIntoTheFirstRange) {
  CounterEvent event;
  event.config = ~std::uint64_t{0};
  const FormatField field{0, {{32, 35}, {0, 7}}};
  ASSERT_TRUE(put_field(field, 0xab5, event));
  EXPECT_EQ(event.config, 0xfffffff5ffffffabU);
  EXPECT_FALSE(put_field(field, 0x1000, event)) << "thirteen bits into twelve";
}

/// Ranges in any order that do not overlap.
FormatField any_field(std::mt19937& random) {
  std::vector<unsigned> cuts;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (random() % 5 == 0) cuts.push_back(bit);
  }
  if (cuts.empty()) cuts.push_back(0);
  FormatField field{static_cast<unsigned>(random() % 4), {}};
  for (std::size_t at = 0; at < cuts.size(); ++at) {
    const unsigned end = at + 1 < cuts.size() ? cuts[at + 1] : 64;
    const auto length = 1 + static_cast<unsigned>(random() % (end - cuts[at]));
    if (random() % 3 != 0) field.ranges.push_back({cuts[at], cuts[at] + length - 1});
  }
  if (field.ranges.empty()) field.ranges.push_back({cuts[0], cuts[0]});
  std::ranges::shuffle(field.ranges, random);
  return field;
}

std::string text_of(const FormatField& field) {
  std::string text = field.word == 0 ? "config:" : "config" + std::to_string(field.word) + ':';
  for (std::size_t at = 0; at < field.ranges.size(); ++at) {
    const Range& range = field.ranges[at];
    if (at > 0) text += ',';
    text += std::to_string(range.first);
    if (range.last != range.first) text += '-' + std::to_string(range.last);
  }
  return text;
}

/// The config words of an event in which a field of them was set, bit by bit.
std::array<std::uint64_t, 4> words_with(const FormatField& field, std::uint64_t value,
                                        CounterEvent event) {
  std::array<std::uint64_t, 4> words{};
  for (unsigned word = 0; word < 4; ++word) words[word] = *config_words(event)[word];
  unsigned bit = 0;
  for (const Range& range : field.ranges) {
    for (unsigned at = range.first; at <= range.last; ++at, ++bit) {
      const std::uint64_t mask = std::uint64_t{1} << at;
      words[field.word] = (words[field.word] & ~mask) | (value >> bit & 1U) << at;
    }
  }
  return words;
}

TEST(EventText, PutsAnyValueIntoTheBitsOfAnyFieldAndChangesNoOthers) {
  std::mt19937 random(15);
  for (int round = 0; round < 2000; ++round) {
    const FormatField field = any_field(random);
    const auto read = read_format(text_of(field));
    ASSERT_TRUE(read) << text_of(field);
    EXPECT_EQ(*read, field);
    const unsigned bits = field.bits();
    const std::uint64_t wide = std::uint64_t{random()} << 32U | random();
    const std::uint64_t value = bits == 64 ? wide : wide & ((std::uint64_t{1} << bits) - 1);
    CounterEvent event;
    for (std::uint64_t* const word : config_words(event)) *word = wide * 3;
    CounterEvent changed = event;
    ASSERT_TRUE(put_field(field, value, changed)) << text_of(field) << ' ' << value;
    const auto expected = words_with(field, value, event);
    for (unsigned word = 0; word < 4; ++word) {
      EXPECT_EQ(*config_words(changed)[word], expected[word]) << text_of(field) << ' ' << word;
    }
    if (bits < 64) {
      EXPECT_FALSE(put_field(field, std::uint64_t{1} << bits, changed));
    }
  }
}

TEST(EventText, TakesAnyTextWithoutHarm) {
  std::mt19937 random(16);
  constexpr std::string_view kLetters = "config0123456789-,:=/x? \nuk";
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (auto length = random() % 20; length > 0; --length) {
      text += kLetters[random() % kLetters.size()];
    }
    if (const auto format = read_format(text)) {
      ++accepted;
      EXPECT_LE(format->bits(), 64U) << text;
    }
    if (const auto terms = read_terms(text)) {
      ++accepted;
      for (const EventTerm& term : *terms) EXPECT_FALSE(term.name.empty());
    }
    if (const auto words = split_events(text)) {
      ++accepted;
      std::string joined;
      for (const std::string& word : *words) joined += (joined.empty() ? "" : ",") + word;
      EXPECT_EQ(joined, text);
    }
  }
  EXPECT_GT(accepted, 1000);
}

TEST(EventText, ReadsScalesAsTheKernelWritesThem) {
  EXPECT_EQ(read_scale("6.103515625e-5\n"), 6.103515625e-5);
  EXPECT_EQ(read_scale("64"), 64.0);
  for (const char* wrong : {"", "x", "1x", "-1", "0", "inf", "nan", "1e999"}) {
    EXPECT_FALSE(read_scale(wrong)) << wrong;
  }
}

TEST(CpuList, IsReadAsTheKernelWritesIt) {
  EXPECT_EQ(base::read_number_list("0-3,8\n"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(base::read_number_list("0"), std::vector<int>{0});
  EXPECT_EQ(base::read_number_list("\n"), std::vector<int>{});
  EXPECT_EQ(base::read_number_list("2,0-2"), (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(base::read_number_list("65535 \n"), std::vector<int>{65535});
  EXPECT_EQ(base::read_number_list("65536"), std::nullopt);
  for (const char* wrong : {"a", "1-", "-1", "3-1", "0,", "99999", "0-99999999999999999999"}) {
    EXPECT_FALSE(base::read_number_list(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace shmif::perf::test
