// What shmifperf makes of its command line, through the program itself.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <regex>

#include "perf/option/option_table.hpp"
#include "perf/option/profiles.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// `shmifperf run ARGUMENTS --showcmd`.
std::string shown(Words arguments) {
  arguments.insert(arguments.begin(), "run");
  arguments.emplace_back("--showcmd");
  const ToolResult result = shmifperf(arguments);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return result.out;
}

TEST(Shmifperf, HelpOfOneOptionIsGivenAsFiosUsersAskForIt) {
  const std::string bs = shmifperf({"options", "bs"}).out;
  EXPECT_NE(bs.find("bs="), std::string::npos);
  for (const Words& words : {Words{"run", "--help=bs"}, Words{"run", "--cmdhelp=bs"},
                             Words{"--help=bs"}, Words{"--cmdhelp=bs"}}) {
    const ToolResult help = shmifperf(words);
    EXPECT_EQ(help.status, 0) << help.err;
    EXPECT_EQ(help.out, bs);
  }
  EXPECT_EQ(shmifperf({"run", "--cmdhelp"}).out, shmifperf({"options"}).out);
  expect_usage_error({"run", "--help=bss"}, {"did you mean \"bssplit\"?"});
  expect_usage_error({"run", "--help=bz"}, {"did you mean \"bs\"?"});
}

TEST(Shmifperf, AMisspeltWordBeforeAnyCommandIsAnsweredWithTheOneThatIsMeant) {
  expect_usage_error({"--verson"}, {"unknown option --verson, did you mean --version?"});
  expect_usage_error({"--log-levl=info", "run"}, {"did you mean --log-level?"});
  expect_usage_error({"help", "value"}, {"unknown command \"value\", did you mean \"values\"?"});
  expect_usage_error({"value"}, {"unknown command \"value\"; see"});
}

TEST(Shmifperf, AFrameSizeIsRefusedWithTheRangeThatHelpNames) {
  const std::string range = "60 to 65535 (1m with proto=tcp)";
  for (const char* const wrong : {"--bs=10", "--bsrange=10-20", "--bssplit=10/50:64/50"}) {
    expect_usage_error({"run", "--rw=tx", "--runtime=1", wrong}, {range});
  }
  for (const char* const name : {"bs", "bsrange"}) {
    const std::string help = shmifperf({"options", name}).out;
    EXPECT_NE(help.find("Values: " + range), std::string::npos) << help;
  }
}

TEST(Shmifperf, AChecksumOfFiosIsRefusedWithTheOneThereIs) {
  expect_usage_error({"run", "--rw=tx", "--verify=md5"}, {"verify=crc32c"});
}

TEST(Shmifperf, HelpNamesItAndItsCommands) {
  const ToolResult help = shmifperf({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_EQ(help.out.rfind("usage: shmifperf ", 0), 0U) << help.out;
  EXPECT_EQ(help.out.find("shmifctl"), std::string::npos) << help.out;
  for (const char* command : {"run", "options"}) {
    EXPECT_NE(help.out.find("\n  " + std::string(command) + ' '), std::string::npos);
    const ToolResult one = shmifperf({command, "--help"});
    EXPECT_EQ(one.status, 0);
    EXPECT_EQ(one.out.rfind("usage: shmifperf " + std::string(command), 0), 0U) << one.out;
    EXPECT_NE(one.out.find("\nexamples:\n  shmifperf"), std::string::npos) << one.out;
  }
  EXPECT_EQ(shmifperf({"--version"}).out.rfind("shmifperf ", 0), 0U);
  expect_usage_error({"rum"}, {"did you mean \"run\"?"});
}

TEST(Shmifperf, HelpOfRunNamesTheDefaultOfEachTimeAndFlag) {
  const std::regex gaps("\\s+");
  const std::string help = std::regex_replace(shmifperf({"run", "--help"}).out, gaps, " ");
  EXPECT_NE(help.find("(default: 5m; default unit: seconds)"), std::string::npos) << help;
  EXPECT_NE(help.find("and so on (default: 1)"), std::string::npos) << help;  // --why, a flag
  for (const perf::OptionRow& row : perf::option_table()) {
    if (!row.of_run() || !row.placeholder.starts_with("TIME")) continue;
    const std::string end = "(default: " + row.standard + "; default unit: " + row.unit + ')';
    const std::size_t at = help.find(" --" + row.name + ' ');
    ASSERT_NE(at, std::string::npos) << row.name;
    EXPECT_LT(help.find(end, at), help.find(" --", at + 1)) << row.name;
  }
}

TEST(Shmifperf, EveryOptionIsExplainedByAnyOfItsNames) {
  const std::string all = shmifperf({"options"}).out;
  for (const perf::OptionRow& row : perf::option_table()) {
    const std::string heading = "\n  " + row.name + (row.flag ? "[=" : "=");
    EXPECT_NE(all.find(heading), std::string::npos) << row.name;
  }
  const std::string rate = shmifperf({"options", "rate-fps"}).out;
  EXPECT_EQ(rate.rfind("  rate_iops=", 0), 0U) << rate;
  EXPECT_NE(rate.find("frames per second"), std::string::npos) << rate;
  EXPECT_NE(rate.find("default: 0, as fast as possible"), std::string::npos) << rate;
}

TEST(Shmifperf, ExplanationsFitATerminalOfEightyColumns) {
  const std::string text = shmifperf({"options"}).out;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    EXPECT_LE(end - begin, 80U) << text.substr(begin, end - begin);
    begin = end + 1;
  }
}

TEST(Shmifperf, ACategoryIsExplainedAsAWhole) {
  for (const perf::CategoryInfo& info : perf::option_categories()) {
    const ToolResult result = shmifperf({"options", info.name});
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.out.rfind(info.title, 0), 0U) << result.out;
  }
  // How limits combine is one table.
  const std::string length = shmifperf({"options", "length"}).out;
  for (const char* name : {"runtime", "time_based", "loops", "number_ios", "size", "io_limit"}) {
    EXPECT_NE(length.find(name), std::string::npos) << name;
  }
  EXPECT_NE(length.find("first limit it reaches"), std::string::npos);
  expect_usage_error({"options", "trafic"}, {"did you mean \"traffic\"?"});
  expect_usage_error({"options", "--man", "rate"}, {"give only one of"});
}

TEST(Shmifperf, TheManualHasEveryOptionToo) {
  const std::string man = shmifperf({"options", "--man"}).out;
  EXPECT_EQ(man.rfind(".Sh ", 0), 0U);
  for (const perf::OptionRow& row : perf::option_table()) {
    EXPECT_NE(man.find("\n.It Fl Fl " + row.name + " Ns "), std::string::npos) << row.name;
  }
  const auto count = [&](const std::string& macro) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = man.find('\n' + macro, at)) != std::string::npos; ++at) ++n;
    return n;
  };
  EXPECT_EQ(count(".Bl "), count(".El"));
  EXPECT_EQ(count(".Bd "), count(".Ed"));
}

TEST(Shmifperf, OptionsWithoutAFileMakeAJob) {
  EXPECT_EQ(shown({"--rw=pingpong", "--runtime", "5", "--stonewall"}),
            "shmifperf run \\\n  --name=job --rw=pingpong --runtime=5 --stonewall=1\n");
}

TEST(Shmifperf, EachNameBeginsAJobAndWhatStandsBeforeIsForAll) {
  EXPECT_EQ(shown({"--runtime=5", "--output-format=json", "--name=a", "--bs=128", "--name=b",
                   "--group-reporting"}),
            "shmifperf run --output-format=json \\\n  --name=a --runtime=5 --bs=128 \\\n"
            "  --name=b --runtime=5 --group_reporting=1\n");
}

TEST(Shmifperf, AMinusIsAJobFileOnStandardInput) {
  Tool run({shmifperf_path(), "run", "-", "--showcmd"},
           "[a]\nrate=1Mbit\nnumjobs=$ncpus\nsize=1\n");
  const ToolResult result = run.finish();
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("--name=a --rate=1Mbit --numjobs="), std::string::npos) << result.out;
  Tool wrong({shmifperf_path(), "run", "-"}, "[a]\nrat=1Mbit\n");
  EXPECT_NE(wrong.finish().err.find("standard input:2: unknown option \"rat\""), std::string::npos);
}

TEST(Shmifperf, OptionsOverrideThoseOfEveryJobOfTheFiles) {
  TempDir directory;
  std::ofstream(directory.file("x.job"))
      << "[global]\nruntime=5\nrate=1Mbit\n[a]\n[b]\nrate=2Mbit\n";
  EXPECT_EQ(shown({directory.file("x.job"), "--rate=9Mbit"}),
            "shmifperf run \\\n  --name=a --runtime=5 --rate=9Mbit \\\n"
            "  --name=b --runtime=5 --rate=9Mbit\n");
  EXPECT_EQ(shown({directory.file("x.job"), "--section=b"}),
            "shmifperf run \\\n  --name=b --runtime=5 --rate=2Mbit\n");
  expect_usage_error({"run", directory.file("x.job"), "--section=c", "--parse-only"},
                     {"no section \"c\""});
  std::ofstream(directory.file("y.job")) << "[a]\nloops=1\nloops=2\n";
  EXPECT_NE(shmifperf({"run", directory.file("y.job"), "--parse-only"})
                .err.find("y.job:3: loops replaces that of line 2 (keep one of them)"),
            std::string::npos);
}

TEST(Shmifperf, ShowcmdHasTheOutputsOfTheFileOnlyIfTheCommandLineNamesNone) {
  TempDir directory;
  const std::string job = directory.file("x.job");
  std::ofstream(job) << "[global]\noutput=json:a\noutput=b\nruntime=5\n[a]\nrate=1Mbit\n";
  const std::string rest = " \\\n  --name=a --runtime=5 --rate=1Mbit\n";
  EXPECT_EQ(shown({job}), "shmifperf run --output=json:a --output=b" + rest);
  EXPECT_EQ(shown({job, "--output=terse:c", "--output=d"}),
            "shmifperf run --output=terse:c --output=d" + rest);
}

TEST(Shmifperf, WhatShowcmdPrintsMeansTheSame) {
  for (const perf::Profile& profile : perf::profiles()) {
    const std::string line = shown({"--profile", profile.name, "--description=it's \"$HOME\""});
    std::string again = line;
    again.replace(0, std::string("shmifperf").size(), shmifperf_path());
    again.back() = ' ';
    const ToolResult result = run_program({"sh", "-c", again + "--showcmd"});
    EXPECT_EQ(result.out, line) << result.err;
  }
}

TEST(Shmifperf, ShowcmdHasBothHalvesOfAPairThatWereGivenApart) {
  test::TempDir directory;
  std::ofstream(directory.file("x.job"))
      << "[global]\nruntime=1\nrw=txrx\nrate=10Mbit\n[a]\nrate=,5Mbit\n";
  EXPECT_EQ(shown({directory.file("x.job")}),
            "shmifperf run \\\n  --name=a --runtime=1 --rw=txrx --rate=10Mbit,5Mbit\n");
}

TEST(Shmifperf, ProfilesAreJobFilesToBeginWith) {
  TempDir directory;
  for (const perf::Profile& profile : perf::profiles()) {
    EXPECT_NE(shmifperf({"options", "--profiles"}).out.find(profile.name), std::string::npos);
    const std::string path = directory.file(profile.name);
    std::ofstream(path) << shmifperf({"options", "--profile", profile.name}).out;
    EXPECT_EQ(shown({path}), shown({"--profile", profile.name}));
    EXPECT_EQ(shmifperf({"run", path, "--parse-only"}).status, 0);
  }
  expect_usage_error({"run", "--profile=pong"}, {"did you mean \"ping\"?"});
}

TEST(Shmifperf, EveryErrorOfALineAndOfItsFilesIsSaidAtOnce) {
  TempDir directory;
  std::ofstream(directory.file("x.job")) << "[a]\nrat=1\n\nbs=1\n";
  expect_usage_error({"run", directory.file("x.job"), "--numjobs=0"},
                     {"x.job:2: unknown option \"rat\", did you mean \"rate\"?",
                      "x.job:4: bs: \"1\"", "--numjobs: \"0\""});
  expect_usage_error({"run", directory.file("none.job")}, {"No such file"});
  expect_usage_error({"run", "--rat=1"}, {"unknown option --rat, did you mean --rate?"});
  expect_usage_error({"run", "--rate=10MB"}, {"--rate: \"10MB\" could be 10Mbit or 80Mbit"});
  expect_usage_error({"run"}, {"there are no jobs"});
}

/// The rest of the file may then have no effect: nobody has to repeat it without that.
TEST(Shmifperf, AnotherBusOrEngineOnTheCommandLineOverridesAFile) {
  TempDir directory;
  const std::string file = directory.file("x.job"), bus = directory.file("bus");
  std::ofstream(file) << "[a]\nbus_size=8M\nbus_pause\npercentile_list=50\nruntime=1\n";
  for (const Words& words :
       {Words{"--profile", "hosts", "--bus", bus}, Words{"--bus", bus, file},
        Words{"--engine=udp", file}, Words{"--engine=pcap", "--filename=" + bus, file}}) {
    Words run{"run", "--parse-only"};
    run.insert(run.end(), words.begin(), words.end());
    EXPECT_EQ(shmifperf(run).status, 0) << words[0] << ' ' << words[1] << shmifperf(run).err;
  }
  const std::string away = directory.file("away.job");
  std::ofstream(away) << "[a]\nengine=udp\nport=7\nno_peer\nnumber_ios=10\n";
  const ToolResult received = shmifperf({"run", away, "--engine=unix", "--output-format=json"});
  EXPECT_EQ(Json::parse(received.out).at("jobs").size(), 2U) << "the frames have a receiver again";
  const std::string refused = "is for a bus that the run makes";
  expect_usage_error({"run", "--parse-only", "--bus", bus, "--bus_size=1M", file}, {refused});
  std::ofstream(file) << "[a]\nbus=" << bus << "\nbus_size=8M\nruntime=1\n";
  expect_usage_error({"run", "--parse-only", file}, {refused});
  expect_usage_error({"run", "--parse-only", "--loops=1", file}, {refused});
}

/// Each message names what to do.
TEST(Shmifperf, WhatNewcomersTryIsAnsweredWithARemedy) {
  TempDir directory;
  for (const char* const option : {"--interface=lo", "--iface=lo", "--dev=lo"}) {
    expect_usage_error({"run", "--rw=tx", "--engine=packet", option}, {"--netdev"});
  }
  expect_usage_error({"why", "-interval", "1", "--", "true"}, {"did you mean --interval?"});
  expect_usage_error({"run", "--rw=tx", "-o", "x"}, {"unknown option -o, did you mean --output?"});
  expect_usage_error({"run", "-s"}, {"unknown option -s; see"});  // --section or --showcmd
  std::ofstream(directory.file("x.job")) << "[a]\ninterface=lo\n";
  expect_usage_error({"run", directory.file("x.job")}, {"--netdev"});
  for (const auto& [option, answer] : {std::pair{"--loss=2%", "--fault loss=2%"},
                                       {"--delay=7ms", "--fault delay=7ms"},
                                       {"--bandwidth=1Mbit", "--rate=1Mbit"},
                                       {"--filename=/dev/shm/bus0", "use bus=PATH"}}) {
    expect_usage_error({"run", "--rw=tx", "--runtime=1", option}, {answer});
  }
  std::ofstream(directory.file("x.json")) << "{\n}\n";
  expect_usage_error({"run", directory.file("x.json")}, {"shmifperf report "});
  const auto refused = [](const Words& words, const std::string& part) {
    const ToolResult result = shmifperf(words);
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << part << " is not in " << result.err;
  };
  const std::string nowhere = directory.file("nofolder/x");
  refused({"run", "--rw=tx", "--runtime=1", "--output=" + nowhere}, "(make its directory first)");
  refused({"why", "-o", nowhere, "--", "true"}, "(make its directory first)");
  refused({"why", "-o", directory.path(), "--", "true"}, "(it is a directory: name a file in it)");
  refused({"why", "-o", "/dev/full", "--", "true"}, "(free some space, or name a file on another");
  for (const char* const command : {"report", "compare"}) {
    Words words{command, directory.file("nofile"), directory.file("nofile")};
    if (words[0] == "report") words.pop_back();
    refused(words, "('shmifperf run --output=FILE.json' writes a result)");
  }
}

TEST(Shmifperf, ASetThatCannotRunIsRefusedWithItsJobs) {
  expect_usage_error({"run", "--name=a", "--runtime=1", "--wait_for=c", "--parse-only"},
                     {"command line: job \"a\": wait_for: there is no job \"c\""});
  expect_usage_error(
      {"run", "--loops=2", "--name=a", "--name=b", "--parse-only"},
      {"job \"a\": runtime: ", "job \"a\": loops: ", "job \"b\": runtime: ", "job \"b\": loops: "});
}

TEST(Shmifperf, OfManyErrorsTheFirstTwentyAreSaid) {
  const TempDir directory;
  for (const int wrong : {19, 20, 21, 40}) {
    std::ofstream file(directory.file("x.job"));
    file << "[a]\n";
    for (int i = 0; i < wrong; ++i) file << "nonsense" << i << "=1\n";
    file.close();
    const ToolResult refused = shmifperf({"run", directory.file("x.job")});
    EXPECT_EQ(refused.status, 2);
    EXPECT_EQ(count_of_lines(refused.err), std::min(wrong, 20)) << refused.err;
    EXPECT_NE(refused.err.find("\"nonsense0\""), std::string::npos) << refused.err;
    EXPECT_EQ(refused.err.find("\"nonsense20\""), std::string::npos) << refused.err;
  }
  // Of several files together, too.
  Words files{"run"};
  for (const std::string name : {"x.job", "y.job"}) {
    std::ofstream file(directory.file(name));
    file << '[' << name[0] << "]\n";
    for (int i = 0; i < 15; ++i) file << "nonsense" << i << "=1\n";
    files.push_back(directory.file(name));
  }
  const ToolResult refused = shmifperf(files);
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(count_of_lines(refused.err), 20) << refused.err;
  EXPECT_NE(
      refused.err.find("y.job:6: unknown option \"nonsense4\" (shmifperf options lists all); see"),
      std::string::npos)
      << refused.err;
}

TEST(Shmifperf, NamesOfJobsAreQuotedAndSpelledAsTheirOptionsAre) {
  const std::string line = shown({"--name=it's $HOME", "--runtime=1"});
  const ToolResult again =
      run_program({"sh", "-c", shmifperf_path() + line.substr(9, line.size() - 10) + " --showcmd"});
  EXPECT_EQ(again.out, line) << again.err;
  EXPECT_NE(line.find("HOME"), std::string::npos) << line;
  for (const std::string spelling : {"rate-fps", "rate_fps", "rate-iops", "rate_iops"}) {
    EXPECT_EQ(shown({"--runtime=1", "--" + spelling + "=7"}),
              "shmifperf run \\\n  --name=job --runtime=1 --rate_iops=7\n");
  }
}

TEST(Shmifperf, AnOptionOfTheLineThatFitsNoJobOfAFileIsSaidToBeOfTheLine) {
  const TempDir directory;
  std::ofstream(directory.file("x.job")) << "[a]\nruntime=1\n[b]\nruntime=1\n";
  expect_usage_error({"run", directory.file("x.job"), "--wait_for=c", "--parse-only"},
                     {"command line: job \"a\": wait_for: there is no job \"c\"",
                      "command line: job \"b\": wait_for: there is no job \"c\""});
}

TEST(Shmifperf, AMisspeltAliasIsAnsweredWithTheAliasAndAllOfItIsAllOfIt) {
  expect_usage_error({"options", "rate-fpss"}, {"did you mean \"rate_fps\"?"});
  EXPECT_EQ(shmifperf({"run", "--cmdhelp=all"}).out, shmifperf({"options"}).out);
}

TEST(Shmifperf, BehindANameOptionsAreOfThatJobAndOfNoneOfTheFiles) {
  const TempDir directory;
  std::ofstream(directory.file("x.job")) << "[global]\nruntime=5\n[first]\n[second]\n";
  EXPECT_EQ(shown({directory.file("x.job"), "--rate=9Mbit", "--name=c", "--runtime=7", "--bs=128"}),
            "shmifperf run \\\n  --name=first --runtime=5 --rate=9Mbit \\\n"
            "  --name=second --runtime=5 --rate=9Mbit \\\n"
            "  --name=c --rate=9Mbit --runtime=7 --bs=128\n");
  expect_usage_error({"run", directory.file("x.job"), "--section=secnod"},
                     {"there is no section \"secnod\", did you mean \"second\"?"});
}

TEST(Shmifperf, SeveralSectionsAreThoseInTheOrderOfTheFile) {
  const TempDir directory;
  std::ofstream(directory.file("x.job")) << "[global]\nruntime=5\n[a]\n[b]\n[c]\n";
  EXPECT_EQ(shown({directory.file("x.job"), "--section=c", "--section=a"}),
            "shmifperf run \\\n  --name=a --runtime=5 \\\n  --name=c --runtime=5\n");
}

}  // namespace
}  // namespace shmif::test
