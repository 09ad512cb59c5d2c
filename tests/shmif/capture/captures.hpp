#pragma once
// Capture files for tests: made by hand or by a writer, read back, and in the place of standard
// streams.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {

inline bool have_tshark() {
  return std::system("command -v tshark >/dev/null 2>&1") == 0;
}

/// Puts another descriptor in the place of a standard stream for a while. If that is standard
/// output, nothing may be expected meanwhile, for a failure would be printed there.
class InPlaceOf {
 public:
  InPlaceOf(int stream, int other) : stream_(stream), kept_(fcntl(stream, F_DUPFD_CLOEXEC, 3)) {
    EXPECT_EQ(dup2(other, stream), stream);
  }
  InPlaceOf(const InPlaceOf&) = delete;
  InPlaceOf& operator=(const InPlaceOf&) = delete;
  ~InPlaceOf() { dup2(kept_.get(), stream_); }

 private:
  int stream_;
  UniqueFd kept_;
};

/// Numbers in the byte order of this machine.
inline std::string in_words(std::initializer_list<std::uint32_t> values) {
  std::string out;
  for (const std::uint32_t v : values) out.append(reinterpret_cast<const char*>(&v), sizeof v);
  return out;
}

/// The head of a classic pcap file.
inline std::string file_header(std::uint32_t magic = 0xa1b2c3d4, std::uint32_t link_type = 1) {
  return in_words({magic, 4U << 16U | 2U, 0, 0, 262144, link_type});
}

/// A record of `frame`, of which `captured` bytes are there.
inline std::string record(std::uint32_t seconds, std::uint32_t fraction, const Bytes& frame,
                          std::size_t captured) {
  return in_words({seconds, fraction, static_cast<std::uint32_t>(captured),
                   static_cast<std::uint32_t>(frame.size())}) +
         std::string(reinterpret_cast<const char*>(frame.data()), captured);
}

// What a pcapng file consists of.

inline std::string pcapng_block(std::uint32_t type, std::string body) {
  body.resize((body.size() + 3) & ~std::size_t{3});
  const auto bytes = static_cast<std::uint32_t>(body.size() + 12);
  return in_words({type, bytes}) + body + in_words({bytes});
}

inline std::string pcapng_option(std::uint16_t code, const std::string& value) {
  std::string out = in_words({static_cast<std::uint32_t>(value.size()) << 16U | code}) + value;
  out.resize((out.size() + 3) & ~std::size_t{3});
  return out;
}

inline const std::string kPcapngSection =
    pcapng_block(0x0a0d0d0a, in_words({0x1a2b3c4d, 1, UINT32_MAX, UINT32_MAX}));

inline std::string pcapng_interface(const std::string& options = {}, std::uint32_t snap = 65535) {
  return pcapng_block(1, in_words({1, snap}) + (options.empty() ? "" : options + in_words({0})));
}

inline std::string pcapng_packet(const Bytes& frame, const std::string& options = {},
                                 std::uint32_t interface = 0) {
  const auto size = static_cast<std::uint32_t>(frame.size());
  std::string data(reinterpret_cast<const char*>(frame.data()), frame.size());
  data.resize((data.size() + 3) & ~std::size_t{3});
  return pcapng_block(6, in_words({interface, 0, 1, size, size}) + data +
                             (options.empty() ? "" : options + in_words({0})));
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Writes frames with PcapWriter, one microsecond and one nanosecond apart.
inline void write_capture(const std::string& path, const std::vector<Bytes>& frames,
                          std::uint64_t apart_ns = 1001) {
  auto writer = PcapWriter::create(path).value();
  std::uint64_t time = 1'700'000'000'123'456'789;
  for (const Bytes& bytes : frames) {
    FrameView frame(bytes.data(), bytes.size());
    frame.time_ns = time += apart_ns;
    ASSERT_EQ(writer.send({&frame, 1}).taken, 1U);
  }
}

inline std::vector<FrameView> read_all(PcapReader& reader, FrameBatch& batch) {
  while (!reader.receive(batch).error) (void)wait_for(reader, std::chrono::seconds(10));
  return {batch.frames().begin(), batch.frames().end()};
}

}  // namespace shmif::test
