// SHMIF_BUS: the bus of a line that names none.

#include "tests/support/paths.hpp"
#include "tools/common/command.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tools/common/bus_lines.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

using Line = Words;

/// SHMIF_BUS while this exists, for this process and those that it starts. Otherwise no test has it
/// (tests/support/main.cpp).
class BusVariable {
 public:
  explicit BusVariable(const std::string& value) {
    ::setenv(tools::kBusVariable, value.c_str(), 1);
  }
  BusVariable(const BusVariable&) = delete;
  BusVariable& operator=(const BusVariable&) = delete;
  ~BusVariable() { ::unsetenv(tools::kBusVariable); }
};

std::string help_of(const std::string& command) {
  return run_tool({command, "--help"}).out;
}

TEST(DefaultBus, IsForEveryCommandThatBeginsWithABusButDestroy) {
  const std::string help = run_tool({"--help"}).out;
  EXPECT_TRUE(contains(help, "SHMIF_BUS"));
  std::istringstream lines(help.substr(help.find("\ncommands:\n") + 11));
  std::size_t found = 0;
  for (std::string line, command; std::getline(lines, line) && line.starts_with("  ");) {
    std::istringstream(line) >> command;
    if (command == "help") continue;
    const std::string text = help_of(command);
    const std::string usage = text.substr(0, text.find('\n'));
    const bool begins_with_bus =
        contains(usage, "[OPTION]... PATH") || contains(usage, "[OPTION]... LAB|PATH");
    const bool takes_it = begins_with_bus && command != "destroy";
    EXPECT_EQ(std::ranges::count(kBusLines, command, &BusLine::command), takes_it ? 1 : 0)
        << command << ": is it in bus_lines.hpp?";
    EXPECT_EQ(contains(text, "If PATH is left out"), takes_it) << text;
    found += takes_it ? 1U : 0U;
  }
  EXPECT_EQ(found, kBusLines.size());
}

TEST(DefaultBus, ThatIsNotThereIsRefusedWithItsOriginAndTheLackOfOneWithTheVariable) {
  const TempDir directory;
  const std::string none = directory.file("folder") + "/bus";
  write_capture(directory.file("frames"), {arp_request()});
  for (const auto& [command, rest, stays] : kBusLines) {
    SCOPED_TRACE(command);
    Line line = Line{command} + rest;
    std::ranges::replace(line, "/dev/null", directory.file("frames"));
    Line lacking{command};
    if (command == "exec" || command == "enter") lacking.insert(lacking.end(), {"--", "true"});
    {
      const BusVariable empty("");
      const ToolResult unset = run_tool(lacking);
      EXPECT_EQ(unset.status, 2);
      EXPECT_TRUE(contains(unset.err, "or set SHMIF_BUS and leave out the path"));
    }
    const BusVariable variable(none);
    const ToolResult refused = run_tool(line);
    EXPECT_TRUE(refused.status != 0 && refused.status != 2) << refused.err;
    const bool has_origin = contains(refused.err, none + " (from SHMIF_BUS)") ||
                            contains(refused.err, none + "\" (from SHMIF_BUS)");
    EXPECT_TRUE(has_origin) << refused.err;
    EXPECT_EQ(count_of_lines(refused.err), 1U) << refused.err;
  }
}

TEST(DefaultBus, IsTakenByLinesThatNameOnlyThePorts) {
  const BusRig rig;
  const Port web = rig.port("web"), db = rig.port("db");
  const BusVariable variable(rig.path());
  // These ports apply no changes: the answer is about the port, so the bus was found.
  for (const Line& line : {Line{"fault", "web", "loss=5%", "--timeout", "0.01"},
                           {"fault", "web", "--none", "--timeout", "0.01"},
                           {"link", "web", "--down", "--timeout", "0.01"},
                           {"partition", "web", "/", "db", "--timeout", "0.01"}}) {
    const ToolResult said = run_tool(line);
    EXPECT_EQ(said.status, 1);
    EXPECT_TRUE(contains(said.err + said.out, "web")) << said.err;
    EXPECT_FALSE(contains(said.err, "No such file"));
  }
  EXPECT_TRUE(contains(run_tool({"fault", "web"}).out, "port web: "));
  EXPECT_TRUE(contains(run_tool({"stop", "nobody"}).err, "cannot find host \"nobody\""));
  EXPECT_TRUE(contains(run_tool({"stat", "--json"}).out, "\"path\": \"" + rig.path() + '"'));
}

TEST(DefaultBus, ChangesNothingAboutALineThatNamesItsBus) {
  const BusRig rig, other;
  const Port web = rig.port("web"), far = other.port("far");
  const BusVariable variable(other.path());
  EXPECT_TRUE(contains(run_tool({"stat", rig.path()}).out, "web"));
  EXPECT_TRUE(contains(run_tool({"fault", rig.path(), "web"}).out, "port web: "));
  const ToolResult absent = run_tool({"stop", rig.path(), "far"});
  EXPECT_TRUE(contains(absent.err, "cannot find host \"far\" on bus " + rig.path() + ':'));
  // One word is the bus where others may follow.
  const ToolResult dump = run_tool({"dump", rig.file("tcp"), "--timeout", "0"});
  EXPECT_TRUE(contains(dump.err, rig.file("tcp") + ':'));
  for (const Line& line : {Line{"stop", "web", "db"}, {"dump", "tcp"}, {"serve", "lab"}}) {
    const ToolResult refused = run_tool(line);
    EXPECT_EQ(refused.status, 1) << line[0];
    EXPECT_FALSE(contains(refused.err, other.path()));
  }
  const ToolResult one_more = run_tool({"stat", rig.path(), "x"});
  EXPECT_TRUE(contains(one_more.err, "\"x\" is one argument too many"));
}

TEST(DefaultBus, IsNotRemovedByALineThatDoesNotNameIt) {
  const BusRig rig;
  const BusVariable variable(rig.path());
  const ToolResult refused = run_tool({"destroy"});
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(refused.err,
            "shmifctl: destroy: too few arguments (give PATH); see 'shmifctl destroy --help'\n");
  EXPECT_TRUE(std::filesystem::exists(rig.path()));
}

TEST(DefaultBus, IsTheLinkWithoutAPath) {
  const BusRig rig;
  write_capture(rig.file("in.pcap"), {arp_request()});
  const Line line{"bridge", "pcap:" + rig.file("in.pcap"), "bus:"};
  const ToolResult unset = run_tool(line);
  EXPECT_EQ(unset.status, 2);
  EXPECT_TRUE(contains(unset.err, "\"bus:\" is not a link (bus:PATH, "));
  EXPECT_TRUE(contains(unset.err, "; or set SHMIF_BUS)"));
  {
    const BusVariable variable(rig.path());
    const ToolResult carried = run_tool(line);
    EXPECT_EQ(carried.status, 0) << carried.err;
    EXPECT_EQ(Bus::open(rig.path()).value().info().frames, 1U);
  }
  const BusVariable wrong(rig.file("none"));
  EXPECT_TRUE(contains(run_tool(line).err, rig.file("none") + " (from SHMIF_BUS)"));
}

}  // namespace
}  // namespace shmif::test
