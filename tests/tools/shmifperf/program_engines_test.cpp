// shmifperf run over sockets and VDE: through the bridges of shmifctl and the plugin, on one bus.

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// A socket for datagrams has room for ten, which at 1000 a second a busy machine overruns.
constexpr const char* kSlowly = "--rate_iops=100";

class ProgramEngines : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(run_tool({"create", bus_}).status, 0); }

  std::string file(const std::string& name) const { return directory_.file(name); }
  std::unique_ptr<Tool> bridge(const std::string& link) const {
    auto tool = std::make_unique<Tool>(Words{shmifctl_path(), "bridge", "bus:" + bus_, link});
    EXPECT_TRUE(tool->wait_for("ready")) << tool->so_far().err;
    return tool;
  }
  /// A job of 300 frames. They wait until the bridges know where the receiver is.
  Json run(const Words& options) const {
    Words words{"run",
                "--name=j",
                "--number_ios=300",
                "--rate_iops=1000",
                "--start_delay=2s",
                "--drain_time=10",
                "--output-format=json",
                "--output=" + file("result")};
    words.insert(words.end(), options.begin(), options.end());
    const ToolResult ran = shmifperf(words);
    EXPECT_EQ(ran.status, 0) << ran.err;
    return json_of_file(file("result"));
  }
  static void expect_all_came(const Json& result) {
    const Json& loss = job_of(result, "j.sink").at("loss");
    EXPECT_EQ(loss.at("sent_frames"), 300);
    EXPECT_EQ(loss.at("received_frames"), 300);
    EXPECT_EQ(loss.at("duplicate_frames"), 0);
    EXPECT_EQ(loss.at("corrupt_frames"), 0);
    EXPECT_EQ(job_of(result, "j.sink").at("rx").at("foreign_frames"), 0)
        << "announcements are for nobody";
  }

  TempDir directory_;
  const std::string bus_ = directory_.file("bus");
};

TEST_F(ProgramEngines, AStreamGoesThroughOneBridgeForEachJob) {
  const auto one = bridge("stream:" + file("q"));
  const auto other = bridge("stream:" + file("r"));
  expect_all_came(run({"--engine=stream", "--socket=" + file("q") + ',' + file("r")}));
  for (Tool* tool : {one.get(), other.get()}) {
    tool->signal(SIGTERM);
    const std::string said = tool->finish().out;
    EXPECT_NE(said.find("1 connection"), std::string::npos) << said;
  }
}

TEST_F(ProgramEngines, DatagramsGoThroughABridgeForEachJob) {
  const auto one = bridge("dgram:" + file("a") + ',' + file("b"));
  const auto other = bridge("dgram:" + file("c") + ',' + file("d"));
  expect_all_came(
      run({kSlowly, "--engine=dgram",
           "--socket=" + file("b") + ',' + file("a") + ',' + file("d") + ',' + file("c")}));
}

TEST_F(ProgramEngines, VdeGoesThroughThePlugin) {
#ifdef SHMIF_HAS_VDE
  ASSERT_EQ(::setenv("VDEPLUGIN_PATH", in_build("tools").c_str(), 1), 0);
  expect_all_came(run({kSlowly, "--engine=vde", "--socket=shmif://" + bus_}));
#else
  GTEST_SKIP() << "built without libvdeplug";
#endif
}

TEST_F(ProgramEngines, SayWhichProgramIsMissing) {
  for (const auto& [engine, socket, says] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"stream", file("none"), "(start the program that listens there first)"},
           {"vde", "", "engine=vde needs socket=URL of a VDE network"},
           {"dgram", "", "engine=dgram needs socket=LOCAL,REMOTE"},
           {"dgram", "a,b", "socket=a,b: give socket=LOCAL,REMOTE"},
           {"stream", "a,b,c", "socket=a,b,c: give one place"},
           {"stream", "a,", "socket=a,: give one place"},
           {"dgram", "/tmp/a,127.0.0.1:9,/tmp/b,127.0.0.1:9", "different families"}}) {
    Words words{"run", "--name=j", "--number_ios=1", "--engine=" + engine};
    if (!socket.empty()) words.push_back("--socket=" + socket);
    const ToolResult result = shmifperf(words);
    EXPECT_NE(result.status, 0);
    EXPECT_TRUE(has(result.out + result.err, says)) << result.out << result.err;
  }
}

}  // namespace
}  // namespace shmif::test
