#pragma once
// One capture of several buses.

#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::tools {

/// A pcapng file that `shmifctl dump` has written, and the name of its bus.
struct BusCapture {
  std::string file;
  std::string bus;
};

/// Writes the frames of all captures to the file `to`, in the order of their times, with everything
/// else that is noted in them. Each interface gets the name of its bus as a comment. A capture that
/// ends within a block is taken up to there. Errors: a file cannot be read or written, or is not
/// such a capture; then `to` is removed. Threads: any. Blocks: for the disk.
Result<void> merge_captures(const std::vector<BusCapture>& captures, const std::string& to);

}  // namespace shmif::tools
