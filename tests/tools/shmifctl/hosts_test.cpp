// shmifctl ps, enter and stop: looking at hosts, going into them and ending them.

#include <pty.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <array>
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
  ToolResult call(std::vector<std::string> words, std::string input = {}) const {
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

/// The shared objects that the process `pid` and its descendants have mapped, one a line.
std::string libraries_of(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid);
  std::string found;
  std::ifstream maps(folder + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (const std::size_t path = line.find('/'); line.find(".so", path) != std::string::npos) {
      found += line.substr(path) + '\n';
    }
  }
  std::ifstream children(folder + "/task/" + std::to_string(pid) + "/children");
  for (pid_t child = 0; children >> child;) found += libraries_of(child);
  return found;
}

TEST_P(Hosts, DoNotPayForTheLibrariesOfOtherCommands) {
  const auto host = start("a", "echo $$; exec sleep 600", {"--ip", "198.18.0.1/24"});
  ASSERT_TRUE(host->wait_for("\n"));
  const std::string libraries = libraries_of(host->pid());
  EXPECT_GE(times_in(libraries, "/libseccomp.so"), 2U) << "of two processes: " << libraries;
  for (const char* const name : {"/libpcap.so", "/libtins.so", "/libcrypto.so"}) {
    EXPECT_EQ(libraries.find(name), std::string::npos) << libraries;
  }
}

TEST_P(Hosts, PsNamesAddressesAndProgramAndTheirProcessIsInside) {
  const std::string other = bus("other");
  const auto host = start("a", "echo $$; exec sleep 601",
                          {"--ip", "198.18.0.1/24", "--ip", "fd00::1/64", "--bus", other});
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
  ASSERT_EQ(seen["interfaces"].size(), 1U) << "the other one is on another bus";
  const nlohmann::json& interface = seen["interfaces"][0];
  EXPECT_EQ(interface["interface"], "tap0");
  EXPECT_EQ(interface["mac"], port("a")->mac.to_string());
  const std::string addresses = interface["addresses"].dump();
  EXPECT_NE(addresses.find("\"198.18.0.1/24\""), std::string::npos) << addresses;
  EXPECT_NE(addresses.find("\"fd00::1/64\""), std::string::npos) << addresses;
  // What ps shows is inside the host, and what stat shows is not.
  const auto space = [](long pid) {
    std::error_code ignored;
    return std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/ns/net", ignored);
  };
  EXPECT_NE(space(seen["pid"]), space(::getpid()));
  EXPECT_EQ(space(seen["supervisor_pid"]), space(::getpid()));
  const ToolResult text = call({"ps", bus()});
  EXPECT_NE(text.out.find(" 198.18.0.1/24 "), std::string::npos) << text.out;
  EXPECT_NE(text.out.find(" sleep 601\n"), std::string::npos) << text.out;
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
    EXPECT_EQ(said.find("\xc2\x9b"), std::string::npos) << said;
  }
  const std::string text = call({"ps", bus()}).out;
  EXPECT_NE(text.find(" X?[2J "), std::string::npos) << text;
  EXPECT_NE(text.find(" ?2J?[2J\n"), std::string::npos) << text;
  EXPECT_NE(call({"ps", bus(), "--json"}).out.find("\\u009b2J"), std::string::npos);
  EXPECT_EQ(hosts()[0]["interfaces"][0]["interface"], "X\033[2J");
}

TEST_P(Hosts, LongCommandLineIsCut) {
  const std::string word(100000, 'x');
  const auto host = start("a", "echo ready; sleep 601; : " + word);
  ASSERT_TRUE(host->wait_for("ready"));
  std::size_t size = 0;
  const nlohmann::json seen = hosts();
  for (const auto& each : seen[0]["command"]) size += each.get<std::string>().size() + 1;
  EXPECT_LE(size, 4096U + 4);
  EXPECT_TRUE(seen[0]["command"].back().get<std::string>().ends_with("x..."));
}

TEST_P(Hosts, StopEndsTheOthersIfANameIsMissingAndAllOfThemIfAsked) {
  const auto first = start("a", "echo ready; exec sleep 601");
  const auto second = start("b", "echo ready; exec sleep 601");
  for (const auto& each : {first.get(), second.get()}) ASSERT_TRUE(each->wait_for("ready"));
  Tool dump(by_caller({shmifctl_path(), "dump", bus(), "--name", "listener"}));
  ASSERT_TRUE(eventually([&] { return port("listener").has_value(); }));
  const ToolResult stopped = call({"stop", bus(), "gone", "a", "--port", "far", "--force"});
  EXPECT_EQ(stopped.status, 1) << "a script learns that names were missing";
  EXPECT_NE(stopped.err.find("host \"gone\""), std::string::npos) << stopped.err;
  EXPECT_NE(stopped.err.find("port \"far\""), std::string::npos) << stopped.err;
  EXPECT_FALSE(port("a"));
  EXPECT_TRUE(port("b"));
  for (int times = 0; times < 2; ++times) {
    const ToolResult all = call({"stop", bus(), "--all"});
    EXPECT_EQ(all.status, 0) << all.err;
    EXPECT_FALSE(port("b"));
    EXPECT_TRUE(port("listener")) << "it is no host";
  }
}

TEST_P(Hosts, CompletionOffersTheHosts) {
  const auto host = start("a", "sleep 601");
  const auto offered = [&](const std::string& command, const std::string& named) {
    return run_program({"bash", "-c",
                        "PATH=${1%/*}:$PATH; . \"$2\"; COMP_WORDS=(shmifctl " + command +
                            " \"$3\" " + named +
                            " ''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shmifctl; echo "
                            "\"${COMPREPLY[@]}\"",
                        "bash", shmifctl_path(), in_source("tools/shmifctl.bash"), bus()})
        .out;
  };
  EXPECT_EQ(offered("enter", ""), "a\n");
  EXPECT_EQ(offered("enter", "a"), "--\n") << "a program comes next";
  EXPECT_EQ(offered("stop", ""), "a\n");
  EXPECT_EQ(offered("stop", "--timeout 2"), "a\n");
  EXPECT_EQ(offered("stop", "b"), "a\n");
  EXPECT_EQ(offered("stop", "a"), "\n") << "it is named already";
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
  EXPECT_NE(said.out.find("made\n0\nshmif-init\na\n"), std::string::npos) << said.out << said.err;
  EXPECT_NE(said.out.find("inet 198.18.0.1/24"), std::string::npos) << said.out;
  EXPECT_NE(said.out.find("NoNewPrivs:\t1\n" + std::filesystem::current_path().string() +
                          "\nas user\ntyped\n"),
            std::string::npos)
      << said.out;
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
  EXPECT_NE(left.out.find("bye"), std::string::npos);
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
  EXPECT_NE(ended.err.find("the host has ended"), std::string::npos) << ended.err;
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

TEST_P(Hosts, StopEndsEachOfThemThoughAllAreSuspended) {
  const auto first = start("a", "echo ready; exec sleep 601");
  const auto second = start("b", "echo ready; exec sleep 601");
  for (const auto& each : {first.get(), second.get()}) {
    ASSERT_TRUE(each->wait_for("ready"));
    each->signal(SIGSTOP);
  }
  const ToolResult stopped = call({"stop", bus(), "a", "b", "--timeout", "3"});
  EXPECT_EQ(stopped.status, 0) << stopped.err;
  for (const auto& each : {first.get(), second.get()}) {
    each->signal(SIGCONT);  // else a test that fails would wait for them
    EXPECT_EQ(each->finish().status, 128 + SIGTERM);
  }
}

TEST_P(Hosts, ProgramThatDoesNotEndIsToldAndKilledByForce) {
  const auto host = start("a", "trap '' TERM; echo ready; while :; do sleep 0.02; done");
  ASSERT_TRUE(host->wait_for("ready"));
  const ToolResult refused = call({"stop", bus(), "a", "--timeout", "0.1"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.err.find("did not end within 0.1 s of SIGTERM"), std::string::npos)
      << refused.err;
  EXPECT_NE(refused.err.find("--force"), std::string::npos) << refused.err;
  EXPECT_TRUE(port("a"));
  EXPECT_EQ(call({"stop", bus(), "a", "--timeout", "0.1", "--force"}).status, 0);
  EXPECT_FALSE(port("a"));
}

TEST_P(Hosts, AHostThatDoesNotEndKeepsNoOtherFromEndingAndIsNotForgotten) {
  const auto deaf = start("a", "trap '' TERM; echo ready; while :; do sleep 0.02; done");
  const auto second = start("b", "echo ready; exec sleep 601");
  for (const auto& each : {deaf.get(), second.get()}) ASSERT_TRUE(each->wait_for("ready"));
  const ToolResult stopped =
      call({"stop", bus(), "a", "b", "a", "--port", "a", "--port", "b", "--timeout", "3"});
  EXPECT_EQ(stopped.status, 1);
  EXPECT_NE(stopped.err.find("cannot stop host \"a\""), std::string::npos) << stopped.err;
  EXPECT_EQ(times_in(stopped.err, "cannot stop"), 1U) << "each is one process: " << stopped.err;
  EXPECT_EQ(stopped.err.find("host \"b\""), std::string::npos) << stopped.err;
  EXPECT_EQ(second->finish().status, 128 + SIGTERM);
  EXPECT_FALSE(port("b"));
  EXPECT_TRUE(port("a"));
}

TEST_P(Hosts, PsShowsEachInterfaceOfAHostWithItsOwnAddresses) {
  const auto host = start("a", "echo ready; exec sleep 601",
                          {"--ip", "198.18.0.1/24", "--ip", "fd00::1/64", "--bus", bus(), "--ip",
                           "198.18.1.1/25", "--bus", bus(), "--ifname", "bare"});
  ASSERT_TRUE(host->wait_for("ready"));
  const nlohmann::json all = hosts();
  ASSERT_EQ(all.size(), 1U) << all;
  ASSERT_EQ(all[0]["interfaces"].size(), 3U) << all;
  const std::vector<std::pair<std::string, std::vector<std::string>>> wanted{
      {"tap0", {"198.18.0.1/24", "fd00::1/64"}}, {"tap1", {"198.18.1.1/25"}}, {"bare", {}}};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const nlohmann::json& seen = all[0]["interfaces"][i];
    EXPECT_EQ(seen["interface"], wanted[i].first);
    auto addresses = seen["addresses"].get<std::vector<std::string>>();
    std::erase_if(addresses, [](const std::string& each) { return each.starts_with("fe80:"); });
    EXPECT_EQ(addresses, wanted[i].second) << seen;
  }
}

TEST_P(Hosts, PsShowsTheInterfaceAndNotTheBridgeThatItIsIn) {
  const auto host =
      start("a",
            "export PATH=$PATH:/usr/sbin:/sbin; ip addr flush dev tap0; "
            "ip link add br9 address $(cat /sys/class/net/tap0/address) type bridge && "
            "ip link set tap0 master br9 && echo ready; exec sleep 601",
            {});
  ASSERT_TRUE(host->wait_for("ready")) << host->so_far().err;
  const nlohmann::json all = hosts();
  ASSERT_EQ(all.size(), 1U) << all;
  EXPECT_EQ(all[0]["interfaces"][0]["interface"], "tap0");
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

TEST_P(Hosts, StopEndsAHostThatIsStopped) {
  const auto host = start("a", "echo ready; exec sleep 601");
  ASSERT_TRUE(host->wait_for("ready"));
  host->signal(SIGSTOP);
  EXPECT_EQ(call({"stop", bus(), "a"}).status, 0);
  EXPECT_EQ(host->finish().status, 128 + SIGTERM);
}

TEST_P(Hosts, OnlyHostsOfTheBusAreEnteredAndStopped) {
  const auto host = start("a", "echo ready; exec sleep 601");
  Tool dump({shmifctl_path(), "dump", bus(), "--name", "listener"});
  ASSERT_TRUE(eventually([&] { return port("listener").has_value(); }));
  for (const char* command : {"stop", "enter"}) {
    const auto refusal = [&](const std::string& name) {
      std::vector<std::string> words = {command, bus(), name};
      if (command == std::string("enter")) words.insert(words.end(), {"--", "true"});
      const ToolResult said = call(words);
      EXPECT_EQ(said.status, command == std::string("enter") ? 125 : 1) << said.err;
      return said.err;
    };
    EXPECT_NE(refusal("listener")
                  .find("that dump port belongs to process " + std::to_string(dump.pid()) +
                        ", not to a host that 'shmifctl exec' runs"),
              std::string::npos);
    EXPECT_NE(refusal("lisetner").find("did you mean \"listener\"?"), std::string::npos);
    const std::string missing = refusal("nobody");
    EXPECT_NE(missing.find("no host of that name"), std::string::npos) << missing;
    EXPECT_NE(missing.find("shmifctl ps"), std::string::npos) << missing;
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
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"ps", bus()},
        {"enter", bus(), "a", "--", "true"},
        {"stop", bus(), "a", "--timeout", "1", "--force"}}) {
    const ToolResult said = call(words);
    EXPECT_NE(said.status, 0) << words[0] << said.out;
    EXPECT_NE(said.err.find("shmifctl repair"), std::string::npos) << said.err;
  }
  ASSERT_EQ(call({"enter", other, "far", "--", "true"}).status, 0) << "the victim lives";
}

std::size_t in_slot(const PortInfo& port, std::size_t offset) {
  return bus::kHeaderBytes + port.slot * sizeof(bus::PortSlot) + offset;
}

void rename_row(const std::string& path, const PortInfo& port, const std::string& name) {
  std::array<char, bus::kNameBytes> padded{};
  name.copy(padded.data(), padded.size() - 1);
  forge(path, in_slot(port, offsetof(bus::PortSlot, name)), padded);
}

TEST_P(Hosts, WhoseRowsExchangeNamesAreNotMixedUp) {
  const auto host = start("a", "echo ready; exec sleep 601");
  const auto other = start("b", "echo ready; exec sleep 601");
  for (const auto& each : {host.get(), other.get()}) ASSERT_TRUE(each->wait_for("ready"));
  const PortInfo first = *port("a");
  const PortInfo second = *port("b");
  rename_row(bus(), first, "b");
  rename_row(bus(), second, "a");
  const ToolResult stopped = call({"stop", bus(), "b", "--timeout", "1", "--force"});
  EXPECT_EQ(stopped.status, 1);
  EXPECT_NE(stopped.err.find("other ports on this bus"), std::string::npos) << stopped.err;
  EXPECT_EQ(call({"stop", bus(), "--port", "b"}).status, 1);
  EXPECT_EQ(call({"enter", bus(), "b", "--", "true"}).status, 125);
  for (const nlohmann::json& each : hosts()) EXPECT_TRUE(each["pid"].is_null()) << each;
  EXPECT_TRUE(port("a") && port("b")) << "both live";
  rename_row(bus(), first, "a");
  EXPECT_EQ(call({"stop", bus(), "a"}).status, 0);
  EXPECT_EQ(host->finish().status, 128 + SIGTERM);
}

TEST_P(Hosts, StopWithPortEndsWhateverProcessHasThePort) {
  const auto host = start("a", "echo ready; exec sleep 601");
  ASSERT_TRUE(host->wait_for("ready"));
  Tool dump(by_caller({shmifctl_path(), "dump", bus(), "--name", "listener"}));
  ASSERT_TRUE(eventually([&] { return port("listener").has_value(); }));
  const ToolResult missing = call({"stop", bus(), "--port", "lisetner"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.err.find("did you mean \"listener\"?"), std::string::npos) << missing.err;
  EXPECT_TRUE(port("listener"));
  dump.signal(SIGSTOP);
  const ToolResult stopped = call({"stop", bus(), "--port", "listener", "--port", "a"});
  EXPECT_EQ(stopped.status, 0) << stopped.err;
  EXPECT_FALSE(port("listener"));
  EXPECT_FALSE(port("a"));
  EXPECT_EQ(call({"stop", bus()}).status, 2);
}

TEST_P(Hosts, OfWhichAnInterfaceHasAnotherAddressAreMeantByAllOfTheirPorts) {
  const auto host = start("a",
                          "ip link set tap1 down; ip link set tap1 address 02:00:00:00:00:77; "
                          "echo ready; exec sleep 601",
                          {"--bus", bus(), "--name", "b"});
  ASSERT_TRUE(host->wait_for("ready"));
  EXPECT_EQ(call({"stop", bus(), "b"}).status, 0);
  EXPECT_EQ(host->finish().status, 128 + SIGTERM);
}

TEST_P(Hosts, PsShowsTheProgramAndNoOrphanThatItLeft) {
  const auto host = start("a", "(sleep 62 &); echo ready; exec sleep 601");
  ASSERT_TRUE(host->wait_for("ready"));
  ASSERT_TRUE(eventually([&] { return hosts()[0]["command"][0] == "sleep"; }));
  // The orphan is a child of the host's init, as the program is.
  const std::string init = hosts()[0]["init_pid"].dump();
  ASSERT_TRUE(eventually([&] {
    std::ifstream children("/proc/" + init + "/task/" + init + "/children");
    int count = 0;
    for (int each = 0; children >> each;) ++count;
    return count == 2;
  }));
  EXPECT_EQ(hosts()[0]["command"], nlohmann::json({"sleep", "601"}));
}

TEST_P(Hosts, TimeOfStopIsThatOfAllHostsTogether) {
  const std::string deaf = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
  const auto first = start("a", deaf);
  const auto second = start("b", deaf);
  for (const auto& each : {first.get(), second.get()}) ASSERT_TRUE(each->wait_for("ready"));
  Tool stop(by_caller({shmifctl_path(), "stop", bus(), "a", "b", "--timeout", "1.5"}));
  ASSERT_TRUE(stop.wait_for("host \"a\""));
  // If "b" had as much time again, it would end within it.
  static_cast<void>(stop.wait_for("host \"b\"", std::chrono::seconds(1)));
  second->signal(SIGKILL);
  const ToolResult said = stop.finish();
  EXPECT_EQ(said.status, 1);
  EXPECT_NE(said.err.find("cannot stop host \"b\""), std::string::npos) << said.err;
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

TEST_P(HostsOfTwo, WhoMayNotMakeTapDevicesIsToldOfHostsThatNeedNone) {
  if (run_program(by_caller({"test", "-w", "/dev/net/tun"})).status == 0) {
    GTEST_SKIP() << "everybody may open /dev/net/tun";
  }
  const ToolResult tap = call({"tap", bus()});
  EXPECT_NE(tap.status, 0);
  EXPECT_NE(tap.err.find("'shmifctl exec --via veth' needs no such device"), std::string::npos)
      << tap.err;
}

TEST_P(HostsOfTwo, HostOfAnotherUserIsNamedAndNotTouched) {
  for (const std::string via : {"tap", "veth"}) {
    Tool host({shmifctl_path(), "exec", bus(), "--via", via, "--name", via, "--", "sleep", "601"});
    ASSERT_TRUE(eventually([&] { return port(via).has_value(); }));
    const nlohmann::json seen = hosts();
    ASSERT_EQ(seen.size(), 1U) << via;
    EXPECT_TRUE(seen[0]["pid"].is_null());
    EXPECT_NE(seen[0]["unknown"].dump().find("another user"), std::string::npos) << seen;
    for (const std::string& which : {via, std::string("--all")}) {
      const ToolResult stop = call({"stop", bus(), which});
      EXPECT_EQ(stop.status, 1);
      EXPECT_NE(stop.err.find("Operation not permitted"), std::string::npos) << stop.err;
      EXPECT_NE(stop.err.find("another user"), std::string::npos) << stop.err;
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

TEST_P(HostsOfTwo, RootThatEntersAHostOfAnotherUserKeepsItsTerminalAndEnvironment) {
  const auto host = start("a", "echo ready; exec sleep 601");
  ASSERT_TRUE(host->wait_for("ready"));
  const std::string script =
      "stty size; cut -d' ' -f7 /proc/self/stat | sed 's/^/terminal=/'; echo input=$(head -n 1);"
      "tr '\\0' '\\n' < /proc/self/environ; : < /dev/tty && echo has one; echo fds=$(ls -1 "
      "/proc/self/fd | tr '\\n' ,); exit 7";
  const std::string path = bus();
  const winsize size{33, 77, 0, 0};
  int terminal = -1;
  const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, &size);
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    ::setenv("SECRET", "of root", 1);
    ::setenv("LC_TIME", "C.UTF-8", 1);
    (void)::dup2(STDIN_FILENO, 9);
    ::execl(shmifctl_path().c_str(), "shmifctl", "enter", path.c_str(), "a", "--", "sh", "-c",
            script.c_str(), nullptr);
    ::_exit(99);
  }
  std::string outer;
  std::string said;
  bool typed = false;
  for (;;) {  // until the program has ended, and the terminal with it
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(terminal, bytes.data(), bytes.size());
    if (count <= 0) break;
    said.append(bytes.data(), static_cast<std::size_t>(count));
    if (typed || said.find("terminal=") == std::string::npos) continue;
    typed = true;
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    for (int field = 0; field < 7; ++field) file >> outer;
    EXPECT_EQ(::write(terminal, "typed\n", 6), 6);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ::close(terminal);
  EXPECT_EQ(WEXITSTATUS(status), 7) << said;
  EXPECT_NE(said.find("33 77"), std::string::npos) << said;
  EXPECT_NE(said.find("input=typed"), std::string::npos) << said;
  EXPECT_NE(said.find("has one"), std::string::npos) << said;
  EXPECT_EQ(said.find("terminal=" + outer + "\r"), std::string::npos) << said;
  EXPECT_EQ(said.find("SECRET"), std::string::npos) << said;
  EXPECT_NE(said.find("LC_TIME=C.UTF-8\r"), std::string::npos) << said;
  EXPECT_NE(said.find("PATH=/usr/local/sbin:"), std::string::npos) << said;
  EXPECT_NE(said.find("fds=0,1,2,3,\r"), std::string::npos) << said;
}

TEST_P(Hosts, WithoutANameServerAnUnknownNameFailsAtOnce) {
  const auto servers = [&](std::vector<std::string> options) {
    return run({"sh", "-c", "grep ^nameserver /etc/resolv.conf"}, std::move(options)).out;
  };
  EXPECT_EQ(servers({"--dns", "none"}), "");
  EXPECT_EQ(servers({"--dns", "198.18.0.53", "--dns", "fd00::53"}),
            "nameserver 198.18.0.53\nnameserver fd00::53\n");
  EXPECT_NE(run({"getent", "hosts", "nosuch"}, {"--dns", "none"}).status, 0);
  for (const auto& wrong :
       std::vector<std::vector<std::string>>{{"--dns", "none", "--dns", "none"},
                                             {"--dns", "none", "--dns", "198.18.0.53"},
                                             {"--dns", "198.18.0.53", "--dns", "none"}}) {
    const ToolResult refused = run({"true"}, wrong);
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_NE(refused.err.find("--dns none means"), std::string::npos) << refused.err;
  }
}

TEST_P(Hosts, HostnameIsTheOneGivenOrTheNameOfThePort) {
  const auto name = [&](std::vector<std::string> options) {
    return run({"sh", "-c", "hostname; getent hosts $(hostname) | cut -c1-9"}, std::move(options))
        .out;
  };
  EXPECT_EQ(name({"--name", "web"}), "web\n127.0.1.1\n");
  EXPECT_EQ(name({}), "port0\n127.0.1.1\n");
  EXPECT_EQ(name({"--name", "web", "--hostname", "other"}), "other\n127.0.1.1\n");
  const std::string other = bus("other");
  EXPECT_EQ(name({"--name", "first", "--bus", other, "--name", "second"}), "first\n127.0.1.1\n");
  // Of 64 characters, and with a part of 63.
  const std::string half(31, 'x');
  for (const std::string& longest : {half + "y." + half, std::string(63, 'x')}) {
    EXPECT_EQ(name({"--hostname", longest}), longest + "\n127.0.1.1\n");
  }
  for (const std::string& wrong :
       {half + "y." + half + "z", std::string(64, 'x'), std::string(65, 'x')}) {
    const ToolResult refused = run({"true"}, {"--hostname", wrong});
    EXPECT_EQ(refused.status, 2) << wrong;
    EXPECT_NE(refused.err.find("--hostname \"" + wrong + "\" is not"), std::string::npos)
        << refused.err;
  }
  for (const char* wrong : {"a b", "a_b", "-a", "a-", "a..b", ".a", "a.", "a\nb", "\xc3\xa4"}) {
    const ToolResult said = run({"true"}, {"--hostname", wrong});
    EXPECT_EQ(said.status, 2) << wrong;
    EXPECT_NE(said.err.find("is not a host name"), std::string::npos) << said.err;
  }
  EXPECT_EQ(name({"--hostname", "3-a.B.example"}), "3-a.B.example\n127.0.1.1\n");
  EXPECT_EQ(name({"--name", "_web/1:"}), "web-1\n127.0.1.1\n");
  EXPECT_EQ(name({"--name", "?"}), "host\n127.0.1.1\n");
}

TEST_P(Hosts, WaitKnowsWhatToDoAboutAFileThatIsNoBusYet) {
  std::ofstream(file("empty")).close();
  for (const std::vector<std::string>& what :
       {std::vector<std::string>{"--port", "a"}, {"--tcp", "198.18.0.1:80"}}) {
    for (const char* name : {"empty", "missing"}) {
      std::vector<std::string> words = {"wait", file(name), "--timeout", "0.05"};
      words.insert(words.end(), what.begin(), what.end());
      const ToolResult said = call(words);
      EXPECT_EQ(said.status, 1);
      EXPECT_NE(said.err.find("make one with 'shmifctl create"), std::string::npos) << said.err;
      EXPECT_EQ(said.err.find("delete the file") != std::string::npos, name == std::string("empty"))
          << said.err;
    }
  }
}

TEST_P(Hosts, ProgramThatPutsItselfIntoTheBackgroundIsTold) {
  // The command ends when the daemon has a session of its own.
  const std::string up = file("up");
  ASSERT_EQ(::mkfifo(up.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(up.c_str(), 0666), 0);
  const ToolResult gone =
      run_shell("setsid sh -c 'echo > " + up + "; exec sleep 601' > /dev/null 2>&1 & read line < " +
                up + "; exit 0");
  EXPECT_EQ(gone.status, 0);
  EXPECT_NE(gone.err.find("left 1 process in the background, which ended with the host"),
            std::string::npos)
      << gone.err;
  for (const auto& [script, left] : {std::pair{"sleep 601 &", "left 1 process "},
                                     {"sleep 601 & sleep 62 & exit 0", "left 2 processes "}}) {
    const ToolResult jobs = run_shell(script);
    EXPECT_EQ(jobs.status, 0);
    EXPECT_NE(
        jobs.err.find(
            left + std::string("in the background, which ended with the host (the host ends with")),
        std::string::npos)
        << jobs.err;
  }
  EXPECT_EQ(run_shell("sleep 601 & sleep 0; exit 0").err, "") << "it was there for something else";
  EXPECT_EQ(run_shell("sleep 601 & exec sleep 0").err, "");
  EXPECT_EQ(run_shell("sleep 601 & exit 1").err, "");
  EXPECT_EQ(run_shell("sleep 0 & wait; exit 0").err, "");
  EXPECT_EQ(run_shell("exit 0").err, "");
}

}  // namespace
}  // namespace shmif::test
