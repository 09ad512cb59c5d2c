// The directory in which the processes of a run share their access heat.

#include "instruments/heat/source.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "shmif/heat_wire.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

TEST(HeatFolder, IsNamedWhileItLivesAndThenTheVariableIsAsTheUserHadIt) {
  const Variable shared(heat::kVariable);
  for (const auto& before :
       {std::optional<std::string>("/of/the/user"), std::optional<std::string>(""), {}}) {
    shared.set(before);
    std::string path;
    {
      const HeatFolder folder;
      ASSERT_EQ(folder.reason(), "");
      path = folder.path();
      EXPECT_EQ(shared.value(), path);
      EXPECT_TRUE(std::filesystem::is_directory(path));
    }
    EXPECT_EQ(shared.value(), before);
    EXPECT_FALSE(std::filesystem::exists(path));
  }
}

TEST(HeatFolder, OfAKilledProcessIsRemovedByTheNextAndThatOfALivingOneIsNot) {
  const HeatFolder living;
  const shmif::test::TempDir dir;
  shmif::test::Child child([&] {
    const HeatFolder killed;
    std::ofstream(dir.file("left")) << killed.path();
    ::_exit(0);  // without its destructor
    return 0;
  });
  child.wait();
  std::string left;
  std::ifstream(dir.file("left")) >> left;
  EXPECT_TRUE(std::filesystem::is_directory(left)) << left;
  const HeatFolder next;
  EXPECT_FALSE(std::filesystem::exists(left)) << left;
  EXPECT_TRUE(std::filesystem::is_directory(living.path()));
}

TEST(HeatFolder, ThatCannotBeMadeSaysWhyAndChangesNothing) {
  const Variable shared(heat::kVariable);
  const Variable temporary("TMPDIR");
  shared.set("/of/the/user");
  temporary.set("/proc/self/none");
  const HeatFolder folder;
  EXPECT_EQ(folder.path(), "");
  EXPECT_EQ(folder.reason().rfind("cannot make the directory /proc/self/none/", 0), 0U)
      << folder.reason();
  EXPECT_NE(folder.reason().find("(set TMPDIR to a directory that you may write to)"),
            std::string::npos)
      << folder.reason();
  EXPECT_EQ(shared.value(), "/of/the/user");
}

TEST(HeatFolder, IsInTmpIfThePathsOfItsSocketsWouldBeTooLong) {
  const Variable shared(heat::kVariable);
  const Variable temporary("TMPDIR");
  const shmif::test::TempDir dir;
  const std::string deep = dir.path() + '/' + std::string(60, 'x');
  std::filesystem::create_directory(deep);
  for (const std::string& wanted : {deep, std::string("relative")}) {
    temporary.set(wanted);
    EXPECT_EQ(HeatFolder().path().rfind("/tmp/", 0), 0U) << wanted;
  }
  const shmif::test::TempDir short_one("/tmp");
  const std::string longest =
      short_one.path() + '/' + std::string(59 - short_one.path().size(), 'x');
  std::filesystem::create_directory(longest);
  temporary.set(longest);
  EXPECT_EQ(HeatFolder().path().rfind(longest + "/shmifperf-heat-", 0), 0U) << "60 bytes";
}

}  // namespace
}  // namespace shmif::perf::test
