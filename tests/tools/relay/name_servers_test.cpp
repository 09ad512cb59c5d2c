// Where the names of name servers are, and who can find them there.

#include "tools/relay/nat_process.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

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
