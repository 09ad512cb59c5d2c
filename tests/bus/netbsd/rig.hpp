#pragma once
// A bus of NetBSD's format, and frames on it as bytes.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/support/netbsd_peer.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {

using Octets = NetbsdPeer::Bytes;

class NetbsdBus {
 public:
  NetbsdBus() : path_(dir_.file("bus")) {
    Bus::create(path_, {.format = BusFormat::netbsd}).value();
  }
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return dir_.file(name); }

 private:
  TempDir dir_;
  std::string path_;
};

/// From `source` to `to`, with as much of a number as `size`, at least 14, has room for.
inline Octets frame_of(MacAddress to, std::uint64_t number, std::size_t size = 100,
                       std::uint64_t source = 0xb2a000000001) {
  Octets bytes(size, static_cast<unsigned char>(number));
  const std::uint64_t destination = to.to_u64();
  for (unsigned i = 0; i < 6; ++i) {
    bytes[i] = static_cast<unsigned char>(destination >> (40 - 8 * i));
    bytes[6 + i] = static_cast<unsigned char>(source >> (40 - 8 * i));
  }
  bytes[12] = 0x88;
  bytes[13] = 0xb6;
  std::memcpy(bytes.data() + 14, &number, std::min(sizeof number, size - 14));
  return bytes;
}
inline const MacAddress kEverybody = MacAddress::from_u64(0xffffffffffff);

inline FrameView view_of(const Octets& bytes) {
  return {bytes.data(), bytes.size()};
}
inline Octets octets_of(const FrameView& frame) {
  Octets bytes(frame.size());
  std::memcpy(bytes.data(), frame.bytes.data(), frame.size());
  return bytes;
}

inline std::vector<Octets> receive_all(Port& port) {
  std::vector<Octets> frames;
  FrameBatch batch;
  while (port.receive(batch).frames > 0) {
    for (const FrameView& frame : batch.frames()) frames.push_back(octets_of(frame));
    batch.clear();
  }
  return frames;
}

}  // namespace shmif::test
