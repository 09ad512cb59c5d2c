#include "tools/relay/bus_options.hpp"

namespace shmif::tools {

void add_bus_options(Options& options) {
  options
      .flag("create",
            R"(make the bus if it does not exist. A bus that exists must have the --size, the
               --mtu and the --flow that are given)")
      .value("size", "BYTES",
             "with --create: the ring size, a power of two from 64K to 1G (default 4M)")
      .value("mtu", "N", "with --create: the MTU, 68 to 65521 (default 1500)")
      .value("flow", "KIND",
             R"(with --create: "pause" makes senders wait for slow ports (default "ethernet":
                they overwrite what a slow port has not read))");
  add_lock_option(options);
}

void add_lock_option(Options& options) {
  options.flag("lock-memory",
               R"(lock the pages of the bus in memory (mlock), so that no frame waits for a page
                  that was swapped out. Fails if the limit of 'ulimit -l' is too small)");
}

void add_offload_option(Options& options, const std::string& also) {
  options.flag("no-offload",
               "neither send nor receive super-frames (unsegmented packets of up to 64 KiB): "
               "disables TSO/GSO and checksum offload on TAP and veth devices" +
                   also +
                   ". Without this option, super-frames cross the bus whole, and a port that does "
                   "not take them cuts them into segments");
}

BusWish bus_wish(const Arguments& args) {
  BusWish wish;
  wish.lock_memory = args.flag("lock-memory");
  wish.create = args.flag("create");
  if (const auto bytes = args.size("size")) {
    wish.options.ring_bytes = *bytes;
    wish.ring_bytes_asked = true;
  }
  if (const auto mtu = args.packet_bytes("mtu")) {
    wish.options.mtu = static_cast<std::uint32_t>(*mtu);
    wish.mtu_asked = true;
  }
  if (const auto flow = flow_option(args)) {
    wish.options.flow = *flow;
    wish.flow_asked = true;
  }
  if (!wish.create && (wish.ring_bytes_asked || wish.mtu_asked || wish.flow_asked)) {
    throw UsageError{"--size, --mtu and --flow apply only to a new bus: give --create, too"};
  }
  return wish;
}

std::optional<Flow> flow_option(const Arguments& args) {
  const auto kind = args.text("flow");
  if (!kind) return std::nullopt;
  for (const Flow flow : {Flow::ethernet, Flow::pause}) {
    if (*kind == to_string(flow)) return flow;
  }
  throw UsageError{"--flow \"" + *kind + "\" is not known (ethernet or pause)"};
}

std::optional<std::string> name_option(const Arguments& args, const std::string& option) {
  auto name = args.text(option);
  if (name && name->empty()) throw UsageError{"--" + option + " needs a name"};
  return name;
}

Result<Bus> provide_bus(const std::string& path, const BusWish& wish) {
  if (!wish.create) return Bus::open(path);
  auto bus = Bus::create_if_missing(path, wish.options, wish.ring_bytes_asked, wish.mtu_asked);
  if (!bus || !wish.flow_asked) return bus;
  const Flow is = bus->info().flow;
  if (is == wish.options.flow) return bus;
  return Error(Errc::geometry_differs,
               "the bus " + path + " exists with the flow " + to_string(is) + ", " +
                   to_string(wish.options.flow) +
                   " was asked for (leave the option out, or destroy the bus first)");
}

}  // namespace shmif::tools
