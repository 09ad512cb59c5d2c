// shmifctl move: lets a port join another bus while its host runs.

#include <filesystem>

#include "tools/shmifctl/asking.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

int run_move(const CommandLine& line) {
  Options options("move", "PATH PORT TO");
  options.bus_first()
      .about(
          R"(Moves a host from one bus to another while it runs, as if its cable were plugged into
             another switch. It keeps its name, addresses and faults; a partition is left behind.
             TO is the path of a bus in the same directory, with the same owner, group, mode, MTU
             and super-frames. Hosts of 'exec' and 'tap' can move.)")
      .words(3, 3);
  add_patience_option(options).example("shmifctl move /dev/shm/bus0 web /dev/shm/bus1",
                                       "plug the host \"web\" into another bus");
  const Arguments args = options.parse(line);
  const std::string& to = args.positional()[2];
  if (to.empty()) throw UsageError{"\"\" is not a bus (give the path of the other bus)"};
  return ask(args, port_of(args), "move " + std::filesystem::absolute(to).string());
}

}  // namespace

const Command kMoveCommand{"move", "move a host to another bus while it runs", run_move};

}  // namespace shmif::tools
