// A module of another build, as far as the program can tell.

#include "tools/packets/packets.hpp"

extern "C" const shmif::tools::Packets shmifctl_packets{"of another build", nullptr, nullptr};
