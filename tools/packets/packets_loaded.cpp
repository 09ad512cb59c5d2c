#include "tools/common/module.hpp"
#include "tools/packets/packets.hpp"

namespace shmif::tools {

const Packets& packets() {
  static const Packets& loaded =
      load_module<Packets>({.file = "shmifctl_packets.so",
                            .table = "shmifctl_packets",
                            .what = "the part of shmifctl that reads packets",
                            .libraries = "libtins",
                            .detour = ""},
                           SHMIFCTL_PACKETS_INTERFACE);
  return loaded;
}

}  // namespace shmif::tools
