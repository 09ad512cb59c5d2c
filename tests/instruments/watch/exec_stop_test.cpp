// Programs that give us a userfaultfd before their first instruction, and do not notice.

#include "instruments/watch/exec_stop.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/heat/session.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::eventually;
using shmif::test::TempDir;

#define NEEDS_WRITTEN() \
  if (!expect_written()) GTEST_SKIP() << "no asynchronous write protection here"

HeldChild held(std::vector<std::string> words, const std::string& output = "/dev/null") {
  return HeldChild::start({.argv = std::move(words), .output = output, .no_input = true}).value();
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string files_of(pid_t pid) {
  std::string all;
  for (const auto& each :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd"))
    all += std::filesystem::read_symlink(each.path()).string() + '\n';
  return all;
}

TEST(ExecStop, ChangesNothingThatTheProgramSees) {
  NEEDS_WRITTEN();
  const TempDir dir;
  // Descriptors, signals, the tracer, the arguments, and the floating point unit.
  const std::vector<std::string> program{
      "sh",
      "-c",
      "ls /proc/self/fd; grep -E '^(Sig[PBIC]|Shd|TracerPid)' /proc/self/status; "
      "echo \"$0 $*\"; awk 'BEGIN { print exp(1) }'",
      "name",
      "first",
      "second"};
  HeldChild plain = held(program, dir.file("plain"));
  ASSERT_TRUE(plain.release());
  HeldChild watched = held(program, dir.file("watched"));
  const BegunProgram begun = begin_with_userfaultfd(watched);
  ASSERT_TRUE(begun.begun);
  ASSERT_TRUE(begun.userfaultfd) << begun.userfaultfd.error().message;
  EXPECT_EQ(plain.wait(), 0);
  EXPECT_EQ(watched.wait(), 0);
  const std::string seen = text_of(dir.file("watched"));
  EXPECT_NE(seen.find("name first second"), std::string::npos);
  EXPECT_EQ(seen, text_of(dir.file("plain")));
}

/// Neither the program nor its child has the descriptor, so nothing is protected when we close it.
TEST(ExecStop, LeavesTheDescriptorToUsAlone) {
  NEEDS_WRITTEN();
  HeldChild program = held({"sh", "-c", "sleep 100 & wait"});
  BegunProgram begun = begin_with_userfaultfd(program);
  ASSERT_TRUE(begun.userfaultfd) << begun.userfaultfd.error().message;
  const std::string folder = "/proc/" + std::to_string(program.pid());
  const std::string children = folder + "/task/" + std::to_string(program.pid()) + "/children";
  {
    HeatOptions options;
    options.backend = HeatBackend::written;
    options.attributes = read_attributes("5ms,20ms,50ms,3,1000").value();
    HeatSession session(options);
    session.add(Process::open(program.pid()).value(), std::move(begun.userfaultfd));
    ASSERT_TRUE(eventually([&] {
      session.step();
      return session.windows() > 1 && !text_of(children).empty();
    })) << session.results()[0].reason;
    EXPECT_NE(text_of(folder + "/smaps").find(" uw"), std::string::npos) << "it is protected";
    const pid_t child = std::stoi(text_of(children));
    EXPECT_EQ(text_of("/proc/" + std::to_string(child) + "/smaps").find(" uw"), std::string::npos);
    for (const pid_t each : {program.pid(), child}) {
      EXPECT_EQ(files_of(each).find("userfaultfd"), std::string::npos) << files_of(each);
    }
    ::kill(child, SIGKILL);
  }
  EXPECT_EQ(text_of(folder + "/smaps").find(" uw"), std::string::npos);
}

char state_of(pid_t pid) {
  const std::string text = text_of("/proc/" + std::to_string(pid) + "/stat");
  return text[text.rfind(')') + 2];
}

/// SIGSTOP comes at any moment of the stop, which lasts less than a millisecond.
TEST(ExecStop, LosesNoStopSignal) {
  NEEDS_WRITTEN();
  constexpr int kRounds = 100;
  for (int round = 0; round < kRounds; ++round) {
    HeldChild program = held({"sleep", "100"});
    std::thread sender([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(10 * round));
      ::kill(program.pid(), SIGSTOP);
    });
    const BegunProgram begun = begin_with_userfaultfd(program);
    sender.join();
    ASSERT_TRUE(begun.begun);
    ASSERT_TRUE(eventually([&] { return state_of(program.pid()) == 'T'; })) << round;
    ::kill(program.pid(), SIGCONT);
    ASSERT_TRUE(eventually([&] { return state_of(program.pid()) == 'S'; })) << round;
  }
}

/// A program whose monitor is killed meanwhile ends with it: none is left half begun.
TEST(ExecStop, EndsTheProgramWithItsMonitor) {
  NEEDS_WRITTEN();
  constexpr int kRounds = 60;
  const shmif::test::Shared<std::atomic<pid_t>> program;
  for (int round = 0; round < kRounds; ++round) {
    *program = 0;
    shmif::test::Child monitor([&]() -> int {
      HeldChild child = held({"sleep", "100"});
      *program = child.pid();
      const BegunProgram begun = begin_with_userfaultfd(child);
      ::pause();
      return 0;
    });
    ASSERT_TRUE(eventually([&] { return *program != 0; }));
    ::usleep(static_cast<useconds_t>(20 * round));
    monitor.kill_and_wait();
    ASSERT_TRUE(eventually([&] { return ::kill(*program, 0) != 0 || state_of(*program) == 'Z'; }));
  }
}

TEST(ExecStop, OfAProgramThatCannotBeginSaysWhyAsWithoutIt) {
  HeldChild none = held({"/no/such/program"});
  EXPECT_FALSE(begin_with_userfaultfd(none).begun);
  EXPECT_EQ(none.exit_code_of_failure(), 127);
}

}  // namespace
}  // namespace shmif::perf::test
