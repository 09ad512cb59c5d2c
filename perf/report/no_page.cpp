#include "perf/report/report.hpp"

namespace shmif::perf {

std::span<const std::string_view> page_pieces() noexcept {
  return {};
}

}  // namespace shmif::perf
