// For tests, which run commands in their own process and contain the module's code.

#include "tools/packets/packets.hpp"

namespace shmif::tools {

const Packets& packets() {
  return shmifctl_packets;
}

}  // namespace shmif::tools
