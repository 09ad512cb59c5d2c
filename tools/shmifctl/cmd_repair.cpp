// shmifctl repair: frees what dead ports hold, and rebuilds a corrupt ring.

#include <cstdio>

#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

int run_repair(const CommandLine& line) {
  const Arguments args =
      Options("repair", "PATH")
          .about(
              "Frees what dead ports hold: their slots, the space in the ring that they had "
              "reserved, and the lock. When an invariant is broken, it also rebuilds the ring and "
              "keeps every frame that can still be proven whole; attached ports find their place "
              "in it by themselves. If the bus does not open any more, because its header was "
              "overwritten, it restores the header first.")
          .value("mtu", "N",
                 "the MTU of the bus, if the header no longer has it (default: 1500, or what the "
                 "largest frame in the ring needs; no default while ports are attached). With "
                 "--force, it replaces the MTU in the header")
          .flag("force",
                "restore the header even in doubt. Cases of doubt: the header does not look like "
                "that of a bus, or the ring does not (if neither does, the file is refused); the "
                "file seems to be a copy; the bus seems to be of another version or size")
          .example("shmifctl repair /dev/shm/bus0", "repair the bus while others go on using it")
          .parse(line);
  RepairOptions options;
  if (const auto mtu = args.packet_bytes("mtu")) {
    options.mtu = static_cast<std::uint32_t>(*mtu);
  }
  options.force = args.flag("force");
  const RepairReport report = Bus::repair(args.positional()[0], options).value();
  std::printf("%s: %s\n", args.positional()[0].c_str(), to_text(report).c_str());
  return kDone;
}

}  // namespace

const Command kRepairCommand{"repair", "free what dead ports hold, rebuild a corrupt ring",
                             run_repair};

}  // namespace shmif::tools
