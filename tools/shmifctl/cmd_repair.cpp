// shmifctl audit, repair: checks every invariant of a bus and changes nothing; or frees what dead
// ports hold, and rebuilds a corrupt ring.

#include <cstdio>

#include "base/text.hpp"
#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

int run_audit(const CommandLine& line) {
  const Arguments args = Options("audit", "PATH")
                             .bus_first()
                             .about(
                                 R"(Checks that the data structures of a bus are intact, and
                                    changes nothing. The rules that it checks are called
                                    invariants; docs/theory-of-operation.md lists them. If some
                                    do not hold, prints them and exits 1; 'shmifctl repair'
                                    repairs the bus. A bus of NetBSD's format can change too
                                    fast to be checked; then audit says so, and exits 1, too.)")
                             .flag("json", "print JSON, for scripts")
                             .example("shmifctl audit /dev/shm/bus0 && echo intact",
                                      "print \"intact\" if every invariant holds")
                             .parse(line);
  const std::string path = args.positional()[0];
  const Bus bus = look_at(path);
  const AuditReport report = bus.audit();
  const std::string text = args.flag("json") ? to_json(path, report) : to_text(path, report);
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (report.clean()) return kDone;
  if (!report.is_known) {
    return fail("cannot tell whether the bus \"" + path +
                "\" is intact: senders changed it at each look (look again when there is less "
                "traffic)");
  }
  const bool one = report.findings.size() == 1;
  // Only the user knows whether the holder of that lock is dead.
  const bool is_held = bus.info().netbsd && report.findings.front().invariant == "N4";
  return fail("bus \"" + path + "\" breaks " + std::to_string(report.findings.size()) +
              (one ? " invariant" : " invariants") + " (repair it with " +
              base::quote_command(is_held ? "shmifctl repair --force" : "shmifctl repair", path) +
              ')');
}

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

const Command kAuditCommand{"audit", "check that a bus is intact", run_audit};
const Command kRepairCommand{"repair", "free what dead ports hold, rebuild a corrupt ring",
                             run_repair};

}  // namespace shmif::tools
