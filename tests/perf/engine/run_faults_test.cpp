// Faults act for every engine: what they lose does not arrive, and is counted.

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <ostream>
#include <stdexcept>
#include <string>

#include "perf/engine/engine.hpp"
#include "shmif/bus.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {

/// The name of a test has this in it; an address would differ from run to run.
static void PrintTo(const Engine* engine, std::ostream* out) {
  *out << engine->name;
}

}  // namespace shmif::perf

namespace shmif::perf::run_faults {
namespace {

using test::failed;
using test::flow_to;
using test::job_of;
using test::passed;
using test::run_text;

/// What a job needs to send on each engine, and the job that receives it; "" if the run makes one.
struct EngineCase {
  std::string options;
  std::string receiver = "j.sink";
};

std::map<EngineKind, EngineCase> cases(const test::TempDir& directory) {
  const std::string one = directory.file("one"), other = directory.file("other");
  return {{EngineKind::bus, {}},
          {EngineKind::tap, {}},
          {EngineKind::packet, {}},
          {EngineKind::unix_pair, {}},
          {EngineKind::udp, {}},
          {EngineKind::stream, {}},
          {EngineKind::dgram, {"socket=" + one + ',' + other + ',' + other + ',' + one + '\n'}},
          {EngineKind::pcap, {"rw=tx\nfilename=" + directory.file("out.pcap") + '\n', ""}},
          {EngineKind::null, {"rw=txrx\n", "j"}},
          {EngineKind::vde, {"socket=shmif://" + directory.file("bus") + '\n'}},
          {EngineKind::host, {}}};
}

/// Makes the bus that is the VDE network, and lets libvdeplug find the plugin for it.
#ifdef SHMIF_HAS_VDE
bool has_vde_network(const test::TempDir& directory) {
  Bus::create(directory.file("bus"), {}).value();
  return ::setenv("VDEPLUGIN_PATH", shmif::test::in_build("tools").c_str(), 1) == 0;
}
#else
bool has_vde_network(const test::TempDir&) {
  return false;
}
#endif

const FaultsMade& only_faults(const RunResult& result) {
  if (result.links.size() != 1) throw std::runtime_error("not one link with faults");
  return result.links.front().faults;
}

class FaultsOnEngine : public ::testing::TestWithParam<const Engine*> {};

/// Frames of a host's kernel are lost, too.
constexpr std::uint64_t kOfKernel = 20;

TEST_P(FaultsOnEngine, LoseWhatTheySayInEachDirectionThatItHas) {
  const Engine& engine = *GetParam();
  const test::TempDir directory;
  const auto all = cases(directory);
  ASSERT_TRUE(all.contains(engine.kind)) << "whoever adds an engine adds it here";
  if (engine.kind == EngineKind::vde && !has_vde_network(directory))
    GTEST_SKIP() << "no plugin for libvdeplug is built under sanitizers";
  const EngineCase& one = all.at(engine.kind);
  const std::string job = std::string("[j]\nengine=") + engine.name +
                          "\nnumber_ios=40\ndrain_time=100ms\n" + one.options;
  const RunResult sent = run_text(job + "fault=loss=100%\n");
  if (failed(sent, "/dev/net/tun")) GTEST_SKIP() << "no TUN device";
  if (one.receiver == "j.sink") {
    EXPECT_TRUE(failed(sent, "job \"j.sink\": moved no frame"));
  } else {
    EXPECT_TRUE(passed(sent));
  }
  EXPECT_EQ(job_of(sent, "j").tx.frames, 40U) << "for the job, they are sent";
  EXPECT_GE(only_faults(sent).lost, 40U);
  EXPECT_LE(only_faults(sent).lost, 40U + kOfKernel);
  if (one.receiver.empty()) return;  // the job that reads the file is another run
  EXPECT_EQ(flow_to(sent, one.receiver).received, 0U);
  EXPECT_EQ(flow_to(sent, one.receiver).lost, 40U);
  // The same for frames that the job receives: from itself, or from its peer.
  const RunResult received =
      run_text(engine.kind == EngineKind::null ? job + "fault_rx=loss=100%\n"
                                               : job + "rw=txrx\nfault_rx=loss=100%\n");
  EXPECT_TRUE(passed(received));
  EXPECT_GE(only_faults(received).lost, 40U);
  EXPECT_LE(only_faults(received).lost, 40U + kOfKernel);
  EXPECT_EQ(flow_to(received, "j").received, 0U);
  EXPECT_EQ(flow_to(received, "j").lost, 40U);
}

INSTANTIATE_TEST_SUITE_P(Each, FaultsOnEngine, ::testing::ValuesIn(engines()),
                         [](const auto& each) { return std::string(each.param->name); });

}  // namespace
}  // namespace shmif::perf::run_faults
