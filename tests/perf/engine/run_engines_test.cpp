// The same load over every engine, in one run; by root and by an ordinary user.

#include <sys/prctl.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <ostream>

#include "perf/engine/engine.hpp"
#include "shmif/bus.hpp"
#include "tap/netns.hpp"
#include "tap/tap_link.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf {
namespace {

using test::Child;

TEST(RunEngines, SideBySideAllCountTheSame) {
  // So few that each socket has room for all, if its receiver has no CPU for long.
  constexpr std::uint64_t kFrames = 60;
  const RunResult result = run_text(
      "[j]\nengine=bus,tap,packet,unix,udp,null,host\nbs=100-1000\nrate_iops=2000\n"
      "number_ios=60\ndrain_time=200ms\n");
  if (failed(result, "/dev/net/tun")) GTEST_SKIP() << "no TUN device";
  EXPECT_TRUE(passed(result));
  std::uint64_t bytes = 0;
  for (const char* engine : {"bus", "tap", "packet", "unix", "udp", "host"}) {
    SCOPED_TRACE(engine);
    const JobResult& tx = job_of(result, std::string("j-") + engine);
    const JobResult& rx = job_of(result, std::string("j-") + engine + ".sink");
    EXPECT_EQ(tx.tx.frames, kFrames);
    if (bytes == 0) bytes = tx.tx.bytes;
    EXPECT_EQ(tx.tx.bytes, bytes) << "the same frames for each";
    EXPECT_EQ(rx.flows.at(0).received, kFrames);
    EXPECT_EQ(rx.latency->count(), kFrames);
    // Sockets keep no counts that could be compared.
    const bool counts = tx.engine != EngineKind::unix_pair && tx.engine != EngineKind::udp;
    EXPECT_EQ(tx.counts.agree, counts ? std::optional<bool>(true) : std::nullopt);
    EXPECT_EQ(rx.counts.agree, counts ? std::optional<bool>(true) : std::nullopt);
  }
  EXPECT_EQ(job_of(result, "j-null").tx.frames, kFrames);
  EXPECT_EQ(job_of(result, "j-null").tx.bytes, bytes);
}

TEST(RunEngines, WhatOneCannotDoIsRefusedBeforeAnythingStarts) {
  const auto refused = [](const std::string& options, const std::string& why) {
    const auto problems = problems_of(test::set_of("[j]\nnumber_ios=1\n" + options));
    ASSERT_FALSE(problems.empty()) << options;
    EXPECT_NE(problems[0].find(why), std::string::npos) << problems[0];
  };
  refused("engine=null\nrw=pingpong\n", "no other job can be on engine=null");
  refused("engine=pcap\nrw=txrx\nfilename=x\n", "rw: a job either writes a capture file");
  refused("engine=pcap\n", "filename: engine=pcap needs the file's path");
  refused(
      "engine=unix\n[b]\nrw=rx\nengine=unix\n[c]\nengine=unix\nto=b\nnumber_ios=1\n"
      "[d]\nengine=unix\nto=b\nnumber_ios=1\n",
      "");
  refused("engine=bus\nexec=true\n", "only engine=host");
  refused("engine=unix\nbs=9000\n", "do not fit a wire with mtu=1500");
  EXPECT_TRUE(
      failed(run_text("[j]\nengine=host\nproto=udp\nbs=1500\nnumber_ios=1\n"), "do not fit"));
}

/// The profile `hosts`, cut short.
std::string short_hosts() {
  std::string text = find_profile("hosts")->text;
  const std::size_t at = text.find("runtime=15");
  return text.replace(at, 10, "runtime=600ms");
}

bool hosts_work() {
  const RunResult result = run_text(short_hosts());
  for (const std::string& failure : result.failures) std::fprintf(stderr, "%s\n", failure.c_str());
  if (!result.failures.empty()) return false;
  return flow_to(result, "tcp.sink").received == job_of(result, "tcp").tx.frames &&
         flow_to(result, "tcp.sink").received > 0 && flow_to(result, "udp.sink").received > 0 &&
         job_of(result, "udp.sink").counts.agree == true &&
         job_of(result, "ping").latency->count() > 0;
}

TEST(RunHosts, TheProfileRunsForRootAndForAnOrdinaryUser) {
  EXPECT_TRUE(hosts_work());
  if (::geteuid() != 0) return;
  Child user([] {
    constexpr unsigned kNobody = 65534;
    if (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) return 1;
    ::prctl(PR_SET_DUMPABLE, 1);  // as the processes are that such a user starts
    return hosts_work() ? 0 : 2;
  });
  EXPECT_EQ(user.wait(), 0);
}

}  // namespace

// What becomes of jobs whose interface changes under them, or is taken away.

namespace {

using shmif::tap::test::TestNamespace;

class RunDevices : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = shmif::tap::test::no_namespaces_because(); !why.empty()) {
      GTEST_SKIP() << why;
    }
    space.emplace();
  }
  void ip(const std::vector<std::string>& words) const {
    std::vector<std::string> argv{"ip"};
    argv.insert(argv.end(), words.begin(), words.end());
    const auto done = shmif::tap::test::run(*space, argv);
    EXPECT_EQ(done.status, 0) << done.output;
  }
  void add_cable() const {
    auto netlink = space->netlink();
    netlink.add_veth("one", "other").value();
    for (const char* const name : {"one", "other"}) {
      netlink.disable_ipv6(name).value();
      netlink.set_up(name).value();
    }
  }
  /// Two TAP devices on one bridge, which is what brings them frames.
  void add_taps() const {
    ip({"link", "add", "lan", "type", "bridge", "stp_state", "0", "forward_delay", "0"});
    for (const char* const name : {"one", "other"}) {
      ip({"tuntap", "add", "dev", name, "mode", "tap"});
      ip({"link", "set", name, "master", "lan", "up"});
    }
    ip({"link", "set", "lan", "up"});
  }
  /// A sender and its receiver on the two interfaces.
  RunResult run_on(
      const std::string& options, const test::Meddler::Deed& deed = [](const auto&) {}) const {
    return run_text("[j]\nnetdev=one,other\nnetns=" + space->path() +
                        "\nrate_iops=1000\ndrain_time=1s\n" + options,
                    deed);
  }

  /// Lets the interface `one` refuse long frames for a while, from the fiftieth frame on.
  test::Meddler::Deed refuse_for_a_while() const {
    return [this, looks = 0](const RunProgress& progress) mutable {
      if (progress.jobs[1].rx_frames < 50 && looks == 0) return;
      ++looks;
      if (looks == 1) ip({"link", "set", "one", "mtu", "1000"});
      if (looks == 2) ip({"link", "set", "one", "mtu", "1500"});
    };
  }

  std::optional<TestNamespace> space;
};

/// Does something once, when so many frames have come to the second job.
test::Meddler::Deed once_after(std::uint64_t frames, std::function<void()> deed) {
  return [=, done = false](const RunProgress& progress) mutable {
    if (done || progress.jobs[1].rx_frames < frames) return;
    done = true;
    deed();
  };
}

TEST_F(RunDevices, AVethPairThatIsTakenAwayEndsEveryJobWhateverTheyGoOnAfter) {
  add_cable();
  const RunResult result = run_on("engine=packet\nruntime=60\ncontinue_on_error=all\n",
                                  once_after(50, [this] { ip({"link", "del", "one"}); }));
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on packet:one"));
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
  EXPECT_GT(job_of(result, "j").tx.frames, 49U) << "what was counted till then is told";
}

TEST_F(RunDevices, ATapDeviceThatIsTakenAwayEndsEveryJobWhateverTheyGoOnAfter) {
  if (auto usable = tap::check_tun_device(); !usable) {
    GTEST_SKIP() << "no TUN device: " << usable.error().message;
  }
  add_taps();
  const RunResult result = run_on("engine=tap\nallow_live\nruntime=60\ncontinue_on_error=all\n",
                                  once_after(50, [this] { ip({"link", "del", "one"}); }));
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on tap:one"));
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
  EXPECT_GT(job_of(result, "j").tx.frames, 49U);
}

TEST_F(RunDevices, AFrameThatAnInterfaceRefusesEndsTheJob) {
  add_cable();
  const RunResult result =
      run_on("engine=packet\nbs=1200\nruntime=60\n",
             once_after(50, [this] { ip({"link", "set", "one", "mtu", "1000"}); }));
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on packet:one: "));
  EXPECT_EQ(job_of(result, "j").tx.errors, 1U);
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
}

TEST_F(RunDevices, SoDoesOneThatWasLeftToAThreadAndRefusedAfterTheLastSend) {
  add_cable();
  // All of them fit the queue of the thread.
  bool done = false;
  const RunResult result = run_on(
      "engine=packet\nbs=1200\nnumber_ios=16\nrate_iops=0\niodepth_batch=16\n"
      "io_submit_mode=offload\nstart_delay=1\n",
      [&](const RunProgress& progress) {
        if (done || progress.jobs[0].state != JobState::running) return;
        done = true;
        ip({"link", "set", "one", "mtu", "1000"});
      });
  EXPECT_TRUE(failed(result, "job \"j\": cannot send on packet:one: "));
  EXPECT_EQ(job_of(result, "j").tx.errors, 1U);
}

TEST_F(RunDevices, EachClassOfErrorsIsTold) {
  add_cable();
  // What arrives at a job is damaged; what it sends is refused for a while.
  const RunResult result = run_on(
      "engine=packet\nrw=txrx\nbs=1200,900\nnumber_ios=1000\ncontinue_on_error=tx,verify\n"
      "fault_rx=corrupt=5%,seed=3\n",
      refuse_for_a_while());
  EXPECT_TRUE(passed(result));
  const JobResult& job = job_of(result, "j");
  const auto of = [&job](ErrorClass error) {
    return job.errors_by_class[static_cast<std::size_t>(error)];
  };
  EXPECT_EQ(of(ErrorClass::tx).count, job.tx.errors);
  EXPECT_GT(job.tx.errors, 0U);
  EXPECT_EQ(of(ErrorClass::tx).first, make_error_code(Errc::frame_too_long).message());
  EXPECT_EQ(of(ErrorClass::verify).count,
            flow_to(result, "j").corrupt + flow_to(result, "j").corrupt_copies);
  EXPECT_GT(flow_to(result, "j").corrupt, 0U);
  const std::string first = of(ErrorClass::verify).first;
  EXPECT_TRUE(first.ends_with(" of j.peer was corrupt")) << first;
  EXPECT_EQ(of(ErrorClass::rx).count, 0U);
  EXPECT_EQ(of(ErrorClass::lock).count, std::nullopt);
  EXPECT_EQ(of(ErrorClass::lock).reason, "only a bus has a lock");
}

TEST_F(RunDevices, OrIsTriedAgainAndNothingIsLostWhereTheJobGoesOn) {
  for (const char* const mode : {"inline", "offload"}) {
    add_cable();
    const RunResult result =
        run_on("engine=packet\nbs=1200\nnumber_ios=2000\ncontinue_on_error=tx\nio_submit_mode=" +
                   std::string(mode) + '\n',
               refuse_for_a_while());
    EXPECT_TRUE(passed(result));
    const JobResult& sender = job_of(result, "j");
    EXPECT_GT(sender.tx.errors, 0U) << mode;
    EXPECT_FALSE(sender.tx.first_error.empty());
    EXPECT_EQ(flow_to(result, "j.sink").received, 2000U);
    EXPECT_EQ(flow_to(result, "j.sink").duplicates + flow_to(result, "j.sink").reordered, 0U);
    ip({"link", "del", "one"});
  }
}

}  // namespace

// What becomes of jobs whose medium fails them: a bus that goes, a receiver that takes nothing, a
// ring that overruns.

namespace {

using namespace std::chrono_literals;
using test::send_signal;

/// Does something once, when so many frames have come to the second job.
test::Meddler::Deed once_after(std::uint64_t frames, std::function<void(const RunProgress&)> deed) {
  return [=, done = false](const RunProgress& progress) mutable {
    if (done || progress.jobs[1].rx_frames < frames) return;
    done = true;
    deed(progress);
  };
}

TEST(RunMedia, ABusThatIsTakenAwayEndsEveryJobWhateverTheyGoOnAfter) {
  const test::TempBus bus;
  const RunResult result = run_text(
      "[j]\nbus=" + bus.path() +
          "\nrate_iops=1000\nruntime=60\ncontinue_on_error=all\ndrain_time=100ms\n",
      once_after(50, [&](const RunProgress&) { std::filesystem::resize_file(bus.path(), 0); }));
  EXPECT_TRUE(failed(
      result, "job \"j\": cannot send on bus:" + bus.path() + ": the bus file was truncated"));
  EXPECT_LT(job_of(result, "j").runtime_seconds.value_or(0), 40);
  EXPECT_GT(job_of(result, "j").tx.frames, 0U) << "what was counted till then is told";
}

TEST(RunMedia, ASenderWhomNobodyReceivesFromIsStoppedInTheMiddleOfItsWait) {
  int looks = 0;
  const RunResult result = test::run_stopped(
      "[global]\nstuck_timeout=1\n[j]\nengine=unix\nbs=1000\nrate_iops=20k\nruntime=60\n"
      "drain_time=100ms\n",
      SIGINT, 1, [&](const RunProgress& progress) {
        if (looks == 0 && progress.jobs[1].rx_frames < 50) return false;
        if (++looks == 1) send_signal(progress.jobs[1], SIGSTOP);
        return looks == 3;
      });
  EXPECT_TRUE(failed(result, "job \"j.sink\": is stuck"));
  EXPECT_EQ(job_of(result, "j").errors, std::vector<std::string>{}) << "it is not to blame";
  EXPECT_GT(job_of(result, "j").tx.refused_frames, 0U);
}

TEST(RunMedia, AnEngineThatTakesNothingForLongIsAnError) {
  const RunResult result =
      run_text("[global]\nstuck_timeout=100ms\n[j]\nengine=unix\nruntime=60\ndrain_time=50ms\n",
               once_after(50, [](const RunProgress& p) { send_signal(p.jobs[1], SIGSTOP); }));
  EXPECT_TRUE(failed(result, "job \"j\": the engine has taken no frame for 10 s"));
}

TEST(RunMedia, AnOverrunIsCountedAndItsFramesAreLostExactly) {
  const RunResult result = run_text("[j]\nbus_size=64k\nnumber_ios=200k\nbs=500\n");
  EXPECT_TRUE(passed(result)) << "an overrun is what an ordinary bus does";
  const JobResult& sink = job_of(result, "j.sink");
  const FlowResult& flow = flow_to(result, "j.sink");
  EXPECT_GT(sink.overruns.value_or(0), 0U);
  EXPECT_GT(flow.lost, 0U);
  EXPECT_EQ(flow.lost, *sink.overrun_frames) << "nothing else loses a frame";
  EXPECT_EQ(flow.received + flow.lost, flow.sent);
}

TEST(RunMedia, EndOnOverrunEndsTheJobAsDone) {
  const RunResult result = run_text(
      "[j]\nbus_size=64k\nbs=500\nrate_iops=20k\nruntime=60\nend_on=overrun\ndrain_time=100ms\n",
      once_after(10, [](const RunProgress& progress) {
        test::freeze(progress.jobs[1], std::chrono::milliseconds(50));
      }));
  EXPECT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j.sink").overruns, 1U);
  EXPECT_LT(job_of(result, "j").tx.seconds, 40) << "its sender stops with it";
}

// ---- Others write, and receivers end early ----

/// Waits until the sender has sent on the bus what begins at the position that is its end now.
std::uint64_t next_record(const test::RawBus& bus) {
  const std::uint64_t position = bus::load_acquire(bus.header().last);
  while (bus::load_acquire(bus.header().last) == position) std::this_thread::sleep_for(1ms);
  return position;
}

TEST(RunMeddled, ARecordThatWasOverwrittenFailsTheRunAndIsNoOverrun) {
  const test::TempBus bus(test::roomy(4));
  const test::RawBus raw(bus.path());
  bool done = false;
  const RunResult result =
      run_text("[j]\nbus=" + bus.path() + "\nrate_iops=2000\nruntime=10\ndrain_time=50ms\n",
               [&](const RunProgress& progress) {
                 if (done || progress.jobs[1].rx_frames == 0) return;
                 done = true;
                 send_signal(progress.jobs[1], SIGSTOP);  // so it has not read the record
                 std::uint64_t& word = raw.ring().record(next_record(raw)).word;
                 bus::store_seq_cst(word, ~bus::load_acquire(word));
                 send_signal(progress.jobs[1], SIGCONT);
               });
  EXPECT_TRUE(failed(result, "job \"j.sink\": cannot receive on bus:" + bus.path() +
                                 ": the shared memory is corrupt"));
  const JobResult& sink = job_of(result, "j.sink");
  EXPECT_EQ(sink.overruns, 0U);
  EXPECT_EQ(sink.overrun_frames, 0U);
  EXPECT_EQ(sink.counts.wire.corrupt, 1U);
  EXPECT_EQ(sink.rx.errors, 1U);
  EXPECT_EQ(job_of(result, "j").counts.wire.corrupt, 0U) << "it does not read the ring";
}

/// Sends copies of a frame of the run with other numbers, as if its sender had.
void forge(const std::string& path, std::initializer_list<std::uint64_t> numbers) {
  std::vector<test::Witnessed> seen = test::witnessed(path);
  ASSERT_FALSE(seen.empty());
  std::vector<std::byte>& bytes = seen.back().bytes;
  Probe probe = seen.back().probe();
  Port port = test::port_on(path);
  for (const std::uint64_t number : numbers) {
    probe.sequence = number;
    write_probe(bytes, probe_offset(bytes), probe);
    EXPECT_EQ(port.send(FrameView(bytes.data(), bytes.size())).taken, 1U);
  }
}

TEST(RunMeddled, ForgedFramesBehindTheLastOneThatWasSentHideNoLoss) {
  const test::TempBus bus(test::roomy(4));
  bool done = false;
  const RunResult result =
      run_text("[j]\nbus=" + bus.path() +
                   "\nrate_iops=2000\nnumber_ios=1000\ndrain_time=50ms\nfault=loss=5%,seed=3\n"
                   "continue_on_error=verify\n",
               [&](const RunProgress& progress) {
                 if (done || progress.jobs[1].rx_frames == 0) return;
                 done = true;
                 forge(bus.path(), {1000, 1001, 1003, 5000, UINT64_MAX});
               });
  ASSERT_TRUE(done);
  const std::uint64_t lost = result.links.at(0).faults.lost;
  EXPECT_GT(lost, 10U);
  const FlowResult& flow = flow_to(result, "j.sink");
  EXPECT_EQ(flow.sent, 1000U);
  EXPECT_EQ(flow.lost, lost);
  EXPECT_EQ(flow.received, 1000U - lost);
  EXPECT_EQ(flow.duplicates, 0U);
  const JobResult& sink = job_of(result, "j.sink");
  EXPECT_EQ(sink.rx.foreign_frames, 2U) << "5000, and the greatest number there is";
  const auto verify = static_cast<std::size_t>(ErrorClass::verify);
  EXPECT_EQ(sink.errors_by_class[verify].count, 5U);
  EXPECT_TRUE(sink.errors_by_class[verify].first.ends_with(" was not sent by j"))
      << sink.errors_by_class[verify].first;
}

TEST(RunMeddled, WhatAReceiverHadNotReadAtTheEndOfItsDrainTimeIsTold) {
  bool done = false;
  const RunResult result = run_text(
      "[j]\nbus_pause\nrate_iops=2000\nnumber_ios=400\ndrain_time=20ms\n",
      [&](const RunProgress& progress) {
        if (done || progress.jobs[1].rx_frames == 0) return;
        done = true;
        send_signal(progress.jobs[1], SIGSTOP);
        std::this_thread::sleep_for(1s);  // longer than the sender sends and the drain lasts
        send_signal(progress.jobs[1], SIGCONT);
      });
  EXPECT_TRUE(passed(result));
  const FlowResult& flow = flow_to(result, "j.sink");
  ASSERT_GT(flow.lost, 0U);
  EXPECT_EQ(flow.sent, 400U);
  const std::string text = std::to_string(flow.lost);
  ASSERT_EQ(result.warnings.size(), 1U);
  EXPECT_EQ(result.warnings[0], "j.sink: lost " + text +
                                    " frames; when its drain_time ended, it had " + text +
                                    " frames of " + job_of(result, "j.sink").address +
                                    " still to read (give a longer drain_time)");
}

}  // namespace

// Faults act for every engine: what they lose does not arrive, and is counted.

/// The name of a test has this in it; an address would differ from run to run.
static void PrintTo(const Engine* engine, std::ostream* out) {
  *out << engine->name;
}

}  // namespace shmif::perf

namespace shmif::perf::run_faults {
namespace {

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
