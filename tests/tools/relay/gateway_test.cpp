// gateway: hosts of a bus reach a world that the test made, through slirp4netns and passt as they
// are.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "shmif/faults.hpp"
#include "shmif/port.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

// A world for tests of gateways: a network namespace with a web server and a name server.

/// What an ordinary user's PATH lacks.
const std::string kPath = "PATH=$PATH:/usr/sbin:/sbin; ";
/// The world's one machine, with a name server that knows web.test, and a web server.
constexpr const char* kWorld = "198.18.9.1";
constexpr const char* kPage = "a page of the world\n";
constexpr const char* kLoopbackPage = "a page for this machine only\n";

std::vector<ExecSetting> callers() {
  if (::geteuid() != 0) return {{false, "veth", "Caller"}};
  return {{false, "veth", "Root"}, {true, "veth", "User"}};
}

/// The world: a network namespace that belongs to the caller.
class GatewayRig : public ExecRig {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(ExecRig::SetUp());
    if (IsSkipped()) return;
    for (const char* const name : {"busybox", "dnsmasq", "slirp4netns", "udhcpc"}) {
      if (!has_program(name)) GTEST_SKIP() << "no " << name << " here";
    }
    for (const char* const place : {"www", "local"}) {
      std::filesystem::create_directory(file(place));
      std::ofstream(file(place) + "/page") << (*place == 'w' ? kPage : kLoopbackPage);
    }
    std::ofstream(file("resolv.conf")) << "nameserver " << kWorld << '\n';
    const std::string network = std::string("ip link set lo up && ip address add ") + kWorld +
                                "/32 dev lo && ip address add 169.254.7.7/32 dev lo && ip address "
                                "add 127.0.0.53/32 dev lo && ip link add "
                                "out type veth peer name away && "
                                "ip address add 198.18.8.1/24 dev out && ip link set out up && "
                                "ip link set away up && ip route add default via 198.18.8.2 && ";
    world_ = std::make_unique<Tool>(
        by_caller({"unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c",
                   kPath + network + "mount --bind " + file("resolv.conf") +
                       " /etc/resolv.conf && echo made && exec sleep 300"}));
    ASSERT_TRUE(world_->wait_for("made"));
    serve("busybox httpd -f -p 80 -h " + file("www"));
    serve("busybox httpd -f -p 127.0.0.1:81 -h " + file("local"));
    serve(std::string("dnsmasq --no-daemon --user=root --group=root --no-resolv "
                      "--no-hosts --conf-file=/dev/null --bind-interfaces --listen-address=") +
          kWorld + " --listen-address=127.0.0.53 --address=/web.test/" + kWorld);
    bus();
  }

  Words in_world(const Words& words) const {
    return by_caller(Words{"nsenter", "--preserve-credentials", "--user", "--net", "--mount",
                           "--target", std::to_string(world_->pid())} +
                     words);
  }
  void serve(const std::string& command) {
    servers_.push_back(std::make_unique<Tool>(in_world({"sh", "-c", kPath + "exec " + command})));
  }
  /// A gateway in the world, once its port is up. `before`: words before the command.
  std::unique_ptr<Tool> gateway(const Words& more = {}, const Words& before = {}) const {
    auto tool =
        std::make_unique<Tool>(in_world(before + Words{shmifctl_path(), "gateway", bus()} + more));
    EXPECT_TRUE(tool->wait_for("connected, as port gateway"));
    EXPECT_TRUE(eventually([&] { return port("gateway") && port("gateway")->up; }));
    return tool;
  }
  /// Runs `script` on a host that has first asked for a lease.
  ToolResult with_lease(const std::string& script, const std::string& name = "one") const {
    return run_shell(
        kPath + "udhcpc -i tap0 -n -q -t 20 -T 1 > /dev/null 2>&1 || exit 9; " + script,
        {"--name", name});
  }
  /// Makes a program that a gateway with `PATH=bin` runs.
  void write_program(const std::string& name, const std::string& script) const {
    std::filesystem::create_directory(file("bin"));
    std::ofstream(file("bin/") + name) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(file("bin/") + name, std::filesystem::perms::all);
  }
  std::string path_to_programs() const { return "PATH=" + file("bin"); }
  /// The programs that can lead to the world, as far as they are here.
  static Words programs() {
    Words all{"slirp4netns"};
    if (has_program("passt")) all.emplace_back("passt");
    return all;
  }
  /// The process that a gateway runs; 0: none.
  static pid_t child_of(const Tool& gateway) {
    const std::string pid = std::to_string(gateway.pid());
    std::ifstream file("/proc/" + pid + "/task/" + pid + "/children");
    pid_t child = 0;
    file >> child;
    return child;
  }
  static ToolResult end(Tool& tool) {
    tool.signal(SIGTERM);
    return tool.finish();
  }

 private:
  std::unique_ptr<Tool> world_;
  std::vector<std::unique_ptr<Tool>> servers_;
};

const std::string kFetch = "curl -sS --retry 9 --retry-all-errors -m 20 ";

class Gateway : public GatewayRig {
 protected:
  Port raw_port() const {
    Port raw({.name = "raw"});
    raw.attach(bus()).value();
    EXPECT_FALSE(raw.up());
    return raw;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, Gateway, ::testing::ValuesIn(callers()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Gateway, GivesTwoHostsAtOnceAnAddressARouteAndNamesAndLeadsThemToTheWorld) {
  const auto way = gateway();
  EXPECT_TRUE(contains(way->so_far().out,
                       "gateway 10.0.2.2, name server 10.0.2.3, DHCP 10.0.2.15 to "
                       "10.0.2.30: by slirp4netns\n"));
  // The first host stays while the second one comes and goes.
  const auto first = start("first", kPath +
                                        "udhcpc -i tap0 -n -q -t 20 -T 1 > /dev/null 2>&1 && "
                                        "ip -4 -o address show tap0 && ip route && echo leased; "
                                        "until [ -e " +
                                        file("go") + " ]; do sleep 0.05; done; " + kFetch +
                                        "http://web.test/page; sleep 100");
  ASSERT_TRUE(first->wait_for("leased"));
  EXPECT_TRUE(contains(first->so_far().out, "inet 10.0.2.15/24"));
  EXPECT_TRUE(contains(first->so_far().out, "default via 10.0.2.2"));
  const ToolResult second = with_lease(
      "ip -4 -o address show tap0; cat /etc/resolv.conf; " + kFetch + "http://web.test/page",
      "second");
  EXPECT_EQ(second.status, 0) << second.err;
  EXPECT_TRUE(contains(second.out, "inet 10.0.2.16/24"));
  EXPECT_TRUE(contains(second.out, "nameserver 10.0.2.3"));
  EXPECT_TRUE(second.out.ends_with(kPage)) << second.out << second.err;
  std::ofstream(file("go")) << '\n';
  EXPECT_TRUE(first->wait_for(kPage)) << "it still has its way";
  const ToolResult said = end(*way);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_TRUE(contains(said.out, "slirp4netns -> bus:" + bus() + ": "));
  EXPECT_TRUE(contains(said.out, "slirp4netns: 1 connection"));
}

// slirp4netns has 16 addresses, and keeps each of them for the MAC address that asked for it.
TEST_P(Gateway, GivesAHostItsAddressHoweverOftenItIsStarted) {
  const auto way = gateway();
  constexpr unsigned kMoreThanAddresses = 17;
  for (unsigned start = 1; start <= kMoreThanAddresses; ++start) {
    const ToolResult leased = with_lease("ip -4 -o address show tap0", "web");
    ASSERT_EQ(leased.status, 0) << "start " << start << ": " << leased.out << leased.err;
    EXPECT_TRUE(contains(leased.out, "inet 10.0.2.15/24")) << start;
  }
}

TEST_P(Gateway, LeadsHostsOnABusOfNetbsdsFormatToTheWorld) {
  const std::string netbsd = file("netbsd");
  Bus::create(netbsd, {.mode = 0666, .format = BusFormat::netbsd}).value();
  Tool way(in_world({shmifctl_path(), "gateway", netbsd}));
  ASSERT_TRUE(way.wait_for("connected, as port gateway"));
  const ToolResult fetched = run_program(
      by_caller({shmifctl_path(), "exec", netbsd, "--via", GetParam().via, "--", "sh", "-c",
                 kPath + "udhcpc -i tap0 -n -q -t 20 -T 1 > /dev/null 2>&1 || exit 9; " + kFetch +
                     "http://web.test/page"}));
  EXPECT_EQ(fetched.status, 0) << fetched.err;
  EXPECT_EQ(fetched.out, kPage);
  EXPECT_EQ(end(way).status, 0);
}

TEST_P(Gateway, LeadsToThisMachinesLoopbackOnlyWhereItWasAskedTo) {
  const std::string look = "curl -sS -m 20 http://10.0.2.2:81/page";
  {
    const auto way = gateway();
    const ToolResult refused = with_lease(kFetch + "http://198.18.9.1/page && " + look);
    EXPECT_NE(refused.status, 0);
    EXPECT_EQ(refused.out, kPage);
  }
  const auto way = gateway({"--loopback"});
  const ToolResult fetched = with_lease(kFetch + "http://10.0.2.2:81/page", "two");
  EXPECT_EQ(fetched.out, kLoopbackPage) << fetched.err;
}

/// Sends raw frames to the gateway's MAC: to each far side a question to a name server and the
/// begin of a connection, each from a port of its own. The last far side is asked until it has
/// answered both. Prints the ports at which answers arrived.
constexpr const char* kRawProbes = R"(
import fcntl, socket, struct, sys, time
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
port.bind(('tap0', 0))
port.settimeout(0.2)
own = fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8915,
                  struct.pack('256s', b'tap0'))[20:24]  # SIOCGIFADDR
def sum16(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def send(far, protocol, segment, at):
    pseudo = own + far + struct.pack('!BBH', 0, protocol, len(segment))
    check = struct.pack('!H', sum16(pseudo + segment))
    segment = segment[:at] + check + segment[at + 2:]
    head = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(segment), 1, 0, 64, protocol, 0) + own + far
    head = head[:10] + struct.pack('!H', sum16(head)) + head[12:]
    gateway = bytes.fromhex('52550a000202')
    port.send(gateway + port.getsockname()[4] + b'\x08\0' + head + segment)
def ask(near, far, dns, web):
    far = socket.inet_aton(far)
    question = struct.pack('!HHHHHH', near, 0x100, 1, 0, 0, 0) + b'\3web\4test\0\0\1\0\1'
    send(far, 17, struct.pack('!HHHH', near, dns, 8 + len(question), 0) + question, 6)
    send(far, 6, struct.pack('!HHIIBBHHH', near, web, 1, 0, 0x50, 2, 8192, 0, 0), 16)
answered = set()
near = 40000
for far in sys.argv[1:]:
    near += 1
    host, dns, web = far.split(':')
    until = time.monotonic() + 60
    while True:
        ask(near, host, int(dns), int(web))
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try: frame = port.recv(2048)
            except socket.timeout: continue
            if frame[:6] != port.getsockname()[4] or frame[12:15] != b'\x08\0\x45': continue
            protocol, to = frame[23], struct.unpack('!H', frame[36:38])[0]
            if protocol == 17: answered.add(('udp', to))
            if protocol == 6 and frame[47] & 0x12 == 0x12: answered.add(('tcp', to))
        both = {('udp', near), ('tcp', near)} <= answered
        if far != sys.argv[-1] or both or time.monotonic() > until: break
print(*(what + ':' + str(to - 40000) for what, to in sorted(answered) if 40000 < to < 41000))
)";

TEST_P(Gateway, LeadsNoRawFrameToThisMachinesLoopback) {
  serve(
      "dnsmasq --no-daemon --user=root --group=root --no-resolv --no-hosts "
      "--conf-file=/dev/null --bind-interfaces --port=5353 --listen-address=127.0.0.1 "
      "--address=/web.test/198.18.9.1");
  std::ofstream(file("probes.py")) << kRawProbes;
  const std::string script = "exec /usr/bin/python3 " + file("probes.py") +
                             " 127.0.0.1:5353:81 127.0.0.53:53:80 0.0.0.0:5353:81 " +
                             "127.255.255.255:5353:81 198.18.9.1:53:80";
  for (const std::string& program : programs()) {
    SCOPED_TRACE(program);
    const auto way = gateway({"--with", program});
    const ToolResult probed = with_lease(script);
    EXPECT_EQ(probed.out, "tcp:5 udp:5\n") << probed.err;
    const ToolResult said = end(*way);
    const std::string text = said.out;
    EXPECT_TRUE(text.find("(8 for 127.0.0.0/8 or 0.0.0.0/8") != std::string::npos ||
                text.find(" 8 for 127.0.0.0/8 or 0.0.0.0/8") != std::string::npos)
        << text;
  }
}

TEST_P(Gateway, LeadsToLinkLocalAddressesOnlyWhereItWasAskedTo) {
  for (const std::string& program : programs()) {
    constexpr int kRefusedAtOnce = 7;  // of curl, which ends with 28 if it had to wait
    {
      const auto way = gateway({"--with", program});
      const ToolResult refused = with_lease("curl -sS -m 20 http://169.254.7.7/page");
      EXPECT_EQ(refused.status, kRefusedAtOnce) << refused.err;
      const ToolResult said = end(*way);
      EXPECT_TRUE(contains(said.out, "by the rules of the gateway"));
      EXPECT_TRUE(contains(said.out, " for 169.254.0.0/16, see --link-local"));
    }
    const auto way = gateway({"--with", program, "--link-local"});
    const ToolResult fetched = with_lease(kFetch + "http://169.254.7.7/page", "two");
    EXPECT_EQ(fetched.out, kPage) << program << fetched.err;
  }
}

TEST_P(Gateway, GivesANameServerThatAnswersWhereThisMachineAsksOneOfItsLoopback) {
  std::ofstream(file("resolv.conf")) << "nameserver 127.0.0.53\n";
  const std::string fetch = "cat /etc/resolv.conf; " + kFetch + "http://web.test/page";
  for (const std::string& program : programs()) {
    const auto way = gateway({"--with", program});
    const std::string server = program == "passt" ? "10.0.2.2" : "10.0.2.3";
    EXPECT_TRUE(contains(way->so_far().out, "name server " + server + ","));
    const ToolResult leased = with_lease(fetch);
    EXPECT_TRUE(contains(leased.out, "nameserver " + server + '\n'));
    EXPECT_TRUE(leased.out.ends_with(kPage)) << program << leased.out << leased.err;
    EXPECT_EQ(with_lease("curl -sS -m 20 http://10.0.2.2:81/page", "two").out, "") << "and no more";
    const ToolResult given =
        run_shell(fetch, {"--ip", "10.0.2.15/24", "--gateway", "10.0.2.2", "--dns", server});
    EXPECT_EQ(given.out, "nameserver " + server + '\n' + kPage) << given.err;
  }
}

TEST_P(Gateway, AHostWithARouterIsWarnedWhereItCannotLookUpNames) {
  const Words stays = {shmifctl_path(), "exec", bus(), "--ip", "10.0.2.15/24"};
  const Words leaves = stays + Words{"--gateway", "10.0.2.2"};
  struct Case {
    Words words;
    const char* names;
    std::string why;  // empty: no warning
  };
  const char* const none = "search test\nnameserver\n# nameserver 198.18.9.1\n";
  const char* const local = "search test\nnameserver\nnameserver 127.0.0.53\n";
  for (const auto& [words, names, why] : std::vector<Case>{
           {leaves, "", "no name server"},
           {leaves, none, "no name server"},
           {leaves, local, "only 127.0.0.53, where no server answers inside the host"},
           {leaves + Words{"--dns", "198.18.9.1"}, local, ""},
           {stays, local, ""},  // on its bus
           {leaves, "nameserver 127.0.0.53\nnameserver 198.18.9.1\n", ""}}) {
    std::ofstream(file("resolv.conf")) << names;
    const ToolResult result = run_program(in_world(words + Words{"--", "true"}));
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(contains(result.err, "cannot look up names"), !why.empty()) << names << result.err;
    EXPECT_TRUE(contains(result.err, why));
    EXPECT_EQ(contains(result.err, "(give --dns ADDRESS, "), !why.empty()) << result.err;
  }
}

/// A script: in a mount namespace of its own, /etc/resolv.conf is a link to `target`.
std::string with_resolv_conf_at(const std::string& etc, const std::string& target) {
  return kPath + "umount /etc/resolv.conf; mkdir -p " + etc + " && cp /etc/passwd /etc/group " +
         etc + " && ln -sf " + target + " " + etc + "/resolv.conf && mount --bind " + etc +
         " /etc && exec \"$@\"";
}

TEST_P(Gateway, WarnsAsRootWhereTheLinkToTheNameServersLeavesTheSandbox) {
  const auto said = [&](const std::string& target) {
    const std::string script = with_resolv_conf_at(file("etc"), target);
    const auto way = gateway({}, {"unshare", "--mount", "sh", "-c", script, "sh"});
    return way->so_far().err;
  };
  const std::string warning = "/etc/resolv.conf is a link that leads elsewhere (make it a file, ";
  EXPECT_TRUE(contains(said(file("resolv.conf")), warning));
  std::filesystem::create_directory(file("etc"));
  std::filesystem::permissions(file("etc"), std::filesystem::perms::all);
  std::ofstream(file("etc/real.conf")) << "nameserver " << kWorld << '\n';
  EXPECT_EQ(said("real.conf"), "");
}

TEST_P(Gateway, KeepsHowToSearchForNamesWhereAHostGetsItsNameServers) {
  std::ofstream(file("resolv.conf"))
      << "# comment\ndomain a.test\nsearch a.test b.test\n"
         "nameserver 198.18.9.9\noptions ndots:3 edns0\nsortlist 198.18.0.0";
  const auto shown = [&](const Words& more) {
    return run_program(in_world(Words{shmifctl_path(), "exec", bus(), "--ip", "10.0.2.15/24"} +
                                more + Words{"--", "cat", "/etc/resolv.conf"}))
        .out;
  };
  EXPECT_EQ(shown({"--dns", "198.18.9.1", "--dns", "198.18.9.2"}),
            "nameserver 198.18.9.1\nnameserver 198.18.9.2\ndomain a.test\nsearch a.test b.test\n"
            "options ndots:3 edns0\n");
  EXPECT_EQ(shown({}),
            "# comment\ndomain a.test\nsearch a.test b.test\nnameserver 198.18.9.9\n"
            "options ndots:3 edns0\nsortlist 198.18.0.0\n");
}

TEST_P(Gateway, SaysThatPasstNeedsADefaultRoute) {
  if (!has_program("passt")) GTEST_SKIP() << "no passt here";
  // The half of all addresses that VPNs take is no default route.
  for (const std::string change :
       {"via=$(ip -4 route show default | cut -d ' ' -f 3); ip route del default; "
        "ip route add 0.0.0.0/1 via $via",
        "ip route del 0.0.0.0/1"}) {
    ASSERT_EQ(run_program(in_world({"sh", "-c", kPath + change})).status, 0) << change;
    Tool way(in_world({shmifctl_path(), "gateway", bus(), "--with", "passt"}));
    EXPECT_TRUE(way.wait_for("ip route add default via ADDRESS; or use --with slirp4netns"))
        << change;
  }
}

TEST_P(Gateway, CarriesConnectionsDatagramsNamesAndPings) {
  ASSERT_EQ(
      run_program(in_world({"sh", "-c", kPath + "echo 0 0 > /proc/sys/net/ipv4/ping_group_range"}))
          .status,
      0);
  for (const std::string& program : programs()) {
    const auto way = gateway({"--with", program});
    const ToolResult told = with_lease(
        kFetch + "http://web.test/page; " + kFetch +
        "http://198.18.9.1/page; for i in 1 2 3; do busybox nslookup web.test 198.18.9.1 | "
        "grep -c 198.18.9.1; done; busybox "
        "ping -c 2 -W 30 198.18.9.1 && echo pong");
    EXPECT_TRUE(told.out.starts_with(kPage + std::string(kPage))) << told.out << told.err;
    // passt, if root starts it, is nobody, and may not send pings here.
    EXPECT_TRUE(program == "passt" || told.out.ends_with("pong\n")) << told.out << told.err;
    const ToolResult said = end(*way);
    EXPECT_FALSE(contains(said.out, "that no host asked for")) << program;
  }
}

/// A frame with one fragment of a datagram that 10.0.2.77 sends to the world's machine.
std::vector<std::uint8_t> fragment(unsigned offset, bool more_follow) {
  constexpr std::size_t kPayload = 16;
  std::vector<std::uint8_t> frame = {0x52, 0x55, 10, 0,  2,   2,  0xb2, 0xa0, 0,  0,  0, 0x77,
                                     0x08, 0,  // to the gateway, IPv4
                                     0x45, 0,    0,  0,  0,   42, 0,    0,    64, 17, 0, 0,  // UDP
                                     10,   0,    2,  77, 198, 18, 9,    1};
  frame[17] = 20 + kPayload;
  frame[20] = more_follow ? 0x20 : 0;
  frame[21] = static_cast<std::uint8_t>(offset / 8);
  unsigned sum = 0;
  for (std::size_t i = 14; i < frame.size(); i += 2) sum += frame[i] * 256U + frame[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffffU) + (sum >> 16U);
  frame[24] = static_cast<std::uint8_t>(~sum >> 8U);
  frame[25] = static_cast<std::uint8_t>(~sum);
  frame.resize(frame.size() + kPayload, 0x55);
  return frame;
}

TEST_P(Gateway, GoesOnWhenFragmentsComeInAnyOrder) {
  for (const std::string& program : programs()) {
    const auto way = gateway({"--with", program});
    const pid_t child = child_of(*way);
    const std::string fetch = kFetch + "http://198.18.9.1/page";
    EXPECT_EQ(with_lease(fetch).out, kPage) << "and the bus knows where the gateway is";
    Port raw = raw_port();
    for (const unsigned last : {48U, 32U, 16U}) {
      for (unsigned offset = last + 16; offset > 0; offset -= 16) {
        const auto bytes = fragment(offset - 16, offset - 16 != last);
        const FrameView view(bytes.data(), bytes.size());
        EXPECT_EQ(raw.send({&view, 1}).taken, 1U);
      }
    }
    const ToolResult fetched = with_lease(fetch, "two");
    EXPECT_EQ(fetched.out, kPage) << program << fetched.err;
    EXPECT_EQ(child_of(*way), child) << program << ": " << way->so_far().out;
    const ToolResult said = end(*way);
    EXPECT_TRUE(contains(said.out, "9 fragments of packets"));
  }
}

TEST_P(Gateway, AsJsonCountsWhatItRefusedByReasonAndSaysTheRestOnStandardError) {
  const auto way = gateway({"--json"});
  EXPECT_EQ(way->so_far().out, "");
  Port raw = raw_port();
  // IPv6 to all nodes, which no gateway carries, and a fragment.
  std::vector<std::byte> ipv6(74);
  std::fill_n(ipv6.begin(), 6, std::byte{0xff});
  ipv6[12] = std::byte{0x86};
  ipv6[13] = std::byte{0xdd};
  auto piece = fragment(0, true);
  std::fill_n(piece.begin(), 6, std::uint8_t{0xff});  // nobody knows where the gateway is yet
  const std::vector<FrameView> frames{FrameView(ipv6.data(), ipv6.size()),
                                      FrameView(ipv6.data(), ipv6.size()),
                                      FrameView(piece.data(), piece.size())};
  EXPECT_EQ(raw.send(frames).taken, 3U);
  EXPECT_TRUE(eventually([&] { return port("gateway")->rx_frames >= 3; }));
  const ToolResult said = end(*way);
  EXPECT_EQ(said.status, 0) << said.err;
  const auto object = nlohmann::json::parse(said.out, nullptr, false);
  ASSERT_TRUE(object.is_object()) << said.out;
  EXPECT_EQ(object["directions"][0]["from"], "bus:" + bus());
  EXPECT_EQ(object["directions"][0]["to"], "slirp4netns");
  EXPECT_EQ(object["directions"][0]["rule_refused_frames"], 3);
  EXPECT_EQ(object["directions"][0]["offered_frames"], 3);
  EXPECT_EQ(object["directions"][0]["tx_frames"], 0);
  EXPECT_EQ(object["directions"][1]["rule_refused_frames"], 0);
  EXPECT_EQ(object["programs"]["connections"], 1);
  EXPECT_EQ(object["programs"]["disconnected_frames"], 0);
  EXPECT_EQ(object["rule_refused_by_reason"]["other_protocol"], 2);
  EXPECT_EQ(object["rule_refused_by_reason"]["fragment"], 1);
  EXPECT_EQ(object["rule_refused_by_reason"].size(), 12U);
}

TEST_P(Gateway, ConfinesItsProgramAsFarAsThatKnows) {
  const auto tried = [&](const std::string& unknown) {
    std::ofstream(file("trace"), std::ios::trunc);
    std::filesystem::permissions(file("trace"), std::filesystem::perms::all);
    // Says it does not know these options, one after the other.
    write_program("slirp4netns",
                  "echo \"$*\" >> \"$TRACE\"\nfor word; do for each in " + unknown +
                      "; do\n[ \"$word\" != --enable-$each ] || { echo \"slirp4netns: "
                      "unrecognized option '$word'\" >&2; exit 1; }\ndone; done\n"
                      "exec /usr/bin/slirp4netns \"$@\"\n");
    const auto way = gateway({}, {"env", path_to_programs(), "TRACE=" + file("trace")});
    const ToolResult fetched = with_lease(kFetch + "http://198.18.9.1/page");
    EXPECT_EQ(fetched.out, kPage) << fetched.err;
    std::string all;
    std::ifstream trace(file("trace"));
    for (std::string line; std::getline(trace, line);) {
      for (const char* const word : {"--enable-sandbox", "--enable-seccomp"})
        all += contains(line, word) ? std::string(" ") + (word + 9) : " -";
      all += ';';
    }
    return all;
  };
  EXPECT_EQ(tried("nothing"), " sandbox seccomp;");
  EXPECT_EQ(tried("sandbox"), " sandbox seccomp; - seccomp;");
  EXPECT_EQ(tried("sandbox seccomp"), " sandbox seccomp; - seccomp; - -;");
}

TEST_P(Gateway, TakesAnotherNetworkWhereItWasToldTo) {
  const auto way = gateway({"--network", "198.18.64.0/20"});
  const ToolResult leased = with_lease("ip -4 -o address show tap0; cat /etc/resolv.conf; " +
                                       kFetch + "http://web.test/page");
  EXPECT_TRUE(contains(leased.out, "inet 198.18.64.15/20"));
  EXPECT_TRUE(leased.out.ends_with(kPage)) << leased.out << leased.err;
}

TEST_P(Gateway, StartsItsProgramAgainWhenThatWasKilledAndHostsGoOn) {
  std::filesystem::create_directory(file("marks"));
  std::filesystem::permissions(file("marks"), std::filesystem::perms::all);
  // Its second start fails.
  write_program("slirp4netns",
                "if [ -e \"$MARKS/1\" ] && [ ! -e \"$MARKS/2\" ]; then\n: > \"$MARKS/2\"\n"
                "echo not now >&2\nexit 3\nfi\n: > \"$MARKS/1\"\n"
                "exec /usr/bin/slirp4netns \"$@\"\n");
  const auto way = gateway({}, {"env", path_to_programs(), "MARKS=" + file("marks")});
  const auto host = start(
      "host",
      kPath + "udhcpc -i tap0 -n -q -t 20 -T 1 > /dev/null 2>&1 && echo leased; until [ -e " +
          file("go") + " ]; do sleep 0.05; done; " + kFetch + "http://web.test/page; sleep 100");
  ASSERT_TRUE(host->wait_for("leased"));
  const pid_t first = child_of(*way);
  ASSERT_GT(first, 0);
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  ASSERT_TRUE(
      way->wait_for("slirp4netns was ended by SIGKILL; trying again\n"
                    "slirp4netns: connected, as port gateway, MTU 1500"));
  EXPECT_TRUE(contains(way->so_far().err, "ended with exit code 3: not now; trying again\n"));
  EXPECT_NE(child_of(*way), first);
  std::ofstream(file("go")) << '\n';
  EXPECT_TRUE(host->wait_for(kPage));
  EXPECT_TRUE(contains(end(*way).out, "slirp4netns: 2 connections"));
}

TEST_P(Gateway, TakesItsProgramWithItHoweverItEnds) {
  const Words before{"env", "TMPDIR=" + file("tmp")};
  std::filesystem::create_directory(file("tmp"));
  std::filesystem::permissions(file("tmp"), std::filesystem::perms::all);
  for (const int signal : {SIGTERM, SIGINT, SIGKILL}) {
    const auto way = gateway({}, before);
    const pid_t child = child_of(*way);
    ASSERT_GT(child, 0);
    EXPECT_TRUE(std::filesystem::is_empty(file("tmp"))) << "the socket is not needed any more";
    way->signal(signal);
    EXPECT_EQ(way->finish().status, signal == SIGKILL ? 128 + SIGKILL : 0);
    EXPECT_TRUE(eventually([&] { return ::kill(child, 0) != 0; })) << signal;
  }
}

TEST_P(Gateway, ServesOneHostThroughPasst) {
  if (!has_program("passt")) GTEST_SKIP() << "no passt here";
  // Only passt is in this PATH.
  write_program("passt", "exec /usr/bin/passt \"$@\"\n");
  const auto way = gateway({}, {"env", path_to_programs()});
  EXPECT_TRUE(contains(way->so_far().out,
                       "gateway 10.0.2.2, name servers of this machine, DHCP "
                       "10.0.2.15: by passt, for one host (slirp4netns serves many)\n"));
  const ToolResult fetched = with_lease("ip -4 -o address show tap0; cat /etc/resolv.conf; " +
                                        kFetch + "http://web.test/page");
  EXPECT_TRUE(contains(fetched.out, "inet 10.0.2.15/24"));
  EXPECT_TRUE(fetched.out.ends_with(kPage)) << fetched.out << fetched.err;
  const pid_t child = child_of(*way);
  way->signal(SIGKILL);
  static_cast<void>(way->finish());
  EXPECT_TRUE(eventually([&] { return ::kill(child, 0) != 0; }));
}

TEST_P(Gateway, IsAlsoABridgeToAPasstThatListens) {
  if (!has_program("passt")) GTEST_SKIP() << "no passt here";
  Tool passt(in_world({"passt", "--foreground", "--stderr", "--socket", file("passt.sock"),
                       "--ipv4-only", "--address", "10.0.2.15", "--netmask", "24", "--gateway",
                       "10.0.2.2", "--no-map-gw"}));
  Tool bridge(by_caller(
      {shmifctl_path(), "bridge", "bus:" + bus(), "stream:connect=" + file("passt.sock")}));
  ASSERT_TRUE(bridge.wait_for("connected, as port"));
  const ToolResult fetched = with_lease(kFetch + "http://198.18.9.1/page");
  EXPECT_EQ(fetched.out, kPage) << fetched.err << passt.so_far().err;
}

TEST_P(Gateway, SaysWhatToInstallWhereNoProgramIsThereAndWhyOneDoesNotStart) {
  write_program("slirp4netns", "echo . >> " + file("started") +
                                   "\necho a first line >&2\necho the reason >&2\nexit 3\n");
  const auto refused = [&](const std::string& path, const Words& more, int status,
                           const std::string& said) {
    const ToolResult result =
        run_program(by_caller(Words{"env", path, shmifctl_path(), "gateway", bus()} + more));
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(count_of_lines(result.err), 1) << result.err;
    EXPECT_TRUE(contains(result.err, said));
  };
  refused("PATH=/nonexistent", {}, 77, "apt install slirp4netns");
  refused("PATH=/nonexistent", {"--with", "passt"}, 77, "apt install passt");
  refused(path_to_programs(), {}, 1, "slirp4netns ended with exit code 3: the reason\n");
  EXPECT_EQ(std::filesystem::file_size(file("started")), 2U) << "it is not tried with less";
}

// Where they differ, answers are too long for the bus, or many short ones do the work of one.
TEST(GatewayLine, GivesItsProgramTheMtuOfTheBus) {
  const TempDir directory;
  const std::string program = directory.file("slirp4netns");
  std::ofstream(program) << "#!/bin/sh\nwhile [ $# -gt 0 ]; do\ncase $1 in --mtu=*) echo $1 >&2; "
                            "esac\nshift\ndone\nexit 3\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  for (const std::string mtu : {"300", "1500", "65521"}) {
    const std::string bus = directory.file(mtu);
    ASSERT_EQ(run_tool({"create", bus, "--mtu", mtu}).status, 0);
    const ToolResult result =
        run_program({"env", "PATH=" + directory.path(), shmifctl_path(), "gateway", bus});
    EXPECT_EQ(result.status, 1);
    EXPECT_TRUE(contains(result.err, "slirp4netns ended with exit code 3: --mtu=" + mtu + "\n"));
  }
}

TEST(GatewayLine, RefusesWhatIsNoNetwork) {
  const auto refused = [](const Words& more, const std::string& said) {
    const ToolResult result = run_tool(Words{"gateway", "/nonexistent"} + more);
    EXPECT_EQ(result.status, 2) << said;
    EXPECT_TRUE(contains(result.err, said));
  };
  for (const std::string text :
       {"10.0.2.0", "10.0.2.0/", "10.0.2.0/24x", "10.0.2.0/+24", "10.0.2/24", "10.0.0.0/7",
        "10.0.2.0/26", "fd00::/24", "/24", "10.0.2.0/24/24", "x/24"})
    refused({"--network", text}, '"' + text + "\" is not an IPv4 network");
  for (const std::string text : {"10.0.2.2/24", "10.0.2.128/24", "10.1.0.0/8"})
    refused({"--network", text}, '"' + text + "\" is an address in a network");
  for (const std::string text : {"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/8", "255.0.0.0/8"})
    refused({"--network", text}, '"' + text + "\" is for loopback or multicast");
  refused({"--with", "slirp"}, "neither slirp4netns nor passt");
}

class GatewayFaults : public GatewayRig {
 protected:
  /// Ends a gateway that was started with --json. Result: to the world, and from it.
  static nlohmann::json directions(Tool& gateway) {
    const ToolResult result = end(gateway);
    EXPECT_EQ(result.status, 0) << result.err;
    return nlohmann::json::parse(result.out).at("directions");
  }
};
INSTANTIATE_TEST_SUITE_P(Each, GatewayFaults, ::testing::ValuesIn(callers()),
                         [](const auto& each) { return each.param.name; });

const std::string kFetchPage = kFetch + "http://" + kWorld + "/page";

TEST_P(GatewayFaults, HitExactlyTheFramesOfTheirWayAndAreCounted) {
  if (!match_frames("udp")) GTEST_SKIP() << match_frames("udp").error().message;
  const auto way = gateway({"--json", "--fault", "in:match='tcp dst port 80',drop=1,seed=5",
                            "--fault", "out:match='tcp src port 80',drop=1,3,seed=7"});
  const ToolResult host = with_lease(kFetchPage);
  EXPECT_EQ(host.out, kPage) << "TCP sends again what was lost: " << host.err;
  const nlohmann::json ways = directions(*way);
  EXPECT_EQ(ways[0]["faults"]["options"], "match='tcp dst port 80',drop=1") << ways;
  EXPECT_EQ(ways[0]["faults"]["seed"], 5);
  EXPECT_EQ(ways[0]["faults"]["lost_frames"], 1);
  EXPECT_GT(ways[0]["faults"]["frames"], 5) << "and what passed";
  EXPECT_EQ(ways[1]["faults"]["options"], "match='tcp src port 80',drop=1,3") << ways;
  EXPECT_EQ(ways[1]["faults"]["seed"], 8);
  EXPECT_EQ(ways[1]["faults"]["lost_frames"], 2);
}

}  // namespace
}  // namespace shmif::test
