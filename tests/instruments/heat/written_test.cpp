// A program that gave us a userfaultfd: each page that it writes. (How a program that knows nothing
// of it gives one: tests/instruments/watch/exec_stop_test.cpp and
// tests/tools/shmifperf/heat_live_test.cpp.)

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::eventually;

#define NEEDS_WRITTEN()                                                           \
  if (!expect_written()) GTEST_SKIP() << "no asynchronous write protection here"; \
  if (shmif::test::kSanitized) GTEST_SKIP() << "looks at shadow memory are slow, under sanitizers"

constexpr std::size_t kPages = 1000;
constexpr std::size_t kFirstHot = 300;
constexpr std::size_t kEndHot = 400;

struct WriterState {
  std::atomic<std::uint64_t> rounds;
  std::atomic<std::uint64_t> address;
  std::atomic<std::uint64_t> wish;  ///< of the test: something else is to be done
  std::atomic<int> userfaultfd;     ///< 0 once the test has it
};

std::uint64_t mapped(int flags, int file = -1, std::size_t pages = kPages) {
  void* const at = ::mmap(nullptr, pages * page_bytes(), PROT_READ | PROT_WRITE, flags, file, 0);
  return at == MAP_FAILED ? 0 : reinterpret_cast<std::uintptr_t>(at);
}
void write_page(std::uint64_t base, std::size_t page) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): shared as a number
  auto* const at = reinterpret_cast<volatile unsigned char*>(base + page * page_bytes());
  *at = static_cast<unsigned char>(*at + 1);
}
unsigned read_page(std::uint64_t base, std::size_t page) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): shared as a number
  return *reinterpret_cast<volatile unsigned char*>(base + page * page_bytes());
}

/// A child that maps memory, writes a tenth of it again and again, and reads the rest.
class Writer {
 public:
  using Map = std::function<std::uint64_t()>;
  using Wish = std::function<void(std::uint64_t base)>;
  explicit Writer(
      const Map& map, bool reads_first = false, const Wish& wish = [](std::uint64_t) {})
      : child_([this, map, reads_first, wish]() -> int {
          const std::uint64_t base = map();
          if (base == 0) return 1;
          constexpr int kUserModeOnly = 1;
          const auto file =
              static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
          state_->userfaultfd = file;
          while (state_->userfaultfd != 0) ::usleep(100);
          ::close(file);
          unsigned sum = 0;
          for (std::size_t page = 0; page < kPages; ++page) {
            if (reads_first) {
              sum += read_page(base, page);
            } else {
              write_page(base, page);
            }
          }
          state_->address = base;
          for (;;) {  // until killed
            for (std::size_t page = kFirstHot; page < kEndHot; ++page) write_page(base, page);
            for (std::size_t page = 0; page < kPages; ++page) sum += read_page(base, page);
            if (state_->wish != 0) wish(base);
            state_->rounds += 1 + (sum & 0U);
            ::usleep(200);
          }
        }) {
    EXPECT_TRUE(eventually([&] { return state_->userfaultfd != 0; }));
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, child_.pid(), 0)));
    const int number = state_->userfaultfd;
    userfaultfd_.reset(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    EXPECT_TRUE(userfaultfd_);
    state_->userfaultfd = 0;
    EXPECT_TRUE(eventually([&] { return state_->rounds > 0; }));
  }
  /// Only once.
  UniqueFd userfaultfd() const { return std::move(userfaultfd_); }
  Result<std::unique_ptr<HeatSource>> source() const {
    return watch_by_written(Process::open(pid()).value().id(), userfaultfd());
  }
  pid_t pid() const { return child_.pid(); }
  std::uint64_t address() const { return state_->address; }
  std::uint64_t rounds() const { return state_->rounds; }
  void wish() { state_->wish = 1; }
  bool fulfilled() const { return state_->wish == 2; }
  shmif::test::Shared<WriterState>& state() { return state_; }

 private:
  shmif::test::Shared<WriterState> state_;
  shmif::test::Child child_;
  mutable UniqueFd userfaultfd_;
};

HeatSession session_for(const Writer& writer, HeatBackend backend = HeatBackend::written) {
  HeatOptions options;
  options.backend = backend;
  options.attributes = read_attributes("5ms,20ms,50ms,3,1000").value();
  HeatSession session(options);
  session.add(Process::open(writer.pid()).value(), writer.userfaultfd());
  return session;
}

/// The pages of `base` that were written in the windows but the first, in which they may have been
/// met for the first time.
std::set<std::size_t> written_in(const HeatResult& result, std::uint64_t base) {
  std::set<std::size_t> found;
  for (std::size_t i = 1; i < result.windows.size(); ++i) {
    for (const Region& region : result.windows[i].regions) {
      if (region.writes.value_or(0) == 0) continue;
      for (std::uint64_t at = region.begin; at < region.end; at += page_bytes()) {
        if (at >= base && at < base + kPages * page_bytes()) {
          found.insert((at - base) / page_bytes());
        }
      }
    }
  }
  return found;
}
/// Looks until `done` says so.
template <class Done>
bool step_until(HeatSession& session, const Done& done) {
  return eventually([&] { return session.step(), done(); });
}
/// Whether exactly these pages behind `base` are seen to be written.
bool shows_pages(HeatSession& session, const std::uint64_t& base, std::size_t begin,
                 std::size_t end) {
  std::set<std::size_t> wanted;
  for (; begin < end; ++begin) wanted.insert(begin);
  const bool shown =
      step_until(session, [&] { return written_in(session.results()[0], base) == wanted; });
  EXPECT_TRUE(shown) << session.results()[0].reason
                     << written_in(session.results()[0], base).size();
  return shown;
}

TEST(HeatByWrites, KnowsMemoryOfAnyKind) {
  NEEDS_WRITTEN();
  constexpr std::size_t kHuge = std::size_t{2} << 20U;
  const shmif::test::TempDir dir("/var/tmp");
  const auto mapped_file = [](int file, int flags) {
    const auto bytes = static_cast<off_t>(kPages * page_bytes());
    return ::ftruncate(file, bytes) == 0 ? mapped(flags, file) : 0;
  };
  const auto in_memory = [&](int flags) {
    return mapped_file(::memfd_create("file", MFD_CLOEXEC), flags);
  };
  const auto on_disk = [&](int flags) {
    return mapped_file(::open(dir.file("data").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), flags);
  };
  struct Case {
    const char* what;
    Writer::Map map;
    bool reads_first = false;
  };
  for (const Case& each : std::initializer_list<Case>{
           {"private", [] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS); }},
           // A write to protected memory of a huge page makes small pages of it.
           {"huge pages",
            [] {
              const std::uint64_t at =
                  mapped(MAP_PRIVATE | MAP_ANONYMOUS, -1, kPages + 2 * kHuge / page_bytes());
              const std::uint64_t begin = (at + kHuge - 1) / kHuge * kHuge;
              // NOLINTNEXTLINE(performance-no-int-to-ptr): the test computes with addresses
              (void)::madvise(reinterpret_cast<void*>(begin), 2 * kHuge, MADV_HUGEPAGE);
              return at == 0 ? 0 : begin;
            }},
           {"shared", [] { return mapped(MAP_SHARED | MAP_ANONYMOUS); }},
           {"a file, shared", [&] { return in_memory(MAP_SHARED); }, true},
           {"a file, private", [&] { return in_memory(MAP_PRIVATE); }, true},
           {"a file on a disk, shared", [&] { return on_disk(MAP_SHARED); }},
           {"a file on a disk, private", [&] { return on_disk(MAP_PRIVATE); }}}) {
    SCOPED_TRACE(each.what);
    const Writer writer(each.map, each.reads_first);
    HeatSession session = session_for(writer);
    shows_pages(session, writer.address(), kFirstHot, kEndHot);
    const HeatProvenance how = session.results()[0].provenance;
    EXPECT_EQ(how.source, "written");
    EXPECT_EQ(how.precision, "page");
    EXPECT_EQ(how.reads_precision, "mapping");
    EXPECT_EQ(how.writes_reason, "");
  }
}

/// So many more huge pages for hugetlbfs, while it exists. Tests that run at once take turns.
class MoreHugePages {
 public:
  explicit MoreHugePages(std::uint64_t more) : lock_(::open(kFile, O_RDWR | O_CLOEXEC)) {
    if (!lock_ || ::flock(lock_.get(), LOCK_EX) != 0) return;
    before_ = now();
    if (before_) set(*before_ + more);
    enough_ = before_ && now().value_or(0) >= *before_ + more;
  }
  MoreHugePages(const MoreHugePages&) = delete;
  MoreHugePages& operator=(const MoreHugePages&) = delete;
  ~MoreHugePages() {
    if (before_) set(*before_);
  }
  bool enough() const { return enough_; }

 private:
  static constexpr const char* kFile = "/proc/sys/vm/nr_hugepages";
  static std::optional<std::uint64_t> now() {
    std::uint64_t pages = 0;
    return std::ifstream(kFile) >> pages ? std::optional(pages) : std::nullopt;
  }
  static void set(std::uint64_t pages) { std::ofstream(kFile) << pages; }

  UniqueFd lock_;
  std::optional<std::uint64_t> before_;
  bool enough_ = false;
};

TEST(HeatByWrites, KnowsTheHugePagesOfHugetlbfsAsWholePages) {
  NEEDS_WRITTEN();
  const MoreHugePages pages(2);
  if (!pages.enough()) GTEST_SKIP() << "no huge pages of hugetlbfs here";
  constexpr std::size_t kOfHuge = (std::size_t{2} << 20U) / 4096;
  static_assert(kEndHot < kOfHuge && kOfHuge < kPages);
  const Writer writer(
      [] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 2 * kOfHuge); });
  HeatSession session = session_for(writer);
  EXPECT_TRUE(shows_pages(session, writer.address(), 0, kOfHuge));
}

TEST(HeatByWrites, KnowsMappingsThatAreMadeLater) {
  NEEDS_WRITTEN();
  shmif::test::Shared<std::atomic<std::uint64_t>> later;
  Writer writer([] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS); }, false,
                [&](std::uint64_t) {
                  if (*later == 0) *later = mapped(MAP_PRIVATE | MAP_ANONYMOUS);
                  for (std::size_t page = 10; page < 20; ++page) write_page(*later, page);
                });
  HeatSession session = session_for(writer);
  ASSERT_TRUE(step_until(session, [&] { return session.windows() > 1; }));
  writer.wish();
  ASSERT_TRUE(eventually([&] { return *later != 0; }));
  EXPECT_TRUE(shows_pages(session, *later, 10, 20));
}

/// All that a source can watch.
Regions regions_of(HeatSource& source) {
  Regions regions(read_attributes("5ms,20ms,50ms,3,1000").value(), source.looking(), page_bytes(),
                  1);
  const std::vector<NamedRange> ranges = source.ranges().value();
  std::vector<AddressRange> target;
  target.reserve(ranges.size());
  for (const NamedRange& each : ranges) target.push_back(each.range);
  regions.set_target(std::move(target));
  return regions;
}

/// What the target pays for is the first write to each page, whatever a look takes here.
TEST(HeatByWrites, CostsTheTargetAFaultForEachPageThatItWrote) {
  NEEDS_WRITTEN();
  const Writer writer([] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS); });
  const auto source = writer.source().value();
  Regions regions = regions_of(*source);
  ASSERT_TRUE(source->forget(regions));
  const std::uint64_t before = writer.rounds();
  ASSERT_TRUE(eventually([&] { return writer.rounds() > before + 1; }));
  ASSERT_TRUE(source->look(regions));
  const auto cost = source->cost(std::chrono::hours(1));
  EXPECT_GE(cost, (kEndHot - kFirstHot) * std::chrono::nanoseconds(800));
  EXPECT_LT(cost, std::chrono::minutes(1));
  EXPECT_EQ(source->cost({}), cost);
}

/// A look protects the pages again, so the writes between two samples cost faults, too.
TEST(HeatByWrites, CostsTheTargetTheFaultsBetweenTwoSamplesToo) {
  NEEDS_WRITTEN();
  constexpr std::size_t kMany = 16384;
  Writer writer([] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS, -1, kMany); }, false,
                [](std::uint64_t base) {
                  for (std::size_t page = 0; page < kMany; ++page) write_page(base, page);
                });
  const auto go_on = [&writer] {
    const std::uint64_t before = writer.rounds();
    ASSERT_TRUE(eventually([&] { return writer.rounds() > before + 1; }));
  };
  const auto source = writer.source().value();
  Regions regions = regions_of(*source);
  ASSERT_TRUE(source->forget(regions));
  ASSERT_TRUE(source->look(regions));
  writer.wish();
  go_on();
  writer.state()->wish = 0;
  go_on();
  ASSERT_TRUE(source->ranges()) << "as at the next update interval";
  ASSERT_TRUE(source->forget(regions));
  ASSERT_TRUE(source->look(regions));
  EXPECT_GE(source->cost({}), kMany * std::chrono::nanoseconds(800));
}

TEST(HeatByWrites, CountsMappingsThatAreOnlyRead) {
  NEEDS_WRITTEN();
  shmif::test::Shared<std::atomic<std::uint64_t>> read_only, earlier;
  const Writer writer([&] {
    *read_only = mapped(MAP_SHARED | MAP_ANONYMOUS);
    *earlier = mapped(MAP_SHARED | MAP_ANONYMOUS);
    for (std::size_t page = 0; page < kPages; ++page) write_page(*earlier, page);
    return mapped(MAP_PRIVATE | MAP_ANONYMOUS);
  });
  HeatSession session = session_for(writer);
  const auto accesses_at = [&](std::uint64_t address) -> std::optional<std::uint32_t> {
    const HeatResult result = session.results()[0];
    for (const auto& each : result.mappings.mappings) {
      if (each.memory.range.begin <= address && address < each.memory.range.end) {
        return each.accesses;
      }
    }
    return std::nullopt;
  };
  EXPECT_TRUE(step_until(session, [&] { return accesses_at(writer.address()).value_or(0) > 0; }));
  EXPECT_EQ(accesses_at(*read_only), 0U) << "nobody accesses it";
  EXPECT_EQ(accesses_at(*earlier), 0U) << "nobody has since the watch began";
}

std::string smaps_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps");
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(HeatByWrites, LeavesNothingWhenItEnds) {
  NEEDS_WRITTEN();
  const Writer writer([] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS); });
  {
    HeatSession session = session_for(writer);
    ASSERT_TRUE(step_until(session, [&] { return session.windows() > 1; }));
    EXPECT_NE(smaps_of(writer.pid()).find(" uw"), std::string::npos) << "memory is protected";
  }
  EXPECT_EQ(smaps_of(writer.pid()).find(" uw"), std::string::npos);
  const std::uint64_t before = writer.rounds();
  EXPECT_TRUE(eventually([&] { return writer.rounds() > before; }));
}

/// The reason why a process is watched by mapping.
std::string fallback_of(HeatSession& session) {
  EXPECT_TRUE(step_until(session, [&] { return !session.results()[0].fallback_reason.empty(); }));
  EXPECT_EQ(session.results()[0].provenance.source, "clear_refs");
  return session.results()[0].fallback_reason;
}

TEST(HeatByWrites, LeavesAProcessAloneThatUsesUserfaultfdItself) {
  NEEDS_WRITTEN();
  Writer writer([] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS); }, false,
                [&writer](std::uint64_t) {
                  if (writer.fulfilled()) return;
                  constexpr int kUserModeOnly = 1;
                  ::syscall(SYS_userfaultfd, kUserModeOnly);
                  writer.state()->wish = 2;
                });
  HeatSession session = session_for(writer, HeatBackend::automatic);
  ASSERT_TRUE(step_until(session, [&] { return session.windows() > 0; }));
  EXPECT_EQ(session.results()[0].provenance.source, "written");
  writer.wish();
  ASSERT_TRUE(eventually([&] { return writer.fulfilled(); }));
  const std::string reason = fallback_of(session);
  EXPECT_NE(reason.find("uses userfaultfd(2) itself"), std::string::npos) << reason;
  EXPECT_EQ(smaps_of(writer.pid()).find(" uw"), std::string::npos);
}

TEST(HeatByWrites, LooksAtOnePageOfARegionInVeryLargeMemory) {
  NEEDS_WRITTEN();
  constexpr std::size_t kVeryMany = std::size_t{1} << 19U;  // 2 GiB, of which 4 MB are touched
  const Writer writer(
      [] { return mapped(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, kVeryMany); });
  HeatSession session = session_for(writer);
  ASSERT_TRUE(step_until(session, [&] { return session.windows() > 2; }));
  const HeatResult result = session.results()[0];
  EXPECT_EQ(result.provenance.precision, "sampled page");
  EXPECT_LE(result.windows.back().regions.size(), 1000U);
}

}  // namespace
}  // namespace shmif::perf::test
