#include "tools/show/ping_report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/nearest_rank.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

namespace {

double microseconds(std::uint64_t ns) {
  return static_cast<double>(ns) / 1000;
}

struct RoundTrips {
  std::uint64_t min = 0, p50 = 0, p99 = 0, max = 0;  // nanoseconds
};

/// Sorts `times`.
RoundTrips figures_of(std::vector<std::uint64_t>& times) {
  std::ranges::sort(times);
  const auto percentile = [&times](double per_cent) {
    return times.at(base::nearest_rank(times.size(), per_cent) - 1);
  };
  return {times.front(), percentile(50), percentile(99), times.back()};
}

std::string label(const MacAddress& mac, const PingResponder& from) {
  return from.name.empty() ? mac.to_string() : from.name + " (" + mac.to_string() + ')';
}

}  // namespace

std::string ping_answer_text(MacAddress mac, const PingResponder& from, std::uint32_t sequence,
                             std::uint64_t round_trip_ns) {
  char text[64];
  std::snprintf(text, sizeof text, ": seq %u, %.1f us\n", static_cast<unsigned>(sequence),
                microseconds(round_trip_ns));
  return label(mac, from) + text;
}

std::string ping_text(std::uint64_t sent, PingResponders responders) {
  std::string out;
  for (auto& [mac, from] : responders) {
    const RoundTrips times = figures_of(from.round_trips_ns);
    const std::uint64_t answered = from.round_trips_ns.size();
    const std::uint64_t lost = sent - answered;
    char text[256];
    std::snprintf(text, sizeof text,
                  ": %llu sent, %llu answered, %llu lost (%.1f %%)\n"
                  // On its own line: both lines fit in 80 columns.
                  "  min/p50/p99/max %.1f/%.1f/%.1f/%.1f us\n",
                  static_cast<unsigned long long>(sent), static_cast<unsigned long long>(answered),
                  static_cast<unsigned long long>(lost),
                  100.0 * static_cast<double>(lost) / static_cast<double>(sent),
                  microseconds(times.min), microseconds(times.p50), microseconds(times.p99),
                  microseconds(times.max));
    out += label(mac, from) + text;
  }
  return out;
}

std::string ping_json(const std::string& path, std::uint64_t sent, PingResponders responders) {
  Json out{{"path", path}, {"sent", sent}, {"responders", Json::array()}};
  for (auto& [mac, from] : responders) {
    const RoundTrips times = figures_of(from.round_trips_ns);
    const std::uint64_t answered = from.round_trips_ns.size();
    out["responders"].push_back({{"name", from.name},
                                 {"mac", mac.to_string()},
                                 {"answered", answered},
                                 {"lost", sent - answered},
                                 {"rtt_ns_min", times.min},
                                 {"rtt_ns_p50", times.p50},
                                 {"rtt_ns_p99", times.p99},
                                 {"rtt_ns_max", times.max}});
  }
  return json_text(out);
}

}  // namespace shmif::tools
