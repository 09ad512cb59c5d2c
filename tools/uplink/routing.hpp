#pragma once
// Routing: FRR's zebra and bgpd, which tell the kernel's bridge which machine has which address
// (EVPN, RFC 8365).
//
// bgpd is in this machine's namespace, because its peers are there. zebra is in the private one, in
// which the bridge and the VXLAN device are. The two speak over a socket in a folder /run that only
// they see, so an FRR that the machine runs for itself is not touched. Both are the children of a
// process that is the first one of a PID namespace of its own: when it ends, the kernel ends both.
// It ends with this process, also when this is killed. (A death signal does not suffice: FRR's
// programs change their user, and then the kernel forgets it.)

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tap/cidr.hpp"
#include "tap/netns.hpp"

namespace shmif::tools {

struct RoutingWish {
  tap::IpAddress local = {};               ///< source of the sessions; IPv4
  std::uint32_t asn = 0;                   ///< of this machine and of all peers
  std::vector<tap::IpAddress> peers = {};  ///< IPv4
};

/// What bgpd reads when it starts.
std::string bgpd_configuration(const RoutingWish& wish);

/// Threads: one at a time.
class Routing {
 public:
  /// Starts both programs. Throws: not_supported if FRR is not installed; an errno. Blocks: no
  /// longer than a fork does.
  Routing(const RoutingWish& wish, const tap::NetNamespace& inner);
  Routing(const Routing&) = delete;
  Routing& operator=(const Routing&) = delete;
  /// Ends both programs. Blocks: until they have ended.
  ~Routing();

  /// Readable when the programs have written something, or have ended.
  int output() const noexcept { return output_.get(); }
  /// Reads that, and tells of peers that come and go. Result: false if the programs have ended.
  bool read_output();
  bool has_ended() const noexcept { return ended_; }
  /// What they wrote last.
  std::string why_ended() const;

 private:
  void take_line(const std::string& line);

  pid_t process_ = -1;
  UniqueFd output_;
  std::string begun_;  ///< of a line that has not yet ended
  std::vector<std::string> last_lines_;
  bool ended_ = false;
};

}  // namespace shmif::tools
