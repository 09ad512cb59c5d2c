#pragma once
// What `extcap` asks of `dump`: a capture for a program that reads it as it comes.

#include <string>
#include <vector>

namespace shmif::tools {

struct LiveCapture {
  std::string bus;
  std::string filter;              ///< as man pcap-filter; empty: every frame
  std::vector<std::string> ports;  ///< only frames from these; empty: from any
  bool history = false;            ///< from the oldest frame in the ring on
  bool super_frames = false;       ///< each as one frame
};

/// Writes a pcapng file to standard output, until a signal comes or the reader has gone. Says
/// nothing on standard error if all goes well. Throws as a command does. Result: the exit code.
int capture_live(const LiveCapture& asked);

}  // namespace shmif::tools
