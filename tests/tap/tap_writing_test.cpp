#include "tap/tap_writing.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "bus/offload.hpp"
#include "tests/tap/packet_rig.hpp"

namespace shmif::tap::test {
namespace {

/// A pair of datagram sockets: like a device, one takes each write as one frame.
struct Wire {
  Wire() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      throw std::system_error(errno, std::generic_category(), "socketpair");
    }
    in.reset(ends[0]);
    out.reset(ends[1]);
  }
  std::vector<std::string> heard() const {
    std::vector<std::string> all;
    std::array<char, 256> buffer{};
    for (ssize_t n = 0; (n = ::read(out.get(), buffer.data(), buffer.size())) >= 0;) {
      all.emplace_back(buffer.data(), static_cast<std::size_t>(n));
    }
    return all;
  }
  UniqueFd in, out;
};

/// Frames in two parts, as writev takes them.
struct Frames {
  explicit Frames(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      heads.push_back("frame ");
      bodies.push_back(std::to_string(i));
    }
    for (std::size_t i = 0; i < count; ++i) {
      parts.push_back({{{heads[i].data(), heads[i].size()}, {bodies[i].data(), bodies[i].size()}}});
    }
    for (const auto& p : parts) buffers.emplace_back(p);
  }
  std::vector<std::string> heads, bodies;
  std::vector<std::array<iovec, 2>> parts;
  std::vector<std::span<const iovec>> buffers;
};

using Results = std::array<std::int32_t, BatchWriter::kMaxFrames>;

class BatchWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!writer_.open()) GTEST_SKIP() << "io_uring cannot be had here";
    // Before Linux 6.4 io_uring cannot write to a socket or a TAP device without waiting, and the
    // writer closes itself at the first write.
    const Frames one(1);
    if (writer_.write(wire_.in.get(), one.buffers, results_) == 0) {
      GTEST_SKIP() << "io_uring cannot write to a socket without waiting here";
    }
    (void)wire_.heard();
  }
  BatchWriter writer_;
  Wire wire_;
  Results results_{};
};

TEST_F(BatchWriterTest, WritesEachByItselfInOrderAndSaysHowMuch) {
  Frames frames(BatchWriter::kMaxFrames);
  for (unsigned round = 0; round < 5; ++round) {  // more than the rings hold
    for (std::size_t begin = 0; begin < frames.buffers.size(); begin += 8) {
      const auto some = std::span(frames.buffers).subspan(begin, 8);
      ASSERT_EQ(writer_.write(wire_.in.get(), some, results_), some.size());
      const auto heard = wire_.heard();
      ASSERT_EQ(heard.size(), some.size());
      for (std::size_t i = 0; i < some.size(); ++i) {
        EXPECT_EQ(heard[i], "frame " + std::to_string(begin + i));
        EXPECT_EQ(results_[i], static_cast<std::int32_t>(heard[i].size()));
      }
    }
  }
}

TEST_F(BatchWriterTest, WhatFindsNoRoomFailsAtOnceAndIsNotWrittenLater) {
  Frames frames(BatchWriter::kMaxFrames);
  const int few_bytes = 4096;  // for a few frames, with what the kernel adds to each
  ASSERT_EQ(::setsockopt(wire_.in.get(), SOL_SOCKET, SO_SNDBUF, &few_bytes, sizeof few_bytes), 0);
  ASSERT_EQ(writer_.write(wire_.in.get(), frames.buffers, results_), frames.buffers.size());
  const auto heard = wire_.heard();
  ASSERT_LT(heard.size(), frames.buffers.size()) << "the socket took them all";
  for (std::size_t i = 0; i < results_.size(); ++i) {
    if (i < heard.size()) {
      EXPECT_GT(results_[i], 0) << i;
    } else {
      EXPECT_EQ(results_[i], -EAGAIN) << i;
    }
  }
  EXPECT_TRUE(wire_.heard().empty());
}

TEST_F(BatchWriterTest, OneThatFailsDoesNotKeepTheOthers) {
  Frames frames(3);
  const iovec nothing{nullptr, 1};
  frames.buffers[1] = std::span(&nothing, 1);
  ASSERT_EQ(writer_.write(wire_.in.get(), frames.buffers, results_), 3U);
  EXPECT_EQ(results_[1], -EFAULT);
  EXPECT_EQ(wire_.heard(), (std::vector<std::string>{"frame 0", "frame 2"}));
}

TEST(BatchWriterClosed, WritesNothing) {
  const Wire wire;
  Frames frames(2);
  Results results{};
  BatchWriter never_opened;
  EXPECT_EQ(never_opened.write(wire.in.get(), frames.buffers, results), 0U);
  EXPECT_TRUE(wire.heard().empty());
}

// Which frames are merged into one super-frame, and what it stands for. Frames are in buffers of
// exactly their size, so that AddressSanitizer sees what reads behind them.

using shmif::test::u16;
using shmif::test::u8;

constexpr std::array kVersions{false, true};

/// Frames of a flow with these payloads, whose identification counts up.
std::vector<Bytes> frames_of(const Flow& flow, const std::vector<std::size_t>& payload_bytes) {
  std::vector<Bytes> frames;
  for (const std::size_t bytes : payload_bytes) {
    const auto number = static_cast<unsigned>(frames.size());
    frames.push_back(datagram(flow, random_bytes(bytes, number + 1), 0xfffe + number));
  }
  return frames;
}

std::vector<FrameView> unfinished(const Flow& flow, const std::vector<Bytes>& frames) {
  std::vector<FrameView> views;
  for (const Bytes& f : frames) views.push_back(unfinished(flow, f));
  return views;
}

struct Merged {
  std::size_t run = 0;
  MergedHead head;
};

Merged merge(std::span<const FrameView> frames) {
  Merged m;
  m.run = merge_datagrams(frames, m.head);
  return m;
}

std::size_t run_of(const Flow& flow, const std::vector<Bytes>& frames) {
  return merge(unfinished(flow, frames)).run;
}

/// The super-frame, as it is written to a device.
Bytes written(const Merged& m, std::span<const FrameView> frames, Offload& offload) {
  std::memcpy(&offload, m.head.bytes.data(), sizeof offload);
  Bytes whole(m.head.bytes.begin() + sizeof offload,
              m.head.bytes.begin() + static_cast<std::ptrdiff_t>(m.head.size));
  for (const FrameView& f : frames.first(m.run)) {
    const auto payload = f.bytes.subspan(m.head.payload_at());
    whole.insert(whole.end(), payload.begin(), payload.end());
  }
  return whole;
}

/// The frames that the super-frame stands for, by the code that splits it for other ports.
std::vector<Bytes> split(const Bytes& whole, const Offload& offload) {
  std::vector<Bytes> frames;
  bus::Segmenter segmenter;
  if (!segmenter.begin(whole, offload)) return frames;
  while (!segmenter.done()) {
    Bytes& f = frames.emplace_back(segmenter.next_bytes());
    (void)segmenter.next(f);
  }
  return frames;
}

std::vector<Bytes> finished(std::span<const FrameView> frames) {
  std::vector<Bytes> all;
  for (const FrameView& f : frames) {
    Bytes& bytes = all.emplace_back(f.bytes.begin(), f.bytes.end());
    EXPECT_TRUE(bus::finish_checksum(bytes, f.offload));
  }
  return all;
}

void expect_same_when_split(const Merged& m, std::span<const FrameView> frames) {
  Offload offload;
  const Bytes whole = written(m, frames, offload);
  EXPECT_EQ(split(whole, offload), finished(frames.first(m.run)));
}

TEST(DatagramMerge, ARunIsOneSuperFrameThatStandsForTheSameFrames) {
  for (const bool v6 : kVersions) {
    for (const bool may_be_fragmented : {false, true}) {
      const Flow flow{.v6 = v6, .may_be_fragmented = may_be_fragmented};
      for (const std::vector<std::size_t>& payloads :
           std::vector<std::vector<std::size_t>>{{1, 1},
                                                 {18, 18, 18},
                                                 {19, 19, 19, 19, 1},
                                                 {1472, 1472, 1471},
                                                 {20000, 20000, 20000},
                                                 std::vector<std::size_t>(64, 33)}) {
        SCOPED_TRACE(std::string(v6 ? "IPv6 " : "IPv4 ") + std::to_string(payloads.size()) +
                     " of " + std::to_string(payloads[0]));
        const auto frames = frames_of(flow, payloads);
        const auto views = unfinished(flow, frames);
        const Merged m = merge(views);
        EXPECT_EQ(m.run, frames.size());
        expect_same_when_split(m, views);
      }
    }
  }
}

TEST(DatagramMerge, TheHeadDescribesTheSuperFrameToTheKernel) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    const auto frames = frames_of(flow, {100, 100, 30});
    const auto views = unfinished(flow, frames);
    const Merged m = merge(views);
    ASSERT_EQ(m.run, 3U);
    Offload offload;
    const Bytes whole = written(m, views, offload);
    const std::size_t udp = flow.shape().l4();
    EXPECT_EQ(offload.flags, Offload::kNeedsChecksum);
    EXPECT_EQ(offload.gso_type, 5);  // VIRTIO_NET_HDR_GSO_UDP_L4
    EXPECT_EQ(offload.gso_size, 100);
    EXPECT_EQ(offload.header_bytes, udp + 8);
    EXPECT_EQ(offload.csum_start, udp);
    EXPECT_EQ(offload.csum_offset, 6);
    EXPECT_EQ(u16(whole, udp + 4), 8U + 230);
    EXPECT_EQ(u16(whole, v6 ? 18 : 16), (v6 ? 0U : 20U) + 8 + 230);
    EXPECT_TRUE(header_checksum_holds(flow.shape(), whole));
    const unsigned sum = pseudo_sum(flow.shape(), whole);
    EXPECT_EQ(u16(whole, udp + 6), (sum & 0xffffU) + (sum >> 16U));
  }
}

/// The length that is added to the sum of the pseudo header carries, and the carry carries again.
TEST(DatagramMerge, TheSumOfTheHeadIsRightWhereACarryCarriesAgain) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    const std::size_t both = v6 ? 1507 : 29631;  // with the addresses and the header: 0x10000
    for (const std::size_t less : {1U, 0U}) {
      const auto frames = frames_of(flow, {both / 2 + 1, both / 2 - less});
      const auto views = unfinished(flow, frames);
      const Merged m = merge(views);
      ASSERT_EQ(m.run, 2U);
      Offload offload;
      const Bytes whole = written(m, views, offload);
      const unsigned sum = pseudo_sum(flow.shape(), whole);
      EXPECT_EQ(u16(whole, flow.shape().l4() + 6), (sum & 0xffffU) + (sum >> 16U)) << less;
      expect_same_when_split(m, views);
    }
  }
}

TEST(DatagramMerge, AShorterDatagramIsTheLastAndALongerOneBeginsAnew) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    EXPECT_EQ(run_of(flow, frames_of(flow, {100, 100, 60, 60})), 3U);
    EXPECT_EQ(run_of(flow, frames_of(flow, {100, 60, 100})), 2U);
    EXPECT_EQ(run_of(flow, frames_of(flow, {60, 100, 100})), 1U);
    EXPECT_EQ(run_of(flow, frames_of(flow, {60, 60, 61})), 2U);
    EXPECT_EQ(run_of(flow, frames_of(flow, {60})), 1U);
  }
}

TEST(DatagramMerge, ARunHasAtMost64DatagramsAnd64KiB) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    EXPECT_EQ(run_of(flow, frames_of(flow, std::vector<std::size_t>(70, 9))), 64U);
    // With the headers, which count: 65535 bytes, and one more.
    const std::size_t whole = 65535 - (flow.header_bytes() - 14);
    for (const std::size_t more : {0U, 1U}) {
      const auto frames = frames_of(flow, {32000, 32000, whole - 64000 + more});
      const auto views = unfinished(flow, frames);
      const Merged m = merge(views);
      EXPECT_EQ(m.run, 3U - more);
      expect_same_when_split(m, views);
    }
  }
}

TEST(DatagramMerge, DatagramsThatDifferInAnyBitOfTheirHeadersAreNotMerged) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    for (std::size_t at = 0; at < flow.header_bytes(); ++at) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        const bool has_no_meaning = !v6 && (at == 18 || at == 19);  // may not be fragmented
        for (const bool sums_are_right : {false, true}) {
          auto frames = frames_of(flow, {40, 40});
          frames[1][at] ^= static_cast<std::byte>(1U << bit);
          if (sums_are_right) restore_sums(flow, frames[1]);
          if (frames[1] == frames_of(flow, {40, 40})[1]) continue;  // it was a sum
          const bool merged = has_no_meaning && sums_are_right;
          EXPECT_EQ(run_of(flow, frames), merged ? 2U : 1U)
              << (v6 ? "IPv6" : "IPv4") << " byte " << at << " bit " << bit;
        }
      }
    }
  }
}

TEST(DatagramMerge, DatagramsToOtherAddressesAreNotMergedThoughTheirSumsAreEqual) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    auto frames = frames_of(flow, {40, 40});
    for (const std::size_t last :
         v6 ? std::array<std::size_t, 2>{37, 53} : std::array<std::size_t, 2>{29, 33}) {
      frames[1][last] = static_cast<std::byte>(u8(frames[0], last) ^ 3U);  // 1 and 2 change places
    }
    restore_sums(flow, frames[1]);
    EXPECT_EQ(u16(frames[0], flow.shape().l4() + 6), u16(frames[1], flow.shape().l4() + 6));
    EXPECT_EQ(run_of(flow, frames), 1U);
  }
}

TEST(DatagramMerge, PacketsThatMayBeFragmentedKeepTheirIdentification) {
  const Flow flow{.may_be_fragmented = true};
  const auto with = [&](std::vector<unsigned> numbers) {
    std::vector<Bytes> frames;
    for (const unsigned n : numbers) frames.push_back(datagram(flow, random_bytes(50, n), n));
    return run_of(flow, frames);
  };
  EXPECT_EQ(with({5, 6, 7}), 3U);
  EXPECT_EQ(with({0xffff, 0, 1}), 3U);
  EXPECT_EQ(with({5, 5}), 1U);
  EXPECT_EQ(with({5, 7}), 1U);
  EXPECT_EQ(with({5, 4}), 1U);
  EXPECT_EQ(with({5, 6, 8}), 2U);
}

/// Two frames with the same change, and right checksums.
std::size_t run_with(const Flow& flow, const auto& change) {
  auto frames = frames_of(flow, {40, 40});
  for (Bytes& f : frames) {
    change(f);
    restore_sums(flow, f);
  }
  return run_of(flow, frames);
}

TEST(DatagramMerge, FramesWhoseHeadersDisagreeWithTheirLengthAreNotMerged) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    const std::size_t ip_length = v6 ? 18 : 16;
    const std::size_t udp_length = flow.shape().l4() + 4;
    EXPECT_EQ(run_with(flow, [](Bytes&) {}), 2U);
    for (const std::size_t field : {ip_length, udp_length}) {
      for (const unsigned length : {0U, 7U, 8U, 27U, 28U, 47U, 49U, 67U, 69U, 1000U, 0xffffU}) {
        EXPECT_EQ(run_with(flow, [&](Bytes& f) { set16(f, field, length); }), 1U)
            << field << ": " << length;
      }
    }
    EXPECT_EQ(run_with(flow, [](Bytes& f) { f.resize(f.size() + 1); }), 1U) << "padding";
    // All beginnings of a frame, with and without lengths that agree with that.
    for (std::size_t bytes = 14; bytes < flow.header_bytes() + 40; ++bytes) {
      const auto cut = [&](Bytes& f) { f.resize(bytes); };
      auto frames = frames_of(flow, {40, 40});
      for (Bytes& f : frames) {
        cut(f);
        f.shrink_to_fit();
      }
      EXPECT_EQ(run_of(flow, frames), 1U) << bytes;
      if (bytes < udp_length + 2) continue;
      for (Bytes& f : frames) {
        set16(f, ip_length, bytes - (v6 ? 54 : 14));
        set16(f, udp_length, bytes - flow.shape().l4());
        if (bytes >= flow.header_bytes()) restore_sums(flow, f);
      }
      EXPECT_EQ(run_of(flow, frames), bytes > flow.header_bytes() ? 2U : 1U) << bytes;
    }
  }
}

TEST(DatagramMerge, OnlyWholePlainDatagramsToOneStationAreMerged) {
  const Flow v4, v6{.v6 = true};
  const auto put = [](std::size_t at, unsigned byte) {
    return [=](Bytes& f) { f[at] = static_cast<std::byte>(byte); };
  };
  for (const Flow& flow : {v4, v6}) {
    EXPECT_EQ(run_with(flow, put(0, 0x03)), 1U) << "multicast";
    EXPECT_EQ(run_with(flow, [](Bytes& f) { set16(f, 12, 0x88b6); }), 1U) << "EtherType";
    EXPECT_EQ(run_with(flow, [&](Bytes& f) { set16(f, 12, flow.v6 ? 0x0800 : 0x86dd); }), 1U);
    EXPECT_EQ(run_with(flow, put(14, 0x55)), 1U) << "IP version";
    EXPECT_EQ(run_with(flow, put(flow.v6 ? 20 : 23, 6)), 1U) << "TCP";
    EXPECT_EQ(run_with(flow, put(flow.v6 ? 21 : 22, 1)), 2U) << "the last hop";
    EXPECT_EQ(run_of(flow, frames_of(flow, {0, 0})), 1U) << "no payload";
  }
  EXPECT_EQ(run_with(v4, put(14, 0x44)), 1U) << "a header that is too short";
  EXPECT_EQ(run_with(v4, put(14, 0x46)), 1U) << "options";
  EXPECT_EQ(run_with(v4, put(20, 0x20)), 1U) << "the first fragment";
  EXPECT_EQ(run_with(v4, put(20, 0x60)), 1U) << "more fragments, though there must be none";
  EXPECT_EQ(run_with(v4, put(20, 0x10)), 1U) << "a late fragment";
  EXPECT_EQ(run_with(v4, put(21, 0x01)), 1U) << "a fragment";
  EXPECT_EQ(run_with(v6, put(20, 44)), 1U) << "a fragment";
  EXPECT_EQ(run_with(v6, put(20, 0)), 1U) << "options";
  auto wrong = frames_of(v4, {40, 40});
  for (Bytes& f : wrong) f[24] ^= std::byte{1};
  EXPECT_EQ(run_of(v4, wrong), 1U) << "the header's checksum, which the kernel would see no more";
  for (const Flow& flow : {v4, v6}) {
    auto none = frames_of(flow, {40, 40});
    for (Bytes& f : none) set16(f, flow.shape().l4() + 6, 0);
    EXPECT_EQ(run_of(flow, none), 1U) << "no checksum";
    set16(none[1], flow.shape().l4() + 6, 0xffff);
    EXPECT_EQ(run_of(flow, none), 1U) << "no checksum, and the other zero";
    // Real options and extension headers, which move the UDP header, and tags.
    for (const shmif::test::Shape& shape :
         {shmif::test::Shape{.v6 = flow.v6, .tcp = false, .tags = 1},
          {.v6 = flow.v6, .tcp = false, .ip_options = 8}}) {
      Bytes frame = shmif::test::build(shape, 40, 1);
      frame[0] = std::byte{2};
      FrameView view(frame.data(), frame.size());
      view.offload = header_for(shape, 0);
      EXPECT_EQ(merge(std::array{view, view}).run, 1U);
    }
  }
}

TEST(DatagramMerge, OnlyUnfinishedChecksumsWhereUdpHasThemAreMerged) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    const auto frames = frames_of(flow, {40, 40, 40});
    const auto with = [&](std::size_t which, const auto& change) {
      auto views = unfinished(flow, frames);
      change(views[which].offload);
      return merge(views).run;
    };
    for (const std::size_t which : {0U, 1U, 2U}) {
      const std::size_t run = which == 0 ? 1 : which;
      EXPECT_EQ(with(which, [](Offload& o) { o = {}; }), run) << "finished";
      EXPECT_EQ(with(which, [](Offload& o) { o.flags |= 2; }), run);
      EXPECT_EQ(with(which, [](Offload& o) { o.gso_type = Offload::kGsoUdp; }), run);
      EXPECT_EQ(with(which, [](Offload& o) { o.gso_type = Offload::kGsoEcn; }), run);
      EXPECT_EQ(with(which, [](Offload& o) { o.csum_offset = 16; }), run);
      EXPECT_EQ(with(which, [](Offload& o) { o.csum_start ^= 1; }), run);
      EXPECT_EQ(with(which, [](Offload& o) { o.csum_start = 0xffff; }), run);
      EXPECT_EQ(with(which, [&](Offload& o) { o.csum_start = v6 ? 34 : 54; }), run);
      EXPECT_EQ(with(which, [](Offload& o) { o.header_bytes = 9; }), 3U) << "a hint only";
    }
  }
}

TEST(DatagramMerge, WhatLooksLikeADatagramWithinTheHeadersOrThePayloadIsNone) {
  for (const bool v6 : kVersions) {
    const Flow flow{.v6 = v6};
    Bytes payload(200);
    for (std::size_t at = 0; at + 8 <= payload.size(); at += 2) set16(payload, at, 0x0101);
    for (const std::size_t start : {14U, 33U, 34U, 35U, 42U, 54U, 55U, 62U, 70U, 100U}) {
      if (start == flow.shape().l4()) continue;
      Bytes frame = datagram(flow, payload);
      set16(frame, start + 4, frame.size() - start);
      set16(frame, start + 6, 0x1234);
      if (start > flow.shape().l4()) restore_sums(flow, frame);
      FrameView view = unfinished(flow, frame);
      view.offload.csum_start = static_cast<std::uint16_t>(start);
      EXPECT_EQ(merge(std::array{view, view}).run, 1U) << start;
    }
  }
}

TEST(DatagramMerge, FlowsThatTakeTurnsAreNotMergedForTheirOrderIsKept) {
  const Flow one, other{.from = 5001}, six{.v6 = true};
  const std::array frames{datagram(one, random_bytes(9, 1)), datagram(other, random_bytes(9, 2)),
                          datagram(six, random_bytes(9, 3))};
  const std::array views{unfinished(one, frames[0]),   unfinished(other, frames[1]),
                         unfinished(one, frames[0]),   unfinished(six, frames[2]),
                         unfinished(six, frames[2]),   unfinished(other, frames[1]),
                         unfinished(other, frames[1]), unfinished(one, frames[0])};
  std::vector<std::size_t> runs;
  for (std::size_t at = 0; at < views.size(); at += runs.back()) {
    runs.push_back(merge(std::span(views).subspan(at)).run);
  }
  EXPECT_EQ(runs, (std::vector<std::size_t>{1, 1, 1, 2, 2, 1}));
}

TEST(DatagramMerge, WhateverAHostileNeighbourWritesARunStandsForItsFrames) {
  std::mt19937 random(1);
  const auto below = [&](std::size_t end) { return random() % end; };
  std::size_t merged = 0;
  for (unsigned round = 0; round < 30'000; ++round) {
    const Flow flow{.v6 = below(2) == 0, .may_be_fragmented = below(2) == 0};
    const std::size_t bytes = 1 + below(80);
    auto frames = frames_of(flow, {bytes, bytes, 1 + below(bytes)});
    Bytes& victim = frames[below(3)];
    auto views = unfinished(flow, frames);
    for (std::size_t n = below(3); n > 0; --n) {
      const std::size_t at = below(flow.header_bytes());
      victim[at] = static_cast<std::byte>(below(3) == 0 ? random() : below(4));
    }
    if (below(2) == 0) {
      victim.resize(14 + below(victim.size()));
      victim.shrink_to_fit();
    }
    if (below(4) == 0 && victim.size() >= flow.header_bytes()) restore_sums(flow, victim);
    for (std::size_t i = 0; i < 3; ++i) views[i].bytes = frames[i];
    if (below(8) == 0) {
      std::array<std::uint8_t, sizeof(Offload)> raw{};
      std::memcpy(raw.data(), &views[1].offload, sizeof raw);
      raw.at(below(raw.size())) = static_cast<std::uint8_t>(random());
      std::memcpy(&views[1].offload, raw.data(), sizeof raw);
    }
    const Merged m = merge(views);
    if (m.run == 1) continue;
    ++merged;
    Offload offload;
    const Bytes whole = written(m, views, offload);
    auto pieces = split(whole, offload);
    auto wanted = finished(std::span(views).first(m.run));
    if (!flow.v6) {
      for (std::size_t i = 0; i < pieces.size() && i < wanted.size(); ++i) {
        if ((u8(wanted[i], 20) & 0x40U) == 0) continue;
        for (auto* f : {&pieces[i], &wanted[i]}) {  // the identification has no meaning
          set16(*f, 18, 0);
          set16(*f, 24, 0);
        }
      }
    }
    ASSERT_EQ(pieces, wanted) << "round " << round;
  }
  EXPECT_GT(merged, 1000U);
}

}  // namespace
}  // namespace shmif::tap::test
