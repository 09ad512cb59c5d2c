// The intervals that a client of several servers shows: the test says what each server says.

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "perf/remote/client.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/remote/client_rig.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::remote_client {
namespace {

/// Of one job that has sent a thousand frames, or received 900 of them.
Message finished_of(const std::string& job, bool sends) {
  nlohmann::json result =
      nlohmann::json::parse(to_json(shmif::test::quiet_sample(), Bins::without));
  for (nlohmann::json& each : result.at("jobs")) {
    if (each.at("jobname") != (sends ? "bulk" : "bulk.peer")) continue;
    each.at("jobname") = job;
    if (sends) each.at("tx").at("frames") = 1000;
    if (sends) continue;
    nlohmann::json& loss = each.at("loss");
    for (const char* const key : {"lost_frames", "corrupt_frames", "truncated_frames",
                                  "late_frames", "cancelled_frames", "unverified_frames"})
      loss.at(key) = 0;
    loss.at("sent_frames") = loss.at("received_frames") = 900;
  }
  return FinishedMessage{result.dump()};
}

TEST(ClientOfServers, ShowsWhatWasLostAtTheEndInTheLastInterval) {
  Two run{Two::OneEach{}};
  ASSERT_NO_FATAL_FAILURE(run.start());
  const auto tell = [](OneServer& server, const std::string& job, double at, std::uint64_t lost,
                       std::uint64_t all_lost) {
    RunProgress progress = progress_of(at, 0.1, 1, "");
    progress.jobs[0].name = job;
    progress.jobs[0].last.seconds = 1;
    progress.jobs[0].last.rx_frames = 100;
    progress.jobs[0].last.lost_frames = lost;
    progress.jobs[0].lost_frames = all_lost;
    server.say(ProgressMessage{progress, true});
  };
  const auto go_on = [](OneServer& server) { server.say(ProgressMessage{{}, false}); };
  const auto intervals = [&] { return run.watcher.shown().intervals; };
  tell(run.second, "k", 1, 3, 3);
  tell(run.first, "j", 1, 0, 0);
  run.show(run.first, 1.5);
  EXPECT_EQ(intervals().size(), 0U) << "that of the other may be its last one";
  go_on(run.second);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 1; }));
  EXPECT_EQ(intervals()[0].jobs.at(1).last.lost_frames, 3U);
  // Two of one server before one of the other.
  tell(run.second, "k", 2, 4, 7);
  go_on(run.second);
  tell(run.second, "k", 3, 5, 12);
  run.second.say(finished_of("k", false));
  ASSERT_TRUE(run.until([&] { return run.second.is_closed(); }));
  tell(run.first, "j", 2, 0, 0);
  go_on(run.first);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 2; }));
  EXPECT_EQ(intervals()[1].jobs.size(), 1U) << "the losses of the other are not known yet";
  run.first.say(finished_of("j", true));
  ASSERT_TRUE(run.until([&] { return run.first.is_closed(); }));
  (void)run.results.get();
  const RunProgress last = intervals().back();
  ASSERT_EQ(intervals().size(), 3U);
  ASSERT_EQ(last.jobs.size(), 1U);
  EXPECT_EQ(last.jobs[0].name, run.second.name() + "/k");
  EXPECT_EQ(last.jobs[0].lost_frames, 100U);
  EXPECT_EQ(last.jobs[0].last.lost_frames, 97U);
  EXPECT_EQ(last.jobs[0].last.rx_frames, 200U) << "of both intervals";
  EXPECT_EQ(last.jobs[0].last.seconds, 2);
}

TEST(ClientOfServers, ShowsNoReplyAsLostIfItsRequestWas) {
  Two run{Two::Asking{}};
  ASSERT_NO_FATAL_FAILURE(run.start());
  const auto tell = [](OneServer& server, const std::string& job, std::uint64_t all_lost) {
    RunProgress progress = progress_of(1, 0.1, 1, "");
    progress.jobs[0].name = job;
    progress.jobs[0].last.lost_frames = progress.jobs[0].lost_frames = all_lost;
    server.say(ProgressMessage{progress, true});
    server.say(ProgressMessage{progress, false});
  };
  const auto intervals = [&] { return run.watcher.shown().intervals; };
  const auto lost = [&](std::size_t line) {
    std::vector<std::uint64_t> all;
    for (const JobProgress& job : intervals().at(line).jobs) {
      all.push_back(job.last.lost_frames);
      all.push_back(job.lost_frames);
    }
    return all;
  };
  using Counts = std::vector<std::uint64_t>;
  tell(run.second, "k", 3);
  tell(run.first, "j", 5);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 1; }));
  EXPECT_EQ(lost(0), (Counts{2, 2, 3, 3}));
  tell(run.second, "k", 7);
  tell(run.first, "j", 8);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 2; }));
  EXPECT_EQ(lost(1), (Counts{0, 1, 4, 7})) << "one that was shown as lost was not";
  (void)run.end();
}

}  // namespace
}  // namespace shmif::perf::remote_client
