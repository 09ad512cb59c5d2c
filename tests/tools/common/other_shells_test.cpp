// Completion for zsh and fish: both offer what the completion for bash offers, with what --help
// says of it.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/paths.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

namespace fs = std::filesystem;

/// A word that is offered, and what is said of it.
using Offers = std::map<std::string, std::string>;

/// The files of completion where `cmake --install` puts them (cmake/install.cmake).
class Shells {
 public:
  Shells() {
    const std::string sources = in_source("tools/");
    const std::string share = directory_.file("share/");
    place(sources + "completion/complete.bash", share + "shmif/complete.bash");
    place(sources + "completion/_shmif", share + "zsh/site-functions/_shmif");
    for (const std::string program : {"shmifctl", "shmifperf"}) {
      place(sources + program + ".bash", share + "bash-completion/completions/" + program);
      place(sources + "completion/shmif.fish",
            share + "fish/vendor_completions.d/" + program + ".fish");
    }
  }

  /// What fish offers at the end of each line.
  std::vector<Offers> fish(const Words& lines) const {
    std::string script;
    for (const std::string program : {"shmifctl", "shmifperf"})
      script += "source share/fish/vendor_completions.d/" + program + ".fish\n";
    for (const std::string& line : lines) script += "complete -C '" + line + "'; echo =\n";
    return answers({"fish", "--no-config", "-c", script});
  }

  /// What zsh offers at the end of each line. Functions take the places of the builtins that need
  /// a line editor.
  std::vector<Offers> zsh(const Words& lines) const {
    std::string script = R"(fpath=($PWD/share/zsh/site-functions $fpath)
        autoload -U _shmif
        compadd() {
          local at texts list
          while (( $# )); do
            case $1 in -a) list=$2; shift ;; -d) texts=$2; shift ;; -S) shift ;; esac
            shift
          done
          for (( at = 1; at <= ${#${(P)list}}; ++at )); do
            local text=${${(P)texts}[at]}
            print -r -- $begin${${(P)list}[at]}$'\t'${${text#*  -- }:#${${(P)list}[at]}}
          done
        }
        compset() { begin=${words[CURRENT]%${words[CURRENT]##*[=:]}} }
        _files() { print -r -- FILES }
        _normal() { print -r -- "PROGRAM $words[CURRENT]" }
        ask() { words=("$@"); CURRENT=$#words service=$1 begin=; _shmif; print = }
        )";
    for (const std::string& line : lines)
      script += "ask " + line + (line.ends_with(' ') ? "''\n" : "\n");
    return answers({"zsh", "-f", "-c", script});
  }

 private:
  static void place(const std::string& from, const std::string& to) {
    fs::create_directories(fs::path(to).parent_path());
    fs::copy_file(from, to);
  }

  std::vector<Offers> answers(const Words& shell) const {
    const std::string build = fs::path(shmifctl_path()).parent_path();
    Words words = Words{"env", "-C", directory_.path(), "HOME=" + directory_.path(),
                        "PATH=" + build + ':' + std::getenv("PATH")} +
                  shell;
    const ToolResult said = run_program(words);
    EXPECT_EQ(said.err, "") << shell[0];
    std::vector<Offers> all(1);
    std::istringstream in(said.out);
    for (std::string line; std::getline(in, line);) {
      if (line == "=") {
        all.emplace_back();
        continue;
      }
      const std::size_t tab = std::min(line.find('\t'), line.size());
      all.back()[line.substr(0, tab)] = line.substr(std::min(tab + 1, line.size()));
    }
    all.pop_back();
    return all;
  }

  TempDir directory_;
};

/// The options in a help, with the first line of what it says of each.
Offers options_in(const std::string& help) {
  static const std::regex kOption("^  (?:-.,|   ) (--[a-z_-]+)(?:\\[=[^ ]*\\]| [^ ]+)?  +(.*)$",
                                  std::regex::ECMAScript);
  Offers found;
  std::istringstream in(help.substr(help.find("\noptions:\n")));
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line) && line != "examples:") {
    std::smatch parts;
    if (std::regex_match(line, parts, kOption)) found[parts[1]] = parts[2];
  }
  return found;
}

Offers commands_in(const std::string& help) {
  Offers found;
  std::istringstream in(help.substr(help.find("\ncommands:\n") + 11));
  for (std::string line; std::getline(in, line) && line.starts_with("  ");) {
    const std::size_t end = line.find(' ', 2);
    found[line.substr(2, end - 2)] = line.substr(line.find_first_not_of(' ', end));
  }
  return found;
}

TEST(OtherShells, OfferTheCommandsAndOptionsThatHelpLists) {
  const Shells shells;
  Words lines;
  std::vector<Offers> expected;
  for (const std::string program : {"shmifctl", "shmifperf"}) {
    const std::string path = program == "shmifctl" ? shmifctl_path() : shmifperf_path();
    const std::string help = run_program({path, "--help"}).out;
    const Offers commands = commands_in(help);
    EXPECT_GT(commands.size(), 10U);
    Offers first = options_in(help);
    first.insert(commands.begin(), commands.end());
    lines.push_back(program + ' ');
    expected.push_back(first);
    for (const auto& [command, about] : commands) {
      // Options of jobs have a list of their own, and the completion for bash tests them.
      if (command == "help" || (program == "shmifperf" && command == "run")) continue;
      lines.push_back(program + ' ' + command + " --");
      expected.push_back(options_in(run_program({path, command, "--help"}).out));
    }
  }
  const std::vector<Offers> fish = shells.fish(lines), zsh = shells.zsh(lines);
  ASSERT_EQ(fish.size(), lines.size());
  ASSERT_EQ(zsh.size(), lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(zsh[i], expected[i]) << lines[i];
    Offers shown = fish[i];
    if (lines[i].ends_with(' ')) {  // fish offers options when a dash was written
      shown.merge(Offers(expected[i]));
    }
    EXPECT_EQ(shown, expected[i]) << lines[i];
  }
}

TEST(OtherShells, OfferTheWordsOfTheCompletionForBash) {
  const BusRig rig;
  const Port alice = rig.port("alice"), bob = rig.port("bob");
  const Shells shells;
  const Offers levels{{"--log-level=error", ""}};
  const std::vector<std::pair<std::string, Offers>> cases{
      {"shmifctl create --flow=p", {{"--flow=pause", ""}}},
      {"shmifctl create --flow p", {{"pause", ""}}},
      {"shmifctl --log-level=e", levels},
      {"shmifctl --debug=wire,rel", {{"--debug=wire,relay", ""}}},
      {"shmifctl bridge str", {{"stream:", ""}, {"stream:connect=", ""}}},
      {"shmifctl bridge packet:l", {{"packet:lo", ""}}},
      {"shmifctl ping " + rig.path() + " --to ", {{"alice", ""}, {"bob", ""}}},
      {"shmifctl fault " + rig.path() + " al", {{"alice", ""}}},
      {"shmifperf run --engine=bus,u", {{"--engine=bus,unix", ""}, {"--engine=bus,udp", ""}}},
      {"shmifperf run --engi", {{"--engine=", ""}}},
  };
  Words lines;
  for (const auto& [line, offers] : cases) lines.push_back(line);
  const std::vector<Offers> fish = shells.fish(lines), zsh = shells.zsh(lines);
  ASSERT_EQ(fish.size(), cases.size());
  ASSERT_EQ(zsh.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(fish[i], cases[i].second) << lines[i];
    EXPECT_EQ(zsh[i], cases[i].second) << lines[i];
  }
}

/// Whoever attaches to a bus chooses the name of his port.
TEST(OtherShells, NeverRunTheNameOfAPort) {
  const BusRig rig;
  const Words names{"$(touch${IFS}made)", "`touch${IFS}made`", "a;touch", "(id)"};
  std::vector<Port> ports;
  Offers expected;
  for (const std::string& name : names) {
    ports.push_back(rig.port(name));
    expected[name] = "";
  }
  const Shells shells;
  const Words line{"shmifctl ping " + rig.path() + " --to "};
  const std::vector<Offers> zsh = shells.zsh(line), fish = shells.fish(line);
  ASSERT_EQ(zsh.size(), 1U);
  EXPECT_EQ(zsh[0], expected);
  ASSERT_EQ(fish.size(), 1U);
  EXPECT_EQ(fish[0].size(), names.size()) << "each is quoted by fish";
}

}  // namespace
}  // namespace shmif::test
