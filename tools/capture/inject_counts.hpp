#pragma once
// The summary that `shmifctl inject` prints at its end.

#include <cstdint>
#include <string>

namespace shmif::tools {

/// What became of the records of a capture, in all rounds of --loop together. Each frame that was
/// read was sent, was too long, or is `unsent`.
struct InjectCounts {
  std::uint64_t rounds = 0;
  std::uint64_t sent = 0, bytes = 0;
  std::uint64_t too_long = 0;   ///< for this bus, or for any
  std::uint64_t longest = 0;    ///< bytes of the longest of these
  std::uint64_t unsent = 0;     ///< read, but sending failed, or a signal came first
  std::uint64_t cut_short = 0;  ///< frames whose end the capture lacks; these were read
  std::uint64_t skipped = 0;    ///< records without an Ethernet header
  /// Frames that the capture marks as unsegmented.
  std::uint64_t unsegmented = 0;
  std::uint64_t max_frame_bytes = 0;  ///< what the bus takes
};

/// "100 frames sent, 10.7 KiB"
std::string to_text(const InjectCounts& counts);

/// The same as JSON, with all numbers. `path`: of the bus. `file`: the capture.
std::string to_json(const std::string& path, const std::string& file, const InjectCounts& counts);

}  // namespace shmif::tools
