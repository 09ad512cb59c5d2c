// What a server takes from strangers.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <utility>

#include "perf/frame/frame_maker.hpp"
#include "perf/option/job_file.hpp"
#include "perf/option/option_table.hpp"
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

/// What a server that allows nothing says of a set; "" if it takes it.
std::string said_of(const std::string& text, const ServerLimits& limits = {}) {
  JobSet set = set_of(text);
  const auto problems = apply_limits(limits, set);
  return problems.empty() ? "" : problems.front();
}

/// The options of a job, and a word of the refusal; "": a server takes them that allows nothing.
struct Wish {
  std::string options;
  std::string word;
};

void expect_answers(const std::vector<Wish>& wishes, const ServerLimits& limits = {}) {
  for (const auto& [options, word] : wishes) {
    const std::string said = said_of("[a]\nsize=1k\n" + options + '\n', limits);
    EXPECT_EQ(said.empty(), word.empty()) << options << ": " << said;
    EXPECT_NE(said.find(word), std::string::npos) << options << ": " << said;
  }
}

TEST(ServerLimits, WhatNeedsLeaveIsRefusedWithTheOptionThatGivesIt) {
  expect_answers({{"verify_state_save=1", "--directory"},
                  {"verify_state_save=0", ""},
                  {"nice=-1", "--allow-exec"},
                  {"nice=-01", "--allow-exec"},
                  {"rtprio=1", "--allow-exec"},
                  {"nice=10", ""},
                  {"allow_live=1", "--allow-live"},
                  {"allow_live=0", ""},
                  {"numjobs=65", "--max-jobs"},
                  {"runtime=2h", "--max-runtime"}});
  for (const char* option : {"trigger-timeout=1", "trigger-match=udp", "trigger-file=x"}) {
    const std::string said = said_of(std::string("[global]\n") + option + "\n[a]\nsize=1k\n");
    EXPECT_NE(said.find("--directory"), std::string::npos) << option;
  }
  EXPECT_EQ(said_of("[global]\ntrigger-timeout=0\n[a]\nsize=1k\n"), "");
  ServerLimits brief;
  brief.max_runtime = std::chrono::seconds(10);
  expect_answers({{"runtime=5\nramp_time=3\nstart_delay=2", ""},
                  {"runtime=5500ms\nramp_time=3\nstart_delay=2", "10500ms"},
                  {"runtime=7500ms\nramp_time=3", "10500ms"},
                  {"runtime=7500ms\nstart_delay=3", "10500ms"}},
                 brief);
}

TEST(ServerLimits, JobsAreCountedWithTheirClonesEnginesAndThreads) {
  const std::pair<const char*, std::size_t> sets[] = {
      {"[a]\nsize=1k\n[b]\nsize=1k\n", 2},
      {"[a]\nsize=1k\nengine=bus,unix\nnumjobs=3\n[b]\nsize=1k\n", 7},
      {"[a]\nsize=1k\nio_submit_mode=offload\nverify_async=2\nnumjobs=3\n[b]\nsize=1k\n", 13}};
  for (const auto& [text, jobs] : sets) {
    ServerLimits limits;
    limits.max_jobs = jobs;
    EXPECT_EQ(said_of(text, limits), "") << text;
    --limits.max_jobs;
    EXPECT_NE(said_of(text, limits).find("--max-jobs"), std::string::npos) << text;
  }
}

TEST(ServerLimits, HostsAreAddressesOfItsMachineAndOthersNeedItsNetworks) {
  ServerLimits live;
  live.allow_live = true;
  const std::string to = "engine=udp\nhostname=";
  for (const char* const here : {"127.0.0.1", "127.77.1.2", "::1", "::ffff:127.0.0.1", "127.1"})
    expect_answers({{to + here, ""}});
  for (const char* const elsewhere :
       {"239.1.2.3", "255.255.255.255", "0.0.0.0", "198.18.77.9", "ff02::114%lo",
        "::", "::ffff:239.1.2.3", "::ffff:0.0.0.0", "fd00:77::9", "4009820674"}) {
    expect_answers({{to + elsewhere, "--allow-live"}});
    expect_answers({{to + elsewhere, ""}}, live);
  }
  const std::string port = "engine=bus\nhostname=02:00:00:00:00:01";
  expect_answers({{port, "--allow-live"}});
  expect_answers({{port, ""}}, live);
  live.allow_exec = true;
  for (const char* const name : {"localhost", "example.invalid", "127.0.0.1.example.invalid"})
    expect_answers({{to + name, "looks up no names"}}, live);
}

TEST(ServerLimits, PortsOfRootNeedThoseOfCommands) {
  ServerLimits live;
  live.allow_live = true;
  ServerLimits all = live;
  all.allow_exec = true;
  const std::string dgram = "engine=dgram\nsocket=";
  const std::string four = "127.0.0.1:7000,127.0.0.1:7001,127.0.0.1:1,127.0.0.1:7002";
  for (const std::string& option : {std::string("engine=udp\nport=1023"), dgram + four,
                                    dgram + "127.0.0.1:1023,127.0.0.1:7000"}) {
    expect_answers({{option, "--allow-exec"}}, live);
    expect_answers({{option, ""}}, all);
  }
  expect_answers({{"engine=udp\nport=0", ""},
                  {"engine=udp\nport=1024", ""},
                  {"engine=udp\nport=53\nno_peer\nrw=tx", ""},
                  {dgram + "127.0.0.1:7000,127.0.0.1:53", ""},
                  {"engine=stream\nsocket=127.0.0.1:53", ""}},
                 live);
  expect_answers({{dgram + "127.0.0.1:7000,example.invalid:7001", "looks up no names"},
                  {"engine=stream\nsocket=localhost:7000", "looks up no names"}},
                 all);
}

TEST(ServerLimits, FiltersHaveNoNamesToLookUp) {
  const test::TempDir directory("/tmp");
  ServerLimits limits;
  limits.directory = directory.path();
  const auto refused = [&](const std::string& filter) {
    return said_of("[global]\ntrigger-match=" + filter + "\n[a]\nsize=1k\n", limits);
  };
  for (const char* const filter :
       {"udp", "host 198.18.0.1", "net 198.18.0.0/15 and not port 53", "ip6 host fd00::1",
        "ether host b2:a0:00:00:00:01", "(tcp[tcpflags] & (tcp-syn|tcp-fin)) != 0",
        "portrange 1-100 or less 0x40", "udp[8:4] = 0x73686d66", "ether[12:2]==0x88b5"})
    EXPECT_EQ(refused(filter), "") << filter;
  for (const char* const filter :
       {"host example.invalid", "udp and src cafe", "host \\udp", "net loopback", "gateway gw",
        "host 0xbad.example", "ether host box-1", "src host 1and1.invalid", "dst(box)"})
    EXPECT_NE(refused(filter).find("looks up no names"), std::string::npos) << filter;
  for (const std::string option : {"fault", "fault_rx"}) {
    for (const auto& [value, name] :
         {std::pair{"match='udp port 53',loss=1%", ""},
          {"loss=1%,match=host 198.18.0.1", ""},
          {"match='host example.invalid',loss=1%", "\"example.invalid\" is no number"},
          {"loss=1%,match=host example.invalid", "\"example.invalid\" is no number"}}) {
      JobTexts texts;
      texts.jobs.push_back({"a", "", {{"size", "1k"}, {"rw", "txrx"}, {option, value}}});
      std::vector<std::string> problems;
      (void)job_set_of(texts, ServerLimits{}, problems);
      const std::string said = problems.empty() ? "" : problems[0];
      EXPECT_EQ(said.empty(), *name == '\0') << value;
      EXPECT_NE(said.find(name), std::string::npos) << said;
    }
  }
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

TEST(ServerLimits, MemoryIsThatOfAllJobsAndTheirBusesTogether) {
  const auto memory = [](const std::string& text) {
    return memory_of(expand(set_of(text)).value());
  };
  const std::string one = "[a]\nsize=1k\n";
  const std::uint64_t min = memory(one);
  constexpr std::uint64_t kMega = 1U << 20U;
  EXPECT_EQ(memory(one + "bus_size=64m\n") - min, 60 * kMega);
  EXPECT_EQ(memory(one + "[b]\nsize=1k\n[c]\nsize=1k\n"), 3 * (min - 4 * kMega) + 32 * kMega)
      << "one bus, which is larger";
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
  const std::string both = "[a]\nrw=pingpong\nsize=1k\n";
  for (const char* waits : {"fault=delay=1s", "fault_rx=rate=1Mbit"}) {
    EXPECT_GE(memory(both + waits + ",queue=1000\n") - memory(both), 1000U * 1500) << waits;
  }
  EXPECT_EQ(memory(both + "fault=loss=1%,queue=1000\n"), memory(both)) << "no frame waits";
  EXPECT_GE(memory(one + "verify_async=64\nverify_backlog=1000000000\n") - min, 128 * 16 * kMega);
  EXPECT_EQ(memory(one + "verify_async=2\n") - memory(one + "verify_async=1\n"),
            2 * (2 * 64 * (1522 + 192) + kMega / 4))
      << "of each thread two groups of frames, and its stack";
  EXPECT_GE(memory(one + "mtu=65000\nbs=65000\niodepth_batch=1024\nio_submit_mode=offload\n"),
            9 * 1024 * 65000U);
  EXPECT_GE(memory(one + "write_hist_log=x\n") - min, kHistogramBlocks * sizeof(HistogramBlock));
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
  ServerLimits limits;
  RunOptions run;
  EXPECT_EQ(too_much_memory(limits, plan_for("[a]\nrw=tx\nsize=1k\nnumjobs=20\n"), run), "");
  run.repeat = 1000;
  const std::string why =
      too_much_memory(limits, plan_for("[a]\nrw=tx\nsize=1k\nnumjobs=20\n"), run);
  EXPECT_NE(why.find("ask for less by repeat, "), std::string::npos) << why;
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
  EXPECT_NE(path(".").find("\".\" is the server's --directory itself"), std::string::npos);
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

TEST(ServerLimits, OfManyProblemsTwentyAreTold) {
  for (const auto& [count, told] : {std::pair{19U, 19U}, {21U, 20U}}) {
    std::string text;
    JobTexts texts;
    texts.jobs.emplace_back().name = "a";
    for (std::size_t i = 0; i < count; ++i) {
      text += "[j" + std::to_string(i) + "]\nsize=1k\nallow_live=1\n";
      texts.jobs[0].options.emplace_back("rat", "1");
    }
    JobSet set = set_of(text);
    EXPECT_EQ(apply_limits(ServerLimits{}, set).size(), told);
    std::vector<std::string> problems;
    (void)job_set_of(texts, ServerLimits{}, problems);
    EXPECT_EQ(problems.size(), told);
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
