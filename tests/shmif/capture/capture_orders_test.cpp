// Captures of other machines and other programs: in the other byte order, with records of the
// modified format of pcap, and with each of the packet blocks of pcapng. What is compared is what
// only a reader that walks over the records knows: frame check sequences and flags.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/shmif/capture/captures.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

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
