#include "tests/perf/report/web/in_browser.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "perf/report/html.hpp"
#include "perf/report/report.hpp"
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

}  // namespace shmif::test
