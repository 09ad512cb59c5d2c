#include "shmif/capture/pcap_link.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "base/unique_fd.hpp"
#include "base/wall_clock.hpp"
#include "tests/shmif/capture/captures.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

/// The suite feeds a file, which is then read, timed or not.
template <int Speed>
class PcapReaderRig {
 public:
  static constexpr bool kSends = false, kReceives = true, kLive = false, kEnds = true;
  static std::string unavailable() { return {}; }

  void feed(const std::vector<Bytes>& frames) { write_capture(dir_.file("in.pcap"), frames); }
  PcapReader& link() {
    if (!reader_) {
      reader_.emplace(PcapReader::open(dir_.file("in.pcap"), {.speed = Speed}).value());
    }
    return *reader_;
  }
  std::size_t largest() { return kMaxFrameBytes; }
  std::vector<Bytes> heard() { return {}; }
  void end() {}  // the file ends by itself

 private:
  TempDir dir_;
  std::optional<PcapReader> reader_;
};

/// What the writer wrote is read back without libpcap, as it grows.
class PcapWriterRig {
 public:
  static constexpr bool kSends = true, kReceives = false, kLive = true, kEnds = false;
  static std::string unavailable() { return {}; }

  PcapWriter& link() { return writer_; }
  std::size_t largest() { return kMaxFrameBytes; }
  void feed(const std::vector<Bytes>&) {}
  std::vector<Bytes> heard() {
    EXPECT_FALSE(writer_.flush());
    if (!file_.is_open()) {
      file_.open(dir_.file("out.pcap"), std::ios::binary);
      file_.seekg(24);
    }
    std::vector<Bytes> out;
    std::array<std::uint32_t, 4> head{};
    while (file_.peek() != std::ifstream::traits_type::eof()) {
      file_.read(reinterpret_cast<char*>(head.data()), sizeof head);
      Bytes frame(head[2]);
      file_.read(reinterpret_cast<char*>(frame.data()), static_cast<std::streamsize>(head[2]));
      EXPECT_TRUE(file_.good());
      out.push_back(std::move(frame));
    }
    file_.clear();
    return out;
  }
  void end() {}

 private:
  TempDir dir_;
  PcapWriter writer_ = PcapWriter::create(dir_.file("out.pcap")).value();
  std::ifstream file_;
};

/// The blocks of a pcapng file as it grows, those of frames alone.
class PcapngWriterRig {
 public:
  static constexpr bool kSends = true, kReceives = false, kLive = true, kEnds = false;
  static std::string unavailable() { return {}; }

  PcapngWriter& link() { return writer_; }
  std::size_t largest() { return kMaxFrameBytes; }
  void feed(const std::vector<Bytes>&) {}
  std::vector<Bytes> heard() {
    EXPECT_FALSE(writer_.flush());
    if (!file_.is_open()) file_.open(dir_.file("out.pcapng"), std::ios::binary);
    std::vector<Bytes> out;
    std::array<std::uint32_t, 2> head{};  // type, length of the block
    while (file_.peek() != std::ifstream::traits_type::eof()) {
      file_.read(reinterpret_cast<char*>(head.data()), sizeof head);
      Bytes block(head[1] - sizeof head);
      file_.read(reinterpret_cast<char*>(block.data()), static_cast<std::streamsize>(block.size()));
      EXPECT_TRUE(file_.good());
      if (head[0] != 6) continue;
      std::uint32_t captured = 0;
      std::memcpy(&captured, &block[12], sizeof captured);
      out.emplace_back(block.begin() + 20, block.begin() + 20 + captured);
    }
    file_.clear();
    return out;
  }
  void end() {}

 private:
  TempDir dir_;
  PcapngWriter writer_ = PcapngWriter::create(dir_.file("out.pcapng")).value();
  std::ifstream file_;
};

using PcapRigs =
    testing::Types<PcapReaderRig<0>, PcapReaderRig<100>, PcapWriterRig, PcapngWriterRig>;
INSTANTIATE_TYPED_TEST_SUITE_P(Pcap, LinkConformance, PcapRigs);

template <class Writer>
void expect_times_are_kept(const std::vector<std::uint64_t>& times) {
  const TempDir dir;
  const Bytes bytes = make_frame(60, 1);
  {
    auto writer = Writer::create(dir.file("a")).value();
    for (const std::uint64_t time : times) {
      FrameView frame(bytes.data(), bytes.size());
      frame.time_ns = time;
      ASSERT_EQ(writer.send({&frame, 1}).taken, 1U);
    }
  }
  auto reader = PcapReader::open(dir.file("a")).value();
  FrameBatch batch;
  std::vector<std::uint64_t> read;
  for (const FrameView& frame : read_all(reader, batch)) read.push_back(frame.time_ns);
  EXPECT_EQ(read, times);
}

// Seconds are unsigned: 32 bits of them in the classic format, and more in pcapng.
TEST(PcapReader, KeepsTimesToTheNanosecondAlsoAfter2038) {
  constexpr std::uint64_t kYear2038 = (1ULL << 31U) * 1'000'000'000;
  std::vector<std::uint64_t> times{1'700'000'000'123'457'790, kYear2038 - 1, kYear2038,
                                   2 * kYear2038 - 1};
  expect_times_are_kept<PcapWriter>(times);
  times.push_back(2 * kYear2038 + 1);
  expect_times_are_kept<PcapngWriter>(times);
}

TEST(PcapReader, ReadsMicrosecondFilesToo) {
  const TempDir dir;
  const Bytes frame = make_frame(60, 1);
  write_file(dir.file("a.pcap"), file_header() + record(5, 7, frame, frame.size()));
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].time_ns, 5'000'007'000U);
}

TEST(PcapReader, SkipsRecordsWithoutAnEthernetHeaderAndCountsThem) {
  const TempDir dir;
  const Bytes frame = make_frame(60, 1);
  write_file(dir.file("a.pcap"), file_header() + record(1, 0, frame, 13) + record(1, 0, frame, 0) +
                                     record(1, 0, frame, 14));
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  EXPECT_EQ(read_all(reader, batch).size(), 1U);
  EXPECT_EQ(reader.skipped(), 2U);
}

TEST(PcapReader, TheLongestFrameIsReadAndAByteMoreIsPassedOver) {
  const TempDir dir;
  std::string bytes = file_header();
  for (const std::size_t more : {0U, 1U, 100U, 50U}) {
    const Bytes frame = make_frame(kMaxFrameBytes + more, more);
    bytes += record(1, 0, frame, frame.size());
  }
  write_file(dir.file("a.pcap"), bytes);
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].size(), kMaxFrameBytes);
  EXPECT_EQ(reader.too_long().records, 3U);
  EXPECT_EQ(reader.too_long().longest_bytes, kMaxFrameBytes + 100);
  EXPECT_TRUE(
      reader.status().error().message.starts_with("cannot replay 3 frames of capture file"));
}

/// A sound pcapng file with two interfaces, and two frames on the first before the second is told.
std::string two_interfaces(std::uint32_t second_snap, std::uint32_t second_type) {
  const std::string packet = pcapng_packet(make_frame(60, 1));
  return kPcapngSection + pcapng_interface() + packet + packet +
         pcapng_block(1, in_words({second_type, second_snap})) + packet;
}

/// In the other byte order: each of its words, turned round.
std::string swapped(std::string words) {
  for (auto at = words.begin(); at != words.end(); at += 4) std::reverse(at, at + 4);
  return words;
}

TEST(PcapReader, ASoundFileThatLibpcapDoesNotReadIsNotCalledDamaged) {
  const TempDir dir;
  const auto message = [&](std::uint32_t second_snap, std::uint32_t second_type) {
    write_file(dir.file("two.pcapng"), two_interfaces(second_snap, second_type));
    auto reader = PcapReader::open(dir.file("two.pcapng")).value();
    FrameBatch batch;
    EXPECT_EQ(read_all(reader, batch).size(), 2U);
    const auto status = reader.status();
    EXPECT_FALSE(status);
    return status ? std::string() : status.error().message;
  };
  const std::string lengths = message(96, 1);
  EXPECT_NE(lengths.find("several snapshot lengths"), std::string::npos) << lengths;
  EXPECT_NE(lengths.find("editcap -F nsecpcap " + dir.file("two.pcapng")), std::string::npos)
      << lengths;
  const std::string types = message(65535, 101);
  EXPECT_NE(types.find("several link types"), std::string::npos) << types;
  const std::string other_order = kPcapngSection + pcapng_interface();
  write_file(dir.file("two.pcapng"),
             other_order + pcapng_packet(make_frame(60, 1)) + swapped(other_order));
  auto reader = PcapReader::open(dir.file("two.pcapng")).value();
  FrameBatch batch;
  EXPECT_EQ(read_all(reader, batch).size(), 1U);
  EXPECT_EQ(reader.status().error().code, std::errc::not_supported);
  for (const std::string& text : {lengths, types}) {
    EXPECT_EQ(text.find("damaged"), std::string::npos) << text;
  }
}

TEST(PcapReader, AFileThatEndsWithinARecordDeliversTheRestAndSaysSo) {
  const TempDir dir;
  const Bytes frame = make_frame(60, 1);
  write_file(dir.file("a.pcap"),
             file_header() + record(1, 0, frame, 60) + record(2, 0, frame, 60).substr(0, 40));
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  EXPECT_EQ(read_all(reader, batch).size(), 1U);
  const auto status = reader.status();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("a.pcap\" is damaged"), std::string::npos);
}

TEST(PcapReader, ABlockOfNoBytesIsDamagedAndEndsTheFile) {
  const TempDir dir;
  write_file(dir.file("a.pcapng"), kPcapngSection + pcapng_interface() + in_words({4, 0, 0}));
  const auto is_damaged = [&] {
    const rlimit seconds{2, 2};
    (void)::setrlimit(RLIMIT_CPU, &seconds);
    auto reader = PcapReader::open(dir.file("a.pcapng")).value();
    FrameBatch batch;
    return read_all(reader, batch).empty() && !reader.status() ? 0 : 1;
  };
  EXPECT_EQ(Child(is_damaged).wait(), 0);
}

TEST(PcapReader, ReplaysWithTheRecordedGaps) {
  const TempDir dir;
  // 40 ms apart. Only a lower bound is asserted, which no slow machine can break.
  write_capture(dir.file("a.pcap"), {make_frame(60, 1), make_frame(60, 2)}, 40'000'000);
  auto reader = PcapReader::open(dir.file("a.pcap"), {.speed = 1}).value();
  const auto before = std::chrono::steady_clock::now();
  FrameBatch batch;
  EXPECT_EQ(reader.receive(batch).frames, 1U) << "the first frame is due at once";
  const WaitHint hint = reader.prepare_wait();
  if (!hint.ready) {  // else this machine was stopped for 40 ms
    EXPECT_LE(hint.at_most, std::chrono::milliseconds(40));
  }
  reader.finish_wait();
  EXPECT_EQ(collect(reader, 1).size(), 1U);
  EXPECT_GE(std::chrono::steady_clock::now() - before, std::chrono::milliseconds(40))
      << "no frame comes before its time";
}

TEST(PcapReader, AtTwiceTheSpeedAGapIsHalfAsLong) {
  const TempDir dir;
  constexpr std::uint64_t kHourNs = 3'600'000'000'000;
  write_capture(dir.file("a.pcap"), {make_frame(60, 1), make_frame(60, 2)}, kHourNs);
  auto reader = PcapReader::open(dir.file("a.pcap"), {.speed = 2}).value();
  FrameBatch batch;
  EXPECT_EQ(reader.receive(batch).frames, 1U);
  const auto before = std::chrono::steady_clock::now();
  const WaitHint hint = reader.prepare_wait();
  EXPECT_FALSE(hint.ready);
  EXPECT_LE(hint.at_most, std::chrono::minutes(30));
  EXPECT_GT(hint.at_most, std::chrono::minutes(20));
  itimerspec timer{};
  ASSERT_EQ(timerfd_gettime(reader.descriptor(), &timer), 0);
  const auto passed = std::chrono::steady_clock::now() - before;
  const auto left = std::chrono::seconds(timer.it_value.tv_sec) +
                    std::chrono::nanoseconds(timer.it_value.tv_nsec);
  EXPECT_LE(left, hint.at_most) << "the frame would wait for the next look";
  EXPECT_GE(left, hint.at_most - passed) << "it would wake before the frame is due";
  reader.finish_wait();
  ASSERT_EQ(timerfd_gettime(reader.descriptor(), &timer), 0);
  EXPECT_EQ(timer.it_value.tv_sec, 0) << "it would wake whoever waits for something else";
  EXPECT_EQ(PcapReader::open(dir.file("a.pcap")).value().descriptor(), -1) << "flat out";
}

TEST(PcapReader, TellsHowMuchOfAFileItHasReadAndNothingOfAPipe) {
  const TempDir dir;
  const Bytes frame = make_frame(60, 1);
  const std::string bytes = file_header() + record(1, 0, frame, 60) + record(2, 0, frame, 60);
  write_file(dir.file("a.pcap"), bytes);
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  EXPECT_DOUBLE_EQ(reader.progress().value(), 24.0 / static_cast<double>(bytes.size()));
  FrameBatch one(1);
  EXPECT_EQ(reader.receive(one).frames, 1U);
  EXPECT_DOUBLE_EQ(reader.progress().value(), (24.0 + 76) / static_cast<double>(bytes.size()));
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd output(ends[0]);
  const UniqueFd input(ends[1]);
  ASSERT_EQ(write(input.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  auto piped = PcapReader::open("/proc/self/fd/" + std::to_string(output.get())).value();
  EXPECT_EQ(piped.receive(one = FrameBatch(1)).frames, 1U);
  EXPECT_EQ(piped.progress(), std::nullopt);
}

TEST(PcapReader, FilesThatCannotBeReplayedAreRefusedWithTheReason) {
  const TempDir dir;
  const auto message = [](const std::string& path) {
    const auto r = PcapReader::open(path);
    EXPECT_FALSE(r);
    return r ? std::string() : r.error().message;
  };
  const std::ptrdiff_t descriptors = holdings(dir.path()).descriptors;
  EXPECT_NE(message(dir.file("none")).find("No such file"), std::string::npos);
  EXPECT_EQ(PcapReader::open(dir.file("none")).error().code, std::errc::no_such_file_or_directory);
  EXPECT_NE(message(dir.file("")).find("Is a directory"), std::string::npos);
  write_file(dir.file("text"), "hello, this is a text file and no capture");
  EXPECT_NE(message(dir.file("text")).find("expected a pcap or pcapng file"), std::string::npos);
  write_file(dir.file("empty"), "");
  EXPECT_NE(message(dir.file("empty")).find("expected a pcap or pcapng file"), std::string::npos);
  write_file(dir.file("cooked"), file_header(0xa1b2c3d4, 113));
  EXPECT_NE(message(dir.file("cooked")).find("Ethernet only"), std::string::npos);
  EXPECT_EQ(PcapReader::open(dir.file("cooked")).error().code, Errc::bad_argument);
  EXPECT_EQ(PcapReader::open(dir.file("text"), {.speed = -1}).error().code, Errc::bad_argument);
  EXPECT_EQ(holdings(dir.path()).descriptors, descriptors) << "what was refused is closed";
}

TEST(PcapWriter, WritesWhatTsharkReads) {
  if (!have_tshark()) GTEST_SKIP() << "tshark is not installed";
  const TempDir dir;
  write_capture(dir.file("a.pcap"), {make_frame(60, 1), make_frame(1514, 2)});
  const std::string lines = run_program({"tshark", "-r", dir.file("a.pcap"), "-T", "fields", "-e",
                                         "frame.time_epoch", "-e", "frame.len", "-e", "eth.src"})
                                .out;
  EXPECT_NE(lines.find("1700000000.123457790\t60\tb2:a0:c0:ff:ee:01"), std::string::npos) << lines;
  EXPECT_NE(lines.find("1700000000.123458791\t1514\tb2:a0:c0:ff:ee:01"), std::string::npos)
      << lines;
}

TEST(PcapWriter, ASnapLengthCutsFramesAndKeepsTheirTrueLength) {
  const TempDir dir;
  {
    auto writer = PcapWriter::create(dir.file("a.pcap"), {.snap_bytes = 96}).value();
    const std::vector<Bytes> frames{make_frame(1000, 1), make_frame(60, 2)};
    std::vector<FrameView> sent = views(frames);
    sent.push_back(sent[1]);
    sent[2].true_bytes = 1400;
    EXPECT_EQ(writer.send(sent).taken, 3U);
  }
  std::array<std::uint32_t, 6> header{};  // its fifth number is the snap length (pcap-savefile(5))
  std::ifstream(dir.file("a.pcap"), std::ios::binary)
      .read(reinterpret_cast<char*>(header.data()), sizeof header);
  EXPECT_EQ(header[4], 96U);
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 3U);
  EXPECT_EQ(frames[0].size(), 96U);
  EXPECT_EQ(frames[0].true_bytes, 1000U);
  EXPECT_FALSE(frames[1].truncated());
  EXPECT_EQ(frames[2].true_bytes, 1400U) << "cut before";
}

TEST(PcapWriter, WritesItsHeaderAtOnceAndTheRestWhenItsUserIsAboutToSleep) {
  const TempDir dir;
  auto writer = PcapWriter::create(dir.file("a.pcap")).value();
  EXPECT_EQ(std::filesystem::file_size(dir.file("a.pcap")), 24U);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  EXPECT_EQ(writer.send(views(frames)).taken, 1U);
  EXPECT_EQ(std::filesystem::file_size(dir.file("a.pcap")), 24U) << "a write for every frame";
  EXPECT_EQ(writer.written(), 0U);
  EXPECT_FALSE(writer.prepare_wait().ready);
  writer.finish_wait();
  EXPECT_EQ(std::filesystem::file_size(dir.file("a.pcap")), 24U + 16 + 60);
  EXPECT_EQ(writer.written(), 1U);
}

/// How often and when a file of one frame has it, which a writer got without a time and then was
/// replaced by another.
template <class Writer>
void expect_kept_and_stamped(const TempDir& dir) {
  const std::uint64_t before = base::wall_clock_ns();
  auto writer = Writer::create(dir.file("a")).value();
  const std::vector<Bytes> frames{make_frame(60, 1)};
  ASSERT_EQ(writer.send(views(frames)).taken, 1U);
  const std::uint64_t after = base::wall_clock_ns();
  writer = Writer::create(dir.file("b")).value();
  auto reader = PcapReader::open(dir.file("a")).value();
  FrameBatch batch;
  const auto read = read_all(reader, batch);
  ASSERT_EQ(read.size(), 1U) << "what was buffered is gone";
  EXPECT_EQ(to_bytes(read[0]), frames[0]);
  EXPECT_GE(read[0].time_ns, before);
  EXPECT_LE(read[0].time_ns, after);
}

TEST(PcapWriter, WritesWhatItHasBeforeAnotherIsMovedOverItAndStampsWhatHasNoTime) {
  expect_kept_and_stamped<PcapWriter>(TempDir());
  expect_kept_and_stamped<PcapngWriter>(TempDir());
}

TEST(PcapWriter, KeepsEveryFrameOfMoreThanItsBuffer) {
  const TempDir dir;
  {
    auto writer = PcapWriter::create(dir.file("a.pcap"), {.buffer_bytes = 1}).value();
    const std::vector<Bytes> frames(1000, make_frame(1514, 1));
    EXPECT_EQ(writer.send(views(frames)).taken, 1000U);
  }
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  EXPECT_EQ(collect(reader, 1000).size(), 1000U);
}

TEST(PcapWriter, ASuperFrameMayBeLongerThanAnyFrame) {
  const TempDir dir;
  auto pcap = PcapWriter::create(dir.file("a.pcap")).value();
  auto pcapng = PcapngWriter::create(dir.file("a.pcapng")).value();
  const Bytes bytes = make_frame(kMaxSuperFrameBytes, 1);
  FrameView frame(bytes.data(), bytes.size());
  EXPECT_EQ(pcap.send({&frame, 1}).error, Errc::frame_too_long);
  EXPECT_EQ(pcapng.send({&frame, 1}).error, Errc::frame_too_long);
  frame.offload.gso_type = Offload::kGsoTcp4;  // as `dump --super-frames` meets it
  EXPECT_EQ(pcap.send({&frame, 1}).taken, 1U);
  EXPECT_EQ(pcapng.send({&frame, 1}).taken, 1U);
}

}  // namespace
}  // namespace shmif::test
