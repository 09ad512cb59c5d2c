// A bus whose lock word no program of ours writes: commands do not hang, and find it and mend it.

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bus/layout.hpp"
#include "shmif/port.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

class LockWord : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  LockWord() {
    Port port = rig.port("alice");
    send(port, {arp_request()});
    overwrite();
  }
  void overwrite() { bus::store_seq_cst(raw.header().lock, GetParam()); }
  /// Nobody can have it.
  std::string slot() const { return std::to_string(bus::lock_word::holder(GetParam())); }

  ToolResult run(const std::string& command, const Words& more = {}) {
    Words words = Words{command, rig.path()} + more;
    ToolResult result = run_tool(words);
    EXPECT_FALSE(result.timed_out) << command;
    return result;
  }

  const BusRig rig;
  const RawBus raw{rig.path()};
};

TEST_P(LockWord, ThatNamesNoSlotIsFoundByAuditAndMendedByRepair) {
  const nlohmann::json report = nlohmann::json::parse(run("audit", {"--json"}).out);
  EXPECT_EQ(report.at("findings"),
            nlohmann::json::array(
                {{{"invariant", "L1"},
                  {"what", "the lock is held by slot " + slot() + ", which no port can have"}}}));
  EXPECT_EQ(report.at("frames"), 1);
  EXPECT_EQ(run("audit").status, 1);
  const ToolResult repaired = run("repair", {"--json"});
  EXPECT_EQ(repaired.status, 0) << repaired.err;
  EXPECT_EQ(nlohmann::json::parse(repaired.out).at("lock_released"), true) << repaired.out;
  EXPECT_TRUE(bus::lock_word::is_free(bus::load_seq_cst(raw.header().lock)));
  EXPECT_EQ(run("audit").status, 0);
  const nlohmann::json shown = nlohmann::json::parse(run("stat", {"--json"}).out);
  EXPECT_FALSE(shown.contains("why_null") && shown["why_null"].contains("lock_acquisitions"));
  EXPECT_TRUE(shown.at("lock_acquisitions").is_number());
}

TEST_P(LockWord, ThatNamesNoSlotDelaysSendersButDoesNotStopThem) {
  Port port = rig.port("bob");
  overwrite();
  send(port, {arp_request(), arp_request()});
  EXPECT_TRUE(bus::lock_word::is_free(bus::load_seq_cst(raw.header().lock)));
  EXPECT_EQ(run("audit").status, 0);
  EXPECT_EQ(nlohmann::json::parse(run("stat", {"--json"}).out).at("frames"), 3);
}

constexpr std::uint64_t kFirstImpossible = bus::kSlots + 1;
INSTANTIATE_TEST_SUITE_P(Slots, LockWord, testing::Values(kFirstImpossible, 1023, UINT64_MAX),
                         [](const auto& each) {
                           return std::to_string(bus::lock_word::holder(each.param)) + "_" +
                                  std::to_string(each.index);
                         });

}  // namespace
}  // namespace shmif::test
