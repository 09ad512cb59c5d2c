// Virtual machines on a bus: QEMU as it is, with Debian's kernel, on emulated CPUs.
//
// The machines on a stream exchange 1 MiB again and again, and with
//
//     SHMIF_LONG=1 build/release/tests/machines/machines_test --gtest_filter='*Fetch*'
//
// 64 MiB, which takes two minutes.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/lab/podman_rig.hpp"

namespace shmif::test {
namespace {

using Words = std::vector<std::string>;
constexpr std::chrono::seconds kBoot{600};  // a busy machine boots slowly
constexpr const char* kLife = "850";        // seconds; less than the time that CTest allows
constexpr std::chrono::seconds kNoTime{0};

/// Why no virtual machine can be had here, or nothing.
std::string lacking() {
  for (const char* const tool : {"qemu-system-x86_64", "busybox", "cpio", "modprobe"}) {
    const std::string look = std::string("PATH=$PATH:/usr/sbin:/sbin command -v ") + tool;
    if (run_program({"sh", "-c", look}).status != 0) return std::string("no ") + tool;
  }
  const ToolResult kernel = run_program({in_source("tests/kernel/fetch"), "amd64"}, {}, kBoot);
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
  std::unique_ptr<Tool> machine(unsigned number, const std::string& commands, const Words& network,
                                bool is_long = false) const {
    Words words{in_source("tests/machines/boot"),
                "--address",
                "198.18.0." + std::to_string(number) + "/24",
                "--seconds",
                is_long ? "1700" : kLife,
                "--memory",
                is_long ? "512M" : "192M",  // files are kept in it
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

/// Waits until that host answers, which may yet have to boot.
std::string until_answered(const std::string& address) {
  return "i=0; until ping -c 1 -W 1 " + address +
         " >/dev/null; do i=$((i+1)); [ $i -lt 600 ] || { echo no answer; cat /proc/interrupts "
         "/proc/net/dev /proc/net/arp; exit 9; }; done; ";
}

/// The numbers of the rounds in which a machine fetched what `sum` is the checksum of, and of those
/// in which it fetched something else.
std::pair<std::size_t, std::size_t> rounds_of(const std::string& console, const std::string& sum) {
  std::size_t good = 0;
  std::size_t bad = 0;
  std::istringstream lines(console);
  for (std::string line; std::getline(lines, line);) {
    if (lines.eof() || line.rfind("round ", 0) != 0) continue;  // no whole line, or another
    ++(line.find(' ' + sum) != std::string::npos ? good : bad);
  }
  return {good, bad};
}

/// The checksum that a machine printed of its own file.
std::string own_sum(const std::string& console) {
  const std::size_t at = console.find("own file: ");
  return at == std::string::npos ? "" : console.substr(at + 10, 64);
}

TEST_F(Machines, OnAStreamFetchFilesFromEachOtherAndAHostWhileOneIsKilledAndComesBack) {
  const bool is_long = std::getenv("SHMIF_LONG") != nullptr;
  const std::size_t megabytes = is_long ? 64 : 1;
  const std::string make = "dd if=/dev/urandom bs=1048576 count=" + std::to_string(megabytes) +
                           " iflag=fullblock 2>/dev/null > ";
  const std::chrono::seconds wait = is_long ? 4 * kBoot : kBoot;
  Tool link(bridge("stream:" + file("q.sock")));
  ASSERT_TRUE(link.wait_for("ready"));
  // A host of the bus that serves a file, too.
  const std::string serve = "mkdir -p " + file("www") + "; " + make + file("www/data") +
                            "; exec busybox httpd -f -p 80 -h " + file("www");
  Tool host({shmifctl_path(), "exec", bus_, "--ip", "198.18.0.10/24", "--", "sh", "-c", serve});
  const auto address = [](unsigned number) { return "198.18.0." + std::to_string(number); };
  const auto fetching_from = [&](unsigned number) {
    const std::string url = " http://" + address(number);
    return "mkdir /www; " + make +
           "/www/data; [ $(wc -c < /www/data) = " + std::to_string(megabytes << 20U) +
           " ] || exit 7; echo own file: $(sha256sum < /www/data); httpd -h /www; "
           "touch /www/ready; " +
           until_answered(address(number)) + "until wget -q -O /dev/null" + url +
           "/ready; do sleep 1; done; i=0; while :; do i=$((i+1)); echo round $i: $(wget -q -O -" +
           url + "/data | sha256sum); sleep 1; done";
  };
  const std::string reaching_all =
      until_answered(address(1)) + until_answered(address(2)) + until_answered(address(10)) +
      "echo reached all, $(wget -q -O - http://198.18.0.10/data | sha256sum); sleep 600";
  const auto started = [&](unsigned number, const std::string& commands) {
    return machine(number, commands, on_stream(number), is_long);
  };
  const auto one = started(1, fetching_from(2));
  const auto two = started(2, fetching_from(1));
  auto third = started(3, reaching_all);
  ASSERT_TRUE(one->wait_for("round 1: ", wait)) << one->so_far().out << one->so_far().err;
  ASSERT_TRUE(two->wait_for("round 1: ", wait)) << two->so_far().out;
  ASSERT_TRUE(third->wait_for("reached all, ", wait)) << third->so_far().out;
  third->signal(SIGKILL);
  static_cast<void>(third->finish());
  EXPECT_TRUE(link.wait_for(" is gone\n")) << link.so_far().out;
  third = started(3, reaching_all);
  ASSERT_TRUE(third->wait_for("reached all, ", wait)) << third->so_far().out;
  ASSERT_TRUE(third->wait_for("-\n", wait)) << third->so_far().out;
  const ToolResult sum_of_host = run_program({"sh", "-c", "sha256sum < " + file("www/data")});
  EXPECT_NE(third->so_far().out.find("reached all, " + sum_of_host.out.substr(0, 64)),
            std::string::npos)
      << third->so_far().out << sum_of_host.out;
  const std::array sums{own_sum(two->so_far().out), own_sum(one->so_far().out)};
  for (Tool* const each : {one.get(), two.get()}) {
    const std::string& sum = sums.at(each == one.get() ? 0 : 1);
    ASSERT_EQ(sum.size(), 64U);
    // What it had said before now, and a whole round more.
    static_cast<void>(each->wait_for("\a", std::chrono::milliseconds(10)));
    const std::size_t rounds = rounds_of(each->so_far().out, sum).first;
    EXPECT_TRUE(each->wait_for("round " + std::to_string(rounds + 2) + ": ", wait));
    static_cast<void>(each->wait_for("\a", std::chrono::milliseconds(10)));
    EXPECT_GE(rounds_of(each->so_far().out, sum).first, rounds + 1) << each->so_far().out;
    EXPECT_EQ(rounds_of(each->so_far().out, sum).second, 0U) << each->so_far().out;
  }
  link.signal(SIGTERM);
  const ToolResult said = link.finish();
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find(": 4 connections"), std::string::npos) << said.out;
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
                           "-lt 900 ] || exit 8; sleep 0.2; done; echo the other is gone; " +
                           until_answered("198.18.0.2") + until_answered("198.18.0.10") +
                           "echo the other is back; wget -q -O - http://198.18.0.10/data | md5sum",
                       with_shared_memory(1));
  auto second = machine(2, "sleep 800", with_shared_memory(2));
  ASSERT_TRUE(first->wait_for("both answered", kBoot))
      << "status " << first->finish(std::chrono::seconds(5)).status << ": " << first->so_far().out
      << first->so_far().err << link->finish(kNoTime).out << second->finish(kNoTime).out;
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

TEST_F(Machines, OfLinuxInUserModeReachAHostThroughSharedMemory) {
  if (run_program({"sh", "-c", "command -v linux.uml"}).status != 0)
    GTEST_SKIP() << "no linux.uml here";
  Tool link(bridge("vhost-user:" + file("v.sock")));
  ASSERT_TRUE(link.wait_for("ready"));
  const std::string serve = "mkdir -p " + file("www") + "; head -c 1M /dev/urandom > " +
                            file("www/data") + "; exec busybox httpd -f -p 80 -h " + file("www");
  Tool host({shmifctl_path(), "exec", bus_, "--ip", "198.18.0.10/24", "--", "sh", "-c", serve});
  Tool machine({in_source("tests/machines/boot"), "--kind", "uml", "--address", "198.18.0.1/24",
                "--seconds", kLife,
                until_answered("198.18.0.10") + "wget -q -O - http://198.18.0.10/data | md5sum",
                "--", "virtio_uml.device=" + file("v.sock") + ":1"});
  const ToolResult result = machine.finish(kBoot);
  // It gives the host's kernel 2696 bytes of registers. These must be all; with AMX they are 11008.
  if (result.out.find("ptrace set fp regs failed") != std::string::npos)
    GTEST_SKIP() << "linux.uml knows too few registers for this CPU";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  const ToolResult sum = run_program({"sh", "-c", "md5sum < " + file("www/data")});
  EXPECT_EQ(times_in(result.out, sum.out), 1U) << result.out << sum.out;
  link.signal(SIGTERM);
  const ToolResult said = link.finish();
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(said.out.find("broke the rules"), std::string::npos) << said.out;
}

TEST_F(Machines, OnDatagramsReachEachOther) {
  Tool one(bridge("dgram:" + file("bus1") + ',' + file("vm1")));
  Tool two(bridge("dgram:" + file("bus2") + ',' + file("vm2")));
  ASSERT_TRUE(one.wait_for("ready") && two.wait_for("ready"));
  auto first =
      machine(1, until_answered("198.18.0.2") + "ping -c 3 -s 1400 198.18.0.2", on_datagrams(1));
  auto second = machine(2, "sleep 800", on_datagrams(2));
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
              in_source("tests/machines/boot"),
              "--address",
              "198.18.0.1/24",
              "--seconds",
              kLife,
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

TEST_F(Machines, AndAContainerAreHostsOfALab) {
  if (const std::string why = prepare_podman(file("podman")); !why.empty()) GTEST_SKIP() << why;
  ASSERT_EQ(::setenv("XDG_RUNTIME_DIR", directory_.path().c_str(), 1), 0);
  Tool lab(
      {shmifctl_path(), "up", in_source("examples/labs/kinds.toml"), "--artifacts", file("out")});
  const ToolResult r = lab.finish(kBoot + kBoot);
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(times_in(r.out, "test    | of a machine\n"), 1U) << r.out;
  EXPECT_EQ(times_in(r.out, "test    | of a container\n"), 1U) << r.out;
  end_podman(file("podman"));
}

#ifdef SHMIF_HAS_VDE
TEST_F(Machines, ThatUseVdeMeetOnABusThroughThePlugin) {
  ASSERT_EQ(::setenv("VDEPLUGIN_PATH", in_build("tools").c_str(), 1), 0);
  const auto network = [&](unsigned number) {
    return Words{"-netdev", "vde,id=n,sock=shmif://" + bus_, "-device",
                 "virtio-net,netdev=n,mac=52:54:00:00:00:0" + std::to_string(number)};
  };
  auto second = machine(2, "sleep 800", network(2));
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
