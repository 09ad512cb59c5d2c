// Tests that begin a thread or do not, and that end in all ways, for one_thread_test.py and
// run_tests_test.py.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

namespace {

TEST(Teller, BeginsNone) {}
TEST(Teller, BeginsOne) {
  std::thread([] {}).join();
}
TEST(Teller, BeginsOneInAChild) {
  const pid_t child = fork();
  if (child == 0) {
    std::thread([] {}).join();
    _exit(0);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
}
TEST(Teller, Fails) {
  FAIL() << "this one fails";
}
TEST(Teller, Skips) {
  GTEST_SKIP() << "no moon";
}
TEST(Teller, EndsEarly) {
  _exit(0);
}
TEST(Teller, IsKilled) {
  raise(SIGKILL);
}
TEST(Teller, Hangs) {
  if (fork() == 0) pause();
  pause();
}
TEST(Teller, EndsWhoStartedIt) {
  kill(getppid(), SIGKILL);
  pause();
}
bool has_changed = false;
TEST(Teller, LeavesNothingBehind) {
  EXPECT_FALSE(has_changed);
  has_changed = true;
}
TEST(Teller, HasNoInput) {
  char byte = 0;
  EXPECT_EQ(read(STDIN_FILENO, &byte, 1), 0);
  EXPECT_EQ(open("/dev/null", O_RDONLY), 3) << "the first of its own";
}
class OfValues : public testing::TestWithParam<int> {};
TEST_P(OfValues, BeginsNone) {}
INSTANTIATE_TEST_SUITE_P(Each, OfValues, testing::Values(5, 7));

}  // namespace
