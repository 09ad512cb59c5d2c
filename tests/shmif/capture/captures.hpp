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

inline void put32(std::string& out, std::uint32_t v) {
  out.append(reinterpret_cast<const char*>(&v), 4);
}

/// The head of a classic pcap file.
inline std::string file_header(std::uint32_t magic = 0xa1b2c3d4, std::uint32_t link_type = 1) {
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
inline std::string record(std::uint32_t seconds, std::uint32_t fraction, const Bytes& frame,
                          std::size_t captured) {
  std::string out;
  put32(out, seconds);
  put32(out, fraction);
  put32(out, static_cast<std::uint32_t>(captured));
  put32(out, static_cast<std::uint32_t>(frame.size()));
  out.append(reinterpret_cast<const char*>(frame.data()), captured);
  return out;
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
