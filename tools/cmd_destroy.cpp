// shmifctl destroy: removes a bus.

#include "shmif/bus.hpp"
#include "tools/commands.hpp"
#include "tools/options.hpp"

namespace shmif::tools {

namespace {

int run_destroy(const CommandLine& line) {
  const Arguments args = Options("destroy", "PATH")
                             .about(
                                 "Removes the file of a bus. Refuses while live ports are "
                                 "attached. With --force those "
                                 "ports keep the bus they are on, which then has no name any more.")
                             .flag("force", "remove it although live ports are attached")
                             .example("shmifctl destroy /dev/shm/bus0", "when everybody has left")
                             .parse(line);
  Bus::destroy(args.positional()[0], args.flag("force")).value();
  return kDone;
}

}  // namespace

const Command kDestroyCommand{"destroy", "remove a bus", run_destroy};

}  // namespace shmif::tools
