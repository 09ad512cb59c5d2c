// shmifctl heal: ends a partition.

#include "tools/shmifctl/asking.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

int run_heal(const CommandLine& line) {
  Options options("heal", "PATH");
  options.bus_first().about(
      R"(Ends the partition of a bus ('shmifctl partition'): all ports hear each other
                   again. Faults and links that are down stay as they are.)");
  add_patience_option(options).example("shmifctl heal /dev/shm/bus0", "end the partition");
  return ask(options.parse(line), {}, "heal");
}

}  // namespace

const Command kHealCommand{"heal", "end the partition of a bus", run_heal};

}  // namespace shmif::tools
