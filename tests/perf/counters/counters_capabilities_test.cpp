// What can be counted: on a scripted kernel, and on the tree of another machine.

#include "perf/counters/stat.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "tests/perf/counters/fake_counters.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

Capability named_in(const std::vector<Capability>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &Capability::name);
  EXPECT_NE(found, all.end()) << name;
  return found == all.end() ? Capability{} : *found;
}

void put_file(const shmif::test::TempDir& dir, const std::string& name, const std::string& text) {
  const std::filesystem::path path = dir.path() + name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

/// What the machine does not have is not asked for in user space.
TEST(CountersCapabilities, ThatTheMachineLacksAreNotThoseOfUserSpace) {
  const shmif::test::TempDir dir;
  for (const int error : {ENOENT, EACCES}) {
    FakeCounters kernel;
    kernel.before = [error](KernelCall call, int nth) {
      return call == KernelCall::open && nth == 2 ? -error : 0;  // behind the session's clock
    };
    const Capability software =
        named_in(counters_capabilities_by(KernelFiles(dir.path()), kernel), "counters.software");
    const bool lacks = error == ENOENT;
    EXPECT_EQ(software.state, lacks ? Support::not_supported : Support::supported);
    EXPECT_EQ(software.reason.find(lacks ? "perf_event_open: this machine has no such event"
                                         : "in user space only"),
              0U)
        << software.reason;
  }
}

TEST(CountersCapabilities, OfATreeAreWhatItsFilesTell) {
  const shmif::test::TempDir dir;
  const KernelFiles files(dir.path());
  for (const Capability& each : counters_capabilities(files)) {
    EXPECT_EQ(each.state, Support::not_supported) << each.name;
    EXPECT_NE(each.reason, "") << each.name;
  }
  put_file(dir, "/proc/sys/kernel/perf_event_paranoid", "2\n");
  put_file(dir, "/sys/kernel/tracing/events/sched/sched_switch/id", "314\n");
  put_file(dir, "/proc/kallsyms", "0000000000000000 T _stext\n");
  auto all = counters_capabilities(files);
  EXPECT_EQ(all.size(), 5U);
  EXPECT_EQ(named_in(all, "counters.software").state, Support::supported);
  EXPECT_NE(named_in(all, "counters.software").reason.find("perf_event_paranoid is 2"),
            std::string::npos);
  EXPECT_EQ(named_in(all, "counters.hardware").state, Support::not_supported);
  EXPECT_NE(named_in(all, "counters.hardware").reason.find("/devices/cpu is not there"),
            std::string::npos);
  EXPECT_EQ(named_in(all, "counters.tracepoints").state, Support::supported);
  const Capability symbols = named_in(all, "counters.kernel_symbols");
  EXPECT_EQ(symbols.state, Support::not_permitted);
  EXPECT_EQ(symbols.enable_with,
            "sysctl kernel.kptr_restrict=0 kernel.perf_event_paranoid=1, or root");
  put_file(dir, "/proc/sys/kernel/kptr_restrict", "0\n");
  EXPECT_EQ(named_in(counters_capabilities(files), "counters.kernel_symbols").enable_with,
            "sysctl kernel.perf_event_paranoid=1, or root");
  put_file(dir, "/sys/bus/event_source/devices/cpu/type", "4\n");
  put_file(dir, "/proc/sys/kernel/perf_event_paranoid", "-1\n");
  put_file(dir, "/proc/kallsyms", "ffffffff81000000 T _stext\n");
  for (const Capability& each : counters_capabilities(files)) {
    EXPECT_EQ(each.state, Support::supported) << each.name << each.reason;
    EXPECT_EQ(each.reason, "") << each.name;
  }
}

TEST(CountersCapabilities, AreThoseOfWhatIsInTheFilesAndNotOfTheirNames) {
  const shmif::test::TempDir dir;
  const KernelFiles files(dir.path());
  const auto state = [&](const char* name) {
    const Capability found = named_in(counters_capabilities(files), name);
    EXPECT_EQ(found.reason.empty(), found.state == Support::supported) << found.reason;
    return found.state;
  };
  put_file(dir, "/sys/bus/event_source/devices/cpu/type", "garbage\n");
  put_file(dir, "/proc/sys/kernel/perf_event_paranoid", "0\n");
  EXPECT_EQ(state("counters.software"), Support::supported);
  EXPECT_EQ(state("counters.hardware"), Support::not_supported) << "a type that is no number";
  for (const char* const other : {"", "garbage\n", "-\n", "2 3\n", "99999999999\n"}) {
    put_file(dir, "/proc/sys/kernel/perf_event_paranoid", other);
    EXPECT_EQ(state("counters.software"), Support::not_supported) << other;
    EXPECT_EQ(state("counters.sampling"), Support::not_supported) << other;
  }
  for (const char* const other : {"", "\n", "garbage\n", "0000000000000000\n"}) {
    put_file(dir, "/proc/kallsyms", other);
    EXPECT_EQ(state("counters.kernel_symbols"), Support::not_supported) << other;
  }
}

TEST(CountersCapabilities, OfAMachineAreWhatItsKernelAnswers) {
  const shmif::test::TempDir dir;
  const KernelFiles files(dir.path());
  FakeCounters kernel;
  EXPECT_EQ(named_in(counters_capabilities_by(files, kernel), "counters.hardware").state,
            Support::supported);
  EXPECT_EQ(kernel.open_files(), 0U) << "nothing stays open";
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open ? -ENOSYS : 0; };
  for (const char* name : {"counters.software", "counters.hardware", "counters.sampling"}) {
    const Capability each = named_in(counters_capabilities_by(files, kernel), name);
    EXPECT_EQ(each.state, Support::not_supported) << name;
    EXPECT_NE(each.reason, "") << name;
  }
  kernel.before = [](KernelCall call, int) { return call == KernelCall::open ? -EACCES : 0; };
  const Capability denied = named_in(counters_capabilities_by(files, kernel), "counters.software");
  EXPECT_EQ(denied.state, Support::not_permitted);
}

}  // namespace
}  // namespace shmif::perf::test
