// The same load over every engine, in one run; by root and by an ordinary user.

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>

#include "perf/option/job_file.hpp"
#include "shmif/port.hpp"
#include "tests/perf/control/run_plan.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf {
namespace {

using test::Child;
using test::failed;
using test::flow_to;
using test::job_of;
using test::passed;
using test::run_text;

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
}  // namespace shmif::perf
