#pragma once
// FrameFilter: the filter expressions of tcpdump, applied to frames.

#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "shmif/frame.hpp"

namespace shmif {

/// A compiled filter expression of libpcap (pcap-filter(7)), for example "arp or (ip and tcp port
/// 80)". Threads: any number of threads may call matches() at once.
class FrameFilter {
 public:
  /// Compiles `expression`; an empty one matches every frame. Addresses, ports and protocols are
  /// numbers: an expression with a name is refused, because a resolver may take a minute to answer.
  /// Errors: bad_argument, with libpcap's message or the word that is a name (name_in_filter());
  /// not_supported if libpcap is not installed (the empty expression does not need it).
  /// Blocks: for the disk when the process first needs libpcap, never for a resolver.
  static Result<FrameFilter> compile(const std::string& expression);

  FrameFilter(FrameFilter&&) noexcept;  ///< the other may then only be assigned to or destroyed
  FrameFilter& operator=(FrameFilter&&) noexcept;  ///< drops the filter that it had
  ~FrameFilter();

  /// Whether the frame matches. The filter sees only the bytes that the view has, and the true
  /// length of the frame. Blocks: never.
  bool matches(const FrameView& frame) const noexcept;

 private:
  struct Program;
  explicit FrameFilter(std::unique_ptr<Program> program) noexcept;
  std::unique_ptr<Program> program_;  // nullptr: matches every frame
};

/// The first word of a filter (pcap-filter(7)) for which libpcap might ask a resolver: a name of a
/// host, network, port or protocol. Empty if there is none. It returns a part of `filter`. A few
/// words of which libpcap would make numbers are returned, too: a MAC address with hyphens, or the
/// second range behind "portrange". Threads: any. Blocks: never.
std::string_view name_in_filter(std::string_view filter) noexcept;

}  // namespace shmif
