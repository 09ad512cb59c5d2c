// What people read when heat cannot be measured: what was tried, why it failed, what to do.

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "perf/heat/control_text.hpp"
#include "perf/heat/damon.hpp"
#include "perf/heat/monitor.hpp"
#include "perf/heat/page_scan.hpp"
#include "perf/heat/source.hpp"
#include "tests/perf/heat/fake_client.hpp"
#include "tests/perf/heat/fake_damon.hpp"
#include "tests/perf/heat/monitor_rig.hpp"
#include "tests/perf/heat/shared_pages.hpp"
#include "tests/perf/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

/// Why this process is not watched if it answers so.
Error refusal_of(const heat::Answer& head, std::size_t descriptors = 0) {
  const ClientsHere here;
  const FakeClient client(here.folder(), "/proc/self/pagemap", {}, descriptors, head);
  const auto source = watch_by_client(::getpid(), here.folder());
  if (!source) return source.error();
  ADD_FAILURE() << "it is watched";
  return {Errc::bad_argument, ""};
}

TEST(HeatMessages, OfAClientSayWhyItCannotBeWatched) {
  const std::string unknown = "the target answers in an unknown way (other version of shmif?)";
  EXPECT_EQ(refusal_of({heat::kVersion + 1, 0, 1, 0}, 1).message, unknown);
  EXPECT_EQ(refusal_of({heat::kVersion, 0, 1, 1}, 1).message, unknown) << "its range is missing";
  EXPECT_EQ(refusal_of({heat::kVersion, 0, 1, heat::kMaxShares + 1}, 1).message, unknown);
  EXPECT_EQ(refusal_of({heat::kVersion, 0, 1, 0}).message, "the target gave no pagemap of its own");
  const Error busy = refusal_of({heat::kVersion, EBUSY, 0, 0});
  EXPECT_EQ(busy.code, Errc::busy);
  EXPECT_EQ(busy.message, "another monitor watches the target (end it first)");
  const Error forbidden = refusal_of({heat::kVersion, EPERM, 0, 0});
  EXPECT_EQ(forbidden.code, std::errc::operation_not_permitted);
  EXPECT_EQ(forbidden.message,
            "the target cannot tell which pages it touches: Operation not permitted (a sandbox "
            "forbids it userfaultfd(2))");
  EXPECT_EQ(refusal_of({heat::kVersion, EINVAL, 0, 0}).message,
            "the target cannot tell which pages it touches: Invalid argument (Linux 5.19 with "
            "CONFIG_USERFAULTFD is needed)");
}

TEST(HeatMessages, OfAProcessThatTakesNoPartSayHowItWould) {
  const ClientsHere here;
  const std::string who = "process " + std::to_string(::getpid());
  const auto nowhere = watch_by_client(::getpid(), "");
  EXPECT_EQ(nowhere.error().message, who + " shares no access heat (SHMIF_HEAT is not set)");
  const auto absent = watch_by_client(::getpid(), here.folder());
  EXPECT_EQ(absent.error().code, Errc::not_supported);
  EXPECT_EQ(
      absent.error().message,
      who + " shares no access heat in " + here.folder() +
          " (only programs that use shmif's library do, if they are started with SHMIF_HEAT=" +
          here.folder() + ')');
  std::ofstream(here.folder() + "/1-2") << "no socket";
  EXPECT_EQ(heat_client_at(here.folder(), "1-2").error().message,
            here.folder() + "/1-2 is no socket");
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
  EXPECT_EQ(blind.means, "userfaultfd, /proc/PID/pagemap");
  EXPECT_EQ(blind.writes_reason, "the kernel has no asynchronous write protection (6.7)");
  EXPECT_EQ(provenance_of(kMaxPagesOfAll, 0).precision, "page");
  EXPECT_EQ(provenance_of(kMaxPagesOfAll + 1, 0).precision, "sampled page");
  const auto scan = PageScan::of(::getpid());
  ASSERT_TRUE(scan) << scan.error().message;
  if (scan->means() != PageScan::Means::scan) return;  // a kernel before 6.7
  const HeatProvenance full = provenance_of(1, 1);
  EXPECT_EQ(full.means, "userfaultfd, PAGEMAP_SCAN of /proc/PID/pagemap");
  EXPECT_EQ(full.writes_reason, "");
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
  EXPECT_EQ(folder_of(std::string("SHMIF_HEAT=\0", 12)), "");
  EXPECT_EQ(folder_of(""), "");
  EXPECT_EQ(heat_folder_of(42, tree.files()).error().code, std::errc::no_such_file_or_directory);
}

TEST(HeatMessages, OfTheKernelsMonitorSayWhoseItIsAndWhatWouldFreeIt) {
  const FakeDamonTree damon;
  DamonSetup setup;
  setup.targets = {{41, {}}};
  const auto why = [&] {
    const auto context = DamonContext::begin(setup, damon.files());
    return context ? std::string("it runs") : context.error().message;
  };
  damon.put("0/contexts/0/avail_operations", "paddr");
  const std::string no_processes =
      "this kernel's DAMON cannot watch processes: leave --backend damon out, and heat watches "
      "them "
      "by other means; or boot a kernel with CONFIG_DAMON_VADDR)";
  EXPECT_EQ(why(), "cannot use DAMON: " + damon.admin() +
                       "0/contexts/0/avail_operations has no vaddr (" + no_processes);
  damon.put("nr_kdamonds", "3");
  const std::string busy = "cannot use DAMON: " + damon.admin() +
                           "nr_kdamonds is 3, so somebody else uses it (end that program first; if "
                           "it was killed, remove "
                           "what it left, as root: for f in " +
                           damon.admin() + "*/state; do echo off >$f; done; echo 0 >" +
                           damon.admin() + "nr_kdamonds";
  EXPECT_EQ(why(), busy + "; even then, " + no_processes);
  damon.put("0/contexts/0/avail_operations", "vaddr\nfvaddr");
  EXPECT_EQ(why(), busy + ')');
  damon.put("nr_kdamonds", "0");
  setup.space = DamonSpace::paddr;
  EXPECT_EQ(why(),
            "cannot use DAMON: " + damon.admin() +
                "0/contexts/0/avail_operations has no paddr (this kernel's DAMON cannot watch "
                "physical memory: watch processes, with --ops vaddr, or boot a kernel with "
                "CONFIG_DAMON_PADDR)");
  std::filesystem::remove(damon.admin() + "nr_kdamonds");
  EXPECT_EQ(why(), "cannot use DAMON: " + damon.admin() +
                       "nr_kdamonds does not exist (a kernel with CONFIG_DAMON_SYSFS, and root, "
                       "are needed)");
}

TEST(HeatMessages, OfWrittenRangesQuoteThem) {
  const auto why = [](const char* text) { return read_address_ranges(text).error().message; };
  EXPECT_EQ(why("0x1000"), "\"0x1000\" is not a range (write BEGIN-END)");
  EXPECT_EQ(why("4096-x"),
            "\"4096-x\" is not a range (write BEGIN-END, as 0x1000-0x3000 or 4096-12288)");
  std::string many;
  for (int i = 0; i < 1024; ++i) {
    many += (i == 0 ? "" : ",") + std::to_string(i * page_bytes()) + '-' +
            std::to_string((i + 1) * page_bytes());
  }
  EXPECT_EQ(read_address_ranges(many).value().size(), 1024U);
  many += ',' + std::to_string(1024 * page_bytes()) + '-' + std::to_string(1025 * page_bytes());
  EXPECT_EQ(read_address_ranges(many).error().message, "there are more than 1024 ranges");
  const std::string vaddr = "vaddr", fvaddr = "fvaddr", ranges = "4096-8192", other = "o\x1b";
  EXPECT_EQ(read_damon_memory(&vaddr, &ranges).error().message,
            "vaddr has no ranges: it is all memory of the process");
  EXPECT_EQ(read_damon_memory(&fvaddr, nullptr).error().message,
            "fvaddr needs ranges of the process's addresses");
  EXPECT_EQ(read_damon_memory(&other, nullptr).error().message,
            "\"o?\" names no memory that DAMON watches (one of vaddr, fvaddr, paddr)");
  const Tree tree;
  tree.put("/proc/iomem", "00000000-00000000 : System RAM\n");
  EXPECT_EQ(physical_memory(tree.files()).error().message,
            "cannot read the addresses in " + tree.at("/proc/iomem") +
                ": Operation not permitted (run it as root)");
  tree.put("/proc/iomem", "0-fff : Reserved\n");
  EXPECT_EQ(physical_memory(tree.files()).error().message,
            tree.at("/proc/iomem") + " lists no System RAM");
}

TEST(HeatMessages, OfTheMonitorSayWhatItNeeds) {
  HeatMonitor monitor;
  EXPECT_EQ(monitor.start(request(HeatVerb::on)).error().message,
            "cannot begin: there is no target (give -p or --bus)");
  Sleeper sleeper;
  ASSERT_TRUE(monitor.set(watching(HeatVerb::set, {sleeper.pid()})));
  sleeper.end();
  EXPECT_EQ(monitor.start(request(HeatVerb::on)).error().message,
            "cannot begin: all targets have ended: No such process");
  EXPECT_EQ(read_heat_backend("o").error().message,
            "\"o\" is not a backend (one of auto, client, written, clear_refs, damon)");
  EXPECT_EQ(read_heat_request("off\ntargets 1\n\n").error().message,
            "the monitor of access heat cannot read \"settings for off\"");
  EXPECT_EQ(read_heat_answer("what 1\na").error().message,
            "the monitor of access heat answers in an unknown way (other version?)");
}

/// The limits themselves are allowed.
TEST(HeatMessages, OfSettingsThatCannotBeSayWhichLimitTheyPass) {
  EXPECT_EQ(read_attributes("1,1000001,1,3,3").error().message,
            "the aggregation interval has more than a million sampling intervals");
  EXPECT_EQ(read_attributes("5000,100000,1000000,10,1000001").error().message,
            "the maximum number of regions is above a million");
  EXPECT_EQ(read_attributes("5000,100000,0,10,1000").error().message, "an interval cannot be 0");
  EXPECT_EQ(read_heat_request("show\ncolumns 1000\n\n").value().columns, 1000U);
  EXPECT_EQ(read_heat_request("show\ncolumns 1001\n\n").error().message,
            "the monitor of access heat cannot read \"1001\"");
}

}  // namespace
}  // namespace shmif::perf::test
