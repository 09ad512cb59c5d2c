#pragma once
// LabFeed: what the page says of a lab beyond its buses, looked at again and again.

#include <memory>
#include <string>

#include "tools/common/json.hpp"

namespace shmif::tools {

/// Names a lab, for looking at it again.
struct ServedLab {
  std::string name;
  std::string folder;  ///< of its state
  std::string file;    ///< that describes it
};

/// Threads: one at a time. Blocks: for the disk.
class LabFeed {
 public:
  explicit LabFeed(ServedLab lab);

  /// Whether the lab runs, and the hosts of its file, whether or not they are up: what docs/page.md
  /// calls the lab of the state. A lab that is down has the hosts that it had before.
  Json look();

 private:
  ServedLab lab_;
  std::shared_ptr<const Json> hosts_;  // shared, so that feeds can be moved
};

}  // namespace shmif::tools
