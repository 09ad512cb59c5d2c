// TCP between emulated hosts: what was asked of the connection, and what its kernel says of it,
// beside what ss(8) says in the same network namespace.

#include <dirent.h>

#include <fstream>
#include <regex>

#include "tests/perf/control/run_plan.hpp"
#include "tests/support/run_tool.hpp"

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

/// Whether `process` descends from `ancestor`.
bool descends(int process, int ancestor) {
  while (process > 1 && process != ancestor) {
    std::ifstream file("/proc/" + std::to_string(process) + "/status");
    int parent = 0;
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("PPid:")) parent = std::stoi(line.substr(5));
    }
    process = parent;
  }
  return process == ancestor;
}

/// The processes of the host of job `supervisor`: those that have another network than that has.
std::vector<int> guests_of(int supervisor) {
  const auto network = [](int process) {
    char name[64] = {};
    const std::string path = "/proc/" + std::to_string(process) + "/ns/net";
    return ::readlink(path.c_str(), name, sizeof name - 1) > 0 ? std::string(name) : "";
  };
  std::vector<int> found;
  DIR* const folder = ::opendir("/proc");
  while (const dirent* const entry = ::readdir(folder)) {
    const int process = std::atoi(entry->d_name);
    if (process <= 1 || process == supervisor || !descends(process, supervisor)) continue;
    const std::string its = network(process);
    if (!its.empty() && its != network(supervisor)) found.push_back(process);
  }
  ::closedir(folder);
  return found;
}

std::optional<int> guest_of(int supervisor) {
  const std::vector<int> found = guests_of(supervisor);
  return found.empty() ? std::nullopt : std::optional(found.back());
}

/// What ss says of the connections of a host.
std::string ss_in(int process) {
  return test::run_program({"nsenter", "-t", std::to_string(process), "-n", "ss", "-tinO"}).out;
}

/// The number behind `key` in the line of ss about the connection to a port.
std::optional<double> figure(const std::string& ss, const std::string& key) {
  std::smatch found;
  const std::regex pattern("\\b" + key + ":([0-9.]+)");
  if (!std::regex_search(ss, found, pattern)) return std::nullopt;
  return std::stod(found[1]);
}

TEST(RunTcp, WritesLargerThanAFrameArriveWholeAndChecked) {
  const RunResult result = run_text(
      "[j]\nengine=host\nproto=tcp\nbs=128k\nnumber_ios=200\nverify=regenerate\nwindow=96k\n"
      "[k]\nengine=host\nproto=tcp\nbs=60-1m\nnumber_ios=20\n");
  ASSERT_TRUE(passed(result));
  EXPECT_EQ(job_of(result, "j").tx.bytes, 200U * 131072);
  EXPECT_EQ(flow_to(result, "j.sink").received, 200U);
  EXPECT_EQ(job_of(result, "j.sink").rx.bytes, 200U * 131072);
  EXPECT_EQ(flow_to(result, "k.sink").received, 20U);
  EXPECT_EQ(job_of(result, "j").tcp->send_buffer_bytes, 96U * 1024);
  EXPECT_EQ(job_of(result, "j.sink").tcp->receive_buffer_bytes, 96U * 1024);
}

TEST(RunTcp, TheConnectionIsAsAskedForAndSsSaysTheSame) {
  std::string ss;
  const auto look = [&](const RunProgress& progress) {
    if (!ss.empty() || progress.jobs.empty() || progress.jobs[0].tx_frames < 30) return;
    const auto guest = guest_of(static_cast<int>(progress.jobs[0].pid));
    if (guest) ss = ss_in(*guest);
  };
  // So few frames that the window stays as it begins. On a busy machine the connection may be
  // closed before ss has begun, or ss begins before the host has a network of its own.
  RunResult result;
  for (int ms = 600; ms <= 9600; ms *= 2) {
    ss.clear();
    result = run_text(
        "[j]\nengine=host\nproto=tcp\nmtu=1400\nbs=1000\nrate_iops=100\nmss=800\nruntime=" +
            std::to_string(ms) + "ms\ncongestion=reno\ndscp=af41\n",
        look);
    if (ss.empty() || (ss.find(" reno ") != std::string::npos && figure(ss, "mss"))) break;
  }
  ASSERT_TRUE(passed(result));
  const TcpResult& tcp = job_of(result, "j").tcp.value();
  EXPECT_EQ(tcp.congestion, "reno");
  EXPECT_EQ(tcp.mss_bytes, 788U) << "12 bytes are timestamps";
  EXPECT_EQ(tcp.pmtu_bytes, 1400U);
  EXPECT_EQ(tcp.dscp, 34U);
  EXPECT_GT(tcp.rtt_ns_min, 0U);
  EXPECT_LE(tcp.rtt_ns_min, tcp.rtt_ns_mean);
  EXPECT_LE(tcp.rtt_ns_mean, tcp.rtt_ns_max);
  std::size_t samples = 0;
  for (const IntervalResult& each : job_of(result, "j").intervals) {
    if (!each.tcp) continue;
    ++samples;
    EXPECT_EQ(each.tcp->mss_bytes, 788U);
    EXPECT_LE(each.tcp->cwnd_bytes, tcp.cwnd_bytes_max);
  }
  EXPECT_GE(samples, 3U);
  if (ss.empty()) GTEST_SKIP() << "ss cannot look into the network of a host here";
  EXPECT_NE(ss.find(" reno "), std::string::npos) << ss;
  EXPECT_EQ(figure(ss, "mss"), 788) << ss;
  EXPECT_EQ(figure(ss, "pmtu"), 1400) << ss;
  const auto window = static_cast<std::uint64_t>(figure(ss, "cwnd").value_or(0)) * 788;
  const auto& intervals = job_of(result, "j").intervals;
  EXPECT_TRUE(std::ranges::any_of(intervals, [&](const auto& i) {
    return i.tcp && i.tcp->cwnd_bytes == window;
  })) << ss;
}

TEST(RunTcp, RetransmitsAreCountedAsSsCountsThem) {
  int stopped = 0;
  std::chrono::steady_clock::time_point since;
  std::string ss;
  const auto meddle = [&](const RunProgress& progress) {
    if (progress.jobs.size() < 2) return;
    // Without its bridge the receiver's host gets nothing, and acknowledges nothing.
    const int receiver = static_cast<int>(progress.jobs[1].pid);
    if (stopped == 0 && progress.jobs[0].tx_frames >= 10) {
      stopped = receiver;
      since = std::chrono::steady_clock::now();
      ::kill(stopped, SIGSTOP);
    } else if (stopped > 0 && std::chrono::steady_clock::now() - since > 700ms) {
      ::kill(stopped, SIGCONT);
      stopped = -1;
      since = std::chrono::steady_clock::now();
    } else if (stopped == -1 && std::chrono::steady_clock::now() - since > 500ms) {
      stopped = -2;
      if (const auto guest = guest_of(static_cast<int>(progress.jobs[0].pid))) ss = ss_in(*guest);
    }
  };
  const RunResult result =
      run_text("[j]\nengine=host\nproto=tcp\nbs=1000\nrate_iops=100\nruntime=4\n", meddle);
  ASSERT_TRUE(passed(result));
  const TcpResult& tcp = job_of(result, "j").tcp.value();
  EXPECT_GT(tcp.retransmits, 0U) << "nothing was acknowledged for 700 ms";
  EXPECT_EQ(job_of(result, "j.sink").tcp->retransmits, 0U);
  std::uint64_t sum = 0;
  for (const IntervalResult& each : job_of(result, "j").intervals) {
    if (each.tcp) sum += each.tcp->retransmits;
  }
  EXPECT_GE(sum, tcp.retransmits) << "the drain may have some, too";
  EXPECT_EQ(flow_to(result, "j.sink").lost, 0U);
  if (ss.empty()) GTEST_SKIP() << "ss cannot look into the network of a host here";
  std::smatch found;
  ASSERT_TRUE(std::regex_search(ss, found, std::regex(R"(retrans:\d+/(\d+))"))) << ss;
  // A machine that is busy may have more after the look.
  EXPECT_GT(std::stoull(found[1]), 0U) << ss;
  EXPECT_LE(std::stoull(found[1]), tcp.retransmits) << ss;
}

}  // namespace
}  // namespace shmif::perf
