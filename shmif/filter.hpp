#pragma once
// FrameFilter: the filter expressions of tcpdump, applied to frames.

#include <memory>
#include <string>

#include "base/result.hpp"
#include "shmif/frame.hpp"

namespace shmif {

/// A compiled filter expression of libpcap (pcap-filter(7)), for example "arp or (ip and tcp port
/// 80)". Threads: any number of threads may call matches() at once.
class FrameFilter {
 public:
  /// Compiles `expression`; an empty one matches every frame. Errors: bad_argument, with libpcap's
  /// message; not_supported if libpcap is not installed (the empty expression does not need it).
  /// Blocks: for the disk when the process first needs libpcap; for the resolver if the expression
  /// contains a host name, never for addresses.
  static Result<FrameFilter> compile(const std::string& expression);

  FrameFilter(FrameFilter&&) noexcept;
  FrameFilter& operator=(FrameFilter&&) noexcept;
  ~FrameFilter();

  bool matches(const FrameView& frame) const noexcept;

 private:
  struct Program;
  explicit FrameFilter(std::unique_ptr<Program> program) noexcept;
  std::unique_ptr<Program> program_;  // nullptr: matches every frame
};

}  // namespace shmif
