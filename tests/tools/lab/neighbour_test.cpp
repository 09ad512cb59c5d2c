// Labs beside another user of the machine, who puts files where a lab looks or writes.

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "tests/tools/lab/lab_rig.hpp"
#include "tools/lab/state.hpp"

namespace shmif::test {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kNeighbour = 65'003;

class LabNeighbour : public LabRig {
 protected:
  void SetUp() override {
    LabRig::SetUp();
    std::ofstream(file("precious")) << "keep this\n";
    fs::create_directory(file("run/shmif"));
    fs::permissions(file("run/shmif"), fs::perms::owner_all);
  }
  void TearDown() override { EXPECT_EQ(text_of(file("precious")), "keep this\n"); }

  /// Gives a folder to another user, with what is in it.
  static void give_away(const std::string& folder) {
    for (const auto& each : fs::directory_iterator(folder)) {
      ASSERT_EQ(::lchown(each.path().c_str(), kNeighbour, kNeighbour), 0);
    }
    ASSERT_EQ(::chown(folder.c_str(), kNeighbour, kNeighbour), 0);
    ASSERT_EQ(::chmod(folder.c_str(), 0755), 0);
  }
  /// The state of a lab "lab" that names a bus and a group of ours, and no living process.
  std::string harmful_state() const {
    return nlohmann::json{{"name", "lab"},
                          {"file", "x"},
                          {"results", "x"},
                          {"pid", 999'999},
                          {"started", 1},
                          {"ready", true},
                          {"buses", {{{"name", "b"}, {"path", file("other.bus")}}}},
                          {"hosts", nlohmann::json::array()},
                          {"groups", {file("group")}}}
        .dump();
  }
  /// A lab whose test passes.
  std::string passing_lab() const {
    return lab(
        "host.a = { on = \"b\", run = \"echo said; exec sleep 600\", ready = \"log said\" }\n"
        "test = { host = \"a\", run = \"true\" }\n");
  }
};

TEST_F(LabNeighbour, WhoMadeTheFolderOfStatesFirstGetsNothingOfRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a folder away";
  const std::string path = passing_lab();
  ASSERT_EQ(run_tool({"create", file("other.bus")}).status, 0);
  fs::create_directory(file("group"));
  std::ofstream(file("run/shmif/lab.json")) << harmful_state();
  fs::create_symlink(file("precious"), file("run/shmif/lab.json.new"));
  give_away(file("run/shmif"));
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 1) << r.out;
  EXPECT_TRUE(contains(r.err, "cannot use the folder of labs " + file("run/shmif")));
  EXPECT_TRUE(contains(r.err, "XDG_RUNTIME_DIR"));
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  EXPECT_TRUE(fs::exists(file("other.bus")));
  EXPECT_TRUE(fs::exists(file("group")));
  EXPECT_TRUE(fs::is_symlink(file("run/shmif/lab.json.new")));
  // Nor where our folder can be exchanged for another one.
  fs::remove_all(file("run/shmif"));
  give_away(file("run"));
  EXPECT_EQ(up(path).status, 1);
  EXPECT_FALSE(fs::exists(file("lab.b")));
}

TEST_F(LabNeighbour, ALinkWhereTheStateIsWrittenIsNotFollowed) {
  fs::create_symlink(file("precious"), file("run/shmif/lab.json.new"));
  const ToolResult r = up(passing_lab());
  EXPECT_EQ(r.status, 0) << r.err;
  expect_no_trace();
}

// ---- The folder of results ----

TEST_F(LabNeighbour, TheResultsDoNotGoToAFolderOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a folder away";
  fs::create_directory(file("out"));
  fs::create_symlink(file("precious"), file("out/timeline.jsonl"));
  give_away(file("out"));
  const std::string path = passing_lab();
  const ToolResult theirs = up(path);
  EXPECT_EQ(theirs.status, 1);
  EXPECT_TRUE(
      contains(theirs.err, "cannot use the folder of results " + file("out") +
                               ": it belongs to another user (give another with --artifacts)"));
  // Nor does a link of theirs lead there.
  fs::create_directory(file("mine"));
  fs::remove_all(file("out"));
  fs::create_directory_symlink(file("mine"), file("out"));
  ASSERT_EQ(::lchown(file("out").c_str(), kNeighbour, kNeighbour), 0);
  const ToolResult link = up(path);
  EXPECT_EQ(link.status, 1);
  EXPECT_TRUE(contains(link.err, "it is a link of another user"));
  EXPECT_TRUE(fs::is_empty(file("mine")));
  expect_no_trace();
}

TEST_F(LabNeighbour, TheResultsOfTwoLabsDoNotGoToOneFolderAtTheSameTime) {
  const std::string first = lab("host.a = { on = \"b\", run = \"echo first; sleep 600\" }\n");
  ASSERT_EQ(up(first, {"--detach"}).status, 0);
  const std::string second = lab("host.a = { on = \"b\", run = \"touch begun\" }\n", "second");
  const ToolResult r = up(second);
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot use the folder of results " + file("out") +
                                  ": the lab lab uses it now (give another with --artifacts)"));
  EXPECT_FALSE(fs::exists(file("begun")));
  expect_no_trace("second");
  ASSERT_TRUE(eventually([&] { return text_of(file("out/a.log")) == "first\n"; }));
  EXPECT_EQ(run_tool({"down", first}).status, 0);
  EXPECT_EQ(text_of(file("out/a.log")), "first\n");
  EXPECT_EQ(up(second).status, 0) << "now it is free";
}

TEST_F(LabNeighbour, LinksInTheFolderOfResultsAreNotFollowed) {
  fs::create_directory(file("out"));
  for (const char* const name : {"timeline.jsonl", "a.log", "lab.log", "all.pcapng"}) {
    fs::create_symlink(file("precious"), file("out/") + name);
  }
  const std::string path =
      lab("host.a = { on = \"b\", run = \"echo said; exec sleep 600\", ready = \"log said\" }\n"
          "capture.all = { on = \"b\" }\n");
  const ToolResult r = up(path, {"--detach"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  EXPECT_EQ(text_of(file("out/a.log")), "said\n");
  for (const char* const name : {"timeline.jsonl", "a.log", "lab.log", "all.pcapng"}) {
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(file("out/") + name))) << name;
  }
}

// ---- The end of a lab ----

TEST_F(LabNeighbour, ABusThatIsNotTheLabsAnyMoreStays) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  fs::remove(file("lab.b"));
  ASSERT_EQ(run_tool({"create", file("lab.b"), "--mtu", "9000"}).status, 0);
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  EXPECT_TRUE(fs::exists(file("lab.b")));
  EXPECT_TRUE(contains(text_of(file("out/lab.log")), "the file " + file("lab.b") + " stays"));
  fs::remove(file("lab.b"));
  expect_no_trace();
  // The same if the lab was killed, and `down` or the next `up` finds its state.
  for (const bool by_down : {true, false}) {
    std::ofstream(file("run/shmif/lab.json")) << [&] {
      auto state = nlohmann::json::parse(harmful_state());
      state["buses"][0]["file_id"] = "1:1 1 1.1";
      return state.dump();
    }();
    ASSERT_EQ(run_tool({"create", file("other.bus")}).status, 0);
    const ToolResult r = by_down ? run_tool({"down", "lab"}) : up(passing_lab());
    EXPECT_EQ(r.status, 0) << r.err;
    EXPECT_TRUE(fs::exists(file("other.bus")));
    if (by_down) {
      EXPECT_TRUE(contains(r.err, "the file " + file("other.bus") +
                                      " stays: it is not the one that the lab lab has made"));
    }
    fs::remove(file("other.bus"));
  }
  expect_no_trace();
}

TEST_F(LabNeighbour, DownEndsNoProcessThatHasNotTheLabsLock) {
  const pid_t other = ::fork();
  ASSERT_GE(other, 0);
  if (other == 0) {
    ::pause();
    ::_exit(0);
  }
  auto state = nlohmann::json::parse(harmful_state());
  state["pid"] = other;
  state["started"] = tools::start_of_process(other);
  state["buses"] = nlohmann::json::array();
  std::ofstream(file("run/shmif/lab.json")) << state.dump();
  const ToolResult r = run_tool({"down", "lab", "--timeout", "1"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_FALSE(is_gone(other));
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  expect_no_trace();
}

/// The pid in the state of such a lab means another process here, or none. Its lock tells.
TEST_F(LabNeighbour, ALabInAnotherPidNamespaceIsUpForLsAndDown) {
  const Words apart{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", shmifctl_path()};
  const auto in_there = [&](const Words& more) {
    Words words = apart;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  if (run_program(in_there({"ls"})).status != 0) GTEST_SKIP() << "no pid namespaces here";
  const std::string path = lab("host.a = { on = \"b\" }\n");
  {
    Tool inside(in_there(up_words(path)));
    ASSERT_TRUE(eventually([&] {
      const auto lab = listed_lab();
      return lab.is_object() && lab["state"] == "up";
    })) << inside.so_far().err;
    const pid_t pid = listed_lab().at("pid");
    EXPECT_EQ(state().at("pid"), 1) << "its number there";
    EXPECT_EQ(children_of(inside.pid()), std::vector{pid}) << "unshare's child";
    EXPECT_EQ(run_tool({"down", path}).status, 0);
    EXPECT_EQ(inside.finish().status, 0);
    expect_no_trace();
  }
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const auto all = nlohmann::json::parse(run_program(in_there({"ls", "--json"})).out);
  const auto found = std::ranges::find(all.at("labs"), file("lab.toml"), [](const auto& each) {
    return each.at("file").template get<std::string>();
  });
  ASSERT_NE(found, all.at("labs").end()) << all;
  EXPECT_EQ(found->at("state"), "up");
  EXPECT_EQ(found->at("pid"), nullptr);
  EXPECT_EQ(found->at("why_null").at("pid"), "its process is in another pid namespace");
  const ToolResult refused = run_program(in_there({"down", path}));
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, "another pid namespace ('shmifctl down lab' ends it there)"));
  EXPECT_EQ(listed_lab().at("state"), "up");
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  expect_no_trace();
}

}  // namespace
}  // namespace shmif::test
