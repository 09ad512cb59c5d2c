// Hosts of a lab that are virtual machines or containers.

#include <csignal>

#include "tests/tools/lab/lab_rig.hpp"
#include "tests/tools/lab/podman_rig.hpp"

namespace shmif::test {
namespace {

/// In place of QEMU: says its words, and answers on the TAP device that {nic} names, so that the
/// test needs no machine to boot.
constexpr const char* kMachine = R"(#!/bin/sh
for word; do echo "word $word"; done
echo "$WORD booted"
exec sleep 600
)";

class LabMachine : public LabRig {
 protected:
  void SetUp() override {
    LabRig::SetUp();
    if (IsSkipped()) return;
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no TUN device here";
    std::ofstream(file("machine")) << kMachine;
    std::filesystem::permissions(file("machine"), std::filesystem::perms::owner_all);
  }
};

TEST_F(LabMachine, GetsOptionsOfQemuForEachBusAndItsAddress) {
  const std::string path = lab(R"(bus.c = { path = "lab.c" }
host.x = { on = "b", ip = "198.18.0.9/24" }
[host.m]
on = ["b", "c"]
ip = ["198.18.0.1/24", "198.18.1.1/24"]
gateway = "198.18.0.9"
mac = "52:54:00:00:00:07"
env = { WORD = "it" }
vm = "./machine {nic} -append 'ip={ip} by {gateway}'"
ready = "log it booted"
[test]
host = "x"
run = "ip -o link show up"
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  const std::string log = text_of(file("out/m.log"));
  const std::string begin =
      "word -netdev\nword tap,id=shmif0,ifname=tap0,script=no,downscript=no\nword -device\n"
      "word virtio-net-pci,netdev=shmif0,mac=52:54:00:00:00:07\n"
      "word -netdev\nword tap,id=shmif1,ifname=tap1,script=no,downscript=no\nword -device\n"
      "word virtio-net-pci,netdev=shmif1,mac=52:54:";
  EXPECT_EQ(log.substr(0, begin.size()), begin) << log;
  EXPECT_TRUE(contains(log, "word -append\nword ip=198.18.0.1/24 by 198.18.0.9\nit booted\n"));
  expect_no_trace();
}

TEST_F(LabMachine, IsOnTheBusByTheDeviceThatItOpens) {
  // A program in the place of QEMU, which opens the TAP device and answers ARP as a machine does.
  std::ofstream(file("machine.py")) << R"(
import fcntl, os, struct, sys
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tap0", 0x1002))
mac = bytes.fromhex(sys.argv[1].split("mac=")[1].replace(":", ""))
print("booted", flush=True)
while True:
    frame = os.read(fd, 2000)
    is_question = frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x01"
    if is_question and frame[38:42] == bytes([198, 18, 0, 1]):
        answer = frame[12:20] + b"\x00\x02" + mac + frame[38:42] + frame[22:32]
        os.write(fd, frame[6:12] + mac + answer)
)";
  const std::string path = lab(R"(host.x = { on = "b", ip = "198.18.0.9/24" }
[host.m]
on = "b"
ip = "198.18.0.1/24"
mac = "52:54:00:00:00:07"
vm = "n='{nic}'; exec /usr/bin/python3 machine.py \"${n##* }\""
ready = "log booted"
[test]
host = "x"
run = """
for i in 1 2 3 4 5 6 7 8 9 10; do
  ping -q -c 1 -W 1 m
  ip neigh show 198.18.0.1 | grep 52:54:00:00:00:07 && exit
done
exit 1
"""
)");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 0) << r.out << r.err;
}

TEST_F(LabMachine, ThatIsNotInstalledIsAnErrorOfTheFile) {
  const std::string path =
      lab("host.m = { on = \"b\", vm = \"qemu-system-none {nic}\" }\n"
          "host.n = { on = \"b\", vm = \"./none {nic}\", count = 2 }\n");
  const ToolResult r = run_tool({"check", path});
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err,
                       "lab.toml:2:27: cannot run the virtual machine of host.m: there is no "
                       "program qemu-system-none (install QEMU"));
  EXPECT_TRUE(contains(r.err,
                       "lab.toml:3:27: cannot run the virtual machine of host.n: there is no "
                       "program ./none (check its name"));
  EXPECT_EQ(times_in(r.err, "lab.toml:"), 2U) << r.err;
}

class LabContainer : public LabRig {
 protected:
  void SetUp() override {
    LabRig::SetUp();
    if (IsSkipped()) return;
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no TUN device here";
    if (const std::string why = prepare_podman(file("podman")); !why.empty()) GTEST_SKIP() << why;
  }
  void TearDown() override { end_podman(file("podman")); }

  static std::string containers() {
    return run_program({"podman", "ps", "--all", "--format", "{{.Names}}"}).out;
  }
};

TEST_F(LabContainer, IsAHostWithItsAddressesNamesAndEnvironment) {
  const std::string path = lab(R"(
host.x = { on = "b", ip = "198.18.0.9/24" }
[host.box]
on = "b"
ip = ["198.18.0.1/24", "fd00::1/64"]
gateway = "198.18.0.9"
mac = "52:54:00:00:00:09"
forward = true
env = { WORD = "it's" }
dns = "198.18.0.53"
container = "-v \"$PWD/lab.toml:/lab.toml\" docker.io/library/busybox"
run = """
echo $WORD $SHMIF_LAB-$SHMIF_HOST; hostname; ip -o -4 address show b; ip route
cat /etc/resolv.conf /sys/class/net/b/address /proc/sys/net/ipv4/ip_forward
ping -q -c 1 -W 20 x && exec httpd -f -p 80 -h /
"""
ready = "tcp 80"
[test]
host = "x"
run = "busybox wget -q -O - http://box/lab.toml | cmp - lab.toml"
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  const std::string log = text_of(file("out/box.log"));
  for (const char* const part :
       {"it's lab-box\nbox\n", "inet 198.18.0.1/24", "default via 198.18.0.9 dev b",
        "\nnameserver 198.18.0.53\n52:54:00:00:00:09\n1\n", "1 packets received"}) {
    EXPECT_TRUE(contains(log, part));
  }
  EXPECT_TRUE(contains(r.out, "box | it's lab-box\n"));
  EXPECT_EQ(containers(), "");
  expect_no_trace();
}

TEST_F(LabContainer, StopsAndStartsAgainAndItsLineGoesDown) {
  const std::string path = lab(R"(
at = [
  { time = "0s", stop = "box" },
  { after = "ended box", start = "box" },
  { after = "log box second", link = "box", down = true },
]
[host.x]
on = "b"
ip = "198.18.0.9/24"
[host.box]
on = "b"
ip = "198.18.0.1/24"
container = "-v \"$PWD:/shared\" docker.io/library/busybox"
run = """
if [ -e /shared/one ]; then echo second; else echo >/shared/one; fi; echo begun
while read c </sys/class/net/b/carrier && [ $c = 1 ]; do sleep 0.1; done
ip -o link show b >/shared/two
sleep 600
"""
ready = "log begun"
[test]
host = "x"
run = "i=0; until grep -qs NO-CARRIER two; do i=$((i+1)); [ $i -lt 900 ] || exit 1; sleep 0.1; done"
)");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 0) << r.out << r.err;
}

TEST_F(LabContainer, IsRefusedByCheckWherePodmanWouldRefuseItsWords) {
  const std::string run = "', run = 'true";
  for (const auto& [words, why] : std::initializer_list<std::pair<std::string, std::string>>{
           {"-v a:b", "the image is missing"},
           {"-v a:b" + run, "the image is missing"},
           {"--none x", "unknown flag: --none"},
           {"x -v a:b" + run, "words behind the image"},
           {"--name=y x", "the option --name"},
           {"--net none x", "the option --net,"},
           {"--network none x", "the option --network,"},
           {"--pod y x", "the option --pod,"},
           {"--entrypoint y x", ""},
           {"--entrypoint y x" + run, "an --entrypoint"},
           {"--rm -v a:b -e \"A=1 2\" x" + run, ""},
           {"x y", ""}}) {
    const ToolResult said =
        run_tool({"check", lab("host.box = { on = 'b', container = '" + words + "' }\n")});
    EXPECT_EQ(said.status, why.empty() ? 0 : 1) << words << said.err;
    EXPECT_EQ(said.err.find("lab.toml:2:36: the `container`") != std::string::npos, !why.empty());
    EXPECT_TRUE(contains(said.err, why)) << words;
  }
  run_tool({"check", lab("host.box = { on = 'b', container = 'x $(touch ran) `touch ran`' }\n")});
  EXPECT_FALSE(std::filesystem::exists("ran") || std::filesystem::exists(file("ran")));
  EXPECT_EQ(containers(), "");
}

TEST_F(LabContainer, VanishesWithAKilledControllerOrRunner) {
  const std::string path = lab(R"(host.x = { on = "b" }
[host.box]
on = "b"
container = "docker.io/library/busybox"
run = "sleep 600; true"
may_fail = true
memory = "64M"
cpu = 0.5
)");
  for (const bool kills_controller : {true, false}) {
    ASSERT_EQ(up(path, {"--detach"}).status, 0);
    EXPECT_EQ(containers(), "shmif-lab-box\n");
    const char* const limits = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}";
    EXPECT_EQ(run_program({"podman", "inspect", "--format", limits, "shmif-lab-box"}).out,
              "67108864 500000000\n");
    const pid_t controller = state()["pid"];
    pid_t runner = 0;
    for (const pid_t each : children_of(controller)) {
      if (text_of("/proc/" + std::to_string(each) + "/comm") == "shmif-container\n") runner = each;
    }
    ASSERT_GT(runner, 0);
    ::kill(kills_controller ? controller : runner, SIGKILL);
    EXPECT_TRUE(eventually([&] { return containers().empty(); }));
    EXPECT_EQ(is_gone(controller), kills_controller);
    EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
    expect_no_trace();
  }
}

}  // namespace
}  // namespace shmif::test
