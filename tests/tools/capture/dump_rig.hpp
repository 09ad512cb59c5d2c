#pragma once
// `shmifctl dump` on the bus of a rig, also where it is overrun, and what its files hold.

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "bus/layout.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

/// Its command line, with `more` words.
inline Words dump(const BusRig& rig, const Words& more) {
  return Words{shmifctl_path(), "dump", rig.path()} + more;
}
/// The same for what is on the bus already.
inline Words history(const BusRig& rig, const Words& more = {}) {
  return dump(rig, Words{"--history", "--timeout", "0"} + more);
}
inline ToolResult dump_history(const BusRig& rig, const Words& more = {}) {
  return run_program(history(rig, more));
}

/// In front of a command: runs it as somebody else, for whom the folder of the bus is opened.
inline Words as_somebody_else() {
  return {"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"};
}

/// In front of a command: lets no file grow beyond 8192 bytes, as if the disk were full.
inline Words on_a_full_disk() {
  return {"bash", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash"};
}

/// Sends a super-frame to all: of ten segments, unless it has another payload.
inline void send_super_frame(Port& port, bool tcp = true, std::size_t payload = 14'000) {
  const Shape shape{.tcp = tcp};
  Bytes bytes = build(shape, payload, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for(shape, 1'400);
  ASSERT_EQ(port.send({&frame, 1}).taken, 1U);
}

/// Damages the beginning of the ring.
inline void corrupt(const BusRig& rig) {
  std::fstream file(rig.path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(bus::kRingOffset));
  file << std::string(4096, 'x') << std::flush;
}

/// Stops `tool`, a dump whose port is named "ear", while `send_all` overruns it, and ends it when
/// every frame of the bus has passed that port.
template <class SendAll>
ToolResult overrun(const BusRig& rig, Tool& tool, SendAll send_all) {
  tool.stop();
  send_all();
  tool.signal(SIGCONT);
  static_cast<void>(eventually([&] {
    const BusInfo info = Bus::open(rig.path()).value().info();
    return std::ranges::any_of(info.ports, [&](const PortInfo& p) {
      return p.name == "ear" && p.rx_frames + p.lost_frames == info.frames;
    });
  }));
  tool.signal(SIGINT);
  return tool.finish();
}

/// As many frames as overrun a reader of a bus of the least size.
inline void send_200_frames(Port& port) {
  for (int i = 0; i < 10; ++i) send(port, std::vector<Bytes>(20, make_frame(1000, 1)));
}

/// What a dump said at its end; both 0 when it said something else.
struct OverrunDump {
  unsigned long long captured = 0, lost = 0;

  explicit OverrunDump(const std::string& said) {
    if (std::sscanf(said.c_str(), "%llu %*s captured, 0 filtered out, %llu lost", &captured,
                    &lost) != 2) {
      ADD_FAILURE() << said;
      captured = lost = 0;
    }
  }
};

/// Runs a dump with `options` to a file on a bus of the least size, and overruns it.
inline OverrunDump overrun_dump(const BusRig& rig, Port& port, const Words& options) {
  Tool tool(dump(rig, Words{"--name", "ear"} + options));
  if (!rig.wait_for_port("ear")) return OverrunDump("");
  return OverrunDump(overrun(rig, tool, [&] { send_200_frames(port); }).err);
}

inline std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string text_of(const Bytes& frame) {
  return {reinterpret_cast<const char*>(frame.data()), frame.size()};
}

/// The number of so many bytes there; 0 beyond the end.
inline std::uint64_t number_at(const std::string& bytes, std::size_t at, std::size_t size = 4) {
  std::uint64_t value = 0;
  if (at + size <= bytes.size()) std::memcpy(&value, bytes.data() + at, size);
  return value;
}

/// A block of a pcapng file.
struct Block {
  static constexpr std::uint64_t kInterface = 1, kStatistics = 5, kFrame = 6;
  static constexpr unsigned kDropCount = 4;                              ///< an option of a frame
  static constexpr unsigned kReceived = 4, kDropped = 5, kAccepted = 6;  ///< of statistics

  std::uint64_t type = 0;
  std::string bytes;
  std::map<unsigned, std::uint64_t> options;  ///< by their codes; of each the first eight bytes
};

inline std::vector<Block> blocks_of(const std::string& path) {
  const std::string all = bytes_of(path);
  std::vector<Block> blocks;
  for (std::size_t begin = 0; begin + 12 <= all.size();) {
    const std::uint64_t size = number_at(all, begin + 4);
    Block block{number_at(all, begin), all.substr(begin, size), {}};
    std::size_t at = block.bytes.size();
    if (block.type == Block::kInterface) at = 16;
    if (block.type == Block::kStatistics) at = 20;
    if (block.type == Block::kFrame) at = 28 + (number_at(block.bytes, 20) + 3) / 4 * 4;
    while (at + 8 <= block.bytes.size() && number_at(block.bytes, at, 2) != 0) {
      const std::size_t length = number_at(block.bytes, at + 2, 2);
      block.options[static_cast<unsigned>(number_at(block.bytes, at, 2))] =
          number_at(block.bytes, at + 4, std::min<std::size_t>(length, 8));
      at += 4 + (length + 3) / 4 * 4;
    }
    blocks.push_back(std::move(block));
    if (size < 12) break;
    begin += size;
  }
  return blocks;
}

/// What a pcapng file says of its first interface, which is the bus.
inline std::map<unsigned, std::uint64_t> statistics_in(const std::string& path) {
  std::map<unsigned, std::uint64_t> told;
  for (const Block& block : blocks_of(path)) {
    if (block.type != Block::kStatistics) continue;
    EXPECT_EQ(number_at(block.bytes, 8), 0U) << "of another interface";
    EXPECT_TRUE(told.empty()) << "said twice";
    told = block.options;
  }
  return told;
}

}  // namespace shmif::test
