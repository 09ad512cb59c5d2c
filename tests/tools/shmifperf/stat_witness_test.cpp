// shmifperf stat beside Debian's `perf stat`. Both watch one program: it is held before its first
// instruction until both are attached, so what they count must be equal.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <map>
#include <memory>
#include <sstream>

#include "instruments/watch/held_child.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

using Values = std::map<std::string, double>;

/// Debian's perf, attached to a process. It counts when begin() has returned.
class PerfStat {
 public:
  PerfStat(const TempDir& dir, const std::string& events, pid_t pid)
      : output_(dir.file("perf.csv")) {
    const std::string orders = dir.file("orders"), answers = dir.file("answers");
    ::mkfifo(orders.c_str(), 0600);
    ::mkfifo(answers.c_str(), 0600);
    orders_ = ::open(orders.c_str(), O_RDWR | O_CLOEXEC);
    answers_ = ::open(answers.c_str(), O_RDWR | O_CLOEXEC);
    tool_ = std::make_unique<Tool>(Words{"perf", "stat", "-x", ";", "-o", output_, "-e", events,
                                         "-D", "-1", "--control=fifo:" + orders + ',' + answers,
                                         "-p", std::to_string(pid)});
  }
  PerfStat(const PerfStat&) = delete;
  PerfStat& operator=(const PerfStat&) = delete;
  ~PerfStat() {
    ::close(orders_);
    ::close(answers_);
  }
  bool begin() const {
    const std::string order = "enable\n";
    if (::write(orders_, order.data(), order.size()) != static_cast<ssize_t>(order.size())) {
      return false;
    }
    pollfd answer{answers_, POLLIN, 0};
    return ::poll(&answer, 1, 60'000) == 1;
  }
  /// When the process has ended.
  Values values() {
    const ToolResult result = tool_->finish();
    EXPECT_EQ(result.status, 0) << result.err;
    Values values;
    for (const std::string& line : lines_of(text_of_file(output_))) {
      std::istringstream cells(line);
      std::string value, unit, name;
      std::getline(cells, value, ';');
      std::getline(cells, unit, ';');
      if (!std::getline(cells, name, ';')) continue;
      constexpr double kNsPerMs = 1e6;
      values[name] = std::atof(value.c_str()) * (unit == "msec" ? kNsPerMs : 1);
    }
    return values;
  }

 private:
  std::string output_;
  int orders_ = -1, answers_ = -1;
  std::unique_ptr<Tool> tool_;
};

bool has_perf() {
  try {
    return run_program({"perf", "--version"}).status == 0;
  } catch (const std::exception&) {
    return false;
  }
}

struct Both {
  Values perf, ours;
};
Both counted_by_both(const std::string& events, Words program) {
  const TempDir dir;
  program.insert(program.begin(), in_build("tests/instruments/known_load"));
  auto child = perf::HeldChild::start({.argv = program}).value();
  PerfStat perf(dir, events, child.pid());
  Tool ours(shmifperf_words({"stat", "--json", "-e", events, "-p", std::to_string(child.pid())}));
  EXPECT_TRUE(perf.begin());
  EXPECT_TRUE(eventually([&] { return sleeps_in_poll(ours.pid()); }));
  EXPECT_TRUE(child.release());
  EXPECT_EQ(perf::shell_status(child.wait()), 0);
  Both both{perf.values(), {}};
  const ToolResult result = ours.finish();
  const Json json = parsed(result);
  for (const Json& each : json["events"]) {
    EXPECT_FALSE(each["value"].is_null()) << each;
    if (!each["value"].is_null()) both.ours[each["name"]] = each["value"];
  }
  return both;
}

const Words kLoad{"faults",   "5000", "switches", "300",  "threads", "2",
                  "children", "2",    "syscalls", "1000", "burn",    "100"};

TEST(StatWitness, SoftwareEventsAreEqualToThoseOfPerf) {
  if (!has_perf()) GTEST_SKIP() << "no perf here";
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Both both = counted_by_both(
      "page-faults,minor-faults,major-faults,context-switches,cpu-migrations,task-clock,cpu-clock",
      kLoad);
  ASSERT_EQ(both.perf.size(), 7U);
  for (const auto& [name, value] : both.perf) {
    if (name.ends_with("-clock")) {
      EXPECT_NEAR(both.ours.at(name), value, 0.01 * value) << name;
    } else {
      EXPECT_EQ(both.ours.at(name), value) << name;
    }
  }
  // The main thread, two threads and two children; and of course the program itself.
  EXPECT_GE(both.ours.at("page-faults"), 5 * 5000);
  EXPECT_GE(both.ours.at("context-switches"), 5 * 300);
}

}  // namespace
}  // namespace shmif::test
