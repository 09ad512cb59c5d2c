// Every target over its corpus, without a fuzzer: what was found once is not found again.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/fuzz/targets.hpp"
#include "tests/support/paths.hpp"

namespace shmif::fuzz {

static void PrintTo(const Target& target, std::ostream* out) {
  *out << target.name;
}

namespace {

class Corpus : public testing::TestWithParam<Target> {};

using Input = std::vector<std::uint8_t>;

/// The inputs of a file of the corpus: the file itself, or each line of inputs.hex.
std::vector<Input> inputs_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (path.filename() != "inputs.hex") return {Input{std::istreambuf_iterator<char>(file), {}}};
  std::vector<Input> inputs;
  for (std::string line; std::getline(file, line);) {
    Input& input = inputs.emplace_back();
    for (std::size_t i = 0; i + 1 < line.size(); i += 2)
      input.push_back(static_cast<std::uint8_t>(std::stoul(line.substr(i, 2), nullptr, 16)));
  }
  return inputs;
}

TEST_P(Corpus, HarmsNobody) {
  const std::filesystem::path folder =
      std::filesystem::path(test::in_source("tests/fuzz/corpus")) / GetParam().name;
  std::size_t files = 0;
  GetParam().run({});
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path().string());
    for (const Input& input : inputs_of(entry.path())) GetParam().run(input);
    ++files;
  }
  EXPECT_GT(files, 0U) << "no corpus in " << folder;
}

INSTANTIATE_TEST_SUITE_P(Of, Corpus, testing::ValuesIn(kTargets),
                         testing::PrintToStringParamName());

TEST(FuzzTargets, AreThoseThatAreBuiltAndRun) {
  std::ifstream table(test::in_source("tests/fuzz/edges.txt"));
  std::set<std::string> in_table;
  for (std::string line; std::getline(table, line);) {
    std::string name;
    if (!line.starts_with('#') && std::istringstream(line) >> name) in_table.insert(name);
  }
  std::set<std::string> targets;
  for (const Target& target : kTargets) targets.insert(target.name);
  EXPECT_EQ(in_table, targets) << "tests/fuzz/edges.txt names the programs";
}

}  // namespace
}  // namespace shmif::fuzz
