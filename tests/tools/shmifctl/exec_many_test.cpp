// Fifty hosts on one bus: all of them ping each other, and idle ones cost nothing.

#include <fstream>
#include <string>

#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

using ExecMany = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecMany, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

// Pings 198.18.0.1 and so on, one after the other, as `ping -c 1 -W 2` does: thousands of processes
// would take most of the time. Arguments: how many, and the file that says when.
constexpr const char* kPingAll = R"(
import os, socket, struct, subprocess, sys, time

count, go = int(sys.argv[1]), sys.argv[2]
echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
echo.setsockopt(255, 1, struct.pack('=I', 0xfffffffe))  # SOL_RAW, ICMP_FILTER: only answers

def request(number):
    body = struct.pack('!HH', os.getpid() & 0xffff, number) + b'everybody?'
    total = sum(struct.unpack('!7H', body)) + 0x800
    total = (total >> 16) + (total & 0xffff)
    return struct.pack('!BBH', 8, 0, ~(total + (total >> 16)) & 0xffff) + body

def is_answered(address, number):
    asked = request(number)
    echo.sendto(asked, (address, 0))
    end = time.monotonic() + 2
    while (left := end - time.monotonic()) > 0:
        echo.settimeout(left)
        try:
            packet, sender = echo.recvfrom(2048)
        except TimeoutError:
            return False
        if sender[0] == address and packet[20:22] == b'\0\0' and packet[24:] == asked[4:]:
            return True
    return False

def forget():
    subprocess.run(['ip', 'neigh', 'flush', 'all'], stdout=subprocess.DEVNULL, check=False)

while not os.path.exists(go):
    time.sleep(0.1)
for i in range(1, count + 1):
    for attempt in range(30):
        if is_answered(f'198.18.0.{i}', 100 * i + attempt):
            break
        forget()
        time.sleep(0.2)
    else:
        sys.exit(f'no answer from {i}')
    if i % 8 == 0:
        forget()
print('reached all', flush=True)
while not os.path.exists(go + '.home'):
    time.sleep(0.2)
)";

// All network namespaces of a machine share one table of 1024 neighbours, which by itself lets go
// of an entry after 5 s at the earliest (net.ipv4.neigh.default.gc_thresh3; "neighbor table
// overflow" in the kernel's log). Fifty hosts need 2450 at once, so these forget theirs after every
// eighth ping.
//
// On emulated CPUs, fifty hosts that look for one another at once get no answer within a minute.
TEST_P(ExecMany, FiftyHostsAllPingOneAnother) {
  const int hosts_wanted = kEmulated ? 10 : 50;
  constexpr std::chrono::seconds kLong{100};
  const std::string go = file("go");
  std::ofstream(file("ping_all.py")) << kPingAll;
  const std::string script = "exec /usr/bin/python3 " + file("ping_all.py") + ' ' +
                             std::to_string(hosts_wanted) + ' ' + go;
  std::vector<std::unique_ptr<Tool>> hosts;
  for (int i = 1; i <= hosts_wanted; ++i) {
    const std::string number = std::to_string(i);
    hosts.push_back(start("h" + number, script, {"--ip", "198.18.0." + number + "/24"}));
  }
  std::ofstream(go).close();
  const auto end = std::chrono::steady_clock::now() + kLong;
  int reached = 0;
  for (const auto& host : hosts) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (host->wait_for("reached all", left)) ++reached;
  }
  EXPECT_EQ(reached, hosts_wanted);
  std::ofstream(go + ".home").close();
  for (const auto& host : hosts) EXPECT_EQ(host->finish().status, 0);
}

/// How often a process was given a CPU, all its threads counted: nothing that runs escapes it.
std::uint64_t times_run(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::uint64_t total = 0;
  for (std::string word; status >> word;) {
    std::uint64_t count = 0;
    if (word.find("ctxt_switches:") != std::string::npos && status >> count) total += count;
  }
  return total;
}

using ExecIdle = ExecRig;
INSTANTIATE_TEST_SUITE_P(Each, ExecIdle, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

// The kernels of fresh hosts report groups for some seconds, so the hosts are watched until they
// are quiet. They would solicit routers for hours, and each solicitation wakes all the others.
// Hosts that looked at their bus every 50 ms would run 40 times each in a window of two seconds,
// for ever.
TEST_P(ExecIdle, FiftyIdleHostsDoNotRun) {
  constexpr unsigned kHosts = 50;
  std::vector<std::unique_ptr<Tool>> hosts;
  for (unsigned i = 0; i < kHosts; ++i)
    hosts.push_back(start(
        "h" + std::to_string(i),
        "for each in /proc/sys/net/ipv6/conf/*/router_solicitations; do echo 0 > $each; done; "
        "exec sleep 100"));
  std::uint64_t runs = 0;
  for (int window = 0; window < 20; ++window) {
    std::uint64_t before = 0;
    for (const auto& host : hosts) before += times_run(host->pid());
    std::this_thread::sleep_for(std::chrono::seconds(2));
    runs = 0;
    for (const auto& host : hosts) runs += times_run(host->pid());
    ASSERT_GT(runs, 0U);
    runs -= before;
    if (runs < kHosts) break;
  }
  EXPECT_LT(runs, kHosts) << "in two seconds";
}

}  // namespace
}  // namespace shmif::test
