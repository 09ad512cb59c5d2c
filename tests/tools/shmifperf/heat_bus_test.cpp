// The heat of a bus: by whom it can be watched, and what is said of those who cannot.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/columns.hpp"
#include "base/unique_fd.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tests/tools/shmifperf/heat_rig.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// SHMIF_HEAT names a directory for the programs that are started meanwhile.
class TakingPart {
 public:
  TakingPart() { ::setenv("SHMIF_HEAT", dir_.path().c_str(), 1); }
  TakingPart(const TakingPart&) = delete;
  TakingPart& operator=(const TakingPart&) = delete;
  ~TakingPart() { ::unsetenv("SHMIF_HEAT"); }

 private:
  const TempDir dir_;
};

TEST(HeatOfABus, ShowsWhoTakesPartAndWhyOthersDoNot) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const TempDir dir;
  const std::string bus = dir.file("bus0");
  ASSERT_EQ(run_program({shmifctl_path(), "create", bus}).status, 0);
  const auto answer = [&](const char* name) {
    return std::make_unique<Tool>(Words{shmifctl_path(), "ping", bus, "--respond", "--name", name});
  };
  std::unique_ptr<Tool> taking_part;
  {
    const TakingPart here;
    taking_part = answer("rx");
    ASSERT_TRUE(taking_part->wait_for("answering"));

    // The directory is found by itself, in the process's environment.
    ::unsetenv("SHMIF_HEAT");
    const auto other = answer("plain");
    ASSERT_TRUE(other->wait_for("answering"));
    const ToolResult picture = run_program({shmifctl_path(), "heat", bus});
    ASSERT_EQ(picture.status, 0) << picture.err;
    EXPECT_NE(picture.out.find("rx: shmifctl, process " + std::to_string(taking_part->pid())),
              std::string::npos)
        << picture.out;
    EXPECT_NE(picture.out.find("plain, process " + std::to_string(other->pid()) +
                               "\n  not measured: it was started without SHMIF_HEAT"),
              std::string::npos)
        << picture.out;
    EXPECT_EQ(picture.out.find('\x1b'), std::string::npos) << "colours only on terminals";
    const ToolResult json = shmifperf({"heat", "--bus", bus, "--windows", "2", "--json"});
    ASSERT_EQ(json.status, 0) << json.err;
    const Json all = Json::parse(json.out, nullptr, false);
    ASSERT_EQ(all["targets"].size(), 2U) << json.out;
    for (const Json& each : all["targets"]) {
      const bool is_plain = each["target"]["pid"] == other->pid();
      EXPECT_EQ(each["windows"].size(), is_plain ? 0U : 2U);
      EXPECT_EQ(each["target"]["reason"].is_null(), !is_plain);
    }
  }
}

/// A bus that anybody may use, with a port of a process that takes part.
class BusOfOthers {
 public:
  /// `prefix`: what makes the process one of another user, or of another namespace.
  explicit BusOfOthers(const Words& prefix) {
    ::chmod(dir_.path().c_str(), 0777);
    std::filesystem::create_directory(clients());
    ::chmod(clients().c_str(), 0777);
    EXPECT_EQ(run_program(with(prefix, {shmifctl_path(), "create", bus()})).status, 0);
    ::setenv("SHMIF_HEAT", clients().c_str(), 1);
    port_ = std::make_unique<Tool>(
        with(prefix, {shmifctl_path(), "ping", bus(), "--respond", "--name", "rx"}));
    ::unsetenv("SHMIF_HEAT");
    EXPECT_TRUE(port_->wait_for("answering"));
    ::chmod(bus().c_str(), 0666);
  }
  static Words with(Words prefix, const Words& words) {
    prefix.insert(prefix.end(), words.begin(), words.end());
    return prefix;
  }
  /// What `shmifperf heat --bus` says to somebody else.
  ToolResult heat(const Words& prefix, const Words& more = {}) const {
    return run_program(with(with(prefix, {shmifperf_path(), "heat", "--bus", bus(), "--windows",
                                          "2", "--attrs", kHeatAttributes, "--json"}),
                            more));
  }
  std::string bus() const { return dir_.file("bus0"); }
  std::string clients() const { return dir_.file("clients"); }
  pid_t pid() const { return port_->pid(); }

 private:
  const TempDir dir_;
  std::unique_ptr<Tool> port_;
};

/// A picture in which the port's process has used and written the first page of the bus.
void expect_heat_of_port(const ToolResult& result, const BusOfOthers& others) {
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = Json::parse(result.out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["pid"], others.pid());
  EXPECT_EQ(json["target"]["source"], "client");
  EXPECT_EQ(json["target"]["precision"], "page");
  EXPECT_EQ(json["target"]["ranges"][0]["name"], "rx@" + others.bus());
  EXPECT_EQ(json["windows"].size(), 2U);
}

TEST(HeatOfABus, IsForOrdinaryUsersToo) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  const Words ordinary{"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all"};
  if (run_program(BusOfOthers::with(ordinary, {"test", "-x", shmifperf_path()})).status != 0) {
    GTEST_SKIP() << "another user cannot run " << shmifperf_path();
  }
  const BusOfOthers others(ordinary);
  expect_heat_of_port(others.heat(ordinary), others);
}

TEST(HeatOfABus, IsKnownAcrossUserNamespaces) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const Words inside{"unshare", "--user", "--map-root-user"};
  if (run_program(BusOfOthers::with(inside, {"true"})).status != 0) {
    GTEST_SKIP() << "no user namespaces here";
  }
  const BusOfOthers others(inside);
  expect_heat_of_port(others.heat({}), others);  // from outside
  // From another namespace, where the right to trace the process is missing.
  expect_heat_of_port(others.heat(inside, {"--clients", others.clients()}), others);
}

TEST(HeatOfABus, OfAnotherUserIsRefusedWithTheReason) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  const Words ordinary{"setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set=-all"};
  if (run_program(BusOfOthers::with(ordinary, {"test", "-x", shmifperf_path()})).status != 0) {
    GTEST_SKIP() << "another user cannot run " << shmifperf_path();
  }
  const BusOfOthers others({});
  const ToolResult hidden = others.heat(ordinary);
  EXPECT_EQ(hidden.status, 1);
  EXPECT_NE(hidden.err.find("process " + std::to_string(others.pid()) +
                            " was not measured: whether it shares its access heat is not known: "
                            "process " +
                            std::to_string(others.pid()) +
                            " belongs to another user (run this as its user, or give the "
                            "directory)"),
            std::string::npos)
      << hidden.err;
  ::chmod(others.clients().c_str(), 0700);
  const ToolResult closed = others.heat(ordinary, {"--clients", others.clients()});
  EXPECT_EQ(closed.status, 1);
  EXPECT_NE(closed.err.find("it shares no access heat in " + others.clients()), std::string::npos)
      << closed.err;
}

TEST(HeatOfABus, HasColoursOnATerminalUnlessTheUserWantsNone) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const TempDir dir;
  const std::string bus = dir.file("bus0");
  ASSERT_EQ(run_program({shmifctl_path(), "create", bus}).status, 0);
  std::unique_ptr<Tool> rx;
  {
    const TakingPart here;
    rx = std::make_unique<Tool>(Words{shmifctl_path(), "ping", bus, "--respond", "--name", "rx"});
    ASSERT_TRUE(rx->wait_for("answering"));
    Tool asking({shmifctl_path(), "ping", bus, "--to", "rx", "--count", "100000"});
    for (const bool none : {false, true}) {
      const std::string wish = none ? "NO_COLOR=1" : "NO_COLOR=";
      OnTerminal terminal(
          {"env", "-u", "SHMIF_HEAT", "TERM=xterm", wish, shmifctl_path(), "heat", bus}, 100, 40);
      EXPECT_EQ(terminal.status(), 0) << terminal.seen;
      EXPECT_NE(terminal.seen.find("rx: shmifctl, process "), std::string::npos) << terminal.seen;
      EXPECT_EQ(terminal.seen.find("\x1b[3") == std::string::npos, none) << terminal.seen;
    }
    asking.signal(SIGINT);
    asking.finish();
  }
}

/// The longest line of a picture.
std::size_t width_of(const std::string& picture) {
  std::istringstream lines(picture);
  std::size_t width = 0;
  for (std::string line; std::getline(lines, line);)
    width = std::max(width, base::columns_of(line));
  return width;
}

TEST(HeatOfABus, IsAsWideAsWishedAndOfTheDirectoryThatIsNamed) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const BusOfOthers others({});
  const auto heat = [&](const Words& wishes, const Words& more = {}) {
    return run_program(BusOfOthers::with(BusOfOthers::with(BusOfOthers::with({"env"}, wishes),
                                                           {shmifctl_path(), "heat", others.bus()}),
                                         more));
  };
  const ToolResult named =
      heat({"SHMIF_HEAT=/none", "COLUMNS=50"}, {"--clients", others.clients()});
  EXPECT_EQ(named.status, 0) << named.err;
  EXPECT_EQ(named.out.find("not measured"), std::string::npos) << named.out;
  const std::size_t narrow = width_of(named.out);
  const ToolResult led = heat({"SHMIF_HEAT=/none", "COLUMNS=100"});
  EXPECT_NE(led.out.find("not measured"), std::string::npos) << led.out;
  const ToolResult wide = heat({"COLUMNS=100"});
  EXPECT_EQ(wide.out.find("not measured"), std::string::npos) << wide.out;
  EXPECT_LT(narrow, width_of(wide.out)) << named.out << wide.out;
}

/// Whether the process has a handler for that signal.
bool catches(pid_t pid, int number) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigCgt:"))
      return (std::stoull(line.substr(7), nullptr, 16) >> (number - 1) & 1U) != 0;
  }
  return false;
}

TEST(HeatOfABus, ThatIsInterruptedEndsBySignal) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const BusOfOthers others({});
  for (const int number : {SIGINT, SIGTERM}) {
    Tool heat({shmifctl_path(), "heat", others.bus()});
    ASSERT_TRUE(eventually([&] { return catches(heat.pid(), number); }));
    heat.signal(number);
    EXPECT_EQ(heat.finish().status, 128 + number);
  }
}

TEST(HeatOfABus, EndsAtASignalThoughManyClientsNeverAnswer) {
  const TempBus bus;
  Tool plain({shmifctl_path(), "ping", bus.path(), "--respond", "--name", "plain"});
  ASSERT_TRUE(plain.wait_for("answering"));
  const TempDir clients;
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 200; ++i) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    clients.file("0-" + std::to_string(i)).copy(&address.sun_path[0], sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(socket.get(), 8), 0);
    silent.push_back(std::move(socket));
  }
  for (const Words& command :
       {Words{shmifctl_path(), "heat", bus.path(), "--clients", clients.path()},
        Words{shmifperf_path(), "heat", "--bus", bus.path(), "--clients", clients.path()}}) {
    Tool heat(command);
    // It has asked the first one, and so catches signals.
    pollfd asked{.fd = silent[0].get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&asked, 1, 60'000), 1);
    heat.signal(SIGTERM);
    const ToolResult ended = heat.finish();
    EXPECT_EQ(ended.status, 128 + SIGTERM) << ended.err;
    EXPECT_FALSE(ended.timed_out);
    for (const UniqueFd& socket : silent) {
      pollfd waiting{.fd = socket.get(), .events = POLLIN, .revents = 0};
      while (::poll(&waiting, 1, 0) == 1) UniqueFd(::accept(socket.get(), nullptr, nullptr));
    }
  }
}

TEST(HeatOfABus, OfWhichNobodyTakesPartFails) {
  const TempDir dir;
  const std::string bus = dir.file("bus0");
  ASSERT_EQ(run_program({shmifctl_path(), "create", bus}).status, 0);
  Tool plain({shmifctl_path(), "ping", bus, "--respond", "--name", "plain"});
  ASSERT_TRUE(plain.wait_for("answering"));
  const ToolResult result = shmifperf({"heat", "--bus", bus, "--windows", "1"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("was started without SHMIF_HEAT"), std::string::npos) << result.err;
  EXPECT_EQ(shmifperf({"heat", "--bus", bus, "-p", "1"}).status, 2);
  EXPECT_EQ(shmifperf({"heat", "--bus", bus, "--backend", "clear_refs"}).status, 2);
  EXPECT_EQ(shmifperf({"heat", "--bus", dir.file("none")}).status, 1);
}

TEST(HeatOfABus, OnWhichIsNobodySaysSoAndFails) {
  const TempBus bus;
  const ToolResult result = shmifperf({"heat", "--bus", bus.path(), "--json"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.err, "shmifperf: nothing was measured: no process is attached to " + bus.path() +
                            " (attach one that was started with SHMIF_HEAT, and watch again)\n");
  EXPECT_NE(result.out.find(R"("targets": [])"), std::string::npos) << result.out;
}

TEST(HeatOfABus, TheMonitorWatchesNoProcessThatAWriterPutsIntoTheTable) {
  const TempBus bus;
  Tool plain({shmifctl_path(), "ping", bus.path(), "--respond", "--name", "plain"});
  ASSERT_TRUE(plain.wait_for("answering"));
  const StayingChild bystander([] { return true; });
  const RawBus raw(bus.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  const ToolResult on =
      shmifperf({"heat", "--on", "--bus", bus.path(), "--control", bus.file("control")});
  EXPECT_EQ(on.status, 1) << on.out;
  EXPECT_NE(on.err.find("does not use this bus"), std::string::npos) << on.err;
}

}  // namespace
}  // namespace shmif::test
