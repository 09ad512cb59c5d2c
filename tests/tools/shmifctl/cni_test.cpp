// examples/cni/shmif, the CNI plugin: what it makes, what it ends, and what it releases.

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/support/child_process.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

// The network "lan", the container c0ffeec0ffee0123, eth0.
constexpr const char* kPort = "c0ffeec0ffee-bffdm7wgvop-eth0";

class CniPlugin : public testing::Test {
 protected:
  /// With a plugin "leases" that notes what it is told to do.
  CniPlugin() {
    const std::string leases = bus_.file("leases");
    std::ofstream(leases) << "#!/bin/sh\necho $CNI_COMMAND >> " << bus_.file("told")
                          << "\necho '{}'\n";
    std::filesystem::permissions(leases, std::filesystem::perms::owner_all);
  }

  ToolResult call(const std::string& command, const std::string& tool = shmifctl_path()) const {
    const std::string folder = std::filesystem::path(bus_.path()).parent_path();
    return run_program({"env", "CNI_COMMAND=" + command, "CNI_PATH=" + folder, "CNI_IFNAME=eth0",
                        "CNI_CONTAINERID=c0ffeec0ffee0123", "CNI_NETNS=", SHMIF_PYTHON,
                        in_source("examples/cni/shmif")},
                       R"({"cniVersion": "0.4.0", "name": "lan", "type": "shmif", "bus": ")" +
                           bus_.path() + R"(", "shmifctl": ")" + tool +
                           R"(", "ipam": {"type": "leases"}})");
  }
  /// How often a lease was released.
  std::size_t releases() const {
    std::ostringstream text;
    text << std::ifstream(bus_.file("told")).rdbuf();
    return times_in(text.str(), "DEL\n");
  }
  /// A process with the port that the plugin looks for.
  std::unique_ptr<Tool> start() const {
    auto tool =
        std::make_unique<Tool>(Words{shmifctl_path(), "dump", bus_.path(), "--name", kPort});
    EXPECT_TRUE(eventually([&] { return ports_up(bus_.info()) == 1; }));
    return tool;
  }

  TempBus bus_;
};

TEST_F(CniPlugin, DelEndsTheProcessOfThePortAndReleasesTheLeaseEachTime) {
  const auto tap = start();
  EXPECT_EQ(call("DEL").status, 0);
  EXPECT_NE(tap->finish().status, -1);
  EXPECT_EQ(ports_up(bus_.info()), 0U);
  EXPECT_EQ(releases(), 1U);
  EXPECT_EQ(call("CHECK").status, 1);
  EXPECT_EQ(call("DEL").status, 0);
  EXPECT_EQ(releases(), 2U);
  std::filesystem::remove(bus_.path());
  EXPECT_EQ(call("DEL").status, 0) << "the bus is gone, too";
  EXPECT_EQ(releases(), 3U);
  call("DEL", bus_.file("no-such-program"));
  EXPECT_EQ(releases(), 4U);
}

TEST_F(CniPlugin, DelReleasesTheLeaseAndEndsNoOtherProcessThatTheRowNames) {
  const auto tap = start();
  const StayingChild bystander([] { return true; });
  const RawBus raw(bus_.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  const ToolResult said = call("DEL");
  EXPECT_EQ(said.status, 0) << said.out;
  EXPECT_TRUE(contains(said.err, "does not use this bus"));
  EXPECT_EQ(releases(), 1U);
  EXPECT_EQ(::kill(bystander.pid(), 0), 0);
  siginfo_t ended{};
  ASSERT_EQ(
      ::waitid(P_PID, static_cast<id_t>(bystander.pid()), &ended, WEXITED | WNOHANG | WNOWAIT), 0);
  EXPECT_EQ(ended.si_pid, 0) << "no signal has ended it";
}

TEST_F(CniPlugin, OfADeadPortAnswersNoCheckAndSignalsNobody) {
  {
    const auto tap = start();
    tap->signal(SIGKILL);
    tap->finish();
  }
  const StayingChild bystander([] { return true; });
  const RawBus raw(bus_.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  EXPECT_EQ(call("CHECK").status, 1);
  EXPECT_EQ(call("DEL").status, 0);
  EXPECT_EQ(releases(), 1U);
  siginfo_t ended{};
  ASSERT_EQ(
      ::waitid(P_PID, static_cast<id_t>(bystander.pid()), &ended, WEXITED | WNOHANG | WNOWAIT), 0);
  EXPECT_EQ(ended.si_pid, 0) << "no signal has ended it";
}

using Json = nlohmann::json;

/// A network namespace that a process keeps.
class Container {
 public:
  Container() {
    namespace fs = std::filesystem;
    EXPECT_TRUE(eventually([&] {
      std::error_code failed;
      const fs::path theirs = fs::read_symlink(netns(), failed);
      return !failed && theirs != fs::read_symlink("/proc/self/ns/net");
    }));
  }
  std::string netns() const { return "/proc/" + std::to_string(keeper_.pid()) + "/ns/net"; }

 private:
  Tool keeper_{{"unshare", "--net", "sleep", "1000"}};
};

/// Whole calls, in network namespaces, with a plugin "leases" that gives two addresses.
class CniNetwork : public CniPlugin {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: makes TAP devices";
    if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "needs /dev/net/tun";
    std::ofstream(bus_.file("leases"), std::ios::app)
        << "[ $CNI_COMMAND = ADD ] || exit 0\n"
        << "echo '{\"ips\": [{\"address\": \"198.18.0.7/24\"}, {\"address\": "
           "\"fd00::7/64\"}], \"routes\": [{\"dst\": \"198.18.5.0/24\"}]}'\n";
    std::ifstream all(bus_.file("leases"));
    std::ostringstream text;
    text << all.rdbuf();
    std::string script = text.str();
    const std::string empty = "echo '{}'\n";  // of CniPlugin
    script.erase(script.find(empty), empty.size());
    std::ofstream(bus_.file("leases")) << script;
  }
  void TearDown() override {
    config_["cni.dev/valid-attachments"] = Json::array(), ask("GC", "", {});
  }

  /// Calls the plugin with `config_` for an interface "eth0" of the container. Result: its exit
  /// status, and what it printed.
  std::pair<int, Json> ask(const std::string& command, const std::string& id,
                           const std::string& netns) {
    const std::string folder = std::filesystem::path(bus_.path()).parent_path();
    const ToolResult r =
        run_program({"env", "CNI_COMMAND=" + command, "CNI_PATH=" + folder, "CNI_IFNAME=eth0",
                     "CNI_CONTAINERID=" + id, "CNI_NETNS=" + netns, SHMIF_PYTHON,
                     in_source("examples/cni/shmif")},
                    config_.dump());
    EXPECT_FALSE(r.timed_out);
    return {r.status, r.out.empty() ? Json() : Json::parse(r.out)};
  }

  Json config_{{"cniVersion", "1.1.0"},
               {"name", "lan"},
               {"type", "shmif"},
               {"bus", bus_.path()},
               {"shmifctl", shmifctl_path()}};
};

TEST_F(CniNetwork, EachVersionGetsAddressesOfBothFamilies) {
  config_["ipam"] = {{"type", "leases"}};
  for (const std::string version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const Container container;
    config_["cniVersion"] = version;
    config_.erase("prevResult");
    const auto [status, added] = ask("ADD", "c0ffeec0ffee0123", container.netns());
    ASSERT_EQ(status, 0) << version << ": " << added;
    EXPECT_EQ(added["cniVersion"], version);
    EXPECT_EQ(added["interfaces"][0]["name"], "eth0");
    ASSERT_EQ(added["ips"].size(), 2U) << added;
    EXPECT_EQ(added["ips"][0]["address"], "198.18.0.7/24");
    EXPECT_EQ(added["ips"][1]["address"], "fd00::7/64");
    const bool has_families = version.starts_with("0.");
    EXPECT_EQ(added["ips"][0].contains("version"), has_families) << version;
    EXPECT_EQ(added["ips"][1].value("version", "6"), "6");
    const ToolResult routes = run_program({"nsenter", "--net=" + container.netns(), "ip", "route"});
    EXPECT_TRUE(contains(routes.out, "198.18.5.0/24 dev eth0")) << "no gateway";
    config_["prevResult"] = added;
    if (version != "0.3.1") {
      EXPECT_EQ(ask("CHECK", "c0ffeec0ffee0123", container.netns()).first, 0) << version;
      run_program({"nsenter", "--net=" + container.netns(), "ip", "address", "del", "198.18.0.7/24",
                   "dev", "eth0"});
      const auto [lacks, why] = ask("CHECK", "c0ffeec0ffee0123", container.netns());
      EXPECT_EQ(lacks, 1);
      EXPECT_TRUE(contains(why["msg"].get<std::string>(), "198.18.0.7/24")) << why;
    }
    EXPECT_EQ(ask("DEL", "c0ffeec0ffee0123", container.netns()).first, 0) << version;
    EXPECT_EQ(ports_up(bus_.info()), 0U);
  }
  EXPECT_EQ(releases(), 4U);
}

TEST_F(CniNetwork, ASecondAddIsRefusedAndLeavesInterfaceAndLeaseAlone) {
  config_["ipam"] = {{"type", "leases"}};
  const Container container;
  ASSERT_EQ(ask("ADD", "c0ffeec0ffee0123", container.netns()).first, 0);
  const auto [status, why] = ask("ADD", "c0ffeec0ffee0123", container.netns());
  EXPECT_EQ(status, 1);
  EXPECT_TRUE(contains(why["msg"].get<std::string>(), "already")) << why;
  EXPECT_EQ(releases(), 0U);
  EXPECT_EQ(ports_up(bus_.info()), 1U);
}

TEST_F(CniNetwork, GcKeepsTheAttachmentsThatAreNamedAndThoseOfOtherNetworks) {
  const Container kept;
  const Container stale;
  const Container other;
  ASSERT_EQ(ask("ADD", "c0ffeec0ffee0001", kept.netns()).first, 0);
  ASSERT_EQ(ask("ADD", "c0ffeec0ffee0002", stale.netns()).first, 0);
  config_["name"] = "wan";
  ASSERT_EQ(ask("ADD", "c0ffeec0ffee0003", other.netns()).first, 0);
  EXPECT_EQ(ports_up(bus_.info()), 3U);
  config_["name"] = "lan";
  EXPECT_EQ(ask("GC", "", "").first, 1) << "without a list nothing is stale";
  config_["cni.dev/valid-attachments"] = {
      {{"containerID", "c0ffeec0ffee0001"}, {"ifname", "eth0"}}};
  EXPECT_EQ(ask("GC", "", "").first, 0);
  EXPECT_EQ(ports_up(bus_.info()), 2U);
  config_["name"] = "wan";
  config_["cni.dev/valid-attachments"] = Json::array();
  EXPECT_EQ(ask("GC", "", "").first, 0);
  EXPECT_EQ(ports_up(bus_.info()), 1U);
  config_["name"] = "lan";
}

TEST(CniRefusals, EachSaysWhatToDo) {
  struct Refusal {
    std::string config, command, part;
    Words environment{};
  };
  const std::string lan = R"({"cniVersion": "1.1.0", "name": "lan", "bus": "/nowhere/bus")";
  const Words container{"CNI_CONTAINERID=c0ffee", "CNI_IFNAME=eth0", "CNI_NETNS=/proc/self/ns/net"};
  const Refusal refusals[] = {
      {"{", "ADD", "is no JSON: "},
      {R"({"cniVersion": "9"})", "ADD", "(set \"cniVersion\" to one of 0.3.1, "},
      {R"({"cniVersion": "1.0.0"})", "ADD", "(add it, for example \"name\": \"lan\")"},
      {R"({"cniVersion": "1.0.0", "name": "lan"})", "ADD", "\"bus\": \"/dev/shm/bus0\")"},
      {lan + "}", "MUL", "(known are VERSION, ADD, DEL, CHECK, STATUS, GC)"},
      {lan + "}", "ADD", "CNI_CONTAINERID=\"\" is not possible (it must be a letter or digit"},
      {lan + "}",
       "ADD",
       "CNI_IFNAME=\"a b\" is not possible (it must be 1 to 15",
       {"CNI_CONTAINERID=c0ffee", "CNI_IFNAME=a b"}},
      {lan + "}",
       "ADD",
       "CNI_NETNS=\"\" is not possible (it must be the path",
       {"CNI_CONTAINERID=c0ffee", "CNI_IFNAME=eth0"}},
      {lan + "}", "CHECK", "(give what it printed as \"prevResult\")", container},
      {lan + "}", "GC", "(give them as \"cni.dev/valid-attachments\")"},
      {lan + R"(, "shmifctl": "/nowhere/shmifctl"})", "ADD",
       "cannot run /nowhere/shmifctl: No such file or directory (install shmif, or ", container},
      {lan + R"(, "shmifctl": ")" + shmifctl_path() + R"("})", "ADD", "cannot open the bus",
       container},
      {lan + R"(, "shmifctl": ")" + shmifctl_path() + R"(", "ipam": {"type": "none"}})", "DEL",
       "no plugin \"none\" in CNI_PATH=\"/nowhere\" (install it: ", container},
      {lan + R"(, "shmifctl": "/nowhere/shmifctl", "ipam": {"type": "echo"}})",
       "DEL",
       "echo printed no JSON:  (is /bin/echo a CNI plugin?)",
       {container[0], container[1], container[2], "CNI_PATH=/bin"}},
      {lan + R"(, "shmifctl": "/nowhere/shmifctl", "ipam": {"type": "false"}})",
       "DEL",
       "false failed at VERSION: ",
       {container[0], container[1], container[2], "CNI_PATH=/bin"}},
  };
  for (const Refusal& each : refusals) {
    SCOPED_TRACE(each.part);
    Words words{"env", "CNI_COMMAND=" + each.command, "CNI_PATH=/nowhere"};
    words.insert(words.end(), each.environment.begin(), each.environment.end());
    words.insert(words.end(), {SHMIF_PYTHON, in_source("examples/cni/shmif")});
    const ToolResult refused = run_program(words, each.config);
    EXPECT_EQ(refused.status, 1) << refused.err;
    const Json json = Json::parse(refused.out, nullptr, false);
    ASSERT_TRUE(json.is_object()) << refused.out;
    const std::string message = json.value("msg", "");
    EXPECT_TRUE(contains(message, each.part));
    EXPECT_TRUE(message.ends_with(')')) << message;
  }
}

TEST_F(CniNetwork, RefusalsHaveTheCodesOfTheSpecification) {
  EXPECT_EQ(ask("STATUS", "", "").first, 0);
  EXPECT_EQ(ask("ADD", "", "/proc/self/ns/net").second["code"], 4) << "no container";
  EXPECT_EQ(ask("ADD", "c0ffee", "").second["code"], 4) << "no namespace";
  config_["cniVersion"] = "1.0.0";
  EXPECT_EQ(ask("STATUS", "", "").second["code"], 1) << "1.0.0 has no STATUS";
  EXPECT_EQ(ask("VERSION", "", "").second["supportedVersions"],
            Json({"0.3.1", "0.4.0", "1.0.0", "1.1.0"}));
  config_["cniVersion"] = "2.0.0";
  EXPECT_EQ(ask("ADD", "c0ffee", "/proc/self/ns/net").second["code"], 1);
  config_["cniVersion"] = "1.1.0";
  config_["bus"] = bus_.file("no-bus");
  EXPECT_EQ(ask("STATUS", "", "").second["code"], 51);
  config_["shmifctl"] = bus_.file("no-program");
  EXPECT_EQ(ask("STATUS", "", "").second["code"], 50);
  config_.erase("bus");
  EXPECT_EQ(ask("ADD", "c0ffee", "/proc/self/ns/net").second["code"], 7);
}

}  // namespace
}  // namespace shmif::test
