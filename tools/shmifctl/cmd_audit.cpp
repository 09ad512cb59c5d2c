// shmifctl audit: checks every invariant of a bus and changes nothing.

#include <cstdio>

#include "base/text.hpp"
#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
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

}  // namespace

const Command kAuditCommand{"audit", "check that a bus is intact", run_audit};

}  // namespace shmif::tools
