// A start after a stop that came before the exec, two triggers in one call, rings without sense,
// more samples than are kept, and a signal that meets a held thread.

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "perf/counters/sample.hpp"
#include "perf/counters/sample_format.hpp"
#include "perf/counters/session.hpp"
#include "tests/perf/counters/fake_counters.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

constexpr SessionOptions kNoTurns{.switch_by_itself = false};

class SeldomMetSession : public testing::Test {
 protected:
  std::uint64_t count_of(std::size_t event) {
    std::array readings{Reading{event}};
    const auto got = session.read(readings, false);
    EXPECT_TRUE(got) << got.error().message;
    return readings[0].value;
  }

  FakeCounters kernel;
  CounterSession session = session_over(kNoTurns, kernel);
};

TEST_F(SeldomMetSession, StartsAtOnceIfItWasStoppedBeforeTheExecThatItWaitedFor) {
  const std::array events{EventSetup{fake_event(1)}};
  ASSERT_TRUE(session.program(events));
  CounterTarget target = CounterTarget::process({kTask, 7});
  target.on_exec = true;
  ASSERT_TRUE(session.load(target));
  ASSERT_TRUE(session.start());
  ASSERT_TRUE(session.stop());
  kernel.run(kTask, 10, {{1, 1000}});
  EXPECT_EQ(count_of(0), 0U);
  ASSERT_TRUE(session.start());
  kernel.run(kTask, 10, {{1, 3}});
  EXPECT_EQ(count_of(0), 3U);
}

TEST_F(SeldomMetSession, TakesOneTriggerForEachSetAlsoInOneCall) {
  const std::array sets{SetSetup{1, {}}};
  ASSERT_TRUE(session.create_sets(sets));
  const Sampling masks{.period = 10, .mask = true};
  const Sampling switches{.period = 10, .switch_set = true};
  const std::array two{EventSetup{fake_event(1), 1, masks}, EventSetup{fake_event(2), 0, {}},
                       EventSetup{fake_event(3), 1, switches}};
  const auto refused = session.program(two);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "element 2: \"event3\": its set has an event that masks or switches already");
  const std::array apart{EventSetup{fake_event(1), 1, masks},
                         EventSetup{fake_event(3), 0, switches}};
  const auto taken = session.program(apart);
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(*taken, 0U) << "nothing of the call before was taken";
}

struct AddressesOf final : SampleSink {
  void sample(const Sample& sample) override { addresses.push_back(sample.ip); }
  std::vector<std::uint64_t> addresses;
};

/// A header of zeros does not say where the next record begins. Later records are read again.
TEST_F(SeldomMetSession, PassesOverARingWithoutSenseOnce) {
  const std::array events{EventSetup{fake_event(1), 0, {.period = 10}}};
  ASSERT_TRUE(session.program(events));
  ASSERT_TRUE(session.load(CounterTarget::thread({kTask, 7})));
  ASSERT_TRUE(session.start());
  auto& ring = kernel.events.rbegin()->second.ring;
  auto* const page = reinterpret_cast<perf_event_mmap_page*>(ring.data());
  kernel.overflow(1, 1);
  page->data_head = page->data_head + 24;
  AddressesOf read;
  ASSERT_TRUE(session.read_samples(read));
  kernel.overflow(1, 2);
  kernel.overflow(1, 3);
  ASSERT_TRUE(session.read_samples(read));
  EXPECT_EQ(read.addresses, (std::vector<std::uint64_t>{1, 2, 3}));
}

struct OrderSink final : SampleSink {
  void sample(const Sample& sample) override {
    heard.push_back("sample " + std::to_string(sample.time_ns));
  }
  void executed(pid_t /*process*/, std::string_view name) override {
    heard.push_back("exec " + std::string(name));
  }
  std::vector<std::string> take() { return std::exchange(heard, {}); }
  std::vector<std::string> heard;
};

/// A program that moves to another CPU executes on one and is sampled on the other.
TEST_F(SeldomMetSession, HearsTheRecordsOfAllCpusInTheOrderOfTime) {
  for (const std::uint64_t more : {std::uint64_t{0}, std::uint64_t{PERF_SAMPLE_CPU}}) {
    FakeCounters two_cpus;
    CounterSession cpus = session_over(kNoTurns, two_cpus);
    const std::array events{EventSetup{fake_event(1), 0, {.period = 10, .fields = more}}};
    ASSERT_TRUE(cpus.program(events));
    ASSERT_TRUE(cpus.load(CounterTarget::cpu({0, 1})));
    ASSERT_TRUE(cpus.start());
    std::array<int, 2> files{};
    std::array<std::uint64_t, 2> ids{};
    for (const auto& [file, event] : two_cpus.events) {
      if (event.attr.base.config != 1) continue;
      EXPECT_EQ(event.attr.base.sample_id_all, 1U);
      EXPECT_EQ(event.attr.base.clockid, CLOCK_MONOTONIC);
      files.at(static_cast<std::size_t>(event.cpu)) = file;
      ids.at(static_cast<std::size_t>(event.cpu)) = event.id;
    }
    const auto put_sample = [&](std::size_t cpu, std::uint64_t time_ns) {
      std::vector<std::uint64_t> body{ids.at(cpu), 0x1000, 0x2a0000002aU, time_ns};
      if (more != 0) body.push_back(cpu);
      two_cpus.put(files.at(cpu), PERF_RECORD_SAMPLE, std::as_bytes(std::span(body)));
    };
    const auto put_exec = [&](std::size_t cpu, std::uint64_t time_ns) {
      constexpr std::uint64_t kRx = 0x7872;  // "rx", and zeros
      std::vector<std::uint64_t> body{0x2a0000002aU, kRx, 0x2a0000002aU, time_ns};
      if (more != 0) body.push_back(cpu);
      body.push_back(ids.at(cpu));
      two_cpus.put(files.at(cpu), PERF_RECORD_COMM, std::as_bytes(std::span(body)),
                   PERF_RECORD_MISC_COMM_EXEC);
    };
    put_sample(0, 5);
    put_sample(0, 30);
    put_sample(0, 40);
    put_exec(1, 20);
    put_sample(1, 35);
    OrderSink sink;
    ASSERT_TRUE(cpus.read_samples(sink));
    EXPECT_EQ(sink.take(), (std::vector<std::string>{"sample 5", "exec rx", "sample 30",
                                                     "sample 35", "sample 40"}));
    // Later than the call: the other ring, which was looked at before, may get an earlier one.
    constexpr std::uint64_t kFuture = std::uint64_t{1} << 62U;
    put_sample(1, kFuture);
    put_sample(0, 50);
    ASSERT_TRUE(cpus.read_samples(sink));
    EXPECT_EQ(sink.take(), (std::vector<std::string>{"sample 50"}));
    put_sample(0, 60);
    ASSERT_TRUE(cpus.stop());
    ASSERT_TRUE(cpus.read_samples(sink));
    EXPECT_EQ(sink.take(),
              (std::vector<std::string>{"sample 60", "sample " + std::to_string(kFuture)}));
  }
}

TEST(RawSamples, SayHowManyMoreThereWere) {
  const auto format = sample_formats().make("raw:max=1000").value();
  Sample sample;
  sample.ip = 0x20;
  constexpr int kKept = 1000;
  for (int i = 0; i < kKept + 3; ++i) format->sample(sample);
  EXPECT_TRUE(format->text().ends_with("\nand 3 more, which were not kept\n"));
}

/// A signal can arrive while a read begins to hold the thread. It then stops the thread.
TEST(HeldThreads, GetTheSignalThatStoppedThem) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  ASSERT_GT(child, 0);
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, child, nullptr, nullptr), 0);
  ASSERT_EQ(::kill(child, SIGUSR1), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, __WALL), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  ASSERT_EQ(WSTOPSIG(status), SIGUSR1);
  kernel_counters().release(child, SIGUSR1);
  const bool has_ended =
      shmif::test::eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; });
  EXPECT_TRUE(has_ended) << "the signal was lost";
  if (!has_ended) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGUSR1);
}

}  // namespace
}  // namespace shmif::perf::test
