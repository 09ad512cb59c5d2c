#include "perf/result/run_result.hpp"

#include <algorithm>

namespace shmif::perf {

const char* word_of(FlowResult::Kind kind) noexcept {
  switch (kind) {
    case FlowResult::Kind::data: break;
    case FlowResult::Kind::request: return "request";
    case FlowResult::Kind::reply: return "reply";
  }
  return "data";
}

FlowResult& FlowResult::operator+=(const FlowResult& other) {
  sent += other.sent;
  received += other.received;
  lost += other.lost;
  duplicates += other.duplicates;
  reordered += other.reordered;
  corrupt += other.corrupt;
  truncated += other.truncated;
  corrupt_copies += other.corrupt_copies;
  truncated_copies += other.truncated_copies;
  late += other.late;
  cancelled += other.cancelled;
  unverified += other.unverified;
  if (other.jitter_ns) jitter_ns = std::max(jitter_ns.value_or(0), *other.jitter_ns);
  verification_complete = verification_complete && other.verification_complete;
  return *this;
}

CpuResult& CpuResult::operator+=(const CpuResult& other) noexcept {
  user_seconds += other.user_seconds;
  system_seconds += other.system_seconds;
  voluntary_switches += other.voluntary_switches;
  involuntary_switches += other.involuntary_switches;
  minor_faults += other.minor_faults;
  major_faults += other.major_faults;
  return *this;
}

}  // namespace shmif::perf
