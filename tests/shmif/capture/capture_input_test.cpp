// What a capture is read from and what it says of its frames: live pipes, frame check sequences,
// clocks that jump, files that libpcap does not read.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/capture/recorded_time.hpp"
#include "tests/shmif/capture/captures.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

class LiveCapture : public testing::TestWithParam<std::tuple<bool, double>> {
 protected:
  LiveCapture() {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    output_.reset(ends[0]);
    input_.reset(ends[1]);
  }
  static bool is_pcapng() { return std::get<0>(GetParam()); }
  static std::string head() {
    return is_pcapng() ? kPcapngSection + pcapng_interface() : file_header();
  }
  static std::string one(const Bytes& frame) {
    return is_pcapng() ? pcapng_packet(frame) : record(1, 0, frame, frame.size());
  }
  void put(const std::string& bytes) {
    ASSERT_EQ(write(input_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  PcapReader open() {
    const std::string path = "/proc/self/fd/" + std::to_string(output_.get());
    PcapReader reader = PcapReader::open(path, {.speed = std::get<1>(GetParam())}).value();
    output_.reset();
    return reader;
  }
  static bool is_readable(PcapReader& reader) {
    pollfd entry{.fd = reader.descriptor(), .events = POLLIN, .revents = 0};
    return poll(&entry, 1, 0) == 1;
  }

  UniqueFd output_;
  UniqueFd input_;
};
INSTANTIATE_TEST_SUITE_P(Kinds, LiveCapture,
                         testing::Combine(testing::Bool(), testing::Values(0.0, 1.0)));

TEST_P(LiveCapture, HandsEachFrameOnWhenItIsThereAndSleepsUntilThen) {
  const Bytes frame = make_frame(60, 1);
  put(head() + one(frame));
  PcapReader reader = open();
  FrameBatch batch;
  EXPECT_EQ(reader.receive(batch).frames, 1U);
  for (int i = 0; i < 2; ++i) {
    batch.clear();
    const ReceiveResult nothing = reader.receive(batch);
    EXPECT_EQ(nothing.frames, 0U);
    EXPECT_FALSE(nothing.error) << nothing.error.message();
    EXPECT_FALSE(reader.prepare_wait().ready);
    EXPECT_FALSE(is_readable(reader));
    put(one(frame).substr(0, 30));  // half of it is not enough
    EXPECT_TRUE(is_readable(reader));
    reader.finish_wait();
    EXPECT_EQ(reader.receive(batch).frames, 0U);
    EXPECT_FALSE(reader.prepare_wait().ready);
    EXPECT_FALSE(is_readable(reader)) << "who waits for the other half would spin";
    put(one(frame).substr(30));
    EXPECT_TRUE(is_readable(reader));
    reader.finish_wait();
    EXPECT_FALSE(is_readable(reader)) << "it is not waited for";
    EXPECT_EQ(reader.receive(batch).frames, 1U);
  }
  EXPECT_FALSE(reader.prepare_wait().ready);
  input_.reset();
  EXPECT_TRUE(is_readable(reader));
  reader.finish_wait();
  EXPECT_FALSE(is_readable(reader)) << "the end of a pipe stays";
  batch.clear();
  EXPECT_EQ(reader.receive(batch).error, Errc::link_ended);
  EXPECT_TRUE(reader.prepare_wait().ready);
  EXPECT_TRUE(reader.status());
}

TEST_P(LiveCapture, OfManyPiecesAndLongRecordsIsWhole) {
  const Bytes frame = make_frame(60'000, 1);
  std::string all = head();
  for (int i = 0; i < 20; ++i) all += one(frame);
  put(all.substr(0, 1));
  std::size_t at = 1;
  // open() needs the head, and a pipe takes no more than 64 KiB at once.
  put(all.substr(at, 50'000));
  at += 50'000;
  PcapReader reader = open();
  std::size_t frames = 0;
  FrameBatch batch(1, std::size_t{1} << 17U);
  ReceiveResult got;
  while (!got.error) {
    batch.clear();
    got = reader.receive(batch);
    frames += got.frames;
    if (got.frames != 0) {
      EXPECT_EQ(batch[0].size(), frame.size());
    } else if (at < all.size()) {
      put(all.substr(at, 30'001));
      at = std::min(all.size(), at + 30'001);
    } else {
      input_.reset();
    }
  }
  EXPECT_EQ(frames, 20U);
  EXPECT_TRUE(reader.status());
}

TEST(CaptureInput, AFifoWithoutAWriterIsLeftWhenTheStopDescriptorSaysSo) {
  const TempDir dir;
  ASSERT_EQ(mkfifo(dir.file("fifo").c_str(), 0600), 0);
  const UniqueFd stop(eventfd(1, EFD_CLOEXEC));
  const auto opened = PcapReader::open(dir.file("fifo"), {.stop_descriptor = stop.get()});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, std::errc::interrupted);
}

/// A pipe that gives one piece after the other, each when the one before has been read.
class PieceByPiece {
 public:
  explicit PieceByPiece(std::vector<std::string> pieces) {
    std::array<int, 2> ends{};
    EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
    output_.reset(ends[0]);
    thread_ =
        std::jthread([input = ends[1], pieces = std::move(pieces)](const std::stop_token& stop) {
          const UniqueFd owned(input);
          for (const std::string& each : pieces) {
            EXPECT_EQ(write(input, each.data(), each.size()), static_cast<ssize_t>(each.size()));
            for (int waits = 1; waits != 0 && !stop.stop_requested();) {
              ASSERT_EQ(ioctl(input, FIONREAD, &waits), 0);
              std::this_thread::sleep_for(std::chrono::microseconds(100));
            }
          }
        });
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(output_.get()); }

 private:
  UniqueFd output_;
  std::jthread thread_;
};

TEST(CaptureInput, MayBeginInPiecesAsShortAsTheyAre) {
  Bytes frame = make_frame(60, 1);
  // With a frame check sequence, of which libpcap does not tell.
  const std::string all =
      file_header(0xa1b2c3d4, 0x24000001) + record(1, 0, frame, 60) + record(2, 0, frame, 60);
  frame.resize(56);
  for (const std::size_t first : {1U, 5U, 23U}) {
    SCOPED_TRACE(first);
    const PieceByPiece input({all.substr(0, first), all.substr(first, 18), all.substr(first + 18)});
    auto reader = PcapReader::open(input.path(), {});
    ASSERT_TRUE(reader) << reader.error().message;
    FrameBatch batch;
    const std::vector<FrameView> frames = read_all(*reader, batch);
    ASSERT_EQ(frames.size(), 2U);
    EXPECT_EQ(to_bytes(frames[1]), frame);
    EXPECT_TRUE(reader->status());
  }
  const PieceByPiece compressed({"\x1f", "\x8b", std::string(40, '\0')});
  const auto refused = PcapReader::open(compressed.path(), {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("zcat"), std::string::npos) << refused.error().message;
}

TEST(CaptureInput, AFrameThatWasCutComesHoweverLongItWas) {
  const TempDir dir;
  const Bytes frame = make_frame(100'000, 1);
  write_file(dir.file("a"), file_header() + record(1, 0, frame, 60));
  PcapReader reader = PcapReader::open(dir.file("a"), {}).value();
  FrameBatch batch;
  const std::vector<FrameView> frames = read_all(reader, batch);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].size(), 60U);
  EXPECT_EQ(frames[0].true_bytes, 100'000U);
  EXPECT_EQ(reader.too_long().records, 0U);
  EXPECT_TRUE(reader.status());
}

// Padding behind a frame, as some capture programs leave it. Wireshark cuts such records, too.
TEST(CaptureInput, AFrameIsNoLongerThanTheCaptureSaysThatItWas) {
  const TempDir dir;
  const Bytes padded = make_frame(801, 1);
  const auto classic = [&](std::uint32_t length) {
    return file_header() + in_words({1, 0, 801, length}) +
           std::string(reinterpret_cast<const char*>(padded.data()), padded.size());
  };
  const std::map<std::uint32_t, std::size_t> sizes{
      {785, 785}, {800, 800}, {14, 14}, {13, 801}, {0, 801}};
  for (const auto& [length, size] : sizes) {
    write_file(dir.file("a"), classic(length));
    auto reader = PcapReader::open(dir.file("a")).value();
    FrameBatch batch;
    ASSERT_EQ(read_all(reader, batch).size(), 1U) << length;
    EXPECT_EQ(to_bytes(batch[0]), Bytes(padded.begin(), padded.begin() + std::ptrdiff_t(size)));
    EXPECT_EQ(batch[0].true_bytes, 0U) << length;
  }
}

TEST(CaptureInput, HasNoFrameCheckSequenceWhereTheCaptureSaysThatItIsThere) {
  const TempDir dir;
  const Bytes frame = make_frame(64, 1);
  const auto options = [](std::uint16_t code, const std::string& value) {
    return pcapng_option(code, value);
  };
  const std::string four(1, '\4');
  const std::string flags = in_words({4U << 5U});
  struct Case {
    std::string bytes;
    std::size_t size;
    std::size_t true_size;
  };
  const std::vector<Case> cases{
      {file_header(0xa1b2c3d4, 0x24000001) + record(1, 0, frame, 64), 60, 0},
      {file_header(0xa1b2c3d4, 0x20000001) + record(1, 0, frame, 64), 64, 0},
      {file_header(0xa1b2c3d4, 0x24000001) + record(1, 0, frame, 62), 60, 0},
      {file_header(0xa1b2c3d4, 0x24000001) + record(1, 0, frame, 40), 40, 60},
      {kPcapngSection + pcapng_interface() + pcapng_packet(frame), 64, 0},
      {kPcapngSection + pcapng_interface(options(13, four)) + pcapng_packet(frame), 60, 0},
      {kPcapngSection + pcapng_interface() + pcapng_packet(frame, options(2, flags)), 60, 0},
      {kPcapngSection + pcapng_interface() + pcapng_interface(options(13, four)) +
           pcapng_packet(frame, options(1, "hello"), 1),
       60, 0},
      {kPcapngSection + pcapng_interface(options(13, std::string(1, '\2'))) +
           pcapng_packet(frame, options(2, flags)),
       60, 0},
      // Each section has interfaces of its own.
      {kPcapngSection + pcapng_interface(options(13, four)) + kPcapngSection + pcapng_interface() +
           pcapng_packet(frame),
       64, 0},
      {kPcapngSection + pcapng_interface() + kPcapngSection + pcapng_interface(options(13, four)) +
           pcapng_packet(frame),
       60, 0},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    write_file(dir.file("a"), cases[i].bytes);
    auto reader = PcapReader::open(dir.file("a")).value();
    FrameBatch batch;
    ASSERT_EQ(read_all(reader, batch).size(), 1U) << i;
    EXPECT_EQ(batch[0].size(), cases[i].size) << i;
    EXPECT_EQ(batch[0].true_bytes, cases[i].true_size) << i;
  }
}

TEST(CaptureInput, SaysHowToReadACompressedFile) {
  const TempDir dir;
  const std::string path = dir.file("a.pcap.gz");
  for (const auto& [magic, program] : {std::pair<std::string, std::string>{"\x1f\x8b", "zcat"},
                                       {"\x28\xb5\x2f\xfd", "zstdcat"},
                                       {std::string("\xfd\x37zXZ\0", 6), "xzcat"},
                                       {"BZh9", "bzcat"},
                                       {"\x04\x22\x4d\x18", "lz4cat"}}) {
    write_file(path, magic + std::string(100, 'x'));
    const auto refused = PcapReader::open(path);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("it is compressed (decompress it: " + program + ' ' +
                                           path + " | ..."),
              std::string::npos)
        << refused.error().message;
  }
}

std::vector<std::uint64_t> due_times(const std::vector<std::uint64_t>& ms,
                                     std::uint64_t max_gap_ms = 0) {
  constexpr std::uint64_t kMs = 1'000'000;
  RecordedTime time(max_gap_ms * kMs);
  std::vector<std::uint64_t> due;
  for (const std::uint64_t each : ms) due.push_back(time.next(each * kMs) / kMs);
  return due;
}

TEST(RecordedTime, KeepsGapsAndOutlivesWrongClocks) {
  using Times = std::vector<std::uint64_t>;
  EXPECT_EQ(due_times({5000, 5010, 5030}), (Times{0, 10, 30}));
  EXPECT_EQ(due_times({5000, 5060, 5050, 5070}), (Times{0, 60, 60, 70})) << "out of order";
  EXPECT_EQ(due_times({2000, 100, 200, 300}), (Times{0, 0, 100, 200})) << "set back";
  EXPECT_EQ(due_times({10'000, 5'000, 11'000}), (Times{0, 0, 1000})) << "one had a wrong time";
  EXPECT_EQ(due_times({1000, 2000, 90'000, 90'100}, 500), (Times{0, 500, 1000, 1100}));
  EXPECT_EQ(due_times({1000, 90'000, 2000, 2100}, 500), (Times{0, 500, 500, 600}));
  EXPECT_EQ(due_times({0, 1'700'000'000'000, 1'700'000'000'010}, 1), (Times{0, 1, 2}));
  RecordedTime wild;
  for (int i = 0; i < 100; ++i) {
    for (const std::uint64_t at : {std::uint64_t{0}, UINT64_MAX, UINT64_MAX / 2, UINT64_MAX / 3}) {
      EXPECT_LE(wild.next(at), 1'000'000'000'000'000'000U);
    }
  }
}

TEST(RecordedTime, ALoopTakesTheMeanGapMoreOrASecond) {
  RecordedTime time;
  time.next(7);
  EXPECT_EQ(time.loop_ns(), 1'000'000'000U) << "one frame has no pace";
  time.next(7);
  EXPECT_EQ(time.loop_ns(), 1'000'000'000U) << "nor have two at once";
  time.next(207);
  EXPECT_EQ(time.loop_ns(), 300U);
}

TEST(CaptureInput, OfALongGapIsToldOnceAndCutWhereThatIsWanted) {
  const TempDir dir;
  const Bytes frame = make_frame(60, 1);
  write_file(dir.file("a"), file_header() + record(1, 0, frame, 60) + record(7000, 0, frame, 60));
  for (const bool cut : {false, true}) {
    std::vector<std::chrono::nanoseconds> told;
    auto reader =
        PcapReader::open(dir.file("a"), {.speed = 1,
                                         .max_gap = std::chrono::hours(cut ? 1 : 0),
                                         .on_long_gap = [&](auto left) { told.push_back(left); }})
            .value();
    FrameBatch batch;
    EXPECT_EQ(reader.receive(batch).frames, 1U);
    for (int i = 0; i < 2; ++i) {
      EXPECT_FALSE(reader.prepare_wait().ready);
      reader.finish_wait();
    }
    ASSERT_EQ(told.size(), 1U);
    EXPECT_LE(told[0], cut ? std::chrono::seconds(3600) : std::chrono::seconds(6999));
    EXPECT_GT(told[0], cut ? std::chrono::seconds(3000) : std::chrono::seconds(6000));
  }
}

template <class Writer>
class StalledReader : public testing::Test {};
using StalledWriters = testing::Types<PcapWriter, PcapngWriter>;
TYPED_TEST_SUITE(StalledReader, StalledWriters);

TYPED_TEST(StalledReader, IsLeftWhenTheStopDescriptorSaysSo) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd output(ends[0]);
  const UniqueFd input(ends[1]);
  const UniqueFd stop(eventfd(1, EFD_CLOEXEC));
  Result<void> status;
  {
    const InPlaceOf standard(STDOUT_FILENO, input.get());
    auto writer = TypeParam::create("-", {.stop_descriptor = stop.get()}).value();
    for (int i = 0; i < 2000; ++i) {  // more than a pipe takes, also with pages of 64 KiB
      const Bytes frame = make_frame(1000, 1);
      const FrameView view(frame.data(), frame.size());
      static_cast<void>(writer.send({&view, 1}));
    }
    static_cast<void>(writer.flush());
    status = writer.status();
  }
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, std::errc::timed_out);
  EXPECT_NE(status.error().message.find("its reader took nothing"), std::string::npos);
  EXPECT_EQ(fcntl(input.get(), F_GETFL) & O_NONBLOCK, 0) << "others use that descriptor, too";
}

// Captures of other machines and other programs: in the other byte order, with records of the
// modified format of pcap, and with each of the packet blocks of pcapng. What is compared is what
// only a reader that walks over the records knows: frame check sequences and flags.

/// Writes numbers in one of the two byte orders.
class CaptureText {
 public:
  explicit CaptureText(bool big) : big_(big) {}
  CaptureText& word(std::uint64_t value) { return number(value, 4); }
  CaptureText& half(std::uint64_t value) { return number(value, 2); }
  CaptureText& bytes(const Bytes& frame, std::size_t padded_to = 1) {
    text_.append(reinterpret_cast<const char*>(frame.data()), frame.size());
    text_.append((padded_to - frame.size() % padded_to) % padded_to, '\0');
    return *this;
  }
  CaptureText& option(unsigned code, const std::string& value) {
    half(code).half(value.size());
    text_ += value;
    text_.append((4 - value.size() % 4) % 4, '\0');
    return *this;
  }
  CaptureText& block(unsigned type, const CaptureText& body) {
    word(type).word(body.text_.size() + 12);
    text_ += body.text_;
    return word(body.text_.size() + 12);
  }
  CaptureText& then(const CaptureText& other) {
    text_ += other.text_;
    return *this;
  }
  CaptureText more() const { return CaptureText(big_); }
  /// A number as the value of an option.
  std::string value(std::uint64_t number) const { return CaptureText(big_).word(number).text(); }
  const std::string& text() const { return text_; }

 private:
  CaptureText& number(std::uint64_t value, unsigned size) {
    for (unsigned i = 0; i < size; ++i)
      text_ += static_cast<char>(value >> 8 * (big_ ? size - 1 - i : i));
    return *this;
  }
  bool big_;
  std::string text_;
};

/// The lengths of the frames of that capture.
std::vector<std::size_t> lengths_in(const std::string& capture) {
  const TempDir dir;
  write_file(dir.file("a"), capture);
  auto opened = PcapReader::open(dir.file("a"));
  if (!opened) {
    ADD_FAILURE() << opened.error().message;
    return {};
  }
  FrameBatch batch;
  std::vector<std::size_t> lengths;
  for (const FrameView& frame : read_all(*opened, batch)) lengths.push_back(frame.size());
  const auto status = opened->status();
  EXPECT_TRUE(status) << status.error().message;
  return lengths;
}
using FrameLengths = std::vector<std::size_t>;

/// A pcap whose frames have that many half-words of a frame check sequence.
std::string pcap_of(bool big, std::uint32_t magic, const std::vector<Bytes>& frames,
                    std::uint32_t fcs_halves) {
  CaptureText out(big);
  out.word(magic).half(2).half(4).word(0).word(0).word(65535);
  out.word(1U | 0x04000000U | fcs_halves << 28U);
  for (const Bytes& frame : frames) {
    out.word(1).word(2).word(frame.size()).word(frame.size());
    if (magic == 0xa1b2cd34) out.word(3).half(0x0800).half(0);
    out.bytes(frame);
  }
  return out.text();
}

TEST(CaptureOrders, APcapOfEachKindAndOrderIsWalkedOver) {
  const std::vector<Bytes> frames{make_frame(64, 1), make_frame(61, 2), make_frame(1518, 3)};
  for (const bool big : {false, true}) {
    for (const std::uint32_t magic : {0xa1b2c3d4U, 0xa1b23c4dU, 0xa1b2cd34U}) {
      EXPECT_EQ(lengths_in(pcap_of(big, magic, frames, 0)), (FrameLengths{64, 61, 1518}))
          << magic << big;
      EXPECT_EQ(lengths_in(pcap_of(big, magic, frames, 1)), (FrameLengths{62, 59, 1516}))
          << magic << big;
      EXPECT_EQ(lengths_in(pcap_of(big, magic, frames, 2)), (FrameLengths{60, 57, 1514}))
          << magic << big;
    }
  }
}

/// Begins a pcapng.
CaptureText section(bool big) {
  CaptureText out(big);
  CaptureText body(big);
  body.word(0x1a2b3c4d).half(1).half(0).word(UINT32_MAX).word(UINT32_MAX);
  out.block(0x0a0d0d0a, body);
  return out;
}
CaptureText interface_with(const CaptureText& file, std::size_t fcs_bytes) {
  CaptureText body = file.more();
  body.half(1).half(0).word(65535);
  if (fcs_bytes != 0) body.option(13, std::string(1, static_cast<char>(fcs_bytes))).word(0);
  return body;
}
/// `options`: behind the frame.
CaptureText enhanced(const CaptureText& file, std::size_t interface, const Bytes& frame,
                     const CaptureText& options) {
  CaptureText body = file.more();
  body.word(interface).word(0).word(1).word(frame.size()).word(frame.size()).bytes(frame, 4);
  return body.then(options);
}
CaptureText obsolete(const CaptureText& file, std::size_t interface, const Bytes& frame) {
  CaptureText body = file.more();
  body.half(interface).half(7).word(0).word(1).word(frame.size()).word(frame.size());
  return body.bytes(frame, 4);
}

TEST(CaptureOrders, EachPacketBlockIsOfItsInterface) {
  const Bytes frame = make_frame(64, 1), odd = make_frame(67, 2);
  for (const bool big : {false, true}) {
    CaptureText out = section(big);
    const CaptureText none = out.more();
    // The interfaces 0, 1 and 2 have four, no and two bytes of a frame check sequence.
    for (const std::size_t fcs : {4U, 0U, 2U}) out.block(1, interface_with(out, fcs));
    for (const std::size_t interface : {2U, 0U, 1U}) {
      out.block(6, enhanced(out, interface, frame, none));
      out.block(2, obsolete(out, interface, odd));
    }
    out.block(3, out.more().word(odd.size()).bytes(odd, 4));  // of the first interface
    EXPECT_EQ(lengths_in(out.text()), (FrameLengths{62, 65, 60, 63, 64, 67, 63})) << big;
  }
}

TEST(CaptureOrders, OnlyAnOptionThatIsWhatItShouldBeCounts) {
  const Bytes frame = make_frame(65, 1);
  for (const bool big : {false, true}) {
    CaptureText out = section(big);
    out.block(1, interface_with(out, 0));
    const std::string four = out.value(4U << 5U);
    const auto add = [&](const CaptureText& options) {
      out.block(6, enhanced(out, 0, frame, options));
    };
    add(out.more().option(2, four));                                           // without an end
    add(out.more().option(1, "hello").option(2, four).word(0));                // the second one
    add(out.more().option(2, four).option(4, "12345678").word(0));             // the first one
    add(out.more().option(2, out.value(2U << 5U)).word(0));                    // two bytes
    add(out.more().word(0).option(2, four));                                   // behind the end
    add(out.more().option(2, four.substr(0, 2)).word(0));                      // too short
    add(out.more().option(13, std::string(1, '\4')).option(3, four).word(0));  // others
    EXPECT_EQ(lengths_in(out.text()), (FrameLengths{61, 61, 61, 63, 65, 65, 65})) << big;
  }
}

TEST(CaptureOrders, FramesThatTheCaptureCallsUnsegmentedAreCounted) {
  const Bytes frame = make_frame(64, 1);
  constexpr std::uint32_t kSegmented = 1U << 11U;
  for (const bool big : {false, true}) {
    CaptureText out = section(big);
    out.block(1, interface_with(out, 0));
    for (const std::uint32_t flags : {kSegmented, 0U, kSegmented | 1U, kSegmented - 1, ~kSegmented,
                                      kSegmented << 1U, kSegmented >> 1U, kSegmented}) {
      out.block(6, enhanced(out, 0, frame, out.more().option(2, out.value(flags & ~0x1e0U))));
    }
    const TempDir dir;
    write_file(dir.file("a"), out.text());
    PcapReader reader = PcapReader::open(dir.file("a")).value();
    EXPECT_EQ(reader.unsegmented(), 0U);
    FrameBatch batch;
    EXPECT_EQ(read_all(reader, batch).size(), 8U);
    EXPECT_EQ(reader.unsegmented(), 3U) << big;
  }
}

}  // namespace
}  // namespace shmif::test
