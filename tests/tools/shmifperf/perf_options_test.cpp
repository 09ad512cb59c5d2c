// What shmifperf makes of its command line, through the program itself.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "perf/option/job_file.hpp"
#include "perf/option/option_table.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// `shmifperf run ARGUMENTS --showcmd`, behind "shmifperf run".
std::string shown(const Words& arguments) {
  const ToolResult result = shmifperf(Words{"run"} + arguments + Words{"--showcmd"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(result.out.starts_with("shmifperf run ")) << result.out;
  return result.out.substr(14);
}

TEST(Shmifperf, HelpNamesItAndItsCommands) {
  const ToolResult help = shmifperf({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_TRUE(help.out.starts_with("usage: shmifperf ")) << help.out;
  EXPECT_FALSE(has(help.out, "shmifctl")) << help.out;
  for (const std::string command : {"run", "options", "report", "compare"}) {
    EXPECT_TRUE(has(help.out, "\n  " + command + ' '));
    const ToolResult one = shmifperf({command, "--help"});
    EXPECT_EQ(one.status, 0);
    EXPECT_TRUE(one.out.starts_with("usage: shmifperf " + command)) << one.out;
    EXPECT_TRUE(has(one.out, "\nexamples:\n  shmifperf")) << one.out;
  }
  EXPECT_TRUE(shmifperf({"--version"}).out.starts_with("shmifperf "));
}

TEST(Shmifperf, HelpOfRunNamesTheDefaultOfEachTimeAndFlag) {
  const std::string help = help_of("run");
  EXPECT_TRUE(has(help, "and so on (default: 1)")) << help;  // --why, a flag
  for (const perf::OptionRow& row : perf::option_table()) {
    if (!row.of_run() || !row.placeholder.starts_with("TIME")) continue;
    const std::string end = "(default: " + row.standard + "; default unit: " + row.unit + ')';
    const std::size_t at = help.find(" --" + row.name + ' ');
    ASSERT_NE(at, std::string::npos) << row.name;
    EXPECT_LT(help.find(end, at), help.find(" --", at + 1)) << row.name;
  }
}

TEST(Shmifperf, EveryOptionAndCategoryIsExplainedInEightyColumnsAndInTheManual) {
  const std::string all = shmifperf({"options"}).out;
  const std::string man = shmifperf({"options", "--man"}).out;
  for (const perf::OptionRow& row : perf::option_table()) {
    EXPECT_TRUE(has(all, "\n  " + row.name + (row.flag ? "[=" : "="))) << row.name;
    EXPECT_TRUE(has(man, "\n.It Fl Fl " + row.name + " Ns ")) << row.name;
  }
  for (const std::string& line : lines_of(all)) EXPECT_LE(line.size(), 80U) << line;
  EXPECT_EQ(times_in(man, "\n.Bl "), times_in(man, "\n.El"));
  EXPECT_EQ(times_in(man, "\n.Bd "), times_in(man, "\n.Ed"));
  for (const perf::CategoryInfo& info : perf::option_categories()) {
    EXPECT_TRUE(shmifperf({"options", info.name}).out.starts_with(info.title)) << info.name;
  }
  const std::string rate = shmifperf({"options", "rate-fps"}).out;
  EXPECT_TRUE(rate.starts_with("  rate_iops=")) << "by any of its names: " << rate;
  EXPECT_TRUE(has(rate, "default: 0, as fast as possible")) << rate;
  // As fio's users ask for it.
  const std::string bs = shmifperf({"options", "bs"}).out;
  EXPECT_TRUE(has(bs, "Values: 60 to 65535 (1m with proto=tcp)")) << bs;
  for (const Words& words : {Words{"run", "--help=bs"}, Words{"run", "--cmdhelp=bs"},
                             Words{"--help=bs"}, Words{"--cmdhelp=bs"}}) {
    EXPECT_EQ(shmifperf(words).out, bs);
  }
  EXPECT_EQ(shmifperf({"run", "--cmdhelp"}).out, all);
  EXPECT_EQ(shmifperf({"run", "--cmdhelp=all"}).out, all);
}

TEST(Shmifperf, ShowcmdHasTheJobsThatTheLineAndItsFilesMake) {
  const TempDir directory;
  const auto file = [&](const char* name, const char* text) {
    std::ofstream(directory.file(name)) << text;
    return directory.file(name);
  };
  const std::string jobs = file("x.job", "[global]\nruntime=5\nrate=1Mbit\n[a]\n[b]\nrate=2Mbit\n");
  const std::string halves = file("y.job", "[global]\nrw=txrx\nrate=10Mbit\n[a]\nrate=,5Mbit\n");
  const std::string outputs = file("z.job", "[global]\noutput=json:a\noutput=b\n[a]\nruntime=5\n");
  for (const auto& [line, wanted] : std::vector<std::pair<Words, std::string>>{
           {{"--rw=pingpong", "--runtime", "5", "--stonewall"},
            "\\\n  --name=job --rw=pingpong --runtime=5 --stonewall=1\n"},
           {{"--runtime=5", "--output-format=json", "--name=a", "--bs=128", "--name=b",
             "--group-reporting"},
            "--output-format=json \\\n  --name=a --runtime=5 --bs=128 \\\n"
            "  --name=b --runtime=5 --group_reporting=1\n"},
           {{"--runtime=1", "--rate-fps=7"}, "\\\n  --name=job --runtime=1 --rate_iops=7\n"},
           {{jobs, "--rate=9Mbit"},
            "\\\n  --name=a --runtime=5 --rate=9Mbit \\\n  --name=b --runtime=5 --rate=9Mbit\n"},
           {{jobs, "--section=b"}, "\\\n  --name=b --runtime=5 --rate=2Mbit\n"},
           {{jobs, "--section=b", "--section=a"},
            "\\\n  --name=a --runtime=5 --rate=1Mbit \\\n  --name=b --runtime=5 --rate=2Mbit\n"},
           {{jobs, "--section=a", "--rate=9Mbit", "--name=c", "--runtime=7", "--bs=128"},
            "\\\n  --name=a --runtime=5 --rate=9Mbit \\\n"
            "  --name=c --rate=9Mbit --runtime=7 --bs=128\n"},
           {{halves, "--runtime=1"}, "\\\n  --name=a --rw=txrx --rate=10Mbit,5Mbit --runtime=1\n"},
           {{outputs}, "--output=json:a --output=b \\\n  --name=a --runtime=5\n"},
           {{outputs, "--output=terse:c", "--output=d"},
            "--output=terse:c --output=d \\\n  --name=a --runtime=5\n"}}) {
    EXPECT_EQ(shown(line), wanted);
  }
  const ToolResult piped =
      shmifperf({"run", "-", "--showcmd"}, "[a]\nrate=1Mbit\nnumjobs=$ncpus\nsize=1\n");
  EXPECT_TRUE(has(piped.out, "--name=a --rate=1Mbit --numjobs=")) << piped.err;
}

TEST(Shmifperf, WhatShowcmdPrintsMeansTheSameAndProfilesAreJobFilesToBeginWith) {
  const auto expect_same_again = [](const std::string& line) {
    const ToolResult again = run_program(
        {"sh", "-c", shmifperf_path() + " run " + line.substr(0, line.size() - 1) + " --showcmd"});
    EXPECT_EQ(again.out, "shmifperf run " + line) << again.err;
  };
  expect_same_again(shown({"--name=it's $HOME", "--runtime=1"}));
  TempDir directory;
  for (const perf::Profile& profile : perf::profiles()) {
    expect_same_again(shown({"--profile", profile.name, "--description=it's \"$HOME\""}));
    const std::string path = directory.file(profile.name);
    std::ofstream(path) << shmifperf({"options", "--profile", profile.name}).out;
    EXPECT_EQ(shown({path}), shown({"--profile", profile.name}));
    EXPECT_EQ(shmifperf({"run", path, "--parse-only"}).status, 0);
    EXPECT_TRUE(has(shmifperf({"options", "--profiles"}).out, profile.name));
  }
}

/// The rest of the file may then have no effect: nobody has to repeat it without that.
TEST(Shmifperf, AnotherBusOrEngineOnTheCommandLineOverridesAFile) {
  TempDir directory;
  const std::string file = directory.file("x.job"), bus = directory.file("bus");
  std::ofstream(file) << "[a]\nbus_size=8M\nbus_pause\npercentile_list=50\nruntime=1\n";
  for (const Words& words :
       {Words{"--profile", "hosts", "--bus", bus}, Words{"--bus", bus, file},
        Words{"--engine=udp", file}, Words{"--engine=pcap", "--filename=" + bus, file}}) {
    const ToolResult result = shmifperf(Words{"run", "--parse-only"} + words);
    EXPECT_EQ(result.status, 0) << words[0] << ' ' << words[1] << result.err;
  }
  const std::string away = directory.file("away.job");
  std::ofstream(away) << "[a]\nengine=udp\nport=7\nno_peer\nnumber_ios=10\n";
  const ToolResult received = shmifperf({"run", away, "--engine=unix", "--output-format=json"});
  EXPECT_EQ(Json::parse(received.out).at("jobs").size(), 2U) << "the frames have a receiver again";
  const std::string refused = "is for a bus that the run makes";
  expect_usage_error({"run", "--parse-only", "--bus", bus, "--bus_size=1M", file}, {refused});
  std::ofstream(file) << "[a]\nbus=" << bus << "\nbus_size=8M\nruntime=1\n";
  expect_usage_error({"run", "--parse-only", "--loops=1", file}, {refused});
}

/// Each message names the thing and what to do; and every error is said at once.
TEST(Shmifperf, WhatIsWrongIsAnsweredWithARemedy) {
  const TempDir directory;
  const auto file = [&](const char* name, const char* text) {
    std::ofstream(directory.file(name)) << text;
    return directory.file(name);
  };
  const std::string wrong = file("x.job", "[a]\nrat=1\n\nbs=1\n[second]\ninterface=lo\n");
  const std::string good = file("y.job", "[a]\nruntime=1\n[second]\nruntime=1\n");
  const std::string twice = file("w.job", "[a]\nloops=1\nloops=2\n");
  const std::string json = file("x.json", "{\n}\n");
  const std::string range = "60 to 65535 (1m with proto=tcp)";
  for (const auto& [words, says] : std::vector<std::pair<Words, Words>>{
           {{"rum"}, {"did you mean \"run\"?"}},
           {{"value"}, {"unknown command \"value\"; see"}},
           {{"help", "value"}, {"did you mean \"values\"?"}},
           {{"--verson"}, {"--verson, did you mean --version?"}},
           {{"--log-levl=info", "run"}, {"did you mean --log-level?"}},
           {{"why", "-interval", "1", "--", "true"}, {"did you mean --interval?"}},
           {{"options", "trafic"}, {"did you mean \"traffic\"?"}},
           {{"options", "rate-fpss"}, {"did you mean \"rate_fps\"?"}},
           {{"options", "--man", "rate"}, {"give only one of"}},
           {{"run"}, {"there are no jobs"}},
           {{"run", "--help=bz"}, {"did you mean \"bs\"?"}},
           {{"run", "--profile=pong"}, {"did you mean \"ping\"?"}},
           {{"run", "--rat=1"}, {"--rat, did you mean --rate?"}},
           {{"run", "--rate=10MB"}, {"\"10MB\" could be 10Mbit or 80Mbit"}},
           {{"run", "--rw=tx", "--bs=10"}, {range}},
           {{"run", "--rw=tx", "--bsrange=10-20"}, {range}},
           {{"run", "--rw=tx", "--bssplit=10/50:64/50"}, {range}},
           {{"run", "--rw=tx", "--verify=md5"}, {"verify=crc32c"}},
           {{"run", "--rw=tx", "-o", "x"}, {"-o, did you mean --output?"}},
           {{"run", "-s"}, {"unknown option -s; see"}},  // --section or --showcmd
           {{"run", "--engine=packet", "--iface=lo"}, {"--netdev"}},
           {{"run", "--loss=2%"}, {"--fault loss=2%"}},
           {{"run", "--delay=7ms"}, {"--fault delay=7ms"}},
           {{"run", "--bandwidth=1Mbit"}, {"--rate=1Mbit"}},
           {{"run", "--runtime=1", "--filename=/dev/shm/bus0"}, {"use bus=PATH"}},
           {{"run", json}, {"shmifperf report "}},
           {{"run", directory.file("none.job")}, {"No such file"}},
           {{"run", wrong, "--numjobs=0"},
            {"x.job:2: unknown option \"rat\", did you mean \"rate\"?", "x.job:4: bs: \"1\"",
             "--netdev", "--numjobs: \"0\""}},
           {{"run", good, "--section=secnod"}, {"did you mean \"second\"?"}},
           {{"run", good, "--wait_for=c", "--parse-only"},
            {"command line: job \"a\": wait_for: there is no job \"c\"",
             "command line: job \"second\": wait_for: there is no job \"c\""}},
           {{"run", "--loops=2", "--name=a", "--parse-only"},
            {"job \"a\": runtime: ", "job \"a\": loops: "}}}) {
    SCOPED_TRACE(words[0] + ' ' + words.back());
    expect_usage_error(words, says);
  }
  EXPECT_TRUE(has(shmifperf({"run", twice, "--parse-only"}).err,
                  "w.job:3: loops replaces that of line 2 (keep one of them)"));
  EXPECT_TRUE(has(shmifperf({"run", "-"}, "[a]\nrat=1\n").err, "standard input:2: "));
  const std::string nowhere = directory.file("nofolder/x");
  const std::string writes = "('shmifperf run --output=FILE.json' writes a result)";
  for (const auto& [words, says] : std::vector<std::pair<Words, std::string>>{
           {{"why", "-o", nowhere, "--", "true"}, "(make its directory first)"},
           {{"why", "-o", directory.path(), "--", "true"},
            "(it is a directory: name a file in it)"},
           {{"why", "-o", "/dev/full", "--", "true"}, "(free some space, or name a file on"},
           {{"report", nowhere}, writes},
           {{"compare", nowhere, nowhere}, writes}}) {
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_TRUE(has(result.err, says)) << result.err;
  }
}

// Options of a command line that shape what is sent and for how long, seen in the frames and logs.

/// A record of a capture: when it is of, in microseconds, and its bytes.
struct Record {
  std::uint64_t time_us;
  std::vector<char> bytes;
};

constexpr std::size_t kFileHeader = 24;
constexpr std::size_t kRecordHeader = 16;

std::uint32_t word_at(const std::string& text, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, text.data() + at, sizeof word);
  return word;
}

/// The records of a pcap file of this machine's byte order, with the unit that its magic tells.
std::vector<Record> records_of(const std::string& path) {
  const std::string text = text_of_file(path);
  const std::uint64_t unit = word_at(text, 0) == 0xa1b23c4dU ? 1000 : 1;
  std::vector<Record> records;
  for (std::size_t at = kFileHeader; at + kRecordHeader <= text.size();) {
    const std::size_t bytes = word_at(text, at + 8);
    const std::string body = text.substr(at + kRecordHeader, bytes);
    records.push_back({word_at(text, at) * 1'000'000ULL + word_at(text, at + 4) / unit,
                       {body.begin(), body.end()}});
    at += kRecordHeader + bytes;
  }
  return records;
}

class PerfFrames : public testing::Test {
 protected:
  /// Runs a job that writes a capture.
  std::vector<Record> sent(Words options) {
    const Words first{"run", "--engine=pcap", "--rw=tx", "--filename=" + path("sent.pcap")};
    options.insert(options.begin(), first.begin(), first.end());
    const ToolResult ran = shmifperf(options);
    EXPECT_EQ(ran.status, 0) << ran.err;
    return records_of(path("sent.pcap"));
  }
  /// How many frames have which size.
  std::map<std::size_t, std::size_t> sizes(Words options) {
    options.emplace_back("--number_ios=400");
    std::map<std::size_t, std::size_t> sizes;
    for (const Record& record : sent(std::move(options))) ++sizes[record.bytes.size()];
    return sizes;
  }
  std::string path(const std::string& name) const { return dir_.file(name); }

  TempDir dir_;
};

TEST_F(PerfFrames, HaveTheSizesOfASplitInItsShares) {
  const auto found = sizes({"--bssplit=64/50:128/25:200/25"});
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found.at(64) + found.at(128) + found.at(200), 400U);
  EXPECT_NEAR(static_cast<double>(found.at(64)), 200, 60);
  EXPECT_NEAR(static_cast<double>(found.at(128)), 100, 50);
}

TEST_F(PerfFrames, OfAReplayFollowEachOtherAfterTheLongestGapAtMost) {
  {
    std::ofstream file(path("given.pcap"), std::ios::binary);
    const auto put = [&file](std::initializer_list<std::uint32_t> words) {
      for (const std::uint32_t word : words) {
        file.write(reinterpret_cast<const char*>(&word), sizeof word);
      }
    };
    put({0xa1b2c3d4U, 0x00040002U, 0, 0, 65535, 1});
    for (const std::uint32_t second : {100U, 700U}) {
      put({second, 0, 60, 60});
      file << std::string(12, '\x02') << "\x88\xb6" << std::string(46, '\0');
    }
  }
  const auto records = sent({"--replay=" + path("given.pcap"), "--replay_max_gap=30ms"});
  ASSERT_EQ(records.size(), 2U);
  EXPECT_LT(records[1].time_us - records[0].time_us, 60'000'000U) << "they were 10 minutes apart";
}

TEST_F(PerfFrames, OfJobsWithOneLogAreInItWithTheLinesOfEach) {
  const ToolResult ran =
      shmifperf({"run", "--aux-path=" + dir_.path(), "--write_iops_log=both", "--per_job_logs=0",
                 "--log_avg_msec=100", "--runtime=400ms", "--engine=null", "--rw=tx",
                 "--output=" + path("result"), "--name=fast", "--rate_iops=1000", "--name=slow",
                 "--rate_iops=50"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  std::size_t fast = 0;
  std::size_t slow = 0;
  for (const std::string& line : lines_of(text_of_file(path("both_iops.log")))) {
    const long value = std::stol(line.substr(line.find(", ") + 2));
    ++(value > 200 ? fast : slow);
  }
  EXPECT_GT(fast, 0U);
  EXPECT_GT(slow, 0U);
  EXPECT_FALSE(std::ifstream(path("both_iops.fast.log")));
  EXPECT_FALSE(std::ifstream(path("both_iops.slow.log")));
}

TEST_F(PerfFrames, OfClonesWithOneLogAreTheSumsOverItsTimesOrInItsLines) {
  for (const auto& [logs, each] : {std::pair("0", 4), {"agg", 1}}) {
    const ToolResult ran = shmifperf({"run", "--aux-path=" + dir_.path(), "--write_iops_log=all",
                                      std::string("--per_job_logs=") + logs, "--log_avg_msec=10",
                                      "--number_ios=57", "--engine=null", "--rw=tx", "--numjobs=4",
                                      "--output=" + path("result"), "--rate_iops=1000"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    std::map<long, int> lines;
    double frames = 0;
    for (const std::string& line : lines_of(text_of_file(path("all_iops.log")))) {
      ++lines[std::stol(line)];
      frames += 0.01 * std::stod(line.substr(line.find(", ") + 2));
    }
    EXPECT_EQ(std::lround(frames), 4 * 57);
    for (long at = 10; at <= 50; at += 10) EXPECT_EQ(lines[at], each) << logs << ' ' << at;
    for (const auto& [at, count] : lines) {
      EXPECT_EQ(at % 10, 0) << at;
      EXPECT_LE(count, each) << logs << ' ' << at;
    }
  }
}

TEST_F(PerfFrames, AreSentForTheRampBeforeASteadyStateIsLookedFor) {
  const ToolResult ran = shmifperf({"run", "--engine=null", "--rw=tx", "--rate_iops=100",
                                    "--ss=iops:90%", "--ss_dur=2", "--ss_ramp=1", "--runtime=30",
                                    "--output-format=json", "--output=" + path("result")});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const double seconds = job_of(json_of_file(path("result")), "job").at("runtime_seconds");
  EXPECT_GE(seconds, 3.0) << "of the ramp, and of the state";
  EXPECT_LT(seconds, 29.0) << "it was steady";
}

}  // namespace
}  // namespace shmif::test
