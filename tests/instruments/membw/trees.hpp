#pragma once
// Trees of kernel files as machines with memory controllers and with resctrl have them, made when a
// test runs.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "instruments/membw/source.hpp"
#include "instruments/watch/kernel_files.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {

inline constexpr std::uint64_t kSecond = 1'000'000'000;

/// A directory of kernel files.
class Tree {
 public:
  const std::string& path() const { return dir_.path(); }
  KernelFiles files() const { return KernelFiles(dir_.path()); }
  std::string at(const std::string& name) const { return dir_.path() + name; }

  /// Makes a file, and the folders above it.
  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(at(name)).parent_path());
    std::ofstream(at(name)) << text;
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(at(name)); }
  std::string text(const std::string& name) const {
    std::ostringstream all;
    all << std::ifstream(at(name)).rdbuf();
    return all.str();
  }

 private:
  shmif::test::TempDir dir_;
};

/// A window of so many seconds, in which `during` happens.
template <class During>
MemoryReading window_of(MemorySource& source, std::uint64_t& now, const During& during,
                        unsigned seconds = 1) {
  EXPECT_TRUE(source.enable());
  now += seconds * kSecond;
  during();
  EXPECT_TRUE(source.disable());
  return source.read();
}

constexpr const char* kPmuFolder = "/sys/bus/event_source/devices/";

/// Two sockets: CPU 0 is on socket 0, CPU 28 on socket 1.
inline void put_sockets(const Tree& tree) {
  tree.put("/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n");
  tree.put("/sys/devices/system/cpu/cpu28/topology/physical_package_id", "1\n");
}

/// A channel of a Xeon of 2017 to 2023, as Linux 6.1 describes it.
inline void put_imc(const Tree& tree, unsigned number, const std::string& cpus = "0,28\n") {
  const std::string pmu = kPmuFolder + ("uncore_imc_" + std::to_string(number)) + '/';
  tree.put(pmu + "type", std::to_string(14 + number) + '\n');
  tree.put(pmu + "cpumask", cpus);
  for (const auto& [term, bits] : {std::pair("event", "config:0-7\n"),
                                   {"umask", "config:8-15\n"},
                                   {"edge", "config:18\n"},
                                   {"inv", "config:23\n"},
                                   {"thresh", "config:24-31\n"}}) {
    tree.put(pmu + "format/" + term, bits);
  }
  tree.put(pmu + "events/clockticks", "event=0x00,umask=0x00");
  for (const std::string which : {"read", "write"}) {
    const std::string event = pmu + "events/cas_count_" + which;
    tree.put(event, which == "read" ? "event=0x04,umask=0x03\n" : "event=0x04,umask=0x0c\n");
    tree.put(event + ".scale", "6.103515625e-5\n");
    tree.put(event + ".unit", "MiB\n");
  }
}

/// A free-running PMU beside them.
inline void put_free_running(const Tree& tree, unsigned number) {
  const std::string pmu = kPmuFolder + ("uncore_imc_free_running_" + std::to_string(number)) + '/';
  tree.put(pmu + "type", std::to_string(90 + number) + '\n');
  tree.put(pmu + "cpumask", "0\n");
  tree.put(pmu + "format/event", "config:0-7\n");
  tree.put(pmu + "format/umask", "config:8-15\n");
  tree.put(pmu + "events/data_read", "event=0xff,umask=0x20\n");
  tree.put(pmu + "events/data_read.scale", "6.103515625e-5\n");
  tree.put(pmu + "events/data_read.unit", "MiB\n");
}

/// A channel of an EPYC of 2022 or later, as Linux 6.8 describes it: no events.
inline void put_umc(const Tree& tree, unsigned number, const std::string& cpu = "0\n") {
  const std::string pmu = kPmuFolder + ("amd_umc_" + std::to_string(number)) + '/';
  tree.put(pmu + "type", std::to_string(30 + number) + '\n');
  tree.put(pmu + "cpumask", cpu);
  tree.put(pmu + "format/event", "config:0-7\n");
  tree.put(pmu + "format/rdwrmask", "config:8-9\n");
}

/// The data fabric of an EPYC of this family; `second`: version 2 of its counters.
inline void put_fabric(const Tree& tree, unsigned family, bool second,
                       const std::string& cpus = "0,64\n") {
  const std::string pmu = kPmuFolder + std::string("amd_df/");
  tree.put(pmu + "type", "13\n");
  tree.put(pmu + "cpumask", cpus);
  tree.put(pmu + "format/event", second ? "config:0-7,32-37\n" : "config:0-7,32-35,59-60\n");
  tree.put(pmu + "format/umask", second ? "config:8-15,24-27\n" : "config:8-15\n");
  tree.put("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: " +
                                std::to_string(family) + "\nmodel\t\t: 1\n");
}

// Another user, for tests that root runs.

/// Runs it in a child, as a user who may look at the tree, but does not own it. Result: whether it
/// had no failure.
template <class Body>
bool as_nobody(const Tree& tree, const Body& body) {
  EXPECT_EQ(::chmod(tree.path().c_str(), 0755), 0);
  shmif::test::Child child([&] {
    constexpr uid_t kNobody = 65534;
    if (::setresuid(kNobody, kNobody, kNobody) != 0) return 1;
    body();
    return ::testing::Test::HasFailure() ? 2 : 0;
  });
  return child.wait() == 0;
}

}  // namespace shmif::perf::test
