// Which words bash is offered, at each place of a command line where it may ask.

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/support/paths.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tools/relay/links.hpp"

namespace shmif::test {
namespace {

using Offer = std::set<std::string>;

/// What the completion of `program` offers behind these words, which are cut as readline cuts them.
Offer offered(const std::string& program, const std::string& words,
              const std::string& directory = "/") {
  const std::string path = program == "shmifctl" ? shmifctl_path() : shmifperf_path();
  const std::string script = "cd \"$3\"; PATH=${1%/*}:$PATH; . \"$2\"; COMP_WORDS=(" + program +
                             ' ' + words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _" + program +
                             "; printf '%s\\n' \"${COMPREPLY[@]}\"";
  const ToolResult result = run_program(
      {"bash", "-c", script, "bash", path, in_source("tools/") + program + ".bash", directory});
  EXPECT_EQ(result.err, "") << words;
  Offer offer;
  std::istringstream in(result.out);
  for (std::string word; std::getline(in, word);) {
    if (word.empty()) continue;
    EXPECT_TRUE(offer.insert(word).second) << "twice: " << word;
  }
  return offer;
}

const Offer kLevels{"trace", "debug", "info", "warning", "error", "critical", "off"};

TEST(Completion, OfShmifctlKnowsTheWordsOfEachOptionAndNoOthers) {
  const std::string ctl = "shmifctl";
  EXPECT_EQ(offered(ctl, "--log-level ''"), kLevels);
  EXPECT_EQ(offered(ctl, "--log-level ="), kLevels);
  EXPECT_EQ(offered(ctl, "--log-level = wa"), Offer{"warning"});
  EXPECT_EQ(offered(ctl, "--log-level info du"), Offer{"dump"});
  EXPECT_EQ(offered(ctl, "--debug wire,link,rel"), Offer{"wire,link,relay"});
  EXPECT_EQ(offered(ctl, "--debug wire,wi"), Offer{});
  EXPECT_EQ(offered(ctl, "--debug = al"), Offer{"all"});
  EXPECT_EQ(offered(ctl, "--debug wire du"), Offer{"dump"});
  EXPECT_EQ(offered(ctl, "inject x --timing ''"), (Offer{"original", "flat", "x2"}));
  EXPECT_EQ(offered(ctl, "exec x --via ''"), (Offer{"tap", "veth"}));
  EXPECT_EQ(offered(ctl, "dump x --resume ''"), (Offer{"first", "newest"}));
  EXPECT_EQ(offered(ctl, "top x --sort ''"), (Offer{"loss", "lag", "tx", "rx", "name", "slot"}));
  EXPECT_EQ(offered(ctl, "create x --format ''"), (Offer{"shmif", "netbsd"}));
  EXPECT_EQ(offered(ctl, "dump x --format ''"), (Offer{"pcap", "pcapng"}));
  EXPECT_EQ(offered(ctl, "up x --keep ''"), (Offer{"failed", "always"}));
  EXPECT_EQ(offered(ctl, "help v"), Offer{"values"});
  EXPECT_TRUE(offered(ctl, "help ''").contains("values"));
  EXPECT_FALSE(offered(ctl, "help ''").contains("--help"));
  EXPECT_FALSE(offered(ctl, "''").contains("values"));
  EXPECT_EQ(offered(ctl, "create --fl"), Offer{"--flow"});
  EXPECT_EQ(offered(ctl, "create x --flow pause --pa"), Offer{"--patience"});
  EXPECT_EQ(offered(ctl, "exec x -- ls --"), Offer{}) << "that is another program's line";
  EXPECT_EQ(offered(ctl, "stat ''"), Offer{}) << "files are readline's own";
  Offer links;
  for (const tools::LinkRow& row : tools::link_rows()) {
    links.insert(row.prefix());
    if (row.listens() && row.join != nullptr) links.insert(row.prefix() + "connect=");
  }
  EXPECT_EQ(offered(ctl, "bridge ''"), links);
  EXPECT_EQ(offered(ctl, "bridge bus : /dev/shm/b pc"), Offer{"pcap:"});
  EXPECT_EQ(offered(ctl, "bridge packet : l"), Offer{"lo"});
  EXPECT_FALSE(offered(ctl, "bridge tap :").contains("lo")) << "no TAP device";
}

TEST(Completion, OfShmifctlAsksTheBusThatTheLineNames) {
  const BusRig rig, other;
  const Port alice = rig.port("alice"), bob = rig.port("bob"), carol = other.port("carol");
  const std::string ctl = "shmifctl";
  EXPECT_EQ(offered(ctl, "ping " + rig.path() + " --to ''"), (Offer{"alice", "bob"}));
  EXPECT_EQ(offered(ctl, "ping " + rig.path() + " --to = b"), Offer{"bob"});
  EXPECT_EQ(offered(ctl, "dump " + other.path() + " --port alice --port ''"), Offer{"carol"});
  for (const std::string command : {"fault ", "link ", "move "})
    EXPECT_EQ(offered(ctl, command + rig.path() + " ''"), (Offer{"alice", "bob"}));
  EXPECT_EQ(offered(ctl, "link " + rig.path() + " alice --d"), (Offer{"--debug", "--down"}));
  EXPECT_EQ(offered(ctl, "partition " + rig.path() + " alice ''"), (Offer{"/", "bob"}));
  EXPECT_EQ(offered(ctl, "--log-level error wait bus --port ''", rig.directory()),
            (Offer{"alice", "bob"}));
  EXPECT_EQ(offered(ctl, "ping " + rig.file("none") + " --to ''"), Offer{});
  EXPECT_EQ(offered(ctl, "stop " + rig.path() + " ''"), Offer{}) << "no port of these is a host";
}

TEST(Completion, OfShmifctlKnowsTheNamesOfLabs) {
  const TempDir directory;
  const std::string folder = directory.file("shmif");
  std::filesystem::create_directory(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
  // Other labs may run beside this test.
  const std::string begin = "lab" + std::to_string(::getpid()) + '-';
  for (const std::string end : {"one", "two"}) {
    std::ofstream(folder + '/' + begin + end + ".json")
        << R"({"name": ")" << begin << end << R"(", "file": "/x.toml", "results": "/x.out",
               "pid": 1, "started": 1, "ready": true, "buses": [], "hosts": [], "groups": []})";
  }
  ::setenv("XDG_RUNTIME_DIR", directory.path().c_str(), 1);
  const std::string ctl = "shmifctl";
  for (const std::string command : {"down ", "serve "}) {
    EXPECT_EQ(offered(ctl, command + begin), (Offer{begin + "one", begin + "two"})) << command;
    EXPECT_EQ(offered(ctl, command + "--timeout 5 " + begin + "t"), Offer{begin + "two"});
    EXPECT_EQ(offered(ctl, command + "/dev/null " + begin), Offer{}) << "a path was given";
  }
  EXPECT_EQ(offered(ctl, "stat " + begin), Offer{});
}

TEST(Completion, OfShmifperfKnowsOptionsAndTheirWords) {
  const std::string perf = "shmifperf";
  const Offer commands{"capabilities", "compare", "heat",   "membw", "options", "report",
                       "run",          "sample",  "server", "stat",  "why",     "help"};
  Offer first = commands;
  first.insert({"--help", "--version", "--log-level", "--debug"});
  EXPECT_EQ(offered(perf, "''"), first);
  Offer topics = commands;
  topics.insert("values");
  EXPECT_EQ(offered(perf, "help ''"), topics);
  EXPECT_EQ(offered(perf, "--log-level ''"), kLevels);
  EXPECT_EQ(offered(perf, "--log-level info com"), Offer{"compare"});
  EXPECT_EQ(offered(perf, "--debug process,pl"), (Offer{"process,place", "process,plan"}));
  EXPECT_EQ(offered(perf, "run --debug = sea"), Offer{"search"});
  EXPECT_EQ(offered(perf, "--debug all com"), Offer{"compare"});
  EXPECT_EQ(offered(perf, "server --allow"), (Offer{"--allow-exec", "--allow-live"}));
  EXPECT_EQ(offered(perf, "run --profile = v"), Offer{"voip"});
  EXPECT_EQ(offered(perf, "membw --source ''"), (Offer{"pmu", "resctrl", "software"}));
  EXPECT_EQ(offered(perf, "heat --backend ''"),
            (Offer{"auto", "client", "written", "clear_refs", "damon"}));
  EXPECT_EQ(offered(perf, "membw --report w"), Offer{"writes"});
  EXPECT_EQ(offered(perf, "membw --load ''"),
            (Offer{"fill", "fill:op=read", "fill:op=write", "fill:op=copy"}));
  EXPECT_EQ(offered(perf, "run --engi"), Offer{"--engine="});
  EXPECT_EQ(offered(perf, "run --rw ''"), (Offer{"tx", "rx", "txrx", "echo", "pingpong"}));
  EXPECT_EQ(offered(perf, "options traf"), Offer{"traffic"});
  EXPECT_EQ(offered(perf, "run --engine = bus,u"), (Offer{"bus,unix", "bus,udp"}));
  EXPECT_EQ(offered(perf, "options rate_iops_"), Offer{"rate_iops_min"});
}

}  // namespace
}  // namespace shmif::test
