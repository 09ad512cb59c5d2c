// Ports in a sandbox whose seccomp filter refuses a system call: each does without, or says so.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "bus/repair/port_owners.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/wake_means.hpp"

namespace shmif::test {
namespace {

/// Runs `body` in a child in which the system call fails. A child that spins is killed.
int run_without(int call, int error, const std::function<int()>& body) {
  return Child([&] {
           constexpr unsigned kSeconds = 20;
           ::alarm(kSeconds);
           return forbid(call, error) ? body() : 77;
         })
      .wait();
}

TEST(RefusedCall, GetrandomLeavesEachPortAnAddressOfItsOwn) {
  const TempBus bus(small_ring());
  for (const int error : {EPERM, ENOSYS, EAGAIN, EINTR}) {
    const int code = run_without(SCMP_SYS(getrandom), error, [&] {
      const Port first = port_on(bus.path());
      const Port second = port_on(bus.path());
      return first.mac().is_unicast() && second.mac().is_unicast() && first.mac() != second.mac()
                 ? 0
                 : 1;
    });
    EXPECT_EQ(code, 0) << error;
  }
  const auto address = [] { return static_cast<int>(MacAddress::random().to_u64() & 0x7FU); };
  int same = 0;
  const int first = run_without(SCMP_SYS(getrandom), EPERM, address);
  for (int i = 0; i < 8; ++i) same += run_without(SCMP_SYS(getrandom), EPERM, address) == first;
  EXPECT_LT(same, 8) << "processes that were forked from one have different addresses";
}

TEST(RefusedCall, MemfdCreateLeavesAPortThatWorksAndWhoseProcessIsKnown) {
  const TempBus bus(small_ring());
  EXPECT_EQ(run_without(SCMP_SYS(memfd_create), EPERM,
                        [&] {
                          const Port port = port_on(bus.path());
                          const BusInfo info = bus.info();
                          bus::PortOwners owners(info);
                          return owners.prove(info.ports.at(0)) ? 0 : 1;
                        }),
            0);
}

TEST(RefusedCall, PidfdIsToldAsWhatWasRefused) {
  const TempBus bus(small_ring());
  const Port port = port_on(bus.path());
  const BusInfo info = bus.info();
  for (const int error : {EPERM, ENOSYS}) {
    EXPECT_EQ(run_without(SCMP_SYS(pidfd_open), error,
                          [&] {
                            bus::PortOwners owners(info);
                            const auto proven = owners.prove(info.ports.at(0));
                            return !proven && proven.error().message.starts_with("pidfd_open(2) is")
                                       ? 0
                                       : 1;
                          }),
              0)
        << error;
  }
}

}  // namespace
}  // namespace shmif::test
