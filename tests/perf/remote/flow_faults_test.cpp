// What the causes of a receiver say of its losses when its sender is on another server.

#include "perf/remote/combine.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace shmif::perf::flow_faults {
namespace {

using Json = nlohmann::json;

enum class By : std::uint8_t { time, count };

Json cause_of(const std::string& job, const std::string& kind, double share, double of_losses,
              const std::string& text, By by = By::time) {
  return {{"job", job},
          {"cause", kind},
          {"begin_s", 0.5},
          {"end_s", 0.75},
          {"share", share},
          {"of_losses_share", of_losses},
          {"counted", by == By::count},
          {"sentence", text}};
}

/// A receiver "k" that has lost frames, of which its server knew of some.
struct Blamed {
  Json report = Json::parse(R"({
    "jobs": [{"jobname": "k", "loss": {"lost_frames": 100}, "intervals": [{"at_seconds": 2.0}]}],
    "causes": []})");
  Json sending = Json::parse(R"({
    "links": [{"jobname": "j", "direction": "sent", "options": "loss=10%", "frames": 1000,
               "lost_frames": 0, "under_way_frames": 0, "queue_full_frames": 0}]})");
  std::uint64_t known_lost = 100;

  void lost(std::uint64_t frames) { report["jobs"][0]["loss"]["lost_frames"] = frames; }
  void by_faults(std::uint64_t frames) { sending["links"][0]["lost_frames"] = frames; }
  /// "SHARE SENTENCE" of each cause, in order.
  std::vector<std::string> after() {
    blame_faults(sending, "a", "j", report, "k", known_lost);
    return told();
  }
  std::vector<std::string> told() const {
    std::vector<std::string> all;
    for (const Json& each : report.at("causes")) {
      all.push_back(each.at("of_losses_share").dump() + ' ' +
                    each.at("sentence").get<std::string>());
    }
    return all;
  }
};
using Lines = std::vector<std::string>;

const Json kWaited = cause_of("k", "waited_for_cpu", 0.5, 0.51,
                              "k waited; 51 % of all lost frames fell there; it was worst then");
const std::string kFaults = "k: the requested faults of a/j (loss=10%) took ";

TEST(FlowFaults, OtherCausesExplainNoMoreThanTheFaultsLeave) {
  Blamed blamed;
  blamed.report["causes"] = Json::array({kWaited});
  blamed.by_faults(75);
  EXPECT_EQ(blamed.after(),
            (Lines{"0.75 " + kFaults + "75 frames; that explains 75 % of its lost frames",
                   "0.25 k waited; 25 % of all lost frames fell there; it was worst then"}));
  blamed.report["causes"] = Json::array({kWaited});
  blamed.by_faults(0);
  EXPECT_EQ(blamed.after(), Lines{"0.51 " + kWaited.at("sentence").get<std::string>()});
}

TEST(FlowFaults, CountedPacketsExplainLossesBeforeTimesDoAndNoLossIsExplainedTwice) {
  Blamed blamed;
  blamed.by_faults(40);
  blamed.report["causes"] = {kWaited, cause_of("k", "stopped", 0.1, 0.2, "k stopped"),
                             cause_of("k", "receive_buffer", 0.1, 0.5,
                                      "packets; that explains 50 % of its lost frames", By::count)};
  EXPECT_EQ(blamed.after(),
            (Lines{"0.4 " + kFaults + "40 frames; that explains 40 % of its lost frames",
                   "0.5 packets; that explains 50 % of its lost frames",
                   "0.1 k waited; 10 % of all lost frames fell there; it was worst then",
                   "0.0 k stopped"}));
}

TEST(FlowFaults, SharesAreOfAllLossesAlsoOfThoseOfWhichOnlyTheSenderKnew) {
  Blamed blamed;
  blamed.report["causes"] = {
      kWaited, cause_of("k", "qdisc", 0.1, 0.2, "packets; that explains 20 % of its lost frames",
                        By::count)};
  blamed.known_lost = 50;
  EXPECT_EQ(blamed.after(),
            (Lines{"0.255 k waited; 26 % of all lost frames fell there; it was worst then",
                   "0.1 packets; that explains 10 % of its lost frames"}));
}

TEST(FlowFaults, WhatWasNamedOnlyForLossesThatItDoesNotExplainIsNoCause) {
  Blamed blamed;
  blamed.by_faults(100);
  const std::string fell = "; 51 % of all lost frames fell there";
  blamed.report["causes"] = {
      cause_of("k", "waited_for_cpu", 0.039, 0.51, "k blinked" + fell),
      cause_of("k", "waited_for_cpu", 0.041, 0.51, "k waited" + fell),
      cause_of("k", "migrated", 0.001, 0.51, "k was moved" + fell),
      cause_of("k", "stopped", 0.039, 0.04, "k stopped; 4 % of all lost frames fell there"),
  };
  Lines told = blamed.after();
  ASSERT_EQ(told.size(), 4U);
  EXPECT_EQ(told.at(0).find("1.0 "), 0U);
  told.erase(told.begin());
  EXPECT_EQ(told, (Lines{"0.0 k waited", "0.0 k stopped", "0.0 k was moved"}));
}

TEST(FlowFaults, NothingIsSaidOfLossesThatAreNotKnown) {
  Blamed blamed;
  blamed.report["causes"] = {kWaited, cause_of("k", "waited_for_cpu", 0.039, 0.51,
                                               "k blinked; 51 % of all lost frames fell there")};
  forget_losses_of_causes(blamed.report, "k");
  EXPECT_EQ(blamed.told(), Lines{"null k waited; it was worst then"});
  blamed.report["causes"] = nullptr;
  forget_losses_of_causes(blamed.report, "k");
  EXPECT_TRUE(blamed.report["causes"].is_null()) << "nobody looked";
}

}  // namespace
}  // namespace shmif::perf::flow_faults
