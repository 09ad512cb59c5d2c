// The limits of options: the last value that is taken, and the first one that is refused.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

/// A command line with "@" where the value stands. Nothing happens even if it is taken: the bus is
/// missing, or the like.
struct LimitedOption {
  Words line;
  Words taken, refused;
  int status_when_taken = 1;
};

std::vector<LimitedOption> limits_of_shmifctl(const std::string& none) {
  const std::string bus = none + "/bus";
  const std::string file = none + "/x-%S";
  return {
      {{"dump", bus, "-s", "@"}, {"0", "14", "262144"}, {"1", "13", "262145"}},
      {{"dump", bus, "-c", "@"}, {"1", "18446744073709551615"}, {"0", "18446744073709551616"}},
      {{"dump", bus, "-w", file, "-C", "@"},
       {"1", "1K", "1152921504606"},
       {"0", "0K", "1152921504607"}},
      {{"dump", bus, "-w", file, "-G", "@"}, {"1", "1000000000"}, {"0", "1000000001"}},
      {{"dump", bus, "-w", file, "-C", "1", "-W", "@"}, {"1"}, {"0"}},
      {{"ping", bus, "-c", "@"}, {"1", "100000000"}, {"0", "100000001"}},
      {{"top", bus, "--interval", "@"}, {"0.05", "50ms", "3600", "60m"}, {"49ms", "3600.1"}},
      {{"top", bus, "-n", "@"}, {"1"}, {"0"}},
      {{"create", bus, "--size", "@"}, {"64K", "1G"}, {"32K", "65537", "2G"}},
      {{"create", bus, "--mtu", "@"},
       {"68", "65521"},
       {"67", "65522", "4294967295", "4294967296", "4294968796"}},
      {{"create", bus, "--mode", "@"}, {"0600", "0777"}, {"0577", "1000", "8"}},
      {{"create", bus, "--flow", "pause", "--patience", "@"},
       {"0.001", "1"},
       {"0", "0.9ms", "1.001"}},
      {{"repair", bus, "--mtu", "@"}, {"1500"}, {"4294968796"}},
      {{"wait", bus, "--timeout", "0", "--tcp", "198.18.0.1:@"}, {"1", "65535"}, {"0", "65536"}},
      {{"wait", bus, "--timeout", "0", "--port", "p", "--pid", "@"},
       {"1", "2147483647"},
       {"0", "2147483648"}},
      {{"bridge", "bus:" + bus, "stream:" + file, "--max-peers", "@"}, {"1", "255"}, {"0", "256"}},
      {{"bridge", "bus:" + bus, "stream:" + file, "--port-name", "@"},
       {std::string(27, 'x')},
       {std::string(28, 'x')}},
      {{"uplink", bus, "--remote", "198.18.255.1", "--vxlan", "@"},
       {"0", "16777215"},
       {"-1", "16777216"}},
      {{"uplink", bus, "--remote", "198.18.255.1", "--vxlan", "1", "--udp-port", "@"},
       {"1", "65535"},
       {"0", "65536"}},
      {{"uplink", bus, "--evpn", "198.18.255.1", "--vxlan", "1", "--asn", "@"},
       {"1", "4294967294"},
       {"0", "4294967295"}},
      {{"exec", bus, "--hostname", "@", "--", "true"},
       {std::string(63, 'x'), std::string(32, 'x') + '.' + std::string(31, 'x')},
       {std::string(64, 'x'), std::string(32, 'x') + '.' + std::string(32, 'x')},
       125},
  };
}

std::vector<LimitedOption> limits_of_shmifperf(const std::string& none) {
  const std::string here = "--listen=198.18.255.1";  // nobody's address
  const auto servers = [](unsigned count) {
    std::string list = "s0";
    for (unsigned i = 1; i < count; ++i) list += ",s" + std::to_string(i);
    return list;
  };
  return {
      {{"server", here, "--max-jobs", "@"}, {"1", "1024"}, {"0", "1025"}},
      {{"server", here, "--max-runtime", "@"}, {"1ms"}, {"0"}},
      {{"why", "-o", none + "/x", "--interval", "@", "--", none}, {"10ms", "60s"}, {"9ms", "60.1"}},
      {{"heat", "--budget", "@", "--", none}, {"1", "100"}, {"0", "101"}, 127},
      {{"heat", "--windows", "@", "--", none}, {"1", "1000000"}, {"0", "1000001"}, 127},
      {{"membw", "--samples", "@", "--", none}, {"1", "1000000"}, {"0", "1000001"}, 127},
      {{"membw", "--socket", "@", "--", none}, {"0", "65535"}, {"65536"}, 127},
      {{"membw", "--window", "@", "--", none}, {"10ms", "1h"}, {"9ms", "61m"}, 127},
      {{"membw", "--settle", "@", "--", none}, {"0", "1h"}, {"61m"}, 127},
      {{"compare", none, none, "--confidence", "@"}, {"0.1%", "99.9%"}, {"0%", "100%"}},
      {{"run", "--rw=tx", "--runtime=1", "--parse-only", "--client", "@"},
       {servers(256)},
       {servers(257)},
       0},
  };
}

void expect_limits(const std::string& program, const std::vector<LimitedOption>& options) {
  for (const LimitedOption& option : options) {
    const auto run_with_value = [&](const std::string& value) {
      Words words{program};
      for (std::string word : option.line) {
        if (const auto at = word.find('@'); at != std::string::npos) word.replace(at, 1, value);
        words.push_back(word);
      }
      return run_program(words);
    };
    for (const std::string& value : option.taken) {
      const ToolResult taken = run_with_value(value);
      EXPECT_EQ(taken.status, option.status_when_taken) << option.line[0] << ' ' << value << '\n'
                                                        << taken.err;
    }
    for (const std::string& value : option.refused) {
      const ToolResult refused = run_with_value(value);
      EXPECT_EQ(refused.status, 2) << option.line[0] << ' ' << value << '\n' << refused.err;
      EXPECT_EQ(count_of_lines(refused.err), 1) << refused.err;
    }
  }
}

TEST(Limits, TheLastValueIsTakenAndTheNextOneRefused) {
  const TempDir directory;
  expect_limits(shmifctl_path(), limits_of_shmifctl(directory.file("none")));
  expect_limits(shmifperf_path(), limits_of_shmifperf(directory.file("none")));
}

}  // namespace
}  // namespace shmif::test
