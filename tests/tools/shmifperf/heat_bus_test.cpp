// The heat of a bus: by whom it can be watched, and what is said of those who cannot.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/common/on_terminal.hpp"
#include "tests/tools/shmifperf/heat_rig.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

TEST(HeatOfABus, ShowsWhoTakesPartAndWhyOthersDoNot) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const TempDir dir;
  const std::string bus = dir.file("bus0");
  ASSERT_EQ(run_program({shmifctl_path(), "create", bus}).status, 0);
  const auto answer = [&](const char* name) {
    return std::make_unique<Tool>(Words{shmifctl_path(), "ping", bus, "--respond", "--name", name});
  };
  std::unique_ptr<Tool> taking_part;
  {
    const ClientsHere here;
    taking_part = answer("rx");
    ASSERT_TRUE(taking_part->wait_for("answering"));

    // The directory is found by itself, in the process's environment.
    ::unsetenv("SHMIF_HEAT");
    const auto other = answer("plain");
    ASSERT_TRUE(other->wait_for("answering"));
    const ToolResult picture = run_program({shmifctl_path(), "heat", bus});
    ASSERT_EQ(picture.status, 0) << picture.err;
    EXPECT_NE(picture.out.find("rx: shmifctl, process " + std::to_string(taking_part->pid())),
              std::string::npos)
        << picture.out;
    EXPECT_NE(picture.out.find("plain, process " + std::to_string(other->pid()) +
                               "\n  not measured: it was started without SHMIF_HEAT"),
              std::string::npos)
        << picture.out;
    EXPECT_EQ(picture.out.find('\x1b'), std::string::npos) << "colours only on terminals";
    const ToolResult json = shmifperf({"heat", "--bus", bus, "--windows", "2", "--json"});
    ASSERT_EQ(json.status, 0) << json.err;
    const Json all = Json::parse(json.out, nullptr, false);
    ASSERT_EQ(all["targets"].size(), 2U) << json.out;
    for (const Json& each : all["targets"]) {
      const bool is_plain = each["target"]["pid"] == other->pid();
      EXPECT_EQ(each["windows"].size(), is_plain ? 0U : 2U);
      EXPECT_EQ(each["target"]["reason"].is_null(), !is_plain);
    }
  }
}

/// A bus that anybody may use, with a port of a process that takes part.
class BusOfOthers {
 public:
  /// `prefix`: what makes the process one of another user, or of another namespace.
  explicit BusOfOthers(const Words& prefix) {
    ::chmod(dir_.path().c_str(), 0777);
    std::filesystem::create_directory(clients());
    ::chmod(clients().c_str(), 0777);
    EXPECT_EQ(run_program(prefix + Words{shmifctl_path(), "create", bus()}).status, 0);
    ::setenv("SHMIF_HEAT", clients().c_str(), 1);
    port_ = std::make_unique<Tool>(
        prefix + Words{shmifctl_path(), "ping", bus(), "--respond", "--name", "rx"});
    ::unsetenv("SHMIF_HEAT");
    EXPECT_TRUE(port_->wait_for("answering"));
    ::chmod(bus().c_str(), 0666);
  }
  /// What `shmifperf heat --bus` says to somebody else.
  ToolResult heat(const Words& prefix, const Words& more = {}) const {
    return run_program(prefix +
                       shmifperf_words({"heat", "--bus", bus(), "--windows", "2", "--attrs",
                                        kHeatAttributes, "--json"}) +
                       more);
  }
  std::string bus() const { return dir_.file("bus0"); }
  std::string clients() const { return dir_.file("clients"); }
  pid_t pid() const { return port_->pid(); }

 private:
  const TempDir dir_;
  std::unique_ptr<Tool> port_;
};

/// A picture in which the port's process has used and written the first page of the bus.
void expect_heat_of_port(const ToolResult& result, const BusOfOthers& others) {
  ASSERT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  ASSERT_TRUE(json.is_object()) << result.out;
  EXPECT_EQ(json["target"]["pid"], others.pid());
  EXPECT_EQ(json["target"]["source"], "client");
  EXPECT_EQ(json["target"]["precision"], "page");
  EXPECT_EQ(json["target"]["ranges"][0]["name"], "rx@" + others.bus());
  EXPECT_EQ(json["windows"].size(), 2U);
}

TEST(HeatOfABus, IsForOrdinaryUsersToo) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  const BusOfOthers others(kAsNobody);
  expect_heat_of_port(others.heat(kAsNobody), others);
}

TEST(HeatOfABus, OfAnotherUserIsRefusedWithTheReason) {
  if (const std::string why = why_not_as_nobody(); !why.empty()) GTEST_SKIP() << why;
  const BusOfOthers others({});
  const ToolResult hidden = others.heat(kAsNobody);
  EXPECT_EQ(hidden.status, 1);
  EXPECT_TRUE(has(hidden.err, "process " + std::to_string(others.pid()) +
                                  " belongs to another user (run this as its user"))
      << hidden.err;
  ::chmod(others.clients().c_str(), 0700);
  const ToolResult closed = others.heat(kAsNobody, {"--clients", others.clients()});
  EXPECT_EQ(closed.status, 1);
  EXPECT_TRUE(has(closed.err, "it shares no access heat in " + others.clients())) << closed.err;
}

/// The longest line of a picture.
std::size_t width_of(const std::string& picture) {
  std::istringstream lines(picture);
  std::size_t width = 0;
  for (std::string line; std::getline(lines, line);)
    width = std::max(width, base::columns_of(line));
  return width;
}

TEST(HeatOfABus, IsAsWideAsWishedAndOfTheDirectoryThatIsNamed) {
  if (!knows_all()) GTEST_SKIP() << "no asynchronous write protection here";
  const BusOfOthers others({});
  const auto heat = [&](const Words& wishes, const Words& more = {}) {
    return run_program(Words{"env"} + wishes + Words{shmifctl_path(), "heat", others.bus()} + more);
  };
  const ToolResult named =
      heat({"SHMIF_HEAT=/none", "COLUMNS=50"}, {"--clients", others.clients()});
  EXPECT_EQ(named.status, 0) << named.err;
  EXPECT_EQ(named.out.find("not measured"), std::string::npos) << named.out;
  const std::size_t narrow = width_of(named.out);
  const ToolResult led = heat({"SHMIF_HEAT=/none", "COLUMNS=100"});
  EXPECT_NE(led.out.find("not measured"), std::string::npos) << led.out;
  const ToolResult wide = heat({"COLUMNS=100"});
  EXPECT_EQ(wide.out.find("not measured"), std::string::npos) << wide.out;
  EXPECT_LT(narrow, width_of(wide.out)) << named.out << wide.out;
}

TEST(HeatOfABus, OfWhichNobodyTakesPartFails) {
  const TempBus bus;
  const ToolResult empty = shmifperf({"heat", "--bus", bus.path(), "--json"});
  EXPECT_EQ(empty.status, 1);
  EXPECT_TRUE(has(empty.err, "no process is attached to " + bus.path())) << empty.err;
  EXPECT_TRUE(has(empty.out, R"("targets": [])")) << empty.out;
  Tool plain({shmifctl_path(), "ping", bus.path(), "--respond", "--name", "plain"});
  ASSERT_TRUE(plain.wait_for("answering"));
  const ToolResult result = shmifperf({"heat", "--bus", bus.path(), "--windows", "1"});
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.err, "was started without SHMIF_HEAT")) << result.err;
  EXPECT_EQ(shmifperf({"heat", "--bus", bus.file("none")}).status, 1);
}

TEST(HeatOfABus, TheMonitorWatchesNoProcessThatAWriterPutsIntoTheTable) {
  const TempBus bus;
  Tool plain({shmifctl_path(), "ping", bus.path(), "--respond", "--name", "plain"});
  ASSERT_TRUE(plain.wait_for("answering"));
  const StayingChild bystander([] { return true; });
  const RawBus raw(bus.path());
  raw.slot(0).pid = static_cast<std::uint32_t>(bystander.pid());
  const ToolResult on =
      shmifperf({"heat", "--on", "--bus", bus.path(), "--control", bus.file("control")});
  EXPECT_EQ(on.status, 1) << on.out;
  EXPECT_NE(on.err.find("does not use this bus"), std::string::npos) << on.err;
}

}  // namespace
}  // namespace shmif::test
