// The files of labs: what is read, and what is wrong in them.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/paths.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/lab/lab_rig.hpp"
#include "tools/lab/host_words.hpp"
#include "tools/lab/keys.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/lab_run.hpp"

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
Words problems_of(const std::string& text) {
  LabProblems problems;
  tools::read_lab(text, "/tmp/lab.toml", problems);
  Words all;
  for (const LabProblem& each : problems.sorted()) all.push_back(to_text("lab.toml", each));
  return all;
}

/// A text with one problem: where that is, and what is said of it.
struct Wrong {
  std::string text;
  const char* place;
  const char* says;
};
void expect_problems(const std::string& head, const std::vector<Wrong>& wrong) {
  for (const auto& [text, place, says] : wrong) {
    const Words all = problems_of(head + text);
    EXPECT_EQ(all.size(), 1U) << text << '\n' << testing::PrintToString(all);
    if (all.size() != 1) continue;
    EXPECT_TRUE(all[0].starts_with("lab.toml:" + std::string(place) + ": ")) << text << '\n'
                                                                             << all[0];
    EXPECT_TRUE(contains(all[0], says));
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
  EXPECT_EQ(web.ready.to_string(), "tcp 80");
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
  const LabHost& last = lab.hosts[42];
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
host."m" = { on = "b", count = 2, ip = "10.0.7.{i}/16", mac = "b2:a0:00:00:00:0{i}" })");
  ASSERT_EQ(lab.hosts.size(), 5U);
  EXPECT_EQ(lab.hosts[2].name, "n3x");
  EXPECT_EQ(lab.hosts[2].interfaces[0].addresses[0].value.to_string(), "10.0.1.0/16");
  EXPECT_EQ(lab.hosts[1].interfaces[0].addresses[1].value.to_string(), "fd00::1:0/64");
  EXPECT_EQ(lab.hosts[1].interfaces[0].mac->value.to_string(), "b2:a0:00:00:01:00");
  EXPECT_EQ(lab.hosts[2].environment.at(0).second, "3");
  EXPECT_EQ(lab.hosts[4].interfaces[0].mac->value.to_string(), "b2:a0:00:00:00:02");
  EXPECT_EQ(lab.hosts[4].interfaces[0].addresses[0].value.to_string(), "10.0.7.2/16")
      << "an address with {i} counts by that alone";
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

TEST(LabFile, TakesWhatIsAtTheEndOfItsRange) {
  const Lab lab = good_lab(R"(bus.b = { mtu = 1280, ring = 65536 }
bus.c = { mtu = 68, ring = "1G" }
bus.d = { mtu = 65521 }
host.x = { on = "b", count = 255, ip = "fd00::1/64", cpu = 0.01 }
host.y = { on = "b", count = 1, cpu = 1024, run = "y", ready = "tcp 65535", restart = "always", )"
                           R"(restarts = 1, files."/etc/y" = ")" +
                           std::string(65536, 'y') + "\" }");
  EXPECT_EQ(lab.hosts.size(), 256U);
  EXPECT_EQ(lab.buses.at(0).options.ring_bytes, 65536U);
}

TEST(LabFile, NamesTheLineAndColumnOfEachProblemOfABus) {
  const std::string host = "\nhost.a = { on = 'b' }";
  expect_problems("",
                  {{"bus.b = { mtu = 12 }" + host, "1:17", "68 to 65521"},
                   {"bus.b = { mtu = 65522 }" + host, "1:17", "68 to 65521"},
                   {"bus.b = { ring = '3M' }" + host, "1:18", "power of two"},
                   {"bus.b = { ring = 65537 }" + host, "1:18", "65537"},
                   {"bus.b = { path = '' }" + host, "1:18", "is empty"},
                   {"bus.b = { path = 2026-12-01 }" + host, "1:18", "not a date or time"},
                   {"bus.b = { flow = 'x' }" + host, "1:18", "ethernet"},
                   {"bus.c = 5\nbus.b = {}" + host, "1:9", "bus.c = { ... }"},
                   {"bus.b = { ring = '64K', mtu = 9000 }" + host, "1:18", "too small for an MTU"},
                   {"bus.aaaaaaaaaaaaaaaa = {}\nbus.b = {}" + host, "1:5", "no name of a bus"},
                   {"bus.lo = {}\nbus.b = {}" + host, "1:5", "cannot be called \"lo\""},
                   {"bus.all = {}\nbus.b = {}" + host, "1:5", "cannot be called \"all\""},
                   {"bus.default = {}\nbus.b = {}" + host, "1:5", "called \"default\""},
                   {"bus.b = { path = 'x' }\nbus.c = { path = 'x' }" + host, "2:5", "same path"},
                   {"bus.b = { mtu = 1279 }\nhost.a = { on = 'b', ip = 'fd00::1/64' }", "2:27",
                    "IPv6 needs an MTU of 1280"},
                   {"bus.b = {}\nhost.x = { on = 'b', count = 257 }", "1:5", "256 ports"}});
}

TEST(LabFile, NamesTheLineAndColumnOfEachProblemOfAHost) {
  const auto host = [](const std::string& keys) { return "host.h = { on = 'b', " + keys + " }"; };
  const std::string two = "host.a = { on = 'b', ip = '10.0.0.1/24' }\n";
  expect_problems(
      "bus.b = {}\n",
      {{"host.h = { on = 'd' }", "2:17", "no bus \"d\""},
       {"host.h = {}", "2:6", "needs `on`"},
       {"host.'a b' = { on = 'b' }", "2:6", "no name of a host"},
       {"host.-a = { on = 'b' }", "2:6", "no name of a host"},
       {"host.'' = { on = 'b' }", "2:6", "no name of a host"},
       {"host.h = { ip = '10.0.0.1/24' }", "2:6", "needs `on`"},
       {"host.h = { on = 'd', ip = 'fd00::1/64' }", "2:17", "no bus \"d\""},
       {"host.localhost = { on = 'b' }", "2:6", "its loopback"},
       {"host.h = { on = ['b', 'b'] }", "2:23", "twice"},
       {host("gatway = '1.2.3.4'"), "2:22", "\"gateway\"?"},
       {host("ip = '198.18.1.300/24'"), "2:27", "198.18.1.300"},
       {host("ip = ['10.0.0.1/24', 5]"), "2:43", "an address is a text"},
       {host("ip = 5"), "2:27", "takes a text or a list, not an integer"},
       {"bus.c = {}\nhost.h = { on = ['b', 'c'], ip = ['10.0.0.1/24', '10.1.0.1/24', 'x'] }",
        "3:34", "3 items for 2 buses"},
       {host("forward = 'yes'"), "2:32", "takes true or false, not a text"},
       {host("ready = 'tcp 0', run = 'x'"), "2:30", "no port from 1 to 65535"},
       {host("ready = 'udp 65536', run = 'x'"), "2:30", "no port from 1 to 65535"},
       {host("ready = 'tcp', run = 'x'"), "2:30", "no port from 1 to 65535"},
       {host("ready = 'port 80', run = 'x'"), "2:30", "does not say when"},
       {host("ready = 'log ', run = 'x'"), "2:30", "does not say when"},
       {host("ready = 'tcp 80'"), "2:30", "runs no program"},
       {host("ip = ['10.0.0.1/24'], gateway = ['10.0.0.2', '10.0.0.3']"), "2:67", "two gateways"},
       {host("ip = ['10.0.0.9/24', '10.0.0.1/24'], gateway = '10.0.0.1'"), "2:69",
        "an address of host.h itself"},
       {host("ip = '10.0.0.2/24', gateway = '10.0.9.1'"), "2:52", "no network of host.h"},
       {host("gateway = '10.0.0.1'"), "2:32", "no network of host.h"},
       {host("gateway = 'x'"), "2:32", "x"},
       {host("mac = 'x'"), "2:28", "not a unicast MAC address"},
       {host("mac = '01:00:00:00:00:01'"), "2:28", "not a unicast MAC address"},
       {host("mac = ['b2:a0:00:00:00:01', 'b2:a0:00:00:00:02']"), "2:50", "more MAC addresses"},
       {host("dns = 'name'"), "2:28", "name"},
       {host("dns = ['10.0.0.1', 5]"), "2:41", "is a text"},
       {host("env = { A = 5 }"), "2:34", "a text"},
       {host("env = { 'A=B' = 'x' }"), "2:30", "no name of a variable"},
       {host("env = { '' = 'x' }"), "2:30", "no name of a variable"},
       {host("memory = 'lots'"), "2:31", "lots"},
       {host("cpu = 0"), "2:28", "0.01 to 1024"},
       {host("restart = 'often'"), "2:32", "on-failure"},
       {host("restarts = 4"), "2:33", "needs restart"},
       {host("output = 'none'"), "2:31", "terminal"},
       {host("files = { '/etc/x' = 5 }"), "2:43", "a text, or"},
       {host("files = { '/etc/../x' = 'y' }"), "2:32", "no path of a file"},
       {host("files = { '/etc/x/' = 'y' }"), "2:32", "no path of a file"},
       {host("files = { '/etc/x' = {} }"), "2:43", "a text, or"},
       {host("fault = { b = 5 }"), "2:36", "faults are a text"},
       {host("fault = { c = 'loss=1%' }"), "2:32", "not on a bus \"c\""},
       {host("count = 9, fault = 'nonsense'"), "2:41", "nonsense"},  // once
       {host("count = 9, ip = '10.0.0.250/24'"), "2:38", "larger network"},
       {host("count = '2'"), "2:30", "takes an integer"},
       {host("count = 1000"), "1:5", "has 1000 hosts"},
       {host("count = 1001"), "2:30", "1 to 1000"},
       {host("count = 0"), "2:30", "1 to 1000"},
       {host("cpu = 1024.5"), "2:28", "0.01 to 1024"},
       {host("files = { '/etc/x' = '" + std::string(65537, 'x') + "' }"), "2:30", "64 KiB"},
       {host("after = 'i'"), "2:30", "no host \"i\""},
       {"host.user = { on = 'b', after = 'usr' }", "2:33", "did you mean \"user\"?"},
       {host("vm = 'disk.img'"), "2:27", "{nic}"},
       {host("vm = '{nic}', run = 'sleep 1'"), "2:42", "system of its own"},
       {host("vm = '{nic}', dns = '10.0.0.1'"), "2:42", "`dns`"},
       {host("vm = '{nic}', ready = 'tcp 80'"), "2:44", "log TEXT"},
       {host("vm = '{nic}', ready = 'udp 80'"), "2:44", "log TEXT"},
       {host("vm = '{nic} {ip}'"), "2:27", "`ip`"},
       {host("vm = '{nic}', container = 'c'"), "2:48", "and a container"},
       {host("container = ' '"), "2:34", "podman images"},
       {host("container = 'c', files = { '/run/x' = 'x' }"), "2:47", "-v FILE:PATH"},
       {host("machine = 'q'"), "2:32", "machine.q = { ssh"},
       {two + "host.c = { on = 'b', ip = '10.0.0.1/24' }", "3:27", "host.a"},
       {two +
            "host.c = { on = 'b', ip = '10.0.1.2/24' }\nhost.d = { on = 'b', ip = '10.0.0.3/24' }",
        "3:27", "10.0.1.2"},  // a warning
       {two + "bus.c = {}\nhost.c = { on = 'c', ip = '10.0.0.1/24' }", "4:27",
        "reaches only one"},  // a warning
       {two + "host.a = { on = 'b' }", "3:10", "host.a"},
       {two + "host.A = { on = 'b' }", "3:6", "differ only in the case"},
       {"host.a1 = { on = 'b' }\nhost.a = { on = 'b', count = 2 }", "3:6", "\"a1\""},
       {"host.a = { on = 'b', mac = 'b2:a0:00:00:00:01' }\n"
        "host.c = { on = 'b', mac = 'b2:a0:00:00:00:01' }",
        "3:28", "b2:a0:00:00:00:01"},
       // A key of the lab behind a section.
       {"[host.a]\non = 'b'\ntest = { host = 'a', run = 'true' }", "4:1", "belongs to the lab"},
       {"[host.a]\non = 'b'\ntest = 5", "4:1", "a host has no key \"test\""},
       {"host.a = { on = 'b' }\ntest = 5", "3:8", "takes a table, not an integer"},
       {"[host.a]\non = 'b'\ntests = 5", "4:1", "a host has no key \"tests\""},
       // What is no TOML, and what toml++ itself does not withstand.
       {"host.x = [ 'b'\n", "2:16", "not valid TOML: see https://toml.io"},
       {"[ =]\n", "2:3", "key"},
       {"host.b\u00fcro = { on = 'b' }\n", "2:7", "not valid TOML"},
       {"host.x = { on = 'b',\n  ip = '198.18.0.1/24' }\n", "2:21", "write a section such as"}});
  EXPECT_EQ(problems_of(""), (Words{"lab.toml: a lab needs a bus (write bus.NAME = {})"}));
  EXPECT_TRUE(contains(problems_of("bus.b = {}").at(0), "a lab needs a host"));
  const std::string deep = "host.h.on = 'b'\nhost.h.env.X = " + std::string(15, '[');
  EXPECT_TRUE(
      contains(problems_of("bus.b = {}\n" + deep + std::string(15, ']')).at(1), "too deeply"));
  LabProblems problems;
  const Lab lab = tools::read_lab(
      "bus.b = {}\n" + host("files = { '/no/x' = '1', '/etc/none' = '2', '/usr/bin/env' = '3', "
                            "'/var/lib/none' = '4' }"),
      "/tmp/lab.toml", problems);
  tools::check_lab_needs(lab, problems);
  ASSERT_EQ(problems.errors(), 1U);
  EXPECT_TRUE(contains(to_text("lab.toml", problems.sorted()[0]), "cannot have a file /no/x"));
}

TEST(LabFile, NamesTheLineAndColumnOfEachOtherProblem) {
  const auto at = [](const std::string& event) { return "at = [{ " + event + " }]"; };
  const auto machine = [](const std::string& keys) {
    return "machine.far = { ssh = 'far'" + keys + " }\n";
  };
  const std::string there = "host.x = { on = 'b', machine = 'far' }\n";
  expect_problems(
      "bus.b = {}\nhost.h = { on = 'b' }\n",
      {{"capture.c = {}", "3:9", "needs `on`"},
       {"name = 'a b'", "3:8", "no name of a lab"},
       {"capture.'c d' = { on = 'b' }", "3:9", "no name of a capture"},
       {"capture.c = { on = 'x' }", "3:20", "no bus \"x\""},
       {"capture.c = { on = ['b', 'b'] }", "3:26", "twice"},
       {"capture.c = { on = 'b', file = '' }", "3:32", "folder of results"},
       {"capture.c = { on = 'b', file = '../x' }", "3:32", "folder of results"},
       {"capture.c = { on = 'b', file = '/x' }", "3:32", "folder of results"},
       {"capture.c = { on = 'b', filter = 'tpc' }", "3:34", "tpc"},
       {"capture.c = { on = 'b', filter = 'host slow.invalid' }", "3:34",
        "names are not looked up"},
       {"capture.c = { on = 'b', file = 'f' }\ncapture.d = { on = 'b', file = 'f' }", "4:9",
        "the same file, f"},
       {"bus.d = {}\ncapture.c = { on = ['b', 'd'], file = 'f' }\ncapture.d = { on = 'b', file = "
        "'f.b' }",
        "5:9", "the same file, f.b"},
       {"capture.x = { on = 'b', file = 'timeline.jsonl' }", "3:9", "the timeline"},
       {"capture.x = { on = 'b', file = './h.log' }", "3:9", "host.h"},
       {"host.lab = { on = 'b' }", "3:6", "give host.lab another name"},
       {"host.test = { on = 'b' }", "3:6", "test.log"},
       {"host.at-1 = { on = 'b' }\n" + at("after = \"frame b 'arp'\", stop = 'h'"), "4:7",
        "at-1.log"},
       {"gateway.g = {}", "3:9", "needs `on`"},
       {"gateway.'g h' = { on = 'b' }", "3:9", "no name of a gateway"},
       {"at = [5]", "3:7", "is a table"},
       {"gateway.h = { on = 'b' }", "3:9", "the same name, \"h\""},
       {at("link = 'h', down = true"), "3:7", "needs `time` or `after`"},
       {at("time = '5', link = 'h', down = true"), "3:16", "5"},
       {at("time = '5s', link = 'h'"), "3:7", "says what happens"},
       {at("time = '5s', link = 'h', down = true, fault = 'loss=1%'"), "3:7", "one thing"},
       {at("time = '5s', down = true"), "3:7", "`link` is missing"},
       {at("time = '5s', link = 5, down = true"), "3:29", "takes a text"},
       {at("time = '5s', link = '', down = true"), "3:29", "no host \"\""},
       {at("time = '5s', link = 'h', stop = 'h'"), "3:29", "goes with down"},
       {at("time = '5s', stop = 'i'"), "3:29", "no host \"i\""},
       {at("time = '5s', stop = ''"), "3:29", "no host \"\""},
       {at("time = '5s', stop = 'h', bus = 'b'"), "3:40", "goes with partition"},
       {at("time = '5s', heal = false"), "3:29", "`heal` is true"},
       {at("time = '5s', heal = true, bus = 'x'"), "3:41", "no bus \"x\""},
       {"bus.d = {}\n" + at("time = '5s', heal = true"), "4:7", "say which"},
       {at("time = '5s', link = 'i', down = true"), "3:29", "no host \"i\""},
       {at("time = '5s', link = 'h.x', down = true"), "3:29", "not on a bus \"x\""},
       {"bus.d = {}\nhost.x.on = ['b', 'd']\n" + at("time = '5s', link = 'x', down = true"), "5:29",
        "write which line, \"x.b\""},
       {at("time = '5s', link = 'h', fault = 'rate=10'"), "3:42",
        "write rate=10bit or rate=10Mbit"},
       {at("after = 'boot h', stop = 'h'"), "3:17", "log HOST"},
       {at("after = 'log h', stop = 'h'"), "3:17", "not complete"},
       {at("after = 'log', stop = 'h'"), "3:17", "not complete"},
       {at("after = 'frame', stop = 'h'"), "3:17", "not complete"},
       {at("after = 'ready', stop = 'h'"), "3:17", "not complete"},
       {at("after = \"frame b 'port http'\", stop = 'h'"), "3:17", "\"http\" is no number"},
       {at("time = '1s', partition = 'h'"), "3:34", "two groups"},
       {at("time = '1s', partition = 'h / i'"), "3:34", "\"i\""},
       {at("time = '1s', partition = 'h / '"), "3:34", "no host \"\""},
       {at("time = '1s', partition = 'h / h'"), "3:34", "is in two groups"},
       {"bus.d = { mtu = 9000 }\nhost.x.on = 'd'\n" + at("time = '1s', link = 'h', move = 'd'"),
        "5:29", "are 1500 and 9000"},
       {"bus.d = { mtu = 9000 }\nhost.x.on = 'd'\n" + at("time = '1s', link = 'h.b', move = 'd'"),
        "5:29", "are 1500 and 9000"},
       {at("time = '1s', link = 'h', move = 'd'"), "3:29", "no bus \"d\" to move to"},
       {"host.x.on = 'y'\n" + at("time = '1s', link = 'x', move = 'b'"), "3:13", "no bus \"y\""},
       {"bus.d = {}\n" + machine("") + there + at("time = '1s', link = 'x', move = 'd'"), "6:29",
        "is not on machine.far"},
       {"test = { host = 'h' }", "3:8", "`run`"},
       {"test = { run = 'x' }", "3:8", "`host`"},
       {"test = { host = 'i', run = 'x' }", "3:17", "no host \"i\""},
       {"host.x = { on = 'b', vm = '{nic}' }\ntest = { host = 'x', run = 'x' }", "4:17",
        "virtual machine"},
       {"perf.p = { on = 'b', options = { engine = 'udp' } }", "3:34", "would not use it"},
       {"perf.p = { on = 'b', options = { ioengine = 'udp' } }", "3:34", "would not use it"},
       {"perf.p = { on = 'b', options = { 'a b' = 1 } }", "3:34", "no name of an option"},
       {"perf.p = { on = 'b', options = { -x = 1 } }", "3:34", "no name of an option"},
       {"perf.p = { on = 'b', jobs.'a b' = {} }", "3:27", "no name of a job"},
       {"perf.p = { on = 'b', jobs.j = 5 }", "3:31", "a table of options"},
       {"perf.p = { on = 'b', jobs.h = {} }", "3:27", "both called \"h\""},
       {"perf.'a b' = { on = 'b', jobs = {} }", "3:6", "no name of a run"},
       {"perf.p = { host = 'i', jobs = {} }", "3:19", "no host \"i\""},
       {"host.x = { on = 'b', vm = '{nic}' }\nperf.p = { host = 'x', jobs = {} }", "4:19",
        "a virtual machine"},
       {machine("") + there + "perf.p = { host = 'x', jobs = {} }", "5:19", "or elsewhere"},
       {machine(""), "3:9", "no host is on machine.far"},  // a warning
       {machine("") + there + "host.y = { on = 'b', machine = 'faar' }", "5:32",
        "did you mean \"far\"?"},
       {"machine.'f r' = { ssh = 'x' }", "3:9", "no name of a machine"},
       {"machine.far.ssh = ''\n" + there, "3:19", "no host for ssh"},
       {"machine.far.ssh = 'a b'\n" + there, "3:19", "no host for ssh"},
       {"machine.far.ssh = 5\n" + there, "3:19", "takes a text"},
       {"machine.far = {}\n" + there, "3:9", "needs `ssh`"},
       {"machine.far.ssh = '-oX=y'\n" + there, "3:19", "no host for ssh"},
       {"machine.far.ssh = 'user@'\n" + there, "3:19", "no host for ssh"},
       {machine(", options = ['Port']") + there, "3:41", "Port=2222"},
       {machine(", port = 3") + there, "3:30", "no key \"port\""},
       {machine("") + there + at("time = '1s', partition = 'x / h'"), "5:7", "machine.far"},
       {machine("") + there + "test = { host = 'x', run = 'true' }", "5:17",
        "make a host for it here"},
       {machine("") +
            "host.x = { on = 'b', machine = 'far', files.'/run/x'.source = '/etc/passwd' }",
        "4:39", "contents as texts"}});
  for (const char* const perf :
       {"on = 'b', options = { engine = 'bus,host' }", "host = 'h', options.engine = 'udp'",
        "on = 'b', options = {}", "on = 'b', jobs = {}", "host = 'h', jobs.h = {}"}) {
    EXPECT_EQ(good_lab(std::string("bus.b = {}\nhost.h.on = 'b'\nperf.p = { ") + perf + " }\n")
                  .perfs.size(),
              1U);
  }
  const Lab lab = good_lab("bus.b = {}\nhost.h.on = 'b'\n" + machine("") + there + R"(bus.d = {}
bus.e = { mtu = 9000 }
host.y.on = ["b", "e"]
host.box = { on = "b", container = "c", ready = "udp 53" }
host.v4.on = "b"
host.v4.ip = ["10.0.0.1/24", "10.0.1.1/24"]
host.v4.gateway = "10.0.1.2"
host.v4.run = "x"
host.v4.ready = "file x"
host.v5 = { on = "b", ip = "10.0.0.2/24" }
perf.p = { on = "b", options = { real = 0.1, flag = true } }
at = [
  { after = "log h 'a b'", link = "y.b", move = "d" },
  { after = "log h \"a b\"  ", partition = "h / y", bus = "d" },
  { after = "log h 'a b", heal = true, bus = "d" },
  { after = "log h '", stop = "h" },
])");
  Words texts;
  for (const LabEvent& each : lab.events)
    texts.push_back(each.trigger.text + ": " + each.to_string());
  EXPECT_EQ(texts,
            (Words{"a b: move y.b to d", "a b: partition d h / y", "'a b: heal d", "': stop h"}));
  EXPECT_EQ(lab.find_hosts("box").at(0)->ready.to_string(), "udp 53");
  EXPECT_EQ(lab.find_hosts("v4").at(0)->ready.to_string(), "file /tmp/x");
  EXPECT_EQ(lab.perfs.at(0).options.at(0).value, "0.1");
  EXPECT_EQ(lab.perfs.at(0).options.at(1).value, "1");
  LabProblems ignored;
  EXPECT_EQ(tools::read_lab("", "/tmp/-x y.toml", ignored).name, "lab-x-y");
  EXPECT_EQ(tools::read_lab("", "", ignored).name, "lab");
}

TEST(LabFile, RefusesHostsThatWaitForEachOther) {
  const std::string bus = "bus.b = {}\n";
  expect_problems(bus,
                  {{"host.x = { on = 'b', after = 'y' }\nhost.y = { on = 'b', after = ['z'] }\n"
                    "host.z = { on = 'b', after = 'x' }",
                    "2:30", "x after y after z after x"},
                   {"host.x = { on = 'b', after = 'x' }", "2:30", "after itself"}});
  EXPECT_EQ(problems_of(bus + "host.x = { on = 'b', count = 2, after = 'x' }"),
            (Words{"lab.toml:2:41: host.x1 cannot start after itself",
                   "lab.toml:2:41: host.x2 cannot start after itself"}));
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
  std::filesystem::resize_file(folder.file("here"), (4U << 20U) + 1);
  EXPECT_TRUE(contains(tools::load_lab(folder.file("here"), problems).error().message, "4 MiB"));
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
host.r.run = "true"
host.s = { on = "a", fault = "loss=1%", dns = [] }
host.t = { on = "a", fault = "none" })");
  const auto words_of = [&](std::size_t host, std::optional<std::uint64_t> seed) {
    std::string words;
    for (const std::string& each : tools::exec_words(lab, lab.hosts.at(host), seed))
      words += each + ' ';
    return words;
  };
  EXPECT_EQ(words_of(1, 7), "exec /dev/shm/lab.a --name s --ifname a --fault " +
                                tools::with_seed("loss=1%", 7, "s.a") +
                                " --dns none -- sleep infinity ");
  EXPECT_EQ(words_of(2, {}),
            "exec /dev/shm/lab.a --name t --ifname a --dns none -- sleep infinity ");
  EXPECT_EQ(words_of(0, {}),
            "exec /dev/shm/lab.a --name r --ifname a --ip 10.1.0.1/24 --mac b2:a0:00:00:00:01 "
            "--bus /dev/shm/other --name r --ifname b --ip 10.2.0.1/24 --gateway 10.2.0.254 "
            "--forward --dns 10.2.0.3 -- sh -c true ");
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
  const Words dropped{"127.0.0.1\tlocalhost  vm # this one", "127.0.1.1 vm", "10.9.9.9 r.b far x",
                      "10.9.9.8 bare"};
  const std::string added = "127.0.0.1\tlocalhost\n10.9.9.9\tfar x\n";
  const std::string names = "10.1.0.1\tvm\n10.1.0.2\tr r.a\n10.2.0.2\tr r.b\n";
  for (const tools::LabHost& host : lab.hosts) {
    std::istringstream file(machine);
    const tools::HostsFileChange change = tools::hosts_file_change(lab, host, file);
    const std::string loopback = "127.0.1.1\t" + host.name;  // what exec adds
    Words all = dropped;
    all.push_back(loopback);
    EXPECT_EQ(change.dropped, all);
    EXPECT_EQ(change.added, added + (host.name == "bare" ? loopback + '\n' : "") + names);
  }
}

// docs/lab.schema.json and the reader know the same keys.

using nlohmann::json;
using tools::LabKey;
using tools::LabTable;
using tools::ValueKind;

json lab_schema() {
  std::ifstream file(in_source("docs/lab.schema.json"));
  return json::parse(file);
}

/// The types of JSON for the kinds that a key takes.
std::set<std::string> types_of(const LabKey& key) {
  const auto takes = [&](ValueKind kind) { return (key.kinds & static_cast<unsigned>(kind)) != 0; };
  std::set<std::string> types;
  if (takes(ValueKind::text)) types.insert("string");
  if (takes(ValueKind::integer)) types.insert("integer");
  if (takes(ValueKind::real)) types.insert("number");
  if (takes(ValueKind::boolean)) types.insert("boolean");
  if (takes(ValueKind::list)) types.insert("array");
  if (takes(ValueKind::table)) types.insert("object");
  return types;
}

void expect_same_keys(const LabTable& table, const json& definition) {
  SCOPED_TRACE(table.name);
  EXPECT_EQ(definition["additionalProperties"], false);
  std::set<std::string> in_schema;
  for (const auto& [name, value] : definition["properties"].items()) in_schema.insert(name);
  for (const LabKey& key : table.keys) {
    EXPECT_EQ(in_schema.erase(key.name), 1U) << key.name << " is not in the schema";
    const json& row = definition["properties"][key.name];
    EXPECT_EQ(row["description"], key.text) << key.name;
    std::set<std::string> types;
    if (row["type"].is_string()) {
      types.insert(row["type"].get<std::string>());
    } else {
      for (const json& each : row["type"]) types.insert(each.get<std::string>());
    }
    EXPECT_EQ(types, types_of(key)) << key.name;
  }
  EXPECT_TRUE(in_schema.empty()) << *in_schema.begin() << " is only in the schema";
}

TEST(LabSchema, HasTheKeysOfTheReader) {
  const json schema = lab_schema();
  expect_same_keys(tools::kLabKeys, schema);
  for (const LabTable* const table : {&tools::kBusKeys, &tools::kHostKeys, &tools::kCaptureKeys,
                                      &tools::kGatewayKeys, &tools::kPerfKeys, &tools::kEventKeys,
                                      &tools::kTestKeys, &tools::kFileKeys, &tools::kMachineKeys}) {
    ASSERT_TRUE(schema["definitions"].contains(table->name)) << table->name;
    expect_same_keys(*table, schema["definitions"][table->name]);
  }
  EXPECT_EQ(schema["definitions"].size(), 9U);
}

// An editor with the schema says the same of a file as `check`.
TEST(LabSchema, TakesTheExamplesAndRefusesAWrongKey) {
  const std::string script = R"(
import json, pathlib, sys, tomllib
import jsonschema
schema = json.load(open(sys.argv[1] + "/docs/lab.schema.json"))
labs = sorted(pathlib.Path(sys.argv[1], "examples/labs").glob("*.toml"))
assert labs
for lab in labs:
    document = tomllib.loads(lab.read_text())
    jsonschema.validate(document, schema)
    next(iter(document["host"].values()))["gatway"] = "x"
    try:
        jsonschema.validate(document, schema)
    except jsonschema.ValidationError:
        continue
    sys.exit(f"{lab}: a wrong key is taken")
print("valid")
)";
  const ToolResult result = run_program({SHMIF_PYTHON, "-c", script, in_source("")});
  EXPECT_EQ(result.out, "valid\n") << result.err;
}

// The labs of examples/labs, as they are.

const std::string kLabs = in_source("examples/labs/");

bool has_program(const std::string& name) {
  const std::string path = "PATH=$PATH:/usr/sbin:/sbin:/usr/lib/frr; command -v " + name;
  return run_program({"sh", "-c", path}).status == 0;
}

class LabExamples : public LabRig {
 protected:
  /// Runs an example to the end of its test. Skips if one of the programs is not there. `line`: a
  /// regular expression for a line of what it prints.
  void run_example(const std::string& name, const Words& programs, const std::string& line = "") {
    for (const std::string& each : programs) {
      if (!has_program(each)) GTEST_SKIP() << "no " << each;
    }
    const ToolResult r = up(kLabs + name + ".toml", {"--time-limit", "100"});
    EXPECT_EQ(r.status, 0) << r.out << r.err;
    EXPECT_TRUE(std::regex_search(r.out, std::regex(line))) << line << '\n' << r.out;
  }
};

TEST_F(LabExamples, AreRightAndShort) {
  std::set<std::string> names;
  for (const auto& each : std::filesystem::directory_iterator(kLabs)) {
    if (each.path().extension() != ".toml") continue;
    names.insert(each.path().stem().string());
    const ToolResult r = run_tool({"check", each.path().string()});
    if (each.path().stem() == "kinds" && !has_program("podman")) continue;
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_EQ(r.err, "") << "a warning";
    EXPECT_LT(count_of_lines(text_of(each.path().string())), 40) << each.path();
  }
  EXPECT_EQ(names, (std::set<std::string>{"burst", "dhcp", "keepalived", "kinds", "mesh", "mqtt",
                                          "ospf", "three", "two-machines"}))
      << "each has a test below, in machines_test.cpp, or in tests/machines";
}

TEST_F(LabExamples, ThreeHostsAndARouter) {
  run_example("three", {"curl", "busybox"});
}

TEST_F(LabExamples, ADhcpServerAndItsClients) {
  run_example("dhcp", {"dnsmasq", "udhcpc"},
              "PING client3\\.lab\\.test \\(198\\.18\\.0\\.1[0-9][0-9]\\)");
}

TEST_F(LabExamples, ThreeRoutersFindAnotherWayWhenALineFails) {
  run_example("ospf", {"zebra", "ospfd", "vtysh", "tcpdump"},
              "user got the next answer \\(home\\.pcapng\\); [1-9][0-9]* requests were lost");
}

TEST_F(LabExamples, AVirtualAddressMovesWhenItsServerFails) {
  run_example("keepalived", {"keepalived", "tcpdump"},
              "user got the next answer \\(lan\\.pcapng\\); [1-9][0-9]* requests were lost");
}

TEST_F(LabExamples, FortyClientsComeBackToTheirBroker) {
  run_example("mqtt", {"mosquitto", "mosquitto_sub"}, "all 40 are back");
}

TEST_F(LabExamples, TcpIsSlowerOverLinesThatLoseMore) {
  run_example("burst", {"iperf3"}, " 10\\.0 %  reno  ");
}

TEST_F(LabExamples, AMeshOfTenHosts) {
  run_example("mesh", {"ping"});
}

}  // namespace
}  // namespace shmif::test
