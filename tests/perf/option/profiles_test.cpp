#include "perf/option/profiles.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "perf/job/values.hpp"
#include "perf/option/job_file.hpp"
#include "tests/perf/plan/plans.hpp"

namespace shmif::perf {
namespace {

JobSet jobs_of(const std::string& name) {
  JobSet set;
  EXPECT_EQ(read_job_text(name, find_profile(name)->text, set), std::vector<std::string>());
  return set;
}

TEST(Profiles, EachIsAJobFileWithAPlan) {
  for (const Profile& profile : profiles()) {
    const JobSet set = jobs_of(profile.name);
    EXPECT_EQ(problems_of(set), std::vector<std::string>()) << profile.name;
    EXPECT_TRUE(expand(set)) << profile.name;
    EXPECT_FALSE(std::string(profile.summary).ends_with('.')) << profile.name;
  }
}

TEST(Profiles, Rfc2544SearchesEachSizeOfSection91OneAfterTheOther) {
  const auto plan = expand(jobs_of("rfc2544")).value();
  std::vector<std::uint32_t> on_the_wire;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (!plan[i].peer_of.empty()) continue;
    EXPECT_EQ(plan[i].options.search, Search::ndr);
    const std::uint32_t bytes = plan[i].options.bs.tx.parts[0].min + 4;
    EXPECT_EQ(plan[i].options.name, "rfc2544-" + std::to_string(bytes));
    EXPECT_EQ(plan[i].waits_for.size(), i);
    on_the_wire.push_back(bytes);
  }
  EXPECT_EQ(on_the_wire, (std::vector<std::uint32_t>{64, 128, 256, 512, 1024, 1280, 1518}));
}

TEST(Profiles, HostsCarriesBothProtocolsAndRoundTripsAtOnce) {
  const auto plan = expand(jobs_of("hosts")).value();
  ASSERT_EQ(plan.size(), 6U);
  EXPECT_TRUE(std::all_of(plan.begin(), plan.end(), [](const PlannedJob& job) {
    return job.options.engine == EngineKind::host && job.waits_for.empty() &&
           job.options.runtime == std::chrono::seconds(15);
  }));
  EXPECT_EQ(plan[0].options.proto, HostProtocol::tcp);
  EXPECT_EQ(plan[1].options.proto, HostProtocol::tcp);
  EXPECT_GT(plan[2].options.rate_bps.tx, 0U);
  EXPECT_EQ(plan[4].options.rw, Role::pingpong);
}

TEST(Profiles, AnUnknownOneIsAnsweredWithTheNearestOrWithAll) {
  EXPECT_EQ(unknown_profile("imx"), "unknown profile \"imx\", did you mean \"imix\"?");
  std::string all;
  for (const Profile& profile : profiles())
    all += (all.empty() ? "" : ", ") + std::string(profile.name);
  EXPECT_EQ(unknown_profile("frobnication"),
            "unknown profile \"frobnication\" (the profiles are " + all + ')');
}

}  // namespace
}  // namespace shmif::perf
