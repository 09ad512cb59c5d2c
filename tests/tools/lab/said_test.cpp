// What `up` and `down` say, and what they leave, where silence would mislead.

#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
