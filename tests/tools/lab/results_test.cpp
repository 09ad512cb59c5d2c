// What decides how a lab ends, and what it leaves: restarts, limits, reports, folders.

#include <csignal>

#include "tests/tools/lab/lab_rig.hpp"
#include "tools/lab/results.hpp"

namespace shmif::test {
namespace {

using LabOutcome = LabRig;

TEST_F(LabOutcome, RestartFollowsTheExitCodeAndAStopEndsIt) {
  const std::string path = lab(R"(
host.fine = { on = "b", run = "echo ran >> fine; sleep .1", restart = "on-failure" }
host.every = { on = "b", run = "echo ran >> every; sleep .1", restart = "always", restarts = 3 }
host.loop.on = "b"
host.loop.run = "echo ran | tee -a loop; sleep 600"
host.loop.ready = "log ran"
host.loop.restart = "always"
host.a = { on = "b" }
at = [{ time = "100ms", stop = "loop" }, { after = "ended loop", time = "500ms", start = "loop" }]
test.host = "a"
test.run = "until [ $(wc -l < every) = 4 ] && [ $(wc -l < loop) = 2 ]; do sleep .1; done; sleep .5"
)");
  const ToolResult r = up(path, {"--time-limit", "100"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_EQ(text_of(file("fine")), "ran\n") << "it ended well";
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
  const ToolResult refused = up(path);
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
host.a.run = "echo $PATH $SHMIF_LAB $SHMIF_HOST $SHMIF_RESULTS"
host.x = { on = "b" }
test = { host = "x", run = "echo $PATH $SHMIF_LAB $SHMIF_HOST $SHMIF_RESULTS$MORE" }
)");
  Words words = up_words(path, {"--keep", "always"});
  words.insert(words.begin(), {"env", "PATH=/usr/bin:/bin", shmifctl_path()});
  const ToolResult r = run_program(words);
  EXPECT_EQ(r.status, 0) << r.err;
  const std::string full = "/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin lab ";
  EXPECT_EQ(text_of(file("out/test.log")), full + "x " + file("out") + "\n");
  EXPECT_EQ(text_of(file("out/a.log")).substr(0, full.size()), full);
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
          "test = { host = \"a\", run = \"printf '\\\\033[c\\\\n'; false\" }\n");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_TRUE(contains(r.out, "a | junk??[Kb | forged\n"));
  EXPECT_TRUE(contains(r.out, "\033[31mred\033[0m\tx?]0;title?\033[0m\n"));
  EXPECT_TRUE(contains(r.out, "?[6n\033[1;32mgreen\033[0m\n"));
  EXPECT_TRUE(contains(r.out, "test | ?[c\n"));
  EXPECT_EQ(text_of(file("out/a.log")).find(text_of(file("say"))), 0U) << "the log has all bytes";
  std::ofstream(file("say")) << "bad \033[2J\r\n";
  const ToolResult early =
      up(lab("host.a = { on = \"b\", run = \"cat say; exit 3\", ready = \"tcp 1\" }\n"));
  EXPECT_EQ(early.status, 1);
  EXPECT_TRUE(contains(early.err, "  a | bad ?[2J\n"));
  EXPECT_EQ(early.out.find('\033'), std::string::npos) << early.out;
}

}  // namespace
}  // namespace shmif::test
