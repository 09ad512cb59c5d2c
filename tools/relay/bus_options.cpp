#include "tools/relay/bus_options.hpp"

namespace shmif::tools {

void add_bus_options(Options& options) {
  options.flag("create", "make a bus that does not exist yet")
      .value("size", "BYTES",
             "with --create: the ring size, a power of two from 64K to 1G (default 4M)")
      .value("mtu", "N", "with --create: the MTU, 68 to 65521 (default 1500)");
}

void add_offload_option(Options& options) {
  options.flag("no-offload",
               "disable TSO/GSO and checksum offload on the devices of this command. By default "
               "they send super-frames (unsegmented packets of up to 64 KiB) over the bus; a "
               "port that cannot take those gets their segments");
}

BusWish bus_wish(const Arguments& args) {
  BusWish wish;
  wish.create = args.flag("create");
  if (const auto bytes = args.size("size")) {
    wish.options.ring_bytes = *bytes;
    wish.ring_bytes_asked = true;
  }
  if (const auto mtu = args.packet_bytes("mtu")) {
    wish.options.mtu = static_cast<std::uint32_t>(*mtu);
    wish.mtu_asked = true;
  }
  if (!wish.create && (wish.ring_bytes_asked || wish.mtu_asked)) {
    throw UsageError{"--size and --mtu apply only to a new bus: give --create, too"};
  }
  return wish;
}

Result<Bus> provide_bus(const std::string& path, const BusWish& wish) {
  if (wish.create)
    return Bus::create_if_missing(path, wish.options, wish.ring_bytes_asked, wish.mtu_asked);
  return Bus::open(path);
}

}  // namespace shmif::tools
