// The examples in the --help of each command: their command lines are right. They run where there
// is no bus and no file, so each command refuses them for that, and not as wrong usage. Those of
// exec and of both programs run for what they promise (FirstSteps).

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

// The examples of --help as scripts.

std::string replaced(std::string text, std::string_view was, const std::string& now) {
  for (std::size_t at = 0; (at = text.find(was, at)) != std::string::npos; at += now.size())
    text.replace(at, was.size(), now);
  return text;
}

/// The commands below "examples:" of --help, without what they are explained to do.
std::string examples_of(const std::string& help) {
  std::istringstream lines(help.substr(help.find("\nexamples:\n") + 11));
  std::string script;
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    if (!line.starts_with("      ") || script.ends_with("\\\n")) script += line.substr(2) + '\n';
  }
  return script;
}

void make_script(const std::string& path, const std::string& lines) {
  std::ofstream(path) << "#!/bin/sh\n" << lines;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

/// The commands that `program --help` lists, but for "help".
Words commands_of(const std::string& program) {
  const std::string help = run_program({program, "--help"}).out;
  std::istringstream lines(help.substr(help.find("\ncommands:\n") + 11));
  Words commands;
  for (std::string line, word; std::getline(lines, line) && line.starts_with("  ");) {
    std::istringstream(line) >> word;
    if (word != "help") commands.push_back(word);
  }
  return commands;
}

/// What the examples of a command run.
struct ExampleRuns {
  std::size_t expected = 0;                        ///< command lines of our programs in the script
  std::vector<std::pair<int, std::string>> ended;  ///< the exit code and the words of each
};

class Examples : public ::testing::Test {
 protected:
  /// Programs of the PATH in which the examples run. No other program is there, so those that the
  /// examples start are not found.
  void SetUp() override {
    std::filesystem::create_directory(file("path"));
    const std::string note = "code=$?\necho \"$code $*\" >>'" + file("log") + "'\nexit $code\n";
    // It would wait for the bus to be made.
    make_script(
        file("path/shmifctl"),
        "case \"$1 $*\" in wait*--timeout*) ;; wait*) set -- \"$@\" --timeout 0 ;; esac\n'" +
            shmifctl_path() + "' \"$@\"\n" + note);
    // Instruments would measure this machine, and the server would wait for clients. So the parser
    // alone reads their options, but where they have a program to start, which is not there.
    make_script(file("path/shmifperf"),
                "command=$1\nshift\nread=\n"
                "case \"$command $*\" in\n"
                "  run*) read=--parse-only ;;\n"
                "  'stat '*'-- '* | 'sample '*'-- '* | 'why '*'-- '*) ;;\n"
                "  stat* | sample* | why* | heat* | membw* | server*) read=--help ;;\n"
                "esac\n"
                "'" +
                    shmifperf_path() + "' $command $read \"$@\"\n" + note);
    make_script(file("path/timeout"), "shift\nexec \"$@\"\n");
    make_script(file("path/pidof"), "echo 1\n");
  }

  std::string file(const std::string& name) const { return directory_.file(name); }

  ExampleRuns run_examples_of(const std::string& program, const std::string& command) {
    const std::string here = file(command);
    std::filesystem::create_directory(here);
    std::filesystem::remove(file("log"));
    // The job file that examples name.
    std::ofstream(here + "/voip.job")
        << run_program({shmifperf_path(), "options", "--profile", "voip"}).out;
    std::string script = examples_of(run_program({program, command, "--help"}).out);
    for (const char* const folder : {"/dev/shm/", "/var/tmp/", "/tmp/"})
      script = replaced(script, folder, here + "/none/");
    const std::regex ours("(^|\n)(timeout [0-9]+ )?shmif(ctl|perf) ");
    ExampleRuns runs;
    runs.expected = static_cast<std::size_t>(
        std::distance(std::sregex_iterator(script.begin(), script.end(), ours), {}));
    const std::string all =
        "cd '" + here + "'\nPATH='" + file("path") + "'\n" + script + "\nwait\n";
    const ToolResult done = run_program({"bash", "-c", all}, {}, std::chrono::seconds(60));
    EXPECT_FALSE(done.timed_out) << all << done.out << done.err;
    std::ifstream log(file("log"));
    for (std::string line; std::getline(log, line);)
      runs.ended.emplace_back(std::stoi(line), line.substr(line.find(' ') + 1));
    EXPECT_EQ(runs.ended.size(), runs.expected) << script << done.err;
    for (const auto& [code, words] : runs.ended)
      EXPECT_NE(code, 2) << program << ' ' << words << '\n' << done.err;
    return runs;
  }

 private:
  TempDir directory_;
};

TEST_F(Examples, OfEachCommandOfShmifctlAreLinesThatItTakes) {
  for (const std::string& command : commands_of(shmifctl_path())) {
    SCOPED_TRACE(command);
    const ExampleRuns runs = run_examples_of(shmifctl_path(), command);
    EXPECT_GT(runs.expected, 0U);
    // There is no bus and no place for one. 125 is of exec and enter, 141 of a reader that is away,
    // and 77 of gateway, whose own programs are not there.
    for (const auto& [code, words] : runs.ended) {
      // To list what there is, to try the machine, and to end what is not there, is no mistake.
      const bool is_fine = code == 0 && (command == "ls" || command == "doctor" ||
                                         command == "extcap" || words.starts_with("down "));
      const bool refused = code == 1 || code == 125 || code == 141 || is_fine;
      EXPECT_TRUE(refused || (code == 77 && command == "gateway")) << code << ' ' << words;
    }
  }
}

TEST_F(Examples, OfEachCommandOfShmifperfAreLinesThatItTakes) {
  for (const std::string& command : commands_of(shmifperf_path())) {
    SCOPED_TRACE(command);
    EXPECT_GT(run_examples_of(shmifperf_path(), command).expected, 0U);
  }
}

// The first commands that a newcomer types: those of README.md and the examples of --help run as
// they are written.

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
