// What decides how a lab ends, and what it leaves: restarts, limits, reports, folders.

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <csignal>

#include "tests/tools/lab/lab_rig.hpp"
#include "tools/lab/results.hpp"
#include "tools/lab/state.hpp"
#include "tools/uplink/machine_line.hpp"

namespace shmif::test {
namespace {

using LabOutcome = LabRig;

TEST_F(LabOutcome, RestartFollowsTheExitCodeAndAStopEndsIt) {
  const std::string path = lab(R"(
host.fine = { on = "b", run = "echo ran >> fine; sleep .1", restart = "on-failure" }
host.once = { on = "b", run = "echo ran >> once; false", restart = "always", may_fail = true }
host.every = { on = "b", run = "echo ran >> every; sleep .1", restart = "always", restarts = 3 }
host.loop.on = "b"
host.loop.run = "echo ran | tee -a loop; sleep 600"
host.loop.ready = "log ran"
host.loop.restart = "always"
host.a = { on = "b" }
at = [
  { time = "100ms", stop = "loop" },
  { after = "ended loop", time = "500ms", start = "loop" },
  { after = "ended once", stop = "once" },
]
test.host = "a"
test.run = "until [ $(wc -l < every) = 4 ] && [ $(wc -l < loop) = 2 ]; do sleep .1; done; sleep .5"
)");
  const ToolResult r = up(path, {"--time-limit", "100"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(text_of(file("fine")), "ran\n") << "it ended well";
  EXPECT_EQ(text_of(file("once")), "ran\n") << "an event came before its restart";
  EXPECT_EQ(text_of(file("every")), "ran\nran\nran\nran\n") << "and three times again";
  EXPECT_EQ(text_of(file("loop")), "ran\nran\n") << "once by the file, once by the event";
  EXPECT_EQ(times_in(r.err, "host every ended with exit code 0; it is started again"), 3U) << r.err;
  EXPECT_EQ(times_in(r.err, "host loop is stopped"), 1U) << r.err;
}

TEST_F(LabOutcome, OfAFolderThatExistsOnlyItsOwnFilesAreRemoved) {
  std::filesystem::create_directory(file("out"));
  std::ofstream(file("out/mine")) << "keep\n";
  const std::string path =
      lab("host.a = { on = \"b\" }\ncapture.all = { on = \"b\" }\n"
          "test = { host = \"a\", run = \"echo seen\" }\n");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 0) << r.err;
  Words left;
  for (const auto& each : std::filesystem::directory_iterator(file("out"))) {
    left.push_back(each.path().filename().string());
  }
  EXPECT_EQ(left, (Words{"mine"}));
  std::filesystem::remove(file("out/mine"));
  EXPECT_EQ(up(path).status, 0);
  EXPECT_TRUE(std::filesystem::is_directory(file("out"))) << "the lab has not made it";
  std::filesystem::remove_all(file("out"));
  std::ofstream(file("out")) << "a file\n";
  const ToolResult refused = up(path, {"--junit", file("report.xml")});
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, "cannot use the folder of results " + file("out")));
  EXPECT_TRUE(contains(refused.err, "--artifacts"));
  expect_no_trace();
}

TEST_F(LabOutcome, ProgramsAreToldToEndAndHaveTimeForIt) {
  const std::string path = lab(R"(host.n.on = "b"
host.n.count = 2
host.n.run = "trap 'sleep 0.3; echo bye {i}; exit 0' TERM; echo up; while :; do sleep 0.05; done"
host.n.ready = "log up"
[host.a]
on = "b"
ip = "198.18.0.1/24"
run = "trap 'ping -q -c 1 -W 1 198.18.0.2; exit 0' TERM; echo up; while :; do sleep 0.05; done"
ready = "log up"
[host.x]
on = "b"
ip = "198.18.0.2/24"
[capture.all]
on = "b"
file = "all.pcap"
filter = "icmp or arp"
[test]
host = "a"
run = "true"
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(text_of(file("out/n1.log")), "up\nbye 1\n");
  EXPECT_EQ(text_of(file("out/n2.log")), "up\nbye 2\n");
  const ToolResult seen =
      run_program({"tcpdump", "-n", "-r", file("out/all.pcap"), "arp and src host 0.0.0.0 or arp"});
  EXPECT_TRUE(contains(seen.out, "who-has 198.18.0.2 tell 198.18.0.1"))
      << "the capture has what a host sends at its end\n"
      << seen.err;
}

TEST_F(LabOutcome, AnOrdinaryPathIsCompletedAndProgramsKnowTheirLab) {
  const std::string path = lab(R"(host.a.on = "b"
host.a.env = { SHMIF_HOST = "other", MORE = "1" }
host.a.run = "echo $PATH $SHMIF_LAB $SHMIF_HOST; tr '\\0' '\\n' </proc/$$/environ | grep ^MORE"
host.x = { on = "b" }
test = { host = "x", run = "echo $PATH $SHMIF_LAB $SHMIF_HOST $SHMIF_RESULTS$MORE" }
)");
  Words words = up_words(path, {"--keep", "always"});
  words.insert(words.begin(), {"env", "PATH=/usr/bin:/bin", "MORE=0", shmifctl_path()});
  const ToolResult r = run_program(words);
  EXPECT_EQ(r.status, 0) << r.err;
  const std::string full = "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin lab ";
  EXPECT_EQ(text_of(file("out/test.log")), full + "x " + file("out") + "0\n");
  EXPECT_EQ(text_of(file("out/a.log")), full + "other\nMORE=1\n");
}

TEST_F(LabOutcome, StopOfACountEndsAllOfItAndNoKeyOfTheTerminalReachesPrograms) {
  const std::string path = lab(R"(host.n = { on = "b", count = 3, run = "sleep 600" }
host.a = { on = "b" }
at = [{ time = "1ms", stop = "n" }]
test = { host = "a", run = "sleep 600" }
)");
  Tool tool(Words{shmifctl_path()} + up_words(path));
  ASSERT_TRUE(tool.wait_for("is up after"));
  const pid_t session = ::getsid(tool.pid());
  for (const pid_t each : children_of(tool.pid())) {
    EXPECT_TRUE(eventually([&] { return ::getsid(each) != session; })) << each;
  }
  for (const char* const name : {"n1", "n2", "n3"}) {
    EXPECT_TRUE(tool.wait_for(std::string("host ") + name + " is stopped")) << name;
  }
  tool.signal(SIGTERM);
  EXPECT_EQ(tool.finish().status, 143);
}

TEST_F(LabOutcome, OfSeveralFailuresTheTestsCodeCounts) {
  const std::string path = lab(R"(host.bad = { on = "b", run = "echo x; exit 9", ready = "log x" }
host.told = { on = "b", run = "exit 8", may_fail = true }
host.a = { on = "b" }
test = { host = "a", run = "sleep 0.3; exit 6" }
)");
  const ToolResult r = up(path, {"--junit", file("report.xml")});
  EXPECT_EQ(r.status, 6) << r.err;
  const std::string xml = text_of(file("report.xml"));
  EXPECT_TRUE(contains(xml, "failures=\"2\""));
  EXPECT_TRUE(contains(xml, "<failure message=\"ended with exit code 9\">"));
  EXPECT_TRUE(contains(xml, "<failure message=\"ended with exit code 6\">"));
  EXPECT_FALSE(contains(xml, "exit code 8")) << "it may fail";
}

TEST_F(LabOutcome, ACaptureSaysOnTheTerminalThatTheDiskIsFull) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: makes a small disk";
  std::filesystem::create_directory(file("out"));
  const std::string path =
      lab("host.x = { on = \"b\", ip = \"198.18.0.2/24\" }\n"
          "host.a = { on = \"b\", ip = \"198.18.0.1/24\", after = \"x\", output = \"file\", "
          "run = \"exec ping -q -i 0.01 -s 1400 x\" }\ncapture.all = { on = \"b\" }\n");
  Words words{"unshare",
              "-m",
              "sh",
              "-c",
              "mount -t tmpfs -o size=64k,mode=755 none \"$0\" && exec \"$@\"",
              file("out"),
              shmifctl_path()};
  for (const std::string& each : up_words(path)) words.push_back(each);
  Tool tool(words);
  EXPECT_TRUE(tool.wait_for("capture-all ended with exit code 1: "));
  tool.signal(SIGTERM);
  const ToolResult ended = tool.finish();
  EXPECT_TRUE(contains(ended.err, "No space left on device"));
}

TEST(LabCaptures, AreJoinedOnlyIfTheyAreWhole) {
  const TempDir folder;
  const std::string file = folder.file("part");
  const auto joined = [&] {
    return tools::merge_captures({{file, "b"}, {file, "c"}}, folder.file("all"));
  };
  EXPECT_EQ(joined().error().code, std::errc::no_such_file_or_directory);
  std::ofstream(file) << "no capture, but a text of some length\n";
  EXPECT_TRUE(contains(joined().error().message, "is no pcapng file"));
  const std::uint32_t words[] = {0x0a0d0d0a, 28, 0x1a2b3c4d, 1, ~0U, ~0U, 28,  // a section,
                                 6,          32, 0,          0, 0,   0,   0,
                                 32};  // and a frame of no interface
  std::ofstream(file).write(reinterpret_cast<const char*>(words), sizeof words);
  EXPECT_TRUE(contains(joined().error().message, "an interface that is not described"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("all")));
}

TEST(LabCaptures, AreJoinedByTheTimesOfTheirFrames) {
  const TempDir folder;
  const auto part = [&](const char* name, std::uint32_t high, std::uint32_t low) {
    const std::uint32_t words[] = {0x0a0d0d0a, 28, 0x1a2b3c4d, 1,    ~0U, ~0U, 28,  // a section,
                                   1,          20, 1,          0,    20,            // an interface,
                                   6,          32, 0,          high, low, 0,   0,
                                   32};  // and a frame
    std::ofstream(folder.file(name)).write(reinterpret_cast<const char*>(words), sizeof words);
    return folder.file(name);
  };
  ASSERT_TRUE(
      tools::merge_captures({{part("x", 2, 1), "b"}, {part("y", 1, 2), "c"}}, folder.file("all")));
  std::ifstream all(folder.file("all"));
  std::uint32_t high = 0;
  all.seekg(-20, std::ios::end).read(reinterpret_cast<char*>(&high), sizeof high);
  EXPECT_EQ(high, 2U) << "of the last frame";
}

TEST(LabState, IsReadOnlyFromAFileOfBoundedSize) {
  const TempDir folder;
  std::ofstream(folder.file("x")) << "12345";
  EXPECT_EQ(tools::read_plain_file(folder.file("x"), 5).value(), "12345");
  EXPECT_TRUE(contains(tools::read_plain_file(folder.file("x"), 4).error().message, "more than 4"));
  EXPECT_TRUE(contains(tools::read_plain_file(folder.path(), 5).error().message, "not a regular"));
}

TEST(LabJunit, IsXmlWhateverTheProgramsPrint) {
  const std::string xml = tools::to_junit("a<b",
                                          {{"host \"x\"", "ended & said <no>", 1.5,
                                            "bell \a and \xff \xef\xbf\xbe\xef\xbf\xbf\n<tag>\n"},
                                           {"test", "", 2}},
                                          3.25);
  const ToolResult r = run_program(
      {SHMIF_PYTHON, "-c",
       "import sys, xml.etree.ElementTree as e\n"
       "t = e.fromstring(sys.stdin.read())\n"
       "print(t.get('name'), t.get('tests'), t.get('failures'), t.get('skipped'), t.get('time'))\n"
       "c = t[0]\n"
       "print(c.get('classname'), c.get('name'), c.get('time'), c[0].get('message'))\n"
       "print('<tag>' in c[1].text, len(t[1]))\n"},
      xml);
  EXPECT_EQ(r.out, "a<b 2 1 0 3.250\na<b host \"x\" 1.500 ended & said <no>\nTrue 0\n")
      << r.err << xml;
}

TEST_F(LabOutcome, TheTerminalGetsNoControlCharactersOfAHostButTabsAndColours) {
  std::ofstream(file("say")) << "junk\r\033[Kb | forged\n\033[31mred\033[0m\tx\033]0;title\007\n"
                                "\033[6n\033[1;32mgreen\n\033[3\n";
  const std::string path =
      lab("host.a = { on = \"b\", run = \"cat say; sleep 600\", ready = \"log green\" }\n"
          "test = { host = \"a\", run = \"printf '\\\\033[c'; false\" }\n");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_TRUE(contains(r.out, "a | junk??[Kb | forged\n"));
  EXPECT_TRUE(contains(r.out, "\033[31mred\033[0m\tx?]0;title?\033[0m\n"));
  EXPECT_TRUE(contains(r.out, "?[6n\033[1;32mgreen\033[0m\n"));
  EXPECT_TRUE(contains(r.out, "test | ?[c\n"));
  EXPECT_EQ(text_of(file("out/a.log")).find(text_of(file("say"))), 0U) << "the log has all bytes";
  std::ofstream(file("say")) << "bad \033[2J\r";
  const ToolResult early =
      up(lab("host.a = { on = \"b\", run = \"cat say; exit 3\", ready = \"tcp 1\" }\n"));
  EXPECT_EQ(early.status, 1);
  EXPECT_TRUE(contains(early.err, "  a | bad ?[2J\n"));
  EXPECT_EQ(early.out.find('\033'), std::string::npos) << early.out;
}

// What `up` and `down` say, and what they leave, where silence would mislead.

using LabSaid = LabRig;

constexpr const char* kNeverReady =
    "host.a = { on = \"b\", run = \"touch begun; sleep 600\", ready = \"tcp 80\" }\n"
    "host.c = { on = \"b\", after = \"a\" }\n";

TEST_F(LabSaid, ALabThatTheTimeLimitEndedNamesTheHostForWhichItWaited) {
  const std::string path = lab(kNeverReady);
  const ToolResult r = up(path, {"--time-limit", "500ms", "--junit", file("report.xml")});
  EXPECT_EQ(r.status, 124) << r.err;
  EXPECT_TRUE(
      contains(r.err, "time limit of 500ms, before it was ready: it waited for host a (tcp 80)"));
  EXPECT_FALSE(contains(r.err, "host c")) << "it waits for host a itself";
  const std::string xml = text_of(file("report.xml"));
  EXPECT_TRUE(contains(xml, "tests=\"3\" failures=\"1\""));
  EXPECT_TRUE(contains(xml, "name=\"up\""));
  EXPECT_TRUE(
      contains(xml,
               "<failure message=\"the time limit of 500ms was up before the lab was ready: "
               "it waited for host a (tcp 80)\">"));
  Tool slow(Words{shmifctl_path()} + up_words(path));
  EXPECT_TRUE(slow.wait_for("the lab lab is not ready yet: it waits for host a (tcp 80)"));
}

TEST_F(LabSaid, WhatNoHostCanHaveIsToldOnce) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: masks parts of /proc and /sys";
  const std::string path =
      lab("host.n = { on = \"b\", count = 3, run = \"echo up; sleep 600\" }\n"
          "test = { host = \"n3\", run = \"true\" }\n");
  const ToolResult r =
      run_program(Words{"unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc/tty && exec \"$@\"",
                        "sh", shmifctl_path()} +
                  up_words(path));
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(times_in(r.out + r.err, "cannot mount a private /proc"), 1U) << r.out << r.err;
}

TEST_F(LabSaid, ATimeLimitIsAFailureInTheReportWithATestAndWithout) {
  const std::string host = "host.a = { on = \"b\" }\n";
  for (const auto& [test, name] :
       {std::pair{"test = { host = \"a\", run = \"sleep 600\" }", "test"},
        {"at = [{ time = \"1h\", stop = \"a\" }]", "time limit"}}) {
    const ToolResult r =
        up(lab(host + test), {"--time-limit", "2s", "--junit", file("report.xml")});
    EXPECT_EQ(r.status, 124) << r.err;
    const std::string xml = text_of(file("report.xml"));
    const std::string row = std::string("name=\"") + name + "\"";
    ASSERT_TRUE(contains(xml, row));
    EXPECT_TRUE(
        contains(xml.substr(xml.find(row)), "<failure message=\"the time limit of 2s was up\">"));
  }
}

TEST_F(LabSaid, ATestWhoseHostHasEndedBeforeItIsToldSo) {
  const std::string path =
      lab("host.a = { on = \"b\", run = \"true\" }\n"
          "host.c = { on = \"b\", run = \"sleep 1; echo x; sleep 600\", ready = \"log x\" }\n"
          "test = { host = \"a\", run = \"true\" }\n");
  const ToolResult r = up(path, {"--junit", file("report.xml")});
  EXPECT_EQ(r.status, 125);
  const std::string why = "its host a ended with exit code 0 before it";
  EXPECT_TRUE(contains(r.err, "the test of the lab lab cannot run: " + why));
  EXPECT_FALSE(contains(r.err, "cannot find host"));
  EXPECT_TRUE(contains(text_of(file("report.xml")), why));
}

TEST_F(LabSaid, AReportReplacesNoFileThatTheLabReadsOrWrites) {
  std::filesystem::create_symlink(file("lab.toml"), file("link.toml"));
  std::ofstream(file("script")) << "mine\n";
  std::ofstream(file("perf.job")) << "[x]\nrw=tx\nnumber_ios=9\n";
  const std::string hosts =
      "host.a = { on = \"b\", files = { \"/etc/x\" = { source = \"script\" } } }\n"
      "capture.all = { on = \"b\" }\nperf.p = { on = \"b\", file = \"perf.job\" }\n";
  for (const char* const more : {"", "host.z = { on = \"none\" }\n"}) {  // also with an error
    const std::string path = lab(hosts + more + "test = { host = \"a\", run = \"touch ran\" }\n");
    const std::string text = text_of(path);
    for (const char* const each : {"lab.toml", "link.toml", "script", "perf.job", "lab.b",
                                   "out/all.pcapng", "out/a.log", "out/timeline.jsonl"}) {
      if (*more != '\0' && std::string(each).starts_with("out/")) continue;  // no folder
      const ToolResult r = up(path, {"--junit", file(each)});
      EXPECT_EQ(r.status, 1) << each << r.err;
      EXPECT_TRUE(contains(r.err, "cannot write the report " + file(each) + ": "));
      EXPECT_EQ(text_of(path), text) << each;
      EXPECT_FALSE(std::filesystem::exists(file("ran"))) << each;
    }
  }
  EXPECT_EQ(text_of(file("script")), "mine\n");
  EXPECT_TRUE(std::filesystem::is_symlink(file("link.toml")));
  const ToolResult minus = up(file("lab.toml"), {"--junit", "-"});
  EXPECT_EQ(minus.status, 2);
  EXPECT_TRUE(contains(minus.err, "./- is one of that name"));
}

TEST_F(LabSaid, EventsThatDidNotHappenAreNamed) {
  const std::string path =
      lab("host.a = { on = \"b\", run = \"echo x; sleep 600\" }\n"
          "at = [{ after = \"log a 'never'\", link = \"a\", down = true },\n"
          "      { time = \"1ms\", link = \"a\", fault = \"loss=1%\" },\n"
          "      { time = \"600s\", stop = \"a\" }]\n"
          "test = { host = \"a\", run = \"until grep -q loss out/timeline.jsonl; do sleep .1; "
          "done\" }\n");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.err,
                       "the lab lab ended with its test, before 2 events: at 1 (link a down), "
                       "at 3 (stop a)\n"));
  const std::string timeline = text_of(file("out/timeline.jsonl"));
  EXPECT_TRUE(contains(timeline,
                       "\"what\":\"link a down\",\"applied\":false,\"result\":\"the lab ended "
                       "before it\""));
  EXPECT_EQ(times_in(timeline, "the lab ended before it"), 2U) << timeline;
}

TEST_F(LabSaid, ARunRemovesWhatAnEarlierOneOfTheSameLabHasLeft) {
  const std::string old =
      lab("bus.c = { path = \"lab.c\" }\nhost.old = { on = \"b\" }\n"
          "host.a = { on = [\"b\", \"c\"], run = \"echo 1; echo 2 >&2\" }\n"
          "capture.all = { on = [\"b\", \"c\"] }\n"
          "test = { host = \"old\", run = \"echo no; exit 3\" }\n");
  EXPECT_EQ(up(old).status, 3);
  std::ofstream(file("out/mine")) << "keep";
  EXPECT_TRUE(std::filesystem::exists(file("out/all.pcapng")));
  EXPECT_EQ(text_of(file("out/test.log")), "no\n");
  const std::string path = lab("host.new = { on = \"b\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  for (const char* const each : {"a.log", "test.log", "all.pcapng"}) {
    EXPECT_FALSE(std::filesystem::exists(file(std::string("out/") + each))) << each;
  }
  EXPECT_EQ(text_of(file("out/mine")), "keep");
  EXPECT_EQ(times_in(text_of(file("out/timeline.jsonl")), "ready"), 1U);
  EXPECT_EQ(run_tool({"down", path}).status, 0);
}

TEST_F(LabSaid, TheListOfAnEarlierRunIsNotTrustedWithPaths) {
  std::filesystem::create_directory(file("out"));
  std::ofstream(file("precious")) << "x";
  std::ofstream(file("out/gone")) << "x";
  std::ofstream(file("out/.lab.files")) << "../precious\n" << file("precious") << "\n..\ngone\n";
  EXPECT_EQ(up(lab("host.a = { on = \"b\", run = \"true\" }\n")).status, 0);
  EXPECT_EQ(text_of(file("precious")), "x");
  EXPECT_FALSE(std::filesystem::exists(file("out/gone")));
}

TEST_F(LabSaid, DownOfAnotherFileDoesNotEndALabOfTheSameName) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  std::filesystem::create_directory(file("other"));
  const std::string other = file("other/lab.toml");
  std::filesystem::copy_file(path, other);
  const ToolResult refused = run_tool({"down", other});
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, "cannot end the lab of " + other +
                                        ": the lab lab that is up is of " + path +
                                        " ('shmifctl down lab' ends that one)"));
  const ToolResult shown = run_tool({"serve", other, "--http", "127.0.0.1:0", "--timeout", "0"});
  EXPECT_EQ(shown.status, 1);
  EXPECT_EQ(shown.out, "");
  EXPECT_TRUE(contains(shown.err, "cannot show the lab of " + other +
                                      ": the lab lab that is up is of " + path +
                                      " ('shmifctl serve lab' shows that one)"));
  EXPECT_EQ(listed_lab()["state"], "up");
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  expect_no_trace();
}

TEST_F(LabSaid, DownOfAFileEndsItsOnlyLabWhateverTheFileCallsItNow) {
  const std::string path = file("x.toml");
  const auto write = [&](const std::string& name) {
    std::ofstream(path) << "name = '" << name << "'\nbus.b = { path = '" << name
                        << ".b' }\nhost.a = { on = 'b' }\n";
  };
  for (const char* const name : {"one", "two"}) {
    write(name);
    ASSERT_EQ(run_tool({"up", path, "--detach", "--artifacts", file(name)}).status, 0);
  }
  write("three");
  const ToolResult many = run_tool({"down", path});
  EXPECT_EQ(many.status, 1);
  EXPECT_TRUE(contains(many.err, "there are several labs of " + path + ": one, two ("));
  EXPECT_EQ(run_tool({"down", "two"}).status, 0);
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  for (const char* const name : {"one", "two"}) expect_no_trace(name);
}

TEST_F(LabSaid, ItsHostsSayInTheirLogsWhatDebugAndLogLevelOfUpAskFor) {
  const std::string path = lab("host.a = { on = \"b\", run = \"true\" }\n");
  const char* const debugged = " wire: port a with MAC address ";
  const char* const logged = " port a attached to ";
  const auto log_with = [&](const Words& options) {
    Words words = up_words(path);
    words.insert(words.begin(), options.begin(), options.end());
    const ToolResult r = run_tool(words);
    EXPECT_EQ(r.status, 0) << r.out << r.err;
    return text_of(file("out/a.log"));
  };
  const std::string usual = log_with({});
  EXPECT_FALSE(contains(usual, debugged) || contains(usual, logged)) << usual;
  const std::string debugging = log_with({"--debug=wire"});
  EXPECT_TRUE(contains(debugging, debugged) && !contains(debugging, logged)) << debugging;
  const std::string logging = log_with({"--log-level=debug"});
  EXPECT_TRUE(contains(logging, logged) && !contains(logging, debugged)) << logging;
}

// Labs whose hosts print more than others read: the controller goes on with its other work, and
// keeps its memory.

using tools::Json;
using tools::MachineLine;

class LabFloodUp : public LabRig {};

TEST_F(LabFloodUp, AReaderThatStandsStillDoesNotHoldUpTheLab) {
  const std::string path = lab(R"(
at = [{ after = "log a last", link = "a", down = true }]
[host.a]
on = "b"
run = "yes 0123456789012345678901234567890123456789 | head -n 60000; echo last; sleep 600"
[test]
host = "a"
run = "until grep -q down out/timeline.jsonl; do sleep 0.1; done; echo end"
)");
  Tool tool(Words{shmifctl_path()} + up_words(path, {"--keep", "always", "--junit",
                                                     file("r.xml")}));  // nobody reads what it says
  EXPECT_TRUE(eventually([&] { return text_of(file("out/test.log")) == "end\n"; }));
  EXPECT_TRUE(eventually([&] { return std::filesystem::exists(file("r.xml")); }));
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(file("run/shmif/lab.json")); }));
  expect_no_trace();
  EXPECT_EQ(text_of(file("out/a.log")).size(), 60'000U * 41 + 5) << "the log is whole";
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out,
                       " lines left out here, because nobody read them in time (the log of each "
                       "host has all of its lines)\n"));
  EXPECT_FALSE(contains(r.out, "last")) << "it was left out";
}

struct LineEnds {
  MachineLine near, far;
};
LineEnds line_ends(std::size_t max_record) {
  std::array<int, 2> pair{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {MachineLine(UniqueFd(pair[0]), UniqueFd(::dup(pair[0])), max_record),
          MachineLine(UniqueFd(pair[1]), UniqueFd(::dup(pair[1])), max_record)};
}

TEST(LabFlood, ARecordOfAnotherMachineHasALimit) {
  for (const bool is_longer : {false, true}) {
    LineEnds ends = line_ends(MachineLine::kMaxAnswer);
    const std::size_t around = std::string(R"({"out":""})").size();
    ends.far.send(
        {{"out",
          std::string(MachineLine::kMaxAnswer - around + (is_longer ? 128 * 1024 : 0), 'x')}});
    std::vector<Json> records;
    for (int i = 0; i < 1000 && ends.near.is_open() && records.empty(); ++i) {
      ends.far.flush();
      records = ends.near.receive();
    }
    EXPECT_EQ(records.size(), is_longer ? 0U : 1U);
    EXPECT_EQ(ends.near.is_wrong(), is_longer);
  }
}

TEST(LabFlood, RecordsThatComeByteByByteAreFound) {
  std::array<int, 2> pair{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  const UniqueFd far(pair[1]);
  MachineLine near(UniqueFd{pair[0]}, UniqueFd{::dup(pair[0])}, MachineLine::kMaxAnswer);
  std::string found;
  for (const char byte : std::string("{\"a\":1}\n{\"b\":2}\n")) {
    ASSERT_EQ(::write(far.get(), &byte, 1), 1);
    for (const Json& each : near.receive()) found += each.dump();
  }
  EXPECT_EQ(found, R"({"a":1}{"b":2})");
}

}  // namespace
}  // namespace shmif::test
