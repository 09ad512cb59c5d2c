#include <shmif/tap/bridge.hpp>
#include <shmif/tap/guest/guest.hpp>
#include <shmif/tap/netlink.hpp>

#include "tap/netlink.hpp"

int main() {
  [[maybe_unused]] const consumer::Netlink own;
  const auto netlink = shmif::tap::Netlink::open().value();
  return netlink.interface("lo").value().name == "lo" ? 0 : 1;
}
