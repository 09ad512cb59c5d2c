#include "perf/result/run_result.hpp"

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
  add_figures(*this, other);
  return *this;
}

CpuResult& CpuResult::operator+=(const CpuResult& other) noexcept {
  add_figures(*this, other);
  return *this;
}

}  // namespace shmif::perf
