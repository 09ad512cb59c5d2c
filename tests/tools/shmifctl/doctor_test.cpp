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

const std::string kNoNamespaces =
    "echo 0 >/proc/sys/user/max_user_namespaces && echo 0 >/proc/sys/user/max_net_namespaces";

class Doctor : public ::testing::Test {
 protected:
  TempDir directory;
  void TearDown() override { EXPECT_EQ(names_in(directory.path()), Words{}); }
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
    const Told& line = told.at(finding.at("subject"));
    EXPECT_EQ(finding.at("health"), line.health) << run.out;
    std::string text = finding.at("text");
    if (finding.at("remedy").is_string()) text += " -> " + std::string(finding.at("remedy"));
    EXPECT_TRUE(finding.at("subject") == "buses" || text == line.text) << text;  // what is free
  }
  EXPECT_EQ(json.at("findings").size(), told.size());
}

TEST_F(Doctor, SaysWhatIsMissingAndHowToGetIt) {
  struct Case {
    std::string before;  // what takes it away
    int status;
    std::string subject, health;
    Words said;
  };
  for (const Case& c : std::vector<Case>{
           {"mount -t tmpfs -o size=8m none " + directory.path(),
            0,
            "buses",
            "limited",
            {" MiB are free -> a bus takes 4 MiB", "--shm-size"}},
           {"mount -t tmpfs none /dev/net", 0, "hosts", "ok", {}},
           {"mount -t tmpfs none /dev/net",
            0,
            "tun",
            "limited",
            {"/dev/net/tun: No such file", "hosts work by veth pairs", "modprobe tun",
             "--device /dev/net/tun"}},
           {kNoNamespaces, 1, "hosts", "FAILS", {}},
           {kNoNamespaces, 1, "namespaces", "FAILS", {"sysctl user.max_user_namespaces=10000"}},
           {"mount -t tmpfs none /proc",
            1,
            "proc",
            "FAILS",
            {"not mounted", "mount -t proc proc /proc"}},
           {"ulimit -n 100 && PATH=/nowhere",
            0,
            "files",
            "limited",
            {"may open 100 files", "ulimit -n 1024"}},
           {"ulimit -n 100 && PATH=/nowhere",
            0,
            "programs",
            "limited",
            {"ssh (uplink --ssh and machines of labs)", "-> apt-get install ",
             " openssh-client"}}}) {
    const ToolResult run = doctor_after(c.before, directory.path());
    const auto told = told_by(run.out);
    EXPECT_EQ(run.status, c.status) << c.before << run.out << run.err;
    ASSERT_TRUE(told.contains(c.subject)) << run.out;
    EXPECT_EQ(told.at(c.subject).health, c.health) << run.out;
    for (const std::string& part : c.said)
      EXPECT_TRUE(contains(told.at(c.subject).text, part)) << run.out;
  }
  const ToolResult missing = run_tool({"doctor", directory.file("missing")});
  const auto told = told_by(missing.out);
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(told.at("buses").health, "FAILS");
  EXPECT_TRUE(contains(told.at("buses").text, "No such file")) << missing.out;
  EXPECT_TRUE(contains(told.at("buses").text, "'shmifctl doctor FOLDER'"));
  EXPECT_EQ(told.at("hosts").text, "not tried without a bus");
}

}  // namespace
}  // namespace shmif::test
