// Whatever faults there are, parse_faults() reads the text of to_string() as the same ones.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "shmif/faults.hpp"

namespace shmif::test {
namespace {

constexpr unsigned kSpecs = 20'000;

/// Makes faults of all kinds: of any value, of short ones as people write them, and of the ends of
/// each range.
class AnyFaults {
 public:
  explicit AnyFaults(std::uint64_t seed) : random_(seed) {}

  FaultOptions make() {
    FaultOptions o;
    for (double FaultOptions::* const share :
         {&FaultOptions::loss, &FaultOptions::duplicate, &FaultOptions::reorder,
          &FaultOptions::corrupt, &FaultOptions::truncate}) {
      if (one_of(3)) o.*share = any_share();
    }
    if (one_of(4)) o.bursts = {any_share(), any_share(), any_share(), any_share()};
    if (one_of(2)) {
      o.delay = std::chrono::nanoseconds(static_cast<std::int64_t>(any(1, 3'600'000'000'000)));
      if (one_of(2)) {
        o.jitter = std::chrono::nanoseconds(
            static_cast<std::int64_t>(any(1, static_cast<std::uint64_t>(o.delay.count()))));
        o.keep_order = one_of(2);
      }
    }
    if (one_of(3)) o.rate_bps = any(1, 1'000'000'000'000);
    if (one_of(3)) o.drop = any_ranges();
    if (!o.any()) o.loss = 1;  // queue and match are nothing without a fault
    if (one_of(3)) o.queue_frames = any(1, 10'000'000);
    if (has_filters_ && one_of(4)) o.match = match_frames(filters_[random_() % 4]).value();
    if (one_of(2)) o.seed = any(0, UINT64_MAX);
    return o;
  }
  bool one_of(std::uint64_t many) { return random_() % many == 0; }

 private:
  /// A number of any length, of few digits, or at an end of the range.
  std::uint64_t any(std::uint64_t first, std::uint64_t last) {
    std::uint64_t value = random_() >> random_() % 64;
    if (one_of(3)) {
      value = 1 + random_() % 9;
      for (std::uint64_t zeros = random_() % 12; zeros > 0; --zeros) value *= 10;
    }
    if (one_of(8)) value = one_of(2) ? first : last;
    return std::clamp(value, first, last);
  }
  /// A hundredth of a number that a text can have.
  double any_share() {
    if (one_of(8)) return one_of(2) ? 0 : 1;
    if (one_of(2)) return static_cast<double>(random_() % 100'000) / 1000 / 100;
    return 100 *
           std::ldexp(static_cast<double>(random_() >> 11U),
                      -53 - static_cast<int>(random_() % 60)) /
           100;
  }
  std::vector<FaultOptions::Range> any_ranges() {
    std::vector<FaultOptions::Range> ranges;
    std::uint64_t at = any(1, UINT64_MAX / 2);
    for (std::uint64_t count = 1 + random_() % 5; count > 0; --count) {
      const std::uint64_t last = one_of(2) ? at : at + random_() % 1000;
      ranges.push_back({at, last});
      at = last + 2 + random_() % 1000;
    }
    return ranges;
  }

  std::mt19937_64 random_;
  const std::vector<std::string> filters_{"tcp port 80", "ether[12:2] == 0x88b5",
                                          "arp or (ip6 and host fd00::1)", "portrange 1-100"};
  const bool has_filters_ = match_frames("udp").has_value();
};

void expect_same(const FaultOptions& a, const FaultOptions& b) {
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.duplicate, b.duplicate);
  EXPECT_EQ(a.reorder, b.reorder);
  EXPECT_EQ(a.corrupt, b.corrupt);
  EXPECT_EQ(a.truncate, b.truncate);
  ASSERT_EQ(a.bursts.has_value(), b.bursts.has_value());
  if (a.bursts) {
    EXPECT_EQ(a.bursts->to_bad, b.bursts->to_bad);
    EXPECT_EQ(a.bursts->to_good, b.bursts->to_good);
    EXPECT_EQ(a.bursts->loss_in_bad, b.bursts->loss_in_bad);
    EXPECT_EQ(a.bursts->loss_in_good, b.bursts->loss_in_good);
  }
  EXPECT_EQ(a.delay, b.delay);
  EXPECT_EQ(a.jitter, b.jitter);
  EXPECT_EQ(a.keep_order, b.keep_order);
  EXPECT_EQ(a.rate_bps, b.rate_bps);
  EXPECT_EQ(a.queue_frames, b.queue_frames);
  EXPECT_EQ(a.drop, b.drop);
  EXPECT_EQ(a.match.text, b.match.text);
  EXPECT_EQ(a.match.filter == nullptr, b.match.filter == nullptr);
}

TEST(FaultsRoundTrip, TheTextOfAnyFaultsIsReadAsTheSameFaults) {
  AnyFaults maker(1);
  for (unsigned i = 0; i < kSpecs && !::testing::Test::HasFailure(); ++i) {
    const FaultOptions one = maker.make();
    const std::string text = to_string(one);
    SCOPED_TRACE(text);
    const auto again = parse_faults(text);
    ASSERT_TRUE(again) << again.error().message;
    expect_same(one, *again);
    EXPECT_EQ(again->seed, 1U) << "the text has no seed";
    EXPECT_EQ(to_string(*again), text);
  }
}

TEST(FaultsRoundTrip, TheTextOfAnyLineIsReadAsTheSameFaultsWithTheirSeeds) {
  AnyFaults maker(2);
  for (unsigned i = 0; i < kSpecs && !::testing::Test::HasFailure(); ++i) {
    LineFaults line;
    if (!maker.one_of(4)) line.received = maker.make();
    if (!maker.one_of(4)) line.sent = maker.make();
    if (maker.one_of(4)) {
      line.sent = line.received;
      ++line.sent.seed;
    }
    const std::string text = to_string(line);
    SCOPED_TRACE(text);
    const auto again = parse_line_faults(text);
    ASSERT_TRUE(again) << again.error().message;
    expect_same(line.received, again->received);
    expect_same(line.sent, again->sent);
    if (line.received.any()) {
      EXPECT_EQ(line.received.seed, again->received.seed);
    }
    if (line.sent.any()) {
      EXPECT_EQ(line.sent.seed, again->sent.seed);
    }
    EXPECT_EQ(to_string(*again), text);
  }
}

}  // namespace
}  // namespace shmif::test
