// The plugin of libvdeplug, through the library that QEMU and the programs of VDE use.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

extern "C" {
#include <libvdeplug.h>
}

#include "shmif/port.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using Frame = std::array<std::byte, 60>;

Frame frame_of(MacAddress to, MacAddress from, unsigned mark) {
  Frame frame{};
  frame.fill(static_cast<std::byte>(mark));
  std::copy_n(reinterpret_cast<const std::byte*>(to.bytes.data()), 6, frame.begin());
  std::copy_n(reinterpret_cast<const std::byte*>(from.bytes.data()), 6, frame.begin() + 6);
  frame[12] = std::byte{0x88};
  frame[13] = std::byte{0xb6};
  return frame;
}

const MacAddress kEverybody = MacAddress::from_u64(0xffff'ffff'ffff);
const MacAddress kGuest = MacAddress::from_u64(0x5254'0000'0001);

class VdePlugin : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::setenv("VDEPLUGIN_PATH", in_build("tools").c_str(), 1), 0);
    Bus::create(bus_, {}).value();
    host_.attach(bus_).value();
    ASSERT_FALSE(host_.up());
  }
  /// A program at a bus of that path, with what is behind it. The fixture closes it.
  VDECONN* open_at(std::string url) {
    url.insert(0, "shmif://");
    std::string description = "a test";
    VDECONN* const made = vde_open(url.data(), description.data(), nullptr);
    EXPECT_NE(made, nullptr) << std::strerror(errno);
    guests_.emplace_back(made);
    return made;
  }
  VDECONN* open(const std::string& more = {}) { return open_at(bus_ + more); }
  ssize_t receive(VDECONN* guest, int flags = MSG_DONTWAIT) {
    errno = 0;
    return vde_recv(guest, buffer_.data(), buffer_.size(), flags);
  }
  static Port port_at(const std::string& bus) {
    Port port;
    port.attach(bus).value();
    EXPECT_FALSE(port.up());
    return port;
  }
  static bool is_readable(VDECONN* connection, int timeout_ms) {
    pollfd entry{.fd = vde_datafd(connection), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, timeout_ms) == 1;
  }
  bool send(const Frame& frame) {
    const FrameView view(frame.data(), frame.size());
    return host_.send(view).taken == 1;
  }
  std::size_t ports() const { return Bus::open(bus_).value().info().ports.size(); }

  TempDir directory_;
  const std::string bus_ = directory_.file("bus");
  Port host_;
  std::array<std::byte, 4096> buffer_{};

 private:
  struct Close {
    void operator()(VDECONN* guest) const { EXPECT_EQ(vde_close(guest), 0); }
  };
  std::vector<std::unique_ptr<VDECONN, Close>> guests_;
};

constexpr int kLongMs = 30'000;

TEST_F(VdePlugin, CarriesFramesBothWaysAndIsReadableWhileOneWaits) {
  VDECONN* const guest = open();
  EXPECT_FALSE(is_readable(guest, 0));
  const Frame out = frame_of(kEverybody, kGuest, 1);
  EXPECT_EQ(vde_send(guest, out.data(), out.size(), 0), 60);
  FrameBatch batch;
  ASSERT_TRUE(eventually([&] { return host_.receive(batch).frames == 1; }));
  EXPECT_TRUE(std::ranges::equal(batch[0].bytes, out));
  // For the address that it has sent from, and for everybody; not for others.
  const Frame other = frame_of(MacAddress::from_u64(0x5254'0000'0002), host_.mac(), 2);
  const std::array<Frame, 2> in{frame_of(kGuest, host_.mac(), 3),
                                frame_of(kEverybody, host_.mac(), 4)};
  ASSERT_TRUE(send(other) && send(in[0]) && send(in[1]));
  for (const Frame& expected : in) {
    ASSERT_TRUE(is_readable(guest, kLongMs));
    ASSERT_EQ(receive(guest, 0), 60);
    EXPECT_TRUE(std::ranges::equal(std::span(buffer_).first(60), expected));
  }
  EXPECT_FALSE(is_readable(guest, 100));
  errno = 0;
  EXPECT_EQ(receive(guest), 1);
  EXPECT_EQ(errno, EAGAIN) << "1: nothing, for libvdeplug's programs";
  EXPECT_EQ(vde_ctlfd(guest), -1);
}

TEST_F(VdePlugin, MakesAPortOfTheNameInBracketsAtTheEndAndTakesItAwayAgain) {
  std::string url = "shmif://" + bus_ + "[vm1]";
  VDECONN* const guest = vde_open(url.data(), nullptr, nullptr);
  ASSERT_NE(guest, nullptr) << std::strerror(errno);
  const auto with_guest = Bus::open(bus_).value().info().ports;
  EXPECT_TRUE(std::ranges::any_of(with_guest, [](const PortInfo& p) { return p.name == "vm1"; }));
  EXPECT_EQ(vde_open(url.data(), nullptr, nullptr), nullptr);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(ports(), 2U);
  EXPECT_EQ(vde_close(guest), 0);
  EXPECT_EQ(ports(), 1U);
  // Elsewhere they are a part of the path.
  Bus::create(bus_ + "[1]x", {}).value();
  open("[1]x");
  EXPECT_EQ(Bus::open(bus_ + "[1]x").value().info().ports.size(), 1U);
  EXPECT_EQ(ports(), 1U);
}

TEST_F(VdePlugin, SaysOfAFrameForWhichThereIsNoRoomThatItWasNotSent) {
  const std::string slow = directory_.file("slow");
  Bus::create(slow, {.ring_bytes = 64U << 10U, .flow = Flow::pause}).value();
  const Port reader = port_at(slow);  // which does not read
  VDECONN* const guest = open_at(slow);
  const Frame frame = frame_of(kEverybody, kGuest, 1);
  std::uint64_t sent = 0;
  errno = 0;
  while (sent < 2000 && vde_send(guest, frame.data(), frame.size(), 0) == 60) ++sent;
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_LT(sent, 2000U) << "more than the ring holds";
  EXPECT_EQ(Bus::open(slow).value().info().frames, sent);
}

TEST_F(VdePlugin, PassesOverFramesThatAreLongerThanTheProgramsBuffer) {
  const std::string jumbo = directory_.file("jumbo");
  Bus::create(jumbo, {.mtu = 9000}).value();
  Port host = port_at(jumbo);
  VDECONN* const guest = open_at(jumbo);
  const Frame brief = frame_of(kEverybody, host.mac(), 7);
  std::vector<std::byte> longer(4097);
  std::copy(brief.begin(), brief.end(), longer.begin());
  // More than the plugin drops in one call.
  for (unsigned i = 0; i < 100; ++i) {
    const FrameView view(longer.data(), longer.size());
    ASSERT_EQ(host.send(view).taken, 1U);
  }
  const FrameView view(brief.data(), brief.size());
  ASSERT_EQ(host.send(view).taken, 1U);
  ssize_t got = 1;
  for (unsigned calls = 0; got == 1 && calls < 10; ++calls) {
    ASSERT_TRUE(is_readable(guest, kLongMs));
    got = receive(guest);
  }
  EXPECT_EQ(got, 60);
  EXPECT_TRUE(std::ranges::equal(std::span(buffer_).first(60), brief));
}

/// Fills the ring with bytes that are no records.
void make_corrupt(const std::string& bus) {
  std::fstream ring(bus, std::ios::in | std::ios::out | std::ios::binary);
  ring.seekp(-(std::streamoff{4} << 20U), std::ios::end);
  ring << std::string(std::size_t{4} << 20U, '\xff');
}

TEST_F(VdePlugin, RestsBetweenErrorsWhileTheBusIsCorruptAndGoesOnWhenItIsRepaired) {
  VDECONN* const guest = open();
  make_corrupt(bus_);
  const auto begin = std::chrono::steady_clock::now();
  for (unsigned errors = 0; errors < 5; ++errors) {
    // Nobody has rung, so a port that sleeps without a limit does not know it yet.
    if (errors > 0) {
      ASSERT_TRUE(is_readable(guest, kLongMs));
    }
    EXPECT_EQ(receive(guest), -1);
    EXPECT_EQ(errno, EIO);
  }
  EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(4 * 50));
  ASSERT_TRUE(Bus::open(bus_, Access::read_write).value().repair());
  ASSERT_TRUE(eventually([&] { return receive(guest) == 1; }));
  ASSERT_TRUE(send(frame_of(kEverybody, host_.mac(), 8)));
  ASSERT_TRUE(is_readable(guest, kLongMs));
  EXPECT_EQ(receive(guest, 0), 60);
}

/// The port looks at the ring by itself every 50 ms. Such a look does not end the rest.
TEST_F(VdePlugin, RestsAsLongWheneverTheErrorComes) {
  for (const int after_ms : {5, 15, 25, 35, 45}) {
    VDECONN* const guest = open();
    std::this_thread::sleep_for(std::chrono::milliseconds(after_ms));
    make_corrupt(bus_);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(receive(guest), -1);
    EXPECT_EQ(errno, EIO);
    ASSERT_TRUE(is_readable(guest, kLongMs));
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(50));
    ASSERT_TRUE(Bus::open(bus_, Access::read_write).value().repair());
  }
}

TEST_F(VdePlugin, RefusesWhatIsNoBusAndFramesThatAreTooLong) {
  std::string url = "shmif://" + directory_.file("absent");
  EXPECT_EQ(vde_open(url.data(), nullptr, nullptr), nullptr);
  EXPECT_EQ(errno, ENOENT);
  VDECONN* const guest = open();
  const std::array<std::byte, 1523> frame{};
  EXPECT_EQ(vde_send(guest, frame.data(), frame.size(), 0), -1);
  EXPECT_EQ(errno, EMSGSIZE);
}

}  // namespace
}  // namespace shmif::test
