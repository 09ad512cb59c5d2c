// shmifctl repair: frees what the dead hold and rebuilds a corrupt ring.

#include <cstdio>

#include "shmif/bus.hpp"
#include "tools/commands.hpp"
#include "tools/options.hpp"

namespace shmif::tools {

namespace {

std::string counted(std::uint64_t n, const char* thing) {
  return std::to_string(n) + ' ' + thing + (n == 1 ? "" : "s");
}

std::string as_text(const RepairReport& report) {
  std::string out;
  const auto add = [&out](const std::string& what) { out += (out.empty() ? "" : ", ") + what; };
  if (!report.header_restored.empty()) {
    std::string fields;
    for (const std::string& field : report.header_restored) {
      fields += (fields.empty() ? "" : ", ") + field;
    }
    add("restored the header (" + fields + ')');
  }
  if (report.ports_freed != 0) add("freed " + counted(report.ports_freed, "dead port"));
  if (report.claims_cleared != 0) add("cleared " + counted(report.claims_cleared, "claim"));
  if (report.lock_released) add("released the lock");
  if (report.ring_rebuilt) {
    add("rebuilt the ring keeping " + counted(report.frames_kept, "frame") + " (epoch " +
        std::to_string(report.epoch) + ')');
  }
  return out.empty() ? "nothing to repair" : out;
}

int run_repair(const CommandLine& line) {
  const Arguments args =
      Options("repair", "PATH")
          .about(
              "Frees what dead ports hold: their slots, their claims, the lock. When an invariant "
              "is broken, it also rebuilds the ring and keeps every frame that can still be proven "
              "whole; attached ports find their place in it by themselves. If the bus does not "
              "open any more, because its header was overwritten, it restores the header first.")
          .value("mtu", "N",
                 "the MTU, if the header no longer has it; with --force also if it has another")
          .flag("force",
                "restore the header even if only the header or only the ring shows that the file "
                "is a bus, or if it seems to be a copy, of another version, or of another size")
          .example("shmifctl repair /dev/shm/bus0", "repair the bus while others go on using it")
          .parse(line);
  RepairOptions options;
  if (const auto mtu = args.packet_bytes("mtu")) {
    options.mtu = static_cast<std::uint32_t>(*mtu);
  }
  options.force = args.flag("force");
  const RepairReport report = Bus::repair(args.positional()[0], options).value();
  std::printf("%s: %s\n", args.positional()[0].c_str(), as_text(report).c_str());
  return kDone;
}

}  // namespace

const Command kRepairCommand{"repair", "free what dead ports hold, rebuild a corrupt ring",
                             run_repair};

}  // namespace shmif::tools
