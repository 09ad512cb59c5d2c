#include "instruments/heat/client_folder.hpp"

#include <stdlib.h>

#include <cstdlib>

#include "shmif/heat_wire.hpp"

namespace shmif::perf {

HeatFolder::HeatFolder() {
  auto made = base::TemporaryFolder::make("shmifperf-heat");
  if (!made) {
    reason_ = made.error().message;
    return;
  }
  folder_.emplace(*std::move(made));
  if (const char* const before = std::getenv(heat::kVariable)) before_ = before;
  ::setenv(heat::kVariable, path().c_str(), 1);
}

HeatFolder::~HeatFolder() {
  if (!folder_) return;
  if (before_) {
    ::setenv(heat::kVariable, before_->c_str(), 1);
  } else {
    ::unsetenv(heat::kVariable);
  }
}

}  // namespace shmif::perf
