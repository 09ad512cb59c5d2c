// What PcapngWriter writes, block by block and as others read it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/wall_clock.hpp"
#include "tests/shmif/capture/captures.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

TEST(PcapngWriter, WritesNamesCommentsAndLossesThatTsharkReads) {
  if (!have_tshark()) GTEST_SKIP() << "tshark is not installed";
  const TempDir dir;
  {
    auto writer =
        PcapngWriter::create(dir.file("a.pcapng"), {.application = "a test", .comment = "of all"})
            .value();
    const std::uint32_t bus = writer.add_interface({"bus bus0", "the bus"});
    const std::uint32_t web = writer.add_interface({"web", "slot 3"});
    EXPECT_EQ(web, 1U);
    const Bytes bytes = make_frame(61, 1);
    FrameView frame(bytes.data(), bytes.size());
    frame.time_ns = 1'700'000'000'123'456'789;
    EXPECT_FALSE(writer.put(web, frame));
    EXPECT_FALSE(writer.put(web, frame, {.lost_before = 7, .comment = "seven lost"}));
    EXPECT_FALSE(writer.put(bus, frame));
    writer.put_statistics(bus, {.received = 5, .accepted = 3, .lost = 7});
    EXPECT_FALSE(writer.flush());
    EXPECT_EQ(writer.written(), 3U);
    EXPECT_EQ(writer.bytes(), std::filesystem::file_size(dir.file("a.pcapng")));
  }
  const std::string lines =
      run_program({"tshark", "-r", dir.file("a.pcapng"), "-T", "fields", "-e", "frame.time_epoch",
                   "-e", "frame.len", "-e", "frame.interface_name", "-e",
                   "frame.interface_description", "-e", "frame.drop_count", "-e", "frame.comment"})
          .out;
  EXPECT_EQ(lines,
            "1700000000.123456789\t61\tweb\tslot 3\t\t\n"
            "1700000000.123456789\t61\tweb\tslot 3\t7\tseven lost\n"
            "1700000000.123456789\t61\tbus bus0\tthe bus\t\t\n");
  const std::string about = run_program({"capinfos", dir.file("a.pcapng")}).out;
  for (const char* const part : {"Capture application: a test", "Capture comment:     of all",
                                 "Number of interfaces in file: 2", "Number of stat entries = 1"}) {
    EXPECT_NE(about.find(part), std::string::npos) << part << "\n" << about;
  }
}

TEST(PcapngWriter, LibpcapReadsWhatItWroteWithEveryLengthOfFrame) {
  const TempDir dir;
  std::vector<Bytes> frames;
  for (std::size_t size = 60; size < 65; ++size) frames.push_back(make_frame(size, size));
  frames.push_back(make_frame(kMaxFrameBytes, 6));
  {
    auto writer = PcapngWriter::create(dir.file("a.pcapng"), {.snap_bytes = 65'000}).value();
    writer.add_interface({"one"});
    writer.add_interface({"two"});
    EXPECT_EQ(writer.send(views(frames)).taken, frames.size());
  }
  auto reader = PcapReader::open(dir.file("a.pcapng")).value();
  FrameBatch batch;
  const auto read = read_all(reader, batch);
  ASSERT_EQ(read.size(), frames.size());
  EXPECT_TRUE(reader.status());
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) EXPECT_EQ(to_bytes(read[i]), frames[i]);
  EXPECT_EQ(read.back().size(), 65'000U);
  EXPECT_EQ(read.back().true_bytes, kMaxFrameBytes);
}

/// A number in the bytes of a file, in the byte order of this machine.
template <class Number>
Number number_at(const std::string& bytes, std::size_t at) {
  Number value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// A block of a file: its type, and what stands between its two lengths.
struct Block {
  std::uint32_t type;
  std::string body;

  std::uint32_t word(std::size_t at) const { return number_at<std::uint32_t>(body, at); }
  std::uint64_t time(std::size_t at) const { return std::uint64_t{word(at)} << 32U | word(at + 4); }
};
constexpr std::uint32_t kInterface = 1;
constexpr std::uint32_t kStatistics = 5;
constexpr std::uint32_t kPacket = 6;

/// The blocks of `type` in a file.
std::vector<Block> blocks_of(const std::string& path, std::uint32_t type) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::vector<Block> blocks;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto size = number_at<std::uint32_t>(bytes, at + 4);
    Block block{number_at<std::uint32_t>(bytes, at), bytes.substr(at + 8, size - 12)};
    if (block.type == type) blocks.push_back(std::move(block));
    at += size;
  }
  return blocks;
}

TEST(PcapngWriter, StatisticsTellOfWhichInterfaceWhatCameWhatWasLostAndWhatTheFilterTook) {
  const TempDir dir;
  const std::uint64_t before = base::wall_clock_ns();
  {
    auto writer = PcapngWriter::create(dir.file("a.pcapng")).value();
    static_cast<void>(writer.add_interface({"one"}));
    const std::uint32_t two = writer.add_interface({"two"});
    writer.put_statistics(two, {.received = 11, .accepted = 7, .lost = 3});
  }
  const std::vector<Block> blocks = blocks_of(dir.file("a.pcapng"), kStatistics);
  ASSERT_EQ(blocks.size(), 1U);
  EXPECT_EQ(blocks[0].word(0), 1U);
  EXPECT_GE(blocks[0].time(4), before);
  EXPECT_LE(blocks[0].time(4), base::wall_clock_ns());
  const std::string& body = blocks[0].body;
  std::map<unsigned, std::uint64_t> told;  // by the code of the option
  for (std::size_t at = 12; number_at<std::uint16_t>(body, at) != 0; at += 12) {
    ASSERT_EQ(number_at<std::uint16_t>(body, at + 2), 8U);
    told[number_at<std::uint16_t>(body, at)] = number_at<std::uint64_t>(body, at + 4);
  }
  const std::map<unsigned, std::uint64_t> wanted{{4, 11}, {5, 3}, {6, 7}};
  EXPECT_EQ(told, wanted) << "isb_ifrecv, isb_ifdrop, isb_filteraccept";
}

TEST(PcapngWriter, FlagsTellOfTheWorkThatAFrameLeavesToOthers) {
  constexpr std::uint32_t kNotReady = 1U << 9U;      // the checksum
  constexpr std::uint32_t kUnsegmented = 1U << 11U;  // TCP
  struct Case {
    Offload work;
    std::uint32_t flags;
  };
  const auto work = [](unsigned gso_type, bool checksum) {
    return Offload{.flags = checksum ? Offload::kNeedsChecksum : std::uint8_t{0},
                   .gso_type = static_cast<std::uint8_t>(gso_type)};
  };
  const std::vector<Case> cases{
      {work(0, false), 0},
      {work(0, true), kNotReady},
      {work(Offload::kGsoTcp4, true), kNotReady | kUnsegmented},
      {work(Offload::kGsoTcp6, true), kNotReady | kUnsegmented},
      {work(Offload::kGsoTcp4 | Offload::kGsoEcn, true), kNotReady | kUnsegmented},
      {work(Offload::kGsoTcp6 | Offload::kGsoEcn, true), kNotReady | kUnsegmented},
      {work(Offload::kGsoTcp6, false), kUnsegmented},
      {work(Offload::kGsoUdp, true), kNotReady}};
  const TempDir dir;
  {
    const Bytes bytes = make_frame(60, 1);
    auto writer = PcapngWriter::create(dir.file("a")).value();
    const std::uint32_t one = writer.add_interface({"one"});
    for (const Case& each : cases) {
      FrameView frame(bytes.data(), bytes.size());
      frame.offload = each.work;
      EXPECT_FALSE(writer.put(one, frame));
    }
  }
  const std::vector<Block> blocks = blocks_of(dir.file("a"), kPacket);
  ASSERT_EQ(blocks.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::string options = blocks[i].body.substr(20 + 60);
    std::uint32_t flags = 0;
    if (!options.empty()) {
      EXPECT_EQ(number_at<std::uint32_t>(options, 0), 4U << 16U | 2U) << i << ": epb_flags";
      flags = number_at<std::uint32_t>(options, 4);
    }
    EXPECT_EQ(flags, cases[i].flags) << i;
  }
}

/// The options of a block, behind its first `fixed` bytes, by their codes.
std::map<unsigned, std::string> options_of(const Block& block, std::size_t fixed) {
  std::map<unsigned, std::string> options;
  for (std::size_t at = fixed; at + 4 <= block.body.size();) {
    const auto length = number_at<std::uint16_t>(block.body, at + 2);
    const unsigned code = number_at<std::uint16_t>(block.body, at);
    if (code == 0) break;
    options[code] = block.body.substr(at + 4, length);
    at += 4U + (length + 3U) / 4 * 4;
  }
  return options;
}

TEST(PcapngWriter, TellsOfAnInterfaceItsNameAddressAndKindAndOfAFrameItsNumberOnTheBus) {
  const TempDir dir;
  const Bytes bytes = make_frame(60, 1);
  {
    auto writer = PcapngWriter::create(dir.file("a")).value();
    writer.add_interface({.name = "web",
                          .description = "slot 3",
                          .hardware = "a port",
                          .mac = MacAddress::from_u64(0xb2a001020304)});
    FrameView frame(bytes.data(), bytes.size());
    for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{0x1'0000'0007}}) {
      frame.number = number;
      frame.sender = 3;
      EXPECT_FALSE(writer.put(0, frame));
    }
    frame.sender = FrameView().sender;  // of no bus, so its number means nothing
    EXPECT_FALSE(writer.put(0, frame));
  }
  const std::vector<Block> interfaces = blocks_of(dir.file("a"), kInterface);
  ASSERT_EQ(interfaces.size(), 1U);
  const std::map<unsigned, std::string> wanted{
      {2, "web"}, {3, "slot 3"}, {6, "\xb2\xa0\x01\x02\x03\x04"}, {9, "\x09"}, {15, "a port"}};
  EXPECT_EQ(options_of(interfaces[0], 8), wanted)
      << "if_name, if_description, if_MACaddr, if_tsresol, if_hardware";
  const std::vector<Block> packets = blocks_of(dir.file("a"), kPacket);
  ASSERT_EQ(packets.size(), 3U);
  for (const auto& [i, number] : {std::pair{0U, std::uint64_t{0}}, {1U, 0x1'0000'0007U}}) {
    auto options = options_of(packets[i], 20 + 60);
    ASSERT_EQ(options[5].size(), 8U) << "epb_packetid";
    EXPECT_EQ(number_at<std::uint64_t>(options[5], 0), number);
  }
  EXPECT_TRUE(options_of(packets[2], 20 + 60).empty());
}

TEST(PcapngWriter, AFrameThatIsCutHasTheLengthThatItHadOnTheWire) {
  const TempDir dir;
  const Bytes bytes = make_frame(100, 1);
  {
    auto writer = PcapngWriter::create(dir.file("a"), {.snap_bytes = 80}).value();
    const std::uint32_t one = writer.add_interface({"one"});
    FrameView frame(bytes.data(), bytes.size());
    EXPECT_FALSE(writer.put(one, frame));
    frame.true_bytes = 1400;
    EXPECT_FALSE(writer.put(one, frame));
    frame = FrameView(bytes.data(), 70);
    EXPECT_FALSE(writer.put(one, frame));
  }
  const std::vector<Block> packets = blocks_of(dir.file("a"), kPacket);
  ASSERT_EQ(packets.size(), 3U);
  EXPECT_EQ(blocks_of(dir.file("a"), kInterface).at(0).word(4), 80U);
  const std::uint32_t captured[] = {80, 80, 70};
  const std::uint32_t on_the_wire[] = {100, 1400, 70};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(packets[i].word(12), captured[i]);
    EXPECT_EQ(packets[i].word(16), on_the_wire[i]);
  }
}

TEST(PcapngWriter, ATextThatItsBufferHasNoRoomForIsWrittenBehindAllThatIsBuffered) {
  const TempDir dir;
  const std::string text(70'000, 'x');  // an option's length has 16 bits
  const Bytes bytes = make_frame(100, 1);
  const FrameView frame(bytes.data(), bytes.size());
  auto writer = PcapngWriter::create(dir.file("a"), {.buffer_bytes = 1}).value();  // of 128 KiB
  static_cast<void>(writer.add_interface({"one"}));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(writer.written(), 0U);
    EXPECT_FALSE(writer.put(0, frame, {.comment = text}));
  }
  EXPECT_EQ(writer.written(), 2U) << "the third does not fit behind the first two";
  EXPECT_FALSE(writer.flush());
  EXPECT_EQ(std::filesystem::file_size(dir.file("a")), writer.bytes());
  EXPECT_FALSE(writer.put(0, frame, {.comment = text}));
  EXPECT_FALSE(writer.put(0, frame, {.comment = text}));
  static_cast<void>(writer.add_interface({"two", text}));
  EXPECT_EQ(writer.written(), 5U) << "nor does this description";
  EXPECT_FALSE(writer.flush());
  EXPECT_FALSE(writer.put(0, frame, {.comment = text}));
  EXPECT_FALSE(writer.put(0, frame, {.comment = text}));
  static_cast<void>(writer.add_interface({text, "three"}));
  EXPECT_EQ(writer.written(), 7U) << "nor does this name";
  EXPECT_FALSE(writer.flush());
  std::vector<std::size_t> lengths;
  for (const Block& each : blocks_of(dir.file("a"), kPacket)) {
    lengths.push_back(number_at<std::uint16_t>(each.body, 20 + 100 + 2));
  }
  EXPECT_EQ(lengths, std::vector<std::size_t>(7, 60'000));
  EXPECT_EQ(blocks_of(dir.file("a"), kInterface).size(), 3U);
}

TEST(PcapngWriter, RefusesAFrameOfNoLengthThatAFrameHasAndGoesOn) {
  const TempDir dir;
  const Bytes bytes = make_frame(kMaxSuperFrameBytes + 1, 1);
  auto writer = PcapngWriter::create(dir.file("a")).value();
  const std::uint32_t one = writer.add_interface({"one"});
  EXPECT_EQ(writer.put(one, {bytes.data(), 13}), Errc::frame_too_short);
  EXPECT_EQ(writer.put(one, {bytes.data(), kMaxFrameBytes + 1}), Errc::frame_too_long);
  FrameView super(bytes.data(), bytes.size());
  super.offload.gso_type = Offload::kGsoTcp4;
  EXPECT_EQ(writer.put(one, super), Errc::frame_too_long);
  EXPECT_FALSE(writer.put(one, {bytes.data(), 14}));
  EXPECT_FALSE(writer.put(one, {bytes.data(), kMaxFrameBytes}));
  super.bytes = super.bytes.first(kMaxSuperFrameBytes);
  EXPECT_FALSE(writer.put(one, super));
  EXPECT_FALSE(writer.flush());
  EXPECT_EQ(writer.written(), 3U);
}

}  // namespace
}  // namespace shmif::test
