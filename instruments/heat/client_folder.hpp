#pragma once
// The directory in which processes that we start share their access heat.

#include <optional>
#include <string>

#include "base/temporary_folder.hpp"

namespace shmif::perf {

/// Makes a new directory in $TMPDIR or /tmp. SHMIF_HEAT names it while this object lives. The
/// destructor removes the directory and restores SHMIF_HEAT. Make this object before the processes
/// start, and while no other thread reads the environment.
class HeatFolder {
 public:
  HeatFolder();
  HeatFolder(const HeatFolder&) = delete;
  HeatFolder& operator=(const HeatFolder&) = delete;
  ~HeatFolder();

  /// Empty if it could not be made.
  std::string path() const { return folder_ ? folder_->path() : std::string(); }
  /// Why the directory could not be made; empty if it was.
  const std::string& reason() const noexcept { return reason_; }

 private:
  std::optional<base::TemporaryFolder> folder_;
  std::string reason_;
  std::optional<std::string> before_;  ///< the earlier value of SHMIF_HEAT
};

}  // namespace shmif::perf
