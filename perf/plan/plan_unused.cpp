#include <algorithm>
#include <set>

#include "perf/engine/engine.hpp"
#include "perf/plan/plan_checks.hpp"

namespace shmif::perf {
namespace {

struct Use {
  const char* option;
  bool (*used)(const JobOptions&);
  const char* of;
};

template <EngineKind... kinds>
bool on(const JobOptions& job) {
  return ((job.engine == kinds) || ...);
}
bool searches(const JobOptions& job) {
  return job.search != Search::none;
}
bool searches_latency(const JobOptions& job) {
  return job.search == Search::latency_target;
}

bool is_tcp(const JobOptions& job) {
  return job.engine == EngineKind::host && job.proto == HostProtocol::tcp;
}
bool makes_frames(const JobOptions& job) {
  return job.replay.empty();
}
/// Whether the job sets the pace, or sends as fast as possible: not at the times of a capture.
bool has_own_pace(const JobOptions& job) {
  return job.replay.empty() || job.replay_no_stall || job.rate_bps.tx != 0 || job.rate_fps.tx != 0;
}
bool has_times_of_capture(const JobOptions& job) {
  return !has_own_pace(job);
}
constexpr const char* kMadeFrames = "is for made frames, and replay sends those of a file";
constexpr const char* kOwnPace =
    "has no effect with replay, whose capture has its own times, without rate, rate_iops or "
    "replay_no_stall";

constexpr Use kUses[] = {
    {"mss", is_tcp, "is for engine=host with proto=tcp"},
    {"congestion", is_tcp, "is for engine=host with proto=tcp"},
    {"window", on<EngineKind::host>, "is for engine=host"},
    {"dscp", on<EngineKind::host>, "is for engine=host"},
    {"netdev", on<EngineKind::tap, EngineKind::packet>, "is for engine=tap and packet"},
    {"netns", on<EngineKind::tap, EngineKind::packet>, "is for engine=tap and packet"},
    {"filename", on<EngineKind::pcap>, "is for engine=pcap"},
    {"hostname", on<EngineKind::udp>, "is for engine=udp"},
    {"port", on<EngineKind::udp>, "is for engine=udp"},
    {"proto", on<EngineKind::host>, "is for engine=host"},
    {"search_resolution", searches, "is for a search, and there is none"},
    {"search_max_iops", searches, "is for a search, and there is none"},
    {"search_trial", searches, "is for a search, and there is none"},
    {"bs", makes_frames, kMadeFrames},
    {"bsrange", makes_frames, kMadeFrames},
    {"bssplit", makes_frames, kMadeFrames},
    {"payload", makes_frames, kMadeFrames},
    {"buffer_pattern", makes_frames, kMadeFrames},
    {"buffer_compress_percentage", makes_frames, kMadeFrames},
    {"vlan", makes_frames, kMadeFrames},
    {"thinktime", has_own_pace, kOwnPace},
    {"rate_catchup", has_own_pace, kOwnPace},
    {"rate_process", has_own_pace, kOwnPace},
    {"rate_overhead", has_own_pace, kOwnPace},
    {"replay_time_scale", has_times_of_capture,
     "is for replay at the times of a capture, and there is none, or it has its own pace"},
    {"latency_percentile", searches_latency, "is for search=latency_target"},
};

}  // namespace

std::vector<std::pair<std::size_t, std::string>> unused_options(
    std::span<const JobOptions* const> jobs) {
  std::vector<std::pair<std::size_t, std::string>> unused;
  for (const Use& use : kUses) {
    std::set<std::string> used;
    const auto given_values = [&](const JobOptions& job, const auto& each) {
      for (const auto& [name, value] : job.given) {
        if (name == use.option) each(value);
      }
    };
    for (const JobOptions* const job : jobs) {
      if (use.used(*job)) given_values(*job, [&](const auto& value) { used.insert(value); });
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      bool idle = false;
      if (!use.used(*jobs[i])) {
        given_values(*jobs[i], [&](const auto& value) { idle = idle || !used.contains(value); });
      }
      if (idle) unused.emplace_back(i, std::string(use.option) + ": " + use.of + " (leave it out)");
    }
  }
  return unused;
}

}  // namespace shmif::perf
