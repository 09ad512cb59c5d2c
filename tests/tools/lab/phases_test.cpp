// A lab that is stopped or killed in each phase of its life: nothing is left.

#include <csignal>

#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

class LabPhases : public LabRig {
 protected:
  bool exists(const std::string& name) const { return std::filesystem::exists(file(name)); }
  bool has_port(const std::string& name) const {
    return run_tool({"stat", file("lab.b"), "--json"}).out.find('"' + name + '"') !=
           std::string::npos;
  }
};

const char* const kPhases[] = {"starting", "waiting", "test", "perf", "ending"};

TEST_F(LabPhases, CtrlCAndAKillEndALabWithEverything) {
  // "first" is not ready before the file go1 is there, "second" waits for it and for go2. The test
  // waits for go3, the run of shmifperf for nothing. "slow" does not end when told to.
  const std::string text = R"(
[host.first]
on = "b"
run = "touch begun-first; until [ -e go1 ]; do sleep .02; done; echo one; exec sleep 600"
ready = "log one"
[host.second]
on = "b"
after = "first"
run = "touch begun-second; until [ -e go2 ]; do sleep .02; done; echo two; exec sleep 600"
ready = "log two"
[capture.all]
on = "b"
[perf.load]
on = "b"
options = { rw = "tx", rate_iops = 100, runtime = 600 }
[test]
host = "first"
run = "touch begun-test; until [ -e go3 ]; do sleep .02; done"
)";
  const std::string slow = R"([host.slow]
on = "b"
run = "trap '' TERM INT HUP; while :; do sleep .1; done"
)";
  for (const std::string phase : kPhases) {
    const std::string path = lab(phase == "ending" ? text + slow : text);
    for (const int signal : {SIGINT, SIGKILL}) {
      SCOPED_TRACE(phase + ", signal " + std::to_string(signal));
      for (const char* const each :
           {"begun-first", "begun-second", "begun-test", "go1", "go2", "go3"}) {
        std::filesystem::remove(file(each));
      }
      Tool tool(Words{shmifctl_path()} + up_words(path));
      const auto wait_for = [&](const char* name) {
        ASSERT_TRUE(eventually([&] { return exists(name); })) << name << tool.so_far().err;
      };
      ASSERT_NO_FATAL_FAILURE(wait_for("begun-first"));
      const bool to_waiting = phase != "starting";
      if (to_waiting) {
        std::ofstream(file("go1")) << "x";
        ASSERT_NO_FATAL_FAILURE(wait_for("begun-second"));
      }
      if (to_waiting && phase != "waiting") {
        std::ofstream(file("go2")) << "x";
        ASSERT_NO_FATAL_FAILURE(wait_for("begun-test"));
      }
      if (phase == "perf" || phase == "ending") {
        ASSERT_TRUE(eventually([&] { return has_port("load.sink"); }));
      }
      const std::vector<pid_t> family = family_of(tool.pid());
      EXPECT_GE(family.size(), 6U);
      if (phase == "ending") {
        tool.signal(SIGTERM);  // the load ends first; "slow" goes on for two seconds
        ASSERT_TRUE(eventually([&] { return !has_port("load.sink"); }));
      }
      tool.signal(signal);
      const ToolResult r = tool.finish();
      const int first = phase == "ending" && signal != SIGKILL ? SIGTERM : signal;
      EXPECT_EQ(r.status, 128 + first) << r.out << r.err;
      for (const pid_t each : family) {
        EXPECT_TRUE(eventually([&] { return is_gone(each); })) << each;
      }
      EXPECT_TRUE(eventually([&] { return !exists("lab.b") && !exists("run/shmif/lab.lock"); }));
      expect_no_trace();
      const ToolResult down = run_tool({"down", path});
      EXPECT_EQ(down.status, 0);
      EXPECT_TRUE(contains(down.err, "is not up"));
      if (HasFailure()) return;
    }
  }
}

TEST_F(LabPhases, DownDuringTheStartEndsItAndUpSaysSo) {
  const std::string path =
      lab("host.a = { on = \"b\", run = \"touch begun; sleep 600\", ready = \"tcp 1\" }\n");
  Tool tool(Words{shmifctl_path()} + up_words(path, {"--detach"}));
  ASSERT_TRUE(eventually([&] { return exists("begun"); }));
  EXPECT_EQ(state()["ready"], false);
  const ToolResult second = up(path, {"--detach"});
  EXPECT_EQ(second.status, 1);
  EXPECT_TRUE(contains(second.err, "is up already, from " + path));
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 143) << r.err;
  EXPECT_TRUE(contains(r.err, "the lab lab was ended before it was ready"));
  expect_no_trace();
}

// A bus of that name that appears after the check is not taken either.
TEST_F(LabPhases, ABusThatExistsIsNeitherUsedNorRemovedInWhateverForm) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  std::ofstream(file("lab.b")) << "my notes\n";
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot make bus.b: there is a file " + file("lab.b") + " already"));
  EXPECT_EQ(text_of(file("lab.b")), "my notes\n");
  std::filesystem::remove(file("lab.b"));
  std::filesystem::create_symlink("nowhere", file("lab.b"));
  const ToolResult link = up(path);
  EXPECT_EQ(link.status, 1);
  EXPECT_TRUE(contains(link.err, "there is a file " + file("lab.b")));
  EXPECT_TRUE(std::filesystem::is_symlink(file("lab.b")));
  EXPECT_FALSE(std::filesystem::exists(file("nowhere")));
  EXPECT_FALSE(std::filesystem::exists(file("run/shmif/lab.json")));
  // Of several buses, those that were made are removed.
  const std::string two = lab("bus.first = { path = \"f.bus\" }\nhost.a = { on = \"b\" }\n");
  std::filesystem::rename(two, file("two.toml"));
  std::ofstream(file("three.toml"))
      << "bus.first = { path = 'f.bus' }\nbus.b = { path = 'lab.b' }\n"
         "host.a = { on = 'b' }\n";
  EXPECT_EQ(up(file("three.toml")).status, 1);
  EXPECT_FALSE(std::filesystem::exists(file("f.bus")));
  EXPECT_TRUE(std::filesystem::is_symlink(file("lab.b")));
}

// Two users, or two jobs of CI, have a folder of states each. The buses of their labs are the same.
TEST_F(LabPhases, ASecondRunOfALabSaysThatTheFirstOneHasItsBus) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const ToolResult same = up(path);
  EXPECT_EQ(same.status, 1);
  EXPECT_TRUE(contains(same.err, "the lab lab is up already, from " + path));
  EXPECT_TRUE(
      contains(same.err, "(end it with 'shmifctl down lab', or give this file another name"));
  std::filesystem::create_directory(file("run2"));
  std::filesystem::permissions(file("run2"), std::filesystem::perms::owner_all);
  ::setenv("XDG_RUNTIME_DIR", file("run2").c_str(), 1);
  const ToolResult other = run_tool({"up", path, "--artifacts", file("out2")});
  ::setenv("XDG_RUNTIME_DIR", file("run").c_str(), 1);
  EXPECT_EQ(other.status, 1);
  EXPECT_TRUE(contains(other.err,
                       "cannot make bus.b: " + file("lab.b") +
                           " is a bus that is in use, by the port \"a\" and perhaps others "
                           "(another lab \"lab\" may run, of another user or with another "
                           "XDG_RUNTIME_DIR: end it, or give this file another name = \"...\")"));
  EXPECT_EQ(run_tool({"enter", file("lab.b"), "a", "--", "true"}).status, 0) << "the first runs on";
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  expect_no_trace();
}

}  // namespace
}  // namespace shmif::test
