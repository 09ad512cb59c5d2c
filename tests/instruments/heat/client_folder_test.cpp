// The directory in which the processes of a run share their access heat.

#include "instruments/heat/client_folder.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include "shmif/heat_wire.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

/// A variable of the environment that is as before when the test is over.
class Variable {
 public:
  explicit Variable(const char* name) : name_(name), before_(value()) {}
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { set(before_); }

  std::optional<std::string> value() const {
    const char* const now = std::getenv(name_);
    return now == nullptr ? std::nullopt : std::optional<std::string>(now);
  }
  void set(const std::optional<std::string>& to) const {
    if (to) {
      ::setenv(name_, to->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

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
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const HeatFolder killed;
    (void)!::write(pipe[1], killed.path().c_str(), killed.path().size());
    ::_exit(0);  // without its destructor
  }
  ::waitpid(child, nullptr, 0);
  std::string left(100, '\0');
  left.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(pipe[0], left.data(), 100), 0)));
  ::close(pipe[0]);
  ::close(pipe[1]);
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
