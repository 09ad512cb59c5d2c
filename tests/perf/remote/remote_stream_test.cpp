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

TEST(ClientOfServers, ShowsAnIntervalWhenEachHasToldOneAndWhatIsLeftAtTheEnd) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.start());
  const auto intervals = [&] { return run.watcher.shown().intervals; };
  for (std::size_t nth = 1; nth <= 2; ++nth) {
    const double at = 10.0 * static_cast<double>(nth);
    run.first.say(ProgressMessage{progress_of(at, 0.1, 1, ""), true});
    run.show(run.first, at + 1);
    EXPECT_EQ(intervals().size(), nth - 1) << "the other has not told its own";
    run.second.say(ProgressMessage{progress_of(at + 2, 0.1, 1, ""), true});
    ASSERT_TRUE(run.until([&] { return intervals().size() >= nth; }));
    run.show(run.second, at + 3);
    EXPECT_EQ(intervals().size(), nth) << "it is shown once";
  }
  run.second.say(ProgressMessage{progress_of(40, 0.1, 1, ""), false});
  run.finish(run.second);
  run.first.say(ProgressMessage{progress_of(50, 0.1, 1, ""), true});
  ASSERT_TRUE(run.until([&] { return intervals().size() >= 3; }));
  ASSERT_EQ(intervals()[2].jobs.size(), 1U) << "of who has told one";
  EXPECT_EQ(intervals()[2].jobs[0].name, run.first.name() + "/j");
  (void)run.end();
}

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

TEST(ClientOfServers, ShowsAnIntervalAlsoIfOnlyAnotherIntervalComesAfterIt) {
  Two run{Two::OneEach{}};
  ASSERT_NO_FATAL_FAILURE(run.start());
  const auto tell = [](OneServer& server, double at) {
    RunProgress progress = progress_of(at, 0.1, 1, "");
    progress.jobs[0].last.tx_frames = 10;
    server.say(ProgressMessage{progress, true});
  };
  const auto intervals = [&] { return run.watcher.shown().intervals; };
  for (const double at : {1.0, 2.0, 3.0}) {
    for (OneServer* const server : run.both()) tell(*server, at);
    const auto lines = static_cast<std::size_t>(at) - 1;  // the newest may be the last one
    ASSERT_TRUE(run.until([&] { return intervals().size() >= lines; }));
    run.show(run.first, at + 0.5);
    tell(run.first, at + 0.6);
  }
  (void)run.end();
  EXPECT_EQ(intervals().size(), 3U);
  std::uint64_t sent = 0;
  for (const RunProgress& line : intervals()) {
    for (const JobProgress& job : line.jobs) sent += job.last.tx_frames;
  }
  EXPECT_EQ(sent, 90U) << "each interval is in one line";
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
