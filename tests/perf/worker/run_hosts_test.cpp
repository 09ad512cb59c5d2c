// Emulated hosts: what is counted of the traffic of a program, hosts of IPv6, and what each host is
// called.

#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.hpp"
#include "bus/network_bytes.hpp"
#include "perf/worker/host.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/child_process.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::run_hosts {
namespace {

using namespace std::chrono_literals;

TEST(RunHostPrograms, TheirTrafficIsWhatPassedTheirPortsInTheRampAndBehindIt) {
  // Frames of 1042 bytes to everybody, till the end, from a host that nobody sends to.
  const std::string program =
      "import socket, time\\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\\n"
      "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\\n"
      "while True:\\n  s.sendto(bytes(1000), (\\\"198.19.255.255\\\", 9))\\n  time.sleep(0.005)";
  // Each kernel also says a word or two of its own, in small frames.
  constexpr std::uint64_t kFew = 20;
  RunResult result;
  for (int ms = 500; ms <= 8000; ms *= 2) {  // until the program could send enough in the window
    const std::string time = std::to_string(ms) + "ms\n";
    result = run_text("[global]\nengine=host\nramp_time=" + time + "runtime=" + time +
                      "[p]\nexec=/usr/bin/python3 -c 'exec(\"" + program +
                      "\")'\n[q]\nexec=sleep 600\n");
    ASSERT_TRUE(passed(result)) << "it was ended by its runtime";
    if (job_of(result, "p").tx.frames > 2 * kFew) break;
  }
  const JobResult& p = job_of(result, "p");
  const JobResult& q = job_of(result, "q");
  const auto expect_large = [&](const TrafficResult& traffic) {
    EXPECT_GT(traffic.frames, kFew);
    EXPECT_LE(traffic.bytes, traffic.frames * 1042);
    EXPECT_GE(traffic.bytes, (traffic.frames - kFew) * 1042);
  };
  expect_large(p.tx);
  expect_large(q.rx);
  EXPECT_LE(p.rx.frames + p.rx.ramp_frames, kFew);
  EXPECT_LE(q.tx.frames + q.tx.ramp_frames, kFew);
  for (const JobResult* const job : {&p, &q}) {
    EXPECT_EQ(job->tx.frames + job->tx.ramp_frames, job->counts.generator_tx);
    EXPECT_EQ(job->rx.frames + job->rx.ramp_frames, job->counts.receiver_rx);
    EXPECT_TRUE(job->tx.of_program && job->rx.of_program);
    EXPECT_GE(job->tx.seconds, 0.299);
    EXPECT_EQ(job->tx.offered_seconds, job->tx.seconds);
    EXPECT_FALSE(job->cpu) << "that of the ramp is not known apart";
    EXPECT_GE(job->counts.wire.tx_bytes.value_or(0), job->tx.bytes);
    EXPECT_GE(job->counts.wire.rx_bytes.value_or(0), job->rx.bytes);
  }
  EXPECT_GE(p.counts.wire.tx_bytes.value_or(0), p.counts.generator_tx * 900);
  EXPECT_LE(p.counts.wire.rx_bytes.value_or(0), kFew * 200);
}

TEST(RunHosts, OfIpv6CountTheSameWithTheRoomThatItsHeadersLeave) {
  const auto run_v6 = [](const std::string& options) {
    return run_text("[global]\nengine=host\nrate_iops=1000\nnumber_ios=50\ndrain_time=5\n" +
                    options + "[j]\nip=fd00::1/64\nto=k\n[k]\nrw=rx\nip=fd00::2/64\n");
  };
  const RunResult result = run_v6("bs=1452\n");
  ASSERT_TRUE(passed(result));
  const JobResult& j = job_of(result, "j");
  const JobResult& k = job_of(result, "k");
  EXPECT_EQ(flow_to(result, "k").received, 50U);
  EXPECT_EQ(j.counts.wire.tx_frames, 50U);
  EXPECT_EQ(j.counts.agree, true);
  EXPECT_EQ(k.counts.wire.rx_frames, 50U);
  EXPECT_EQ(k.counts.agree, true);
  EXPECT_EQ(j.address.find("udp:[fd00::1]:"), 0U) << j.address;
  for (const JobResult* const job : {&j, &k}) {
    EXPECT_LE(job->counts.receiver_foreign, 20U) << "neighbour discovery";
  }
  EXPECT_TRUE(failed(run_v6("bs=1453\n"), "frames of 1453 bytes do not fit"));
  EXPECT_TRUE(failed(run_v6("mtu=1400\nbs=1353\n"), "which carries 1352"));
}

TEST(RunHosts, WhatIsSentBeforeThePeerCanAnswerIsNotDroppedUncounted) {
  // The bridge of the peer stands still until a thousand frames were sent: nobody would tell the
  // kernel of the sender where the peer is.
  const auto hold = [stopped = false, done = false](const RunProgress& progress) mutable {
    const JobProgress& sender = progress.jobs[0];
    const JobProgress& peer = progress.jobs[1];
    if (!stopped && peer.state == JobState::initialised) {
      stopped = true;
      test::send_signal(peer, SIGSTOP);
    }
    if (stopped && !done && sender.tx_frames >= 1000) {
      done = true;
      test::send_signal(peer, SIGCONT);
    }
  };
  const RunResult result =
      run_text("[j]\nengine=host\nnumber_ios=1000\nbs=64\ndrain_time=5\n", hold);
  EXPECT_TRUE(passed(result));
  const CountsResult& counts = job_of(result, "j").counts;
  EXPECT_EQ(counts.generator_tx, 1000U);
  EXPECT_EQ(counts.agree, true);
}

// The kernels of hosts send a few frames of their own: they look for groups and for routers.
constexpr std::uint64_t kOfKernels = 20;

/// The UDP datagrams of this size or more that were on a bus, by one who is no port of it.
std::uint64_t datagrams_on(const std::string& bus, std::size_t bytes) {
  const std::vector<test::Witnessed> all = test::witnessed(bus);
  return static_cast<std::uint64_t>(std::ranges::count_if(all, [bytes](const auto& frame) {
    return frame.bytes.size() >= bytes && frame.bytes[12] == std::byte{8} &&
           frame.bytes[13] == std::byte{0} && frame.bytes[23] == std::byte{17};
  }));
}

const FaultsMade& made_by(const RunResult& result, const std::string& job,
                          const std::string& direction) {
  for (const LinkResult& link : result.links) {
    if (link.job == job && link.direction == direction) return link.faults;
  }
  throw std::runtime_error("no faults of " + job + ' ' + direction);
}

TEST(RunHosts, LossesAreOnTheWireAndCountedInBothDirections) {
  const test::TempBus bus(test::roomy(4));
  const RunResult result =
      run_text("[global]\nengine=host\nbus=" + bus.path() +
               "\nbs=200\nnumber_ios=1000\nrate_iops=10000\ndrain_time=500ms\n"
               "[j]\nto=k\nfault=loss=10%,seed=3\n[k]\nrw=rx\nfault_rx=loss=20%,seed=4\n");
  ASSERT_TRUE(passed(result));
  ASSERT_EQ(result.links.size(), 2U);
  const FaultsMade& sent = made_by(result, "j", "sent");
  const FaultsMade& received = made_by(result, "k", "received");
  const std::uint64_t on_bus = datagrams_on(bus.path(), 200);
  EXPECT_EQ(job_of(result, "j").tx.frames, 1000U);
  EXPECT_GE(sent.frames, 1000U);
  EXPECT_LE(sent.frames, 1000U + kOfKernels);
  EXPECT_GT(sent.lost, 50U);
  // A host whose question for the address is answered late drops what waited for it.
  EXPECT_GE(on_bus + sent.lost + kOfKernels, sent.frames) << "what was lost was never on the bus";
  EXPECT_LE(on_bus + sent.lost, sent.frames);
  const std::uint64_t arrived = flow_to(result, "k").received + flow_to(result, "k").late;
  EXPECT_GT(received.lost, 100U);
  EXPECT_GE(arrived + received.lost, on_bus) << "what was lost then was on the bus";
  EXPECT_LE(arrived + received.lost, on_bus + kOfKernels);
  EXPECT_EQ(flow_to(result, "k").lost, 1000U - arrived);
  for (const char* const job : {"j", "k"}) EXPECT_EQ(job_of(result, job).counts.agree, true);
}

TEST(RunHosts, WhatFaultsDamageTheKernelDropsAndWhatTheyDelayArrivesLate) {
  const RunResult damaged = run_text(
      "[j]\nengine=host\nbs=200\nnumber_ios=500\nrate_iops=5000\ndrain_time=500ms\n"
      "fault=corrupt=20%,truncate=10%,seed=5\n");
  EXPECT_TRUE(passed(damaged));
  const FaultsMade& made = made_by(damaged, "j", "sent");
  const FlowResult& flow = flow_to(damaged, "j.sink");
  EXPECT_GT(made.corrupted, 50U);
  EXPECT_GT(made.truncated, 20U);
  EXPECT_EQ(flow.corrupt + flow.truncated, 0U) << "its checksum tells";
  EXPECT_LE(flow.lost, made.corrupted + made.truncated);
  EXPECT_GE(flow.lost + kOfKernels, std::max(made.corrupted, made.truncated));
  const RunResult late = run_text(
      "[j]\nengine=host\nnumber_ios=100\nrate_iops=1000\ndrain_time=5\nfault=delay=30ms\n"
      "[k]\nengine=host\nrw=pingpong\nnumber_ios=5\nfault=delay=20ms\nfault_rx=delay=20ms\n");
  EXPECT_TRUE(passed(late));
  EXPECT_EQ(flow_to(late, "j.sink").received, 100U);
  EXPECT_GE(job_of(late, "j.sink").latency->min(), 30'000'000U);
  EXPECT_GE(job_of(late, "k").latency->min(), 40'000'000U) << "20 ms each way";
}

/// What a record of the host 198.18.0.1 has of a protocol of IPv4, with its ports before the data.
struct Recorded {
  std::uint64_t sent = 0, received = 0;
  std::uint64_t sent_again = 0;  ///< segments with data that was sent before
  std::uint64_t data_bytes = 0;  ///< in what was sent, without those
};
Recorded recorded(const std::string& path, unsigned protocol) {
  Recorded of;
  std::optional<std::uint32_t> end;
  auto reader = PcapReader::open(path).value();
  FrameBatch batch(256, 1U << 20U);
  for (bool more = true; more; batch.clear()) {
    more = !reader.receive(batch).error;
    for (const FrameView& frame : batch.frames()) {
      const auto byte = [&frame](std::size_t at) { return bus::get8(frame.bytes, at); };
      if (bus::get16(frame.bytes, 12) != 0x0800 || byte(23) != protocol) continue;
      if (byte(29) != 1) {  // the last byte of its source address
        ++of.received;
        continue;
      }
      ++of.sent;
      const std::size_t head = protocol == IPPROTO_TCP ? byte(46) / 16U * 4U : 8U;
      const auto data = static_cast<std::uint32_t>(bus::get16(frame.bytes, 16) - 20 - head);
      const std::uint32_t begin = bus::get32(frame.bytes, 38);
      const bool again = protocol == IPPROTO_TCP && data != 0 && end &&
                         static_cast<std::int32_t>(begin - *end) < 0;
      of.sent_again += again ? 1 : 0;
      if (again) continue;
      of.data_bytes += data;
      end = begin + data;
    }
  }
  return of;
}

TEST(RunHosts, ARecordHasThePacketsOfTheirInterfacesInBothDirections) {
  const test::TempDir dir;
  const RunResult tcp = run_text(
      "[j]\nengine=host\nproto=tcp\nbs=128k\nnumber_ios=20\nstartup_timeout=60\ndrain_time=60\n"
      "fault=loss=5%,seed=5\nwrite_pcap=" +
      dir.file("tcp") + '\n');
  ASSERT_TRUE(passed(tcp));
  const Recorded segments = recorded(dir.file("tcp"), IPPROTO_TCP);
  EXPECT_EQ(segments.data_bytes, 20U * (131072 + 4)) << "each with its length before it";
  EXPECT_GT(segments.received, 0U) << "acknowledgements";
  EXPECT_GT(segments.sent_again, 0U);
  EXPECT_GE(segments.sent_again, job_of(tcp, "j").tcp->retransmits);
  ASSERT_TRUE(
      passed(run_text("[j]\nengine=host\nbs=200\nnumber_ios=60\nrate_iops=1000\nwrite_pcap=" +
                      dir.file("udp") + '\n')));
  const Recorded datagrams = recorded(dir.file("udp"), IPPROTO_UDP);
  EXPECT_EQ(datagrams.sent, 60U);
  EXPECT_EQ(datagrams.data_bytes, 60U * 200);
}

/// Puts frames of a protocol that no kernel knows into an interface, for everybody.
void send_unknown(const std::string& interface, int times) {
  const UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
  std::array<unsigned char, 60> frame{};
  frame.fill(0xff);
  frame[12] = 0x88;
  frame[13] = 0xb5;
  for (int i = 0; i < times; ++i) {
    EXPECT_EQ(::sendto(socket.get(), frame.data(), frame.size(), 0,
                       reinterpret_cast<const sockaddr*>(&to), sizeof to),
              static_cast<ssize_t>(frame.size()));
  }
}

/// Whether frames go through an interface. It is so a little after it was set up.
bool is_running(const std::string& interface) {
  const UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 &&
         (request.ifr_flags & IFF_RUNNING) != 0;
}

TEST(HostDrops, AreTheSumsOverTheInterfacesOfANamespaceInEachDirection) {
  if (const std::string why = tap::test::no_namespaces_because(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const tap::test::TestNamespace space;
  std::thread([&] {
    const tap::test::Inside inside(space);
    EXPECT_FALSE(interface_drops()) << "the loopback does not count";
    auto netlink = space.netlink();
    for (const auto& [one, other] : {std::pair{"a", "b"}, {"c", "d"}}) {
      netlink.add_veth(one, other).value();
      for (const char* const each : {one, other}) {
        netlink.disable_ipv6(each).value();
        netlink.set_up(each).value();
      }
    }
    for (const char* const each : {"a", "b", "c", "d"}) {
      EXPECT_TRUE(test::eventually([&] { return is_running(each); })) << each;
      netlink.set_up(each).value();  // waits for the kernel to have done with the change
    }
    const auto drops = [] { return interface_drops().value_or(InterfaceDrops{99, 99}); };
    EXPECT_EQ(drops().received + drops().sent, 0U);
    send_unknown("a", 3);
    send_unknown("c", 4);
    EXPECT_TRUE(test::eventually([&] { return drops().received >= 7; }));
    EXPECT_EQ(drops().received, 7U);
    EXPECT_EQ(drops().sent, 0U);
    // What is sent into a cable whose other end is down is dropped at once.
    netlink.add_veth("e", "f").value();
    netlink.disable_ipv6("e").value();
    netlink.set_up("e").value();
    send_unknown("e", 5);
    EXPECT_TRUE(test::eventually([&] { return drops().sent >= 5; }));
    EXPECT_EQ(drops().sent, 5U);
    EXPECT_EQ(drops().received, 7U);
  }).join();
}

TEST(RunHosts, WhatTheKernelDoesNotGrantIsRefusedWithWhatItWould) {
  const RunResult none =
      run_text("[j]\nengine=host\nproto=tcp\nnumber_ios=1\nstartup_timeout=2\ncongestion=nosuch\n");
  EXPECT_TRUE(test::failed(none, "congestion: this kernel does not let the job use \"nosuch\""));
  EXPECT_TRUE(test::failed(none, "reno"));
  const RunResult large =
      run_text("[j]\nengine=host\nnumber_ios=1\nstartup_timeout=2\nwindow=1g\n");
  EXPECT_TRUE(test::failed(large, "window: the kernel grants "));
}

// ---- Hosts that run a program ----

TEST(RunPrograms, OneBeginsItsStartDelayAfterTheCommonStart) {
  const test::TempDir dir;
  const std::string file = dir.file("began");
  const RunResult result = test::run_text(
      "[late]\nengine=host\nstart_delay=300ms\nexec=sh -c 'date +%s%N >" + file + "'\n");
  EXPECT_TRUE(test::passed(result));
  std::int64_t began_ns = 0;
  std::ifstream(file) >> began_ns;
  const std::chrono::nanoseconds run_began = result.began.time_since_epoch();
  EXPECT_GE(std::chrono::nanoseconds(began_ns) - run_began, 300ms);
}

TEST(RunPrograms, OneThatHasNotBegunIsStoppedAtOnce) {
  const test::TempDir dir;
  const RunResult result =
      test::run_text("[global]\ntrigger-timeout=200ms\naux-path=" + dir.path() +
                     "\n[late]\nengine=host\nstart_delay=1h\nexec=true\nexec_postrun=true\n");
  EXPECT_TRUE(test::passed(result));
  EXPECT_FALSE(std::filesystem::exists(dir.file("late.postrun.txt"))) << "it did nothing";
  EXPECT_LT(result.ended - result.began, 60s);  // a stuck one takes 300 s
}

TEST(RunPrograms, OneThatDoesNotExitZeroFailsItsJob) {
  const RunResult result = test::run_text("[wrong]\nengine=host\nexec=sh -c 'exit 3'\n");
  EXPECT_TRUE(test::failed(result, "\"wrong\": sh ended with status 3"));
}

TEST(RunPrograms, OneHasThePlaceAndTheCommandsOfItsJob) {
  const test::TempDir dir;
  const std::string nice = dir.file("nice");
  const RunResult result = test::run_text(
      "[global]\naux-path=" + dir.path() + "\n[p]\nengine=host\nnice=7\ncpus_allowed=0\n" +
      "exec=sh -c '(nice; grep Cpus_allowed_list /proc/self/status) >" + nice + "'\n" +
      "exec_prerun=echo before\nexec_postrun=cat " + nice + "\n");
  EXPECT_TRUE(test::passed(result));
  std::ifstream before(dir.file("p.prerun.txt"));
  std::ifstream after(dir.file("p.postrun.txt"));
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(before), {}), "before\n");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(after), {}), "7\nCpus_allowed_list:\t0\n");
}

}  // namespace
}  // namespace shmif::perf::run_hosts
