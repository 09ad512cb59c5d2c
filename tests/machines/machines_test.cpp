// Virtual machines on a bus: QEMU as it is, with Debian's kernel, on emulated CPUs.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "shmif/bus.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using Words = std::vector<std::string>;
constexpr std::chrono::seconds kBoot{180};  // a busy machine boots slowly
constexpr std::chrono::seconds kNoTime{0};

/// Why no virtual machine can be had here, or nothing.
std::string lacking() {
  for (const char* const tool : {"qemu-system-x86_64", "busybox", "cpio", "modprobe"}) {
    const std::string look = std::string("PATH=$PATH:/usr/sbin:/sbin command -v ") + tool;
    if (run_program({"sh", "-c", look}).status != 0) return std::string("no ") + tool;
  }
  const ToolResult kernel = run_program({SHMIF_SOURCE "/tests/kernel/fetch", "amd64"}, {}, kBoot);
  return kernel.status == 0 ? "" : "no kernel: " + kernel.err;
}

class Machines : public ::testing::Test {
 protected:
  void SetUp() override {
    static const std::string why = lacking();
    if (!why.empty()) GTEST_SKIP() << "no virtual machines here: " << why;
    ASSERT_EQ(run_tool({"create", bus_}).status, 0);
  }

  Words bridge(const std::string& link) const {
    return {shmifctl_path(), "bridge", "bus:" + bus_, link};
  }
  /// QEMU's options for a machine on a stream; each machine needs its own MAC address.
  Words on_stream(unsigned number) const {
    return {"-netdev", "stream,id=n,server=off,addr.type=unix,addr.path=" + file("q.sock"),
            "-device", "virtio-net,netdev=n,mac=52:54:00:00:00:0" + std::to_string(number)};
  }
  /// The same for a machine whose memory is shared. Without KVM, QEMU 7.2 itself crashes in
  /// msix_set_vector_notifiers, so the device has no vectors.
  Words with_shared_memory(unsigned number) const {
    return {"-object",
            "memory-backend-memfd,id=m,size=192M,share=on",
            "-machine",
            "memory-backend=m",
            "-chardev",
            "socket,id=c,reconnect=1,path=" + file("v.sock"),
            "-netdev",
            "vhost-user,id=n,chardev=c",
            "-device",
            "virtio-net-pci,netdev=n,vectors=0,mac=52:54:00:00:00:0" + std::to_string(number)};
  }
  Words on_datagrams(unsigned number) const {
    const std::string n = std::to_string(number);
    return {"-netdev",
            "dgram,id=n,local.type=unix,local.path=" + file("vm" + n) +
                ",remote.type=unix,remote.path=" + file("bus" + n),
            "-device", "virtio-net,netdev=n,mac=52:54:00:00:00:0" + n};
  }
  /// A machine with the address 198.18.0.NUMBER that runs `commands`.
  std::unique_ptr<Tool> machine(unsigned number, const std::string& commands, Words network) const {
    Words words{SHMIF_SOURCE "/tests/machines/boot",
                "--address",
                "198.18.0." + std::to_string(number) + "/24",
                "--seconds",
                "150",
                "--files",
                directory_.path(),
                commands,
                "--"};
    words.insert(words.end(), network.begin(), network.end());
    return std::make_unique<Tool>(words);
  }
  std::string file(const std::string& name) const { return directory_.file(name); }

  TempDir directory_;
  const std::string bus_ = directory_.file("bus");
};

/// Waits until that host answers, for a minute at most.
std::string until_answered(const std::string& address) {
  return "i=0; until ping -c 1 -W 1 " + address +
         " >/dev/null; do i=$((i+1)); [ $i -lt 60 ] || exit 9; done; ";
}

TEST_F(Machines, OnAStreamReachEachOtherAndAHostAndOneThatIsKilledComesBack) {
  Tool link(bridge("stream:" + file("q.sock")));
  ASSERT_TRUE(link.wait_for("ready"));
  // A host of the bus that serves a file of 4 MiB.
  const std::string serve = "mkdir -p " + file("www") + "; head -c 4M /dev/urandom > " +
                            file("www/data") + "; exec busybox httpd -f -p 80 -h " + file("www");
  Tool host({shmifctl_path(), "exec", bus_, "--ip", "198.18.0.10/24", "--", "sh", "-c", serve});
  auto first = machine(1,
                       until_answered("198.18.0.2") + until_answered("198.18.0.10") +
                           "echo both answered; wget -q -O - http://198.18.0.10/data | md5sum; "
                           "i=0; while ping -c 1 -W 1 198.18.0.2 >/dev/null; do i=$((i+1)); [ $i "
                           "-lt 90 ] || exit 8; sleep 0.2; done; echo the other is gone; " +
                           until_answered("198.18.0.2") + "echo the other is back",
                       on_stream(1));
  auto second = machine(2, "sleep 140", on_stream(2));
  ASSERT_TRUE(first->wait_for("both answered", kBoot))
      << first->so_far().out << first->so_far().err;
  ASSERT_TRUE(first->wait_for("-\n", kBoot)) << first->so_far().out;  // the line of md5sum
  second->signal(SIGKILL);
  static_cast<void>(second->finish());
  ASSERT_TRUE(first->wait_for("the other is gone", kBoot)) << first->so_far().out;
  second = machine(2, "sleep 140", on_stream(2));
  const ToolResult result = first->finish(kBoot);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("the other is back"), std::string::npos) << result.out;
  const ToolResult sum = run_program({"sh", "-c", "md5sum < " + file("www/data")});
  EXPECT_NE(result.out.find(sum.out), std::string::npos) << result.out << sum.out;
  link.signal(SIGTERM);
  const ToolResult said = link.finish();
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(times_in(said.out, "a program connected"), 3U) << said.out;
  EXPECT_NE(said.out.find("3 connections"), std::string::npos) << said.out;
}

// The bridge is killed in the middle: the machines go on with the next one.
TEST_F(Machines, WithSharedMemoryReachEachOtherAndAHostAndOutliveTheBridge) {
  auto link = std::make_unique<Tool>(bridge("vhost-user:" + file("v.sock")));
  ASSERT_TRUE(link->wait_for("ready"));
  const std::string serve = "mkdir -p " + file("www") + "; head -c 4M /dev/urandom > " +
                            file("www/data") + "; exec busybox httpd -f -p 80 -h " + file("www");
  Tool host({shmifctl_path(), "exec", bus_, "--ip", "198.18.0.10/24", "--", "sh", "-c", serve});
  auto first = machine(1,
                       until_answered("198.18.0.2") + until_answered("198.18.0.10") +
                           "echo both answered; wget -q -O - http://198.18.0.10/data | md5sum; "
                           "i=0; while ping -c 1 -W 1 198.18.0.2 >/dev/null; do i=$((i+1)); [ $i "
                           "-lt 90 ] || exit 8; sleep 0.2; done; echo the other is gone; " +
                           until_answered("198.18.0.2") + until_answered("198.18.0.10") +
                           "echo the other is back; wget -q -O - http://198.18.0.10/data | md5sum",
                       with_shared_memory(1));
  auto second = machine(2, "sleep 140", with_shared_memory(2));
  ASSERT_TRUE(first->wait_for("both answered", kBoot))
      << first->so_far().out << first->so_far().err << link->finish(kNoTime).out
      << second->finish(kNoTime).out;
  ASSERT_TRUE(first->wait_for("-\n", kBoot)) << first->so_far().out;  // the line of md5sum
  link->signal(SIGKILL);
  static_cast<void>(link->finish());
  ASSERT_TRUE(first->wait_for("the other is gone", kBoot)) << first->so_far().out;
  link = std::make_unique<Tool>(bridge("vhost-user:" + file("v.sock")));
  const ToolResult result = first->finish(kBoot);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("the other is back"), std::string::npos) << result.out;
  const ToolResult sum = run_program({"sh", "-c", "md5sum < " + file("www/data")});
  EXPECT_EQ(times_in(result.out, sum.out), 2U) << result.out << sum.out;
  link->signal(SIGTERM);
  const ToolResult said = link->finish();
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(times_in(said.out, "a program connected"), 2U) << said.out;
  EXPECT_EQ(said.out.find("broke the rules"), std::string::npos) << said.out;
}

TEST_F(Machines, OnDatagramsReachEachOther) {
  Tool one(bridge("dgram:" + file("bus1") + ',' + file("vm1")));
  Tool two(bridge("dgram:" + file("bus2") + ',' + file("vm2")));
  ASSERT_TRUE(one.wait_for("ready") && two.wait_for("ready"));
  auto first =
      machine(1, until_answered("198.18.0.2") + "ping -c 3 -s 1400 198.18.0.2", on_datagrams(1));
  auto second = machine(2, "sleep 140", on_datagrams(2));
  const ToolResult result = first->finish(kBoot);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("3 packets transmitted, 3 packets received"), std::string::npos)
      << result.out;
}

TEST_F(Machines, ThatOpenATapInTheLanOfAHostReachTheHostsOfTheBus) {
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no TUN device here";
  const std::string serve = "mkdir -p " + file("www") + "; head -c 4M /dev/urandom > " +
                            file("www/data") + "; exec busybox httpd -f -p 80 -h " + file("www");
  Tool host({shmifctl_path(), "exec", bus_, "--ip", "198.18.0.10/24", "--", "sh", "-c", serve});
  // The host sends super-frames, which QEMU takes.
  const std::string commands =
      until_answered("198.18.0.10") + until_answered("198.18.0.11") +
      "ping -c 3 -s 1400 198.18.0.10; wget -q -O - http://198.18.0.10/data | md5sum";
  Words words{shmifctl_path(),
              "exec",
              bus_,
              "--lan",
              "--tap",
              "tap0",
              "--ip",
              "198.18.0.11/24",
              "--",
              SHMIF_SOURCE "/tests/machines/boot",
              "--address",
              "198.18.0.1/24",
              "--seconds",
              "150",
              "--files",
              directory_.path(),
              commands,
              "--",
              "-netdev",
              "tap,id=n,ifname=tap0,script=no,downscript=no",
              "-device",
              "virtio-net,netdev=n,mac=52:54:00:00:00:01"};
  const ToolResult result = Tool(words).finish(kBoot);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("3 packets transmitted, 3 packets received"), std::string::npos)
      << result.out;
  const ToolResult sum = run_program({"sh", "-c", "md5sum < " + file("www/data")});
  EXPECT_NE(result.out.find(sum.out), std::string::npos) << result.out << sum.out;
}

#ifdef SHMIF_PLUGIN_DIRECTORY
TEST_F(Machines, ThatUseVdeMeetOnABusThroughThePlugin) {
  ASSERT_EQ(::setenv("VDEPLUGIN_PATH", SHMIF_PLUGIN_DIRECTORY, 1), 0);
  const auto network = [&](unsigned number) {
    return Words{"-netdev", "vde,id=n,sock=shmif://" + bus_, "-device",
                 "virtio-net,netdev=n,mac=52:54:00:00:00:0" + std::to_string(number)};
  };
  auto second = machine(2, "sleep 140", network(2));
  auto first =
      machine(1, until_answered("198.18.0.2") + "ping -c 3 -s 1400 198.18.0.2", network(1));
  const ToolResult result = first->finish(kBoot);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("3 packets transmitted, 3 packets received"), std::string::npos)
      << result.out;
}
#endif

}  // namespace
}  // namespace shmif::test
