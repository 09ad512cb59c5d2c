// The truth about accesses: the test takes part itself, accesses known pages between two looks, and
// the map must have these pages and no others.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/text.hpp"
#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/source.hpp"
#include "shmif/bus.hpp"
#include "shmif/heat_share.hpp"
#include "shmif/port.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

#define NEEDS_CLIENT_SAMPLER() \
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here"

HeatAttributes few_samples() {
  HeatAttributes attributes;
  attributes.aggregation = 4 * attributes.sampling;
  attributes.min_regions = 3;
  return attributes;
}

/// A monitor of this process.
class HeatTruth : public testing::Test {
 protected:
  template <class Memory>
  void watch(const Memory& pages, const HeatAttributes& attributes = few_samples()) {
    share_.emplace(HeatShare::of(pages.begin(), pages.bytes(), "pages").value());
    source_ = watch_by_client(::getpid(), here_.folder()).value();
    regions_.emplace(attributes, source_->looking(), page_bytes(), 1);
    std::vector<AddressRange> target;
    const auto ranges = source_->ranges().value();
    for (const NamedRange& each : ranges) target.push_back(each.range);
    regions_->set_target(target);
  }

  /// One window, in each sample of which `access` runs.
  template <class Access>
  std::vector<Region> window(Access access) {
    for (unsigned i = 0; i < few_samples().samples_per_window(); ++i) {
      source_->forget(*regions_).value();
      access();
      source_->look(*regions_).value();
    }
    return regions_->aggregate();
  }

  /// Compares a window with the truth, to the page.
  template <class IsRead, class IsWritten>
  void expect_truth(const char* what, const SharedPages& pages, std::size_t count, IsRead is_read,
                    IsWritten is_written) {
    const auto found = window([&] {
      for (std::size_t page = 0; page < count; ++page) {
        if (is_written(page)) pages.write(page, SharedPages::tag(page));
        EXPECT_TRUE(!is_read(page) || pages.read(page) == SharedPages::tag(page));
      }
    });
    const auto page_of = [&](std::uint64_t at) { return (at - pages.address(0)) / page_bytes(); };
    const Quality touched = quality_of(
        found, [](const Region& region) { return region.accesses; },
        [&](std::uint64_t at) { return is_read(page_of(at)) || is_written(page_of(at)); });
    const Quality written = quality_of(
        found, [](const Region& region) { return region.writes.value_or(0); },
        [&](std::uint64_t at) { return is_written(page_of(at)); });
    std::printf("%s: touched: recall %.3f, precision %.3f; written: recall %.3f, precision %.3f\n",
                what, touched.recall, touched.precision, written.recall, written.precision);
    EXPECT_EQ(touched.recall, 1) << what;
    EXPECT_EQ(touched.precision, 1) << what;
    EXPECT_EQ(written.recall, 1) << what;
    EXPECT_EQ(written.precision, 1) << what;
  }

  ClientsHere here_;
  std::optional<HeatShare> share_;
  std::unique_ptr<HeatSource> source_;
  std::optional<Regions> regions_;
};

constexpr auto kNone = [](std::size_t) { return false; };

TEST_F(HeatTruth, CostsAPageFaultForEachPageAndASecondOneForEachThatIsWritten) {
  NEEDS_CLIENT_SAMPLER();
  const SharedPages pages(64);
  watch(pages);
  const auto cost_of = [&](auto access) {
    source_->forget(*regions_).value();
    access();
    source_->look(*regions_).value();
    return source_->cost(std::chrono::seconds(1));
  };
  const auto fault = cost_of([&] { static_cast<void>(pages.read(3)); });
  EXPECT_GT(fault, std::chrono::nanoseconds(500));
  EXPECT_LT(fault, std::chrono::microseconds(5));
  EXPECT_EQ(cost_of([] {}), std::chrono::nanoseconds(0));
  EXPECT_EQ(cost_of([&] {
              for (std::size_t page = 0; page < 8; ++page) static_cast<void>(pages.read(page));
              for (std::size_t page = 20; page < 25; ++page) pages.write(page, 1);
            }),
            18 * fault);
}

TEST_F(HeatTruth, ShowsReadWrittenAndMovingPagesToThePage) {
  NEEDS_CLIENT_SAMPLER();
  constexpr std::size_t kPages = 1000;
  const SharedPages pages(kPages);
  watch(pages);
  EXPECT_EQ(source_->provenance().precision, "page");
  EXPECT_EQ(source_->provenance().writes_reason, "");
  const auto hot_tenth = [](std::size_t page) { return page >= 300 && page < 400; };
  expect_truth("nothing", pages, kPages, kNone, kNone);
  expect_truth("a hot tenth, read", pages, kPages, hot_tenth, kNone);
  expect_truth("a hot tenth, written", pages, kPages, kNone, hot_tenth);
  for (std::size_t begin = 0; begin < kPages; begin += 250) {
    const auto moving = [&](std::size_t page) { return page >= begin && page < begin + 50; };
    expect_truth("a moving window, read", pages, kPages, moving, kNone);
    expect_truth("a moving window, read and written", pages, kPages, moving, moving);
  }
  expect_truth(
      "each third page read, each seventh written", pages, kPages,
      [](std::size_t page) { return page % 3 == 0; },
      [](std::size_t page) { return page % 7 == 0; });
  expect_truth("nothing again", pages, kPages, kNone, kNone);
  EXPECT_TRUE(pages.are_whole());
}

TEST_F(HeatTruth, OfLockedMemoryIsKnownToo) {
  NEEDS_CLIENT_SAMPLER();
  constexpr std::size_t kPages = 16;
  const SharedPages pages(kPages);
  if (::mlock(pages.begin(), pages.bytes()) != 0) GTEST_SKIP() << "needs root: mlock";
  watch(pages);
  expect_truth(
      "locked", pages, kPages, [](std::size_t page) { return page == 3; },
      [](std::size_t page) { return page == 7; });
  EXPECT_TRUE(pages.are_whole());
}

TEST_F(HeatTruth, OfALargeTargetIsFoundByPagesThatStandForRegions) {
  NEEDS_CLIENT_SAMPLER();
  constexpr std::size_t kPages = 16384;  // 64 MiB
  const SharedPages pages(kPages);
  watch(pages);
  EXPECT_EQ(source_->provenance().precision, "sampled page");
  constexpr std::size_t kBegin = 5000;
  constexpr std::size_t kEnd = kBegin + kPages / 10;
  std::vector<Region> found;
  for (int i = 0; i < 40; ++i) {
    found = window([&] {
      for (std::size_t page = kBegin; page < kEnd; ++page) pages.read(page);
    });
    EXPECT_LE(found.size(), few_samples().max_regions);
  }
  const Quality got = quality_of(
      found, [](const Region& region) { return region.accesses; },
      [&](std::uint64_t at) { return at >= pages.address(kBegin) && at < pages.address(kEnd); });
  std::printf("a hot tenth of 64 MiB: %zu regions, recall %.3f, precision %.3f\n", found.size(),
              got.recall, got.precision);
  EXPECT_GE(got.recall, 0.9);
  EXPECT_GE(got.precision, 0.9);
  for (const Region& region : found) EXPECT_EQ(region.writes, 0U) << "nothing was written";
}

/// A mapping of 1 TiB without a page.
class SparseMemory {
 public:
  SparseMemory() : file_(::memfd_create("sparse", MFD_CLOEXEC)) {
    if (::ftruncate(file_.get(), static_cast<off_t>(kBytes)) != 0) return;
    void* const at =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file_.get(), 0);
    if (at != MAP_FAILED) base_ = static_cast<unsigned char*>(at);
  }
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  ~SparseMemory() {
    if (base_ != nullptr) ::munmap(base_, kBytes);
  }
  static constexpr std::uint64_t kBytes = std::uint64_t{1} << 40U;
  unsigned char* begin() const { return base_; }
  static std::uint64_t bytes() { return kBytes; }
  std::uint64_t address() const { return reinterpret_cast<std::uintptr_t>(base_); }
  volatile unsigned char& page(std::uint64_t number) const { return base_[number * page_bytes()]; }

 private:
  UniqueFd file_;
  unsigned char* base_ = nullptr;
};

/// Of this process, in KiB.
std::uint64_t page_tables() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kibibytes = 0;
    if (word == "VmPTE:" && status >> kibibytes) return kibibytes;
  }
  return 0;
}

TEST_F(HeatTruth, OfATebibyteCostsItNoPageTablesAndIsBounded) {
  if (shmif::test::kSanitized) GTEST_SKIP() << "no room for a mapping of 1 TiB, under sanitizers";
  NEEDS_CLIENT_SAMPLER();
  const SparseMemory memory;
  HeatAttributes attributes;
  attributes.min_regions = 500;
  watch(memory, attributes);
  const std::uint64_t before = page_tables();
  for (int window = 0; window < 3; ++window) {
    const auto found = this->window([] {});
    EXPECT_LE(found.size(), attributes.max_regions);
    for (const Region& region : found) {
      EXPECT_EQ(region.accesses, 0U);
      EXPECT_EQ(region.writes, 0U) << "not accessed, so not written";
    }
  }
  const std::uint64_t now = page_tables();
  std::printf("1 TiB: page tables %llu KiB more\n", static_cast<unsigned long long>(now - before));
  EXPECT_LE(now, before + 1024) << "6000 pages were looked at, in as many page tables";
}

TEST_F(HeatTruth, OfATebibyteKnowsWritesFromTheSecondAccessOn) {
  if (shmif::test::kSanitized) GTEST_SKIP() << "no room for a mapping of 1 TiB, under sanitizers";
  NEEDS_CLIENT_SAMPLER();
  const SparseMemory memory;
  watch(memory);
  // Each region is one page, so it stands for itself.
  constexpr std::array<std::uint64_t, 3> kPages{5, 1'000'000, 200'000'000};
  std::vector<AddressRange> target;
  for (const std::uint64_t page : kPages) {
    const std::uint64_t at = memory.address() + page * page_bytes();
    target.push_back({at, at + page_bytes()});
  }
  regions_->set_target(target);
  using Writes = std::vector<std::optional<std::uint32_t>>;
  const auto sample = [&](bool rests = false) {
    source_->forget(*regions_).value();
    if (!rests) {
      memory.page(kPages[0]) = 1;
      static_cast<void>(static_cast<unsigned char>(memory.page(kPages[1])));
    }
    source_->look(*regions_).value();
    Writes writes;
    for (const Region& region : regions_->aggregate()) writes.push_back(region.writes);
    return writes;
  };
  EXPECT_EQ(sample(), (Writes{{}, {}, 0U})) << "whether these were written is not known";
  EXPECT_EQ(sample(), (Writes{1U, 0U, 0U}));
  EXPECT_EQ(sample(), (Writes{1U, 0U, 0U}));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(sample(true), (Writes{0U, 0U, 0U})) << i;
  EXPECT_EQ(sample(), (Writes{1U, 0U, 0U})) << "they are still protected";
}

/// One message has at most heat::kMaxRanges pages.
TEST_F(HeatTruth, OfMorePagesThanAMessageHoldsIsOfThemAll) {
  NEEDS_CLIENT_SAMPLER();
  const SharedPages pages(16384);
  HeatAttributes many = few_samples();
  many.min_regions = heat::kMaxRanges + 1000;
  many.max_regions = 2 * many.min_regions;
  watch(pages, many);
  const auto found = window([] {});
  EXPECT_GE(found.size(), many.min_regions);
  EXPECT_EQ(std::ranges::count_if(found, [](const Region& each) { return each.accesses > 0; }), 0);
}

TEST_F(HeatTruth, OfABusIsWhatItsPortDoes) {
  NEEDS_CLIENT_SAMPLER();
  const shmif::test::TempDir dir;
  const std::string path = dir.file("bus0");
  Bus::create(path, {}).value();
  PortOptions options;
  options.name = "rx";
  Port port(options);
  port.attach(path).value();
  ASSERT_FALSE(port.up());
  source_ = watch_by_client(::getpid(), here_.folder()).value();
  const auto ranges = source_->ranges().value();
  ASSERT_EQ(ranges.size(), 1U);
  EXPECT_EQ(ranges[0].name, "rx@" + path);
  EXPECT_EQ(ranges[0].range.bytes(), (192U << 10U) + 2 * (4U << 20U));
  EXPECT_NE(ranges[0].device, 0U);
  EXPECT_TRUE(is_of_bus(ranges[0], Bus::open(path)->info()));
  ASSERT_FALSE(port.down());
  ASSERT_FALSE(port.detach());
  EXPECT_FALSE(watch_by_client(::getpid(), here_.folder())) << "it has withdrawn";
}

/// Pages of this process, which takes part with them.
struct Sharing {
  ClientsHere here;
  SharedPages pages{4};
  std::optional<HeatShare> share{HeatShare::of(pages.begin(), pages.bytes(), "pages").value()};
  Result<std::unique_ptr<HeatSource>> monitor() const {
    return watch_by_client(::getpid(), here.folder());
  }
};

TEST(HeatClients, GetNoPrivateMemoryAndNoneThatHasAHole) {
  const Sharing other;  // so that nothing that a share needs comes into the hole
  const std::size_t page = page_bytes();
  const auto map = [&](int flags) {
    return static_cast<std::byte*>(
        ::mmap(nullptr, 3 * page, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0));
  };
  std::byte* const own = map(MAP_PRIVATE);
  const auto is_private = HeatShare::of(own, page, "private");
  ASSERT_FALSE(is_private);
  EXPECT_NE(is_private.error().message.find("not a shared mapping"), std::string::npos);
  ::munmap(own, 3 * page);
  std::byte* const begin = map(MAP_SHARED);
  ASSERT_EQ(::munmap(begin + page, page), 0);
  const auto all = HeatShare::of(begin, 3 * page, "with a hole");
  ASSERT_FALSE(all);
  const std::string hole = base::hex(reinterpret_cast<std::uintptr_t>(begin) + page);
  EXPECT_NE(all.error().message.find(hole), std::string::npos) << all.error().message;
  EXPECT_FALSE(HeatShare::of(begin + page, 2 * page, "begins with it"));
  EXPECT_FALSE(HeatShare::of(begin, 2 * page, "ends with it"));
  EXPECT_FALSE(HeatShare::of(begin, page - 1, "not whole pages"));
  EXPECT_FALSE(HeatShare::of(other.pages.begin(), std::size_t{1} << 30U, "and what is behind"));
  EXPECT_TRUE(HeatShare::of(begin, page, "before it"));
  EXPECT_TRUE(HeatShare::of(begin + 2 * page, page, "behind it"));
  ::munmap(begin, page);
  ::munmap(begin + 2 * page, page);
}

/// How many descriptors of userfaultfd(2) this process has.
std::ptrdiff_t userfaultfds() {
  std::ptrdiff_t found = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    found += std::filesystem::read_symlink(each.path(), gone) == "anon_inode:[userfaultfd]" ? 1 : 0;
  }
  return found;
}

TEST(HeatClients, AreAsBeforeWhenTheirMonitorHasGone) {
  NEEDS_CLIENT_SAMPLER();
  const Sharing sharing;
  auto monitor = sharing.monitor();
  ASSERT_TRUE(monitor) << monitor.error().message;
  EXPECT_EQ(userfaultfds(), 1);
  monitor->reset();
  EXPECT_TRUE(shmif::test::eventually([] { return userfaultfds() == 0; }))
      << "each first write to a page would go on to cost a fault";
}

TEST(HeatClients, HaveOneMonitorAtATime) {
  NEEDS_CLIENT_SAMPLER();
  const Sharing sharing;
  {
    const auto first = sharing.monitor();
    ASSERT_TRUE(first) << first.error().message;
    const auto second = sharing.monitor();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::busy);
  }
  EXPECT_TRUE(sharing.monitor()) << "the first has gone";
}

TEST(HeatClients, OfAForkedProcessAreItsOwn) {
  if (shmif::test::kSanitized) GTEST_SKIP() << "no threads after a fork, under sanitizers";
  NEEDS_CLIENT_SAMPLER();
  Sharing sharing;
  shmif::test::Child child([&] {
    sharing.share.reset();  // the parent's goes on
    const SharedPages own(1);
    const auto again = HeatShare::of(own.begin(), own.bytes(), "own");
    return again && sharing.monitor() ? 0 : 1;
  });
  EXPECT_EQ(child.wait(), 0);
  EXPECT_TRUE(sharing.monitor());
}

/// A process that takes part and accesses all of its pages until it is killed.
struct BusyClient {
  explicit BusyClient(std::size_t count) : pages(count) {}
  std::unique_ptr<HeatSource> source(const std::string& folder) const {
    std::unique_ptr<HeatSource> found;
    EXPECT_TRUE(shmif::test::eventually([&] {
      if (!found) {
        auto source = watch_by_client(child.pid(), folder);
        if (!source) return false;
        found = *std::move(source);
      }
      return !found->ranges().value().empty();  // it shares them after it has made its socket
    }));
    return found;
  }
  SharedPages pages;
  shmif::test::Child child{[this] {
    const auto share = HeatShare::of(pages.begin(), pages.bytes(), "busy");
    while (share) static_cast<void>(pages.are_whole());
    return 1;
  }};
};

TEST(HeatClients, ThatEndDuringALookAreSaidToHaveEnded) {
  if (shmif::test::kSanitized) GTEST_SKIP() << "no threads after a fork, under sanitizers";
  NEEDS_CLIENT_SAMPLER();
  const ClientsHere here;
  for (const std::size_t pages : {std::size_t{4}, std::size_t{16384}}) {  // all of them, and some
    BusyClient client(pages);
    const auto source = client.source(here.folder());
    ASSERT_NE(source, nullptr);
    Regions regions(few_samples(), source->looking(), page_bytes(), 1);
    regions.set_target({source->ranges().value()[0].range});
    ASSERT_TRUE(source->forget(regions));
    client.child.kill_and_wait();
    EXPECT_EQ(source->look(regions).error().code, std::errc::no_such_process) << pages;
    EXPECT_EQ(source->forget(regions).error().code, std::errc::no_such_process) << pages;
    EXPECT_EQ(source->ranges().error().code, std::errc::no_such_process) << pages;
  }
}

TEST(HeatClients, MayShareMoreLaterThanCanBeLookedAtPageByPage) {
  NEEDS_CLIENT_SAMPLER();
  const ClientsHere here;
  const SharedPages few(4);
  const auto share = HeatShare::of(few.begin(), few.bytes(), "few");
  ASSERT_TRUE(share) << share.error().message;
  HeatOptions options;
  options.attributes = read_attributes("1ms,2ms,2ms,10,100").value();
  options.backend = HeatBackend::client;
  options.clients = here.folder();
  HeatSession session(options);
  session.add(Process::open(::getpid()).value());
  const auto precision = [&] {
    session.step();
    return session.results()[0].provenance.precision;
  };
  ASSERT_TRUE(shmif::test::eventually([&] { return session.step(), session.windows() >= 1; }));
  EXPECT_EQ(precision(), "page");
  const SharedPages many(8192);  // 32 MiB
  const auto more = HeatShare::of(many.begin(), many.bytes(), "many");
  ASSERT_TRUE(more) << more.error().message;
  ASSERT_TRUE(shmif::test::eventually([&] { return precision() == "sampled page"; }));
  const std::size_t then = session.windows();
  ASSERT_TRUE(shmif::test::eventually([&] { return session.step(), session.windows() > then; }));
  EXPECT_LE(session.results()[0].windows.back().regions.size(), 100U);
  EXPECT_TRUE(few.are_whole());
  EXPECT_TRUE(many.are_whole());
}

TEST(HeatClients, MayEndAtAnyMoment) {
  if (shmif::test::kSanitized) GTEST_SKIP() << "no threads after a fork, under sanitizers";
  NEEDS_CLIENT_SAMPLER();
  const ClientsHere here;
  std::mt19937 random(7);
  for (int round = 0; round < 20; ++round) {
    BusyClient client(round % 2 == 0 ? 100 : 8192);
    HeatOptions options;
    options.attributes = read_attributes("1ms,5ms,5ms,10,1000").value();
    options.backend = HeatBackend::client;
    options.clients = here.folder();
    HeatSession session(options);
    session.add(Process::open(client.child.pid()).value());
    while (session.windows() < 1 && session.is_watching()) session.step();
    std::jthread killer([&, wait = random() % 10'000] {
      std::this_thread::sleep_for(std::chrono::microseconds(wait));
      ::kill(client.child.pid(), SIGKILL);
    });
    while (session.is_watching()) session.step();
    const HeatResult result = session.results()[0];
    EXPECT_TRUE(result.has_ended) << result.reason;
    EXPECT_EQ(result.reason, "the process has ended");
    EXPECT_FALSE(result.windows.empty()) << "its last map is kept";
  }
}

/// Connected to the only process that takes part.
UniqueFd connection_to_client(const std::string& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    entry.path().string().copy(&address.sun_path[0], sizeof address.sun_path - 1);
  }
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return socket;
}

TEST(HeatClients, DropOnlyTheSharedPartOfARange) {
  NEEDS_CLIENT_SAMPLER();
  const Sharing sharing;
  const SharedPages& pages = sharing.pages;
  const UniqueFd socket = connection_to_client(sharing.here.folder());
  struct {
    heat::Request head;
    heat::Range range;
  } request{{heat::Ask::hello, 0}, {pages.address(0) - page_bytes(), pages.address(6)}};
  struct {
    heat::Answer head;
    heat::SharedRange range;
  } answer{};
  ASSERT_GT(::send(socket.get(), &request, sizeof request.head, MSG_NOSIGNAL), 0);
  ASSERT_GT(::recv(socket.get(), &answer, sizeof answer, 0), 0);
  ASSERT_EQ(answer.head.error, 0);
  request.head = {heat::Ask::drop, 1};
  ASSERT_GT(::send(socket.get(), &request, sizeof request, MSG_NOSIGNAL), 0);
  ASSERT_GT(::recv(socket.get(), &answer, sizeof answer, 0), 0);
  EXPECT_EQ(answer.head.error, 0) << "what is around the shared pages is passed over";
  const auto scan = PageScan::of(::getpid());
  ASSERT_TRUE(scan) << scan.error().message;
  const AddressRange shared{pages.address(0), pages.address(4)};
  EXPECT_TRUE(scan->present(shared).value().empty());
}

TEST(HeatClients, AnswerNoMessageOfAnotherLengthThanItSays) {
  const Sharing sharing;
  const SharedPages& pages = sharing.pages;
  struct {
    heat::Request head;
    std::array<heat::Range, 2> ranges;
  } message{};
  message.ranges.fill({pages.address(0), pages.address(1)});
  for (const heat::Ask ask : {heat::Ask::hello, heat::Ask::drop}) {
    for (const std::uint32_t said : {0U, 1U, 3U}) {
      const UniqueFd socket = connection_to_client(sharing.here.folder());
      message.head = {ask, said};
      ASSERT_GT(::send(socket.get(), &message, sizeof message, MSG_NOSIGNAL), 0);
      std::array<char, 256> answer{};
      EXPECT_LE(::recv(socket.get(), answer.data(), answer.size(), 0), 0) << said;
    }
  }
}

/// A monitor that sends `message` to the only process that takes part.
void send_to_client(const std::string& folder, const std::string& message) {
  const UniqueFd socket = connection_to_client(folder);
  static_cast<void>(::send(socket.get(), message.data(), message.size(), MSG_NOSIGNAL));
  // It has been served when an answer comes, or the end of the connection.
  std::array<char, 256> answer{};
  static_cast<void>(::recv(socket.get(), answer.data(), answer.size(), 0));
}

TEST(HeatClients, SurviveAnyMessageAndLoseNoMemory) {
  const Sharing sharing;
  const SharedPages& pages = sharing.pages;
  std::mt19937 random(1);
  const auto number = [&](std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>(0, most)(random);
  };
  for (int i = 0; i < 300; ++i) {
    // A head that is right more often than not, and ranges that have to do with the pages.
    const heat::Request head{static_cast<heat::Ask>(number(3)),
                             static_cast<std::uint32_t>(number(10) == 0 ? ~0U : number(3))};
    std::string message(sizeof head, '\0');
    std::memcpy(message.data(), &head, sizeof head);
    for (std::uint64_t k = number(3); k > 0; --k) {
      const heat::Range range{pages.address(0) - number(9000), pages.address(0) + number(40'000)};
      message.append(reinterpret_cast<const char*>(&range), sizeof range);
    }
    if (number(3) == 0) message.resize(number(message.size()));
    if (message.empty()) message = "x";  // an empty message looks like the end
    send_to_client(sharing.here.folder(), message);
    ASSERT_TRUE(pages.are_whole()) << i;
  }
  if (knows_all()) {
    EXPECT_TRUE(sharing.monitor()) << "it still answers";
  }
}

}  // namespace

// The directory in which the processes of a run share their access heat.

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
