#pragma once
// Where processes that are started from here share their access heat.

#include <optional>
#include <string>

namespace shmif::perf {

/// A new directory, in $TMPDIR or /tmp. SHMIF_HEAT names it while this object lives; then both are
/// as before. Make it before the processes, and while no other thread reads the environment.
class HeatFolder {
 public:
  HeatFolder();
  HeatFolder(const HeatFolder&) = delete;
  HeatFolder& operator=(const HeatFolder&) = delete;
  ~HeatFolder();

  const std::string& path() const noexcept { return path_; }
  /// Why there is none; empty: there is one.
  const std::string& reason() const noexcept { return reason_; }

 private:
  std::string path_;
  std::string reason_;
  std::optional<std::string> before_;  ///< what SHMIF_HEAT was
};

}  // namespace shmif::perf
