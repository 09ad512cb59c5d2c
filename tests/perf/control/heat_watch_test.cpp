// What the watch of a run's jobs says about jobs that leave their bus.

#include "perf/control/heat_watch.hpp"

#include <gtest/gtest.h>

#include "tests/instruments/heat/fake_client.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::heat_watch {
namespace {

class SomeBus : public Wire {
 public:
  Capabilities capabilities() const noexcept override { return {}; }
  std::string address() const override { return "bus:/some/bus"; }
  Result<std::unique_ptr<End>> open_end(const EndOptions& /*options*/) override {
    return Error(Errc::not_supported, "this bus has no ends");
  }
};

TEST(HeatWatch, OfAJobThatLeftItsBusWhileItsProcessLivesSaysThatTheJobEnded) {
  const HeatFolder folder;
  ASSERT_EQ(folder.reason(), "");
  const test::SharedPages pages(4);
  RunState run;
  run.interval_ns = 100'000'000;
  run.plan.resize(1);
  run.plan[0].options.thread = true;  // its process is this one
  run.jobs.push_back({.plan = run.plan[0]});
  run.setups.resize(1);
  run.setups[0].end.name = "j";
  run.wires.push_back(std::make_unique<SomeBus>());
  run.setups[0].wire = run.wires[0].get();
  const test::FakeClient client(folder.path(), "/proc/self/pagemap",
                                {pages.address(0), pages.address(4)});
  HeatWatch watch(run, folder);
  ASSERT_TRUE(shmif::test::eventually([&] { return client.has_left(); }));
  const auto heat = watch.finish();
  ASSERT_EQ(heat.size(), 1U);
  EXPECT_FALSE(heat[0]->history);
  EXPECT_EQ(heat[0]->provenance.source, "client") << "it was watched";
  EXPECT_EQ(heat[0]->reason, "the job ended before it was looked at twice (every 100 ms)");
}

}  // namespace
}  // namespace shmif::perf::heat_watch
