// For tests, which run commands in their own process and have the module's code in it.

#include "tools/packets/packets.hpp"

namespace shmif::tools {

const Packets& packets() {
  return shmifctl_packets;
}

}  // namespace shmif::tools
