// DAMON on a tree of files that stands for the kernel's: what is written, in which order, and what
// is left alone.

#include "instruments/heat/damon.hpp"

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <thread>

#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/session.hpp"
#include "tests/instruments/heat/fake_damon.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

namespace fs = std::filesystem;
using shmif::test::TempDir;

constexpr const char* kContext0 = "0/contexts/0/";
constexpr const char* kScheme0 = "0/contexts/0/schemes/0/";

/// It tells which files were written, in order.
class FakeDamon : public testing::Test, protected FakeDamonTree {
 protected:
  ~FakeDamon() override { ::close(notices_); }

  /// From now on, writes are noticed.
  void watch_writes() {
    for (const auto& entry : fs::recursive_directory_iterator(admin())) {
      if (entry.is_directory()) watch(entry.path());
    }
    watch(admin());
  }
  /// The files that were written since, in order.
  std::vector<std::string> writes() {
    std::vector<std::string> names;
    alignas(inotify_event) std::array<char, 65536> buffer{};
    for (ssize_t got = 0; (got = ::read(notices_, buffer.data(), buffer.size())) > 0;) {
      for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
        inotify_event event{};
        std::memcpy(&event, &buffer[at], sizeof event);
        names.push_back(folders_.at(event.wd) + &buffer[at + sizeof event]);
        at += sizeof event + event.len;
      }
    }
    return names;
  }

  static DamonSetup setup() {
    DamonSetup made;
    made.attributes = read_attributes("11,22,33,4,55").value();
    made.targets = {{41, {}}};
    return made;
  }

 private:
  void watch(const fs::path& folder) {
    const int number = ::inotify_add_watch(notices_, folder.c_str(), IN_MODIFY);
    std::string name = folder.string().substr(std::min(admin().size(), folder.string().size()));
    folders_[number] = name.empty() ? name : name + '/';
  }
  int notices_ = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  std::map<int, std::string> folders_;
};

TEST_F(FakeDamon, IsSetUpInTheKernelsOrderAndRemovedAtTheEnd) {
  watch_writes();
  {
    const auto context = DamonContext::begin(setup(), files());
    ASSERT_TRUE(context) << context.error().message;
    const std::string context_of = kContext0, pattern = context_of + "schemes/0/access_pattern/";
    const std::string attributes = context_of + "monitoring_attrs/";
    std::vector<std::string> order;
    for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
             {"nr_kdamonds", "1"},
             {"0/contexts/nr_contexts", "1"},
             {context_of + "operations", "vaddr"},
             {attributes + "intervals/sample_us", "11"},
             {attributes + "intervals/aggr_us", "22"},
             {attributes + "intervals/update_us", "33"},
             {attributes + "nr_regions/min", "4"},
             {attributes + "nr_regions/max", "55"},
             {context_of + "targets/nr_targets", "1"},
             {context_of + "targets/0/pid_target", "41"},
             {context_of + "schemes/nr_schemes", "1"},
             {pattern + "sz/min", "0"},
             {pattern + "sz/max", "18446744073709551615"},
             {pattern + "nr_accesses/min", "0"},
             {pattern + "nr_accesses/max", "4294967295"},
             {pattern + "age/min", "0"},
             {pattern + "age/max", "4294967295"},
             {std::string(kScheme0) + "action", "stat"},
             {"0/state", "on"}}) {
      order.push_back(name);
      EXPECT_EQ(line_of(name), value) << name;
    }
    EXPECT_EQ(writes(), order);
    EXPECT_TRUE(context->is_on().value());
  }
  EXPECT_EQ(writes(), (std::vector<std::string>{"0/state", "nr_kdamonds"}));
  EXPECT_EQ(line_of("0/state"), "off");
  EXPECT_EQ(line_of("nr_kdamonds"), "0");
}

TEST_F(FakeDamon, OfOthersIsNotTouchedAndIsRemovedByTheCommandsInTheMessage) {
  put("nr_kdamonds", "1");
  put("0/state", "on");
  watch_writes();
  const auto refused = DamonContext::begin(setup(), files());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::busy);
  EXPECT_EQ(writes(), std::vector<std::string>{}) << "nothing was written";
  const std::string& message = refused.error().message;
  const std::string before = "as root: ";
  const std::size_t at = message.find(before);
  ASSERT_NE(at, std::string::npos) << message;
  ASSERT_TRUE(message.ends_with(')')) << message;
  const std::string commands =
      message.substr(at + before.size(), message.size() - at - before.size() - 1);
  ASSERT_NE(commands.find(root()), std::string::npos) << "not the machine's: " << commands;
  ASSERT_EQ(commands.find(" /sys"), std::string::npos) << commands;
  ASSERT_EQ(commands.find(">/sys"), std::string::npos) << commands;
  ASSERT_EQ(std::system(commands.c_str()), 0) << commands;
  EXPECT_EQ(line_of("0/state"), "off") << "the kernel removes no context that is on";
  EXPECT_EQ(line_of("nr_kdamonds"), "0");
  const auto context = DamonContext::begin(setup(), files());
  EXPECT_TRUE(context) << context.error().message;
}

TEST_F(FakeDamon, TakesBackWhatWasSetUpWhenTheKernelRefusesAValueOfAnyThread) {
  put_thread(1);
  DamonSetup two = setup();
  two.targets = {{41, {}}, {42, {}}};
  for (const std::string name :
       {"1/contexts/0/targets/0/pid_target", "0/contexts/0/monitoring_attrs/intervals/aggr_us"}) {
    fs::remove(admin() + name);
    fs::create_symlink("/dev/full", admin() + name);  // takes no byte
    const auto context = DamonContext::begin(two, files());
    ASSERT_FALSE(context);
    EXPECT_EQ(context.error().code, std::errc::no_space_on_device);
    EXPECT_NE(context.error().message.find(name), std::string::npos) << context.error().message;
    EXPECT_EQ(line_of("nr_kdamonds"), "0");
    EXPECT_EQ(line_of("0/state"), "off");
  }
}

TEST_F(FakeDamon, WatchesGivenRangesOfProcessesAndOfPhysicalMemory) {
  DamonSetup given = setup();
  given.space = DamonSpace::fvaddr;
  given.targets[0].ranges = {{4096, 8192}, {16384, 20480}};
  {
    const auto context = DamonContext::begin(given, files());
    ASSERT_TRUE(context) << context.error().message;
    EXPECT_EQ(line_of("0/contexts/0/operations"), "fvaddr");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/pid_target"), "41");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/nr_regions"), "2");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/0/start"), "4096");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/0/end"), "8192");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/1/start"), "16384");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/regions/1/end"), "20480");
  }
  put("0/contexts/0/targets/0/pid_target", "untouched");
  given.space = DamonSpace::paddr;
  const auto physical = DamonContext::begin(given, files());
  ASSERT_TRUE(physical) << physical.error().message;
  EXPECT_EQ(line_of("0/contexts/0/operations"), "paddr");
  EXPECT_EQ(line_of("0/contexts/0/targets/0/pid_target"), "untouched");
}

TEST_F(FakeDamon, GivesEachProcessAThreadOfItsOwnAndItsOwnRegions) {
  put_thread(1);
  DamonSetup two = setup();
  two.targets = {{41, {}}, {42, {}}};
  {
    auto context = DamonContext::begin(two, files());
    ASSERT_TRUE(context) << context.error().message;
    EXPECT_EQ(line_of("nr_kdamonds"), "2");
    EXPECT_EQ(line_of("0/contexts/0/targets/0/pid_target"), "41");
    EXPECT_EQ(line_of("1/contexts/0/targets/0/pid_target"), "42");
    EXPECT_EQ(line_of("1/contexts/0/targets/nr_targets"), "1");
    put_region(0, 4096, 8192, 20, 1);
    put_region(0, 12288, 16384, 5, 3, 1);
    EXPECT_EQ(context->regions(0).value(), (std::vector<Region>{{4096, 8192, 20, {}, 1}}));
    EXPECT_EQ(context->regions(1).value(), (std::vector<Region>{{12288, 16384, 5, {}, 3}}));
    for (const std::string thread : {"0", "1"}) {
      EXPECT_EQ(line_of(thread + "/contexts/0/monitoring_attrs/intervals/aggr_us"),
                std::to_string(two.attributes.aggregation.count()));
    }
    put("0/state", "off");  // as the kernel does when process 41 has ended
    EXPECT_FALSE(context->is_on(0).value());
    EXPECT_TRUE(context->is_on(1).value());
  }
  EXPECT_EQ(line_of("0/state"), "off");
  EXPECT_EQ(line_of("1/state"), "off");
  EXPECT_EQ(line_of("nr_kdamonds"), "0");
}

TEST_F(FakeDamon, LeavesAloneWhatOthersMadeMeanwhile) {
  for (const bool is_same_number : {false, true}) {
    put("nr_kdamonds", "0");
    put("0/pid", "57");
    const auto record = std::make_shared<DamonRecord>();
    {
      const auto context = DamonContext::begin(setup(), files(), record);
      ASSERT_TRUE(context) << context.error().message;
      EXPECT_EQ(record->threads(), std::vector<pid_t>{57});
      // Somebody ends our thread, and begins one of his own in the same directory.
      put(is_same_number ? "0/pid" : "nr_kdamonds", is_same_number ? "58" : "2");
    }
    EXPECT_EQ(line_of("0/state"), "on");
    EXPECT_EQ(line_of("nr_kdamonds"), is_same_number ? "1" : "2");
    EXPECT_TRUE(record->threads().empty());
  }
}

TEST_F(FakeDamon, HasNoWindowBeforeTheKernelTellsRegions) {
  fs::create_directory_symlink("/proc", root() + "/proc");
  HeatOptions options;
  options.backend = HeatBackend::damon;
  options.attributes = read_attributes("1ms,1ms,1s,3,10").value();
  options.files = files();
  HeatSession session(options);
  session.add(Process::open(::getpid()).value());
  for (int i = 0; i < 10; ++i) std::this_thread::sleep_until(session.step());
  EXPECT_EQ(session.windows(), 0U) << "an empty window would say that nothing was accessed";
  put_region(0, 4096, 8192, 1, 1);
  ASSERT_TRUE(shmif::test::eventually([&] {
    session.step();
    return session.windows() >= 1;
  }));
  EXPECT_EQ(session.results()[0].windows[0].working_set_bytes, 4096U);
  put("0/state", "off");
  EXPECT_TRUE(shmif::test::eventually([&] {
    session.step();
    return session.results()[0].reason.starts_with("DAMON has ended");
  }));
}

TEST_F(FakeDamon, TellsOwnContextsFromThoseOfOthers) {
  const auto count = [&](const std::vector<pid_t>& own) {
    const auto counted = count_damon_contexts(own, files());
    return counted ? std::pair(counted->own, counted->foreign)
                   : std::pair(std::uint64_t{99}, std::uint64_t{99});
  };
  using Counts = std::pair<std::uint64_t, std::uint64_t>;
  EXPECT_EQ(count({}), Counts(0, 0));
  put("nr_kdamonds", "1");
  put("0/pid", "57");
  EXPECT_EQ(count({}), Counts(0, 1));
  EXPECT_EQ(count({57}), Counts(1, 0));
  EXPECT_EQ(count({58}), Counts(0, 1)) << "another thread in our directory";
  EXPECT_EQ(count({0}), Counts(1, 0)) << "of which the kernel has not told the number yet";
  put("nr_kdamonds", "2");
  put("1/pid", "60");
  EXPECT_EQ(count({57, 60}), Counts(2, 0));
  EXPECT_EQ(count({57, 61}), Counts(1, 1));
  EXPECT_EQ(count({0, 61}), Counts(1, 1));
  put("nr_kdamonds", "1");
  EXPECT_EQ(count({57, 60}), Counts(0, 1)) << "another number of directories";
  put("0/pid", "-1");
  EXPECT_EQ(count({57}), Counts(1, 0)) << "it has ended";
  put("nr_kdamonds", "x");
  EXPECT_EQ(count({}), Counts(99, 99)) << "not known is not 0";
}

/// What is said of a kernel whose DAMON cannot be used.
TEST_F(FakeDamon, ThatCannotBeUsedSaysWhyAndWhatWouldHelp) {
  DamonSetup given = setup();
  const auto expect = [&](std::error_code code, const std::string& thing,
                          const std::string& remedy) {
    const auto context = DamonContext::begin(given, files());
    ASSERT_FALSE(context) << thing;
    EXPECT_EQ(context.error().code, code) << thing;
    for (const std::string& word : {thing, remedy}) {
      EXPECT_NE(context.error().message.find(word), std::string::npos) << context.error().message;
    }
  };
  const std::error_code none = make_error_code(Errc::not_supported);
  put(std::string(kContext0) + "avail_operations", "paddr");
  expect(none, "has no vaddr", "CONFIG_DAMON_VADDR");
  EXPECT_EQ(line_of("nr_kdamonds"), "0") << "nothing is left there";
  put("nr_kdamonds", "3");
  expect(make_error_code(Errc::busy), "nr_kdamonds is 3", "CONFIG_DAMON_VADDR");
  put("nr_kdamonds", "0");
  put(std::string(kContext0) + "avail_operations", "vaddr\nfvaddr");
  given.space = DamonSpace::paddr;
  expect(none, "has no paddr", "CONFIG_DAMON_PADDR");
  given = setup();
  fs::remove_all(admin() + kScheme0 + "tried_regions");
  expect(none, "tried_regions does not exist", "Linux 6.2");
  EXPECT_EQ(line_of("nr_kdamonds"), "0");
  fs::remove_all(admin());
  expect(none, "nr_kdamonds does not exist", "CONFIG_DAMON_SYSFS");
}

TEST_F(FakeDamon, TellsRegionsInTheOrderOfTheirAddresses) {
  auto context = DamonContext::begin(setup(), files());
  ASSERT_TRUE(context) << context.error().message;
  put_region(10, 8192, 12288, 3, 7);
  put_region(2, 4096, 8192, 20, 1);
  const auto regions = context->regions();
  ASSERT_TRUE(regions) << regions.error().message;
  EXPECT_EQ(line_of("0/state"), "update_schemes_tried_regions");
  EXPECT_EQ(*regions, (std::vector<Region>{{4096, 8192, 20, {}, 1}, {8192, 12288, 3, {}, 7}}));
  put(std::string(kScheme0) + "tried_regions/2/age", "x");
  EXPECT_FALSE(context->regions()) << "a part that is not known is not left out";
}

/// The kernel says so while somebody reads the number of a thread.
TEST(BusyDamon, IsAskedAgainUntilItTakesACommandOrRefusesIt) {
  const auto tries = [](const std::vector<int>& errors) {
    std::size_t asked = 0;
    const auto done = while_damon_is_busy([&]() -> Result<void> {
      const int error = errors.at(std::min(asked++, errors.size() - 1));
      return error == 0 ? Result<void>() : Error::from_errno(error, "cannot write");
    });
    return std::to_string(asked) + ' ' + std::to_string(done ? 0 : done.error().code.value());
  };
  EXPECT_EQ(tries({0}), "1 0");
  EXPECT_EQ(tries({EBUSY, EBUSY, 0}), "3 0");
  EXPECT_EQ(tries({EINVAL}), "1 " + std::to_string(EINVAL));
  EXPECT_EQ(tries({EBUSY, ENODEV, 0}), "2 " + std::to_string(ENODEV));
  EXPECT_EQ(tries({EBUSY}), "100 " + std::to_string(EBUSY));
}

TEST(DamonRanges, AreReadWholeOrNotAtAll) {
  const auto read = read_address_ranges("0x1000-0x3000,12288-16384");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, (std::vector<AddressRange>{{4096, 12288}, {12288, 16384}}));
  EXPECT_EQ(address_ranges_text(*read), "0x1000-0x3000,0x3000-0x4000");
  std::string many;
  for (int i = 0; i < 1024; ++i) {
    many += (i == 0 ? "" : ",") + std::to_string(i * page_bytes()) + '-' +
            std::to_string((i + 1) * page_bytes());
  }
  EXPECT_EQ(read_address_ranges(many).value().size(), 1024U);
  many += ',' + std::to_string(1024 * page_bytes()) + '-' + std::to_string(1025 * page_bytes());
  const std::string whole = "is not in whole pages", range = "is not a range (write BEGIN-END";
  for (const auto& [text, word] : std::vector<std::pair<std::string, std::string>>{
           {"", range},
           {"-", range},
           {",", range},
           {"0x1000", range},
           {"0x1000-", range},
           {"-0x1000", range},
           {"0x1000-0x2000,", range},
           {"0x1000-0x2000 ", range},
           {"0x-0x1000", range},
           {"1000-2000-3000", range},
           {"0x1000-0x2000;0x3000-0x4000", range},
           {"0x1000-0x10000000000000000", range},
           {"0X1000-0x2000", range},
           {"+4096-8192", range},
           {"0x3000-0x1000", "ends where it begins, or before"},
           {"0x1000-0x1000", "ends where it begins, or before"},
           {"100-0x2000", whole},
           {"0x1000-0x2001", whole},
           {"0x1000-0x3000,0x2000-0x4000", "\"0x2000-0x4000\" begins before the end of the range"},
           {many, "1024 ranges"}}) {
    const auto refused = read_address_ranges(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, Errc::bad_argument);
    EXPECT_NE(refused.error().message.find(word), std::string::npos) << refused.error().message;
  }
  const std::string other = "o\x1b";
  EXPECT_NE(read_damon_memory(&other, nullptr).error().message.find("\"o?\""), std::string::npos);
}

TEST(DamonRanges, OfPhysicalMemoryAreThoseOfTheMachine) {
  const TempDir tree;
  const auto memory_of = [&](const char* text) {
    fs::create_directories(tree.path() + "/proc");
    std::ofstream(tree.path() + "/proc/iomem") << text;
    return physical_memory(KernelFiles(tree.path()));
  };
  const auto memory = memory_of(
      "00000000-00000fff : Reserved\n"
      "00001000-0009fbff : System RAM\n"
      "00100000-bfffffff : System RAM\n"
      "  01000000-01ffffff : Kernel code\n"
      "fee00000-fee00fff : Local APIC\n"
      "100000000-13fffffff : System RAM\n");
  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_EQ(*memory, (std::vector<AddressRange>{
                         {0x1000, 0x9f000}, {0x100000, 0xc0000000}, {0x100000000, 0x140000000}}));
  const auto torn = memory_of(
      "00000800-00002fff : System RAM\n"
      "00003001-00003ffe : System RAM\n"
      "00004fff-00006fff : System RAM\n");
  ASSERT_TRUE(torn) << torn.error().message;
  EXPECT_EQ(*torn, (std::vector<AddressRange>{{0x1000, 0x3000}, {0x5000, 0x7000}}))
      << "whole pages only";
  const auto hidden = memory_of("00000000-00000000 : System RAM\n00000000-00000000 : System RAM\n");
  EXPECT_EQ(hidden.error().code, std::errc::operation_not_permitted) << "as ordinary users see it";
  EXPECT_EQ(memory_of("0-fff : Reserved\n").error().code, Errc::not_supported);
}

}  // namespace
}  // namespace shmif::perf::test
