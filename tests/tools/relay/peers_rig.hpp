#pragma once
// Bridges for tests: between buses, and to programs with sockets, the peers of links such as
// stream: and dgram:.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/port.hpp"
#include "shmif/stream_link.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/bus_rig.hpp"

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

/// A socket that listens at `path`.
class Listener {
 public:
  explicit Listener(const std::string& path)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_un address = address_at(path);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    EXPECT_EQ(::listen(socket_.get(), 4), 0);
  }
  /// The next program that connects; not open if none does in time.
  UniqueFd accept() const {
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, static_cast<int>(kGenerousTime.count())) != 1) {
      ADD_FAILURE() << "nobody connected";
      return {};
    }
    return UniqueFd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }

 private:
  UniqueFd socket_;
};

inline UniqueFd connected_to(const std::string& path, int type = SOCK_STREAM) {
  UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_at(path);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  return socket;
}

/// Waits until the other end has closed the connection. Result: whether it did.
inline bool is_closed(const UniqueFd& socket) {
  return eventually([&] {
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, MSG_DONTWAIT) == 0;
  });
}

/// The port of that name; of no name if there is none.
inline PortInfo port_named(const std::string& bus, const std::string& name) {
  const auto ports = Bus::open(bus).value().info().ports;
  const auto at = std::ranges::find(ports, name, &PortInfo::name);
  return at == ports.end() ? PortInfo{} : *at;
}

/// Waits until a port, up or not, has received so many frames.
inline bool has_heard(const std::string& bus, const std::string& name, std::uint64_t frames) {
  return eventually([&] {
    const PortInfo port = port_named(bus, name);
    return port.name == name && port.rx_frames >= frames;
  });
}

inline bool wait_for_port_up(const std::string& bus, const std::string& name) {
  return eventually([&] {
    const PortInfo port = port_named(bus, name);
    return port.live && port.up && port.name == name;
  });
}

/// Writes over the whole ring of a bus.
inline void spoil_ring(const std::string& bus) {
  const std::uint64_t bytes = Bus::open(bus).value().info().ring_bytes;
  std::fstream ring(bus, std::ios::in | std::ios::out | std::ios::binary);
  ring.seekp(-static_cast<std::streamoff>(bytes), std::ios::end);
  ring << std::string(bytes, '\xff');
}

/// The number in the first match of `pattern` in `text`; -1 if there is none.
inline long long number_in(const std::string& text, const std::string& pattern) {
  std::smatch found;
  return std::regex_search(text, found, std::regex(pattern)) ? std::stoll(found[1]) : -1;
}

/// A command line without its program, and what its one line on standard error must have.
struct Wrong {
  Words words;
  std::string said;
};

inline void expect_refused(const std::vector<Wrong>& wrong, int status = 2) {
  for (const Wrong& each : wrong) {
    const ToolResult result = run_tool(each.words);
    EXPECT_EQ(result.status, status) << testing::PrintToString(each.words) << result.err;
    EXPECT_TRUE(contains(result.err, each.said));
    EXPECT_EQ(count_of_lines(result.err), 1) << result.err;
  }
}

class BridgeOfPeers : public ::testing::Test {
 protected:
  explicit BridgeOfPeers(std::uint64_t ring_bytes = 64U << 10U) {
    Bus::create(bus_, {.ring_bytes = ring_bytes}).value();
  }

  std::string file(const std::string& name) const { return directory_.file(name); }
  std::unique_ptr<Tool> bridge(const std::string& link, const Words& more = {}) const {
    return std::make_unique<Tool>(Words{shmifctl_path(), "bridge", "bus:" + bus_, link} + more);
  }
  /// The bridge at "q", once it listens.
  std::unique_ptr<Tool> listening(const Words& more = {}) const {
    auto tool = bridge("stream:" + file("q"), more);
    EXPECT_TRUE(tool->wait_for("ready"));
    return tool;
  }
  UniqueFd connected() const { return connected_to(file("q")); }
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
