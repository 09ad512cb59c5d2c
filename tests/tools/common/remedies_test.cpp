// Messages name a remedy that works: commands to copy, and what users of other programs look for.

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

/// The command that a message proposes within double quotation marks.
std::string proposed(const std::string& message) {
  const std::size_t begin = message.find("\"shmifctl ");
  const std::size_t end = message.find('"', begin + 1);
  if (begin == std::string::npos || end == std::string::npos) return {};
  return message.substr(begin + 1, end - begin - 1);
}

/// Runs a line of a shell in which `shmifctl` is the one under test.
ToolResult paste(const std::string& line) {
  const std::string folder = std::filesystem::path(shmifctl_path()).parent_path();
  return run_program({"env", "PATH=" + folder + ":/usr/bin:/bin", "sh", "-c", line});
}

TEST(Remedies, CommandsWithAPathCanBePasted) {
  const TempDir directory;
  for (const std::string name : {"a bus", "it's", "$HOME", "a;b"}) {
    const std::string path = directory.file(name);
    const ToolResult missing = run_tool({"wait", path, "--port", "web", "--timeout", "0"});
    const std::string create = proposed(missing.err);
    EXPECT_TRUE(create.starts_with("shmifctl create ")) << missing.err;
    EXPECT_EQ(paste(create).status, 0) << create;
    EXPECT_TRUE(Bus::open(path)) << create;
    const ToolResult silent = run_tool({"wait", path, "--port", "web", "--timeout", "0"});
    const std::string stat = proposed(silent.err);
    EXPECT_TRUE(stat.starts_with("shmifctl stat ")) << silent.err;
    EXPECT_EQ(paste(stat).status, 0) << stat;
    const ToolResult nobody = run_tool({"stop", path, "--port", "web"});
    EXPECT_EQ(paste(proposed(nobody.err)).status, 0) << nobody.err;
  }
  const ToolResult plain = run_tool({"wait", directory.file("b"), "--port", "x", "--timeout", "0"});
  EXPECT_TRUE(contains(plain.err, "'shmifctl create " + directory.file("b") + "'"));
}

TEST(Remedies, HabitsOfOtherProgramsAreAnswered) {
  const BusRig rig;
  struct Case {
    Words words;
    std::string answer;
  };
  const std::string bus = rig.path(), link = "bus:" + rig.path();
  for (const auto& [words, answer] : {
           Case{{"dump", bus, "-r", "x.pcap"}, "tcpdump -r FILE"},
           Case{{"dump", bus, "-i", "eth0"}, "shmifctl dump PATH"},
           Case{{"dump", bus, "-vv"}, "-e prints addresses"},
           Case{{"dump", bus, "-X"}, "-x prints the bytes"},
           Case{{"dump", bus, "-l"}, "printed at once"},
           Case{{"dump", bus, "-U"}, "written at once"},
           Case{{"dump", bus, "-p"}, "always hears"},
           Case{{"ping", bus, "web"}, "--to web"},
           Case{{"ping", bus, "198.18.0.1"}, "-- ping 198.18.0.1"},
           Case{{"ping", bus, "--to", "198.18.0.1"}, "-- ping 198.18.0.1"},
           Case{{"exec", bus, "--delay=7ms", "--", "true"}, "--fault delay=7ms"},
           Case{{"exec", "--loss", bus, "--", "true"}, "--fault loss=5%"},
           Case{{"exec", bus, "--bandwidth", "1Mbit", "--", "true"}, "--fault rate=1Mbit"},
           Case{{"bridge", "--loss=2%", link, link}, "--fault loss=2%"},
           Case{{"fault", bus, "web", "--loss", "2%"}, "after the port: loss=2%"},
       }) {
    const ToolResult r = run_tool(words);
    EXPECT_EQ(r.status, 2) << r.err;
    EXPECT_EQ(count_of_lines(r.err), 1) << r.err;
    EXPECT_TRUE(contains(r.err, answer));
  }
  EXPECT_EQ(run_tool({"dump", bus, "-nn", "--timeout", "0"}).status, 0);
  const ToolResult directory = run_tool({"create", rig.file("")});
  EXPECT_EQ(directory.status, 1);
  EXPECT_TRUE(contains(directory.err, "is a directory (name a new file in it)"));
}

TEST(Remedies, FiltersThatMeanNothingOnABusAreRefused) {
  const BusRig rig;
  for (const std::string filter : {"inbound", "outbound", "arp and inbound", "ifindex 1"}) {
    const ToolResult r = run_tool({"dump", rig.path(), "--timeout", "0", filter});
    EXPECT_EQ(r.status, 2) << filter << ": " << r.err;
    EXPECT_TRUE(contains(r.err, '"' + filter + '"'));
  }
  for (const std::string filter : {"arp", "vlan 5", "ether[0] & 1 = 0", "greater 100"}) {
    EXPECT_EQ(run_tool({"dump", rig.path(), "--timeout", "0", filter}).status, 0) << filter;
  }
}

}  // namespace
}  // namespace shmif::test
