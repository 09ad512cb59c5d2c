// What a session makes of a source that changes or fails while it is watched.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "instruments/heat/session.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {
namespace {

constexpr AddressRange kMemory{0x100000, 0x110000};

/// Says what it was told to say.
class ScriptedSource : public HeatSource {
 public:
  struct Script {
    int looks_until_failure = -1;  ///< -1: it does not fail
    int ranges_until_failure = -1;
    int ranges_until_chosen_pages = -1;  ///< -1: all pages are looked at
    int other_regions = 0;               ///< how often a look was of regions of another kind
    int looks = 0;
  };
  explicit ScriptedSource(Script& script) : script_(script) {
    provenance_.source = "written";
    provenance_.precision = "page";
    mappings_.looks = 5;
    mappings_.mappings = {{{kMemory, "/a", 0}, 3}};
  }

  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return looking_; }
  std::chrono::nanoseconds cost(std::chrono::nanoseconds /*here*/) const noexcept override {
    return {};
  }
  Result<std::vector<NamedRange>> ranges() override {
    if (script_.ranges_until_failure-- == 0) return Error::from_errno(EIO, "it broke");
    if (script_.ranges_until_chosen_pages-- == 0) looking_ = Looking::chosen_pages;
    return std::vector<NamedRange>{{kMemory, "/a", 0}};
  }
  Result<void> forget(Regions& /*regions*/) override { return {}; }
  Result<void> look(Regions& regions) override {
    if (script_.looks_until_failure-- == 0) return Error::from_errno(EIO, "it broke");
    script_.other_regions += regions.looking() != looking_ ? 1 : 0;
    ++script_.looks;
    return {};
  }
  const MappingLooks& mappings() const noexcept override { return mappings_; }

 private:
  Script& script_;
  Looking looking_ = Looking::all_pages;
  HeatProvenance provenance_;
  MappingLooks mappings_;
};

/// This process, in a tree in which it can be watched by clear_refs.
class WatchedSelf : public ::testing::Test {
 protected:
  WatchedSelf() {
    const std::string folder = "/proc/" + std::to_string(::getpid()) + '/';
    tree.put(folder + "stat", KernelFiles().read("/proc/self/stat").value());
    tree.put(folder + "statm", "9 9 9 9 9 9 9\n");
    tree.put(folder + "comm", "self\n");
    tree.put(folder + "smaps",
             "00100000-00110000 rw-p 00000000 00:00 7 /a\nRss: 64 kB\nReferenced: 8 kB\n");
    tree.put(folder + "clear_refs", "");
    options.files = tree.files();
    options.attributes.sampling = std::chrono::microseconds(1);
  }
  void watch_by(ScriptedSource::Script& script) {
    session.emplace(options);
    session->add(Process::open(::getpid()).value(), std::make_unique<ScriptedSource>(script));
  }
  HeatResult result() const { return session->results().at(0); }

  const Tree tree;
  HeatOptions options;
  std::optional<HeatSession> session;
};

/// At the end of a process, any call about it can fail: ptrace(2) then says EPERM.
TEST_F(WatchedSelf, HasEndedWhateverErrorItsEndCauses) {
  ScriptedSource::Script script{.looks_until_failure = 0};
  watch_by(script);
  const std::string stat = KernelFiles().read("/proc/self/stat").value();
  const std::size_t state = stat.rfind(')') + 2;
  tree.put("/proc/" + std::to_string(::getpid()) + "/stat",
           stat.substr(0, state) + 'Z' + stat.substr(state + 1));
  while (session->is_watching()) session->step();
  EXPECT_TRUE(result().has_ended);
  EXPECT_EQ(result().reason, "the process has ended");
}

TEST_F(WatchedSelf, HasRegionsOfTheKindThatItsSourceLooksAtNow) {
  options.attributes.aggregation = options.attributes.sampling;
  ScriptedSource::Script script{.ranges_until_chosen_pages = 3};
  watch_by(script);
  while (session->windows() < 6) session->step();
  EXPECT_EQ(script.other_regions, 0);
  EXPECT_EQ(script.looks, 6);
  const auto windows = result().windows;
  EXPECT_EQ(windows.at(0).regions.size(), 10U) << "the fewest that there may be";
  EXPECT_GE(windows.at(5).regions.size(), 10U);
}

}  // namespace
}  // namespace shmif::perf::test
