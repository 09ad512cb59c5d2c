#include "tests/perf/report/web/in_browser.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
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

}  // namespace

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
