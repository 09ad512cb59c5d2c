// Which pages a process has: by the pagemap of older kernels, and of a process that has ended.

#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <atomic>
#include <utility>
#include <vector>

#include "instruments/heat/source.hpp"
#include "instruments/watch/process.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

AddressRange page_range(std::uint64_t begin, std::uint64_t end) {
  return {begin * page_bytes(), end * page_bytes()};
}

/// A file as the pagemap of a kernel before 6.7: an entry of eight bytes for each page.
class PagemapFile : public ::testing::Test {
 protected:
  static constexpr std::size_t kEntries = 10'000;
  PagemapFile() {
    std::vector<std::uint64_t> entries(kEntries);
    constexpr std::uint64_t kPresent = std::uint64_t{1} << 63U, kSwapped = std::uint64_t{1} << 62U;
    for (const auto& [begin, end] :
         {std::pair(3U, 6U), {7U, 8U}, {4094U, 4100U}, {9999U, 10'000U}}) {
      for (std::size_t i = begin; i < end; ++i) entries[i] = kPresent | i;
    }
    entries[6] = kSwapped | 6U;
    std::ofstream file(path(), std::ios::binary);
    file.write(reinterpret_cast<const char*>(entries.data()),
               static_cast<std::streamsize>(entries.size() * sizeof entries[0]));
  }
  std::string path() const { return dir_.file("pagemap"); }
  PageScan scan() const {
    return PageScan::over(UniqueFd(::open(path().c_str(), O_RDONLY | O_CLOEXEC))).value();
  }

 private:
  shmif::test::TempDir dir_;
};

TEST_F(PagemapFile, TellsThePagesThatArePresentAndNothingOfWrites) {
  const PageScan pages = scan();
  EXPECT_EQ(pages.means(), PageScan::Means::file);
  const auto told = [&](std::uint64_t begin, std::uint64_t end) {
    std::vector<AddressRange> found;
    const auto seen = pages.present(page_range(begin, end)).value();
    for (const SeenPages& each : seen) {
      EXPECT_TRUE(each.seen.accessed);
      EXPECT_EQ(each.seen.written, std::nullopt);
      found.push_back(each.range);
    }
    return found;
  };
  using Ranges = std::vector<AddressRange>;
  EXPECT_EQ(told(0, kEntries), (Ranges{page_range(3, 6), page_range(7, 8), page_range(4094, 4100),
                                       page_range(9999, 10'000)}));
  EXPECT_EQ(told(4, 8), (Ranges{page_range(4, 6), page_range(7, 8)}));
  EXPECT_EQ(told(8, 4094), Ranges{});
  EXPECT_EQ(told(5, 5), Ranges{});
  EXPECT_EQ(pages.present(page_range(9998, 10'001)).error().code, std::errc::no_such_process)
      << "the map ends with the memory";
}

TEST_F(PagemapFile, ThatIsEmptyIsOfAProcessThatHasEnded) {
  std::filesystem::resize_file(path(), 0);
  const PageScan pages = scan();
  EXPECT_EQ(pages.present(page_range(0, 1)).error().code, std::errc::no_such_process);
  // Also if no entry is missing, as behind a scan in which the kernel found no pages.
  const auto none = pages.present(std::vector<std::uint64_t>());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, std::errc::no_such_process);
}

/// Whether the kernel refuses it then, or finds no pages, as of one that has touched none.
TEST(PagemapOfAProcess, ThatHasEndedSaysSo) {
  const SharedPages pages(4);
  const AddressRange range{pages.address(0), pages.address(4)};
  const std::vector<std::uint64_t> single{pages.address(1), pages.address(3)};
  shmif::test::Child process([]() -> int {
    for (;;) ::pause();  // until killed
  });
  const auto scan = PageScan::of(process.pid());
  ASSERT_TRUE(scan) << scan.error().message;
  EXPECT_TRUE(scan->present(range)) << "it lives, whether or not it has touched them";
  EXPECT_TRUE(scan->present(single));
  const bool scans = scan->means() == PageScan::Means::scan;  // not on a kernel before 6.7
  EXPECT_TRUE(!scans || scan->is_known(single[0]));
  process.kill_and_wait();
  const auto code_of = [](const auto& result) {
    return result ? std::error_code() : result.error().code;
  };
  EXPECT_EQ(code_of(scan->present(range)), std::errc::no_such_process);
  EXPECT_EQ(code_of(scan->present(single)), std::errc::no_such_process);
  if (!scans) return;
  EXPECT_EQ(code_of(scan->is_known(single[0])), std::errc::no_such_process);
  EXPECT_EQ(code_of(scan->take_written(range)), std::errc::no_such_process);
}

}  // namespace

// Any process: what the kernel says of whole mappings, and what it says on machines that we do not
// have.

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
struct Toucher {
  static constexpr std::size_t kPages = 8;
  SharedPages hot{kPages};
  SharedPages cold{kPages};
  shmif::test::Child child{[this]() -> int {
    for (;; ::usleep(200)) static_cast<void>(hot.are_whole());
  }};
};

HeatSession session_of(const Toucher& toucher) {
  HeatOptions options;
  options.backend = HeatBackend::clear_refs;
  HeatSession session(options);
  session.add(Process::open(toucher.child.pid()).value());
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
  const Toucher toucher;
  HeatSession session = session_of(toucher);
  HeatWindow seen;
  ASSERT_TRUE(shmif::test::eventually([&] {
    session.step();
    const auto results = session.results();
    EXPECT_EQ(results[0].reason, "");
    for (const HeatWindow& window : results[0].windows) {
      const Region* const hot = region_at(window, toucher.hot.address(0));
      if (hot == nullptr || hot->accesses == 0) continue;
      seen = window;
      return true;
    }
    return false;
  }));
  const Region* const cold = region_at(seen, toucher.cold.address(0));
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
  Toucher toucher;
  HeatSession session = session_of(toucher);
  ASSERT_TRUE(shmif::test::eventually([&] { return session.step(), session.windows() >= 1; }));
  toucher.child.kill_and_wait();
  ASSERT_TRUE(shmif::test::eventually([&] { return session.step(), !session.is_watching(); }));
  const HeatResult result = session.results()[0];
  EXPECT_TRUE(result.has_ended);
  EXPECT_EQ(result.reason, "the process has ended");
  EXPECT_FALSE(result.windows.empty());
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

constexpr auto kGone = std::errc::no_such_process;

/// Process 41 of a tree, which began at 77.
class ClearRefsFiles : public ::testing::Test {
 protected:
  void put_stat(char state) const {
    std::string stat = std::string("41 (a) ") + state;
    for (int field = 4; field <= 52; ++field) stat += field == 22 ? " 77" : " 0";
    tree_.put("/proc/41/stat", stat + '\n');
  }
  /// Two mappings that can be watched, and how much of them was referenced.
  void put_smaps(int kilobytes, int other) const {
    tree_.put("/proc/41/clear_refs", "");
    tree_.put(
        "/proc/41/smaps",
        "00001000-00009000 r--p 00000000 08:01 7 /bin/a\nReferenced: " + std::to_string(kilobytes) +
            " kB\n0000a000-0000b000 ---p 00000000 00:00 0 \nReferenced: 0 kB\n"
            "0000c000-0000e000 rw-p 00000000 00:00 0 [heap]\nReferenced: " +
            std::to_string(other) +
            " kB\n0000e000-0000f000 r--p 00000000 00:00 0 [vvar]\nReferenced: 4 kB\n");
  }
  Result<std::unique_ptr<HeatSource>> watch(std::uint64_t start_ticks = 77) const {
    return watch_by_clear_refs({41, start_ticks}, tree_.files());
  }
  const Tree tree_;
};

/// The files of a process that is about to end go one after another, and its number is still taken.
TEST_F(ClearRefsFiles, ThatAreMissingOrOfAZombieMeanThatTheProcessHasEnded) {
  put_stat('S');
  EXPECT_EQ(watch().error().code, kGone);
  tree_.put("/proc/41/clear_refs", "");
  EXPECT_EQ(watch(78).error().code, kGone);
  const auto source = watch();
  ASSERT_TRUE(source) << source.error().message;
  Regions regions({}, (*source)->looking(), page_bytes(), 1);
  const auto are_gone = [&] {
    return (*source)->ranges().error().code == kGone &&
           (*source)->look(regions).error().code == kGone;
  };
  EXPECT_TRUE(are_gone());
  put_smaps(4, 0);
  EXPECT_TRUE((*source)->look(regions));
  put_stat('Z');
  EXPECT_TRUE(are_gone());
  EXPECT_EQ((*source)->forget(regions).error().code, kGone);
}

TEST_F(ClearRefsFiles, TellWhatWasReferencedAndTheLargestWorkingSetOfTheLooksOfAWindow) {
  put_stat('S');
  put_smaps(4, 0);
  const auto source = watch().value();
  EXPECT_EQ(source->take_working_set(), std::nullopt) << "before a look";
  const auto ranges = source->ranges().value();
  EXPECT_EQ(ranges, (std::vector<NamedRange>{{{0x1000, 0x9000}, "/bin/a", 7},
                                             {{0xc000, 0xe000}, "[heap]", 0}}));
  Regions regions({}, source->looking(), page_bytes(), 1);
  regions.set_target({ranges[0].range, ranges[1].range});
  for (const auto& [first, second] : {std::pair(8, 4), {20, 4}, {12, 0}}) {
    put_smaps(first, second);
    ASSERT_TRUE(source->forget(regions));
    EXPECT_EQ(tree_.text("/proc/41/clear_refs"), "1\n");
    ASSERT_TRUE(source->look(regions));
  }
  EXPECT_EQ(regions.aggregate(),
            (std::vector<Region>{{0x1000, 0x9000, 3, {}, 0}, {0xc000, 0xe000, 2, {}, 1}}));
  EXPECT_EQ(source->take_working_set(), 28U << 10U) << "of all mappings";
  EXPECT_EQ(source->take_working_set(), std::nullopt);
  ASSERT_TRUE(source->look(regions));
  EXPECT_EQ(source->take_working_set(), 16U << 10U) << "of this window alone";
  EXPECT_EQ(source->cost(std::chrono::microseconds(7)), std::chrono::microseconds(7));
}

TEST_F(ClearRefsFiles, OfAnotherUsersProcessSayWhoMayUseThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  put_stat('S');
  put_smaps(4, 0);
  EXPECT_TRUE(as_nobody(tree_, [&] {
    const auto refused = watch();
    EXPECT_EQ(refused.error().code, std::errc::permission_denied);
    EXPECT_NE(refused.error().message.find("or as root"), std::string::npos);
  }));
}

}  // namespace

}  // namespace shmif::perf::test
