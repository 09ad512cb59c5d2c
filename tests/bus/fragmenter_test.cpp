// Fragments of packets that are too long, put together again by a reassembler that shares no code
// with what cut them.

#include "bus/fragmenter.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/support/fragments.hpp"
#include "tests/support/super_frames.hpp"

namespace shmif::bus {
namespace {

using namespace shmif::test;

constexpr unsigned kMore = 0x2000;

Bytes bytes_of(std::initializer_list<unsigned> values) {
  Bytes out;
  for (const unsigned v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

/// MACs, tags and the EtherType.
Bytes front(unsigned tags, unsigned type) {
  Bytes f(12);
  for (std::size_t i = 0; i < f.size(); ++i) f[i] = static_cast<std::byte>(2 * i + 1);
  const auto append16 = [&f](unsigned v) {
    f.push_back(static_cast<std::byte>(v >> 8U));
    f.push_back(static_cast<std::byte>(v));
  };
  for (unsigned t = tags; t > 0; --t) {
    append16(t == 2 ? 0x88a8 : 0x8100);
    append16(0x6000 + 100 + t);
  }
  append16(type);
  return f;
}

/// A window into random bytes, another one for each length.
void append_payload(Bytes& f, std::size_t bytes) {
  static const Bytes kRandom = [] {
    std::mt19937 random(1);
    Bytes all(65535 + 256);
    for (std::byte& b : all) b = static_cast<std::byte>(random());
    return all;
  }();
  const auto from = kRandom.begin() + static_cast<std::ptrdiff_t>(bytes % 251);
  f.insert(f.end(), from, from + static_cast<std::ptrdiff_t>(bytes));
}

void set_header_checksum(Bytes& f, std::size_t l3) {
  const std::size_t end = l3 + 4 * (u8(f, l3) & 15U);
  set16(f, l3 + 10, 0);
  set16(f, l3 + 10, ~plain_sum(f, l3, end) & 0xffffU);
}

struct V4 {
  unsigned tags = 0;
  Bytes options{};
  unsigned flags = 0;  // and offset
  unsigned type = 0x0800;
};

Bytes make_v4(const V4& p, std::size_t payload) {
  Bytes f = front(p.tags, p.type);
  const std::size_t l3 = f.size();
  f.resize(l3 + 20);
  f[l3] = static_cast<std::byte>(0x40 | (20 + p.options.size()) / 4);
  f[l3 + 1] = std::byte{0x2e};  // expedited forwarding
  set16(f, l3 + 2, 20 + p.options.size() + payload);
  set16(f, l3 + 4, 0xbeef);
  set16(f, l3 + 6, p.flags);
  f[l3 + 8] = std::byte{63};
  f[l3 + 9] = std::byte{17};
  set32(f, l3 + 12, 0xc6120001);
  set32(f, l3 + 16, 0xc6120002);
  f.insert(f.end(), p.options.begin(), p.options.end());
  set_header_checksum(f, l3);
  append_payload(f, payload);
  return f;
}

/// All fragments of a frame; nothing if it is not cut.
std::optional<std::vector<Bytes>> cut(Fragmenter& cutter, const Bytes& frame, std::size_t mtu) {
  if (!cutter.begin(frame, mtu)) {
    EXPECT_TRUE(cutter.done());
    EXPECT_EQ(cutter.next_bytes(), 0U);
    return std::nullopt;
  }
  std::vector<Bytes> all;
  while (!cutter.done()) {
    Bytes& piece = all.emplace_back(cutter.next_bytes(), std::byte{0xee});
    EXPECT_EQ(cutter.next(piece), piece.size());
  }
  EXPECT_EQ(cutter.next_bytes(), 0U);
  return all;
}
std::optional<std::vector<Bytes>> cut(const Bytes& frame, std::size_t mtu) {
  Fragmenter cutter(7);
  return cut(cutter, frame, mtu);
}

TEST(Fragmenter, CutsEveryLengthOfIpv4WithEveryHeaderAndAllGoTogetherAgain) {
  std::size_t cuts = 0;
  for (const unsigned tags : {0U, 1U, 2U}) {
    const std::size_t l3 = 14 + 4 * tags;
    for (std::size_t options = 0; options <= 40; options += 4) {
      // No Operation is a sound option of one byte; here all of them stay what they are.
      const Bytes all_nothing(options, std::byte{1});
      for (const std::size_t mtu : {68U, 75U, 100U, 576U, 1500U}) {
        for (std::size_t packet = mtu + 1; packet <= mtu + 70; ++packet) {
          for (const std::size_t more : {std::size_t{0}, 2 * mtu}) {
            const Bytes whole =
                make_v4({.tags = tags, .options = all_nothing}, packet + more - 20 - options);
            const auto pieces = cut(whole, mtu);
            ASSERT_TRUE(pieces) << packet << " of " << mtu;
            ASSERT_EQ(wrong_v4(whole, *pieces, l3, mtu, all_nothing), "")
                << packet + more << " bytes, MTU " << mtu << ", " << options << " of options, "
                << tags << " tags";
            ++cuts;
          }
        }
      }
    }
  }
  EXPECT_EQ(cuts, 3U * 11 * 5 * 70 * 2);
}

TEST(Fragmenter, LeavesOptionsWithoutTheCopiedFlagToTheFirstFragment) {
  const Bytes record_route = bytes_of({7, 7, 4, 1, 2, 3, 4});
  const Bytes router_alert = bytes_of({148, 4, 0, 0});
  const Bytes timestamp = bytes_of({68, 8, 5, 0, 9, 9, 9, 9});
  const Bytes source_route = bytes_of({131, 7, 4, 198, 18, 0, 9});
  const Bytes two = bytes_of({25, 2});
  const Bytes end_then_rest = bytes_of({0, 2, 7, 2});
  const Bytes nothing = bytes_of({1});
  struct Part {
    const Bytes* bytes;
    bool stays;
  };
  const std::vector<std::vector<Part>> lists{
      {{&record_route, false}, {&nothing, true}},
      {{&router_alert, true}},
      {{&router_alert, true}, {&timestamp, false}},
      {{&timestamp, false}, {&router_alert, true}},
      {{&nothing, true}, {&source_route, true}, {&timestamp, false}, {&two, false}, {&two, false}},
      {{&two, false}, {&nothing, true}, {&nothing, true}, {&end_then_rest, true}},
      {{&source_route, true},
       {&nothing, true},
       {&record_route, false},
       {&nothing, true},
       {&timestamp, false},
       {&router_alert, true},
       {&timestamp, false},
       {&end_then_rest, true}},
  };
  for (std::size_t i = 0; i < lists.size(); ++i) {
    Bytes first;
    Bytes later;
    for (const Part& part : lists[i]) {
      first.insert(first.end(), part.bytes->begin(), part.bytes->end());
      if (part.stays) {
        later.insert(later.end(), part.bytes->begin(), part.bytes->end());
      } else {
        later.insert(later.end(), part.bytes->size(), std::byte{1});
      }
    }
    ASSERT_EQ(first.size() % 4, 0U) << i;
    ASSERT_LE(first.size(), 40U) << i;
    for (const unsigned tags : {0U, 2U}) {
      const Bytes whole = make_v4({.tags = tags, .options = first}, 1000);
      const auto pieces = cut(whole, 300);
      ASSERT_TRUE(pieces) << i;
      EXPECT_EQ(wrong_v4(whole, *pieces, 14 + 4 * tags, 300, later), "") << i;
    }
  }
}

TEST(Fragmenter, CutsAFragmentAgainAndAddsItsOffset) {
  for (const unsigned more : {0U, kMore}) {
    for (const unsigned offset : {1U, 185U, 8190U - 251}) {
      const Bytes whole = make_v4({.flags = more | offset}, 2000);
      const auto pieces = cut(whole, 1500);
      ASSERT_TRUE(pieces) << offset;
      EXPECT_EQ(pieces->size(), 2U);
      EXPECT_EQ(wrong_v4(whole, *pieces, 14, 1500, {}), "") << offset;
    }
  }
  EXPECT_FALSE(cut(make_v4({.flags = kMore | 1U}, 2001), 1500)) << "no multiple of 8, not the last";
  EXPECT_TRUE(cut(make_v4({.flags = 1}, 2001), 1500));
}

// IPv6.

enum class Extension : std::uint8_t { hop_by_hop, destination, routing };

struct V6 {
  unsigned tags = 0;
  std::vector<Extension> extensions{};
};

unsigned number_of(Extension e) {
  return e == Extension::hop_by_hop ? 0U : e == Extension::destination ? 60U : 43U;
}

/// Extension number i has 8 * (i + 1) bytes.
Bytes make_v6(const V6& p, std::size_t payload) {
  Bytes f = front(p.tags, 0x86dd);
  const std::size_t l3 = f.size();
  f.resize(l3 + 40);
  set32(f, l3, 0x6ab12345);
  f[l3 + 7] = std::byte{63};
  for (std::size_t i = 8; i < 40; ++i) f[l3 + i] = static_cast<std::byte>(0xc0 + i);
  std::size_t type_at = l3 + 6;
  for (std::size_t i = 0; i < p.extensions.size(); ++i) {
    f[type_at] = static_cast<std::byte>(number_of(p.extensions[i]));
    type_at = f.size();
    append_payload(f, 8 * (i + 1));
    f[type_at + 1] = static_cast<std::byte>(i);
  }
  f[type_at] = std::byte{17};
  append_payload(f, payload);
  set16(f, l3 + 4, f.size() - l3 - 40);
  return f;
}

struct Chain {
  std::vector<Extension> extensions;
  std::size_t each = 0;  ///< how many of them each fragment has
};

std::vector<Chain> chains() {
  using enum Extension;
  return {{{}, 0},
          {{hop_by_hop}, 1},
          {{destination}, 0},
          {{routing}, 1},
          {{hop_by_hop, destination}, 1},
          {{hop_by_hop, routing}, 2},
          {{destination, routing}, 2},
          {{routing, destination}, 1},
          {{hop_by_hop, destination, routing, destination}, 3}};
}

TEST(Fragmenter, CutsEveryLengthOfIpv6BehindTheHeadersThatEachFragmentNeeds) {
  for (const Chain& chain : chains()) {
    for (const unsigned tags : {0U, 1U, 2U}) {
      const std::size_t l3 = 14 + 4 * tags;
      std::size_t all = 40;
      std::size_t each = 40;
      std::size_t type_at = l3 + 6;
      for (std::size_t i = 0; i < chain.extensions.size(); ++i) {
        if (i < chain.each) type_at = l3 + all;
        all += 8 * (i + 1);
        if (i < chain.each) each = all;
      }
      for (const std::size_t mtu : {170U, 1280U, 1500U}) {
        for (std::size_t packet = mtu + 1; packet <= mtu + 50; ++packet) {
          for (const std::size_t more : {std::size_t{0}, 2 * mtu}) {
            const Bytes whole = make_v6({tags, chain.extensions}, packet + more - all);
            const auto pieces = cut(whole, mtu);
            ASSERT_TRUE(pieces) << packet << " of " << mtu;
            ASSERT_EQ(together_v6(whole, *pieces, l3, each, type_at, mtu).wrong, "")
                << packet + more << " bytes, MTU " << mtu << ", " << tags << " tags, "
                << chain.extensions.size() << " extension headers, " << chain.each << " in each";
          }
        }
      }
    }
  }
  const Bytes longest = make_v6({}, 65535);
  EXPECT_EQ(together_v6(longest, *cut(longest, 1500), 14, 40, 20, 1500).wrong, "");
  EXPECT_FALSE(cut(make_v6({}, 1460), 1500)) << "it fits";
  EXPECT_TRUE(cut(make_v6({}, 1461), 1500));
}

TEST(Fragmenter, GivesEachPacketOfIpv6AnotherIdentificationAndEachSeedOthers) {
  const Bytes whole = make_v6({}, 4000);
  std::set<unsigned> seen;
  for (const std::uint32_t seed : {0U, 0x12345678U}) {
    Fragmenter cutter(seed);
    for (int i = 0; i < 1000; ++i) {
      const Together result = together_v6(whole, *cut(cutter, whole, 1500), 14, 40, 20, 1500);
      ASSERT_EQ(result.wrong, "");
      EXPECT_TRUE(seen.insert(result.identification).second) << i;
    }
  }
}

// What is refused.

using Change = std::function<void(Bytes&)>;

TEST(Fragmenter, RefusesAPacketOfIpv4WhoseHeaderIsNotSound) {
  const V4 shape{.options = bytes_of({7, 7, 4, 1, 2, 3, 4, 1})};
  const Bytes good = make_v4(shape, 2000);
  ASSERT_TRUE(cut(good, 1500));
  const auto with = [&good](const Change& change) {
    Bytes f = good;
    change(f);
    set_header_checksum(f, 14);
    return cut(f, 1500).has_value();
  };
  EXPECT_TRUE(with([](Bytes& f) { f[14 + 8] = std::byte{1}; })) << "a change that is sound";
  EXPECT_FALSE(with([](Bytes& f) { set16(f, 12, 0x0806); })) << "ARP";
  EXPECT_FALSE(with([](Bytes& f) { set16(f, 12, 0x8864); })) << "PPPoE";
  EXPECT_FALSE(with([](Bytes& f) { f[14] = std::byte{0x67}; })) << "version 6";
  EXPECT_FALSE(with([](Bytes& f) { f[14] = std::byte{0x44}; })) << "a header of 16 bytes";
  EXPECT_FALSE(with([](Bytes& f) { set16(f, 16, 2029); })) << "longer than the frame";
  EXPECT_FALSE(with([](Bytes& f) { set16(f, 16, 0); })) << "no length";
  EXPECT_FALSE(with([](Bytes& f) { set16(f, 16, 28); })) << "no payload";
  EXPECT_FALSE(with([](Bytes& f) { f[35] = std::byte{0}; })) << "an option of no bytes";
  EXPECT_FALSE(with([](Bytes& f) { f[35] = std::byte{1}; })) << "an option of one byte";
  EXPECT_FALSE(with([](Bytes& f) { f[35] = std::byte{9}; })) << "an option beyond the header";
  EXPECT_TRUE(with([](Bytes& f) { f[35] = std::byte{8}; })) << "an option to the header's end";
  EXPECT_FALSE(with([](Bytes& f) { f[41] = std::byte{7}; })) << "an option without a length";
  EXPECT_TRUE(with([](Bytes& f) { f[41] = std::byte{0}; })) << "the end of options";
  Bytes f = good;
  f[25] ^= std::byte{1};
  EXPECT_FALSE(cut(f, 1500)) << "a wrong checksum";
  // What is put together has at most 65,535 bytes, the header included.
  EXPECT_TRUE(cut(make_v4({.flags = (65535 - 20 - 2007) / 8}, 2007), 1500));
  EXPECT_EQ((65535 - 20 - 2003) % 8, 0) << "the next one is exact";
  EXPECT_TRUE(cut(make_v4({.flags = (65535 - 20 - 2003) / 8}, 2003), 1500));
  EXPECT_FALSE(cut(make_v4({.flags = (65535 - 20 - 2003) / 8}, 2004), 1500));
  EXPECT_FALSE(cut(make_v4({.flags = 0x1fff}, 2000), 1500));
}

TEST(Fragmenter, RefusesAPacketOfIpv6WhoseHeadersAreNotSound) {
  using enum Extension;
  const Bytes good = make_v6({0, {hop_by_hop, routing, destination}}, 2000);
  const std::size_t last = 14 + 40 + 8 + 16;  // the destination options
  ASSERT_TRUE(cut(good, 1500));
  const auto with = [&good](const Change& change) {
    Bytes f = good;
    change(f);
    return cut(f, 1500).has_value();
  };
  EXPECT_FALSE(with([](Bytes& f) { f[14] = std::byte{0x45}; })) << "version 4";
  EXPECT_FALSE(with([](Bytes& f) { set16(f, 18, 0); })) << "a jumbogram";
  EXPECT_FALSE(with([](Bytes& f) { set16(f, 18, 8 + 16 + 24 + 2001); })) << "longer than the frame";
  EXPECT_FALSE(with([](Bytes& f) { f[20] = std::byte{44}; })) << "a fragment";
  EXPECT_FALSE(with([](Bytes& f) { f[54] = std::byte{44}; })) << "a fragment behind options";
  EXPECT_FALSE(with([=](Bytes& f) { f[last] = std::byte{44}; })) << "a fragment at the end";
  EXPECT_FALSE(with([=](Bytes& f) { f[last + 1] = std::byte{254}; })) << "options beyond the frame";
  // 1,544 bytes, the last 8 of which are the beginning of options that go on.
  Bytes short_of = make_v6({0, {hop_by_hop}}, 1496);
  short_of[54] = std::byte{60};
  short_of[14 + 48 + 1] = std::byte{186};
  short_of[14 + 48] = std::byte{60};
  short_of[14 + 1544 - 8 + 1] = std::byte{1};
  EXPECT_FALSE(cut(short_of, 1500)) << "options that do not end";
  // Options that end in the padding.
  Bytes padded = make_v6({0, {destination}}, 1992);
  padded.resize(padded.size() + 16);
  padded[55] = std::byte{249};
  EXPECT_TRUE(cut(padded, 1500)) << "2,000 bytes of options, to the end of the packet";
  padded[55] = std::byte{250};
  EXPECT_FALSE(cut(padded, 1500));
  Bytes whole = make_v6({0, {routing}}, 1992);
  whole[55] = std::byte{249};  // 2,000 bytes: nothing is left to cut
  EXPECT_FALSE(cut(whole, 1500));
}

TEST(Fragmenter, ReadsNothingBehindTheFrame) {
  // Every beginning of a frame, each in memory of just its length, for AddressSanitizer.
  using enum Extension;
  const std::vector<Bytes> frames{
      make_v4({.tags = 2, .options = bytes_of({7, 7, 4, 1, 2, 3, 4, 1})}, 200),
      make_v6({2, {hop_by_hop, routing}}, 200)};
  for (const Bytes& frame : frames) {
    for (std::size_t size = 0; size < frame.size(); ++size) {
      const Bytes exact(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_FALSE(cut(exact, 100)) << size;
    }
    EXPECT_TRUE(cut(frame, 100));
  }
}

}  // namespace
}  // namespace shmif::bus
