// A program that is held until instruments are attached: it begins when it is let go, says why it
// cannot, and is always waited for.

#include "instruments/watch/held_child.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "instruments/watch/process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(HeldChildTest, BeginsWhenItIsReleasedAndNotBefore) {
  const shmif::test::TempDir dir;
  auto child =
      HeldChild::start({.argv = {"sh", "-c", "echo began; exit 7"}, .output = dir.file("out")});
  ASSERT_TRUE(child) << child.error().message;
  const std::string stat = "/proc/" + std::to_string(child->pid()) + "/stat";
  // It sleeps at the gate, and is still this program.
  ASSERT_TRUE(shmif::test::eventually([&] {
    const auto now = read_task_stat(KernelFiles().read(stat).value());
    return now && now->state == 'S' && now->name == "watch_test";
  }));
  EXPECT_FALSE(child->ended());
  EXPECT_EQ(text_of(dir.file("out")), "");
  ASSERT_TRUE(child->release());
  EXPECT_EQ(shell_status(child->wait()), 7);
  EXPECT_EQ(text_of(dir.file("out")), "began\n");
  pollfd end{child->descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&end, 1, 0), 1);
}

TEST(HeldChildTest, SaysWhyAProgramCannotBeginAndWhatAShellWouldReturn) {
  const shmif::test::TempDir dir;
  std::ofstream(dir.file("text")) << "no program";
  struct Case {
    std::string program, thing, remedy;
    int code;
  };
  for (const Case& each : {Case{"no-such-program", "no-such-program", "in PATH", 127},
                           Case{dir.file("no"), dir.file("no"), "interpreter", 127},
                           Case{dir.file("text"), "Permission denied", "execute", 126}}) {
    auto child = HeldChild::start({.argv = {each.program}});
    ASSERT_TRUE(child);
    const pid_t pid = child->pid();
    const auto begun = child->release();
    ASSERT_FALSE(begun);
    for (const std::string& words : {each.thing, each.remedy}) {
      EXPECT_NE(begun.error().message.find(words), std::string::npos) << begun.error().message;
    }
    EXPECT_EQ(child->exit_code_of_failure(), each.code);
    EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), -1) << "it has been waited for";
    const HeldChild moved = *std::move(child);
    EXPECT_EQ(moved.exit_code_of_failure(), each.code);
  }
  EXPECT_FALSE(HeldChild::start({}));
}

TEST(HeldChildTest, SaysWhatCouldNotBeSetUpBeforeAnythingBegins) {
  const auto output = HeldChild::start({.argv = {"true"}, .output = "/no/such/folder/out"});
  ASSERT_FALSE(output);
  EXPECT_NE(output.error().message.find("/no/such/folder/out"), std::string::npos);
  const auto cpu = HeldChild::start({.argv = {"true"}, .cpu = 1000});
  ASSERT_FALSE(cpu);
  EXPECT_NE(cpu.error().message.find("CPU 1000"), std::string::npos) << cpu.error().message;
}

TEST(HeldChildTest, IsGoneWithItsOwnerHeldOrNot) {
  for (const bool release : {false, true}) {
    pid_t pid = 0;
    {
      auto child = HeldChild::start({.argv = {"sleep", "601"}});
      ASSERT_TRUE(child);
      pid = child->pid();
      if (release) {
        ASSERT_TRUE(child->release());
      }
      HeldChild moved = std::move(*child);
      EXPECT_EQ(moved.pid(), pid);
      EXPECT_EQ(::kill(pid, 0), 0) << "a move ends nothing";
    }
    EXPECT_EQ(::kill(pid, 0), -1);
  }
}

TEST(HeldChildTest, EndsWithoutAStatusWhereTheKernelKeepsNone) {
  struct sigaction ignored{};
  struct sigaction usual{};
  ignored.sa_handler = SIG_IGN;
  ASSERT_EQ(::sigaction(SIGCHLD, &ignored, &usual), 0);
  auto child = HeldChild::start({.argv = {"sh", "-c", "exit 3"}});
  ASSERT_TRUE(child);
  EXPECT_TRUE(child->release());
  EXPECT_EQ(child->wait(), 0);
  EXPECT_EQ(child->ended(), 0);
  ASSERT_EQ(::sigaction(SIGCHLD, &usual, nullptr), 0);
}

TEST(HeldChildTest, WithAGroupOfItsOwnTakesWhatItStartedWithIt) {
  const shmif::test::TempDir dir;
  auto child = HeldChild::start({.argv = {"sh", "-c", "sleep 601 & echo $! ; wait"},
                                 .output = dir.file("out"),
                                 .own_group = true});
  ASSERT_TRUE(child);
  ASSERT_TRUE(child->release());
  ASSERT_TRUE(shmif::test::eventually([&] { return text_of(dir.file("out")).ends_with('\n'); }));
  const pid_t grandchild = std::stoi(text_of(dir.file("out")));
  EXPECT_EQ(::getpgid(child->pid()), child->pid());
  child->kill(SIGTERM);
  EXPECT_EQ(shell_status(child->wait()), 128 + SIGTERM);
  const KernelFiles files;
  EXPECT_TRUE(shmif::test::eventually([&] {
    const auto text = files.read("/proc/" + std::to_string(grandchild) + "/stat");
    return !text || read_task_stat(*text)->state == 'Z';
  }));
}

TEST(HeldChildTest, HasTheCpuTheInputAndTheSignalsThatAreAskedFor) {
  const shmif::test::TempDir dir;
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int last = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) last = cpu;
  }
  ::signal(SIGUSR1, SIG_IGN);
  sigset_t blocked, before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  // No shell: it blocks nothing, whatever was blocked before.
  auto child = HeldChild::start(
      {.argv = {"grep", "-hE", "Cpus_allowed_list|SigIgn|SigBlk", "/proc/self/status", "-"},
       .output = dir.file("out"),
       .no_input = true,
       .cpu = last});
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::signal(SIGUSR1, SIG_DFL);
  ASSERT_TRUE(child) << child.error().message;
  ASSERT_TRUE(child->release());
  EXPECT_EQ(shell_status(child->wait()), 0) << "grep has met the end of its input";
  EXPECT_EQ(text_of(dir.file("out")),
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
            "Cpus_allowed_list:\t" +
                std::to_string(last) + "\n");
}

}  // namespace
}  // namespace shmif::perf::test
