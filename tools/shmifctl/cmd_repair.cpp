// shmifctl repair: frees what dead ports hold, and rebuilds a corrupt ring.

#include <cstdio>

#include "base/text.hpp"
#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

int run_repair(const CommandLine& line) {
  const Arguments args =
      Options("repair", "PATH")
          .bus_first()
          .about(
              R"(Frees what dead ports hold: their slots (rows of the port table), the room in
                 the ring that they had claimed for frames, and the lock. (Other ports free
                 these, too, but only when they need them.) A port is dead when its process has
                 ended without detaching it. When an invariant is broken, repair also rebuilds
                 the ring and keeps every frame that can still be proven whole; attached ports
                 find their place in it by themselves. If the header was overwritten so that the
                 bus does not open any more, repair restores the header first. It does so if at
                 least 4 of 10 fields of the header are still right, and the frames in the ring
                 lead to one another.)")
          .value("mtu", "N",
                 R"(the MTU of the bus, if the header no longer has it. Default: 1500, or more
                    if the largest frame in the ring needs it. While ports are attached, you
                    must give it. With --force, N replaces the MTU in the header)")
          .flag("force",
                R"(restore the header even if one of these is so: it has fewer right fields; the
                   frames do not lead to one another; the file seems to be a copy; the bus is of
                   another version or size. If the first two are both so, --force does not help.
                   On a bus of NetBSD's format: free a lock that a process has held for a
                   second, and drop the newest frame, which it may have been writing. The format
                   does not show whether that process is dead: make sure that it is. A diagnostic
                   kernel that lives ends when it finds its lock freed)")
          .flag("json", "print JSON, for scripts")
          .example("shmifctl repair /dev/shm/rump --force",
                   "free the lock that a killed kernel left held on a bus of NetBSD's format")
          .example("shmifctl repair /dev/shm/bus0", "repair the bus while others go on using it")
          .example("shmifctl repair /dev/shm/bus0 --json | jq .frames_kept",
                   "how many frames were saved; null if the ring was sound")
          .parse(line);
  RepairOptions options;
  if (const auto mtu = args.packet_bytes("mtu")) {
    options.mtu = static_cast<std::uint32_t>(*mtu);
  }
  options.force = args.flag("force");
  const std::string& path = args.positional()[0];
  const RepairReport report = Bus::repair(path, options).value();
  note_done("the bus " + path + " is repaired; 'shmifctl audit' checks it");
  const std::string text = args.flag("json")
                               ? to_json(path, report, Bus::open(path).value().info().format)
                               : base::printable(path) + ": " + to_text(report) + '\n';
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kDone;
}

}  // namespace

const Command kRepairCommand{"repair", "free what dead ports hold, rebuild a corrupt ring",
                             run_repair};

}  // namespace shmif::tools
