// What people read when heat cannot be measured: the thing, and what to do. The words are free.

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "instruments/heat/control_text.hpp"
#include "instruments/heat/damon.hpp"
#include "instruments/heat/monitor.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/source.hpp"
#include "tests/instruments/heat/fake_client.hpp"
#include "tests/instruments/heat/fake_damon.hpp"
#include "tests/instruments/heat/monitor_rig.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

void expect_words(const Error& error, std::error_code code, const std::string& thing,
                  const std::string& remedy) {
  EXPECT_EQ(error.code, code) << error.message;
  for (const std::string& word : {thing, remedy}) {
    EXPECT_NE(error.message.find(word), std::string::npos) << word << " in: " << error.message;
  }
}

TEST(HeatMessages, OfAClientSayWhyItCannotBeWatched) {
  struct Case {
    heat::Answer head;
    std::size_t descriptors;
    std::error_code code;
    const char *thing, *remedy;
  };
  const std::error_code unknown = make_error_code(Errc::not_supported);
  for (const Case& c :
       {Case{{heat::kVersion + 1, 0, 1, 0}, 1, unknown, "unknown way", "other version"},
        {{heat::kVersion, 0, 1, 1}, 1, unknown, "unknown way", ""},  // its range is missing
        {{heat::kVersion, 0, 1, heat::kMaxShares + 1}, 1, unknown, "unknown way", ""},
        {{heat::kVersion, 0, 1, 0}, 0, unknown, "no pagemap", ""},
        {{heat::kVersion, EBUSY, 0, 0}, 0, make_error_code(Errc::busy), "another monitor", "end"},
        {{heat::kVersion, EPERM, 0, 0},
         0,
         std::make_error_code(std::errc::operation_not_permitted),
         "userfaultfd(2)",
         "sandbox"},
        {{heat::kVersion, EINVAL, 0, 0}, 0, unknown, "cannot tell", "CONFIG_USERFAULTFD"}}) {
    const ClientsHere here;
    const FakeClient client(here.folder(), "/proc/self/pagemap", {}, c.descriptors, c.head);
    const auto source = watch_by_client(::getpid(), here.folder());
    ASSERT_FALSE(source) << c.thing;
    expect_words(source.error(), c.head.error == EINVAL ? source.error().code : c.code, c.thing,
                 c.remedy);
  }
  const ClientsHere here;
  expect_words(watch_by_client(::getpid(), "").error(), unknown, "shares no access heat",
               "SHMIF_HEAT");
  expect_words(watch_by_client(::getpid(), here.folder()).error(), unknown,
               std::to_string(::getpid()), "SHMIF_HEAT=" + here.folder());
  std::ofstream(here.folder() + "/1-2") << "no socket";
  EXPECT_FALSE(heat_client_at(here.folder(), "1-2"));
  EXPECT_FALSE(watch_by_client(::getpid(), here.folder())) << "that file is passed over";
}

TEST(HeatMessages, SayByWhatAndHowWellAClientIsWatched) {
  const auto provenance_of = [](std::uint64_t pages, std::uint32_t tells_writes) {
    const ClientsHere here;
    const FakeClient client(here.folder(), "/proc/self/pagemap",
                            {1U << 30U, (1U << 30U) + pages * page_bytes()}, 1,
                            {heat::kVersion, 0, tells_writes, 0});
    const auto source = watch_by_client(::getpid(), here.folder());
    return source ? (*source)->provenance() : HeatProvenance{source.error().message, "", "", ""};
  };
  const HeatProvenance blind = provenance_of(1, 0);
  EXPECT_EQ(blind.source, "client");
  EXPECT_EQ(blind.precision, "page");
  EXPECT_NE(blind.writes_reason, "");
  EXPECT_EQ(provenance_of(kMaxPagesOfAll, 0).precision, "page");
  EXPECT_EQ(provenance_of(kMaxPagesOfAll + 1, 0).precision, "sampled page");
  if (PageScan::of(::getpid()).value().means() != PageScan::Means::scan) return;  // before 6.7
  EXPECT_EQ(provenance_of(1, 1).writes_reason, "");
}

TEST(HeatFolder, IsThatOfTheEnvironmentInWhichAProcessBegan) {
  const Tree tree;
  const auto folder_of = [&](const std::string& environment) {
    tree.put("/proc/41/environ", environment);
    return heat_folder_of(41, tree.files()).value();
  };
  EXPECT_EQ(folder_of(std::string("A=1\0SHMIF_HEAT=/run/heat\0B=2\0", 30)), "/run/heat");
  EXPECT_EQ(folder_of("SHMIF_HEAT=/first"), "/first") << "without an end";
  EXPECT_EQ(folder_of(std::string("XSHMIF_HEAT=/a\0SHMIF_HEATER=/b\0SHMIF_HEAT\0", 42)), "");
  EXPECT_EQ(folder_of(""), "");
  EXPECT_EQ(heat_folder_of(42, tree.files()).error().code, std::errc::no_such_file_or_directory);
}

TEST(HeatMessages, OfTheKernelsMonitorSayWhoseItIsAndWhatWouldFreeIt) {
  const FakeDamonTree damon;
  DamonSetup setup;
  setup.targets = {{41, {}}};
  const auto expect = [&](const std::string& thing, const std::string& remedy) {
    const auto context = DamonContext::begin(setup, damon.files());
    ASSERT_FALSE(context);
    expect_words(context.error(), context.error().code, thing, remedy);
  };
  damon.put("0/contexts/0/avail_operations", "paddr");
  expect("has no vaddr", "CONFIG_DAMON_VADDR");
  damon.put("nr_kdamonds", "3");
  expect("nr_kdamonds is 3", "CONFIG_DAMON_VADDR");
  damon.put("nr_kdamonds", "0");
  damon.put("0/contexts/0/avail_operations", "vaddr\nfvaddr");
  setup.space = DamonSpace::paddr;
  expect("has no paddr", "CONFIG_DAMON_PADDR");
  std::filesystem::remove(damon.admin() + "nr_kdamonds");
  expect("nr_kdamonds does not exist", "CONFIG_DAMON_SYSFS");
}

TEST(HeatMessages, OfWhatUsersWriteQuoteIt) {
  const std::error_code bad = make_error_code(Errc::bad_argument);
  expect_words(read_address_ranges("0x1000").error(), bad, "\"0x1000\"", "BEGIN-END");
  std::string many;
  for (int i = 0; i < 1024; ++i) {
    many += (i == 0 ? "" : ",") + std::to_string(i * page_bytes()) + '-' +
            std::to_string((i + 1) * page_bytes());
  }
  EXPECT_EQ(read_address_ranges(many).value().size(), 1024U);
  many += ',' + std::to_string(1024 * page_bytes()) + '-' + std::to_string(1025 * page_bytes());
  expect_words(read_address_ranges(many).error(), bad, "1024 ranges", "");
  const std::string other = "o\x1b";
  expect_words(read_damon_memory(&other, nullptr).error(), bad, "\"o?\"", "fvaddr");
  expect_words(read_heat_backend("o").error(), bad, "\"o\"", "clear_refs");
  expect_words(read_attributes("1,1000001,1,3,3").error(), bad, "aggregation", "million");
  expect_words(read_attributes("5000,100000,1000000,10").error(), bad, "4 numbers", "five");
  HeatMonitor monitor;
  expect_words(monitor.start(request(HeatVerb::on)).error(), bad, "no target", "-p");
}

}  // namespace
}  // namespace shmif::perf::test
