#pragma once
// Captures for the page: the frames of a bus as a pcapng file without a name.

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/unique_fd.hpp"

namespace shmif::tools {

struct WantedCapture {
  std::string bus{};     ///< its path
  std::string filter{};  ///< as man pcap-filter; empty: all frames
  /// 0: what is in the ring now. Otherwise the frames of that time from now on.
  std::chrono::seconds seconds{0};
  std::function<bool()> is_over = [] { return false; };  ///< whether to end early
};

/// A file that has no name any more, so it vanishes with its last descriptor.
struct RecordedFrames {
  UniqueFd file;
  std::uint64_t bytes = 0;
  std::uint64_t frames = 0;
  bool is_cut = false;  ///< it was full (kMaxCaptureBytes) before the time was over
};

inline constexpr std::uint64_t kMaxCaptureBytes = 64U << 20U;

/// Records without a port: senders never wait for it. Throws Exception: bad_argument for a filter,
/// and the errors of the bus and of the disk. Blocks: for `seconds`, and while the ring is read.
RecordedFrames record_frames(const WantedCapture& wanted);

}  // namespace shmif::tools
