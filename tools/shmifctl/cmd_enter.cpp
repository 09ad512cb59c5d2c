// shmifctl enter: runs another program in a running host.

#include "tap/guest/guest.hpp"
#include "tools/common/options.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/hosts.hpp"

namespace shmif::tools {

namespace {

int enter_host(const Arguments& args) {
  Host host = [&] {
    const Bus bus = look_at(args.positional()[0]);
    const BusInfo info = bus.info();
    check_port_table(info, "find a host on").value();
    return host_by_name(info, args.positional()[1]);
  }();
  tap::GuestOptions options;
  options.command = args.program();
  tap::Guest guest = tap::Guest::enter(host.init, host.init_file.get(), std::move(options)).value();
  guest.release().value();
  let_go_of_streams();
  const tap::GuestExit end = guest.wait();
  if (!end.failure.empty()) complain(end.failure);
  return end.status;
}

int run_enter(const CommandLine& line) {
  const Arguments args =
      Options("enter", "PATH NAME -- PROGRAM [ARGUMENT]...")
          .bus_first()
          .about(
              R"(Runs another program in a host that 'shmifctl exec' runs. NAME is the name of
                 the host's port. The program sees the interfaces, processes and files of the
                 host, and has its user and group ids. Standard input and output, the terminal
                 and signals pass through as with exec, and so does the exit status (125:
                 shmifctl failed; 126: the program cannot be executed; 127: there is no such
                 program). Processes that the program leaves behind stay until the host ends.
                 When the host ends, the program is killed (exit status 137). Only the user who
                 started the host, and root, can use this.)")
          .words(2, 2)
          .takes_program()
          .example("shmifctl enter /dev/shm/bus0 web -- ip addr", "look into the host \"web\"")
          .example("shmifctl enter /dev/shm/bus0 web -- bash", "a second shell in it")
          .parse(line);
  return code_of_program("enter", [&] { return enter_host(args); });
}

}  // namespace

const Command kEnterCommand{"enter", "run another program in a host", run_enter};

}  // namespace shmif::tools
