// What a server takes from strangers.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "perf/frame/frame_maker.hpp"
#include "perf/option/job_file.hpp"
#include "perf/option/option_table.hpp"
#include "perf/option/profiles.hpp"
#include "perf/remote/job_texts.hpp"
#include "perf/remote/limits.hpp"
#include "perf/result/run_result.hpp"
#include "perf/stats/latency_histogram.hpp"
#include "perf/worker/run_memory.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "tests/perf/plan/plans.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf {
namespace {

TEST(ServerLimits, WhateverRunsAProgramOrNamesAFileNeedsLeave) {
  for (const OptionRow& row : option_table()) {
    if (row.placeholder == "COMMAND") {
      EXPECT_EQ(row.on_server, OnServer::needs_exec) << row.name;
    }
    const bool path = row.range.find("path") != std::string::npos ||
                      row.range.find("directory") != std::string::npos;
    if (path && row.on_server != OnServer::client_only && row.name != "netns" &&
        row.name != "cgroup" && row.name != "socket") {
      EXPECT_EQ(row.on_server, OnServer::needs_directory) << row.name << ": " << row.range;
    }
  }
}

JobSet set_of(const std::string& text) {
  JobSet set;
  const auto problems = read_job_text("x.job", text, set);
  EXPECT_TRUE(problems.empty()) << problems.front();
  return set;
}

TEST(ServerLimits, StatesAndTriggersThatSaveThemNeedADirectory) {
  for (const char* option : {"trigger-timeout=1", "trigger-match=udp", "trigger-file=x"}) {
    JobSet set = set_of(std::string("[global]\n") + option + "\n[a]\nsize=1k\n");
    const auto problems = apply_limits(ServerLimits{}, set);
    ASSERT_EQ(problems.size(), 1U) << option;
    EXPECT_NE(problems[0].find("--directory"), std::string::npos) << problems[0];
  }
  JobSet saves = set_of("[a]\nsize=1k\nverify_state_save=1\n");
  EXPECT_EQ(apply_limits(ServerLimits{}, saves).size(), 1U);
  JobSet none = set_of("[global]\ntrigger-timeout=0\n[a]\nsize=1k\nverify_state_save=0\n");
  EXPECT_TRUE(apply_limits(ServerLimits{}, none).empty());
}

TEST(ServerLimits, WhatIsSwitchedOffNeedsNoNetworkOfTheServer) {
  JobSet off = set_of("[a]\nsize=1k\nallow_live=0\n");
  EXPECT_TRUE(apply_limits(ServerLimits{}, off).empty());
  JobSet on = set_of("[a]\nsize=1k\nallow_live=1\n");
  EXPECT_EQ(apply_limits(ServerLimits{}, on).size(), 1U);
}

TEST(ServerLimits, PrivilegesOverOthersNeedThoseOfCommands) {
  for (const char* option : {"nice=-1", "nice=-01", "rtprio=1"}) {
    JobSet set = set_of(std::string("[a]\nsize=1k\n") + option + '\n');
    const auto problems = apply_limits(ServerLimits{}, set);
    ASSERT_EQ(problems.size(), 1U) << option;
    EXPECT_NE(problems[0].find("--allow-exec"), std::string::npos) << problems[0];
    ServerLimits open;
    open.allow_exec = true;
    EXPECT_TRUE(apply_limits(open, set).empty()) << option;
  }
  JobSet modest = set_of("[a]\nsize=1k\nnice=10\n");
  EXPECT_TRUE(apply_limits(ServerLimits{}, modest).empty());
}

TEST(ServerLimits, JobsAreCountedWithTheirClonesAndEngines) {
  const auto refused = [](const std::string& text, std::size_t max_jobs) {
    ServerLimits limits;
    limits.max_jobs = max_jobs;
    JobSet set = set_of(text);
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? "" : problems[0];
  };
  const std::pair<const char*, std::size_t> sets[] = {
      {"[a]\nsize=1k\n", 1},
      {"[a]\nsize=1k\n[b]\nsize=1k\n", 2},
      {"[a]\nsize=1k\nnumjobs=3\n", 3},
      {"[a]\nsize=1k\nengine=bus,unix,udp\n", 3},
      {"[a]\nsize=1k\nengine=bus,unix\nnumjobs=3\n[b]\nsize=1k\n", 7}};
  for (const auto& [text, jobs] : sets) {
    EXPECT_EQ(refused(text, jobs), "") << text;
    const std::string why = refused(text, jobs - 1);
    EXPECT_NE(why.find("there are " + std::to_string(jobs) + " jobs"), std::string::npos) << why;
    EXPECT_NE(why.find("--max-jobs"), std::string::npos) << why;
  }
}

TEST(ServerLimits, ThreadsThatHelpJobsCountAsJobs) {
  const auto refused = [](const std::string& text, std::size_t max_jobs) {
    ServerLimits limits;
    limits.max_jobs = max_jobs;
    JobSet set = set_of(text);
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? "" : problems[0];
  };
  const std::pair<const char*, std::size_t> sets[] = {
      {"[a]\nsize=1k\nverify_async=5\n", 6},
      {"[a]\nsize=1k\nio_submit_mode=offload\n", 2},
      {"[a]\nsize=1k\nio_submit_mode=offload\nverify_async=2\nnumjobs=3\n[b]\nsize=1k\n", 13}};
  for (const auto& [text, all] : sets) {
    EXPECT_EQ(refused(text, all), "") << text;
    EXPECT_NE(refused(text, all - 1).find("threads that help them (verify_async"),
              std::string::npos)
        << refused(text, all - 1);
  }
  EXPECT_EQ(refused("[a]\nsize=1k\nverify_async=2\nnumjobs=3\n", 8),
            "numjobs: there are 3 jobs and 6 threads that help them (verify_async, "
            "io_submit_mode=offload), but this server takes at most 8 in all (start it with "
            "--max-jobs)");
}

TEST(ServerLimits, JobsAreCountedBeforeTheirCapturesAreRead) {
  const test::TempDir directory("/tmp");
  ServerLimits limits;
  limits.directory = directory.path();
  limits.max_jobs = 2;
  const auto problems = [&](std::size_t jobs) {
    JobTexts texts;
    for (std::size_t i = 0; i < jobs; ++i) {
      texts.jobs.push_back({"j" + std::to_string(i), "", {{"headers", "pcap(missing,1)"}}});
    }
    std::vector<std::string> all;
    (void)job_set_of(texts, limits, all);
    return all;
  };
  EXPECT_EQ(problems(2).size(), 2U) << "each looks for its capture";
  ASSERT_EQ(problems(3).size(), 1U);
  EXPECT_EQ(
      problems(3)[0],
      "numjobs: there are 3 jobs, but this server takes at most 2 (start it with --max-jobs)");
}

TEST(ServerLimits, DelayAndRampAreOfTheTimeThatAJobTakes) {
  const auto refused = [](const std::string& text) {
    ServerLimits limits;
    limits.max_runtime = std::chrono::seconds(10);
    JobSet set = set_of("[a]\n" + text);
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? "" : problems[0];
  };
  for (const char* allowed :
       {"runtime=10\n", "runtime=7\nramp_time=3\n", "runtime=7\nstart_delay=3\n",
        "runtime=5\nramp_time=3\nstart_delay=2\n"}) {
    EXPECT_EQ(refused(allowed), "") << allowed;
  }
  for (const char* longer :
       {"runtime=10500ms\n", "runtime=7500ms\nramp_time=3\n", "runtime=7500ms\nstart_delay=3\n",
        "runtime=5500ms\nramp_time=3\nstart_delay=2\n"}) {
    const std::string why = refused(longer);
    EXPECT_NE(why.find("with its delays the job takes 10500ms"), std::string::npos) << why;
    EXPECT_NE(why.find("--max-runtime"), std::string::npos) << why;
  }
}

TEST(ServerLimits, MemoryIsThatOfAllJobsAndTheirBusesTogether) {
  const auto memory = [](const std::string& text) {
    return memory_of(expand(set_of(text)).value());
  };
  const std::string one = "[a]\nsize=1k\n";
  const std::uint64_t min = memory(one);
  constexpr std::uint64_t kMega = 1U << 20U;
  EXPECT_EQ(memory(one + "bus_size=64m\n") - min, 60 * kMega);
  EXPECT_EQ(memory(one + "[b]\nsize=1k\n[c]\nsize=1k\n"), 3 * min - 2 * 4 * kMega) << "one bus";
  EXPECT_EQ(memory(one + "[b]\nsize=1k\nwire=w\n"), 2 * min) << "two buses";
  EXPECT_EQ(memory(one + "bus_size=64m\n[b]\nsize=1k\nbus_size=64m\n"),
            memory(one + "[b]\nsize=1k\nbus_size=64m\n"))
      << "one bus";
  EXPECT_EQ(memory(one + "engine=host\nbus_size=64m\n") - memory(one + "engine=host\n"),
            60 * kMega);
  EXPECT_EQ(
      memory("[a]\nrw=pingpong\nsize=1k\niodepth=1001\n") - memory("[a]\nrw=pingpong\nsize=1k\n"),
      2 * 1000 * 128U)
      << "of who asks and who answers";
  for (const char* option : {"fault", "fault_rx"}) {
    const std::string both = "[a]\nrw=pingpong\nsize=1k\n";
    const std::uint64_t without = memory(both);
    for (const char* waits : {"delay=1s", "delay=1s+-1ms", "rate=1Mbit"}) {
      const std::string line = std::string(option) + '=' + waits + ",queue=1000\n";
      EXPECT_GE(memory(both + line) - without, 1000U * 1500) << line;
    }
    EXPECT_EQ(memory(both + option + "=loss=1%,queue=1000\n"), without) << "no frame waits";
  }
  EXPECT_GE(memory(one + "fault=delay=1s,queue=10000000\n") - min, 10'000'000U * 1500);
  EXPECT_GE(memory(one + "verify_async=64\nverify_backlog=1000000000\n") - min, 128 * 16 * kMega);
  EXPECT_GE(memory(one + "mtu=65000\nbs=65000\niodepth_batch=1024\nio_submit_mode=offload\n"),
            9 * 1024 * 65000U);
  const test::TempDir directory;
  std::ofstream(directory.file("x.pcap")) << "";
  std::filesystem::resize_file(directory.file("x.pcap"), 64 * kMega);
  EXPECT_EQ(memory("[a]\nreplay=" + directory.file("x.pcap") + '\n') - min, 64 * kMega);
  ServerLimits limits;
  const auto plan = expand(set_of(one + "bus_size=1g\n")).value();
  const std::string why = too_much_memory(limits, plan, {});
  EXPECT_NE(why.find("--max-memory"), std::string::npos) << why;
  limits.max_memory = memory_of(plan);
  EXPECT_EQ(too_much_memory(limits, plan, {}), "");
  --limits.max_memory;
  EXPECT_NE(too_much_memory(limits, plan, {}), "");
}

TEST(ServerLimits, MemoryForTheResultsOfAllRepetitionsIsCounted) {
  const auto plan_for = [](const std::string& text) { return expand(set_of(text)).value(); };
  const auto plan = plan_for("[a]\nrw=tx\nsize=1k\n");
  const std::size_t jobs = plan.size();
  const auto grows_by = [](const std::vector<PlannedJob>& of, std::uint64_t runs) {
    return memory_of(of, runs) - memory_of(of, 1);
  };
  // Latency, service and spacing of each job, and two of its group.
  EXPECT_GE(grows_by(plan, 1000), 999 * jobs * 5 * sizeof(LatencyHistogram));
  EXPECT_EQ(grows_by(plan, 1000), 999 * grows_by(plan, 2));
  // A curve of a run of a minute has ten intervals a second.
  const auto minute = plan_for("[a]\nrw=tx\nruntime=60\n");
  EXPECT_GE(grows_by(minute, 2) - grows_by(plan, 2), jobs * 600 * sizeof(IntervalResult));
  // All runs together take no longer than the server lets them.
  EXPECT_LE(grows_by(minute, 1000) - grows_by(plan, 1000),
            jobs * 10 * 3602 * sizeof(IntervalResult));
  // All jobs have the intervals that the longest runtime makes short, also those without one.
  const auto beside = plan_for("[s]\nrw=tx\nruntime=10\n[a]\nrw=tx\nsize=1k\n");
  const auto alone = plan_for("[s]\nrw=tx\nruntime=10\n");
  constexpr std::uint64_t kBus = 4U << 20U;  // they share it
  const std::uint64_t of_second = jobs * 3601 * sizeof(IntervalResult);
  EXPECT_EQ(memory_of(beside) - memory_of(alone) - memory_of(plan), 9 * of_second - kBus);
  const auto beside_long = plan_for("[s]\nrw=tx\nruntime=61\n[a]\nrw=tx\nsize=1k\n");
  const auto long_alone = plan_for("[s]\nrw=tx\nruntime=61\n");
  EXPECT_EQ(memory_of(beside_long) - memory_of(long_alone), memory_of(plan) - kBus);
  ServerLimits limits;
  RunOptions run;
  EXPECT_EQ(too_much_memory(limits, plan_for("[a]\nrw=tx\nsize=1k\nnumjobs=20\n"), run), "");
  run.repeat = 1000;
  const std::string why =
      too_much_memory(limits, plan_for("[a]\nrw=tx\nsize=1k\nnumjobs=20\n"), run);
  EXPECT_NE(why.find("ask for less by repeat, "), std::string::npos) << why;
}

TEST(ServerLimits, MemoryForHistogramsOfLogsIsCounted) {
  const auto memory = [](const std::string& text) {
    return memory_of(expand(set_of("[a]\nrw=tx\nruntime=60\n" + text)).value());
  };
  const std::uint64_t without = memory("");
  EXPECT_EQ(memory("write_bw_log=x\nlog_avg_msec=10\n"), without) << "they are not kept";
  EXPECT_EQ(memory("write_lat_log=x\n"), without) << "its lines have means only";
  EXPECT_EQ(memory("write_hist_log=x\n"), without + 2 * kHistogramBlocks * sizeof(HistogramBlock))
      << "of the job and its peer";
}

TEST(ServerLimits, MemoryForOptionsIsCountedBeforeTheyAreCopiedForEachClone) {
  ServerLimits limits;
  JobSet set = set_of("[a]\nrw=tx\nsize=1k\nnumjobs=64\n");
  EXPECT_EQ(too_much_memory(limits, set), "");
  for (int i = 0; i < 60; ++i)
    set.jobs[0].given.emplace_back("description", std::string(65536, 'x'));
  const std::string why = too_much_memory(limits, set);
  EXPECT_NE(why.find("numjobs, or by shorter options"), std::string::npos) << why;
  const auto problems = apply_limits(limits, set);
  EXPECT_EQ(std::ranges::count(problems, why), 1) << "it is refused before it is planned";
  set.jobs[0].numjobs = 1;
  EXPECT_EQ(too_much_memory(limits, set), "") << "this is of 4 MB";
  set.jobs[0].engines.assign(64, EngineKind::udp);
  EXPECT_NE(too_much_memory(limits, set), "");
}

TEST(ServerLimits, MemoryThatIsMoreThanCanBeCountedIsTooMuch) {
  auto plan = expand(set_of("[a]\nrw=tx\nsize=1k\nfault=delay=1ms,queue=1000\n")).value();
  for (const std::uint64_t frames : {~std::uint64_t{0}, ~std::uint64_t{0} / 1714 + 1}) {
    plan[0].options.fault.queue_frames = frames;
    EXPECT_GE(memory_of(plan), std::uint64_t{1} << 60U) << frames;
  }
}

TEST(ServerLimits, MemoryOfALinkIsThatOfItsQueueWhereFramesWait) {
  auto plan = expand(set_of("[a]\nrw=tx\nsize=1k\n")).value();
  const std::uint64_t without = memory_of(plan);
  FaultOptions& fault = plan[0].options.fault;
  fault.queue_frames = 1000;
  EXPECT_EQ(memory_of(plan), without) << "none waits";
  fault.jitter = std::chrono::milliseconds(1);
  EXPECT_EQ(memory_of(plan) - without, 1000 * (1500U + 22 + 192));
  fault.queue_frames = 0;
  EXPECT_EQ(memory_of(plan) - without, kMaxFaultBytes) << "as much as a link takes at all";
}

TEST(ServerLimits, MemoryForVerificationIsCountedWithThreadsOrABacklogAlone) {
  const auto memory = [](const std::string& text) {
    return memory_of(expand(set_of("[a]\nsize=1k\nverify=crc32c\n" + text)).value());
  };
  const std::uint64_t min = memory("");
  constexpr std::uint64_t kFrame = 1500 + 22;  // the longest, with its header and tags
  constexpr std::uint64_t kGroup = 64 * (kFrame + 192);
  // Two groups for each thread and two more, of 64 frames where there is no backlog.
  const std::uint64_t jobs = (memory("verify_async=1\n") - min) / (4 * kGroup + (256U << 10U));
  EXPECT_TRUE(jobs == 1 || jobs == 2) << "of who verifies";
  EXPECT_EQ(memory("verify_async=1\n") - min, jobs * (4 * kGroup + (256U << 10U)));
  EXPECT_EQ(memory("verify_async=3\n") - min, jobs * (8 * kGroup + 3 * (256U << 10U)));
  EXPECT_EQ(memory("verify_backlog=64\n") - min, jobs * 2 * kGroup);
  EXPECT_EQ(memory("verify_backlog=128\n") - min, jobs * 4 * kGroup);
}

TEST(ServerLimits, MemoryForFramesIsCountedWithTheirHeadersAndQueues) {
  const auto memory = [](const std::string& text) {
    return memory_of(expand(set_of("[a]\nsize=1k\nrw=tx\n" + text)).value());
  };
  constexpr std::uint64_t kFrame = 1500 + 22;
  const auto more = [&](const std::string& text) {
    const std::string one = "iodepth_batch=32\n" + text;
    return memory("iodepth_batch=132\n" + text) - memory(one);
  };
  const std::uint64_t plain = more("");
  EXPECT_GT(plain, 0U);
  EXPECT_EQ(plain % (2 * 100 * kFrame), 0U) << "two batches";
  EXPECT_EQ(more("io_submit_mode=offload\n"), 5 * plain);
  // A capture that is no regular file may be as long as a capture may be.
  const test::TempDir directory;
  ASSERT_EQ(::mkfifo(directory.file("pipe").c_str(), 0600), 0);
  EXPECT_GE(memory("replay=" + directory.file("pipe") + '\n') - memory(""), 64U << 20U);
  EXPECT_EQ(memory("fault=delay=1ms,queue=1000\n") - memory(""), 1000 * (kFrame + 192));
  // The ring of a bus that is there already takes nothing more.
  EXPECT_LT(memory("bus=/dev/shm/there\n"), memory(""));
}

TEST(ServerLimits, WhatNeedsLeaveIsEachOptionOfTheseAndNoOther) {
  using Names = std::set<std::string>;
  std::map<OnServer, Names> needs;
  for (const OptionRow& row : option_table()) needs[row.on_server].insert(row.name);
  needs.erase(OnServer::allowed);
  EXPECT_EQ(
      needs,
      (std::map<OnServer, Names>{
          {OnServer::needs_exec,
           {"exec", "exec_prerun", "exec_postrun", "trigger", "uid", "gid", "cgroup",
            "cgroup_weight", "cgroup_nodelete", "rtprio"}},
          {OnServer::needs_directory,
           {"bus", "filename", "replay", "write_pcap", "write_bw_log", "write_iops_log",
            "write_lat_log", "write_hist_log", "verify_state_load", "aux-path", "trigger-file"}},
          {OnServer::names_capture, {"headers"}},
          {OnServer::saves_state, {"verify_state_save", "trigger-timeout"}},
          {OnServer::matches_frames, {"trigger-match"}},
          {OnServer::names_host, {"hostname"}},
          {OnServer::names_port, {"port"}},
          {OnServer::needs_live, {"allow_live", "netdev", "netns", "no_peer"}},
          {OnServer::names_sockets, {"socket"}},
          {OnServer::client_only,
           {"server", "output", "output-format", "details", "eta", "json-stream", "format",
            "metrics"}}}));
}

TEST(ServerLimits, APathIsBelowTheDirectoryAndNotBesideOneOfALongerName) {
  const test::TempDir parent("/tmp");
  for (const char* name : {"dir", "dir2", "dir/sub"}) {
    std::filesystem::create_directory(parent.file(name));
  }
  std::filesystem::create_directory_symlink(parent.file("dir2"), parent.file("dir/out"));
  std::filesystem::create_directory_symlink("sub", parent.file("dir/in"));
  ServerLimits limits;
  limits.directory = parent.file("dir");
  const auto path = [&](const std::string& given) {
    JobSet set = set_of("[a]\nsize=1k\nwrite_bw_log=" + given + '\n');
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? set.jobs.at(0).write_bw_log : problems.at(0);
  };
  EXPECT_EQ(path("x"), parent.file("dir/x"));
  EXPECT_EQ(path("sub/x"), parent.file("dir/sub/x"));
  EXPECT_EQ(path("sub/../x"), parent.file("dir/x"));
  EXPECT_EQ(path("in/x"), parent.file("dir/sub/x")) << "a link that stays below";
  EXPECT_EQ(path(parent.file("dir/x")), parent.file("dir/x"));
  for (const std::string& elsewhere :
       {std::string("../dir2/x"), parent.file("dir2/x"), std::string("out/x"), std::string("..")}) {
    EXPECT_EQ(path(elsewhere), "job \"a\": write_bw_log: \"" + elsewhere +
                                   "\" is not below the server's --directory");
  }
}

TEST(ServerLimits, SocketsAreBelowTheDirectoryAndVdeNetworksRunNoPrograms) {
  const test::TempDir parent("/tmp");
  std::filesystem::create_directory(parent.file("dir"));
  std::filesystem::create_directory_symlink(parent.path(), parent.file("dir/out"));
  ServerLimits limits;
  limits.allow_live = true;
  limits.directory = parent.file("dir");
  const auto given = [&](const std::string& engine, const std::string& value) {
    JobSet set = set_of("[a]\nsize=1k\nengine=" + engine + "\nsocket=" + value + '\n');
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? set.jobs.at(0).socket : problems.at(0);
  };
  const std::string dir = limits.directory + '/';
  EXPECT_EQ(given("stream", "q"), dir + "q");
  EXPECT_EQ(given("stream", dir + "q,127.0.0.1:7000"), dir + "q,127.0.0.1:7000");
  EXPECT_EQ(given("stream", "[::1]:7000"), "[::1]:7000");
  EXPECT_EQ(given("dgram", "a,./b"), dir + "a," + dir + "b");
  EXPECT_EQ(given("vde", "shmif://./bus0,shmif://bus0[vm-1]"),
            "shmif://" + dir + "bus0,shmif://" + dir + "bus0[vm-1]");
  const auto refused = [&](const std::string& engine, const std::string& value,
                           const std::string& why) {
    const std::string said = given(engine, value);
    EXPECT_NE(said.find("job \"a\": socket: "), std::string::npos) << said;
    EXPECT_NE(said.find(why), std::string::npos) << said;
  };
  for (const char* const url : {"cmd://touch x", "tap://t0", "slirp://", "vxvde://", "udp://7000",
                                "../../tmp/evil://", "multi:///x", "VDE:///x", "://x", "vde.ctl",
                                "vde://vde.ctl", "/run/vde.ctl", "shmif://bus0,vde://vde.ctl"})
    refused("vde", url, "--allow-exec");
  const std::string elsewhere = "is not below the server's --directory";
  for (const char* const path : {"shmif:///dev/shm/bus0", "shmif://../x", "shmif://out/x",
                                 "shmif://bus0,shmif:///dev/shm/bus0"})
    refused("vde", path, elsewhere);
  for (const char* const path :
       {"shmif://", "shmif://a[]", "shmif://a[", "shmif://a[1", "shmif://a[port=../b]",
        "shmif://'..'/x", "shmif://a[mode=777/group=x]", "shmif://a\\b", "shmif://a[1]b"})
    refused("vde", path, "is not the path of a bus");
  refused("vde,stream", "shmif://../q,shmif://../q", elsewhere);
  for (const char* const engine : {"stream", "dgram"}) {
    for (const char* const path : {"/run/q,/run/q", "../q,../q", "./out/q,q", "..,q"})
      refused(engine, path, elsewhere);
  }
  limits.allow_exec = true;
  EXPECT_EQ(given("vde", "slirp://,cmd://x"), "slirp://,cmd://x");
  refused("stream", "/run/q", elsewhere);
  limits.allow_exec = false;
  limits.directory = "";
  refused("stream", "q", "--directory DIR");
  refused("vde", "shmif://q", "--directory DIR");
  EXPECT_EQ(given("stream", "127.0.0.1:7000"), "127.0.0.1:7000");
  limits.allow_live = false;
  refused("stream", "127.0.0.1:7000", "--allow-live");
}

TEST(ServerLimits, HostsAreAddressesOfItsMachineAndOthersNeedItsNetworks) {
  const auto given = [](const std::string& host, const ServerLimits& limits) {
    JobSet set = set_of("[a]\nsize=1k\nengine=udp\nhostname=" + host + '\n');
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? "" : problems.at(0);
  };
  ServerLimits live;
  live.allow_live = true;
  for (const char* const here : {"127.0.0.1", "127.77.1.2", "::1", "::ffff:127.0.0.1", "127.1"})
    EXPECT_EQ(given(here, {}), "") << here;
  for (const char* const elsewhere :
       {"239.1.2.3", "224.0.0.251", "255.255.255.255", "0.0.0.0", "198.18.77.255", "198.18.77.9",
        "ff02::114", "ff02::114%lo", "ff02::1%1", "ff05::1", "::", "::ffff:239.1.2.3",
        "::ffff:0.0.0.0", "fd00:77::9", "4009820674"}) {
    const std::string said = given(elsewhere, {});
    EXPECT_NE(said.find("job \"a\": hostname: \"" + std::string(elsewhere)), std::string::npos)
        << said;
    EXPECT_NE(said.find("--allow-live"), std::string::npos) << said;
    EXPECT_EQ(given(elsewhere, live), "") << elsewhere;
  }
  live.allow_exec = true;
  for (const char* const name : {"localhost", "example.invalid", "127.0.0.1.example.invalid"}) {
    for (const ServerLimits& limits : {ServerLimits{}, live}) {
      EXPECT_NE(given(name, limits).find("this server looks up no names"), std::string::npos)
          << given(name, limits);
    }
  }
}

TEST(ServerLimits, PortsOfRootNeedThoseOfCommands) {
  const auto refused = [](const std::string& option, const ServerLimits& limits) {
    JobSet set = set_of("[a]\nsize=1k\n" + option + '\n');
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? std::string() : problems.at(0);
  };
  ServerLimits live;
  live.allow_live = true;
  ServerLimits all = live;
  all.allow_exec = true;
  const std::string dgram = "engine=dgram\nsocket=";
  for (const std::string& option :
       {std::string("engine=udp\nport=53"), std::string("engine=udp\nport=1023"),
        dgram + "127.0.0.1:1023,127.0.0.1:7000",
        dgram + "127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:1,127.0.0.1:7002"}) {
    EXPECT_NE(refused(option, live).find("ports below 1024"), std::string::npos) << option;
    EXPECT_NE(refused(option, live).find("--allow-exec"), std::string::npos) << option;
    EXPECT_EQ(refused(option, all), "") << option;
  }
  for (const std::string& option :
       {std::string("engine=udp\nport=0"), std::string("engine=udp\nport=1024"),
        std::string("engine=udp\nport=53\nno_peer\nrw=tx"), dgram + "127.0.0.1:7000,127.0.0.1:53",
        std::string("engine=stream\nsocket=127.0.0.1:53")})
    EXPECT_EQ(refused(option, live), "") << option;
  for (const std::string& option :
       {dgram + "localhost:7000,127.0.0.1:7001", dgram + "127.0.0.1:7000,example.invalid:7001",
        std::string("engine=stream\nsocket=localhost:7000")})
    EXPECT_NE(refused(option, all).find("looks up no names"), std::string::npos) << option;
}

TEST(ServerLimits, FiltersHaveNoNamesToLookUp) {
  const test::TempDir directory("/tmp");
  ServerLimits limits;
  limits.directory = directory.path();
  const auto refused = [&](const std::string& filter) {
    JobSet set = set_of("[global]\ntrigger-match=" + filter + "\n[a]\nsize=1k\n");
    const auto problems = apply_limits(limits, set);
    return problems.empty() ? std::string() : problems.at(0);
  };
  for (const char* const filter :
       {"udp", "host 198.18.0.1", "net 198.18.0.0/15 and not port 53", "ip6 host fd00::1",
        "ether host b2:a0:00:00:00:01", "(tcp[tcpflags] & (tcp-syn|tcp-fin)) != 0",
        "portrange 1-100 or less 0x40", "udp[8:4] = 0x73686d66", "ether[12:2]==0x88b5"})
    EXPECT_EQ(refused(filter), "") << filter;
  for (const auto& [filter, word] : {std::pair{"host example.invalid", "example.invalid"},
                                     {"udp and src cafe", "cafe"},
                                     {"host \\udp", "\\udp"},
                                     {"net loopback", "loopback"},
                                     {"gateway gw", "gw"},
                                     {"host 0xbad.example", "0xbad.example"},
                                     {"ether host box-1", "box-1"},
                                     {"src host 1and1.invalid", "1and1.invalid"},
                                     {"dst(box)", "box"}}) {
    const std::string said = refused(filter);
    EXPECT_NE(
        said.find("trigger-match: this server looks up no names, and \"" + std::string(word) + '"'),
        std::string::npos)
        << filter << ": " << said;
  }
}

TEST(ServerLimits, FaultsHaveNoNamesToLookUpInTheirFilter) {
  const auto refused = [](const std::string& option, const std::string& value) {
    JobTexts texts;
    texts.jobs.push_back({"a", "", {{"size", "1k"}, {"rw", "txrx"}, {option, value}}});
    std::vector<std::string> problems;
    (void)job_set_of(texts, ServerLimits{}, problems);
    return problems.empty() ? std::string() : problems.at(0);
  };
  for (const std::string option : {"fault", "fault_rx"}) {
    for (const char* const value :
         {"loss=1%", "match='udp port 53',loss=1%", "loss=1%,match=host 198.18.0.1",
          "match=udp,loss=1%", "match=\"tcp\",drop=1-3"})
      EXPECT_EQ(refused(option, value), "") << value;
    for (const auto& [value, word] :
         {std::pair{"match='host example.invalid',loss=1%", "example.invalid"},
          {"loss=1%,match=host example.invalid", "example.invalid"}}) {
      const std::string said = refused(option, value);
      EXPECT_TRUE(said.starts_with("job \"a\": " + option + ": ")) << said;
      EXPECT_NE(said.find('"' + std::string(word) + "\" is no number"), std::string::npos)
          << value << ": " << said;
    }
  }
}

/// A capture with one UDP frame.
void write_capture(const std::string& path) {
  FrameMakerOptions options;
  options.headers = HeaderTemplate::parse("ipv4/udp").value();
  FrameMaker maker(options);
  const FrameView frame = maker.make(0, 200, {});
  PcapWriter writer = PcapWriter::create(path).value();
  ASSERT_EQ(writer.send({&frame, 1}).taken, 1U);
}

TEST(ServerLimits, ACaptureInHeadersIsOpenedOnlyBelowTheDirectory) {
  const test::TempDir parent("/tmp");
  ServerLimits limits;
  limits.directory = parent.file("dir");
  for (const char* name : {"dir", "dir/sub"}) std::filesystem::create_directory(parent.file(name));
  write_capture(parent.file("dir/sub/x.pcap"));
  write_capture(parent.file("secret.pcap"));
  std::filesystem::create_symlink(parent.file("secret.pcap"), parent.file("dir/link"));
  ASSERT_EQ(::mkfifo(parent.file("dir/fifo").c_str(), 0600), 0);
  const auto headers = [](const std::string& value, const ServerLimits& allowed) {
    JobTexts texts;
    texts.jobs = {{"a", "", {{"size", "1k"}, {"headers", value}}}};
    std::vector<std::string> problems;
    const JobSet set = job_set_of(texts, allowed, problems);
    return problems.empty() ? set.jobs.at(0).headers : problems.at(0);
  };
  const std::string inside = "pcap(" + parent.file("dir/sub/x.pcap") + ",1)/ipv4(ttl=9)";
  EXPECT_EQ(headers("pcap(sub/x.pcap,1)/ipv4(ttl=9)", limits), inside);
  EXPECT_EQ(headers(inside, limits), inside);
  EXPECT_EQ(headers("vlan(id=7)/ipv4", ServerLimits{}), "vlan(id=7)/ipv4");
  const std::string who = "job \"a\": headers: ";
  for (const std::string& path : {std::string("../secret.pcap"), parent.file("secret.pcap"),
                                  std::string("link"), std::string("/dev/zero")}) {
    const std::string refused = who + '"' + path + "\" is not below the server's --directory";
    EXPECT_EQ(headers("pcap(" + path + ",1)", limits), refused);
    EXPECT_EQ(headers("PCAP(" + path + ")/ipv4", limits), refused);
  }
  for (const char* name : {"fifo", "sub", "missing"}) {
    EXPECT_EQ(headers(std::string("pcap(") + name + ",1)", limits),
              who + "there is no file \"" + parent.file(std::string("dir/") + name) + '"');
  }
  EXPECT_NE(headers("pcap(sub/x.pcap,1)", ServerLimits{}).find("--directory DIR"),
            std::string::npos);
  // Made whole, the path would end elsewhere.
  ServerLimits odd;
  odd.directory = parent.file("a,b");
  std::filesystem::create_directory(odd.directory);
  write_capture(odd.directory + "/x.pcap");
  EXPECT_EQ(
      headers("pcap(x.pcap,1)", odd),
      who + "the path \"" + odd.directory + "/x.pcap\" has characters that end a path in headers");
}

TEST(ServerLimits, OtherFilesGoToTheDirectoryUnlessToldWhereInIt) {
  const test::TempDir directory("/tmp");
  std::filesystem::create_directory(directory.file("sub"));
  ServerLimits limits;
  limits.directory = directory.path();
  JobSet set = set_of("[a]\nsize=1k\n");
  set.run.allow_exec = true;
  EXPECT_TRUE(apply_limits(limits, set).empty());
  EXPECT_EQ(set.run.aux_path, directory.path());
  EXPECT_FALSE(set.run.allow_exec) << "it is the server that allows that";
  JobSet told = set_of("[global]\naux-path=sub\n[a]\nsize=1k\n");
  EXPECT_TRUE(apply_limits(limits, told).empty());
  EXPECT_EQ(told.run.aux_path, directory.file("sub"));
}

TEST(ServerLimits, OfManyProblemsTwentyAreTold) {
  const auto jobs = [](std::size_t count, const std::string& option) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
      text += "[j" + std::to_string(i) + "]\nsize=1k\n" + option + '\n';
    }
    return text;
  };
  for (const char* option : {"uid=1", "write_pcap=x", "runtime=2h", "allow_live=1"}) {
    for (const auto& [count, told] : {std::pair{19U, 19U}, {20U, 20U}, {21U, 20U}}) {
      JobSet set = set_of(jobs(count, option));
      EXPECT_EQ(apply_limits(ServerLimits{}, set).size(), told) << option;
    }
  }
  for (const auto& [count, told] : {std::pair{19U, 19U}, {20U, 20U}, {21U, 20U}}) {
    JobTexts names;
    JobTexts options;
    JobTexts of_run;
    options.jobs.emplace_back().name = "a";
    for (std::size_t i = 0; i < count; ++i) {
      names.jobs.push_back({"a/b", "", {}});
      options.jobs[0].options.emplace_back("rat", "1");
      of_run.run.emplace_back("rat", "1");
    }
    for (const JobTexts& texts : {names, options, of_run}) {
      std::vector<std::string> problems;
      (void)job_set_of(texts, ServerLimits{}, problems);
      EXPECT_EQ(problems.size(), told);
    }
    std::vector<std::string> problems;
    (void)job_set_of(of_run, ServerLimits{}, problems);
    EXPECT_EQ(problems.at(0).find("unknown option"), 0U) << problems[0];
  }
}

TEST(ServerLimits, LeaveTheProfilesAlone) {
  for (const Profile& profile : profiles()) {
    JobSet set;
    ASSERT_TRUE(read_job_text(profile.name, profile.text, set).empty());
    const auto problems = apply_limits(ServerLimits{}, set);
    EXPECT_TRUE(problems.empty()) << profile.name << ": " << problems.front();
    EXPECT_EQ(too_much_memory(ServerLimits{}, expand(set).value(), set.run), "") << profile.name;
  }
}

}  // namespace
}  // namespace shmif::perf
