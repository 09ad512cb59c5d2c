// The files of labs: what is read, and what is wrong in them.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/temp_dir.hpp"
#include "tools/lab/host_words.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/reading.hpp"
#include "tools/lab/run.hpp"

namespace shmif::test {
namespace {

using tools::Lab;
using tools::LabEvent;
using tools::LabHost;
using tools::LabProblem;
using tools::LabProblems;
using tools::LabReady;
using tools::LabTrigger;

/// The problems of a text, as `check` prints them.
std::vector<std::string> problems_of(const std::string& text) {
  LabProblems problems;
  tools::read_lab(text, "/tmp/lab.toml", problems);
  std::vector<std::string> all;
  for (const LabProblem& each : problems.sorted()) all.push_back(to_text("lab.toml", each));
  return all;
}

/// Expects exactly one problem, which begins with `place` and contains the parts.
void expect_problem(const std::string& text, const std::string& place,
                    const std::vector<std::string>& parts) {
  const std::vector<std::string> all = problems_of(text);
  ASSERT_EQ(all.size(), 1U) << text << '\n' << testing::PrintToString(all);
  EXPECT_EQ(all[0].rfind("lab.toml:" + place + ": ", 0), 0U) << text << '\n' << all[0];
  for (const std::string& part : parts) {
    EXPECT_NE(all[0].find(part), std::string::npos) << part << " in " << all[0];
  }
}

Lab good_lab(const std::string& text, const std::string& file = "/tmp/lab.toml") {
  LabProblems problems;
  Lab lab = tools::read_lab(text, file, problems);
  for (const LabProblem& each : problems.sorted()) ADD_FAILURE() << to_text(file, each);
  return lab;
}

const std::string kThree = R"(bus.left  = {}
bus.right = { mtu = 9000, ring = "8M", flow = "pause" }
host.r1   = { on = ["left", "right"], ip = ["198.18.1.1/24", "198.18.2.1/24"], forward = true }
host.web.on = "right"
host.web.ip = "198.18.2.80/24"
host.web.gateway = "198.18.2.1"
host.web.run = "server"
host.web.ready = "tcp 80"
host.web.after = "r1"
host.user.on = "left"
host.user.ip = ["198.18.1.7/24", "fd00::7/64"]
host.user.gateway = "198.18.1.1"
host.user.dns = "198.18.1.1"
host.iot  = { on = "left", count = 40, ip = "198.18.1.100/24", run = "client --id {i}" }
capture.all = { on = ["left", "right"], file = "lab.pcapng" }
at = [
  { time = "5s",  link = "user", fault = "loss=10%" },
  { time = "10s", link = "r1.right", down = true },
  { after = "log r1 'neighbor lost'", time = "1s", link = "r1.right", down = false },
]
test = { host = "user", run = "./check.sh" }
)";

TEST(LabFile, OfTheIssueIsReadWithAllOfItsValues) {
  const Lab lab = good_lab(kThree, "/tmp/three.toml");
  EXPECT_EQ(lab.name, "three");
  EXPECT_EQ(lab.folder, "/tmp");
  ASSERT_EQ(lab.buses.size(), 2U);
  EXPECT_EQ(lab.buses[0].path, "/dev/shm/three.left");
  EXPECT_EQ(lab.buses[1].options.mtu, 9000U);
  EXPECT_EQ(lab.buses[1].options.ring_bytes, 8U << 20U);
  EXPECT_EQ(lab.buses[1].options.flow, Flow::pause);
  ASSERT_EQ(lab.hosts.size(), 43U);
  const LabHost& router = lab.hosts[0];
  EXPECT_EQ(router.name, "r1");
  EXPECT_TRUE(router.forward);
  ASSERT_EQ(router.interfaces.size(), 2U);
  EXPECT_EQ(router.interfaces[1].bus.value, "right");
  EXPECT_EQ(router.interfaces[1].addresses.at(0).value.to_string(), "198.18.2.1/24");
  const LabHost& web = lab.hosts[1];
  EXPECT_EQ(web.ready.when, LabReady::When::tcp);
  EXPECT_EQ(web.ready.port, 80U);
  EXPECT_EQ(web.after.at(0).value, "r1");
  EXPECT_EQ(web.interfaces.at(0).gateways.at(0).value.to_string(), "198.18.2.1");
  const LabHost& user = lab.hosts[2];
  EXPECT_EQ(user.interfaces.at(0).addresses.size(), 2U) << "one bus has all addresses";
  EXPECT_EQ(user.name_servers.value().at(0).to_string(), "198.18.1.1");
  EXPECT_EQ(lab.captures.at(0).buses.size(), 2U);
  ASSERT_EQ(lab.events.size(), 3U);
  EXPECT_EQ(lab.events[0].to_string(), "fault user loss=10%");
  EXPECT_EQ(lab.events[0].trigger.then, std::chrono::seconds(5));
  EXPECT_EQ(lab.events[1].to_string(), "link r1.right down");
  EXPECT_EQ(lab.events[2].what, LabEvent::What::up);
  EXPECT_EQ(lab.events[2].trigger.what, LabTrigger::What::log);
  EXPECT_EQ(lab.events[2].trigger.of.value, "r1");
  EXPECT_EQ(lab.events[2].trigger.text, "neighbor lost");
  EXPECT_EQ(lab.events[2].trigger.then, std::chrono::seconds(1));
  EXPECT_EQ(lab.test->host.value, "user");
  EXPECT_EQ(lab.test->run, "./check.sh");
}

TEST(LabFile, CountsNamesAndAddressesUp) {
  const Lab lab = good_lab(kThree);
  const LabHost& first = lab.hosts[3];
  const LabHost& last = lab.hosts[42];
  EXPECT_EQ(first.name, "iot1");
  EXPECT_EQ(first.run, "client --id 1");
  EXPECT_EQ(first.interfaces.at(0).addresses.at(0).value.to_string(), "198.18.1.100/24");
  EXPECT_EQ(last.name, "iot40");
  EXPECT_EQ(last.group, "iot");
  EXPECT_EQ(last.run, "client --id 40");
  EXPECT_EQ(last.interfaces.at(0).addresses.at(0).value.to_string(), "198.18.1.139/24");
  EXPECT_EQ(lab.find_hosts("iot").size(), 40U);
}

TEST(LabFile, AddressesCountOverTheEndOfAByteAndMacsToo) {
  const Lab lab = good_lab(R"(bus.b = {}
host."n{i}x".on = "b"
host."n{i}x".count = 3
host."n{i}x".ip = ["10.0.0.254/16", "fd00::ffff/64"]
host."n{i}x".mac = "b2:a0:00:00:00:ff"
host."n{i}x".env = { ID = "{i}" }
host."m" = { on = "b", count = 2, ip = "10.0.7.{i}/16" })");
  ASSERT_EQ(lab.hosts.size(), 5U);
  EXPECT_EQ(lab.hosts[2].name, "n3x");
  EXPECT_EQ(lab.hosts[2].interfaces[0].addresses[0].value.to_string(), "10.0.1.0/16");
  EXPECT_EQ(lab.hosts[1].interfaces[0].addresses[1].value.to_string(), "fd00::1:0/64");
  EXPECT_EQ(lab.hosts[1].interfaces[0].mac->value.to_string(), "b2:a0:00:00:01:00");
  EXPECT_EQ(lab.hosts[2].environment.at(0).second, "3");
  EXPECT_EQ(lab.hosts[4].interfaces[0].addresses[0].value.to_string(), "10.0.7.2/16")
      << "an address with {i} counts by that alone";
}

TEST(LabFile, SectionsMeanTheSameAsInlineTables) {
  const Lab lab = good_lab(R"(at = [{ time = "1s", stop = "web" }]
[bus.left]
mtu = 9000
[host.web]
on = "left"
ip = "198.18.2.80/24"
run = '''
one
two'''
[host.web.env]
A = "b"
[host.web.files]
"/etc/web.conf" = "listen 80\n"
)");
  EXPECT_EQ(lab.buses.at(0).options.mtu, 9000U);
  EXPECT_EQ(lab.hosts.at(0).run, "one\ntwo");
  EXPECT_EQ(lab.hosts[0].environment.at(0).second, "b");
  EXPECT_EQ(lab.hosts[0].files.at(0).contents, "listen 80\n");
  EXPECT_EQ(lab.events.at(0).to_string(), "stop web");
}

TEST(LabFile, HostsStayInTheOrderOfTheText) {
  const Lab lab = good_lab("bus.b = {}\nhost.z = { on = 'b' }\nhost.a = { on = 'b' }\n");
  EXPECT_EQ(lab.hosts.at(0).name, "z");
  EXPECT_EQ(lab.hosts.at(1).name, "a");
}

TEST(LabFile, OnSeveralBusesElementKIsForBusK) {
  const Lab lab = good_lab(R"(bus.a = {}
bus.b = {}
host.r.on = ["a", "b"]
host.r.ip = [["10.1.0.1/24", "fd00:1::1/64"], "10.2.0.1/24"]
host.r.fault = { b = "loss=1%" })");
  const auto& interfaces = lab.hosts.at(0).interfaces;
  EXPECT_EQ(interfaces.at(0).addresses.size(), 2U);
  EXPECT_EQ(interfaces.at(1).addresses.at(0).value.to_string(), "10.2.0.1/24");
  EXPECT_EQ(interfaces[0].fault, "");
  EXPECT_EQ(interfaces[1].fault, "loss=1%");
}

TEST(LabFile, NamesTheLineAndColumnOfEachProblem) {
  const std::string bus = "bus.left = {}\n";
  expect_problem(bus + "host.web = { on = \"lfet\" }", "2:19", {"no bus \"lfet\"", "\"left\"?"});
  expect_problem(bus + "host.web = { on = \"left\", gatway = \"1.2.3.4\" }", "2:27",
                 {"no key \"gatway\"", "\"gateway\"?"});
  expect_problem(bus + "host.web = { on = \"left\", ip = \"198.18.1.300/24\" }", "2:32",
                 {"198.18.1.300"});
  expect_problem(bus + "host.web = { on = \"left\", forward = \"yes\" }", "2:37",
                 {"\"forward\" takes true or false, not a text"});
  expect_problem(bus + "host.web = { on = \"left\", ready = \"tcp 0\", run = \"x\" }", "2:35",
                 {"no port from 1 to 65535"});
  expect_problem(bus + "host.web = { on = \"left\", ready = \"tcp 80\" }", "2:35",
                 {"runs no program"});
  expect_problem(bus + "host.web = { }", "2:6", {"needs `on`"});
  expect_problem("bus.left = { mtu = 12 }\nhost.a = { on = 'left' }", "1:20",
                 {"12", "68 to 65521"});
  expect_problem("bus.left = { ring = '3M' }\nhost.a = { on = 'left' }", "1:21", {"power of two"});
  expect_problem("bus.left = { flow = 'x' }\nhost.a = { on = 'left' }", "1:21", {"ethernet"});
  expect_problem("bus.left = 5\nhost.a = { on = 'b' }\nbus.b = {}", "1:12", {"bus.left = { ... }"});
}

TEST(LabFile, NamesTheProblemsOfHostsCapturesAndLimits) {
  const std::string bus = "bus.b = {}\n";
  const auto host = [&](const std::string& keys, const std::string& place,
                        const std::vector<std::string>& parts) {
    expect_problem(bus + "host.h = { on = 'b', " + keys + " }", place, parts);
  };
  host("ip = ['10.0.0.1/24'], gateway = ['10.0.0.2', '10.0.0.3']", "2:67",
       {"two gateways of one family"});
  host("mac = '01:00:00:00:00:01'", "2:28", {"not a unicast MAC address"});
  host("mac = ['b2:a0:00:00:00:01', 'b2:a0:00:00:00:02']", "2:50", {"more MAC addresses"});
  host("dns = 'name'", "2:28", {"name"});
  for (const char* const name : {"localhost", "ip6-localhost", "ip6-loopback"}) {
    expect_problem(std::string("bus.b = {}\nhost.") + name + " = { on = 'b' }", "2:6",
                   {name, "its loopback"});
  }
  host("env = { A = 5 }", "2:34", {"a text"});
  host("env = { 'A=B' = 'x' }", "2:30", {"no name of a variable"});
  host("memory = 'lots'", "2:31", {"lots"});
  host("cpu = 0", "2:28", {"0.01 to 1024"});
  host("cpu = 0.001", "2:28", {"0.01 to 1024"});
  host("restart = 'often'", "2:32", {"on-failure"});
  host("restarts = 4", "2:33", {"needs restart"});
  host("output = 'none'", "2:31", {"terminal"});
  host("files = { '/etc/x' = 5 }", "2:43", {"a text, or"});
  host("files = { '/etc/../x' = 'y' }", "2:32", {"no path of a file"});
  host("fault = { c = 'loss=1%' }", "2:32", {"not on a bus \"c\""});
  host("ip = ['10.0.0.1/24', 5]", "2:43", {"an address is a text"});
  host("after = 'i'", "2:30", {"no host \"i\""});
  host("count = 1001", "2:30", {"1 to 1000"});
  const std::string good = bus + "host.h = { on = 'b' }\n";
  expect_problem(good + "capture.c = {}", "3:9", {"needs `on`"});
  expect_problem(good + "capture.c = { on = 'b', file = '../x' }", "3:32", {"folder of results"});
  expect_problem(good + "capture.c = { on = 'b', file = '/x' }", "3:32", {"folder of results"});
  expect_problem(good + "capture.c = { on = 'b', filter = 'tpc' }", "3:34", {"tpc"});
  expect_problem(good + "capture.c = { on = 'b', filter = 'host slow.invalid' }", "3:34",
                 {"\"slow.invalid\" is no number", "names are not looked up"});
  expect_problem(good + "at = [{ after = \"frame b 'port http'\", stop = 'h' }]", "3:17",
                 {"\"http\" is no number"});
  expect_problem(good + "capture.c = { on = 'x' }", "3:20", {"no bus \"x\""});
  expect_problem(
      good + "capture.c = { on = 'b', file = 'f' }\ncapture.d = { on = 'b', file = 'f' }", "4:9",
      {"the same file, f"});
  expect_problem(good + "gateway.g = {}", "3:9", {"needs `on`"});
  expect_problem(good + "gateway.g = { on = 'x' }", "3:20", {"no bus \"x\""});
  expect_problem(good + "gateway.h = { on = 'b' }", "3:9", {"the same name, \"h\""});
  expect_problem("bus.b = {}\nhost.'a b' = { on = 'b' }", "2:6", {"no name of a host"});
  expect_problem("bus.aaaaaaaaaaaaaaaa = {}\nbus.b = {}\nhost.h = { on = 'b' }", "1:5",
                 {"no name of a bus"});
  expect_problem("bus.lo = {}\nbus.b = {}\nhost.h = { on = 'b' }", "1:5", {"\"lo\""});
}

TEST(LabFile, NamesTheProblemsOfWhatHappensWhileItRuns) {
  const std::string head = "bus.left = {}\nhost.web = { on = 'left' }\nhost.db = { on = 'left' }\n";
  expect_problem(head + "at = [{ link = 'web', down = true }]", "4:7", {"needs `time` or `after`"});
  expect_problem(head + "at = [{ time = '5', link = 'web', down = true }]", "4:16", {"5"});
  expect_problem(head + "at = [{ time = '5s', link = 'web' }]", "4:7", {"says what happens"});
  expect_problem(head + "at = [{ time = '5s', link = 'web', down = true, fault = 'loss=1%' }]",
                 "4:7", {"one thing"});
  expect_problem(head + "at = [{ time = '5s', down = true }]", "4:7", {"`link` is missing"});
  expect_problem(head + "at = [{ time = '5s', link = 'wbe', down = true }]", "4:29",
                 {"no host \"wbe\"", "\"web\"?"});
  expect_problem(head + "at = [{ time = '5s', link = 'web.right', down = true }]", "4:29",
                 {"not on a bus \"right\""});
  expect_problem(head + "at = [{ time = '5s', link = 'web', fault = 'loss=1' }]", "4:44", {"loss"});
  expect_problem(head + "at = [{ time = '5s', link = 'web', fault = 'rate=10' }]", "4:44",
                 {"write rate=10bit or rate=10Mbit"});
  expect_problem(head + "at = [{ after = 'boot web', stop = 'db' }]", "4:17",
                 {"boot web", "log HOST"});
  expect_problem(head + "at = [{ after = 'log web', stop = 'db' }]", "4:17", {"not complete"});
  expect_problem(head + "at = [{ after = 'frame left \"tpc\"', stop = 'db' }]", "4:17", {"tpc"});
  expect_problem(head + "at = [{ time = '1s', partition = 'web,db' }]", "4:34", {"two groups"});
  expect_problem(head + "at = [{ time = '1s', partition = 'web / dc' }]", "4:34", {"\"dc\""});
  expect_problem(head + "test = { host = 'web' }", "4:8", {"`run`"});
  expect_problem(head + "test = { host = 'xyz', run = 'x' }", "4:17", {"no host \"xyz\""});
}

TEST(LabFile, RefusesWhatIsTwice) {
  const std::string bus = "bus.left = {}\nbus.right = {}\n";
  expect_problem(bus +
                     "host.a = { on = 'left', ip = '10.0.0.1/24' }\nhost.b = { on = 'left', ip = "
                     "'10.0.0.1/24' }",
                 "4:30", {"10.0.0.1", "host.b", "host.a"});
  expect_problem(bus + "host.a = { on = 'left' }\nhost.a = { on = 'left' }", "4:10", {"host.a"});
  expect_problem(bus + "host.a = { on = ['left', 'left'] }", "3:26", {"twice"});
  expect_problem(bus + "host.a1 = { on = 'left' }\nhost.a = { on = 'left', count = 2 }", "4:6",
                 {"\"a1\""});
  expect_problem(bus +
                     "host.a = { on = 'left', mac = 'b2:a0:00:00:00:01' }\n"
                     "host.b = { on = 'left', mac = 'b2:a0:00:00:00:01' }",
                 "4:31", {"b2:a0:00:00:00:01"});
  expect_problem(
      "bus.a = { path = '/dev/shm/x' }\nbus.b = { path = '/dev/shm/x' }\nhost.h = { on = 'a' }",
      "2:5", {"same path"});
}

TEST(LabFile, RefusesTwoThatWriteTheSameFileOfResults) {
  const std::string bus = "bus.left = {}\nbus.right = {}\nhost.a = { on = 'left' }\n";
  expect_problem(bus + "host.lab = { on = 'left' }", "4:6",
                 {"host.lab", "the lab itself", "lab.log", "give host.lab another name"});
  expect_problem(bus + "host.test = { on = 'left' }", "4:6", {"host.test", "test.log"});
  expect_problem(bus + "capture.x = { on = 'left', file = 'timeline.jsonl' }", "4:9",
                 {"capture.x", "the timeline", "give capture.x another file"});
  expect_problem(bus + "capture.x = { on = 'left', file = './a.log' }", "4:9",
                 {"capture.x", "host.a", "a.log"});
  expect_problem(bus +
                     "capture.x = { on = ['left', 'right'], file = 'c.pcapng' }\n"
                     "capture.y = { on = 'left', file = 'c.right.pcapng' }",
                 "5:9", {"capture.y", "capture.x", "c.right.pcapng"});
  expect_problem(bus +
                     "host.at-1 = { on = 'left' }\n"
                     "at = [{ after = \"frame left 'arp'\", link = 'a', down = true }]",
                 "5:7", {"event 1 of `at`", "host.at-1", "at-1.log"});
  good_lab(bus + "capture.x = { on = 'left', file = 'more/a.log' }");
}

TEST(LabFile, RefusesHostsThatWaitForEachOther) {
  const std::string bus = "bus.b = {}\n";
  expect_problem(bus +
                     "host.x = { on = 'b', after = 'y' }\nhost.y = { on = 'b', after = ['z'] }\n"
                     "host.z = { on = 'b', after = 'x' }",
                 "2:30", {"x after y after z after x"});
  expect_problem(bus + "host.x = { on = 'b', after = 'x' }", "2:30", {"after itself"});
  EXPECT_EQ(problems_of(bus + "host.x = { on = 'b', count = 2, after = 'x' }"),
            (std::vector<std::string>{"lab.toml:2:41: host.x1 cannot start after itself",
                                      "lab.toml:2:41: host.x2 cannot start after itself"}));
}

TEST(LabFile, TellsOfAllProblemsAtOnce) {
  const auto all = problems_of(
      "bus.b = { mtu = 1 }\nhost.x = { on = 'c', ip = 'a', oops = 1 }\nat = [{ time = 'x', stop = "
      "'q' }]");
  ASSERT_EQ(all.size(), 6U) << testing::PrintToString(all);
  EXPECT_EQ(all[0].rfind("lab.toml:1:17: ", 0), 0U);
  EXPECT_EQ(all[1].rfind("lab.toml:2:17: ", 0), 0U);
  EXPECT_EQ(all[2].rfind("lab.toml:2:27: ", 0), 0U);
  EXPECT_EQ(all[3].rfind("lab.toml:2:32: ", 0), 0U);
  EXPECT_EQ(all[4].rfind("lab.toml:3:16: ", 0), 0U);
  EXPECT_EQ(all[5].rfind("lab.toml:3:28: ", 0), 0U);
}

TEST(LabFile, TellsOfAnErrorOfACountOnce) {
  expect_problem("bus.b = {}\nhost.x = { on = 'b', count = 9, fault = 'nonsense' }", "2:41",
                 {"nonsense"});
  expect_problem("bus.b = {}\nhost.x = { on = 'b', count = 9, ip = '10.0.0.250/24' }", "2:38",
                 {"`count`", "larger network"});
}

TEST(LabFile, WarnsOfAnAddressThatReachesNobody) {
  const std::string bus = "bus.b = {}\nhost.x = { on = 'b', ip = '10.0.0.1/24' }\n";
  expect_problem(
      bus + "host.z = { on = 'b', ip = '10.0.0.3/24' }\nhost.y = { on = 'b', ip = '10.0.1.2/24' }",
      "4:27", {"warning", "10.0.1.2"});
  expect_problem(bus + "host.y = { on = 'b', ip = '10.0.0.2/24', gateway = '10.0.9.1' }", "3:52",
                 {"10.0.9.1", "no network of host.y"});
}

TEST(LabFile, ReadsVirtualMachinesWithTheirInterfaces) {
  const Lab lab = good_lab(R"(bus.b = {}
bus.c = {}
[host.m]
on = ["b", "c"]
count = 2
ip = "198.18.0.1/24"
mac = ["52:54:00:00:00:01"]
vm = "qemu {nic} {ip} {i} {ip}"
ready = "log up"
)");
  ASSERT_EQ(lab.hosts.size(), 2U);
  const LabHost& second = lab.hosts[1];
  EXPECT_EQ(second.kind, tools::LabHostKind::vm);
  const std::string begin =
      "qemu -netdev tap,id=shmif0,ifname=tap0,script=no,downscript=no -device "
      "virtio-net-pci,netdev=shmif0,mac=52:54:00:00:00:02 -netdev "
      "tap,id=shmif1,ifname=tap1,script=no,downscript=no -device "
      "virtio-net-pci,netdev=shmif1,mac=52:54:";
  EXPECT_EQ(second.made_by.value.substr(0, begin.size()), begin);
  EXPECT_TRUE(second.made_by.value.ends_with(" 198.18.0.2/24 2 198.18.0.2/24"));
  const auto words = tools::exec_words(lab, second, 7);
  const std::vector<std::string> options{
      "exec",           "/dev/shm/lab.b", "--name", "m2",    "--lan", "--tap", "tap0", "--bus",
      "/dev/shm/lab.c", "--name",         "m2",     "--lan", "--tap", "tap1",  "--"};
  ASSERT_GT(words.size(), options.size());
  EXPECT_EQ(std::vector(words.begin(), words.begin() + static_cast<long>(options.size())), options);
  EXPECT_EQ(std::vector(words.end() - 3, words.end() - 1), (std::vector<std::string>{"sh", "-c"}));
  EXPECT_EQ(words.back(), second.made_by.value);
}

TEST(LabFile, RefusesVirtualMachinesThatCannotWork) {
  const std::string bus = "bus.b = {}\n";
  expect_problem(bus + "host.x = { on = 'b', vm = 'disk.img' }", "2:27", {"{nic}", "qemu-system"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic}', run = 'sleep 1' }", "2:42",
                 {"`run`", "system of its own"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic}', forward = true }", "2:46",
                 {"`forward`"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic}', dns = '10.0.0.1' }", "2:42", {"`dns`"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic}', ready = 'tcp 80' }", "2:44",
                 {"log TEXT"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic} {ip}' }", "2:27", {"{ip}", "`ip`"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic} {gateway}', ip = '10.0.0.1/24' }", "2:27",
                 {"{gateway}", "`gateway`"});
  expect_problem(bus + "host.x = { on = 'b', vm = 7 }", "2:27", {"takes a text", "QEMU"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic}', container = 'c' }", "2:48",
                 {"and a container"});
  expect_problem(bus + "host.x = { on = 'b', vm = '{nic}' }\ntest = { host = 'x', run = 'true' }",
                 "3:17", {"virtual machine", "make a host"});
}

TEST(LabFile, RefusesContainersThatCannotWork) {
  const std::string bus = "bus.b = {}\n";
  expect_problem(bus + "host.x = { on = 'b', container = ' ' }", "2:34", {"podman images"});
  expect_problem(bus + "host.x = { on = 'b', container = 'c', files = { \"/run/x\" = 'x' } }",
                 "2:47", {"`files`", "-v FILE:PATH"});
  expect_problem(
      bus + "host.x = { on = 'b', container = 'c' }\ntest = { host = 'x', run = 'true' }", "3:17",
      {"container", "make a host"});
}

TEST(LabFile, ReadsMachinesAndTheirHosts) {
  const Lab lab = good_lab(R"(bus.b = {}
bus.c = {}
[machine.far]
ssh = "me@far"
program = "/opt/shmifctl"
options = ["Port=2222"]
folder = "/srv"
[host]
x = { on = "b", machine = "far" }
y = { on = ["b", "c"] }
)");
  ASSERT_EQ(lab.machines.size(), 1U);
  EXPECT_EQ(lab.machines[0].ssh.value, "me@far");
  EXPECT_EQ(lab.machines[0].program, "/opt/shmifctl");
  EXPECT_EQ(lab.machines[0].options, std::vector<std::string>{"Port=2222"});
  EXPECT_EQ(lab.machines[0].folder, "/srv");
  EXPECT_EQ(lab.hosts[0].machine.value, "far");
  EXPECT_EQ(lab.hosts[1].machine.value, "");
  EXPECT_TRUE(lab.spans(lab.buses[0], lab.machines[0]));
  EXPECT_FALSE(lab.spans(lab.buses[1], lab.machines[0]));
  EXPECT_EQ(tools::far_bus_path(lab, "far", "b"), "/dev/shm/lab-far.b");
}

TEST(LabFile, RefusesNamesOfInterfacesThatLinuxKeeps) {
  for (const std::string name : {"lo", "all", "default"}) {
    expect_problem("bus." + name + " = {}\nhost.h.on = '" + name + "'\n", "1:5",
                   {"cannot be called \"" + name + '"'});
  }
  EXPECT_EQ(good_lab("bus.all1 = {}\nhost.h.on = 'all1'\n").buses.size(), 1U);
}

TEST(LabFile, RefusesEnginesThatDoNotUseTheBusOfARun) {
  const std::string bus = "bus.b = {}\nhost.h.on = 'b'\n";
  for (const std::string key : {"engine", "ioengine"}) {
    expect_problem(bus + "perf.p = { on = 'b', options = { bs = 64, " + key + " = 'udp' } }\n",
                   "3:43", {"engine \"udp\" would not use it", "`host` in place of `on`"});
  }
  expect_problem(bus + "[perf.p]\non = 'b'\njobs.x = { rw = 'tx', engine = 'bus,tap' }\n", "5:23",
                 {"engine \"tap\""});
  for (const char* const perf :
       {"on = 'b', options = { engine = 'bus,host' }", "host = 'h', options.engine = 'udp'"}) {
    EXPECT_EQ(good_lab(bus + "perf.p = { " + perf + " }\n").perfs.size(), 1U);
  }
}

TEST(LabFile, WhatCannotWorkInAHostIsAProblem) {
  const std::string a = "bus.b = {}\nhost.a = { on = \"b\", ip = \"198.18.0.1/24\", ";
  expect_problem(a + "gateway = \"198.18.0.1\" }\n", "2:54",
                 {"the gateway 198.18.0.1 is an address of host.a itself"});
  expect_problem(a + "env = { \"A B\" = \"c\" } }\n", "2:52", {"\"A B\" is no name of a variable"});
  LabProblems problems;
  const Lab lab = tools::read_lab(a + "files = { \"/no/x\" = \"1\", \"/etc/none\" = \"2\", "
                                      "\"/usr/bin/env\" = \"3\" } }\n",
                                  "/tmp/lab.toml", problems);
  tools::check_lab_needs(lab, problems);
  ASSERT_EQ(problems.errors(), 1U);
  EXPECT_EQ(to_text("lab.toml", problems.sorted()[0])
                .rfind("lab.toml:2:54: host.a cannot have a file /no/x: a host has files", 0),
            0U)
      << to_text("lab.toml", problems.sorted()[0]);
}

TEST(LabFile, AKeyOfTheLabAfterASectionIsToldWhereItBelongs) {
  const std::string section = "bus.b = {}\n[host.a]\non = \"b\"\n";
  for (const char* const line :
       {"at = [{ time = \"1s\", stop = \"a\" }]", "test = { host = \"a\", run = \"true\" }",
        "capture.all = { on = \"b\" }", "gateway.w = { on = \"b\" }", "host.c = { on = \"b\" }"}) {
    const std::string text(line);
    const std::string key = text.substr(0, text.find_first_of(" ."));
    expect_problem(section + line + '\n', "4:1",
                   {'"' + key +
                    "\" belongs to the lab, not to this host: write it before the "
                    "first line [...]"});
  }
  expect_problem(section + "tests = { run = \"x\" }\n", "4:1", {"a host has no key \"tests\""});
}

TEST(LabFile, RefusesMachinesThatCannotWork) {
  const std::string head = "bus.b = {}\nmachine.far = { ssh = 'far' }\n";
  const std::string host = head + "host.x = { on = 'b', machine = 'far' }\n";
  expect_problem(
      head + "host.x = { on = 'b', machine = 'fat' }\nhost.y = { on = 'b', machine = 'far' }",
      "3:32", {"no machine \"fat\"", "did you mean \"far\""});
  expect_problem("bus.b = {}\nhost.x = { on = 'b', machine = 'q' }", "2:32",
                 {"no machine \"q\"", "machine.q = { ssh"});
  expect_problem(head + "host.x = { on = 'b' }", "2:9", {"warning", "no host is on machine.far"});
  expect_problem("bus.b = {}\nmachine.far = {}\nhost.x = { on = 'b', machine = 'far' }", "2:9",
                 {"needs `ssh`"});
  for (const std::string ssh : {"", "-oX=y", "user@", "a b"}) {
    expect_problem(
        "bus.b = {}\nmachine.far.ssh = '" + ssh + "'\nhost.x = { on = 'b', machine = 'far' }",
        "2:19", {"no host for ssh"});
  }
  expect_problem(
      "bus.b = {}\nmachine.far = { ssh = 'far', options = ['Port'] }\n"
      "host.x = { on = 'b', machine = 'far' }",
      "2:41", {"ssh_config(5)", "Port=2222"});
  expect_problem(
      "bus.b = {}\nmachine.far = { ssh = 'far', port = 3 }\n"
      "host.x = { on = 'b', machine = 'far' }",
      "2:30", {"no key \"port\""});
  expect_problem(host + "host.y = { on = 'b' }\nat = [{ time = '1s', partition = 'x / y' }]", "5:7",
                 {"machine.far", "partition"});
  expect_problem(
      host + "bus.c = {}\nhost.y = { on = 'c' }\nat = [{ time = '1s', link = 'x', move = 'c' }]",
      "6:29", {"bus.c is not on machine.far"});
  expect_problem(host + "test = { host = 'x', run = 'true' }", "4:17",
                 {"machine.far", "make a host for it here"});
  expect_problem(
      head + "host.x = { on = 'b', machine = 'far', files.'/run/x'.source = '/etc/passwd' }",
      "3:39", {"contents as texts"});
}

TEST(LabFile, ThatIsNotTomlHasOneProblemWithItsPlace) {
  expect_problem("bus.b = {}\nhost.x = [ 'b'\n", "2:16", {"not valid TOML: see https://toml.io"});
  // toml++ asserts that a key follows the bracket.
  expect_problem("bus.b = {}\n[ =]\n", "2:3", {"key", "'='"});
  // It took for granted that such a letter is no blank, and then anything could happen.
  expect_problem("bus.b = {}\nhost.b\u00fcro = { on = 'b' }\n", "2:7", {"not valid TOML"});
  expect_problem("bus.b = {}\nhost.x = { on = 'b'\n", "2:20", {"stands on one line"});
  expect_problem("bus.b = {}\nhost.x = { on = 'b',\n  ip = '198.18.0.1/24' }\n", "2:21",
                 {"write a section such as [host.NAME]"});
  EXPECT_EQ(problems_of(""),
            (std::vector<std::string>{"lab.toml: a lab needs a bus (write bus.NAME = {})"}));
}

TEST(LabFile, RefusesMorePortsThanABusHas) {
  expect_problem("bus.b = {}\nhost.x = { on = 'b', count = 257 }", "1:5", {"257", "256 ports"});
}

TEST(LabFile, RefusesFilesThatAreNotThere) {
  const TempDir folder;
  std::ofstream(folder.file("here")) << "x";
  const std::string head = "bus.b = {}\n[host.x]\non = 'b'\n[host.x.files]\n";
  LabProblems problems;
  const Lab lab =
      tools::read_lab(head +
                          "'/etc/x' = { source = 'here' }\n'/etc/y' = { source = 'gone' }\n"
                          "'etc/z' = 'x'\n'/etc/w' = 5\n",
                      folder.file("lab.toml"), problems);
  EXPECT_EQ(problems.errors(), 3U);
  EXPECT_EQ(lab.hosts.at(0).files.at(0).source, folder.file("here"));
}

TEST(LabSeeds, FollowFromTheSeedOfTheLabAndTheNameOfTheLine) {
  const std::string a = tools::with_seed("loss=1%", 7, "a.left");
  EXPECT_EQ(a, tools::with_seed("loss=1%", 7, "a.left"));
  EXPECT_EQ(a.rfind("loss=1%;seed=", 0), 0U) << a;
  EXPECT_NE(a, tools::with_seed("loss=1%", 8, "a.left"));
  EXPECT_NE(a, tools::with_seed("loss=1%", 7, "b.left"));
  EXPECT_EQ(tools::with_seed("loss=1%,seed=3", 7, "a"), "loss=1%,seed=3");
  EXPECT_EQ(tools::with_seed("seed=3,loss=1%", 7, "a"), "seed=3,loss=1%");
  for (const char* const text : {"loss=1%", "in:loss=1%", "delay=1ms;in:loss=1%;out:loss=2%"}) {
    EXPECT_EQ(tools::why_no_faults(tools::with_seed(text, 7, "a")), "") << text;
  }
  EXPECT_EQ(tools::with_seed("none", 7, "a"), "none");
}

TEST(LabHostWords, AreThoseOfExec) {
  const Lab lab = good_lab(R"(bus.a = {}
bus.b = { path = "/dev/shm/other" }
host.r.on = ["a", "b"]
host.r.ip = ["10.1.0.1/24", "10.2.0.1/24"]
host.r.gateway = "10.2.0.254"
host.r.dns = "10.2.0.3"
host.r.forward = true
host.r.mac = ["b2:a0:00:00:00:01"]
host.r.run = "true")");
  const std::vector<std::string> words = tools::exec_words(lab, lab.hosts.at(0), {});
  EXPECT_EQ(words, (std::vector<std::string>{"exec",      "/dev/shm/lab.a",
                                             "--name",    "r",
                                             "--ifname",  "a",
                                             "--ip",      "10.1.0.1/24",
                                             "--mac",     "b2:a0:00:00:00:01",
                                             "--bus",     "/dev/shm/other",
                                             "--name",    "r",
                                             "--ifname",  "b",
                                             "--ip",      "10.2.0.1/24",
                                             "--gateway", "10.2.0.254",
                                             "--forward", "--dns",
                                             "10.2.0.3",  "--",
                                             "sh",        "-c",
                                             "true"}));
  EXPECT_EQ(tools::lab_hosts_text(lab), "10.1.0.1\tr r.a\n10.2.0.1\tr r.b\n");
}

TEST(LabHostWords, NameNoNameServerThatCannotBeReached) {
  const auto words = [](const std::string& more, const std::string& gateway = {}) {
    const Lab lab = good_lab("bus.b = {}\n" + gateway + "host.x = { on = 'b'" + more + " }");
    return tools::name_server_words(lab, lab.hosts.at(0));
  };
  using Words = std::vector<std::string>;
  const std::string gateway = "gateway.g = { on = 'b' }\n";
  EXPECT_EQ(words(""), (Words{"--dns", "none"})) << "there is no way out";
  EXPECT_EQ(words("", gateway), Words{}) << "those of the machine";
  EXPECT_EQ(words(", dns = []", gateway), (Words{"--dns", "none"}));
  EXPECT_EQ(words(", dns = ['10.0.0.1', 'fd00::1']"),
            (Words{"--dns", "10.0.0.1", "--dns", "fd00::1"}));
}

TEST(ReadLab, RefusesWhatCouldNotWorkTogether) {
  expect_problem("bus.b = { ring = '64K', mtu = 9000 }\nhost.a = { on = 'b' }\n", "1:18",
                 {"too small for an MTU of 9000"});
  expect_problem("bus.b = { mtu = 1279 }\nhost.a = { on = 'b', ip = 'fd00::1/64' }\n", "2:27",
                 {"IPv6 needs an MTU of 1280", "bus.b has 1279"});
  expect_problem("bus.b = {}\nhost.web = { on = 'b' }\nhost.Web = { on = 'b' }\n", "3:6",
                 {"host.Web and host.web differ only in the case"});
  const std::string two = "bus.b = {}\nhost.a = { on = 'b' }\nhost.c = { on = 'b', count = 2 }\n";
  for (const char* const groups : {"a / a", "c / c1", "c2,a / c"}) {
    expect_problem(two + "at = [{ time = '1s', partition = '" + groups + "' }]", "4:34",
                   {"is in two groups of the partition"});
  }
  good_lab(two + "at = [{ time = '1s', partition = 'a,c1 / c2' }]");
  const std::string buses = "bus.b = {}\nbus.d = { mtu = 9000 }\nhost.x = { on = 'd' }\n";
  const std::string move = "at = [{ time = '1s', link = 'a.b', move = 'd' }]";
  expect_problem(buses + "host.a = { on = 'b' }\n" + move, "5:29", {"are 1500 and 9000"});
  good_lab("bus.b = { mtu = 1280 }\nhost.a = { on = 'b', ip = 'fd00::1/64' }\n");
}

TEST(LabHostsFile, HasNamesOfTheLabOnlyAsTheLabSays) {
  const Lab lab = good_lab(R"(bus.a = {}
bus.b = {}
host.vm = { on = "a", ip = "10.1.0.1/24" }
host.r = { on = ["a", "b"], ip = ["10.1.0.2/24", "10.2.0.2/24"] }
host.bare = { on = "b" })");
  const std::string machine =
      "# vm\n127.0.0.1\tlocalhost  vm # this one\n127.0.1.1 vm\n\n::1 localhost vmx\n10.9.9.9 r.b "
      "far "
      "x\n10.9.9.8 bare";
  const std::vector<std::string> dropped{"127.0.0.1\tlocalhost  vm # this one", "127.0.1.1 vm",
                                         "10.9.9.9 r.b far x", "10.9.9.8 bare"};
  const std::string added = "127.0.0.1\tlocalhost\n10.9.9.9\tfar x\n";
  const std::string names = "10.1.0.1\tvm\n10.1.0.2\tr r.a\n10.2.0.2\tr r.b\n";
  for (const tools::LabHost& host : lab.hosts) {
    std::istringstream file(machine);
    const tools::HostsFileChange change = tools::hosts_file_change(lab, host, file);
    const std::string loopback = "127.0.1.1\t" + host.name;  // what exec adds
    std::vector<std::string> all = dropped;
    all.push_back(loopback);
    EXPECT_EQ(change.dropped, all);
    EXPECT_EQ(change.added, added + (host.name == "bare" ? loopback + '\n' : "") + names);
  }
}

}  // namespace
}  // namespace shmif::test
