// Which words bash is offered, at each place of a command line where it may ask.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/paths.hpp"
#include "tests/tools/common/bus_rig.hpp"
#include "tools/relay/links.hpp"

namespace shmif::test {
namespace {

using Offer = std::set<std::string>;

/// What the completion of `program` offers behind these words, which are cut as readline cuts them.
Offer offered(const std::string& program, const std::string& words,
              const std::string& directory = "/") {
  const std::string path = program == "shmifctl" ? shmifctl_path() : shmifperf_path();
  const std::string script = "cd \"$3\"; PATH=${1%/*}:$PATH; . \"$2\"; COMP_WORDS=(" + program +
                             ' ' + words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _" + program +
                             "; printf '%s\\n' \"${COMPREPLY[@]}\"";
  const ToolResult result = run_program(
      {"bash", "-c", script, "bash", path, in_source("tools/") + program + ".bash", directory});
  EXPECT_EQ(result.err, "") << words;
  Offer offer;
  std::istringstream in(result.out);
  for (std::string word; std::getline(in, word);) {
    if (word.empty()) continue;
    EXPECT_TRUE(offer.insert(word).second) << "twice: " << word;
  }
  return offer;
}

const Offer kLevels{"trace", "debug", "info", "warning", "error", "critical", "off"};

TEST(Completion, OfShmifctlKnowsTheWordsOfEachOptionAndNoOthers) {
  const std::string ctl = "shmifctl";
  EXPECT_EQ(offered(ctl, "--log-level ''"), kLevels);
  EXPECT_EQ(offered(ctl, "--log-level ="), kLevels);
  EXPECT_EQ(offered(ctl, "--log-level = wa"), Offer{"warning"});
  EXPECT_EQ(offered(ctl, "--log-level info du"), Offer{"dump"});
  EXPECT_EQ(offered(ctl, "--debug wire,link,rel"), Offer{"wire,link,relay"});
  EXPECT_EQ(offered(ctl, "--debug wire,wi"), Offer{});
  EXPECT_EQ(offered(ctl, "--debug = al"), Offer{"all"});
  EXPECT_EQ(offered(ctl, "--debug wire du"), Offer{"dump"});
  EXPECT_EQ(offered(ctl, "inject x --timing ''"), (Offer{"original", "flat", "x2"}));
  EXPECT_EQ(offered(ctl, "exec x --via ''"), (Offer{"tap", "veth"}));
  EXPECT_EQ(offered(ctl, "dump x --resume ''"), (Offer{"first", "newest"}));
  EXPECT_EQ(offered(ctl, "top x --sort ''"), (Offer{"loss", "lag", "tx", "rx", "name", "slot"}));
  EXPECT_EQ(offered(ctl, "create x --format ''"), (Offer{"shmif", "netbsd"}));
  EXPECT_EQ(offered(ctl, "dump x --format ''"), (Offer{"pcap", "pcapng"}));
  EXPECT_EQ(offered(ctl, "up x --keep ''"), (Offer{"failed", "always"}));
  EXPECT_EQ(offered(ctl, "help v"), Offer{"values"});
  EXPECT_TRUE(offered(ctl, "help ''").contains("values"));
  EXPECT_FALSE(offered(ctl, "help ''").contains("--help"));
  EXPECT_FALSE(offered(ctl, "''").contains("values"));
  EXPECT_EQ(offered(ctl, "create --fl"), Offer{"--flow"});
  EXPECT_EQ(offered(ctl, "create x --flow pause --pa"), Offer{"--patience"});
  EXPECT_EQ(offered(ctl, "exec x -- ls --"), Offer{}) << "that is another program's line";
  EXPECT_EQ(offered(ctl, "stat ''"), Offer{}) << "files are readline's own";
  Offer links;
  for (const tools::LinkRow& row : tools::link_rows()) {
    links.insert(row.prefix());
    if (row.listens() && row.join != nullptr) links.insert(row.prefix() + "connect=");
  }
  EXPECT_EQ(offered(ctl, "bridge ''"), links);
  EXPECT_EQ(offered(ctl, "bridge bus : /dev/shm/b pc"), Offer{"pcap:"});
  EXPECT_EQ(offered(ctl, "bridge packet : l"), Offer{"lo"});
  EXPECT_FALSE(offered(ctl, "bridge tap :").contains("lo")) << "no TAP device";
}

TEST(Completion, OfShmifctlAsksTheBusThatTheLineNames) {
  const BusRig rig, other;
  const Port alice = rig.port("alice"), bob = rig.port("bob"), carol = other.port("carol");
  const std::string ctl = "shmifctl";
  EXPECT_EQ(offered(ctl, "ping " + rig.path() + " --to ''"), (Offer{"alice", "bob"}));
  EXPECT_EQ(offered(ctl, "ping " + rig.path() + " --to = b"), Offer{"bob"});
  EXPECT_EQ(offered(ctl, "dump " + other.path() + " --port alice --port ''"), Offer{"carol"});
  for (const std::string command : {"fault ", "link ", "move "})
    EXPECT_EQ(offered(ctl, command + rig.path() + " ''"), (Offer{"alice", "bob"}));
  EXPECT_EQ(offered(ctl, "link " + rig.path() + " alice --d"), (Offer{"--debug", "--down"}));
  EXPECT_EQ(offered(ctl, "partition " + rig.path() + " alice ''"), (Offer{"/", "bob"}));
  EXPECT_EQ(offered(ctl, "--log-level error wait bus --port ''", rig.directory()),
            (Offer{"alice", "bob"}));
  EXPECT_EQ(offered(ctl, "ping " + rig.file("none") + " --to ''"), Offer{});
  EXPECT_EQ(offered(ctl, "stop " + rig.path() + " ''"), Offer{}) << "no port of these is a host";
}

TEST(Completion, OfShmifctlKnowsTheNamesOfLabs) {
  const TempDir directory;
  const std::string folder = directory.file("shmif");
  std::filesystem::create_directory(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
  // Other labs may run beside this test.
  const std::string begin = "lab" + std::to_string(::getpid()) + '-';
  for (const std::string end : {"one", "two"}) {
    std::ofstream(folder + '/' + begin + end + ".json")
        << R"({"name": ")" << begin << end << R"(", "file": "/x.toml", "results": "/x.out",
               "pid": 1, "started": 1, "ready": true, "buses": [], "hosts": [], "groups": []})";
  }
  ::setenv("XDG_RUNTIME_DIR", directory.path().c_str(), 1);
  const std::string ctl = "shmifctl";
  for (const std::string command : {"down ", "serve "}) {
    EXPECT_EQ(offered(ctl, command + begin), (Offer{begin + "one", begin + "two"})) << command;
    EXPECT_EQ(offered(ctl, command + "--timeout 5 " + begin + "t"), Offer{begin + "two"});
    EXPECT_EQ(offered(ctl, command + "/dev/null " + begin), Offer{}) << "a path was given";
  }
  EXPECT_EQ(offered(ctl, "stat " + begin), Offer{});
}

TEST(Completion, OfShmifperfKnowsOptionsAndTheirWords) {
  const std::string perf = "shmifperf";
  const Offer commands{"capabilities", "compare", "heat",   "membw", "options", "report",
                       "run",          "sample",  "server", "stat",  "why",     "help"};
  Offer first = commands;
  first.insert({"--help", "--version", "--log-level", "--debug"});
  EXPECT_EQ(offered(perf, "''"), first);
  Offer topics = commands;
  topics.insert("values");
  EXPECT_EQ(offered(perf, "help ''"), topics);
  EXPECT_EQ(offered(perf, "--log-level ''"), kLevels);
  EXPECT_EQ(offered(perf, "--log-level info com"), Offer{"compare"});
  EXPECT_EQ(offered(perf, "--debug process,pl"), (Offer{"process,place", "process,plan"}));
  EXPECT_EQ(offered(perf, "run --debug = sea"), Offer{"search"});
  EXPECT_EQ(offered(perf, "--debug all com"), Offer{"compare"});
  EXPECT_EQ(offered(perf, "server --allow"), (Offer{"--allow-exec", "--allow-live"}));
  EXPECT_EQ(offered(perf, "run --profile = v"), Offer{"voip"});
  EXPECT_EQ(offered(perf, "membw --source ''"), (Offer{"pmu", "resctrl", "software"}));
  EXPECT_EQ(offered(perf, "heat --backend ''"),
            (Offer{"auto", "client", "written", "clear_refs", "damon"}));
  EXPECT_EQ(offered(perf, "membw --report w"), Offer{"writes"});
  EXPECT_EQ(offered(perf, "membw --load ''"),
            (Offer{"fill", "fill:op=read", "fill:op=write", "fill:op=copy"}));
  EXPECT_EQ(offered(perf, "run --engi"), Offer{"--engine="});
  EXPECT_EQ(offered(perf, "run --rw ''"), (Offer{"tx", "rx", "txrx", "echo", "pingpong"}));
  EXPECT_EQ(offered(perf, "options traf"), Offer{"traffic"});
  EXPECT_EQ(offered(perf, "run --engine = bus,u"), (Offer{"bus,unix", "bus,udp"}));
  EXPECT_EQ(offered(perf, "options rate_iops_"), Offer{"rate_iops_min"});
}

// Completion for zsh and fish: both offer what the completion for bash offers, with what --help
// says of it.

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
