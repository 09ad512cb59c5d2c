// Where the names of name servers are, and who can find them there.

#include "tools/relay/name_servers.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

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
  EXPECT_TRUE(tools::stays_in(both, path("etc/file")));
  EXPECT_TRUE(tools::stays_in(both, path("etc/none")));
  EXPECT_FALSE(tools::stays_in(both, path("mnt/file")));
  EXPECT_FALSE(tools::stays_in(both, path("etcetera/file"))) << "a name that begins alike";
  EXPECT_FALSE(tools::stays_in({}, path("etc/file")));
  EXPECT_TRUE(leads("file"));
  EXPECT_TRUE(leads(path("etc/file")));
  EXPECT_TRUE(leads("../run/deep/file"));
  EXPECT_TRUE(leads(path("run/deep/file")));
  EXPECT_TRUE(leads("run/deep/file")) << "a link to a directory on the way";
  EXPECT_TRUE(leads("deep/../file"));
  EXPECT_TRUE(leads("./deep/.//../file"));
  EXPECT_FALSE(leads(path("mnt/file")));
  EXPECT_FALSE(leads("../mnt/file"));
  fs::create_directory_symlink(path("run/deep"), path("etc/far"));
  EXPECT_TRUE(leads("far/../deep/file")) << "behind a link, .. is in what it leads to";
  fs::create_directory_symlink(path("run"), path("etc/out"));
  EXPECT_FALSE(leads("out/../mnt/file")) << "and not beside the link";
  EXPECT_FALSE(tools::stays_in(both, "etc/file")) << "not an absolute path";
  EXPECT_FALSE(leads(path("var/run/deep/file"))) << "it comes back, but the way is missing";
  EXPECT_FALSE(leads("../etcetera/file"));
  fs::create_symlink(path("mnt/file"), path("run/second"));
  EXPECT_FALSE(leads(path("run/second"))) << "the second link leaves";
  fs::create_symlink("first", path("etc/first"));
  EXPECT_FALSE(leads("first")) << "a circle ends";
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

TEST(NameServers, OfTheLoopbackAreThoseOf127AndOne) {
  for (const char* const text : {"127.0.0.1", "127.0.0.53", "127.255.255.255", "::1"})
    EXPECT_TRUE(tools::is_loopback(*tap::IpAddress::parse(text))) << text;
  for (const char* const text : {"126.0.0.1", "128.0.0.1", "1.0.0.127", "0.0.0.0", "::", "::2",
                                 "::1:1", "fe80::1", "7f00::1", "::ffff:127.0.0.1"})
    EXPECT_FALSE(tools::is_loopback(*tap::IpAddress::parse(text))) << text;
}

}  // namespace
}  // namespace shmif::test
