#include "perf/option/job_file.hpp"

#include <gtest/gtest.h>

#include "perf/job/values.hpp"
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
