#include "perf/heat/client_folder.hpp"

#include <stdlib.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/result.hpp"
#include "shmif/heat_wire.hpp"

namespace shmif::perf {
namespace {

/// Socket paths begin with it, and have at most 107 bytes.
std::string temporary_folder() {
  constexpr std::size_t kMaxPath = 60;
  const char* const wanted = std::getenv("TMPDIR");
  const std::string named = wanted == nullptr ? "" : wanted;
  return named.starts_with('/') && named.size() <= kMaxPath ? named : "/tmp";
}

}  // namespace

HeatFolder::HeatFolder() {
  std::string path = temporary_folder() + "/shmifperf-heat-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) {
    reason_ = Error::from_errno(errno, "cannot make the directory " + path,
                                "set TMPDIR to a directory that you may write to")
                  .message;
    return;
  }
  path_ = path;
  if (const char* const before = std::getenv(heat::kVariable)) before_ = before;
  ::setenv(heat::kVariable, path_.c_str(), 1);
}

HeatFolder::~HeatFolder() {
  if (path_.empty()) return;
  if (before_) {
    ::setenv(heat::kVariable, before_->c_str(), 1);
  } else {
    ::unsetenv(heat::kVariable);
  }
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace shmif::perf
