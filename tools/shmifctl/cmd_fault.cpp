// shmifctl fault: sets the faults of a port's line while it runs, or shows them.

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "shmif/control/change.hpp"
#include "tools/shmifctl/asking.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

/// Prints what holds on the line of a port.
int show_line(const std::string& path, const std::string& port) {
  const Bus bus = look_at(path);
  check_port_table(bus.info(), "show a line of").value();
  const auto lines = line_states(bus);
  const auto found = std::ranges::find(lines, port, &LineState::port);
  if (found == lines.end()) {
    return fail("cannot show the line of port \"" + port + "\" of " + path +
                ": no such port ('shmifctl stat' lists the ports)");
  }
  const std::string line = !found->text.empty() ? found->text
                           : found->takes_changes
                               ? "no faults"
                               : "not known, because its program takes no changes";
  std::printf("%s\n", base::printable("port " + port + ": " + line).c_str());
  return kDone;
}

/// Whether the line is PORT SPEC. Every fault has a "="; the path of a bus is not followed by one.
bool lacks_bus_of_fault(const Arguments& args) {
  const std::vector<std::string>& words = args.positional();
  return words.size() == 2 && words[1].find('=') != std::string::npos;
}

int run_fault(const CommandLine& line) {
  Options options("fault", "PATH PORT [SPEC]");
  options.bus_first("", lacks_bus_of_fault)
      .about(
          R"(Sets the faults on the line of a port while its host runs: SPEC replaces those that it
             had. The process that owns the port applies the change; anyone who may write the bus
             may ask for it. Without SPEC, prints what holds on the line now. SPEC is written as for
             'exec --fault'; "in:SPEC" is for the frames that the host receives only, "out:SPEC"
             for those that it sends. The same seed gives the same losses for the same frames.)")
      .words(2, 3)
      .flag("none", "end all faults of the line");
  add_patience_option(options)
      .example("shmifctl fault /dev/shm/bus0 web loss=5%,delay=20ms,seed=7",
               "make the line of the host \"web\" a bad one")
      .example("shmifctl fault /dev/shm/bus0 web --none", "mend it")
      .example("shmifctl fault /dev/shm/bus0 web", "look at it");
  const Arguments args = options.parse(line);
  const std::string& port = port_of(args);
  const bool has_spec = args.positional().size() == 3;
  if (has_spec && args.flag("none"))
    throw UsageError{"SPEC and --none exclude each other (leave one of them out)"};
  if (has_spec && args.positional()[2].find_first_not_of(" \t") == std::string::npos)
    throw UsageError{"the faults are empty (write them, such as loss=5%, or give --none)"};
  if (has_spec) return ask(args, port, "fault " + args.positional()[2]);
  if (args.flag("none")) return ask(args, port, "fault none");
  return show_line(args.positional()[0], port);
}

}  // namespace

const Command kFaultCommand{"fault", "set or show the faults of a port's line while it runs",
                            run_fault};

}  // namespace shmif::tools
