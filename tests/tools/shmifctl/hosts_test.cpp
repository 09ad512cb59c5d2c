// shmifctl ps, enter and stop: looking at hosts, going into them and ending them.

#include <pty.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bus/layout.hpp"
#include "shmif/port.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/shmifctl/exec_rig.hpp"

namespace shmif::test {
namespace {

class Hosts : public ExecRig {
 protected:
  /// Runs a command of shmifctl as the caller.
  ToolResult call(Words words, std::string input = {}) const {
    words.insert(words.begin(), shmifctl_path());
    return run_program(by_caller(std::move(words)), std::move(input));
  }
  ToolResult enter(const std::string& script, std::string input = {}) const {
    return call({"enter", bus(), "a", "--", "sh", "-c", script}, std::move(input));
  }
  nlohmann::json hosts() const {
    const ToolResult said = call({"ps", bus(), "--json"});
    EXPECT_EQ(said.status, 0) << said.err;
    return nlohmann::json::parse(said.out)["hosts"];
  }
};
INSTANTIATE_TEST_SUITE_P(Each, Hosts, ::testing::ValuesIn(exec_settings()),
                         [](const auto& each) { return each.param.name; });

TEST_P(Hosts, PsNamesAddressesAndProgramAndTheirProcessIsInside) {
  const std::string other = bus("other");
  const auto host = start("a", "echo $$; exec sleep 601",
                          {"--ip", "198.18.0.1/24", "--ip", "fd00::1/64", "--bus", other, "--bus",
                           bus(), "--ip", "198.18.1.1/25", "--ifname", "second"});
  ASSERT_TRUE(host->wait_for("\n"));
  Tool dump({shmifctl_path(), "dump", bus(), "--name", "listener"});
  ASSERT_TRUE(eventually([&] { return port("listener").has_value(); }));
  ASSERT_TRUE(eventually([&] { return hosts()[0]["command"][0] == "sleep"; }));
  const nlohmann::json all = hosts();
  ASSERT_EQ(all.size(), 1U) << "a listener is no host: " << all;
  const nlohmann::json& seen = all[0];
  EXPECT_EQ(seen["name"], "a");
  EXPECT_EQ(seen["command"], nlohmann::json({"sleep", "601"}));
  EXPECT_EQ(seen["supervisor_pid"], port("a")->pid);
  ASSERT_EQ(seen["interfaces"].size(), 2U) << "the other one is on another bus";
  EXPECT_EQ(seen["interfaces"][1]["interface"], "second");
  EXPECT_TRUE(contains(seen["interfaces"][1]["addresses"].dump(), "\"198.18.1.1/25\""));
  const nlohmann::json& interface = seen["interfaces"][0];
  EXPECT_EQ(interface["interface"], "tap0");
  EXPECT_EQ(interface["mac"], port("a")->mac.to_string());
  const std::string addresses = interface["addresses"].dump();
  EXPECT_TRUE(contains(addresses, "\"198.18.0.1/24\""));
  EXPECT_TRUE(contains(addresses, "\"fd00::1/64\""));
  // What ps shows is inside the host, and what stat shows is not.
  const auto space = [](long pid) {
    std::error_code ignored;
    return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/net", ignored);
  };
  EXPECT_NE(space(seen["pid"]), space(::getpid()));
  EXPECT_EQ(space(seen["supervisor_pid"]), space(::getpid()));
  const ToolResult text = call({"ps", bus()});
  EXPECT_TRUE(contains(text.out, " 198.18.0.1/24 "));
  EXPECT_TRUE(contains(text.out, " sleep 601\n"));
}

TEST_P(Hosts, PsSendsNoControlCharacterThatAHostChose) {
  const auto host =
      start("a",
            "ip link set tap0 down; ip link set tap0 name \"$(printf 'X\\033[2J')\"; "
            "echo ready; exec sh -c 'sleep 601; :' \"$(printf '\\302\\2332J\\033[2J')\"");
  ASSERT_TRUE(host->wait_for("ready"));
  ASSERT_TRUE(eventually([&] { return hosts()[0]["command"].size() == 4; }));
  for (const std::string& said : {call({"ps", bus()}).out, call({"ps", bus(), "--json"}).out}) {
    EXPECT_EQ(said.find('\033'), std::string::npos) << said;
    EXPECT_FALSE(contains(said, "\xc2\x9b"));
  }
  const std::string text = call({"ps", bus()}).out;
  EXPECT_TRUE(contains(text, " X?[2J "));
  EXPECT_TRUE(contains(text, " ?2J?[2J\n"));
  EXPECT_TRUE(contains(call({"ps", bus(), "--json"}).out, "\\u009b2J"));
  EXPECT_EQ(hosts()[0]["interfaces"][0]["interface"], "X\033[2J");
}

TEST_P(Hosts, StopEndsTheOthersIfANameIsMissingAndAllOfThemIfAsked) {
  const auto first = start("a", "echo ready; exec sleep 601");
  const auto second = start("b", "echo ready; exec sleep 601");
  for (const auto& each : {first.get(), second.get()}) ASSERT_TRUE(each->wait_for("ready"));
  Tool dump(by_caller({shmifctl_path(), "dump", bus(), "--name", "listener"}));
  ASSERT_TRUE(eventually([&] { return port("listener").has_value(); }));
  EXPECT_EQ(call({"stop", bus()}).status, 2);
  const ToolResult stopped = call({"stop", bus(), "gone", "a", "--port", "far", "--force"});
  EXPECT_EQ(stopped.status, 1) << "a script learns that names were missing";
  EXPECT_TRUE(contains(stopped.err, "host \"gone\""));
  EXPECT_TRUE(contains(stopped.err, "port \"far\""));
  EXPECT_FALSE(port("a"));
  EXPECT_TRUE(port("b"));
  for (int times = 0; times < 2; ++times) {
    const ToolResult all = call({"stop", bus(), "--all"});
    EXPECT_EQ(all.status, 0) << all.err;
    EXPECT_FALSE(port("b"));
    EXPECT_TRUE(port("listener")) << "it is no host";
  }
  dump.signal(SIGSTOP);
  EXPECT_EQ(call({"stop", bus(), "--port", "listener"}).status, 0);
  EXPECT_FALSE(port("listener"));
}

TEST_P(Hosts, EnteredProgramIsInTheHost) {
  const auto host =
      start("a", "echo made > /run/here; echo ready; sleep 601", {"--ip", "198.18.0.1/24"});
  ASSERT_TRUE(host->wait_for("ready"));
  const ToolResult said = enter(
      "cat /run/here; id -u; cat /proc/1/comm; hostname; ip -4 -o addr show dev tap0; "
      "grep NoNewPrivs /proc/self/status; pwd; setpriv --reuid 1 --regid 1 --clear-groups echo as "
      "user; cat; echo oops >&2; exit 7",
      "typed\n");
  EXPECT_EQ(said.status, 7) << said.err;
  EXPECT_TRUE(contains(said.out, "made\n0\nshmif-init\na\n")) << said.err;
  EXPECT_TRUE(contains(said.out, "inet 198.18.0.1/24"));
  EXPECT_TRUE(contains(said.out, "NoNewPrivs:\t1\n" + std::filesystem::current_path().string() +
                                     "\nas user\ntyped\n"));
  EXPECT_EQ(said.err, "oops\n");
  EXPECT_EQ(enter("kill -9 $$").status, 137);
  EXPECT_EQ(call({"enter", bus(), "a", "--", "no-such-program"}).status, 127);
  EXPECT_TRUE(port("a")) << "the host goes on";
}

TEST_P(Hosts, EnteredProgramGetsSignalsAndEndsWithItsCallerAndWithTheHost) {
  const auto host = start("a", "echo ready; exec sleep 601");
  ASSERT_TRUE(host->wait_for("ready"));
  const auto entered = [&](const std::string& script) {
    return Tool(by_caller({shmifctl_path(), "enter", bus(), "a", "--", "sh", "-c", script}));
  };
  const std::string loop = "; echo in; while :; do sleep 0.02; done";
  Tool polite = entered("trap 'echo bye; exit 3' TERM" + loop);
  ASSERT_TRUE(polite.wait_for("in"));
  polite.signal(SIGTERM);
  const ToolResult left = polite.finish();
  EXPECT_EQ(left.status, 3);
  EXPECT_TRUE(contains(left.out, "bye"));
  const auto count = [&] { return enter("grep -lc 61[.]5 /proc/[0-9]*/cmdline | wc -l").out; };
  Tool killed = entered("echo in; exec sleep 61.5");
  ASSERT_TRUE(killed.wait_for("in"));
  killed.signal(SIGKILL);
  killed.finish();
  EXPECT_TRUE(eventually([&] { return enter("pidof sleep | wc -w").out == "1\n"; })) << count();
  Tool last = entered("trap '' TERM HUP" + loop);
  ASSERT_TRUE(last.wait_for("in"));
  host->signal(SIGTERM);
  const ToolResult ended = last.finish();
  EXPECT_EQ(ended.status, 137);
  EXPECT_TRUE(contains(ended.err, "the host has ended"));
}

TEST_P(Hosts, StopEndsHostsAndWaitsUntilTheyAreGone) {
  const auto first =
      start("a", "trap 'sleep 0.1; exit 3' TERM; echo ready; while :; do sleep 0.02; done");
  const auto second = start("b", "echo ready; exec sleep 601");
  const auto third = start("c", "echo ready; exec sleep 601");
  for (const auto& each : {first.get(), second.get(), third.get()}) {
    ASSERT_TRUE(each->wait_for("ready"));
  }
  // In milliseconds, this time is more than 32 bits can tell.
  const ToolResult stopped = call({"stop", bus(), "a", "b", "--timeout", "4294967.31"});
  EXPECT_EQ(stopped.status, 0) << stopped.err;
  EXPECT_FALSE(port("a")) << "stop has waited";
  EXPECT_FALSE(port("b"));
  EXPECT_TRUE(port("c")) << "nobody asked for that";
  EXPECT_EQ(first->finish().status, 3);
  EXPECT_EQ(second->finish().status, 128 + SIGTERM);
}

TEST_P(Hosts, AHostThatDoesNotEndIsToldKeepsNoOtherFromEndingAndIsKilledByForce) {
  const auto deaf = start("a", "trap '' TERM; echo ready; while :; do sleep 0.02; done");
  const auto second = start("b", "echo ready; exec sleep 601");
  for (const auto& each : {deaf.get(), second.get()}) ASSERT_TRUE(each->wait_for("ready"));
  const ToolResult stopped =
      call({"stop", bus(), "a", "b", "a", "--port", "a", "--port", "b", "--timeout", "3"});
  EXPECT_EQ(stopped.status, 1);
  EXPECT_TRUE(contains(stopped.err, "cannot stop host \"a\""));
  EXPECT_TRUE(contains(stopped.err, "--force"));
  EXPECT_EQ(times_in(stopped.err, "cannot stop"), 1U) << "each is one process: " << stopped.err;
  EXPECT_FALSE(contains(stopped.err, "host \"b\""));
  EXPECT_EQ(second->finish().status, 128 + SIGTERM);
  EXPECT_FALSE(port("b"));
  EXPECT_TRUE(port("a"));
  EXPECT_EQ(call({"stop", bus(), "a", "--timeout", "0.1", "--force"}).status, 0);
  EXPECT_FALSE(port("a"));
}

TEST_P(Hosts, AHostIsMeantByTheNameOfEachOfItsPorts) {
  const auto host = start("a", "echo ready; exec sleep 601",
                          {"--bus", bus(), "--name", "b", "--bus", bus(), "--name", "c"});
  ASSERT_TRUE(host->wait_for("ready"));
  for (const char* name : {"a", "b", "c"}) {
    const ToolResult entered = call({"enter", bus(), name, "--", "echo", "inside"});
    EXPECT_EQ(entered.out, "inside\n") << name << entered.err;
  }
  EXPECT_EQ(call({"stop", bus(), "c"}).status, 0);
  EXPECT_EQ(host->finish().status, 128 + SIGTERM);
}

TEST_P(Hosts, OnlyHostsOfTheBusAreEnteredAndStopped) {
  const auto host = start("a", "echo ready; exec sleep 601");
  Tool dump({shmifctl_path(), "dump", bus(), "--name", "listener"});
  ASSERT_TRUE(eventually([&] { return port("listener").has_value(); }));
  for (const char* command : {"stop", "enter"}) {
    const auto refusal = [&](const std::string& name) {
      Words words = {command, bus(), name};
      if (command == std::string("enter")) words.insert(words.end(), {"--", "true"});
      const ToolResult said = call(words);
      EXPECT_EQ(said.status, command == std::string("enter") ? 125 : 1) << said.err;
      return said.err;
    };
    EXPECT_TRUE(contains(refusal("listener"), "that dump port belongs to process " +
                                                  std::to_string(dump.pid()) +
                                                  ", not to a host that 'shmifctl exec' runs"));
    EXPECT_TRUE(contains(refusal("lisetner"), "did you mean \"listener\"?"));
    const std::string missing = refusal("nobody");
    EXPECT_TRUE(contains(missing, "no host of that name"));
    EXPECT_TRUE(contains(missing, "shmifctl ps"));
  }
  EXPECT_TRUE(port("a"));
  EXPECT_TRUE(port("listener"));
}

/// Writes into a bus as a hostile neighbour may.
template <typename T>
void forge(const std::string& path, std::size_t offset, T value) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file.write(reinterpret_cast<const char*>(&value), sizeof value);
  file.flush();
  ASSERT_TRUE(file.good());
}

TEST_P(Hosts, ForgedHeaderAndPidLeadToNoForeignProcess) {
  const std::string other = bus("other");
  Tool victim(by_caller({shmifctl_path(), "exec", other, "--name", "far", "--via", GetParam().via,
                         "--", "sh", "-c", "echo ready; exec sleep 601"}));
  ASSERT_TRUE(victim.wait_for("ready"));
  const auto host = start("a", "echo ready; exec sleep 601");
  ASSERT_TRUE(host->wait_for("ready"));
  std::int32_t foreign = 0;
  for (const PortInfo& each : Bus::open(other).value().info().ports) foreign = each.pid;
  forge(bus(),
        bus::kHeaderBytes + port("a")->slot * sizeof(bus::PortSlot) + offsetof(bus::PortSlot, pid),
        foreign);
  EXPECT_NE(call({"stop", bus(), "a"}).status, 0) << "that process does not use this bus";
  // Every shmifctl maps the file of the program.
  struct stat program{};
  ASSERT_EQ(::stat(shmifctl_path().c_str(), &program), 0);
  forge(bus(), offsetof(bus::BusHeader, inode), static_cast<std::uint64_t>(program.st_ino));
  for (const Words& words : {Words{"ps", bus()},
                             {"enter", bus(), "a", "--", "true"},
                             {"stop", bus(), "a", "--timeout", "1", "--force"}}) {
    const ToolResult said = call(words);
    EXPECT_NE(said.status, 0) << words[0] << said.out;
    EXPECT_TRUE(contains(said.err, "shmifctl repair"));
  }
  ASSERT_EQ(call({"enter", other, "far", "--", "true"}).status, 0) << "the victim lives";
}

TEST_P(Hosts, ChildThatCallsItselfInitMakesNoHost) {
  PortOptions options;
  options.name = "a";
  Port impostor(options);
  impostor.attach(bus()).value();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::prctl(PR_SET_NAME, "shmif-init");
    for (;;) ::pause();  // until the test kills it
  }
  ASSERT_GT(child, 0);
  EXPECT_TRUE(eventually([&] {
    std::ifstream file("/proc/" + std::to_string(child) + "/comm");
    std::string name;
    return std::getline(file, name) && name == "shmif-init";
  }));
  EXPECT_EQ(hosts(), nlohmann::json::array());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

/// Root and an ordinary user.
class HostsOfTwo : public Hosts {
 protected:
  void SetUp() override {
    if (!GetParam().as_stranger) GTEST_SKIP() << "needs root: has two users";
    Hosts::SetUp();
  }
};
INSTANTIATE_TEST_SUITE_P(Each, HostsOfTwo, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

TEST_P(HostsOfTwo, HostOfAnotherUserIsNamedAndNotTouched) {
  for (const std::string via : {"tap", "veth"}) {
    Tool host({shmifctl_path(), "exec", bus(), "--via", via, "--name", via, "--", "sleep", "601"});
    ASSERT_TRUE(eventually([&] { return port(via).has_value(); }));
    const nlohmann::json seen = hosts();
    ASSERT_EQ(seen.size(), 1U) << via;
    EXPECT_TRUE(seen[0]["pid"].is_null());
    EXPECT_TRUE(contains(seen[0]["unknown"].dump(), "another user")) << seen;
    for (const std::string& which : {via, std::string("--all")}) {
      const ToolResult stop = call({"stop", bus(), which});
      EXPECT_EQ(stop.status, 1);
      EXPECT_TRUE(contains(stop.err, "Operation not permitted"));
      EXPECT_TRUE(contains(stop.err, "another user"));
    }
    EXPECT_EQ(call({"enter", bus(), via, "--", "true"}).status, 125);
    host.signal(SIGTERM);
    host.finish();
  }
}

TEST_P(HostsOfTwo, RootThatEntersAHostOfAnotherUserIsThatUserOutside) {
  const auto host = start("a", "echo ready; exec sleep 601");
  ASSERT_TRUE(host->wait_for("ready"));
  const ToolResult said = run_tool({"enter", bus(), "a", "--", "sh", "-c",
                                    "id -u; grep -c Groups.*[0-9] /proc/self/status; echo > " +
                                        file("made") + "; cat /etc/shadow"});
  EXPECT_NE(said.status, 0) << "that file is root's";
  EXPECT_EQ(said.out, "0\n0\n") << said.err;
  struct stat made{};
  ASSERT_EQ(::stat(file("made").c_str(), &made), 0);
  EXPECT_EQ(made.st_uid, 65001U);
}

TEST_P(Hosts, WithoutANameServerAnUnknownNameFailsAtOnce) {
  const auto servers = [&](Words options) {
    return run({"sh", "-c", "grep ^nameserver /etc/resolv.conf"}, std::move(options)).out;
  };
  EXPECT_EQ(servers({"--dns", "none"}), "");
  EXPECT_EQ(servers({"--dns", "198.18.0.53", "--dns", "fd00::53"}),
            "nameserver 198.18.0.53\nnameserver fd00::53\n");
  EXPECT_NE(run({"getent", "hosts", "nosuch"}, {"--dns", "none"}).status, 0);
  const ToolResult refused = run({"true"}, {"--dns", "none", "--dns", "198.18.0.53"});
  EXPECT_EQ(refused.status, 2) << refused.err;
  EXPECT_TRUE(contains(refused.err, "--dns none means"));
}

TEST_P(Hosts, HostnameIsTheOneGivenOrTheNameOfThePort) {
  const std::string half(31, 'x');
  for (const auto& [options, name] : std::vector<std::pair<Words, std::string>>{
           {{"--name", "web"}, "web"},
           {{}, "port0"},
           {{"--name", "web", "--hostname", "3-a.B.example"}, "3-a.B.example"},
           {{"--name", "first", "--bus", bus("other"), "--name", "second"}, "first"},
           {{"--hostname", half + "y." + half}, half + "y." + half},
           {{"--name", "_web/1:"}, "web-1"},
           {{"--name", "?"}, "host"}}) {
    EXPECT_EQ(run({"sh", "-c", "hostname; getent hosts $(hostname) | cut -c1-9"}, options).out,
              name + "\n127.0.1.1\n");
  }
  for (const std::string& wrong :
       {half + "y." + half + "z", std::string(64, 'x'), std::string("a_b"), std::string("-a"),
        std::string("a..b"), std::string("a."), std::string("a\nb"), std::string("\xc3\xa4")}) {
    const ToolResult refused = run({"true"}, {"--hostname", wrong});
    EXPECT_EQ(refused.status, 2) << wrong;
    EXPECT_TRUE(contains(refused.err, "--hostname"));
  }
}

TEST_P(Hosts, ProgramThatPutsItselfIntoTheBackgroundIsTold) {
  for (const auto& [script, left] :
       {std::pair{"sleep 601 &", "left 1 process in the background"},
        {"sleep 601 & sleep 62 & exit 0", "left 2 processes in the background"}}) {
    const ToolResult jobs = run_shell(script);
    EXPECT_EQ(jobs.status, 0);
    EXPECT_TRUE(contains(jobs.err, left));
  }
  for (const char* const quiet : {"sleep 601 & sleep 0; exit 0", "sleep 601 & exec sleep 0",
                                  "sleep 601 & exit 1", "sleep 0 & wait; exit 0"}) {
    EXPECT_EQ(run_shell(quiet).err, "") << quiet;
  }
}

}  // namespace
}  // namespace shmif::test
