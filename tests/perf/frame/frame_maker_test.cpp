#include "perf/frame/frame_maker.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <optional>
#include <set>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace shmif::perf {
namespace {

using Bytes = std::vector<std::byte>;

constexpr Probe kProbeInFrame{.nonce = 77, .intended_ns = 1000, .sent_ns = 2000};

FrameMakerOptions some_options() {
  FrameMakerOptions options;
  options.destination = MacAddress::from_u64(0xb2a000000001);
  options.source = MacAddress::from_u64(0xb2a000000002);
  options.flow = 5;
  options.seed = 42;
  return options;
}

Bytes copy(const FrameView& frame) {
  return {frame.bytes.begin(), frame.bytes.end()};
}
Bytes payload(const FrameMaker& maker, const FrameView& frame) {
  const auto behind = frame.bytes.subspan(maker.min_bytes());
  return {behind.begin(), behind.end()};
}

TEST(FrameMaker, MakesFramesWithHeaderAndProbe) {
  FrameMaker maker(some_options());
  for (const std::size_t size : {60U, 64U, 999U, 1514U}) {
    const FrameView frame = maker.make(1'000'003, size, kProbeInFrame);
    ASSERT_EQ(frame.size(), size);
    EXPECT_EQ(frame.destination().to_string(), "b2:a0:00:00:00:01");
    EXPECT_EQ(frame.source().to_string(), "b2:a0:00:00:00:02");
    const ProbeReading reading = read_probe(frame.bytes, probe_offset(frame.bytes));
    ASSERT_EQ(reading.finding, Finding::whole);
    EXPECT_EQ(reading.checksum, Checksum::crc);
    EXPECT_EQ(reading.probe.flow, 5U);
    EXPECT_EQ(reading.probe.sequence, 1'000'003U);
    EXPECT_EQ(reading.probe.nonce, 77U);
    EXPECT_EQ(reading.probe.intended_ns, 1000U);
    EXPECT_EQ(reading.probe.sent_ns, 2000U);
  }
}

/// Makes the same frames one by one and all at once, again and again.
void makes_the_same_at_once(const FrameMakerOptions& options,
                            std::span<const std::uint32_t> sizes) {
  FrameMaker one_by_one(options);
  FrameMaker at_once(options);
  std::uint64_t number = 1'000'000;
  for (std::size_t round = 0; round < 9; ++round) {
    std::vector<Schedule::Slot> slots;
    for (std::size_t i = 0; i < 32; ++i) {
      slots.push_back({.intended_ns = 5000 + round * 100 + i,
                       .bytes = sizes[(round * 7 + i * i) % sizes.size()]});
    }
    std::vector<FrameView> made;
    const Probe probe{.kind = Probe::Kind::request, .nonce = 77, .sent_ns = 6000 + round};
    at_once.make_all(number, slots, probe, made);
    ASSERT_EQ(made.size(), slots.size());
    for (std::size_t i = 0; i < slots.size(); ++i) {
      Probe each = probe;
      each.intended_ns = slots[i].intended_ns;
      const Bytes expected = copy(one_by_one.make(number + i, slots[i].bytes, each));
      ASSERT_EQ(copy(made[i]), expected) << "round " << round << ", frame " << i;
    }
    number += slots.size();
  }
}

TEST(FrameMaker, MakesTheSameFramesAtOnceAsOneByOne) {
  constexpr std::uint32_t kFixed[] = {64};
  constexpr std::uint32_t kShortest[] = {64, 65, 66, 67, 68, 69, 70, 71, 72};
  constexpr std::uint32_t kImix[] = {64, 590, 1514, 64, 64};
  constexpr std::uint32_t kMany[] = {64, 100, 101, 333, 512, 777, 1000, 1025, 1400, 1513, 1514};
  for (const std::span<const std::uint32_t> sizes :
       {std::span<const std::uint32_t>(kFixed), {kShortest}, {kImix}, {kMany}}) {
    FrameMakerOptions options = some_options();
    makes_the_same_at_once(options, sizes);
    options.vlan = 0x123;
    makes_the_same_at_once(options, sizes);
    options.checksum = Checksum::none;
    makes_the_same_at_once(options, sizes);
  }
  constexpr std::uint32_t kWithHeaders[] = {100, 1514, 333};
  FrameMakerOptions options = some_options();
  options.headers = HeaderTemplate::parse("ipv4(src=198.18.0.1,dst=198.18.0.2)/udp").value();
  makes_the_same_at_once(options, kWithHeaders);
  constexpr std::uint32_t kStream[] = {60, 70'000, 65'535, 65'536};
  options = some_options();
  options.max_bytes = 70'000;
  makes_the_same_at_once(options, kStream);
  options.checksum = Checksum::none;
  makes_the_same_at_once(options, kStream);
}

TEST(FrameMaker, PayloadComesFromSeedFlowAndSlot) {
  FrameMaker maker(some_options());
  FrameMaker same(some_options());
  std::set<Bytes> different;
  for (std::uint64_t n = 0; n < maker.slots(); ++n) {
    const Bytes made = payload(maker, maker.make(n, 1514, kProbeInFrame));
    EXPECT_EQ(made, payload(same, same.make(n, 1514, kProbeInFrame)));
    different.insert(made);
  }
  EXPECT_EQ(different.size(), maker.slots());
  FrameMakerOptions options = some_options();
  options.flow = 6;
  FrameMaker other_flow(options);
  options = some_options();
  options.seed = 43;
  FrameMaker other_seed(options);
  EXPECT_FALSE(different.contains(payload(other_flow, other_flow.make(0, 1514, kProbeInFrame))));
  EXPECT_FALSE(different.contains(payload(other_seed, other_seed.make(0, 1514, kProbeInFrame))));
}

TEST(FrameMaker, KnowsEveryByteOfAFrameWithoutARecord) {
  FrameMaker sender(some_options());
  const FrameMaker receiver(some_options());
  for (const std::size_t size : {60U, 61U, 200U, 1514U}) {
    Bytes frame = copy(sender.make(70'000 + size, size, kProbeInFrame));
    EXPECT_TRUE(receiver.payload_is_as_made(frame));
    for (std::size_t at = 0; at < size; ++at) {
      if (at >= 14 && at < 60) continue;  // the probe, which the CRC is for
      frame[at] ^= std::byte{4};
      ASSERT_FALSE(receiver.payload_is_as_made(frame)) << size << ", byte " << at;
      frame[at] ^= std::byte{4};
    }
    frame.resize(size + 20);
    EXPECT_TRUE(receiver.payload_is_as_made(frame)) << "padding";
    EXPECT_FALSE(receiver.payload_is_as_made(std::span(frame).first(size - 1)));
  }
  EXPECT_FALSE(receiver.payload_is_as_made({}));
  // A frame with a right CRC over a wrong payload: only making it again finds that.
  FrameMakerOptions options = some_options();
  options.seed = 1;
  FrameMaker other(options);
  const FrameView frame = other.make(1, 100, kProbeInFrame);
  EXPECT_EQ(read_probe(frame.bytes, 14).finding, Finding::whole);
  EXPECT_FALSE(receiver.payload_is_as_made(frame.bytes));
}

// ---- The memory of frames ----

constexpr std::size_t kHuge = std::size_t{2} << 20U;
constexpr std::size_t kSome = 3 * kHuge - 5000;

/// The pages of address space that this process has.
std::int64_t pages() {
  std::int64_t size = 0;
  std::ifstream("/proc/self/statm") >> size;
  return size;
}
/// Less than any of the buffers here.
constexpr std::int64_t kFewPages = 100;

/// Empty where this machine has no huge pages.
std::optional<FrameBuffers> buffers(bool huge) {
  try {
    return std::optional<FrameBuffers>(std::in_place, kSome, huge);
  } catch (const std::system_error& error) {
    EXPECT_TRUE(huge) << error.what();
    EXPECT_EQ(error.code(), std::errc::not_supported) << error.what();
    return std::nullopt;
  }
}

bool begins_with_a_huge_page(const std::byte* at) {
  return reinterpret_cast<std::uintptr_t>(at) % kHuge == 0;
}

TEST(FrameBuffers, AreGivenBackWhole) {
  for (const bool huge : {false, true}) {
    SCOPED_TRACE(huge);
    const std::int64_t before = pages();
    {
      auto one = buffers(huge);
      if (!one) continue;
      EXPECT_GT(pages(), before + kFewPages);
      FrameBuffers moved(*std::move(one));
      one.reset();
      moved.bytes().back() = std::byte{1};  // it is still there
    }
    EXPECT_LT(pages(), before + kFewPages);
  }
}

TEST(FrameBuffers, OfAJobThatAsksForHugePagesAreInHugePages) {
  if (!buffers(true)) GTEST_SKIP() << "huge pages are switched off";
  JobOptions job;
  job.hugepages = true;
  FrameMaker maker(frame_maker_options(job, 0, 100'000));
  EXPECT_TRUE(begins_with_a_huge_page(maker.memory().data()));
  EXPECT_EQ(maker.memory().size() % kHuge, 0U);
  job.hugepages = false;
  EXPECT_NE(FrameMaker(frame_maker_options(job, 0, 100'000)).memory().size() % kHuge, 0U);
}

}  // namespace
}  // namespace shmif::perf
