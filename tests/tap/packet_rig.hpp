#pragma once
// Cables between network namespaces of a test's own, and packet links to them.

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <string>

#include "tap/netlink.hpp"
#include "tap/packet_link.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {

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

}  // namespace shmif::tap::test
