#pragma once
// TAP devices in namespaces of a test's own.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "tap/tap_link.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::tap::test {

inline std::string no_tap_because() {
  if (const std::string why = no_namespaces_because(); !why.empty()) return why;
  const auto tun = check_tun_device();
  return tun ? "" : tun.error().message;
}

inline TapOptions in(const NetNamespace& space, const std::string& name, std::uint32_t mtu = 1500) {
  TapOptions options;
  options.name = name;
  options.mtu = mtu;
  options.where = &space;
  return options;
}

/// A namespace, and devices in it that somebody else opened.
class TapFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = no_tap_because(); !why.empty()) GTEST_SKIP() << why;
  }
  /// A device "handed" that somebody else opened.
  UniqueFd handed(int flags) const {
    auto fds = run_in(where_, [flags]() -> Result<std::vector<UniqueFd>> {
      std::vector<UniqueFd> out;
      out.emplace_back(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
      ifreq request{};
      std::memcpy(request.ifr_name, "handed", 6);
      request.ifr_flags = static_cast<short>(flags);
      if (::ioctl(out[0].get(), TUNSETIFF, &request) != 0) return Error::from_errno(errno, "tun");
      return out;
    });
    return std::move(fds.value().at(0));
  }
  TestNamespace space_;
  // Where the tests skip there may be no namespace either.
  NetNamespace where_ = no_tap_because().empty() ? space_.space() : NetNamespace::current().value();
};

}  // namespace shmif::tap::test
