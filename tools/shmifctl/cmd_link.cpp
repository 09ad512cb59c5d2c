// shmifctl link: takes the link of a port down, or up again.

#include "tools/shmifctl/asking.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

int run_link(const CommandLine& line) {
  Options options("link", "PATH PORT {--down | --up}");
  options.bus_first()
      .about(
          R"(Takes the link of a port down while its host runs, as if somebody pulled its cable:
             the host sees that its interface has no carrier, and no frame passes. Addresses and
             routes stay. With --up, the carrier comes back. The port stays attached, and keeps
             its name. The process that owns the port applies the change; anyone who may write
             the bus may ask for it.)")
      .words(2, 2)
      .flag("down", "no carrier, and no frames")
      .flag("up", "carrier again");
  add_patience_option(options)
      .example("shmifctl link /dev/shm/bus0 web --down", "pull the cable of the host \"web\"")
      .example("shmifctl link /dev/shm/bus0 web --up", "plug it in again");
  const Arguments args = options.parse(line);
  if (args.flag("down") == args.flag("up")) throw UsageError{"give either --down or --up"};
  return ask(args, port_of(args), args.flag("up") ? "link up" : "link down");
}

}  // namespace

const Command kLinkCommand{"link", "take the link of a port down, or up again", run_link};

}  // namespace shmif::tools
