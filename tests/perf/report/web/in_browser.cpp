#include "tests/perf/report/web/in_browser.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/perf/stats/recorded.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using Json = nlohmann::json;

/// A browser that opens one page after the other.
class Browser {
 public:
  Browser() : dir_("/tmp") {
    const std::string fifo = dir_.file("asked");
    if (mkfifo(fifo.c_str(), 0600) != 0) throw std::runtime_error("cannot make " + fifo);
    // Reading and writing, because opening for writing alone would wait for a reader.
    ask_ = open(fifo.c_str(), O_RDWR | O_CLOEXEC);
    tool_ = std::make_unique<Tool>(std::vector<std::string>{
        SHMIF_PYTHON, shmif::test::in_source("tests/perf/report/web/look_at_page.py"), "--asked-by",
        fifo});
    usable_ = tool_->wait_for("ready\n", kTime);
    if (!usable_) end();
  }
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;
  ~Browser() { end(); }

  bool usable() const { return usable_; }
  /// How look_at_page.py ended, and its whole output. Empty while it runs.
  const ToolResult& ended() const { return ended_; }

  const Json& look_at(const std::string& name, const std::function<std::string()>& make,
                      Look look) {
    const auto known = seen_.find(name);
    if (known != seen_.end()) return known->second;
    const std::string folder = dir_.file(name);
    std::filesystem::create_directory(folder);
    std::ofstream(folder + "/page.html") << make();
    const std::string line = (look == Look::thorough ? "thorough " : "light ") + folder + "\n";
    Json& facts = seen_[name];
    const bool asked = write(ask_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
    if (!asked || !tool_->wait_for("looked at " + folder + "\n", kTime)) {
      usable_ = false;
      end();
      return facts;
    }
    facts = Json::parse(std::ifstream(folder + "/facts.json"));
    return facts;
  }

 private:
  static constexpr std::chrono::seconds kTime{100};

  /// Closes the FIFO, so that look_at_page.py closes its browser and ends.
  void end() {
    if (ask_ < 0) return;
    close(ask_);
    ask_ = -1;
    ended_ = tool_->finish(std::chrono::seconds(20));
  }

  TempDir dir_;
  int ask_ = -1;
  std::unique_ptr<Tool> tool_;
  bool usable_ = false;
  ToolResult ended_;
  std::map<std::string, Json> seen_;
};

std::unique_ptr<Browser>& shared_browser() {
  static std::unique_ptr<Browser> browser;
  return browser;
}

/// Ends the browser after the last test of the program.
class BrowserForAll : public testing::Environment {
 public:
  void TearDown() override { shared_browser().reset(); }
};
[[maybe_unused]] testing::Environment* const kEnds =
    testing::AddGlobalTestEnvironment(new BrowserForAll);

// ---- A page as text ----

std::string joined(const Json& cells) {
  std::string line;
  for (const Json& cell : cells) {
    const std::string text = cell.is_string() ? cell.get<std::string>() : cell.dump();
    line += (line.empty() ? "" : " | ") + (text.empty() ? "(nothing)" : text);
  }
  return line + '\n';
}

/// What is drawn is drawn on a point of the screen: its time is known to a quarter of a second.
Json quarters(const Json& drawn) {
  Json times = Json::array();
  const auto rounded = [](const Json& time) { return std::round(4 * time.get<double>()) / 4; };
  for (const Json& each : drawn) {
    times.push_back(each.is_object() ? Json(rounded(each["at"]))
                                     : Json{rounded(each[0]), rounded(each[1])});
  }
  return times;
}

std::string text_of_chart(const std::string& title, const Json& chart) {
  const Json& y = chart["scales"]["y"];
  const bool is_round = y[2] == "log";  // else the end of the axis depends on the browser
  std::string text = "\nchart " + title + '\n' +
                     joined({chart["axes"][0]["label"], chart["axes"][1]["label"], y[2], y[0],
                             is_round ? y[1] : Json()});
  for (const Json& line : chart["legend"]) text += joined(line);
  text += chart["x_label"].get<std::string>() + ": " + joined(chart["x_says"]);
  for (const Json& series : chart["series"]) {
    const bool is_seen = series["shown"].get<bool>() && series["drawn"].get<bool>();
    text += series["label"].get<std::string>() + (is_seen ? " " : " (hidden) ") +
            series["colour"].get<std::string>() + series["dash"].dump() + ": " +
            joined(series["says"]);
  }
  for (const char* marks : {"losses", "dashes", "ramps"}) {
    if (!chart[marks].empty()) text += marks + (": " + joined(quarters(chart[marks])));
  }
  return text;
}

std::string text_of(const Json& facts, const std::set<std::string>& only) {
  std::string text;
  if (only.empty()) {
    for (const char* part : {"verdict", "head", "command", "figures"}) text += joined(facts[part]);
    for (const Json& problem : facts["problems"]) {
      text += problem["title"].get<std::string>() + '\n';
    }
    for (const Json& pair : facts["list"]) text += joined(pair);
  }
  const auto is_wanted = [&](const std::string& name) {
    return only.empty() || only.contains(name);
  };
  for (const Json& table : facts["tables"]) {
    const auto name = table["name"].get<std::string>();
    if (!is_wanted(name)) continue;
    text += '\n' + name +
            (table["folded"].is_null() ? "" : ", folded: " + table["folded"].get<std::string>()) +
            '\n' + joined(table["head"]);
    for (const Json& row : table["rows"]) text += joined(row);
  }
  for (const Json& chart : facts["charts"]) {
    if (is_wanted(chart["name"])) text += text_of_chart(chart["name"], chart);
  }
  for (const auto& [button, chart] : facts["pressed"].items()) {
    if (is_wanted(button)) text += text_of_chart("after pressing " + button, chart);
  }
  return text;
}

}  // namespace

void expect_page(const Json& facts, const std::string& known, const std::set<std::string>& only) {
  std::ifstream file(in_source("tests/perf/report/web/" + known));
  std::ostringstream whole;
  whole << file.rdbuf();
  std::istringstream wanted(whole.str());
  const std::string text = text_of(facts, only);
  std::istringstream shown(text);
  for (std::string line, other; std::getline(shown, line) && std::getline(wanted, other);) {
    EXPECT_EQ(line, other);
  }
  EXPECT_EQ(text.size(), whole.str().size()) << known << " would be:\n" << text;
}

const Json& named(const Json& list, const std::string& name) {
  const auto found =
      std::ranges::find_if(list, [&](const Json& each) { return each["name"] == name; });
  if (found == list.end()) throw std::out_of_range("no table or chart " + name);
  return *found;
}

std::ptrdiff_t notes_with(const Json& facts, const std::string& words) {
  return std::ranges::count_if(facts["notes"], [&](const Json& note) {
    return note.get<std::string>().find(words) != std::string::npos;
  });
}

std::string page_of_json(const std::string& json) {
  return perf::to_html(perf::Report::parse(json, "sample").value()).value();
}

std::string page_of(const perf::RunResult& run, bool bins) {
  return page_of_json(perf::to_json(run, bins ? perf::Bins::with : perf::Bins::without));
}

void PageInABrowser::SetUp() {
  std::unique_ptr<Browser>& browser = shared_browser();
  if (!browser) browser = std::make_unique<Browser>();
  const ToolResult& ended = browser->ended();
  if (ended.status == 77) GTEST_SKIP() << ended.out << ended.err;
  ASSERT_TRUE(browser->usable()) << ended.out << ended.err;
}

const Json& PageInABrowser::facts(const std::string& name, const std::function<std::string()>& make,
                                  Look look) {
  const Json& found = shared_browser()->look_at(name, make, look);
  const ToolResult& ended = shared_browser()->ended();
  EXPECT_TRUE(found.is_object()) << name << ": " << ended.out << ended.err;
  if (found.is_object()) {
    EXPECT_EQ(found["wrong"], Json::array()) << name;
  }
  return found;
}

namespace {

using namespace shmif::perf;  // NOLINT(google-build-using-namespace): makes nothing but its types
using Json = nlohmann::json;

// ---- A value of its own for each figure ----

/// Numbers whose first three digits show in every unit and repeat only after 890 numbers. Their
/// last three digits show in counts.
class Values {
 public:
  std::uint64_t next() {
    ++last_;
    return (101 + last_ * 7 % 890) * 1000 + last_ % 1000;
  }

 private:
  std::uint64_t last_ = 0;
};

double own_value(const std::string& key, std::uint64_t value) {
  const auto own = static_cast<double>(value);
  if (key.ends_with("_share")) return std::floor(own / 1000) / 1000;
  if (key.ends_with("_bps")) return own * 4321;
  if (key.ends_with("_fps")) return own * 1.25;
  if (key.ends_with("seconds")) return std::floor(own / 1000) / 10;
  return own + 0.5;
}

/// Gives each number below `json` a value of its own. Leaves numbers that must fit together, and
/// those with few possible values.
void give_own_values(Json& json, Values& values, const std::string& key = {}) {
  static const std::set<std::string> kKept = {"bins",        "dscp", "exit_signal",
                                              "exit_status", "flow", "frame_bytes",
                                              "gaps",        "pid",  "samples"};
  // Of an interval, the test chooses when it was and what was lost in it.
  static const std::set<std::string> kKeptOfInterval = {"at_seconds", "seconds", "lost_frames",
                                                        "overruns"};
  if (kKept.contains(key)) return;
  if (json.is_object()) {
    const bool bins = json.contains("bins");
    for (auto& [name, value] : json.items()) {
      if (bins && (name == "count" || name == "min" || name == "max")) continue;
      if (key == "intervals" && kKeptOfInterval.contains(name)) continue;
      give_own_values(value, values, name);
    }
  } else if (json.is_array()) {
    for (Json& each : json) give_own_values(each, values, key);
  } else if (json.is_number_float()) {
    json = own_value(key, values.next());
  } else if (json.is_number_integer()) {
    json = values.next();
  }
}

Json with_own_values(const RunResult& run, bool bins) {
  Json json = Json::parse(to_json(run, bins ? Bins::with : Bins::without));
  Values values;
  for (const char* part : {"jobs", "groups", "links", "searches", "repeats"}) {
    give_own_values(json[part], values);
  }
  return json;
}

// ---- Runs ----

/// Latencies of `count` frames, the least of them `min_ns`; most are low.
std::shared_ptr<LatencyHistogram> own_latencies(std::uint64_t min_ns, std::uint64_t count) {
  auto histogram = std::make_shared<LatencyHistogram>();
  for (std::uint64_t i = 0; i < count; ++i) {
    const double rank = static_cast<double>(i + 1) / static_cast<double>(count + 1);
    histogram->record(min_ns + static_cast<std::uint64_t>(-3000 * std::log(1 - rank)));
  }
  return histogram;
}

/// A sender, and the receiver that was made for it. Each of their `intervals` takes a second; the
/// first begins `from` seconds after the start.
std::array<JobResult, 2> own_pair(const std::string& name, const std::string& group,
                                  std::uint64_t seed, std::size_t intervals = 8, double from = 0) {
  static const RunResult kQuiet = quiet_sample();
  std::array<JobResult, 2> pair{kQuiet.jobs[0], kQuiet.jobs[1]};
  auto& [tx, rx] = pair;
  tx.name = rx.peer_of = name;
  rx.name = name + ".peer";
  tx.tx.errors = rx.rx.errors = 1;
  tx.spacing_error = own_latencies(30 + seed, 50);
  rx.latency = own_latencies(2000 + seed * 700, 4000 + seed);
  rx.service = own_latencies(1500 + seed * 600, 3000 + seed);
  rx.flows[0].from = name;
  rx.flows[0].to = rx.name;
  rx.intervals.resize(intervals);
  for (std::size_t i = 0; i < intervals; ++i) {
    rx.intervals[i].at_seconds = from + static_cast<double>(i + 1);
  }
  tx.intervals = rx.intervals;
  for (JobResult& job : pair) {
    job.group = group;
    job.address = "bus:/dev/shm/" + job.name;
    job.options = {{"description", "job " + job.name}, {"runtime", std::to_string(seed)}};
  }
  return pair;
}

RunResult own_run() {
  RunResult run = quiet_sample();
  run.jobs.clear();
  run.groups.clear();
  return run;
}

void add_group(RunResult& run, const std::string& name) {
  GroupResult group;
  group.name = name;
  group.latency = own_latencies(2500, 5000);
  group.service = own_latencies(2400, 5100);
  for (const JobResult& job : run.jobs) {
    if (job.group == name) group.jobs.push_back(job.name);
  }
  group.tx.frames = group.rx.frames = group.loss.sent = group.start_skew_ns.emplace(1);
  group.loss.jitter_ns = group.tx.seconds = group.rx.seconds = 1;
  run.groups.push_back(group);
}

/// A job that asks, and its peer that answers. The asker times the round trip.
std::array<JobResult, 2> asking_pair() {
  auto [tx, rx] = own_pair("web", "call", 1);
  tx.role = Role::pingpong;
  rx.role = Role::echo;
  tx.rx = rx.tx = tx.tx;
  std::swap(tx.latency, rx.latency);
  std::swap(tx.service, rx.service);
  tx.flows = rx.flows;
  std::swap(tx.flows[0].from, tx.flows[0].to);
  tx.flows[0].kind = FlowResult::Kind::reply;
  rx.flows[0].kind = FlowResult::Kind::request;
  return {tx, rx};
}

void lose(JobResult& job, std::size_t interval, std::uint64_t frames, std::uint64_t overruns) {
  job.intervals.at(interval).lost_frames = frames;
  job.intervals.at(interval).overruns = overruns;
}

Json few_jobs(bool bins) {
  RunResult run = own_run();
  auto [web, echo] = asking_pair();
  // The window of "web" ends with a stub, an interval that was cut short.
  for (JobResult* job : {&web, &echo}) {
    IntervalResult stub = job->intervals.back();
    stub.at_seconds += 0.25;
    stub.seconds = 0.25;
    job->intervals.push_back(stub);
  }
  // "load" has a ramp, a window and a drain with a stub after it.
  auto [load, sink] = own_pair("load", "call", 2, 10, 30);
  for (JobResult* job : {&load, &sink}) {
    for (const std::size_t i : {0U, 1U, 8U, 9U}) job->intervals.at(i).measured = false;
    IntervalResult stub = job->intervals.back();
    stub.at_seconds += 0.25;
    stub.seconds = 0.25;
    job->intervals.push_back(stub);
  }
  load.engine = EngineKind::host;
  load.tcp = TcpResult{.retransmits = 1, .samples = 9, .dscp = 46, .congestion = "bbr"};
  for (IntervalResult& each : load.intervals) each.tcp.emplace();
  // During a stall no frame came, so no latency is known.
  sink.intervals[4].latency_p99_ns = sink.intervals[4].latency_p50_ns = std::nullopt;
  sink.intervals[4].latency_mean_ns = sink.intervals[4].latency_max_ns = std::nullopt;
  lose(web, 2, 31, 0);
  lose(echo, 2, 7, 2);
  lose(echo, 4, 0, 5);
  lose(web, 6, 12, 0);
  lose(sink, 3, 401, 0);
  lose(sink, 5, 53, 3);
  lose(sink, 6, 0, 11);

  JobResult file = own_pair("file", "alone", 3, 8)[0];
  file.engine = EngineKind::pcap;
  JobResult killed = own_pair("killed", "call", 4, 0)[0];
  killed.passed = false;
  killed.state = JobState::running;
  killed.exit_status = std::nullopt;
  killed.exit_signal = 9;
  killed.errors = {"killed by signal 9"};
  killed.cpu = std::nullopt;
  killed.tx.of_program = true;
  killed.counts.agree = false;
  killed.counts.wire = {};
  killed.start_skew_ns = std::nullopt;
  killed.rate_ci_share = killed.limit_fps = std::nullopt;
  killed.address = "";
  killed.options = {};
  run.jobs = {web, echo, load, sink, file, killed};
  run.failures = {"killed: killed by signal 9"};
  run.exit_code = 1;
  add_group(run, "call");
  add_group(run, "alone");
  Json json = with_own_values(run, bins);
  // One share of the limit is below the threshold of a warning, and one is above it.
  json["jobs"][0]["limit_share"] = 0.799;
  json["jobs"][4]["limit_share"] = 0.801;
  // With few frames, the higher percentiles are not known.
  if (!bins) json["jobs"][0]["latency_ns"]["count"] = 500;
  // Another machine took a part of this CPU's time.
  json["machine"]["cpu_window"][1]["steal_share"] = 0.031;
  return json;
}

Json many_jobs() {
  RunResult run = own_run();
  for (std::uint64_t i = 0; i < 24; ++i) {
    const std::string group = "g" + std::to_string(i / 2);
    for (JobResult& job : own_pair("job" + std::to_string(i), group, 3 + i, 6)) {
      job.intervals[0].measured = false;
      run.jobs.push_back(std::move(job));
    }
  }
  for (std::size_t i = 0; i < 12; ++i) add_group(run, "g" + std::to_string(i));
  // One job and its peer have a longer ramp than the others that began with them.
  for (const std::size_t i : {0U, 1U}) run.jobs[i].intervals[1].measured = false;
  // One member of a group began and ended later than the other.
  for (std::size_t i : {6U, 7U}) {
    for (IntervalResult& each : run.jobs[i].intervals) each.at_seconds += 2;
  }
  lose(run.jobs[1], 3, 17, 0);
  lose(run.jobs[3], 3, 23, 1);
  lose(run.jobs[9], 5, 0, 4);
  return with_own_values(run, true);
}

Json searches() {
  RunResult run = search_sample();
  run.searches[1].kind = Search::pdr;
  run.searches[2].kind = Search::latency_target;
  run.searches[3].limited_by_maximum = true;
  run.searches[4].frame_bytes = 0;
  run.searches[0].shown = {.number = 2, .offered_fps = run.searches[0].trials[1].offered_fps};
  run.searches[1].shown = ShownTrial{};
  run.searches[2].shown = {.number = std::nullopt, .offered_fps = 7000};
  run.repeats.push_back({"bulk", figure_name::kLostShare, {0.1, 0.2, 0.3}, 0.2, 0.1, 0.3});
  run.links = {{"bus:/dev/shm/bus0", "bulk", "sent", {{1, 1, 1, 1, 1, 1, 1}, 1}, "loss=1%"},
               {"bus:/dev/shm/bus0", "bulk", "received", {{1, 1, 1, 1, 1, 1, 1}, 1}, "delay=1ms"}};
  return with_own_values(run, true);
}

Json repeated() {
  const auto run_of = [](double fps, std::uint64_t ns, std::uint64_t slow_ns) {
    RunResult run = own_run();
    auto [tx, rx] = own_pair("bulk", "0", 1);
    tx.tx.seconds = tx.tx.offered_seconds = rx.rx.seconds = 10;
    tx.tx.frames = tx.tx.offered_frames = static_cast<std::uint64_t>(fps * 10);
    rx.rx.frames = static_cast<std::uint64_t>((fps - 1000) * 10);
    rx.latency = std::make_shared<LatencyHistogram>();
    record(*rx.latency, ns, 970);
    record(*rx.latency, slow_ns, 30);
    run.jobs = {tx, rx};
    add_group(run, "0");
    return run;
  };
  const std::vector<RunResult> runs = {run_of(300'000, 1000, 1500), run_of(100'000, 9000, 9500),
                                       run_of(200'000, 2000, 2500)};
  RunResult run = runs[0];
  run.repetitions = runs;
  run.shown_run = 0;
  run.repeats = {{"bulk", figure_name::kTxFps, {300e3, 100e3, 200e3}, 200e3, 100e3, 300e3}};
  return Json::parse(to_json(run, Bins::with));
}

}  // namespace

const Json& few_jobs_json() {
  static const Json kJson = few_jobs(true);
  return kJson;
}
const Json& few_jobs_json_without_bins() {
  static const Json kJson = few_jobs(false);
  return kJson;
}
const Json& many_jobs_json() {
  static const Json kJson = many_jobs();
  return kJson;
}
const Json& searches_json() {
  static const Json kJson = searches();
  return kJson;
}
const Json& repeated_json() {
  static const Json kJson = repeated();
  return kJson;
}

}  // namespace shmif::test
