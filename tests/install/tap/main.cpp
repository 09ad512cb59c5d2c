#include <tap/bridge.hpp>
#include <tap/guest/guest.hpp>
#include <tap/netlink.hpp>

int main() {
  const auto netlink = shmif::tap::Netlink::open().value();
  return netlink.interface("lo").value().name == "lo" ? 0 : 1;
}
