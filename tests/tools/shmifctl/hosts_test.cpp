// shmifctl ps, enter and stop: looking at hosts, going into them and ending them.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/unique_fd.hpp"
#include "bus/layout.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_bus.hpp"
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

// shmifctl enter by root into a host of another user: neither gets at the other.

std::vector<pid_t> children_of(pid_t parent) {
  const std::string number = std::to_string(parent);
  std::ifstream file("/proc/" + number + "/task/" + number + "/children");
  std::vector<pid_t> pids;
  for (pid_t each = 0; file >> each;) pids.push_back(each);
  return pids;
}

/// A program of root on a terminal of its own.
class OnTerminal {
 public:
  explicit OnTerminal(Words words, const std::function<void()>& before = [] {}) {
    std::fflush(nullptr);
    pid_ = ::forkpty(&terminal_, nullptr, nullptr, nullptr);
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    before();
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::setenv("PS1", "$ ", 1);
    ::execvp(argv[0], argv.data());
    ::_exit(99);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;
  ~OnTerminal() {
    ::close(terminal_);
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  /// The name of the terminal.
  std::string terminal() const { return ::ptsname(terminal_); }
  void type(const std::string& keys) const { (void)!::write(terminal_, keys.data(), keys.size()); }
  /// Waits for `text` on the screen, and forgets the screen up to its end.
  bool shows(const std::string& text) {
    return eventually([&] {
      read_screen();
      const std::size_t at = screen_.find(text);
      if (at == std::string::npos) return false;
      screen_.erase(0, at + text.size());
      return true;
    });
  }
  /// Whether keys go to the program as they are.
  bool is_raw() const {
    termios modes{};
    return ::tcgetattr(terminal_, &modes) == 0 && (modes.c_lflag & (ICANON | ECHO)) == 0;
  }
  /// Waits for the end. Result: exit status, 128 + n when ended by signal n, -1: it goes on.
  int finish() {
    int status = 0;
    const bool ended = eventually([&] {
      read_screen();
      return ::waitpid(pid_, &status, WNOHANG) == pid_;
    });
    if (!ended) return -1;
    read_screen();
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& screen() const { return screen_; }

 private:
  void read_screen() {
    pollfd entry{terminal_, POLLIN, 0};
    while (::poll(&entry, 1, 0) > 0) {
      std::array<char, 4096> chunk{};
      const ssize_t n = ::read(terminal_, chunk.data(), chunk.size());
      if (n <= 0) return;
      screen_.append(chunk.data(), static_cast<std::size_t>(n));
    }
  }

  int terminal_ = -1;
  pid_t pid_ = -1;
  std::string screen_;
};

/// Root, and the host "a" of an ordinary user.
class EnterForeign : public ExecRig {
 protected:
  void SetUp() override {
    if (!GetParam().as_stranger) GTEST_SKIP() << "needs root: has two users";
    ExecRig::SetUp();
    if (IsSkipped()) return;
    host_ = start("a", "echo ready; exec sleep 601");
    ASSERT_TRUE(host_->wait_for("ready"));
  }
  Words line(const std::string& script) const {
    return {shmifctl_path(), "enter", bus(), "a", "--", "sh", "-c", script};
  }
  pid_t init() const {
    const std::vector<pid_t> children = children_of(port("a")->pid);
    return children.size() == 1 ? children[0] : -1;
  }

  std::unique_ptr<Tool> host_;
};
INSTANTIATE_TEST_SUITE_P(Each, EnterForeign, ::testing::Values(exec_settings().back()),
                         [](const auto& each) { return each.param.name; });

TEST_P(EnterForeign, OwnerOfTheHostCannotStopOrKillWhatHasRootsTerminal) {
  OnTerminal enter(line("echo in; read line; echo \"<$line>\"; exit 7"));
  ASSERT_TRUE(enter.shows("in")) << enter.screen();
  for (const char* signal : {"0", "STOP", "KILL", "TERM"}) {
    const ToolResult said = run_program(by_caller(
        {"sh", "-c", "kill -" + std::string(signal) + " $1", "sh", std::to_string(enter.pid())}));
    EXPECT_TRUE(contains(said.err, "not permitted")) << signal;
  }
  enter.type("typed\r");
  EXPECT_TRUE(enter.shows("<typed>")) << enter.screen();
  EXPECT_EQ(enter.finish(), 7);
}

TEST_P(EnterForeign, EachStreamOfTheProgramIsATerminalOfItsOwnThatBelongsToItsUser) {
  OnTerminal enter(
      line("for fd in 0 1 2; do stat -L -c \"stream $fd is %t:%T of %u,\" "
           "/proc/$$/fd/$fd; done"));
  EXPECT_EQ(enter.finish(), 0) << enter.screen();
  struct stat ours{};
  ASSERT_EQ(::stat(enter.terminal().c_str(), &ours), 0);
  std::ostringstream device;
  device << std::hex << major(ours.st_rdev) << ':' << minor(ours.st_rdev) << " of";
  EXPECT_FALSE(contains(enter.screen(), device.str()));
  for (const char* stream : {"stream 0 is ", "stream 1 is ", "stream 2 is "}) {
    const std::size_t at = enter.screen().find(stream);
    ASSERT_NE(at, std::string::npos) << enter.screen();
    const std::string said = enter.screen().substr(at, enter.screen().find(',', at) - at);
    EXPECT_TRUE(said.ends_with(" of 0")) << said;
  }
}

/// From now on keyctl fails in this process and those that it starts.
void fail_keyctl(unsigned number) {
  std::array<sock_filter, 4> filter{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_keyctl, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | number),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{filter.size(), filter.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) ::_exit(98);
}

TEST_P(EnterForeign, WhereTheKeysOfRootWouldStayNothingIsEntered) {
  OnTerminal refused(line("echo in"), [] { fail_keyctl(EDQUOT); });
  EXPECT_TRUE(refused.shows("keyring: Disk quota exceeded")) << refused.screen();
  EXPECT_EQ(refused.finish(), 125);
  OnTerminal keyless(line("echo in"), [] { fail_keyctl(ENOSYS); });
  EXPECT_TRUE(keyless.shows("in")) << "a kernel without keys" << keyless.screen();
  EXPECT_EQ(keyless.finish(), 0);
}

TEST_P(EnterForeign, KeysAreForTheProgramAgainWhenAShellContinuesIt) {
  if (!has_program("bash")) GTEST_SKIP() << "no bash here";
  OnTerminal shell({"bash", "--norc", "--noprofile", "--noediting", "-i"});
  std::string command;
  for (const std::string& word : line("echo up-$((6*7)); read l; echo \"<$l>\"; read l; exit 7")) {
    command += '\'' + word + "' ";
  }
  shell.type(command + '\n');
  ASSERT_TRUE(shell.shows("up-42")) << shell.screen();
  ASSERT_TRUE(eventually([&] { return shell.is_raw(); }));
  ASSERT_EQ(children_of(shell.pid()).size(), 1U);
  ::kill(children_of(shell.pid())[0], SIGSTOP);
  ASSERT_TRUE(shell.shows("Stopped")) << shell.screen();
  shell.type("stty sane\n");
  ASSERT_TRUE(eventually([&] { return !shell.is_raw(); }));
  shell.type("echo mine-$((6*7))\n");
  ASSERT_TRUE(shell.shows("mine-42")) << shell.screen();
  shell.type("fg\n");
  EXPECT_TRUE(eventually([&] { return shell.is_raw(); }));
  shell.type("typed\r");
  EXPECT_TRUE(shell.shows("<typed>")) << shell.screen();
  shell.type("\r");
  ASSERT_TRUE(shell.shows("$ ")) << shell.screen();
  shell.type("echo status-$?-\n");
  EXPECT_TRUE(shell.shows("status-7-")) << shell.screen();
}

// shmifctl wait --tcp, when the host that it asks leaves the bus.

constexpr const char* kAddress = "198.18.0.1/24";

class WaitForHost : public ExecRig {
 protected:
  /// Waits for a service that nobody offers yet. Returns when it has asked the host "a" for it.
  std::unique_ptr<Tool> wait_at(const std::string& timeout) const {
    auto wait =
        std::make_unique<Tool>(by_caller({shmifctl_path(), "wait", bus(), "--tcp", "198.18.0.1:80",
                                          "--from", "198.18.0.250", "--timeout", timeout}));
    // A question for the address, and further ones for the service.
    EXPECT_TRUE(eventually([&] {
      const BusInfo info = Bus::open(bus()).value().info();
      return std::ranges::any_of(info.ports, [](const PortInfo& each) {
        return each.link == LinkKind::ping && each.tx_frames >= 6;
      });
    }));
    return wait;
  }
};
INSTANTIATE_TEST_SUITE_P(Each, WaitForHost, ::testing::Values(exec_settings().front()),
                         [](const auto& each) { return each.param.name; });

TEST_P(WaitForHost, ThatHasLeftTheBusEndsAndNamesIt) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  Tool bridge(by_caller({shmifctl_path(), "bridge", "bus:" + bus(), "bus:" + bus("other")}));
  ASSERT_TRUE(eventually([&] { return ports_up(Bus::open(bus("other")).value().info()) == 1; }));
  const auto wait = wait_at("60");
  bridge.signal(SIGKILL);  // its port stays in the table, but no address is behind it any more
  bridge.finish();
  host->signal(SIGKILL);
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(contains(said.err, "the host \"a\", which had the address, has left the bus"));
  EXPECT_FALSE(contains(said.err, "within"));
}

TEST_P(WaitForHost, GoesOnWithAnotherHostThatHasTheAddress) {
  if (!has_program("busybox")) GTEST_SKIP() << "no busybox here";
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  const auto other = start("b", "PATH=$PATH:/usr/sbin:/sbin; until [ -e " + file("go") +
                                    " ]; do sleep 0.02; done; ip address add " + kAddress +
                                    " dev tap0 && echo taken; until [ -e " + file("serve") +
                                    " ]; do sleep 0.02; done; exec busybox httpd -f -p 80 -h /usr");
  const auto wait = wait_at("60");
  std::ofstream(file("go")).close();
  ASSERT_TRUE(other->wait_for("taken"));
  host->signal(SIGKILL);
  host->finish();
  // For longer than it would look for another one: it has found that.
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  std::ofstream(file("serve")).close();
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 0) << said.err;
}

TEST_P(WaitForHost, GoesOnIfTheAddressMayBeBehindABridge) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  Tool bridge(by_caller({shmifctl_path(), "bridge", "bus:" + bus(), "bus:" + bus("other")}));
  ASSERT_TRUE(eventually([&] { return ports_up(Bus::open(bus("other")).value().info()) == 1; }));
  const auto wait = wait_at("4");
  host->signal(SIGKILL);
  const ToolResult said = wait->finish();
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(contains(said.err, "within 4 s: no host on the bus has the address"));
}

/// A wait of which only the bus tells when it has begun.
class WaitForPort : public WaitForHost {
 protected:
  std::unique_ptr<Tool> waiting(Words options) const {
    options.insert(options.begin(), {shmifctl_path(), "wait", bus()});
    return std::make_unique<Tool>(by_caller(std::move(options)));
  }
  /// It ended by itself, because a host has gone, not because the time was over.
  static void expect_gone(Tool& wait, const std::string& what, const std::string& why) {
    const ToolResult said = wait.finish();
    EXPECT_FALSE(said.timed_out);
    EXPECT_EQ(said.status, 1) << said.err;
    EXPECT_EQ(said.err.find("shmifctl: " + what), 0U) << said.err;
    EXPECT_TRUE(contains(said.err, ": " + why + " ("));
    EXPECT_FALSE(contains(said.err, "within"));
  }
};
INSTANTIATE_TEST_SUITE_P(Each, WaitForPort, ::testing::Values(exec_settings().front()),
                         [](const auto& each) { return each.param.name; });

constexpr const char* kEnded = "its host was on the bus, and has ended or left it";

TEST_P(WaitForPort, ThatIsUpEndsWhenItsHostEndsBeforeTheServiceIsThere) {
  const auto host = start("a", "exec sleep 601", {"--ip", kAddress});
  const auto wait = waiting({"--port", "a", "--tcp", "198.18.0.1:80", "--from", "198.18.0.250"});
  ASSERT_TRUE(eventually([&] {  // it asks, so it has seen the port
    const BusInfo info = Bus::open(bus()).value().info();
    return std::ranges::any_of(info.ports, [](const PortInfo& each) {
      return each.link == LinkKind::ping && each.tx_frames >= 6;
    });
  }));
  host->signal(SIGTERM);
  expect_gone(*wait, "cannot reach TCP service 198.18.0.1:80", kEnded);
}

TEST_P(WaitForPort, OfAProcessThatEndsEndsWithItThoughItNeverSawThePort) {
  Tool host(by_caller({"sleep", "601"}));
  const std::string pid = std::to_string(host.pid());
  const auto wait = waiting({"--port", "web", "--pid", pid});
  EXPECT_FALSE(wait->wait_for("anything", std::chrono::milliseconds(100))) << "it waits";
  host.signal(SIGKILL);  // and nobody asks for its status
  const std::string why = "process " + pid + ", which --pid names, has ended";
  expect_gone(*wait, "cannot see port \"web\" up on bus", why);
  host.finish();
  expect_gone(*waiting({"--port", "web", "--pid", pid}), "cannot see port \"web\"", why);
  expect_gone(*waiting({"--tcp", "198.18.0.1:80", "--from", "198.18.0.250", "--pid", pid}),
              "cannot reach TCP service 198.18.0.1:80", why);
  Tool none(
      by_caller({shmifctl_path(), "wait", file("none"), "--tcp", "198.18.0.1:80", "--pid", pid}));
  expect_gone(none, "cannot reach TCP service 198.18.0.1:80", why);
  const auto web = start("web", "exec sleep 601");
  EXPECT_EQ(waiting({"--port", "web", "--pid", pid})->finish().status, 0)
      << "what it waits for is there";
}

TEST_P(WaitForPort, OfAKilledHostGivesAnotherTheTimeToTakeTheName) {
  auto host = start("a", "exec sleep 601");
  host->signal(SIGKILL);
  host->finish();
  ASSERT_FALSE(port("a")) << "its row is still there, but nobody lives there";
  const auto with_pid = waiting({"--port", "a", "--pid", std::to_string(::getpid())});
  const auto wait = waiting({"--port", "a"});
  expect_gone(*wait, "cannot see port \"a\" up on bus",
              "the port's process is gone, and no other took the name");
  host = start("a", "exec sleep 601");
  EXPECT_EQ(with_pid->finish().status, 0) << "the process of --pid may still take it";
}

}  // namespace
}  // namespace shmif::test
