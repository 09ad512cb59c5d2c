#pragma once
// Labs for tests: a folder with a lab's file, its buses, and the state of this test's labs.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {

class LabRig : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(file("run"));
    std::filesystem::permissions(file("run"), std::filesystem::perms::owner_all);
    ::setenv("XDG_RUNTIME_DIR", file("run").c_str(), 1);
    const ToolResult can = run_tool({"exec", file("probe"), "--create", "--", "true"});
    if (can.status == 77) GTEST_SKIP() << "no hosts here: " << can.err;
    std::filesystem::remove(file("probe"));
  }

  std::string file(const std::string& name) const { return directory_.file(name); }

  /// Writes the file of a lab, with a bus "b" in this test's folder.
  std::string lab(const std::string& text, const std::string& name = "lab") const {
    const std::string path = file(name + ".toml");
    std::ofstream(path) << "bus.b = { path = \"" << name << ".b\" }\n" << text;
    return path;
  }

  /// Empty if there is no such file, and for a file of a process that ends meanwhile, of which a
  /// stream throws.
  static std::string text_of(const std::string& path) {
    std::string text;
    std::FILE* const in = std::fopen(path.c_str(), "re");
    if (in == nullptr) return text;
    std::array<char, 4096> part{};
    while (const std::size_t n = std::fread(part.data(), 1, part.size(), in)) {
      text.append(part.data(), n);
    }
    std::fclose(in);
    return text;
  }

  /// `shmifctl up FILE ...`, with the results in this test's folder.
  Words up_words(const std::string& path, const Words& more = {}) const {
    Words words = Words{"up", path, "--artifacts", file("out")} + more;
    return words;
  }
  ToolResult up(const std::string& path, const Words& more = {}) const {
    return run_tool(up_words(path, more));
  }

  /// The state of the lab "lab", as `serve` and others read it.
  nlohmann::json state() const {
    return nlohmann::json::parse(text_of(file("run/shmif/lab.json")), nullptr, false);
  }

  /// The lab "lab" in what `ls` lists, which for root has the labs of all tests that run now. Null:
  /// it is not there.
  nlohmann::json listed_lab() const {
    const auto all = nlohmann::json::parse(run_tool({"ls", "--json"}).out);
    for (const auto& each : all.at("labs")) {
      if (each["file"] == file("lab.toml")) return each;
    }
    return {};
  }

  static std::vector<pid_t> children_of(pid_t pid) {
    std::istringstream in(
        text_of("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children"));
    return {std::istream_iterator<pid_t>(in), {}};
  }
  /// All processes below one, and itself.
  static std::vector<pid_t> family_of(pid_t pid) {
    std::vector<pid_t> all{pid};
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (const pid_t child : children_of(all[i])) all.push_back(child);
    }
    return all;
  }
  /// Whether a process has ended, though nobody may have asked for its status yet.
  static bool is_gone(pid_t pid) {
    const std::string text = text_of("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t behind = text.rfind(')');
    return behind == std::string::npos || text[behind + 2] == 'Z' || text[behind + 2] == 'X';
  }

  /// Kills the controller of the lab "lab" and its guardian, and waits for the end of all others.
  void kill_controller_and_guardian() const {
    const pid_t controller = state()["pid"];
    const std::vector<pid_t> family = family_of(controller);
    for (const pid_t each : family) {
      if (text_of("/proc/" + std::to_string(each) + "/comm") == "shmif-guardian\n")
        ::kill(each, SIGKILL);
    }
    ::kill(controller, SIGKILL);
    for (const pid_t each : family) EXPECT_TRUE(eventually([&] { return is_gone(each); })) << each;
  }

  /// Nothing of a lab is left, except its results.
  void expect_no_trace(const std::string& name = "lab") const {
    EXPECT_FALSE(std::filesystem::exists(file(name + ".b")));
    EXPECT_FALSE(std::filesystem::exists(file("run/shmif/" + name + ".json")));
    EXPECT_FALSE(std::filesystem::exists(file("run/shmif/" + name + ".lock")));
  }

 private:
  TempDir directory_;
};

}  // namespace shmif::test
