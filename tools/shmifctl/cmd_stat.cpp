// shmifctl stat: shows the state of a bus and its ports.

#include <cstdio>
#include <vector>

#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

int run_stat(const CommandLine& line) {
  const Arguments args =
      Options("stat", "PATH")
          .bus_first()
          .about(
              R"(Shows the sizes of a bus, where its oldest frame begins and its newest one
                 ends, who holds its lock, and every port with its counters. Signs of trouble:
                 lost_frames (the port was too slow), too_long, and corrupt (the memory was
                 overwritten; run 'shmifctl repair'). The manual page explains every field. If a
                 table is too wide for the terminal, its other columns follow below. Only needs
                 read permission, and does not disturb the bus.)")
          .flag("json", "print JSON, for scripts")
          .example("shmifctl stat /dev/shm/bus0", "a look at the bus")
          .example("shmifctl stat /dev/shm/bus0 --json | jq '.ports[] | {name, lost_frames}'",
                   "what each port has lost")
          .parse(line);
  const Bus bus = look_at(args.positional()[0]);
  const BusInfo info = bus.info();
  const std::vector<LineState> lines = line_states(bus);
  const std::string text =
      args.flag("json") ? to_json(info, &lines) : to_text(info, terminal_columns(), &lines);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kDone;
}

}  // namespace

const Command kStatCommand{"stat", "show a bus, its ports and their counters", run_stat};

}  // namespace shmif::tools
