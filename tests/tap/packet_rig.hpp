#pragma once
// Cables between namespaces, packet links to them, and the host's side of a device under test: a
// packet socket on its interface, independent of PacketLink.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "bus/frame.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {

using shmif::test::Bytes;

/// Sends frames out of an interface and hears what arrives at it.
class PacketPeer {
 public:
  PacketPeer(const TestNamespace& where, const std::string& interface) {
    const Inside inside(where);
    socket_.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    set(SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20);
    set(SOL_SOCKET, SO_SNDBUFFORCE, 64 << 20);
    set(SOL_PACKET, PACKET_AUXDATA, 1);
    set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(ETH_P_ALL);
    to.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      throw std::system_error(errno, std::generic_category(), "bind to " + interface);
    }
  }

  void send(const Bytes& frame) {
    for (;;) {
      if (::send(socket_.get(), frame.data(), frame.size(), 0) >= 0) return;
      if (errno != EAGAIN && errno != ENOBUFS) {
        throw std::system_error(errno, std::generic_category(),
                                "send of " + std::to_string(frame.size()) + " bytes");
      }
      pollfd p{.fd = socket_.get(), .events = POLLOUT, .revents = 0};
      ::poll(&p, 1, 10);
    }
  }

  /// All that has arrived, with tags put back where the kernel took them out.
  std::vector<Bytes> heard() {
    std::vector<Bytes> frames;
    for (;;) {
      Bytes frame(70000);
      iovec part{frame.data(), frame.size()};
      alignas(cmsghdr) std::array<char, 256> control{};
      msghdr header{};
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      header.msg_control = control.data();
      header.msg_controllen = control.size();
      const ssize_t n = ::recvmsg(socket_.get(), &header, 0);
      if (n < 0) return frames;
      frame.resize(static_cast<std::size_t>(n));
      for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
        tpacket_auxdata aux{};
        std::memcpy(&aux, CMSG_DATA(c), sizeof aux);
        if ((aux.tp_status & TP_STATUS_VLAN_VALID) == 0) continue;
        const unsigned type = aux.tp_vlan_tpid;
        const unsigned tci = aux.tp_vlan_tci;
        const std::array<unsigned, 4> tag{type >> 8U, type & 255U, tci >> 8U, tci & 255U};
        auto at = frame.begin() + 12;
        for (const unsigned b : tag) at = frame.insert(at, static_cast<std::byte>(b)) + 1;
      }
      frames.push_back(std::move(frame));
    }
  }

 private:
  void set(int level, int option, int value) {
    ::setsockopt(socket_.get(), level, option, &value, sizeof value);
  }
  UniqueFd socket_;
};

/// The frames that the conformance suite made: the kernel has something to say on a device as well.
inline std::vector<Bytes> own(std::vector<Bytes> frames) {
  std::erase_if(frames, [](const Bytes& f) {
    return !shmif::test::is_suite_frame(FrameView(f.data(), f.size()));
  });
  return frames;
}

/// Waits until `count` of them have arrived at `peer`: a busy kernel passes frames on when it finds
/// the time, not before the sender's call returns.
inline std::vector<Bytes> await_own(PacketPeer& peer, std::size_t count) {
  std::vector<Bytes> all;
  for (int looks = 0; looks < 10'000; ++looks) {
    for (Bytes& frame : own(peer.heard())) all.push_back(std::move(frame));
    if (all.size() >= count) break;
    ::usleep(2000);
  }
  return all;
}

/// What a device link counts is what it sent to `peer`, and what it received from the other end.
template <class DeviceLink>
void expect_counts(DeviceLink& link, PacketPeer& peer) {
  using shmif::test::make_frame;
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(200, 2), make_frame(1514, 3)};
  const DeviceCounters before = link.counters();
  EXPECT_EQ(link.send(shmif::test::views(frames)).taken, frames.size());
  EXPECT_EQ(link.counters().sent_frames - before.sent_frames, frames.size());
  EXPECT_EQ(link.counters().sent_bytes - before.sent_bytes, 60U + 200 + 1514);
  std::vector<Bytes> many;  // more than go to the kernel at once
  std::size_t bytes_of_many = 0;
  for (std::size_t i = 0; i < 70; ++i) {
    many.push_back(make_frame(60 + i, i));
    bytes_of_many += many.back().size();
  }
  const DeviceCounters first = link.counters();
  EXPECT_EQ(link.send(shmif::test::views(many)).taken, many.size());
  EXPECT_EQ(link.counters().sent_frames - first.sent_frames, many.size());
  EXPECT_EQ(link.counters().sent_bytes - first.sent_bytes, bytes_of_many);
  for (const Bytes& frame : frames) peer.send(frame);
  // The kernel at the other end sends frames of its own.
  std::uint64_t received = 0, bytes = 0;
  std::size_t ours = 0;
  FrameBatch batch(64, 1 << 20);
  while (ours < frames.size() && shmif::test::wait_for(link, std::chrono::seconds(10))) {
    batch.clear();
    ASSERT_FALSE(link.receive(batch).error);
    for (const FrameView& frame : batch.frames()) {
      ours += shmif::test::is_suite_frame(frame) ? 1U : 0U;
      ++received;
      bytes += frame.size();
    }
  }
  EXPECT_EQ(ours, frames.size());
  EXPECT_EQ(link.counters().received_frames - before.received_frames, received);
  EXPECT_EQ(link.counters().received_bytes - before.received_bytes, bytes);
  // Of a frame that finds too little room, all bytes count.
  peer.send(frames[1]);
  FrameBatch small(1, 64);
  for (bool seen = false; !seen && shmif::test::wait_for(link, std::chrono::seconds(10));) {
    small.clear();
    ASSERT_FALSE(link.receive(small).error);
    for (const FrameView& frame : small.frames()) {
      seen = seen || shmif::test::is_suite_frame(frame);
      bytes += frame.truncated() ? frame.true_bytes : frame.size();
    }
    EXPECT_TRUE(!seen || small[0].truncated());
  }
  EXPECT_EQ(link.counters().received_bytes - before.received_bytes, bytes);
}

/// Gives `interface` in `where` the address 198.18.0.2, and sends UDP from there to 198.18.0.1,
/// which need not exist. One call sends all datagrams of `datagram_bytes`; the host leaves it to
/// its device to cut them and to compute their checksums. If the device computes no checksums,
/// Debian's 6.1 refuses that (EIO), and each datagram is sent by a call of its own.
inline void send_udp(const TestNamespace& where, const std::string& interface,
                     std::size_t payload_bytes, int datagram_bytes) {
  ASSERT_TRUE(where.netlink().add_address(interface, *Cidr::parse("198.18.0.2/24")));
  ASSERT_EQ(run(where, {"ip", "neigh", "add", "198.18.0.1", "lladdr", "02:00:00:00:00:01", "dev",
                        interface})
                .status,
            0);
  const Inside inside(where);
  const UniqueFd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::setsockopt(udp.get(), SOL_UDP, UDP_SEGMENT, &datagram_bytes, sizeof datagram_bytes),
            0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = htonl(0xc6120001);
  const Bytes payload(payload_bytes, std::byte{0x5a});
  const auto send = [&](std::size_t bytes) {
    return ::sendto(udp.get(), payload.data(), bytes, 0, reinterpret_cast<const sockaddr*>(&to),
                    sizeof to);
  };
  const ssize_t sent = send(payload_bytes);
  if (sent == -1 && errno == EIO) {
    const auto bytes = static_cast<std::size_t>(datagram_bytes);
    const int whole = 0;
    ASSERT_EQ(::setsockopt(udp.get(), SOL_UDP, UDP_SEGMENT, &whole, sizeof whole), 0);
    ASSERT_EQ(payload_bytes % bytes, 0U);
    for (std::size_t at = 0; at < payload_bytes; at += bytes) {
      ASSERT_EQ(send(bytes), datagram_bytes);
    }
    return;
  }
  ASSERT_EQ(sent, static_cast<ssize_t>(payload_bytes));
}

/// Whether this is a frame of UDP over IPv4, by its EtherType and protocol.
inline bool is_udp(const FrameView& f) {
  return f.size() > 42 && f.bytes[12] == std::byte{8} && f.bytes[13] == std::byte{0} &&
         f.bytes[23] == std::byte{17};
}

/// Whether both checksums of an untagged IPv4 frame of UDP hold.
inline bool udp_checksums_hold(const FrameView& f) {
  const shmif::test::Shape shape{.tcp = false};
  const Bytes bytes(f.bytes.begin(), f.bytes.end());
  return header_checksum_holds(shape, bytes) && transport_checksum_holds(shape, bytes);
}

/// What LinkConformance asks of a live link to a device with this MTU at whose other end a peer is.
template <std::uint32_t kMtu>
class DeviceRig {
 public:
  static constexpr bool kSends = true;
  static constexpr bool kReceives = true;
  static constexpr bool kLive = true;
  static constexpr bool kEnds = true;

  DeviceRig(const TestNamespace& where, const std::string& interface) : peer_(where, interface) {}
  std::size_t largest() const { return kMtu + kEthernetHeaderBytes; }
  void feed(const std::vector<Bytes>& frames) {
    for (const Bytes& f : frames) peer_.send(f);
  }
  std::vector<Bytes> heard() { return own(peer_.heard()); }

 private:
  PacketPeer peer_;
};

/// A veth cable: the link's end "v0" in one namespace, the other host's "v1" in another.
struct Cable {
  TestNamespace here;
  TestNamespace there;

  explicit Cable(std::uint32_t mtu = 1500) {
    const NetNamespace peer = there.space();
    Netlink a = here.netlink();
    a.add_veth("v0", "v1", &peer).value();
    Netlink b = there.netlink();
    a.disable_ipv6("v0").value();
    a.set_mtu("v0", mtu).value();
    b.set_mtu("v1", mtu).value();
    a.set_up("v0").value();
    b.set_up("v1").value();
    a.wait_for_carrier("v0", std::chrono::seconds(30)).value();
  }
  PacketLink open(bool offload = false) const {
    const NetNamespace where = here.space();
    return PacketLink::open("v0", {.promiscuous = true, .where = &where, .offload = offload})
        .value();
  }
};

class PacketFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_namespaces_because(); !why.empty()) GTEST_SKIP() << why;
  }
};

// Frames of UDP flows, as the kernel of another guest hands them to its TAP device: whole, each
// with an unfinished checksum.

using shmif::test::Bytes;
using shmif::test::set16;

/// Every field has a value of its own. Station and host 1 of 198.18.0.0/24 and fd00::/64 send to 2.
struct Flow {
  bool v6 = false;
  std::uint16_t from = 4001;
  std::uint16_t to = 4002;
  bool may_be_fragmented = false;

  shmif::test::Shape shape() const { return {.v6 = v6, .tcp = false}; }
  std::size_t header_bytes() const { return shape().payload(); }
};

inline Bytes random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// Writes the checksum of the IPv4 header and the unfinished one of UDP anew.
inline void restore_sums(const Flow& flow, Bytes& f) {
  const shmif::test::Shape shape = flow.shape();
  if (!flow.v6) {
    set16(f, 24, 0);
    set16(f, 24, ~shmif::test::plain_sum(f, 14, 34) & 0xffffU);
  }
  const unsigned sum = shmif::test::pseudo_sum(shape, f);
  set16(f, shape.l4() + 6, (sum & 0xffffU) + (sum >> 16U));
}

inline Bytes datagram(const Flow& flow, const Bytes& payload, unsigned identification = 7) {
  const shmif::test::Shape shape = flow.shape();
  Bytes f(shape.payload() + payload.size());
  const auto put = [&](std::size_t at, std::initializer_list<unsigned> bytes) {
    for (const unsigned b : bytes) f.at(at++) = static_cast<std::byte>(b);
  };
  put(0, {0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1});
  if (flow.v6) {
    put(12, {0x86, 0xdd, 0x62, 0x81, 0x23, 0x45});  // traffic class 0x28, flow label 0x12345
    set16(f, 18, f.size() - 54);
    put(20, {17, 61, 0xfd});
    put(37, {1, 0xfd});
    put(53, {2});
  } else {
    put(12, {8, 0, 0x45, 0x28});
    set16(f, 16, f.size() - 14);
    set16(f, 18, identification & 0xffffU);
    put(20, {flow.may_be_fragmented ? 0U : 0x40U, 0, 61, 17});
    put(26, {198, 18, 0, 1, 198, 18, 0, 2});
  }
  set16(f, shape.l4(), flow.from);
  set16(f, shape.l4() + 2, flow.to);
  set16(f, shape.l4() + 4, 8 + payload.size());
  if (!payload.empty()) std::memcpy(f.data() + shape.payload(), payload.data(), payload.size());
  restore_sums(flow, f);
  return f;
}

/// A frame of `flow` as a view, which says that its checksum is unfinished.
inline FrameView unfinished(const Flow& flow, const Bytes& frame) {
  FrameView view(frame.data(), frame.size());
  view.offload = header_for(flow.shape(), 0);
  return view;
}

}  // namespace shmif::tap::test
