// shmifperf sample beside Debian's `perf record`, on a program whose time is known to be three
// quarters in one function and one quarter in another.

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

/// Rounds that take a second or more; and so there are a thousand samples, whatever the machine.
const Words kProgram{in_build("tests/instruments/known_functions"), "20000"};

struct Shares {
  double three_quarters = 0, one_quarter = 0;
  double samples = 0;
};

Shares shares_by_perf(const TempDir& dir) {
  const std::string data = dir.file("perf.data");
  Words record{"perf", "record", "-e", "cpu-clock:u", "-F", "999", "-o", data, "--"};
  record.insert(record.end(), kProgram.begin(), kProgram.end());
  const ToolResult recorded = run_program(record);
  EXPECT_EQ(recorded.status, 0) << recorded.err;
  const ToolResult report = run_program(
      {"perf", "report", "-i", data, "--stdio", "-n", "-F", "overhead,sample,symbol", "-t", ";"});
  Shares shares;
  for (const std::string& line : lines_of(report.out)) {
    std::istringstream cells(line);
    std::string share, samples, symbol;
    if (!std::getline(cells, share, ';') || !std::getline(cells, samples, ';')) continue;
    std::getline(cells, symbol);
    const double value = std::atof(share.c_str()) / 100;
    shares.samples += std::atof(samples.c_str());
    if (symbol.find("three_quarters") != std::string::npos) shares.three_quarters = value;
    if (symbol.find("one_quarter") != std::string::npos) shares.one_quarter = value;
  }
  return shares;
}

Shares shares_by_us() {
  Words words{"sample", "--json", "-e", "cpu-clock:u", "-F", "999", "--"};
  words.insert(words.end(), kProgram.begin(), kProgram.end());
  const ToolResult result = shmifperf(words);
  EXPECT_EQ(result.status, 0) << result.err;
  const Json json = parsed(result);
  Shares shares;
  shares.samples = json["samples"];
  for (const Json& each : json["profile"]) {
    const std::string symbol = each["symbol"];
    if (symbol.find("three_quarters") != std::string::npos) shares.three_quarters = each["share"];
    if (symbol.find("one_quarter") != std::string::npos) shares.one_quarter = each["share"];
  }
  return shares;
}

/// With n samples, a share of three quarters is off by more than 5 sqrt(3/16/n) less than once in a
/// million times.
double tolerance_of(double samples) {
  return 5 * std::sqrt(3.0 / 16 / samples);
}

TEST(SampleWitness, FunctionsHaveTheSharesThatTheyHaveForPerfAndInTruth) {
  const Shares ours = shares_by_us();
  ASSERT_GT(ours.samples, 200) << "too few to compare";
  EXPECT_NEAR(ours.three_quarters, 0.75, tolerance_of(ours.samples));
  EXPECT_NEAR(ours.one_quarter, 0.25, tolerance_of(ours.samples));
  try {
    if (run_program({"perf", "--version"}).status != 0) GTEST_SKIP() << "no perf here";
  } catch (const std::exception&) {
    GTEST_SKIP() << "no perf here";
  }
  const TempDir dir;
  const Shares its = shares_by_perf(dir);
  ASSERT_GT(its.samples, 200);
  const double tolerance = tolerance_of(ours.samples) + tolerance_of(its.samples);
  EXPECT_NEAR(ours.three_quarters, its.three_quarters, tolerance);
  EXPECT_NEAR(ours.one_quarter, its.one_quarter, tolerance);
}

// shmifperf stat beside Debian's `perf stat`. Both watch one program: it is held before its first
// instruction until both are attached, so what they count must be equal.

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
