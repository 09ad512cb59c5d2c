// Names that other programs chose: a terminal obeys U+009B, and U+202E turns the text around.

#include <vector>

#include "bus/layout.hpp"
#include "instruments/counters/sample_profile.hpp"
#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/control_text.hpp"
#include "instruments/heat/heat_map.hpp"
#include "instruments/heat/session.hpp"
#include "instruments/why/analysis.hpp"
#include "instruments/why/evidence.hpp"
#include "perf/report/counters_report.hpp"
#include "perf/report/why_report.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/instruments/why/why_series.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kName = "a\xc2\x9b\xe2\x80\xae~";

void expect_shown(const std::string& text, const std::string& name) {
  EXPECT_EQ(text.find("\xc2\x9b"), std::string::npos) << text;
  EXPECT_EQ(text.find("\xe2\x80\xae"), std::string::npos) << text;
  EXPECT_NE(text.find(name), std::string::npos) << text;
}

TEST(ShownNames, OfJobsAndThreadsSteerNoTerminal) {
  WhyResult result;
  TaskSummary& task = result.tasks.emplace_back();
  task.job = task.name = kName;
  task.seconds = task.running = 1;
  expect_shown(why_text(result), "a??~");
  expect_shown(why_json(result), "a\\u009b\\u202e~");
}

/// With a word behind each, so that none stands for another.
TEST(ShownNames, OfBusesAndSourcesSteerNoTerminal) {
  WhyResult result;
  result.buses.push_back({.bus = std::string(kName) + "bus", .trouble = {}});
  result.missing.push_back({"source", std::string(kName) + "reason"});
  expect_shown(why_text(result), "bus a??~bus: ");
  expect_shown(why_text(result), "not seen: a??~reason");
}

TEST(ShownNames, OfEventsAndTheirUnitsSteerNoTerminal) {
  StatResult result;
  result.elapsed_s = 1;
  StatEvent counted{std::string(kName) + "counted", 0};
  counted.value = 7;
  counted.unit = std::string(kName) + "unit";
  counted.note = std::string(kName) + "note";
  StatEvent refused{std::string(kName) + "refused", 0};
  refused.state = "failed";
  refused.reason = std::string(kName) + "reason";
  result.events = {counted, refused};
  const std::string text = stat_text(result);
  for (const char* const shown : {"a??~counted ", " a??~unit ", "  a??~counted: a??~note\n",
                                  "a??~refused ", "  a??~refused: failed: a??~reason\n"}) {
    expect_shown(text, shown);
  }
  SampleReport sampled;
  sampled.event = kName;
  expect_shown(sample_text(sampled, 0), "0 samples of a??~");
}

TEST(ShownNames, OfFunctionsAndFilesSteerNoTerminal) {
  SampleReport report;
  report.event = "cycles";
  report.profile.samples = 1;
  report.profile.rows = {{"f", kName, 1, 1.0}, {kName, "g", 1, 1.0}};
  report.profile.notes = {kName};
  expect_shown(sample_text(report, 0), "a??~");
  expect_shown(sample_json(report), "a\\u009b\\u202e~");
}

TEST(ShownNames, OfWatchedProcessesSteerNoTerminal) {
  HeatResult result;
  result.process = {41, 1};
  result.name = kName;
  expect_shown(heat_text({result}, {}, 80), "a??~");
  expect_shown(heat_json({result}, {}, false), "a\\u009b\\u202e~");
}

TEST(ShownNames, OfWhatIsOnABusSteerNoTerminal) {
  BusInfo bus;
  bus.path = kName;
  bus.ring_bytes = std::uint64_t{1} << 20U;
  bus.inode = 77;
  PortInfo& port = bus.ports.emplace_back();
  port.name = std::string(kName) + "port";
  HeatResult result;
  result.process = {41, 1};
  result.name = std::string(kName) + "process";
  result.provenance.precision = "page";
  const std::uint64_t end = bus::kRingOffset + 2 * bus.ring_bytes;
  result.ranges = {{{0, end}, port.name + "@bus", 77}};
  result.windows = {{0, 1, 10, 0, {{0, end, 10, {}, 0}}}};
  result.reason = std::string(kName) + "reason";
  HeatResult absent = result;
  absent.windows.clear();
  const std::string text = bus_heat_text({result, absent}, bus, 200, false);
  for (const char* const shown :
       {"bus a??~\n", "a??~port used ", "a??~port: a??~process, process 41 (a??~reason)\n",
        "\na??~process, process 41\n  not measured: a??~reason\n"}) {
    expect_shown(text, shown);
  }
}

TEST(ShownNames, OfWordsThatHeatDoesNotKnowSteerNoTerminal) {
  const std::string name = kName;
  expect_shown(read_heat_backend(name).error().message, "\"a??~\" is not a backend");
  expect_shown(read_heat_request(name + "\n\n").error().message, "cannot read \"a??~\"");
  expect_shown(read_heat_request("set\n" + name + "\n\n").error().message, "\"a??~\"");
  expect_shown(read_damon_space(name).error().message, "\"a??~\" names no memory");
  expect_shown(read_address_ranges(name).error().message, "\"a??~\" is not a range");
}

/// The job, its thread and its control groups.
TEST(ShownNames, OfWhatIsHeldBackSteerNoTerminal) {
  WhySeries series = quiet_series(4, {kName});
  series.tasks.push_back(series.tasks[0]);
  series.groups.push_back({.name = std::string(kName) + "cpu",
                           .memory_name = std::string(kName) + "memory",
                           .steps = std::vector<GroupStep>(4, {.at_limit = 1})});
  for (TaskStep& step : series.tasks[0].steps) step.group = 0;
  const PortSeries port{.name = kName, .job = 0, .steps = std::vector<PortStep>(4)};
  const AffinityChange change{.interval = 1, .from = "0", .to = "1"};
  const auto told = [&](CauseKind kind, const AffinityChange* changed = nullptr) {
    const Evidence evidence{
        .kind = kind, .task = &series.tasks[0], .port = &port, .change = changed};
    return sentence_of(series, evidence, {.begin = 1, .end = 3, .share = 0.5});
  };
  const std::string who = "a??~ (process 100, a??~)";
  for (const CauseKind kind :
       {CauseKind::waited_for_cpu, CauseKind::stopped, CauseKind::steal, CauseKind::softirq,
        CauseKind::bus_lock, CauseKind::bus_pause, CauseKind::migrated}) {
    expect_shown(told(kind), who);
  }
  expect_shown(told(CauseKind::migrated, &change), who);
  expect_shown(told(CauseKind::throttled), "its control group a??~cpu for");
  expect_shown(told(CauseKind::memory), "its control group a??~memory met");
}

/// The job, interfaces and their queues, and the options of faults.
TEST(ShownNames, OfWhereFramesWereLostSteerNoTerminal) {
  constexpr std::uint64_t kNet = 5;
  WhySeries series = quiet_series(4, {kName});
  series.jobs[0].nets = {kNet};
  NetStep lost;
  lost.counts.fill(NetCount{.lost = 1, .passed = 1, .v4 = true, .v6 = true});
  series.nets.push_back({.net = kNet, .steps = {lost}});
  series.queues.push_back({.interface = std::string(kName) + "interface",
                           .kind = std::string(kName) + "kind",
                           .net = kNet,
                           .steps = {{.packets = 1, .drops = 1}}});
  series.devices.push_back({.name = kName, .net = kNet, .steps = {{.rx_drops = 1, .tx_drops = 1}}});
  const std::string queue = "a??~: the queue a??~kind of the interface a??~interface dropped";
  std::size_t devices = 0;
  for (const Counted& each : counted_of(series, 0)) {
    if (each.kind == CauseKind::softirq) continue;  // of the machine
    const bool device = each.kind == CauseKind::device_queue;
    devices += device ? 1 : 0;
    expect_shown(each.words, device                          ? "the interface a??~ dropped"
                             : each.kind == CauseKind::qdisc ? queue
                                                             : "a??~: ");
  }
  EXPECT_EQ(devices, 2U) << "one in each direction";
  JobTraffic traffic = traffic_of(series, kName, 0, 4, 10);
  traffic.faults = {{.where = std::string(kName) + "where",
                     .options = std::string(kName) + "options",
                     .frames = 40,
                     .lost = 10,
                     .queue_full = 10}};
  const auto causes = find_causes(series, std::vector{traffic});
  ASSERT_GE(causes.size(), 2U);
  expect_shown(causes[0].sentence,
               "a??~: the requested faults of a??~where (a??~options) took 10 frames");
  expect_shown(causes[1].sentence,
               "a??~: the queue of the requested faults of a??~where (a??~options) was full");
}

TEST(ShownNames, OfSampledCodeSteerNoTerminal) {
  const Tree tree;
  tree.put("/proc/kallsyms", "ffffffff81000000 T " + std::string(kName) + '\n');
  SampleProfile profile(false, tree.files());
  profile.mapped({.process = 41, .begin = 4096, .bytes = 4096, .file = kName});
  Sample sample;
  sample.process = 41;
  sample.ip = 5000;
  profile.sample(sample);
  sample.ip = 0xffffffff81000010;
  sample.in_kernel = true;
  profile.sample(sample);
  profile.finish();
  expect_shown(profile.text(), "1 [no symbol] in a??~\n");
  expect_shown(profile.text(), "1 a??~ in [kernel]\n");
}

}  // namespace
}  // namespace shmif::perf::test
