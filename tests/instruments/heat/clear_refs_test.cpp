// Any process: what the kernel says of whole mappings, and what it says on machines that we do not
// have.

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "instruments/heat/session.hpp"
#include "instruments/heat/source.hpp"
#include "instruments/watch/process.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kSmaps =
    "00400000-00402000 r-xp 00001000 fe:00 248030                     /usr/bin/a name\n"
    "Size:                  8 kB\n"
    "Rss:                   4 kB\n"
    "Referenced:            0 kB\n"
    "VmFlags: rd ex\n"
    "7f0000000000-7f0000004000 rw-p 00000000 00:00 0 \n"
    "Rss:                  16 kB\n"
    "Referenced:           12 kB\n"
    "7f0000005000-7f0000006000 ---p 00000000 00:00 0 [guard]\n"
    "Rss:                   0 kB\n"
    "Referenced:            0 kB\n";

TEST(Smaps, GiveEachMappingItsOwnFigures) {
  const auto uses = read_smaps(kSmaps);
  ASSERT_TRUE(uses) << uses.error().message;
  ASSERT_EQ(uses->size(), 3U);
  EXPECT_EQ((*uses)[0].memory, (NamedRange{{0x400000, 0x402000}, "/usr/bin/a name", 248030}));
  EXPECT_EQ((*uses)[0].referenced_bytes, 0U);
  EXPECT_TRUE((*uses)[0].is_accessible);
  EXPECT_EQ((*uses)[1].memory, (NamedRange{{0x7f0000000000, 0x7f0000004000}, "", 0}));
  EXPECT_EQ((*uses)[1].referenced_bytes, 12288U);
  EXPECT_FALSE((*uses)[2].is_accessible);
  EXPECT_EQ((*uses)[2].memory.name, "[guard]");
}

/// A long look is followed by a rest of a hundred times that.
#define NEEDS_FAST_LOOKS() \
  if (shmif::test::kSanitized) GTEST_SKIP() << "looks at shadow memory are slow, under sanitizers"

/// A child that has two mappings of its own, and accesses one of them all the time.
class Toucher {
 public:
  Toucher() {
    pid = ::fork();
    if (pid != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {  // until killed
      for (std::size_t page = 0; page < kPages; ++page) static_cast<void>(hot.read(page));
      ::usleep(200);
    }
  }
  Toucher(const Toucher&) = delete;
  Toucher& operator=(const Toucher&) = delete;
  ~Toucher() { end(); }
  void end() {
    if (pid < 0) return;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    pid = -1;
  }
  static constexpr std::size_t kPages = 8;
  SharedPages hot{kPages};
  SharedPages cold{kPages};
  pid_t pid = -1;
};

HeatSession session_of(const Toucher& child) {
  HeatOptions options;
  options.backend = HeatBackend::clear_refs;
  HeatSession session(options);
  session.add(Process::open(child.pid).value());
  return session;
}

const Region* region_at(const HeatWindow& window, std::uint64_t address) {
  for (const Region& region : window.regions) {
    if (region.begin <= address && address < region.end) return &region;
  }
  return nullptr;
}

TEST(HeatOfAnyProcess, TellsAccessedMappingsFromOthers) {
  NEEDS_FAST_LOOKS();
  const Toucher child;
  HeatSession session = session_of(child);
  HeatWindow seen;
  ASSERT_TRUE(shmif::test::eventually([&] {
    session.step();
    const auto results = session.results();
    EXPECT_EQ(results[0].reason, "");
    for (const HeatWindow& window : results[0].windows) {
      const Region* const hot = region_at(window, child.hot.address(0));
      if (hot == nullptr || hot->accesses == 0) continue;
      seen = window;
      return true;
    }
    return false;
  }));
  const Region* const cold = region_at(seen, child.cold.address(0));
  ASSERT_NE(cold, nullptr);
  EXPECT_EQ(cold->accesses, 0U);
  EXPECT_EQ(cold->writes, std::nullopt) << "not known, so not 0";
  EXPECT_GE(seen.working_set_bytes, Toucher::kPages * page_bytes());
  const HeatResult result = session.results()[0];
  EXPECT_EQ(result.provenance.source, "clear_refs");
  EXPECT_EQ(result.provenance.precision, "mapping");
  EXPECT_FALSE(result.provenance.writes_reason.empty());
}

TEST(HeatOfAnyProcess, IsKeptWhenItEnds) {
  NEEDS_FAST_LOOKS();
  Toucher child;
  HeatSession session = session_of(child);
  ASSERT_TRUE(shmif::test::eventually([&] {
    session.step();
    return session.windows() >= 1;
  }));
  child.end();
  ASSERT_TRUE(shmif::test::eventually([&] {
    session.step();
    return !session.is_watching();
  }));
  const HeatResult result = session.results()[0];
  EXPECT_TRUE(result.has_ended);
  EXPECT_EQ(result.reason, "the process has ended");
  EXPECT_FALSE(result.windows.empty());
}

/// A source whose looks are so costly that it rests for half a minute after each.
class SlowSource : public HeatSource {
 public:
  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return Looking{}; }
  std::chrono::nanoseconds cost(std::chrono::nanoseconds here) const noexcept override {
    return here;
  }
  Result<std::vector<NamedRange>> ranges() override {
    return std::vector{NamedRange{{page_bytes(), 2 * page_bytes()}, "a page"}};
  }
  Result<void> forget(Regions& /*regions*/) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return {};
  }
  Result<void> look(Regions& /*regions*/) override { return {}; }

 private:
  HeatProvenance provenance_;
};

TEST(HeatOfAnyProcess, IsNotTakenForAliveUntilTheNextCostlyLook) {
  Toucher child;
  const HeatOptions options;
  HeatSession session(options);
  session.add(Process::open(child.pid).value(), std::make_unique<SlowSource>());
  const auto next = session.step();
  EXPECT_LT(next - HeatSession::Clock::now(), std::chrono::seconds(1)) << "the look is in 30 s";
  EXPECT_TRUE(session.is_watching());
  child.end();
  session.step();
  EXPECT_FALSE(session.is_watching());
  EXPECT_EQ(session.results()[0].reason, "the process has ended");
}

TEST(HeatOfAnyProcess, ThatMustNotBeWatchedIsAReason) {
  HeatOptions options;
  const shmif::test::TempDir tree;  // no process has files here
  options.files = KernelFiles(tree.path());
  HeatSession session(options);
  session.add(Process::open(::getpid()).value());
  EXPECT_FALSE(session.is_watching());
  const HeatResult result = session.results()[0];
  EXPECT_FALSE(result.reason.empty());
  EXPECT_TRUE(result.windows.empty());
}

TEST(HeatOfAnyProcess, SaysThatItsFirstThreadHasEnded) {
  const shmif::test::Shared<std::atomic<std::uint64_t>> rounds;
  const auto live = [](void* argument) -> void* {
    auto& count = *static_cast<std::atomic<std::uint64_t>*>(argument);
    for (;; ::usleep(1000)) ++count;  // until killed
  };
  const shmif::test::Child child([&]() -> int {
    pthread_t other{};
    if (::pthread_create(&other, nullptr, live, &*rounds) != 0) return 2;
    // As pthread_exit(3) ends it, which would unwind through Child, too.
    ::syscall(SYS_exit, 0);
    return 3;
  });
  const auto process = Process::open(child.pid()).value();
  EXPECT_TRUE(shmif::test::eventually([&] { return outlives_first_thread(process.id()); }));
  for (const HeatBackend backend :
       {HeatBackend::automatic, HeatBackend::written, HeatBackend::clear_refs}) {
    HeatOptions options;
    options.backend = backend;
    options.clients = "/proc";  // where it does not take part
    HeatSession session(options);
    session.add(process);
    EXPECT_FALSE(session.is_watching()) << "it is not waited for";
    const HeatResult result = session.results()[0];
    EXPECT_EQ(result.reason,
              "the first thread of the process has ended (pthread_exit(3)), so that /proc shows "
              "its memory no longer");
    EXPECT_FALSE(result.has_ended);
  }
  const std::uint64_t before = *rounds;
  EXPECT_TRUE(shmif::test::eventually([&] { return *rounds > before; })) << "it goes on";
}

/// Its memory is gone, and its number is still taken.
TEST(ClearRefs, OfAZombieSayThatItHasEnded) {
  const Tree tree;
  const auto put_state = [&](char state) {
    std::string stat = std::string("41 (a) ") + state;
    for (int field = 4; field <= 52; ++field) stat += field == 22 ? " 77" : " 0";
    tree.put("/proc/41/stat", stat + '\n');
  };
  put_state('S');
  tree.put("/proc/41/smaps", "00400000-00401000 r--p 00000000 08:01 7 /bin/a\nReferenced: 4 kB\n");
  tree.put("/proc/41/clear_refs", "");
  const auto source = watch_by_clear_refs({41, 77}, tree.files());
  ASSERT_TRUE(source) << source.error().message;
  Regions regions({}, (*source)->looking(), page_bytes(), 1);
  EXPECT_EQ((*source)->ranges().value().size(), 1U);
  EXPECT_TRUE((*source)->look(regions));
  put_state('Z');
  const auto code_of = [](const auto& result) {
    return result ? std::error_code() : result.error().code;
  };
  EXPECT_EQ(code_of((*source)->look(regions)), std::errc::no_such_process);
  EXPECT_EQ(code_of((*source)->ranges()), std::errc::no_such_process);
  EXPECT_EQ(code_of((*source)->forget(regions)), std::errc::no_such_process);
}

}  // namespace
}  // namespace shmif::perf::test
