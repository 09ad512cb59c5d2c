// What a gateway's program leaves behind.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"
#include "tools/relay/nat_process.hpp"

namespace shmif::test {
namespace {

/// Leaves room for `count` more descriptors.
bool allow_descriptors(std::size_t count) {
  rlimit limit{};
  std::vector<UniqueFd> room(count);
  for (UniqueFd& each : room) each = UniqueFd(::dup(STDERR_FILENO));
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  limit.rlim_cur = static_cast<rlim_t>(room.back().get()) + 1;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

TEST(NatProcess, IsTheFirstFileOfThatNameInThePathThatCanBeRun) {
  const TempDir dir;
  std::filesystem::create_directories(dir.file("directory/passt"));
  std::filesystem::create_directories(dir.file("directory/slirp4netns"));
  std::filesystem::create_directory(dir.file("text"));
  std::ofstream(dir.file("text/passt")) << "no program\n";
  std::filesystem::create_directory(dir.file("program"));
  std::ofstream(dir.file("program/passt")) << "#!/bin/sh\n";
  std::filesystem::permissions(dir.file("program/passt"), std::filesystem::perms::owner_all);
  const auto found = [](const std::string& path) {
    return Child([&] {
             ::setenv("PATH", path.c_str(), 1);
             const auto any = tools::find_nat_program({});
             const auto asked = tools::find_nat_program({.program = tools::NatProgram::passt});
             if (any.has_value() != asked.has_value()) return 3;
             if (!any) return 1;
             return *any == tools::NatProgram::passt && *asked == *any ? 0 : 2;
           })
        .wait();
  };
  EXPECT_EQ(found(dir.file("directory")), 1) << "no program";
  EXPECT_EQ(found(dir.file("text")), 1) << "nobody may run it";
  EXPECT_EQ(found(dir.file("directory") + ':' + dir.file("text") + ':' + dir.file("program")), 0);
  EXPECT_EQ(found(dir.file("none") + "::" + dir.file("program")), 0);
  const std::string back = std::filesystem::current_path().string();
  std::filesystem::current_path(dir.file("program"));
  EXPECT_EQ(found(dir.file("none") + "::" + dir.file("text")), 0) << "an empty name is \".\"";
  std::filesystem::current_path(back);
}

/// A slirp4netns that listens as that does (its last word is the path), and
/// then does this.
void write_listener(const TempDir& dir, const std::string& then) {
  std::ofstream(dir.file("slirp4netns"))
      << "#!" SHMIF_PYTHON
         " -S\nimport resource, socket, sys, time\n"
         "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
         "s.bind(sys.argv[-1])\ns.listen(1)\n"
      << then << "time.sleep(60)\n";
  std::filesystem::permissions(dir.file("slirp4netns"), std::filesystem::perms::owner_all);
}

TEST(NatProcess, HasRoomForAsManySocketsAsTheUserMayHave) {
  const TempDir dir;
  write_listener(dir,
                 "c, _ = s.accept()\n"
                 "c.send(b'%d %d' % resource.getrlimit(resource.RLIMIT_NOFILE))\n");
  EXPECT_EQ(Child([&] {
              ::setenv("PATH", dir.path().c_str(), 1);
              rlimit limit{};
              if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
              limit = {.rlim_cur = 64, .rlim_max = std::min<rlim_t>(limit.rlim_max, 4000)};
              if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 3;
              const tools::StopSignals stop;
              auto started = tools::NatProcess::start(tools::NatProgram::slirp4netns, {}, stop);
              if (!started || !*started) return 4;
              const UniqueFd connection = (*started)->take_connection();
              std::array<char, 64> said{};
              if (::recv(connection.get(), said.data(), said.size() - 1, 0) <= 0) return 5;
              const std::string most = std::to_string(limit.rlim_max);
              return said.data() == most + ' ' + most ? 0 : 6;
            }).wait(),
            0);
}

TEST(NatProcess, LeavesNoDirectoryAlsoIfThereIsNoDescriptorToListIt) {
  const TempDir dir;
  std::filesystem::create_directory(dir.file("tmp"));
  write_listener(dir, "");
  EXPECT_EQ(Child([&] {
              ::setenv("TMPDIR", dir.file("tmp").c_str(), 1);
              ::setenv("PATH", dir.path().c_str(), 1);
              const tools::StopSignals stop;
              constexpr std::size_t kOfPipeSocketAndLock = 4;
              if (!allow_descriptors(kOfPipeSocketAndLock)) return 2;
              const auto started =
                  tools::NatProcess::start(tools::NatProgram::slirp4netns, {}, stop);
              if (!started) std::fprintf(stderr, "%s\n", started.error().message.c_str());
              if (!started || !*started) return 3;
              return std::filesystem::exists(dir.file("tmp")) ? 0 : 4;
            }).wait(),
            0);
  EXPECT_TRUE(std::filesystem::is_empty(dir.file("tmp")));
}

/// Both programs, as scripts. passt's tells its words through its connection,
/// slirp4netns' in a file beside it. Then they do what the file "deed" says.
class NatWords : public ::testing::Test {
 protected:
  NatWords() {
    write("passt", "printf '%s\\n' \"$@\" >&3; . " + dir_.file("deed"));
    write("slirp4netns",
          "printf '%s\\n' \"$@\" > " + dir_.file("words") + "; . " + dir_.file("deed"));
    deed("exit 0");
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_.file(name)) << "#!/bin/sh\n" << text << '\n';
    std::filesystem::permissions(dir_.file(name), std::filesystem::perms::owner_all);
  }
  void deed(const std::string& text) const { std::ofstream(dir_.file("deed")) << text << '\n'; }
  std::string contents(const std::string& name) const {
    std::ifstream file(dir_.file(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Starts it, and notes what it says by its connection and why it ended.
  void run(tools::NatProgram program, const tools::NatWish& wish) const {
    for (const char* const name : {"words", "why"}) std::filesystem::remove(dir_.file(name));
    EXPECT_EQ(Child([&] {
                ::setenv("PATH", dir_.path().c_str(), 1);
                const tools::StopSignals stop;
                auto started = tools::NatProcess::start(program, wish, stop);
                if (!started) {
                  std::ofstream(dir_.file("why")) << started.error().message;
                  return 0;
                }
                const UniqueFd connection = (*started)->take_connection();
                std::ofstream words(dir_.file("words"));
                std::array<char, 4096> part{};
                for (ssize_t n = 0; (n = ::read(connection.get(), part.data(), part.size())) > 0;)
                  words.write(part.data(), n);
                std::ofstream(dir_.file("why")) << (*started)->why_ended();
                return 0;
              }).wait(),
              0);
  }
  std::string passt_words(const tools::NatWish& wish) const {
    run(tools::NatProgram::passt, wish);
    return contents("words");
  }
  /// Without what confines it and the path of its socket.
  std::string slirp_words(const tools::NatWish& wish) const {
    run(tools::NatProgram::slirp4netns, wish);
    std::istringstream lines(contents("words"));
    std::string kept;
    std::string last;
    for (std::string line; std::getline(lines, line); last = line) {
      if (!last.empty() && !last.starts_with("--enable-")) kept += last + '\n';
    }
    EXPECT_TRUE(last.ends_with("/socket")) << last;
    return kept;
  }

  const TempDir dir_;
};

TEST_F(NatWords, NameTheNetworkAndWhereTheGatewayLeads) {
  const auto resolver = [](const char* text) { return tap::IpAddress::parse(text).value(); };
  const tools::NatWish usual{.network = *tools::NatNetwork::parse("198.18.4.0/22")};
  tools::NatWish with_loopback = usual, far = usual, local = usual, both = usual;
  with_loopback.loopback = both.loopback = true;
  far.resolver = resolver("198.18.99.1");
  local.resolver = both.resolver = resolver("127.0.0.53");
  const std::string passt =
      "--foreground\n--quiet\n--stderr\n--ipv4-only\n--fd=3\n--mtu=1500\n--"
      "address=198.18.4.15\n"
      "--netmask=22\n--gateway=198.18.4.2\n--mac-addr=52:55:c6:12:04:02\n";
  EXPECT_EQ(passt_words(usual), passt + "--no-map-gw\n");
  EXPECT_EQ(passt_words(with_loopback), passt);
  EXPECT_EQ(passt_words(far), passt + "--no-map-gw\n");
  EXPECT_EQ(passt_words(local), passt) << "names are served there";
  const std::string slirp = "--target-type=bess\n--cidr=198.18.4.0/22\n--mtu=1500\n";
  EXPECT_EQ(slirp_words(usual), slirp + "--disable-host-loopback\n");
  EXPECT_EQ(slirp_words(local), slirp + "--disable-host-loopback\n");
  EXPECT_EQ(slirp_words(both), slirp);
  for (const auto& [mtu, said] :
       {std::pair{65519U, "--mtu=65519\n"}, {65520U, "--mtu=65520\n"}, {65521U, "--mtu=65520\n"}}) {
    const std::string words = passt_words({.mtu = mtu});
    EXPECT_TRUE(contains(words, said)) << "65520 is the most that it takes";
  }
  EXPECT_TRUE(contains(slirp_words({.mtu = 65521}), "--mtu=65521\n"));
}

TEST(NatNetworks, ServeNamesWhereTheirProgramDoes) {
  using enum tools::NatProgram;
  constexpr std::uint32_t kNetwork = 0xc6120400;  // 198.18.4.0
  for (const auto& [program, resolver, server] :
       {std::tuple{slirp4netns, "127.0.0.53", kNetwork + 3},  // its own
        {slirp4netns, "198.18.4.77", kNetwork + 3},
        {passt, "127.0.0.53", kNetwork + 2},  // the gateway
        {passt, "198.18.7.77", kNetwork + 3 * 256 + 77},
        {passt, "198.18.8.1", 0U}}) {  // not in the network
    tools::NatWish wish{.program = program, .network = *tools::NatNetwork::parse("198.18.4.0/22")};
    wish.resolver = *tap::IpAddress::parse(resolver);
    EXPECT_EQ(tools::name_server_of(wish).value_or(0), server) << resolver;
  }
}

TEST_F(NatWords, OfItsEndAreTheLastThatItSaid) {
  using enum tools::NatProgram;
  struct Case {
    tools::NatProgram program;
    const char* deed;
    const char* why;
  };
  for (const auto& [program, does, why] :
       {Case{slirp4netns, "exit 3", "slirp4netns ended with exit code 3"},
        Case{slirp4netns, "echo first >&2; printf 'the\\tlast\\n\\n' >&2; exit 0",
             "slirp4netns ended with exit code 0: the?last"},
        Case{slirp4netns, "printf 'no end' >&2; exit 255",
             "slirp4netns ended with exit code 255: no end"},
        Case{slirp4netns, "kill -TERM $$", "slirp4netns was ended by SIGTERM"},
        Case{slirp4netns, "kill -KILL $$", "slirp4netns was ended by SIGKILL"},
        Case{passt, "kill -HUP $$", "passt was ended by SIGHUP"},
        Case{passt, "exec 3>&-; exec /bin/sleep 600",
             "passt closed its connection and did not end"}}) {
    deed(does);
    run(program, {});
    EXPECT_EQ(contents("why"), why);
  }
}

TEST_F(NatWords, AnOptionThatIsNotKnownIsLeftOutHoweverThatIsSaid) {
  const auto ends_where = [&](const std::string& said) {
    deed("for w; do [ \"$w\" != --enable-seccomp ] || { echo \"" + said +
         "\" >&2; exit 1; }; done; exit 5");
    run(tools::NatProgram::slirp4netns, {});
    return contents("why");
  };
  EXPECT_EQ(ends_where("slirp4netns: unrecognized option '--enable-seccomp'"),
            "slirp4netns ended with exit code 5");
  EXPECT_EQ(ends_where("unknown option: enable-seccomp"), "slirp4netns ended with exit code 5");
  // As root there are two, and one is named at a time.
  deed(
      "for w; do case $w in --enable-*) echo \"unrecognized option '$w'\" "
      ">&2; exit 1;; esac; "
      "done; exit 6");
  run(tools::NatProgram::slirp4netns, {});
  EXPECT_EQ(contents("why"), "slirp4netns ended with exit code 6");
  for (const std::string said : {"no seccomp: --enable-seccomp", "unknown option: --cidr"})
    EXPECT_EQ(ends_where(said), "slirp4netns ended with exit code 1: " + said);
}

TEST_F(NatWords, OnlyItsErrorsComeBackAndItHasAGroupOfItsOwn) {
  deed(
      "for f in 0 1 2; do x=$(/bin/readlink /proc/$$/fd/$f); echo $x >&3; "
      "done; [ \"$(/bin/cat)\" "
      "= '' ] && "
      "echo empty >&3; echo $$ $(/usr/bin/cut -d' ' -f5 /proc/$$/stat) >&3");
  run(tools::NatProgram::passt, {});
  std::istringstream lines(contents("words"));
  Words all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  ASSERT_GE(all.size(), 5U);
  const auto tail = [&](std::size_t from_end) { return all[all.size() - from_end]; };
  EXPECT_EQ(tail(5), "/dev/null");
  EXPECT_EQ(tail(4), "/dev/null");
  EXPECT_TRUE(tail(3).starts_with("pipe:")) << tail(3);
  EXPECT_EQ(tail(2), "empty");
  std::istringstream pids(tail(1));
  pid_t self = 0;
  pid_t group = 0;
  pids >> self >> group;
  EXPECT_GT(self, 0);
  EXPECT_EQ(self, group);
}

/// Whether the process whose number is in that file runs no more.
bool has_ended(const std::string& file) {
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  EXPECT_GT(pid, 0) << file;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  const std::string text{std::istreambuf_iterator<char>(status), {}};
  return text.empty() || text.find("State:\tZ") != std::string::npos;
}

TEST_F(NatWords, AHelperEndsWithTheProgramHoweverThatEnds) {
  const std::string helper = "/bin/sleep 300 <&- >&- 2>&- 3>&- & echo $! > " + dir_.file("helper");
  deed(helper + "; exit 3");
  run(tools::NatProgram::slirp4netns, {});
  EXPECT_EQ(contents("why"), "slirp4netns ended with exit code 3");
  EXPECT_TRUE(eventually([&] { return has_ended(dir_.file("helper")); }));
  deed(helper + "; exec 3>&-; exit 4");
  run(tools::NatProgram::passt, {});
  EXPECT_TRUE(eventually([&] { return has_ended(dir_.file("helper")); }));
  std::filesystem::remove(dir_.file("helper"));
  deed("echo $$ > " + dir_.file("self") + "; " + helper + "; exec /bin/sleep 300");
  EXPECT_EQ(Child([&] {
              ::setenv("PATH", dir_.path().c_str(), 1);
              const tools::StopSignals stop;
              const auto started = tools::NatProcess::start(tools::NatProgram::passt, {}, stop);
              return eventually([&] { return !contents("helper").empty(); }) ? 0 : 1;
            }).wait(),
            0);
  for (const char* const each : {"self", "helper"})
    EXPECT_TRUE(eventually([&] { return has_ended(dir_.file(each)); })) << each;
}

TEST_F(NatWords, TheSocketIsInTheDirectoryForSuchFilesIfItsPathIsShortEnough) {
  const auto begins_with = [&](const std::string& parent) {
    EXPECT_EQ(Child([&] {
                ::setenv("TMPDIR", parent.c_str(), 1);
                ::setenv("PATH", dir_.path().c_str(), 1);
                const tools::StopSignals stop;
                const tools::NatProgram slirp = tools::NatProgram::slirp4netns;
                return tools::NatProcess::start(slirp, {}, stop) ? 1 : 0;
              }).wait(),
              0);
    const std::string words = contents("words");
    const std::size_t at = words.rfind('\n', words.size() - 2);
    return words.substr(at + 1);
  };
  const TempDir near("/tmp");
  EXPECT_TRUE(begins_with(near.path()).starts_with(near.path() + "/shmifctl-"));
  const std::string far = near.file(std::string(64, 'x'));
  std::filesystem::create_directory(far);
  EXPECT_TRUE(begins_with(far).starts_with("/tmp/shmifctl-"));
  EXPECT_TRUE(std::filesystem::is_empty(far));
}

TEST_F(NatWords, WhereItIsNoLongerThereThatIsSaid) {
  for (const tools::NatProgram program :
       {tools::NatProgram::slirp4netns, tools::NatProgram::passt}) {
    std::filesystem::remove(dir_.file(tools::to_text(program)));
    run(program, {});
    EXPECT_EQ(contents("why"),
              std::string("there is no ") + tools::to_text(program) + " in PATH any more");
  }
}

// Where the names of name servers are, and who can find them there.

namespace fs = std::filesystem;

TEST(NameServers, AreFoundWhereEachLinkOnTheWayStaysInTheDirectories) {
  const TempDir dir;
  const auto path = [&](const std::string& name) { return fs::path(dir.file(name)); };
  for (const char* const each : {"etc/deep", "run/deep", "mnt", "var", "etcetera"})
    fs::create_directories(path(each));
  for (const char* const each : {"etc/file", "run/deep/file", "mnt/file", "etcetera/file"})
    std::ofstream(path(each)) << '\n';
  fs::create_directory_symlink(path("run"), path("var/run"));
  fs::create_directory_symlink("../run", path("etc/run"));
  const std::vector<fs::path> both{path("etc"), path("run")};
  const auto leads = [&](const fs::path& target) {
    const fs::path link = path("etc/resolv.conf");
    fs::remove(link);
    fs::create_symlink(target, link);
    return tools::stays_in(both, link);
  };
  fs::create_directory_symlink(path("run/deep"), path("etc/far"));
  fs::create_directory_symlink(path("run"), path("etc/out"));
  fs::create_symlink(path("mnt/file"), path("run/second"));
  fs::create_symlink("first", path("etc/first"));
  EXPECT_TRUE(tools::stays_in(both, path("etc/file")));
  EXPECT_TRUE(tools::stays_in(both, path("etc/none")));
  EXPECT_FALSE(tools::stays_in(both, path("mnt/file")));
  EXPECT_FALSE(tools::stays_in(both, path("etcetera/file"))) << "a name that begins alike";
  EXPECT_FALSE(tools::stays_in({}, path("etc/file")));
  EXPECT_FALSE(tools::stays_in(both, "etc/file")) << "not an absolute path";
  for (const auto& [target, stays] : std::vector<std::pair<fs::path, bool>>{
           {"file", true},
           {path("etc/file"), true},
           {"../run/deep/file", true},
           {path("run/deep/file"), true},
           {"run/deep/file", true},  // a link to a directory on the way
           {"deep/../file", true},
           {"./deep/.//../file", true},
           {path("mnt/file"), false},
           {"../mnt/file", false},
           {"far/../deep/file", true},          // behind a link, .. is in what it leads to
           {"out/../mnt/file", false},          // and not beside the link
           {path("var/run/deep/file"), false},  // it comes back, but the way is missing
           {"../etcetera/file", false},
           {path("run/second"), false},  // the second link leaves
           {"first", false}}) {          // a circle ends
    EXPECT_EQ(leads(target), stays) << target;
  }
}

TEST(NameServers, AreFoundBehindAsManyLinksAsTheKernelFollows) {
  const TempDir dir;
  const std::vector<fs::path> all{dir.path()};
  std::ofstream(dir.file("0")) << '\n';
  for (unsigned i = 1; i <= 41; ++i)
    fs::create_symlink(std::to_string(i - 1), dir.file(std::to_string(i)));
  EXPECT_TRUE(fs::exists(dir.file("40")));
  EXPECT_TRUE(tools::stays_in(all, dir.file("40")));
  EXPECT_FALSE(tools::stays_in(all, dir.file("41")));
}

TEST(NameServers, AreThoseOfTheFileInTheirOrderAndWithoutTheirZones) {
  const TempDir dir;
  std::ofstream(dir.file("resolv.conf")) << "# nameserver 198.18.0.9\n"
                                            "search nameserver\n"
                                            "nameserver 198.18.0.1\n"
                                            "  nameserver\tfe80::1%eth0\n"
                                            "options nameserver 198.18.0.8\n"
                                            "nameserver\n"
                                            "nameserver nobody\n"
                                            "nameserver fd00::53 # the last\n";
  Words found;
  for (const tap::IpAddress& each : tools::name_servers(dir.file("resolv.conf")))
    found.push_back(each.to_string());
  EXPECT_EQ(found, (Words{"198.18.0.1", "fe80::1", "fd00::53"}));
  EXPECT_TRUE(tools::name_servers(dir.file("none")).empty());
}

TEST(NameServers, OfTheLoopbackAreThoseOf127AndOne) {
  for (const char* const text : {"127.0.0.1", "127.0.0.53", "127.255.255.255", "::1"})
    EXPECT_TRUE(tools::is_loopback(*tap::IpAddress::parse(text))) << text;
  for (const char* const text : {"126.0.0.1", "128.0.0.1", "1.0.0.127", "0.0.0.0", "::", "::2",
                                 "::1:1", "fe80::1", "7f00::1", "::ffff:127.0.0.1"})
    EXPECT_FALSE(tools::is_loopback(*tap::IpAddress::parse(text))) << text;
}

}  // namespace
}  // namespace shmif::test
