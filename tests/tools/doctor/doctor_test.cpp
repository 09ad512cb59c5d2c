// shmifctl doctor where something is missing. Each test takes it away in namespaces of its own.

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/refusal.hpp"

namespace shmif::test {
namespace {

struct Told {
  std::string health;
  std::string text;  ///< with the remedy
};

/// By subject.
std::map<std::string, Told> told_by(const std::string& out) {
  std::map<std::string, Told> all;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    Told told;
    std::string subject;
    words >> told.health >> subject >> std::ws;
    std::getline(words, told.text);
    all[subject] = told;
  }
  return all;
}

/// Runs doctor on `folder`, after `before` in a user and a mount namespace of its own.
ToolResult doctor_after(const std::string& before, const std::string& folder) {
  return run_program({"unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                      before + " && exec \"$@\"", "sh", shmifctl_path(), "doctor", folder});
}

class Doctor : public ::testing::Test {
 protected:
  TempDir directory;
  void TearDown() override { EXPECT_EQ(names_in(directory.path()), std::vector<std::string>{}); }
};

TEST_F(Doctor, TriesABusAndAHostAndLeavesNothing) {
  const ToolResult run = run_tool({"doctor", directory.path()});
  const auto told = told_by(run.out);
  EXPECT_EQ(run.status, 0) << run.out;
  EXPECT_EQ(told.size(), 9U) << run.out;
  EXPECT_EQ(told.at("buses").text.find("a bus in " + directory.path() + " carried a frame"), 0U);
  EXPECT_EQ(told.at("hosts").health, "ok");
  EXPECT_EQ(told.at("hosts").text.find("exec started a program as a host"), 0U);
  EXPECT_EQ(told.at("namespaces").health, "ok");

  const auto json = nlohmann::json::parse(run_tool({"doctor", directory.path(), "--json"}).out);
  for (const auto& finding : json.at("findings")) {
    EXPECT_EQ(finding.at("health"), told.at(finding.at("subject")).health) << run.out;
  }
  EXPECT_EQ(json.at("findings").size(), told.size());
}

TEST_F(Doctor, WithoutAFolderSaysWhereABusCanBe) {
  const ToolResult run = run_tool({"doctor", directory.file("missing")});
  const auto told = told_by(run.out);
  EXPECT_EQ(run.status, 1);
  EXPECT_EQ(told.at("buses").health, "FAILS");
  EXPECT_NE(told.at("buses").text.find("No such file"), std::string::npos) << run.out;
  EXPECT_NE(told.at("buses").text.find("'shmifctl doctor FOLDER' tries another"),
            std::string::npos);
  EXPECT_EQ(told.at("hosts").text, "not tried without a bus");
}

TEST_F(Doctor, WithLittleRoomSaysHowMuch) {
  const ToolResult run =
      doctor_after("mount -t tmpfs -o size=8m none " + directory.path(), directory.path());
  const auto told = told_by(run.out);
  EXPECT_EQ(run.status, 0) << run.out << run.err;
  EXPECT_EQ(told.at("buses").health, "limited");
  EXPECT_NE(told.at("buses").text.find(" MiB are free -> a bus takes 4 MiB"), std::string::npos)
      << run.out;
  EXPECT_NE(told.at("buses").text.find("--shm-size"), std::string::npos);
}

TEST_F(Doctor, WithoutTheDeviceSaysHowToGetIt) {
  const ToolResult run = doctor_after("mount -t tmpfs none /dev/net", directory.path());
  const auto told = told_by(run.out);
  EXPECT_EQ(run.status, 0) << run.out << run.err;
  EXPECT_EQ(told.at("hosts").health, "ok");
  EXPECT_EQ(told.at("tun").health, "limited");
  EXPECT_EQ(told.at("tun").text,
            "/dev/net/tun: No such file or directory; hosts work by veth pairs, tap does not work "
            "-> as root: modprobe tun; in a container: --device /dev/net/tun");
}

TEST_F(Doctor, WithoutNamespacesSaysWhichSettingForbidsThem) {
  const ToolResult run = doctor_after(
      "echo 0 >/proc/sys/user/max_user_namespaces && echo 0 >/proc/sys/user/max_net_namespaces",
      directory.path());
  const auto told = told_by(run.out);
  EXPECT_EQ(run.status, 1) << run.out << run.err;
  EXPECT_EQ(told.at("hosts").health, "FAILS");
  EXPECT_EQ(told.at("namespaces").health, "FAILS");
  EXPECT_TRUE(
      told.at("namespaces").text.ends_with("; as root: sysctl user.max_user_namespaces=10000"))
      << run.out;
}

TEST_F(Doctor, WithoutProcSaysSo) {
  const ToolResult run = doctor_after("mount -t tmpfs none /proc", directory.path());
  const auto told = told_by(run.out);
  EXPECT_EQ(run.status, 1) << run.out << run.err;
  EXPECT_EQ(told.at("proc").health, "FAILS");
  EXPECT_EQ(told.at("proc").text, "/proc is not mounted -> as root: mount -t proc proc /proc");
}

TEST_F(Doctor, SaysWhatIsLimited) {
  const ToolResult run = doctor_after("ulimit -n 100 && PATH=/nowhere", directory.path());
  const auto told = told_by(run.out);
  EXPECT_EQ(run.status, 0) << run.out << run.err;
  EXPECT_EQ(told.at("files").health, "limited");
  EXPECT_EQ(told.at("files").text, "a program may open 100 files -> ulimit -n 1024");
  EXPECT_EQ(told.at("programs").health, "limited");
  EXPECT_NE(told.at("programs").text.find("ssh (uplink --ssh and machines of labs)"),
            std::string::npos);
  EXPECT_NE(told.at("programs").text.find("-> apt-get install "), std::string::npos);
  EXPECT_NE(told.at("programs").text.find(" openssh-client"), std::string::npos);
}

}  // namespace
}  // namespace shmif::test
