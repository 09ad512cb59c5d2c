// Labs and the machine: limits by control groups, a way to the world, an ordinary user, what others
// see.

#include <sys/stat.h>

#include <algorithm>

#include "tests/tools/lab/lab_rig.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const std::string kSbin = "PATH=$PATH:/usr/sbin:/sbin; ";
constexpr const char* kOther = "65001";

bool finds_program(const std::string& name) {
  return run_program({"sh", "-c", kSbin + "command -v " + name}).status == 0;
}

Words as_other(Words words, const std::string& runtime) {
  Words all = Words{"setpriv", "--reuid",        kOther, "--regid",
                    kOther,    "--clear-groups", "env",  "XDG_RUNTIME_DIR=" + runtime} +
              words;
  return all;
}

class LabRights : public LabRig {
 protected:
  /// A folder of the other user with a lab in it, as `text` has it. Result: the lab's path.
  std::string lab_of_other(const std::string& text) const {
    fs::permissions(file("").substr(0, file("").size() - 1),
                    fs::perms::owner_all | fs::perms::others_exec | fs::perms::group_exec);
    fs::create_directories(file("theirs/run"));
    fs::permissions(file("theirs/run"), fs::perms::owner_all);
    std::ofstream(file("theirs/their.toml")) << "bus.b = { path = \"b.bus\" }\n" << text;
    EXPECT_EQ(
        run_program({"chown", "-R", std::string(kOther) + ":" + kOther, file("theirs")}).status, 0);
    return file("theirs/their.toml");
  }
  /// Why no other user can have a lab here; empty: one can.
  static std::string why_no_other() {
    if (::geteuid() != 0) return "needs root, to be another user";
    if (!finds_program("setpriv")) return "no setpriv here";
    return others_can_run_tool() ? "" : "another user cannot run this build";
  }
};

TEST_F(LabRights, LimitsOfMemoryAndTimeAreThoseOfTheFileAndGoWithTheLab) {
  const std::string path = lab(
      R"(
[host.a]
on = "b"
memory = "32M"
cpu = 0.25
run = "cat /proc/self/cgroup; echo listed; sleep 600"
ready = "log listed"
[host.free]
on = "b"
run = "cat /proc/self/cgroup; echo listed; sleep 600"
ready = "log listed"
[host.big]
on = "b"
memory = "32M"
may_fail = true
run = "head -c 200m /dev/zero | tail; echo tail ended with $?"
)");
  const ToolResult r = up(path, {"--detach"});
  ASSERT_EQ(r.status, 0) << r.err;
  if (text_of(file("out/lab.log")).find("warning: cannot limit") != std::string::npos ||
      r.err.find("warning: cannot limit") != std::string::npos) {
    run_tool({"down", "lab"});
    GTEST_SKIP() << "no control group for memory here: " << r.err;
  }
  const Words groups = state()["groups"];
  ASSERT_GE(groups.size(), 2U) << state();
  unsigned found = 0;
  for (const std::string& group : groups) {
    struct stat info{};
    EXPECT_EQ(::stat(group.c_str(), &info), 0) << group;
    EXPECT_TRUE(contains(group, "shmif-lab-"));
    if (group.find("shmif-lab-a") == std::string::npos) continue;
    for (const char* const name : {"memory.limit_in_bytes", "memory.max"}) {
      if (!fs::exists(group + "/" + name)) continue;
      EXPECT_EQ(text_of(group + "/" + name), "33554432\n");
      ++found;
    }
    if (fs::exists(group + "/cpu.cfs_quota_us")) {
      EXPECT_EQ(text_of(group + "/cpu.cfs_quota_us"), "25000\n");
      EXPECT_EQ(text_of(group + "/cpu.cfs_period_us"), "100000\n");
      ++found;
    } else if (fs::exists(group + "/cpu.max")) {
      EXPECT_EQ(text_of(group + "/cpu.max"), "25000 100000\n");
      ++found;
    }
  }
  EXPECT_EQ(found, 2U);
  const auto of_a = std::ranges::count_if(groups, [](const std::string& group) {
    return group.find("shmif-lab-a") != std::string::npos;
  });
  EXPECT_EQ(times_in(text_of(file("out/a.log")), "shmif-lab-a"), static_cast<std::size_t>(of_a))
      << "the host is in its groups\n"
      << text_of(file("out/a.log"));
  EXPECT_FALSE(contains(text_of(file("out/free.log")), "shmif-lab"));
  EXPECT_TRUE(eventually([&] {
    const std::string log = text_of(file("out/big.log"));
    return log.find("tail ended with 137") != std::string::npos ||
           text_of(file("out/lab.log")).find("host big was ended by signal 9") != std::string::npos;
  })) << text_of(file("out/big.log"))
      << text_of(file("out/lab.log"));
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  for (const std::string& group : groups) EXPECT_FALSE(fs::exists(group)) << group;
  expect_no_trace();
}

TEST_F(LabRights, WithoutRightToLimitItWarnsAndGoesOn) {
  if (const std::string why = why_no_other(); !why.empty()) GTEST_SKIP() << why;
  const std::string path = lab_of_other(R"(
host.a = { on = "b", memory = "32M", cpu = 0.25 }
test = { host = "a", run = "true" }
)");
  const ToolResult r = run_program(as_other(
      {shmifctl_path(), "up", path, "--artifacts", file("theirs/out")}, file("theirs/run")));
  if (r.status == 77) GTEST_SKIP() << "no hosts here for an ordinary user: " << r.err;
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_TRUE(contains(r.err, "warning: cannot limit the memory of a host"));
}

TEST_F(LabRights, AnOrdinaryUserRunsALabAndOthersNeitherEndNorTrustIt) {
  if (const std::string why = why_no_other(); !why.empty()) GTEST_SKIP() << why;
  const std::string path = lab_of_other(R"(bus.c = { path = "c.bus" }
host.r = { on = ["b", "c"], ip = ["198.18.1.1/24", "198.18.2.1/24"], forward = true }
host.web = { on = "c", ip = "198.18.2.80/24", gateway = "198.18.2.1" }
host.user = { on = "b", ip = "198.18.1.7/24", gateway = "198.18.1.1" }
capture.all = { on = ["b", "c"], filter = "icmp[0] == 8" }
at = [{ after = "frame c 'icmp[0] == 8'", link = "web", down = true }]
test.host = "user"
test.run = "id -u; ping -c 1 -W 20 web; while ping -c 1 -W 1 web; do sleep .1; done; true"
)");
  const std::string runtime = file("theirs/run");
  const Words words{shmifctl_path(),    "up",     path,    "--artifacts",
                    file("theirs/out"), "--keep", "always"};
  const ToolResult r = run_program(as_other(words, runtime));
  if (r.status == 77) GTEST_SKIP() << "no hosts here for an ordinary user: " << r.err;
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_TRUE(contains(r.out, "test | 0\n")) << "root in its host";
  EXPECT_TRUE(
      contains(text_of(file("theirs/out/timeline.jsonl")), "link web down\",\"applied\":true"));
  struct stat info{};
  ASSERT_EQ(::stat(file("theirs/out/all.pcapng").c_str(), &info), 0);
  EXPECT_EQ(std::to_string(info.st_uid), kOther);
  const ToolResult ttl =
      run_program({"tshark", "-r", file("theirs/out/all.pcapng"), "-T", "fields", "-e", "ip.ttl"});
  EXPECT_TRUE(contains(ttl.out, "64\n63\n")) << "not by the router";

  // Its labs and buses while it is up: root sees them, as those of somebody else; another user sees
  // neither the lab nor buses that only the owner may open.
  const std::string text = R"(host.a = { on = "b" }
)";
  const std::string second = lab_of_other(text);
  fs::create_directories(file("theirs/tmp-run"));
  const std::string state_folder = "/tmp/shmif-" + std::string(kOther);
  const bool had_state = fs::exists(state_folder);
  const auto without_runtime = [&](Words more) {
    return run_program(Words{"setpriv", "--reuid", kOther, "--regid", kOther, "--clear-groups",
                             "env", "-u", "XDG_RUNTIME_DIR"} +
                       more);
  };
  const ToolResult begun = without_runtime(
      {shmifctl_path(), "up", second, "--artifacts", file("theirs/out2"), "--detach"});
  ASSERT_EQ(begun.status, 0) << begun.err;
  const auto lab_in = [](const std::string& text_of_ls) {
    const json all = json::parse(text_of_ls, nullptr, false);
    for (const json& each : all["labs"]) {
      if (each["name"] == "their") return each;
    }
    return json();
  };
  const json seen = lab_in(run_tool({"ls", "--json"}).out);
  ASSERT_TRUE(seen.is_object()) << "root sees the labs of all users";
  EXPECT_EQ(seen["state"], "up");
  EXPECT_EQ(seen["user"], kOther);
  EXPECT_EQ(seen["buses"][0]["path"], file("theirs/b.bus"));
  const ToolResult stranger =
      run_program({"setpriv", "--reuid", "65002", "--regid", "65002", "--clear-groups", "env", "-u",
                   "XDG_RUNTIME_DIR", shmifctl_path(), "ls", "--json"});
  EXPECT_EQ(stranger.status, 0) << stranger.err;
  EXPECT_FALSE(lab_in(stranger.out).is_object()) << stranger.out;
  EXPECT_FALSE(contains(stranger.out, "b.bus"));
  // A name means a lab of one's own.
  const ToolResult down = run_tool({"down", "their"});
  EXPECT_EQ(down.status, 0);
  EXPECT_TRUE(contains(down.err, "the lab their is not up"));
  EXPECT_TRUE(contains(down.err, "user " + std::string(kOther)));
  EXPECT_TRUE(lab_in(run_tool({"ls", "--json"}).out).is_object()) << "it runs on";
  EXPECT_EQ(without_runtime({shmifctl_path(), "down", "their"}).status, 0);
  EXPECT_FALSE(fs::exists(file("theirs/b.bus")));
  if (!had_state) fs::remove_all(state_folder);
}

// The world is a namespace with a web server.
TEST_F(LabRights, AGatewayLeadsToTheWorld) {
  for (const char* const name : {"busybox", "slirp4netns", "curl", "unshare", "ip"}) {
    if (!finds_program(name)) GTEST_SKIP() << "no " << name << " here";
  }
  fs::create_directory(file("www"));
  std::ofstream(file("www/page")) << "a page of the world\n";
  const std::string path = lab(R"(
gateway.nat = { on = "b", network = "198.18.77.0/24" }
host.a = { on = "b", ip = "198.18.77.100/24", gateway = "198.18.77.2" }
test.host = "a"
test.run = "curl -sS --retry 20 --retry-delay 1 --retry-all-errors http://198.18.9.1/page"
)");
  const std::string world =
      kSbin +
      "ip link set lo up && ip address add 198.18.9.1/32 dev lo && ip link add out type veth peer "
      "name away && ip address add 198.18.8.1/24 dev out && ip link set out up && ip link set away "
      "up && ip route add default via 198.18.8.2 && busybox httpd -p 198.18.9.1:80 -h " +
      file("www") + " && \"$0\" up " + path + " --keep always --artifacts " + file("out") +
      "; code=$?; kill $(busybox pidof busybox) 2>/dev/null; exit $code";
  const ToolResult r =
      run_program({"unshare", "--user", "--map-root-user", "--net", "--pid", "--fork",
                   "--kill-child", "--mount-proc", "sh", "-c", world, shmifctl_path()});
  if (r.err.find("unshare failed") != std::string::npos) GTEST_SKIP() << "no namespaces: " << r.err;
  EXPECT_EQ(r.status, 0) << r.out << r.err;
  EXPECT_TRUE(contains(r.out, "a page of the world\n"));
  EXPECT_FALSE(text_of(file("out/nat.log")).empty()) << "what the gateway said";
  expect_no_trace();
}

TEST_F(LabRights, LsListsStaleLabsAndBusesOfNoLab) {
  const std::string path = lab("host.a = { on = \"b\", count = 2 }\n");
  ASSERT_EQ(run_tool({"create", file("alone")}).status, 0);
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const auto listed = [] { return json::parse(run_tool({"ls", "--json"}).out); };
  const auto bus_in = [&](const json& all, const std::string& bus) {
    for (const json& each : all["buses"]) {
      if (each["path"] == file(bus)) return each;
    }
    return json();
  };
  const json up_now = listed();
  EXPECT_EQ(bus_in(up_now, "lab.b")["lab"], "lab");
  EXPECT_EQ(bus_in(up_now, "lab.b")["live_ports"], 2);
  EXPECT_FALSE(bus_in(up_now, "alone").is_object())
      << "nobody uses it, and it is in no known place";
  {
    Tool user({shmifctl_path(), "dump", file("alone"), "--name", "look"});
    EXPECT_TRUE(eventually([&] { return bus_in(listed(), "alone").is_object(); }));
    EXPECT_TRUE(bus_in(listed(), "alone")["lab"].is_null());
  }
  fs::copy_file(file("run/shmif/lab.json"), file("run/shmif/other.json"));
  EXPECT_EQ(run_tool({"down", "other"}).status, 0);
  EXPECT_EQ(listed_lab()["state"], "up") << "a state is of the lab that it names";
  fs::remove(file("run/shmif/other.json"));
  // Both the controller and the guardian are killed: the lab is dead, its bus has no port.
  kill_controller_and_guardian();
  const json dead_lab = listed_lab();
  EXPECT_EQ(dead_lab["state"], "dead");
  EXPECT_EQ(dead_lab["hosts"].size(), 2U);
  const json dead = listed();
  EXPECT_EQ(bus_in(dead, "lab.b")["live_ports"], 0);
  EXPECT_EQ(bus_in(dead, "lab.b")["lab"], "lab");
  const ToolResult text = run_tool({"ls"});
  EXPECT_TRUE(contains(text.out, "dead"));
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  EXPECT_TRUE(listed_lab().is_null());
  expect_no_trace();
}

}  // namespace
}  // namespace shmif::test
