#pragma once
// Programs with sockets for tests: the peers of a bridge with stream: and dgram: links.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/port.hpp"
#include "shmif/stream_link.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {

inline const MacAddress kEverybody = MacAddress::from_u64(0xffff'ffff'ffff);

inline MacAddress mac_number(unsigned number) {
  return MacAddress::from_u64(0x0200'0000'0000U + number);
}

inline std::vector<std::byte> peer_frame(MacAddress to, MacAddress from, unsigned mark,
                                         std::size_t bytes = 60) {
  std::vector<std::byte> frame(bytes, static_cast<std::byte>(mark));
  std::memcpy(frame.data(), to.bytes.data(), to.bytes.size());
  std::memcpy(frame.data() + 6, from.bytes.data(), from.bytes.size());
  frame[12] = std::byte{0x88};
  frame[13] = std::byte{0xb6};
  return frame;
}

template <class L>
bool put(L& link, const std::vector<std::byte>& frame) {
  const FrameView view(frame.data(), frame.size());
  return link.send(std::span<const FrameView>(&view, 1)).taken == 1;
}

/// The marks of what arrives, until `count` frames have come or half a minute has passed.
template <class L>
std::vector<unsigned> marks_from(L& link, std::size_t count) {
  std::vector<unsigned> marks;
  FrameBatch batch;
  static_cast<void>(eventually([&] {
    batch.clear();
    static_cast<void>(link.receive(batch));
    for (const FrameView& f : batch.frames())
      marks.push_back(std::to_integer<unsigned>(f.bytes[14]));
    return marks.size() >= count;
  }));
  return marks;
}
using Marks = std::vector<unsigned>;

inline sockaddr_un address_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

class BridgeOfPeers : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(run_tool({"create", bus_, "--size", "64K"}).status, 0); }

  std::string file(const std::string& name) const { return directory_.file(name); }
  std::unique_ptr<Tool> bridge(const std::string& link, std::vector<std::string> more = {}) const {
    std::vector<std::string> words{shmifctl_path(), "bridge", "bus:" + bus_, link};
    words.insert(words.end(), more.begin(), more.end());
    return std::make_unique<Tool>(words);
  }
  /// The bridge at "q", once it listens.
  std::unique_ptr<Tool> listening(std::vector<std::string> more = {}) const {
    auto tool = bridge("stream:" + file("q"), std::move(more));
    EXPECT_TRUE(tool->wait_for("ready")) << tool->so_far().err;
    return tool;
  }
  UniqueFd connected() const {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_at(file("q"));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    return socket;
  }
  StreamLink peer() const { return StreamLink::adopt(connected(), {.address = "peer"}); }
  Port port(const std::string& name = {}) const {
    Port made({.name = name});
    made.attach(bus_).value();
    EXPECT_FALSE(made.up());
    return made;
  }
  /// Waits until so many ports are up.
  void wait_for_ports(std::size_t count) const {
    EXPECT_TRUE(eventually([&] {
      const auto ports = Bus::open(bus_).value().info().ports;
      return static_cast<std::size_t>(std::ranges::count_if(ports, &PortInfo::up)) == count;
    }));
  }
  /// Waits until the port of the program "port0" has received so many frames, and a little longer:
  /// then they have been passed on.
  void wait_until_taken(std::uint64_t frames) const {
    EXPECT_TRUE(eventually([&] {
      const auto ports = Bus::open(bus_).value().info().ports;
      return std::ranges::any_of(
          ports, [&](const PortInfo& p) { return p.name == "port0" && p.rx_frames == frames; });
    }));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  static ToolResult end(Tool& tool) {
    tool.signal(SIGTERM);
    return tool.finish();
  }

  TempDir directory_;
  const std::string bus_ = directory_.file("bus");
};

/// A program with a datagram socket at "vm".
class DatagramPeer {
 public:
  DatagramPeer(const std::string& here, const std::string& there,
               std::size_t max_frame_bytes = DatagramOptions{}.max_frame_bytes) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ::unlink(here.c_str());
    const sockaddr_un address = address_at(here);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const sockaddr_un far = address_at(there);
    DatagramOptions options{.max_frame_bytes = max_frame_bytes, .address = "vm"};
    options.remote.emplace();
    std::memcpy(&options.remote->storage, &far, sizeof far);
    options.remote->size = sizeof far;
    link.emplace(DatagramLink::adopt(std::move(socket), options));
  }
  std::optional<DatagramLink> link;
};

}  // namespace shmif::test
