// The first commands that a newcomer types: those of README.md and the examples of --help run as
// they are written.

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/examples.hpp"

namespace shmif::test {
namespace {

class FirstSteps : public ::testing::Test {
 protected:
  void SetUp() override {
    const ToolResult can = run_tool({"exec", file("probe"), "--create", "--", "true"});
    if (can.status == 77) GTEST_SKIP() << can.err;
  }

  std::string file(const std::string& name) const { return directory_.file(name); }

  /// Runs a script as at a prompt: jobs are in process groups of their own. Each command of the
  /// script must succeed. A job of the reader's own is there before, and must be there at the end.
  /// Result: what the script printed.
  ToolResult run_script(const std::string& script, const std::string& folder) {
    const std::string programs = shmifctl_path().substr(0, shmifctl_path().rfind('/'));
    const std::string all = "set -e\ntrap 'kill $(jobs -p)' EXIT\ncd '" + folder + "'\nPATH='" +
                            programs + "':$PATH\nsleep 600 & of_the_reader=$!\n" + script +
                            "\nkill -0 $of_the_reader\n";
    ToolResult done = run_program({"bash", "-m", "-c", all}, {}, std::chrono::seconds(120));
    EXPECT_EQ(done.status, 0) << all << done.out << done.err;
    return done;
  }

 private:
  TempDir directory_;
};

/// The commands of the first minute in README.md.
std::string first_minute() {
  std::ifstream readme(in_source("README.md"));
  std::string script;
  std::string line;
  while (std::getline(readme, line) && !line.starts_with("## The first minute")) {
  }
  bool inside = false;
  while (std::getline(readme, line) && !line.starts_with("## ")) {
    if (line.starts_with("```")) {
      inside = line == "```sh";
    } else if (inside) {
      script += line + '\n';
    }
  }
  return script;
}

TEST_F(FirstSteps, TheFirstMinuteOfTheReadmeWorksAsItIsPasted) {
  const std::string pasted = first_minute();
  // At its prompt, zsh takes a comment for arguments.
  EXPECT_EQ(pasted.find('#'), std::string::npos) << pasted;
  ASSERT_TRUE(contains(pasted, "bus=/dev/shm/first-$$\n"));
  const std::string bus = file("bus");
  const std::string script = replaced(pasted, "bus=/dev/shm/first-$$", "bus='" + bus + "'");
  const ToolResult r = run_script(script, in_source(""));
  for (const char* part : {"BSD 2-Clause License\n", " ICMP echo request, ", " ICMP echo reply, ",
                           " 2 received, 0% packet loss", "20 packets transmitted, "}) {
    EXPECT_TRUE(contains(r.out, part)) << r.err;
  }
  EXPECT_TRUE(contains(r.err, "4 frames captured, ")) << r.out;
  EXPECT_FALSE(std::filesystem::exists(bus)) << r.err;
}

TEST_F(FirstSteps, TheExamplesOfShmifctlWorkOneAfterAnother) {
  const std::string bus = file("bus");
  std::string script = replaced(examples_of(run_tool({"--help"}).out), "/dev/shm/bus0", bus);
  // In place of Ctrl-C, as soon as it captures.
  const std::string dump = "\nshmifctl dump " + bus + '\n';
  ASSERT_TRUE(contains(script, dump));
  script = replaced(script, dump,
                    "\nshmifctl dump " + bus + " --name eye &\nshmifctl wait " + bus +
                        " --port eye\nshmifctl stop " + bus + " --port eye\n");
  const ToolResult r = run_script(script, file("."));
  EXPECT_TRUE(contains(r.out, "<title>Directory listing for /</title>"));
  EXPECT_TRUE(contains(r.err, " captured, "));
  EXPECT_FALSE(std::filesystem::exists(bus)) << r.err;
}

TEST_F(FirstSteps, TheExamplesOfExecWorkOneAfterAnother) {
  std::string script = examples_of(run_tool({"exec", "--help"}).out);
  const std::size_t machine = script.find("shmifctl exec /dev/shm/bus0 --lan");
  const std::size_t behind = script.find("shmifctl exec", machine + 1);
  ASSERT_NE(behind, std::string::npos) << script;
  script.erase(machine, behind - machine);  // there is no disk.img
  ASSERT_TRUE(contains(script, " -- bash\n"));
  script = replaced(script, " -- bash\n",
                    " --name first -- sleep 600 &\nshmifctl wait /dev/shm/bus0 --port first "
                    "--timeout 20\n");
  script += "shmifctl stop /dev/shm/bus0 router first\n";
  script = replaced(script, "/dev/shm/bus", file("bus"));
  const ToolResult r = run_script(script, file("."));
  for (const char* part :
       {"<title>Directory listing for /</title>", "--- 198.18.0.1 ping statistics ---\n3 packets",
        "--- 198.18.1.254 ping statistics ---\n3 packets transmitted, 3 received"}) {
    EXPECT_TRUE(contains(r.out, part)) << r.err;
  }
}

TEST_F(FirstSteps, TheExamplesOfShmifperfWorkOneAfterAnother) {
  std::string script = examples_of(run_program({shmifperf_path(), "--help"}).out);
  ASSERT_TRUE(contains(script, "\nshmifperf run voip.job "));
  script = replaced(script, " --runtime=1\n", "\n");
  script = replaced(script, "shmifperf run ", "shmifperf run --runtime=300ms ");
  const ToolResult r = run_script(script, file("."));
  EXPECT_TRUE(contains(r.out, "wrote voip.html")) << r.err;
  EXPECT_TRUE(std::filesystem::exists(file("voip.json")));
  EXPECT_TRUE(std::filesystem::exists(file("voip.html")));
}

}  // namespace
}  // namespace shmif::test
