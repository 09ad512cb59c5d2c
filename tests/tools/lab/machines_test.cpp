// Labs on several machines. Most tests use a stand-in for ssh, which runs the command on this
// machine; one uses the real thing.

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "tests/support/paths.hpp"
#include "tests/tools/lab/lab_rig.hpp"
#include "tests/tools/uplink/machines.hpp"
#include "tools/lab/keys.hpp"
#include "tools/lab/state.hpp"

namespace shmif::test {
namespace {

class LabMachines : public LabRig {
 protected:
  void SetUp() override {
    LabRig::SetUp();
    if (IsSkipped()) return;
    std::filesystem::create_directory(file("bin"));
    ssh_is("for last; do :; done\nexec sh -c \"$last\"\n");
    path_before_ = std::getenv("PATH");
    ::setenv("PATH", (file("bin") + ':' + path_before_).c_str(), 1);
  }
  void TearDown() override {
    if (!path_before_.empty()) ::setenv("PATH", path_before_.c_str(), 1);
  }
  /// What a lab finds as ssh.
  void ssh_is(const std::string& script) const {
    std::ofstream(file("bin/ssh")) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(file("bin/ssh"), std::filesystem::perms::owner_all);
  }
  /// A lab whose name is this test's own, because buses of other machines are in /dev/shm.
  std::string far_lab(const std::string& text, const std::string& ssh = "far") const {
    return lab("name = \"" + name_ + "\"\nmachine.far = { ssh = \"" + ssh + "\", program = \"" +
               shmifctl_path() + "\", folder = \"" + file("") + "\" }\n" + text);
  }
  std::string far_bus() const { return "/dev/shm/" + name_ + "-far.b"; }
  nlohmann::json state_of(const std::string& name) const {
    return nlohmann::json::parse(text_of(file("run/shmif/" + name + ".json")), nullptr, false);
  }
  pid_t far_controller() const {
    const auto state = state_of(name_ + "-far");
    return state.is_object() ? state["pid"].get<pid_t>() : 0;
  }
  void expect_nothing_left() const {
    EXPECT_FALSE(std::filesystem::exists(far_bus()));
    expect_no_trace(name_);
    EXPECT_FALSE(std::filesystem::exists(file("run/shmif/" + name_ + "-far.json")));
    EXPECT_FALSE(std::filesystem::exists(file("lab.b")));
  }

  /// Of several processes of this test that run side by side.
  const std::string name_ = "m" + std::to_string(::getpid());

 private:
  std::string path_before_;
};

TEST_F(LabMachines, RunHostsThatReachThoseHereAndAreReadyInOrder) {
  const std::string path = far_lab(R"(
machine.idle = { ssh = "idle", program = "false" }  # no host is there, so nobody asks it
host.user = { on = "b", ip = "198.18.0.7/24", after = "web" }
[host.web]
on = "b"
machine = "far"
ip = "198.18.0.80/24"
env = { A = "it's" }
run = """
sleep 0.3; echo $A $SHMIF_HOST $PWD; grep -c user /etc/hosts
exec busybox httpd -f -p 80
"""
ready = "tcp 80"
[host.last]
on = "b"
machine = "far"
ip = "198.18.0.8/24"
after = "user"
run = "echo last; sleep 600"
ready = "log last"
[test]
host = "user"
run = "busybox wget -q -O - http://web/lab.toml | cmp - lab.toml && ping -q -c 1 -W 20 last"
)",
                                   "u@fd00::9");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  const std::string folder = file("").substr(0, file("").size() - 1);
  EXPECT_EQ(text_of(file("out/web.log")), "it's web " + folder + "\n1\n");
  EXPECT_TRUE(contains(r.out, "web  | it's web " + folder + "\n"));
  EXPECT_EQ(times_in(r.out + r.err, "it's web "), 1U) << r.out << r.err;
  EXPECT_EQ(text_of(file("out/last.log")), "last\n");
  expect_nothing_left();
}

TEST_F(LabMachines, HaveTheirLinesChangedStoppedAndStartedAsHere) {
  const std::string path = far_lab(R"(
at = [
  { time = "0s", link = "web", down = true },
  { after = "log web no carrier", link = "web", down = false },
  { after = "log web carrier again", link = "web", fault = "loss=100%" },
  { after = "log web deaf", stop = "web" },
  { after = "ended web", start = "web" },
]
[host.user]
on = "b"
ip = "198.18.0.7/24"
[host.web]
on = "b"
machine = "far"
ip = "198.18.0.80/24"
ready = "log begun"
run = """
echo begun
[ ! -e second ] || { echo >third; exec sleep 600; }
c=1; until [ $c = 0 ]; do read c </sys/class/net/b/carrier; sleep 0.05; done; echo no carrier
until [ $c = 1 ]; do read c </sys/class/net/b/carrier; sleep 0.05; done
until ping -q -c 1 -W 1 user; do :; done; echo carrier again
while ping -q -c 1 -W 1 user; do :; done; echo >second; echo deaf
sleep 600
"""
[test]
host = "user"
run = "i=0; until [ -e third ]; do i=$((i+1)); [ $i -lt 1200 ] || exit 1; sleep 0.1; done"
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 0) << r.out << r.err << text_of(file("out/web.log"));
  EXPECT_EQ(times_in(text_of(file("out/timeline.jsonl")), "\"applied\":true"), 6U)
      << text_of(file("out/timeline.jsonl"));
  expect_nothing_left();
}

/// Two machines: "far" never hears of a change, and "other" answers it.
const std::string kSilentSsh = R"(
for last; do :; done
case $last in *--stdio*) ;; *) exec sh -c "$last" ;; esac
if [ "$last" != "${last#*other}" ]; then
  { until [ -e asked ]; do sleep 0.1; done
    printf '{"changed":0,"text":"all is well","number":1}\n'; } &
  sh -c "${last#*other}"
  kill $!
  exit
fi
while IFS= read -r line; do
  case $line in '{"change"'*) : >asked ;; *) printf '%s\n' "$line" ;; esac
done | sh -c "$last" | cat  # which would make its output, and so this input, non-blocking
)";

TEST_F(LabMachines, ThatDoNotAnswerAChangeFailItAndNoOtherMachineAnswersForThem) {
  ssh_is(kSilentSsh);
  const std::string path =
      far_lab("machine.other = { ssh = \"x\", program = \"other " + std::string(shmifctl_path()) +
              "\", folder = \"" + file("") + "\" }\n" + R"(
host.here = { on = "b", ip = "198.18.0.7/24" }
host.there = { on = "b", machine = "far" }
host.third = { on = "b", machine = "other" }
at = [ { time = "0s", link = "there", down = true }, { time = "0s", link = "here", down = true } ]
[test]
host = "here"
run = "until grep -q 0 /sys/class/net/b/carrier; do sleep 0.1; done"
)");
  const ToolResult r = up(path, {"--keep", "always"});
  EXPECT_EQ(r.status, 1) << r.out << r.err;
  EXPECT_TRUE(contains(r.err,
                       "link there down failed: machine far did not answer within 8 s, so the "
                       "change may still come (is its ssh connection alive?)"));
  EXPECT_TRUE(
      contains(r.err, "machine other, ssh x, answered what nobody asked: its hosts are lost"));
  const std::string timeline = text_of(file("out/timeline.jsonl"));
  EXPECT_TRUE(contains(timeline, "\"link there down\",\"applied\":false"));
  EXPECT_TRUE(contains(timeline, "\"link here down\",\"applied\":true"));
  expect_nothing_left();
}

TEST_F(LabMachines, ThatCannotBeReachedAreTheReasonThatUpSays) {
  const std::string path = far_lab("host.x = { on = \"b\", machine = \"far\" }\n");
  ssh_is("echo 'ssh: Could not resolve hostname far: Name or service not known' >&2; exit 255\n");
  const ToolResult r = up(path);
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "machine far, ssh far, ended with exit code 255 (try 'ssh far " +
                                  std::string(shmifctl_path()) + " --version')"));
  EXPECT_TRUE(contains(r.err, "  machine-far | ssh: Could not resolve hostname far"));
  expect_nothing_left();
  ssh_is("echo 'Welcome'; exec sleep 600\n");
  const ToolResult strange = up(path);
  EXPECT_EQ(strange.status, 1);
  EXPECT_TRUE(
      contains(strange.err, "machine far, ssh far, sent what is no record of a lab (does a shell"));
  expect_nothing_left();
}

TEST_F(LabMachines, OfAnotherVersionAreRefused) {
  const ToolResult r =
      run_tool({"up", "--stdio", "lab.toml"},
               R"({"lab":"bus.b = {}","version":"0.0.1","name":"n","machine":"far","folder":""})"
               "\n");
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "the versions differ: 0.0.1 here and "));
  const ToolResult silent = run_tool({"up", "--stdio", "lab.toml"});
  EXPECT_EQ(silent.status, 1);
  EXPECT_TRUE(contains(silent.err, "no lab came"));
  const ToolResult wrong = run_tool({"up", "--stdio", "lab.toml"}, "{\"lab\":7}\n");
  EXPECT_EQ(wrong.status, 1);
  EXPECT_TRUE(contains(wrong.err, "no lab of this version"));
  EXPECT_EQ(run_tool({"up", "--stdio", "lab.toml", "--detach"}).status, 2);
}

TEST_F(LabMachines, ThatSayWhatIsNotAgreedAreRefusedAndStartNothingHere) {
  const std::string path =
      far_lab("host.here.on = \"b\"\nhost.x = { on = \"b\", machine = \"far\" }\n");
  struct Said {
    const char* records;
    const char* why;
  };
  for (const Said& each :
       {Said{"i=0; while [ $i -lt 200 ]; do echo '{\"up\":true}'; i=$((i+1)); done",
             "said twice that it is up"},
        Said{"echo '{\"changed\":0,\"text\":\"done\"}'", "answered what nobody asked"}}) {
    ssh_is("echo \"$*\" >> " + file("started") + "\n" + each.records + "\nexec sleep 600\n");
    const ToolResult r = up(path);
    EXPECT_EQ(r.status, 1);
    EXPECT_TRUE(contains(r.err, std::string("machine far, ssh far, ") + each.why));
    EXPECT_LE(times_in(text_of(file("started")), "\n"), 2U) << "one session, and one uplink";
    std::filesystem::remove(file("started"));
    expect_nothing_left();
  }
}

TEST_F(LabMachines, EndTheirHostsWithAKilledController) {
  const std::string path = far_lab(R"(
bus.c = { path = "lab.c" }
host.here = { on = ["b", "c"], run = "sleep 600; true" }
host.there = { on = "b", machine = "far", run = "sleep 600; true", fault = "delay=1ms" }
)");
  for (const bool kills_here : {true, false}) {
    ASSERT_EQ(up(path, {"--detach", "--seed", "7"}).status, 0);
    EXPECT_FALSE(std::filesystem::exists("/dev/shm/" + name_ + "-far.c")) << "no host is on it";
    EXPECT_TRUE(contains(run_tool({"fault", far_bus(), "there"}).out,
                         tools::with_seed("", 7, "there.b").substr(1)));
    const pid_t here = state_of(name_)["pid"];
    const pid_t there = far_controller();
    ASSERT_GT(there, 0);
    EXPECT_EQ(state_of(name_)["far_hosts"], nlohmann::json({"there"}));
    std::istringstream listed(run_tool({"ls"}).out);
    std::string word;
    while (listed >> word && word != name_) continue;
    std::string state, user, hosts;
    listed >> state >> user >> hosts;
    EXPECT_EQ(hosts, "2") << "also those on other machines";
    std::vector<pid_t> all = family_of(there);
    EXPECT_GE(all.size(), 4U) << "guardian, supervisor, first process, program";
    ::kill(kills_here ? here : there, SIGKILL);
    for (const pid_t each : all) EXPECT_TRUE(eventually([&] { return is_gone(each); }));
    EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(far_bus()); }));
    EXPECT_EQ(is_gone(here), kills_here) << "the lab goes on";
    EXPECT_EQ(run_tool({"down", name_}).status, 0);
    expect_nothing_left();
  }
}

TEST_F(LabMachines, ThatAreLostFailTheLab) {
  const std::string path = far_lab(R"(
host.here = { on = "b", ip = "198.18.0.1/24" }
host.there = { on = "b", machine = "far", run = "sleep 600; true" }
test = { host = "here", run = "touch begun; until [ -e end ]; do sleep 0.1; done" }
)");
  Tool tool(Words{shmifctl_path()} + up_words(path));
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(file("begun")); }));
  ::kill(far_controller(), SIGKILL);
  EXPECT_TRUE(tool.wait_for("its hosts are lost"));
  std::ofstream(file("end")) << "x";
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 1) << r.err;
  EXPECT_TRUE(contains(r.err, "failed: host there was lost with machine far"));
  expect_nothing_left();
}

/// Two namespaces as machines, and sshd in the second one.
class LabRealMachines : public RealSsh {};

TEST_F(LabRealMachines, RunTheExampleAndLeaveNothing) {
  connect(2, 1500);
  const auto server = sshd(2);
  TempDir folder("/tmp");
  std::filesystem::create_directory(folder.file("run"));
  std::filesystem::permissions(folder.file("run"), std::filesystem::perms::owner_all);
  ::setenv("XDG_RUNTIME_DIR", folder.file("run").c_str(), 1);
  // The example, with this machine's name, options of ssh, and a name of its own.
  std::ifstream in(in_source("examples/labs/two-machines.toml"));
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::string name = "t" + std::to_string(::getpid());
  std::string options;
  for (const std::string& each : ssh_options()) options += '"' + each + "\", ";
  const std::string old = "ssh = \"localhost\"\n";
  ASSERT_TRUE(contains(text, old));
  text.replace(text.find(old), old.size(),
               "ssh = \"root@" + address(2) + "\"\nprogram = \"" + shmifctl_path() +
                   "\"\noptions = [" + options + "]\n");
  std::ofstream(folder.file("lab.toml")) << "name = \"" << name << "\"\n" << text;
  const Words line{
      shmifctl_path(), "up", folder.file("lab.toml"), "--artifacts", folder.file("out"),
      "--time-limit",  "200"};
  const ToolResult r = run_program(inside(machine(1), line));
  EXPECT_EQ(r.status, 0) << r.out << r.err << server->so_far().err;
  EXPECT_TRUE(contains(r.out, "test | web\n"));
  for (const std::string path : {".lan", "-b.lan"})
    EXPECT_FALSE(std::filesystem::exists("/dev/shm/" + name + path));
}

TEST_F(LabMachines, HaveATemporaryFolderOfTheirOwnThatGoesWithThem) {
  const std::string temporary = file("tmp");
  std::filesystem::create_directory(temporary);
  ssh_is("for last; do :; done\nTMPDIR=" + temporary + " exec sh -c \"$last\"\n");
  const std::string path = far_lab(R"(
host.there.on = "b"
host.there.machine = "far"
host.there.run = """r=$SHMIF_RESULTS
echo mine > $r/mine; ls -d $r; stat -c %a $r; sleep 600"""
host.there.ready = "log 700"
)");
  for (const bool is_killed : {false, true}) {
    ASSERT_EQ(up(path, {"--detach"}).status, 0);
    Words names;
    for (const auto& each : std::filesystem::directory_iterator(temporary)) {
      names.push_back(each.path().filename().string());
    }
    ASSERT_EQ(names.size(), 1U);
    const std::string begin = "shmif-" + name_ + "-far-";
    EXPECT_EQ(names[0].rfind(begin, 0), 0U) << names[0];
    EXPECT_EQ(names[0].size(), begin.size() + 6) << "a name that nobody could guess";
    EXPECT_EQ(text_of(file("out/there.log")), temporary + '/' + names[0] + "\n700\n");
    if (is_killed) ::kill(far_controller(), SIGKILL);
    EXPECT_EQ(run_tool({"down", name_}).status, 0);
    EXPECT_TRUE(eventually([&] { return std::filesystem::is_empty(temporary); }));
    EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(far_bus()); }));
  }
  expect_nothing_left();
}

// Labs beside another user of the machine, who puts files where a lab looks or writes.

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
