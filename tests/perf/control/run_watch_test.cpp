// What a run's intervals say to the search for causes, and where its memory is measured.

#include "perf/control/run_watch.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "perf/control/run_state.hpp"

namespace shmif::perf::run_watch {
namespace {

TEST(TrafficOfIntervals, GetsTheLossesThatNoLaterFrameShowed) {
  IntervalResult interval;
  interval.lost_frames = 7;
  JobTraffic traffic = traffic_of("rx", {interval, interval});
  add_unnoticed(traffic, 14, 9);
  EXPECT_EQ(traffic.steps[1].lost, 7U);
  add_unnoticed(traffic, 20, 9);
  EXPECT_EQ(traffic.steps[0].lost, 7U);
  EXPECT_EQ(traffic.steps[1].lost, 13U);
  JobTraffic none;
  add_unnoticed(none, 3, 9);
  ASSERT_EQ(none.steps.size(), 1U);
  EXPECT_EQ(none.steps[0].lost, 3U);
  EXPECT_EQ(none.steps[0].end_s, 9);
}

// ---- Memory ----

/// A wire that nobody opens.
class AtAddress final : public Wire {
 public:
  explicit AtAddress(std::string address) : address_(std::move(address)) {}
  Capabilities capabilities() const noexcept override { return {}; }
  std::string address() const override { return address_; }
  Result<std::unique_ptr<End>> open_end(const EndOptions&) override {
    return Error(Errc::not_supported, "nobody opens it");
  }

 private:
  std::string address_;
};

TEST(MemoryOfARun, IsMeasuredOnEachOfItsBusesOnce) {
  RunState run;
  for (const char* const address : {"bus:/none/b", "udp:198.18.0.1", "bus:/none/a", "bus:/none/b"})
    run.wires.push_back(std::make_unique<AtAddress>(address));
  MemoryWatch watch(run);
  const auto found = watch.finish(7, true);
  EXPECT_EQ(found->start_ns, 7U);
  EXPECT_TRUE(found->measured.partial);
  std::vector<std::string> buses;
  for (const MemorySummary& source : found->measured.sources) {
    if (source.part == "bus") buses.push_back(source.origin);
  }
  EXPECT_EQ(buses, (std::vector<std::string>{"/none/a", "/none/b"}));
}

}  // namespace
}  // namespace shmif::perf::run_watch
