// The examples in the --help of each command: their command lines are right. They run where there
// is no bus and no file, so each command refuses them for that, and not as wrong usage. Tests of
// first_steps_test.cpp run those of exec and of both programs for what they promise.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/examples.hpp"

namespace shmif::test {
namespace {

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

}  // namespace
}  // namespace shmif::test
