#include "shmif/pcap_link.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "bus/unique_fd.hpp"
#include "bus/wall_clock.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

bool have_tshark() {
  return std::system("command -v tshark >/dev/null 2>&1") == 0;
}

void put32(std::string& out, std::uint32_t v) {
  out.append(reinterpret_cast<const char*>(&v), 4);
}

/// The head of a classic pcap file.
std::string file_header(std::uint32_t magic = 0xa1b2c3d4, std::uint32_t link_type = 1) {
  std::string out;
  put32(out, magic);
  put32(out, 4U << 16U | 2U);
  put32(out, 0);
  put32(out, 0);
  put32(out, 262144);
  put32(out, link_type);
  return out;
}

/// A record of `frame`, of which `captured` bytes are there.
std::string record(std::uint32_t seconds, std::uint32_t fraction, const Bytes& frame,
                   std::size_t captured) {
  std::string out;
  put32(out, seconds);
  put32(out, fraction);
  put32(out, static_cast<std::uint32_t>(captured));
  put32(out, static_cast<std::uint32_t>(frame.size()));
  out.append(reinterpret_cast<const char*>(frame.data()), captured);
  return out;
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Writes frames with PcapWriter, one microsecond and one nanosecond apart.
void write_capture(const std::string& path, const std::vector<Bytes>& frames,
                   std::uint64_t apart_ns = 1001) {
  auto writer = PcapWriter::create(path).value();
  std::uint64_t time = 1'700'000'000'123'456'789;
  for (const Bytes& bytes : frames) {
    FrameView frame(bytes.data(), bytes.size());
    frame.time_ns = time += apart_ns;
    ASSERT_EQ(writer.send({&frame, 1}).taken, 1U);
  }
}

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

  PcapWriterRig()
      : writer_(PcapWriter::create(dir_.file("out.pcap")).value()),
        file_(dir_.file("out.pcap"), std::ios::binary) {
    file_.seekg(24);
  }
  PcapWriter& link() { return writer_; }
  std::size_t largest() { return kMaxFrameBytes; }
  void feed(const std::vector<Bytes>&) {}
  std::vector<Bytes> heard() {
    EXPECT_FALSE(writer_.flush());
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
  PcapWriter writer_;
  std::ifstream file_;
};

/// The blocks of a pcapng file as it grows, those of frames alone.
class PcapngWriterRig {
 public:
  static constexpr bool kSends = true, kReceives = false, kLive = true, kEnds = false;
  static std::string unavailable() { return {}; }

  PcapngWriterRig()
      : writer_(PcapngWriter::create(dir_.file("out.pcapng")).value()),
        file_(dir_.file("out.pcapng"), std::ios::binary) {}
  PcapngWriter& link() { return writer_; }
  std::size_t largest() { return kMaxFrameBytes; }
  void feed(const std::vector<Bytes>&) {}
  std::vector<Bytes> heard() {
    EXPECT_FALSE(writer_.flush());
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
  PcapngWriter writer_;
  std::ifstream file_;
};

using PcapRigs =
    testing::Types<PcapReaderRig<0>, PcapReaderRig<100>, PcapWriterRig, PcapngWriterRig>;
INSTANTIATE_TYPED_TEST_SUITE_P(Pcap, LinkConformance, PcapRigs);

std::vector<FrameView> read_all(PcapReader& reader, FrameBatch& batch) {
  while (!reader.receive(batch).error) (void)wait_for(reader, std::chrono::seconds(10));
  return {batch.frames().begin(), batch.frames().end()};
}

TEST(PcapReader, TakesWhatIsSentToItAndDropsIt) {
  const TempDir dir;
  write_capture(dir.file("a.pcap"), {});
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  const std::vector<Bytes> frames(3, make_frame(60, 1));
  const SendResult r = reader.send(views(frames));
  EXPECT_EQ(r.taken, 3U);
  EXPECT_FALSE(r.error);
}

TEST(PcapReader, KeepsTimesToTheNanosecond) {
  const TempDir dir;
  write_capture(dir.file("a.pcap"), {make_frame(60, 1), make_frame(60, 2)});
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].time_ns, 1'700'000'000'123'457'790U);
  EXPECT_EQ(frames[1].time_ns, 1'700'000'000'123'458'791U);
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

TEST(PcapReader, ReadsPcapngWithItsNanoseconds) {
  if (!have_tshark()) GTEST_SKIP() << "tshark is not installed";
  const TempDir dir;
  write_capture(dir.file("a.pcap"), {make_frame(60, 1), make_frame(61, 2)});
  ASSERT_EQ(
      run_program({"tshark", "-r", dir.file("a.pcap"), "-F", "pcapng", "-w", dir.file("a.pcapng")})
          .status,
      0);
  auto reader = PcapReader::open(dir.file("a.pcapng")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(to_bytes(frames[1]), make_frame(61, 2));
  EXPECT_EQ(frames[1].time_ns, 1'700'000'000'123'458'791U);
}

TEST(PcapReader, ARecordCapturedCutShortGivesATruncatedFrame) {
  const TempDir dir;
  const Bytes frame = make_frame(1514, 1);
  write_file(dir.file("a.pcap"), file_header() + record(1, 0, frame, 96));
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].size(), 96U);
  EXPECT_TRUE(frames[0].truncated());
  EXPECT_EQ(frames[0].true_bytes, 1514U);
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

TEST(PcapReader, ARecordLongerThanAnyFrameIsPassedOverAndNeverCut) {
  const TempDir dir;
  const Bytes frame = make_frame(60, 1);
  const Bytes giant = make_frame(80'066, 2);
  write_file(dir.file("a.pcap"), file_header() + record(1, 0, frame, 60) +
                                     record(2, 0, giant, giant.size()) + record(3, 0, frame, 60));
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_FALSE(frames[0].truncated());
  EXPECT_FALSE(frames[1].truncated());
  EXPECT_EQ(reader.too_long().records, 1U);
  EXPECT_EQ(reader.too_long().longest_bytes, 80'066U);
  const auto status = reader.status();
  ASSERT_FALSE(status) << "users that do not look at too_long() would lose it in silence";
  EXPECT_EQ(status.error().code, Errc::frame_too_long);
  EXPECT_NE(status.error().message.find("80066"), std::string::npos) << status.error().message;
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
}

/// A sound pcapng file with two interfaces, and two frames on the first before the second is told.
std::string two_interfaces(std::uint32_t second_snap, std::uint32_t second_type) {
  const auto block = [](std::uint32_t type, const std::string& body) {
    std::string out;
    put32(out, type);
    put32(out, static_cast<std::uint32_t>(body.size() + 12));
    out += body;
    put32(out, static_cast<std::uint32_t>(body.size() + 12));
    return out;
  };
  const auto words = [](std::initializer_list<std::uint32_t> values) {
    std::string out;
    for (const std::uint32_t v : values) put32(out, v);
    return out;
  };
  const std::string packet = words({0, 0, 1, 60, 60}) + std::string(60, 'x');
  return block(0x0a0d0d0a, words({0x1a2b3c4d, 1, UINT32_MAX, UINT32_MAX})) +
         block(1, words({1, 65535})) + block(6, packet) + block(6, packet) +
         block(1, words({second_type, second_snap})) + block(6, packet);
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
  for (const std::string& text : {lengths, types}) {
    EXPECT_EQ(text.find("damaged"), std::string::npos) << text;
  }
}

TEST(PcapReader, TheAdviceForSeveralSnapshotLengthsHelps) {
  if (std::system("command -v editcap >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "editcap is not installed";
  }
  const TempDir dir;
  write_file(dir.file("two.pcapng"), two_interfaces(96, 1));
  ASSERT_EQ(run_program({"editcap", "-F", "nsecpcap", dir.file("two.pcapng"), dir.file("new.pcap")})
                .status,
            0);
  auto reader = PcapReader::open(dir.file("new.pcap")).value();
  FrameBatch batch;
  EXPECT_EQ(read_all(reader, batch).size(), 3U);
  EXPECT_TRUE(reader.status());
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

TEST(PcapReader, AWholeFileEndsWithoutAComplaint) {
  const TempDir dir;
  write_capture(dir.file("a.pcap"), {make_frame(60, 1)});
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  (void)read_all(reader, batch);
  EXPECT_TRUE(reader.status());
  EXPECT_EQ(reader.progress(), 1.0);
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
  const WaitHint hint = reader.prepare_wait();
  EXPECT_FALSE(hint.ready);
  EXPECT_LE(hint.at_most, std::chrono::minutes(30));
  EXPECT_GT(hint.at_most, std::chrono::minutes(20));
  itimerspec timer{};
  ASSERT_EQ(timerfd_gettime(reader.descriptor(), &timer), 0);
  EXPECT_GT(timer.it_value.tv_sec, 20 * 60);
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

TEST(PcapReader, TimesThatGoBackMeanAtOnce) {
  const TempDir dir;
  const Bytes frame = make_frame(60, 1);
  write_file(dir.file("a.pcap"), file_header() + record(1000, 0, frame, 60) +
                                     record(1, 0, frame, 60) + record(0, 0, frame, 60));
  auto reader = PcapReader::open(dir.file("a.pcap"), {.speed = 1}).value();
  EXPECT_EQ(collect(reader, 3).size(), 3U);
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
    EXPECT_EQ(writer.send(views(frames)).taken, 2U);
  }
  std::array<std::uint32_t, 6> header{};  // its fifth number is the snap length (pcap-savefile(5))
  std::ifstream(dir.file("a.pcap"), std::ios::binary)
      .read(reinterpret_cast<char*>(header.data()), sizeof header);
  EXPECT_EQ(header[4], 96U);
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 2U);
  EXPECT_EQ(frames[0].size(), 96U);
  EXPECT_EQ(frames[0].true_bytes, 1000U);
  EXPECT_FALSE(frames[1].truncated());
}

TEST(PcapWriter, ATruncatedFrameKeepsItsTrueLength) {
  const TempDir dir;
  const Bytes bytes = make_frame(60, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.true_bytes = 9000;
  ASSERT_EQ(PcapWriter::create(dir.file("a.pcap")).value().send({&frame, 1}).taken, 1U);
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  FrameBatch batch;
  const auto frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].true_bytes, 9000U);
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

TEST(PcapWriter, AClosedPipeIsReportedOnceAndDoesNotEndTheProcess) {
  std::signal(SIGPIPE, SIG_DFL);  // whatever earlier tests of this program did about it
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  UniqueFd reader(ends[0]);
  UniqueFd input(ends[1]);
  auto writer = PcapWriter::create("/proc/self/fd/" + std::to_string(input.get())).value();
  reader.reset();
  const std::vector<Bytes> frames{make_frame(60, 1)};
  EXPECT_EQ(writer.send(views(frames)).taken, 1U) << "buffered";
  EXPECT_EQ(writer.flush(), std::errc::broken_pipe);
  EXPECT_EQ(writer.send(views(frames)).error, Errc::link_ended);
  EXPECT_EQ(writer.flush(), Errc::link_ended);
  EXPECT_TRUE(writer.prepare_wait().ready) << "a waiter would hang";
  pollfd waiter{.fd = writer.descriptor(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&waiter, 1, 0), 1) << "one who waits already, too";
  FrameBatch batch;
  EXPECT_EQ(writer.receive(batch).error, Errc::link_ended);
  EXPECT_FALSE(writer.status());
  EXPECT_EQ(writer.written(), 0U);
  sigset_t pending;
  sigpending(&pending);
  EXPECT_EQ(sigismember(&pending, SIGPIPE), 0) << "the signal was left pending";
}

TEST(PcapWriter, AFullDiskLeavesAFileOfWholeRecords) {
  const TempDir dir;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  // A limit on the file's size stands in for a full disk: write() takes a part, then fails.
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{.rlim_cur = 10'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::uint64_t written = 0;
  {
    auto writer = PcapWriter::create(dir.file("a.pcap")).value();
    const std::vector<Bytes> frames(100, make_frame(1000, 1));
    EXPECT_EQ(writer.send(views(frames)).taken, 100U);
    EXPECT_EQ(writer.flush(), std::errc::file_too_large);
    written = writer.written();
    EXPECT_EQ(writer.bytes(), std::filesystem::file_size(dir.file("a.pcap")));
    EXPECT_EQ(writer.status().error().message,
              "cannot write \"" + dir.file("a.pcap") + "\": File too large");
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);

  EXPECT_EQ(written, 9U);  // of 1016 bytes each, behind 24 of the header
  auto reader = PcapReader::open(dir.file("a.pcap")).value();
  EXPECT_EQ(collect(reader, 100).size(), written);
  EXPECT_TRUE(reader.status()) << "the file ends within a record";
}

/// How often and when a file of one frame has it, which a writer got without a time and then was
/// replaced by another.
template <class Writer>
void expect_kept_and_stamped(const TempDir& dir) {
  const std::uint64_t before = bus::wall_clock_ns();
  auto writer = Writer::create(dir.file("a")).value();
  const std::vector<Bytes> frames{make_frame(60, 1)};
  ASSERT_EQ(writer.send(views(frames)).taken, 1U);
  const std::uint64_t after = bus::wall_clock_ns();
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

TEST(PcapWriter, AFullDiskIsAnErrorWhenTheFileIsMade) {
  const auto writer = PcapWriter::create("/dev/full");
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, std::errc::no_space_on_device);
  EXPECT_NE(writer.error().message.find("/dev/full"), std::string::npos);
}

TEST(PcapWriter, AFileThatCannotBeMadeIsAnErrorThatNamesIt) {
  const TempDir dir;
  const auto writer = PcapWriter::create(dir.file("no/such/place.pcap"));
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().code, std::errc::no_such_file_or_directory);
  EXPECT_NE(writer.error().message.find("place.pcap"), std::string::npos);
}

TEST(PcapWriter, AFileThatWasThereIsReplacedWhole) {
  const TempDir dir;
  const std::string path = dir.file("a.pcap");
  for (const std::size_t frames : {100U, 1U}) {
    auto writer = PcapWriter::create(path).value();
    const std::vector<Bytes> bytes(frames, make_frame(100, 1));
    ASSERT_EQ(writer.send(views(bytes)).taken, frames);
  }
  EXPECT_EQ(std::filesystem::file_size(path), 24U + 16U + 100U);
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

/// The lengths of the options of every block; the end of each list must be that of its block.
std::vector<std::size_t> option_lengths(const std::string& bytes) {
  std::vector<std::size_t> lengths;
  for (std::size_t block = 0; block < bytes.size();) {
    const auto type = number_at<std::uint32_t>(bytes, block);
    const auto size = number_at<std::uint32_t>(bytes, block + 4);
    const std::size_t end = block + size - 4;
    std::size_t at = block + 24;  // of a section header
    if (type == 1) at = block + 16;
    if (type == 6) at = block + 28 + (number_at<std::uint32_t>(bytes, block + 20) + 3) / 4 * 4;
    while (at < end) {
      const auto code = number_at<std::uint16_t>(bytes, at);
      const auto length = number_at<std::uint16_t>(bytes, at + 2);
      at += 4U + (length + 3U) / 4 * 4;
      if (code == 0) break;
      lengths.push_back(length);
    }
    EXPECT_EQ(at, end) << "block of type " << type;
    EXPECT_EQ(number_at<std::uint32_t>(bytes, end), size);
    if (at != end) break;
    block += size;
  }
  return lengths;
}

TEST(PcapngWriter, CutsATextThatIsLongerThanTheFormatAllows) {
  const TempDir dir;
  const std::string text(70'000, 'x');
  {
    auto writer =
        PcapngWriter::create(dir.file("a.pcapng"), {.application = text, .comment = text}).value();
    const std::uint32_t one = writer.add_interface({text, text});
    const Bytes bytes = make_frame(61, 1);
    EXPECT_FALSE(writer.put(one, FrameView(bytes.data(), bytes.size()), {.comment = text}));
  }
  std::ifstream file(dir.file("a.pcapng"), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(option_lengths(bytes),
            (std::vector<std::size_t>{60'000, 60'000, 60'000, 60'000, 1, 60'000}));
}

TEST(PcapngWriter, StatisticsTellWhatCameWhatWasLostAndWhatTheFilterTook) {
  const TempDir dir;
  {
    auto writer = PcapngWriter::create(dir.file("a.pcapng")).value();
    const std::uint32_t one = writer.add_interface({"one"});
    writer.put_statistics(one, {.received = 11, .accepted = 7, .lost = 3});
  }
  std::ifstream file(dir.file("a.pcapng"), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  constexpr std::uint32_t kInterfaceStatistics = 5;
  std::size_t block = 0;
  while (block < bytes.size() && number_at<std::uint32_t>(bytes, block) != kInterfaceStatistics)
    block += number_at<std::uint32_t>(bytes, block + 4);
  ASSERT_LT(block, bytes.size());
  std::map<unsigned, std::uint64_t> told;  // by the code of the option
  for (std::size_t at = block + 20; number_at<std::uint16_t>(bytes, at) != 0; at += 12) {
    ASSERT_EQ(number_at<std::uint16_t>(bytes, at + 2), 8U);
    told[number_at<std::uint16_t>(bytes, at)] = number_at<std::uint64_t>(bytes, at + 4);
  }
  const std::map<unsigned, std::uint64_t> wanted{{4, 11}, {5, 3}, {6, 7}};
  EXPECT_EQ(told, wanted) << "isb_ifrecv, isb_ifdrop, isb_filteraccept";
}

}  // namespace
}  // namespace shmif::test
