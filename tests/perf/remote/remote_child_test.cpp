// The process of a server's run: what it takes with it from the server, what it leaves behind, and
// which orders it heeds.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "instruments/watch/clock.hpp"
#include "perf/option/job_file.hpp"
#include "perf/remote/served_run.hpp"
#include "tests/perf/plan/plans.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::remote_child {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using Clock = Connection::Clock;

/// `aux_path`: where the outputs of its commands go.
std::unique_ptr<RunChild> started(const std::string& jobs, const std::string& aux_path = "") {
  JobSet set;
  const auto problems = read_job_text("x.job", jobs, set);
  EXPECT_TRUE(problems.empty()) << problems.front();
  set.run.allow_exec = true;
  set.run.aux_path = aux_path;
  const auto plan = [&] { return RunPlan{set.run, expand(set).value(), {}}; };
  return RunChild::start(plan, {"1.2.3", {"c"}}).value();
}

/// Lets it run to its end; its result.
nlohmann::json result_of(RunChild& child) {
  child.go(0);
  nlohmann::json result;
  EXPECT_TRUE(eventually([&] {
    const auto texts = child.messages().receive();
    if (!texts) return true;
    for (const std::string& text : *texts) {
      const Message message = decode(text).value();
      if (const auto* const last = std::get_if<FinishedMessage>(&message)) {
        result = nlohmann::json::parse(last->result);
      }
    }
    return !result.is_null();
  }));
  return result;
}

/// The process of this one's only child.
pid_t only_child() {
  std::ifstream children("/proc/thread-self/children");
  pid_t child = 0;
  EXPECT_TRUE(children >> child);
  return child;
}

TEST(ChildOfAServer, HasNoneOfItsDescriptorsNorItsTerminalNorItsSignals) {
  const test::TempDir directory;
  const std::string script = directory.file("script");
  const std::string out = directory.file("out");
  std::ofstream(script) << "readlink /proc/$$/fd/0\n"
                           "ls /proc/self/fd | tr '\\n' ' '; echo\n"
                           "cut -d' ' -f6 /proc/$$/stat\n"
                           "grep SigIgn /proc/$$/status\n";
  // What a server ignores is not ignored by what it runs.
  auto* const before = std::signal(SIGUSR1, SIG_IGN);
  const auto child = started("[a]\nrw=tx\nengine=null\nnumber_ios=1\nexec_prerun=sh -c \"exec sh " +
                                 script + " > " + out + "\"\n",
                             directory.path());
  (void)std::signal(SIGUSR1, before);
  const pid_t process = only_child();
  EXPECT_FALSE(result_of(*child).is_null());
  std::ifstream file(out);
  std::string input;
  std::string descriptors;
  std::string session;
  std::string ignored;
  std::getline(file, input);
  std::getline(file, descriptors);
  std::getline(file, session);
  std::getline(file, ignored);
  EXPECT_EQ(input, "/dev/null");
  EXPECT_EQ(descriptors, "0 1 2 3 ") << "3 is the directory that is read";
  EXPECT_EQ(session, std::to_string(process)) << "it has no terminal";
  ASSERT_GT(ignored.size(), 16U);
  EXPECT_EQ(std::stoull(ignored.substr(ignored.size() - 16), nullptr, 16) & (1U << (SIGUSR1 - 1)),
            0U)
      << ignored;
}

std::ptrdiff_t buses_of(pid_t process) {
  const std::string prefix = "shmifperf-" + std::to_string(process) + '-';
  const std::filesystem::directory_iterator files("/dev/shm");
  return std::count_if(begin(files), end(files), [&](const auto& file) {
    return file.path().filename().string().starts_with(prefix);
  });
}

TEST(ChildOfAServer, LeavesNoBusBehindWhenTheServerDropsIt) {
  auto child = started("[a]\nrw=tx\nruntime=1000\nrate_iops=100\n");
  const pid_t process = only_child();
  ASSERT_TRUE(eventually([&] { return child->ready(); }));
  EXPECT_EQ(buses_of(process), 1);
  child.reset();
  EXPECT_EQ(buses_of(process), 0);
  EXPECT_EQ(::kill(process, 0), -1) << "nor its process";
}

}  // namespace
}  // namespace shmif::perf::remote_child
