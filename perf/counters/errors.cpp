#include "perf/counters/errors.hpp"

#include <string>

namespace shmif::perf {
namespace {

class CounterCategory final : public std::error_category {
 public:
  const char* name() const noexcept override { return "shmif counters"; }
  std::string message(int value) const override {
    switch (static_cast<CounterErrc>(value)) {
      case CounterErrc::busy: return "the session is busy";
      case CounterErrc::invalid: return "not possible in this state";
      case CounterErrc::bad_session: return "no such session";
    }
    return "unknown error";
  }
};

}  // namespace

const std::error_category& counter_error_category() noexcept {
  static const CounterCategory category;
  return category;
}

}  // namespace shmif::perf
