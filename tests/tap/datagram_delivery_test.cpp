// Datagrams that a TAP device gets merged arrive as they were sent: at sockets, behind routers and
// bridges, whether or not the kernel can split them.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "bus/offload.hpp"
#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tap/tap_link.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/wake_means.hpp"
#include "tests/tap/packet_rig.hpp"
#include "tests/tap/tap_rig.hpp"

namespace shmif::tap::test {
namespace {

/// While set, writev() refuses super-frames of UDP, as a kernel before 6.2 does; and their number.
std::atomic<bool> refuse_merged{false};
std::atomic<int> merged_refused{0};

}  // namespace
}  // namespace shmif::tap::test

extern "C" ssize_t writev(int fd, const iovec* parts, int count) {
  using namespace shmif::tap::test;
  if (refuse_merged && count > 1 && parts[0].iov_len >= sizeof(shmif::Offload) &&
      static_cast<const std::uint8_t*>(parts[0].iov_base)[1] == shmif::Offload::kGsoUdp) {
    ++merged_refused;
    errno = EINVAL;
    return -1;
  }
  return syscall(SYS_writev, fd, parts, count);
}

namespace shmif::tap::test {
namespace {

constexpr std::uint16_t kFirstPort = 4002;
constexpr std::uint16_t kPorts = 3;
constexpr std::chrono::seconds kPatience{20};

/// What datagrams contain, in their order.
using Payloads = std::vector<Bytes>;

/// A UDP socket for both versions of IP, in a namespace.
class Sink {
 public:
  Sink(const TestNamespace& where, std::uint16_t port, bool joined = false) {
    const Inside inside(where);
    socket_.reset(::socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int room = 64 << 20, on = 1;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if (joined) ::setsockopt(socket_.get(), SOL_UDP, UDP_GRO, &on, sizeof on);
    sockaddr_in6 at{};
    at.sin6_family = AF_INET6;
    at.sin6_port = htons(port);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
  }

  /// What arrives, until it is so much or nothing comes any more.
  Payloads heard(std::size_t count) {
    Payloads all;
    while (all.size() < count && readable()) receive(all);
    return all;
  }
  std::size_t largest_read() const { return largest_read_; }

 private:
  bool readable() const {
    pollfd p{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&p, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())) > 0;
  }
  void receive(Payloads& all) {
    Bytes bytes(65536);
    iovec part{bytes.data(), bytes.size()};
    alignas(cmsghdr) std::array<char, 64> control{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t n = ::recvmsg(socket_.get(), &header, 0);
    ASSERT_GE(n, 0) << errno;
    bytes.resize(static_cast<std::size_t>(n));
    largest_read_ = std::max(largest_read_, bytes.size());
    int each = std::max(1, static_cast<int>(n));
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
        std::memcpy(&each, CMSG_DATA(c), sizeof each);
    }
    for (auto at = bytes.begin(); at < bytes.end();) {
      const auto end = at + std::min<std::ptrdiff_t>(each, bytes.end() - at);
      all.emplace_back(at, end);
      at = end;
    }
  }
  UniqueFd socket_;
  std::size_t largest_read_ = 0;
};

/// Frames of several flows over both versions of IP: runs of one size, with and without a shorter
/// end, flows that take turns, payloads of odd and even sizes.
struct Load {
  explicit Load(unsigned seed, std::size_t count = 600) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t end) { return random() % end; };
    while (frames.size() < count) {
      const Flow flow{.v6 = below(2) == 0,
                      .from = static_cast<std::uint16_t>(5000 + below(2)),
                      .to = static_cast<std::uint16_t>(kFirstPort + below(kPorts)),
                      .may_be_fragmented = below(2) == 0};
      const std::size_t size = below(3) == 0 ? 1 + below(1452) : 1 + below(64);
      const auto run = static_cast<unsigned>(1 + below(below(4) == 0 ? 90 : 5));
      for (unsigned i = 0; i < run; ++i) add(flow, size, i);
      if (below(2) == 0) add(flow, 1 + below(size), run);
    }
  }
  void add(const Flow& flow, std::size_t payload_bytes, unsigned identification) {
    const auto seed = static_cast<unsigned>(frames.size());
    const Bytes payload = random_bytes(payload_bytes, seed);
    sent.at(flow.to - std::size_t{kFirstPort}).push_back(payload);
    flows.push_back(flow);
    frames.push_back(datagram(flow, payload, identification));
    bytes += frames.back().size();
  }
  std::vector<FrameView> views() const {
    std::vector<FrameView> all;
    for (std::size_t i = 0; i < frames.size(); ++i) all.push_back(unfinished(flows[i], frames[i]));
    return all;
  }
  std::vector<Flow> flows;
  std::vector<Bytes> frames;
  std::array<Payloads, kPorts> sent;
  std::uint64_t bytes = 0;
};

/// A guest's namespace, with a TAP device at the addresses to which the datagrams go.
class DatagramDelivery : public TapFixture {
 protected:
  void SetUp() override {
    TapFixture::SetUp();
    if (IsSkipped()) return;
    no_address_detection(space_);
  }
  /// Else an IPv6 address is of no use for a second.
  static void no_address_detection(const TestNamespace& where) {
    const Inside inside(where);
    std::ofstream("/proc/sys/net/ipv6/conf/default/accept_dad") << '0';
    std::ofstream("/proc/sys/net/ipv6/conf/all/accept_dad") << '0';
  }
  /// The kernel makes an IPv6 address usable when it finds the time.
  static void await_addresses(const TestNamespace& where) {
    EXPECT_TRUE(shmif::test::eventually(
        [&] { return run(where, {"ip", "-6", "addr", "show", "tentative"}).output.empty(); }));
  }
  TapLink open() const {
    TapOptions options = in(where_, "tap0");
    options.mac = *MacAddress::parse("02:00:00:00:00:02");
    options.offload = true;
    options.addresses = {*Cidr::parse("198.18.0.2/24"), *Cidr::parse("fd00::2/64")};
    TapLink link = TapLink::open(options).value();
    await_addresses(space_);
    return link;
  }
  static void must(const TestNamespace& where, const std::vector<std::vector<std::string>>& all) {
    for (const auto& command : all) {
      const Outcome done = run(where, command);
      ASSERT_EQ(done.status, 0) << testing::PrintToString(command) << ": " << done.output;
    }
  }
  std::vector<Sink> sinks(const TestNamespace& where, bool joined = false) {
    std::vector<Sink> all;
    for (std::uint16_t i = 0; i < kPorts; ++i)
      all.emplace_back(where, static_cast<std::uint16_t>(kFirstPort + i), joined);
    return all;
  }
  static void expect_arrived(const Load& load, std::vector<Sink>& sinks) {
    for (std::size_t i = 0; i < sinks.size(); ++i) {
      EXPECT_TRUE(shmif::test::same_frames(load.sent.at(i), sinks[i].heard(load.sent.at(i).size())))
          << "port " << i;
    }
  }
  static void expect_sent(TapLink& link, const Load& load) {
    const DeviceCounters before = link.counters();
    const SendResult sent = link.send(load.views());
    EXPECT_FALSE(sent.error) << sent.error.message();
    EXPECT_EQ(sent.taken, load.frames.size());
    EXPECT_EQ(link.counters().sent_frames - before.sent_frames, load.frames.size());
    EXPECT_EQ(link.counters().sent_bytes - before.sent_bytes, load.bytes);
  }
  /// Whether this kernel splits super-frames of UDP (Linux 6.2).
  bool kernel_splits() const {
    const Inside inside(space_);
    const UniqueFd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ifreq request{};
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
    return ::ioctl(tun.get(), TUNSETIFF, &request) == 0 &&
           ::ioctl(tun.get(), TUNSETOFFLOAD, TUN_F_CSUM | 0x20UL | 0x40UL) == 0;
  }
  /// How many of the packets that a capture on tap0 shows are UDP.
  static std::size_t udp_packets(PacketPeer& peer) {
    std::size_t count = 0;
    for (const Bytes& f : peer.heard()) {
      count += f.size() > 42 && f.at(f[12] == std::byte{8} ? 23 : 20) == std::byte{17} ? 1U : 0U;
    }
    return count;
  }
};

TEST_F(DatagramDelivery, EachArrivesUnchangedInOrderWithItsBoundaries) {
  TapLink link = open();
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    auto all = sinks(space_);
    const Load load(seed);
    expect_sent(link, load);
    expect_arrived(load, all);
  }
}

TEST_F(DatagramDelivery, ACaptureInTheGuestShowsARunAsOnePacket) {
  if (!kernel_splits()) GTEST_SKIP() << "no super-frames of UDP for TAP devices here";
  TapLink link = open();
  auto all = sinks(space_);
  PacketPeer peer(space_, "tap0");
  Load load(1, 0);
  for (unsigned i = 0; i < 10; ++i) load.add({}, 18, i);
  for (unsigned i = 0; i < 10; ++i) load.add({.v6 = true}, 18, i);
  expect_sent(link, load);
  expect_arrived(load, all);
  EXPECT_EQ(udp_packets(peer), 2U);
}

TEST_F(DatagramDelivery, AReceiverThatTakesJoinedDatagramsGetsThemJoined) {
  TapLink link = open();
  auto all = sinks(space_, true);
  const Load load(6);
  expect_sent(link, load);
  expect_arrived(load, all);
  if (kernel_splits()) {
    EXPECT_GT(all[0].largest_read(), 1472U);
  }
}

TEST_F(DatagramDelivery, WithoutIoUringToo) {
  const int status = shmif::test::Child([this] {
                       if (!shmif::test::forbid(SCMP_SYS(io_uring_setup))) return 2;
                       TapLink link = open();
                       auto all = sinks(space_);
                       const Load load(7);
                       expect_sent(link, load);
                       expect_arrived(load, all);
                       return HasFailure() ? 1 : 0;
                     }).wait();
  EXPECT_EQ(status, 0);
}

TEST_F(DatagramDelivery, AKernelThatCannotSplitGetsThemOneByOneInOrder) {
  TapLink link = open();
  auto all = sinks(space_);
  PacketPeer peer(space_, "tap0");
  Load load(1, 0);
  load.add({.from = 1}, 18, 0);  // something before the first run
  for (unsigned i = 0; i < 70; ++i) load.add({}, 18, i);
  for (unsigned i = 0; i < 70; ++i) load.add({.v6 = true}, 18, i);
  merged_refused = 0;
  refuse_merged = true;
  expect_sent(link, load);
  refuse_merged = false;
  expect_arrived(load, all);
  EXPECT_EQ(merged_refused, 1) << "it asked again";
  EXPECT_EQ(link.counters().dropped_corrupt, 0U);
  EXPECT_EQ(udp_packets(peer), 141U);
  const Load more(8);
  expect_sent(link, more);
  expect_arrived(more, all);
  EXPECT_EQ(udp_packets(peer), more.frames.size());
}

TEST_F(DatagramDelivery, AsManyRunsAsFitABatchArrive) {
  TapLink link = open();
  auto all = sinks(space_);
  Load first(1, 0);
  for (unsigned i = 0; i < 10; ++i) first.add({}, 18, i);
  expect_sent(link, first);  // from now on, runs are merged
  expect_arrived(first, all);
  Load load(1, 0);
  for (unsigned run = 0; run < 32; ++run)
    for (unsigned i = 0; i < 2; ++i) load.add({.v6 = run % 2 != 0}, 18 + run, i);
  expect_sent(link, load);
  expect_arrived(load, all);
}

/// Sends an unfinished datagram over `link`. `hears` gets it.
void expect_heard_finished(AnyLink& link, PacketPeer& hears) {
  for (const bool v6 : {false, true}) {
    const Flow flow{.v6 = v6, .from = 67, .to = 68};
    Bytes frame = datagram(flow, random_bytes(301, 1));
    FrameView view(frame.data(), frame.size());
    view.offload = header_for(flow.shape(), 0);
    ASSERT_EQ(link.send({&view, 1}).taken, 1U);
    ASSERT_TRUE(bus::finish_checksum(frame, view.offload));
    EXPECT_TRUE(shmif::test::eventually([&] {
      const std::vector<Bytes> heard = hears.heard();
      return std::find(heard.begin(), heard.end(), frame) != heard.end();
    })) << "IPv"
        << (v6 ? 6 : 4);
  }
}

TEST_F(DatagramDelivery, OneByItselfReachesPacketSocketsWithItsChecksum) {
  AnyLink link(std::make_unique<TapLink>(open()));
  PacketPeer host(space_, "tap0");
  expect_heard_finished(link, host);
  must(space_, {{"ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"},
                {"ip", "link", "set", "v0", "up"},
                {"ip", "link", "set", "v1", "up"}});
  // Until then the kernel drops what is sent.
  space_.netlink().wait_for_carrier("v0", shmif::test::kGenerousTime).value();
  PacketOptions options;
  options.where = &where_;
  options.offload = true;
  AnyLink pair(std::make_unique<PacketLink>(PacketLink::open("v0", options).value()));
  PacketPeer far(space_, "v1");
  expect_heard_finished(pair, far);
}

TEST_F(DatagramDelivery, BehindARouterFramesAreAsIfEachHadBeenRouted) {
  TapOptions options = in(where_, "tap0");
  options.mac = *MacAddress::parse("02:00:00:00:00:02");
  options.offload = true;
  options.addresses = {*Cidr::parse("198.18.1.1/24"), *Cidr::parse("fd01::1/64")};
  TapLink link = TapLink::open(options).value();
  // A device that leaves no work to its reader, so that the kernel computes checksums.
  options = in(where_, "tap1");
  options.addresses = {*Cidr::parse("198.18.0.9/24"), *Cidr::parse("fd00::9/64")};
  TapLink out = TapLink::open(options).value();
  must(space_, {{"ip", "neigh", "add", "198.18.0.2", "lladdr", "02:00:00:00:00:22", "dev", "tap1"},
                {"ip", "neigh", "add", "fd00::2", "lladdr", "02:00:00:00:00:22", "dev", "tap1"},
                {"sh", "-c",
                 "cd /proc/sys/net && echo 1 > ipv4/ip_forward && echo 0 > ipv4/conf/all/rp_filter "
                 "&& echo 0 > ipv4/conf/tap0/rp_filter && echo 1 > ipv6/conf/all/forwarding"}});
  Load load(1, 0);
  for (const bool v6 : {false, true}) {
    for (const std::size_t bytes : {std::size_t{18}, std::size_t{19}, std::size_t{1452}}) {
      for (const bool may_be_fragmented : {false, true}) {
        const Flow flow{.v6 = v6, .may_be_fragmented = may_be_fragmented};
        for (unsigned i = 0; i < 20; ++i) load.add(flow, bytes, i + 0xfff0);
        load.add(flow, 7, 0xfff0 + 20);
      }
    }
  }
  std::vector<Bytes> wanted, got;
  for (std::size_t i = 0; i < load.frames.size(); ++i) {
    Bytes f = load.frames[i];
    std::copy_n(std::array{std::byte{2}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0},
                           std::byte{0x22}}
                    .begin(),
                6, f.begin());
    f[load.flows[i].v6 ? 21 : 22] = std::byte{60};  // one hop less than 61
    restore_sums(load.flows[i], f);
    ASSERT_TRUE(bus::finish_checksum(f, header_for(load.flows[i].shape(), 0)));
    wanted.push_back(std::move(f));
  }
  expect_sent(link, load);
  FrameBatch batch(64, 1 << 20);
  while (got.size() < wanted.size() && shmif::test::wait_for(out, kPatience)) {
    batch.clear();
    ASSERT_FALSE(out.receive(batch).error);
    for (const FrameView& view : batch.frames()) {
      if (view.bytes[5] == std::byte{0x22}) got.push_back(shmif::test::to_bytes(view));
    }
  }
  for (std::size_t i = 0; i < std::min(got.size(), wanted.size()); ++i) {
    std::copy_n(got[i].begin() + 6, 6, wanted[i].begin() + 6);  // the router's own
  }
  EXPECT_TRUE(shmif::test::same_frames(wanted, got));
}

/// A second namespace, behind tap0 of the first, by a veth pair of which `pass` makes a path.
class DatagramsPassedOn : public DatagramDelivery {
 protected:
  void SetUp() override {
    DatagramDelivery::SetUp();
    if (IsSkipped()) return;
    for (const char* type : {"bridge", "veth"}) {
      if (run(far_, {"ip", "link", "add", "trial", "type", type}).status != 0)
        GTEST_SKIP() << "cannot make a bridge and the veth pair here";
      must(far_, {{"ip", "link", "del", "trial"}});
    }
    no_address_detection(far_);
    const std::string far =
        "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(far_.descriptor());
    must(space_, {{"ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0"},
                  {"ip", "link", "set", "far0", "address", "02:00:00:00:00:02"},
                  {"ip", "link", "set", "far0", "netns", far},
                  {"ip", "link", "set", "near0", "up"}});
    must(far_, {{"ip", "addr", "add", "198.18.0.2/24", "dev", "far0"},
                {"ip", "addr", "add", "fd00::2/64", "dev", "far0"},
                {"ip", "link", "set", "far0", "up"}});
    await_addresses(far_);
  }
  TestNamespace far_;
};

TEST_F(DatagramsPassedOn, EachArrivesBehindABridgeWithAndWithoutTheDevicesOffloads) {
  TapOptions options = in(where_, "tap0");
  options.offload = true;
  TapLink link = TapLink::open(options).value();
  must(space_, {{"ip", "link", "add", "br0", "type", "bridge"},
                {"ip", "link", "set", "tap0", "master", "br0"},
                {"ip", "link", "set", "near0", "master", "br0"},
                {"ip", "link", "set", "br0", "up"}});
  for (const char* port : {"tap0", "near0"}) {
    ASSERT_TRUE(shmif::test::eventually([&] {
      return run(space_, {"ip", "-d", "link", "show", "dev", port})
                 .output.find(" state forwarding ") != std::string::npos;
    })) << port;
  }
  for (const bool checksums : {true, false}) {
    // Without them the bridge splits, the near kernel computes checksums, and the far one checks.
    if (!checksums) must(space_, {{"ethtool", "-K", "near0", "tx", "off"}});
    auto all = sinks(far_);
    const Load load(checksums ? 9 : 10);
    expect_sent(link, load);
    expect_arrived(load, all);
  }
}

TEST_F(DatagramDelivery, WhileTheDeviceIsDownEachIsCountedAsDropped) {
  TapLink link = open();
  ASSERT_TRUE(space_.netlink().set_up("tap0", false));
  const Load load(11, 100);
  for (const int times : {1, 2}) {
    const SendResult sent = link.send(load.views());
    EXPECT_FALSE(sent.error) << sent.error.message();
    EXPECT_EQ(sent.taken, load.frames.size());
    EXPECT_EQ(link.counters().dropped_down, times * load.frames.size());
  }
  EXPECT_EQ(link.counters().sent_frames, 0U);
  EXPECT_EQ(link.counters().sent_bytes, 0U);
  ASSERT_TRUE(space_.netlink().set_up("tap0"));
  await_addresses(space_);
  auto all = sinks(space_);
  PacketPeer peer(space_, "tap0");
  Load run(1, 0);
  for (unsigned i = 0; i < 10; ++i) run.add({}, 18, i);
  expect_sent(link, run);
  expect_arrived(run, all);
  if (kernel_splits()) {
    EXPECT_EQ(udp_packets(peer), 1U) << "it merges no more";
  }
}

}  // namespace
}  // namespace shmif::tap::test
