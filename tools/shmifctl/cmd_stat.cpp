// shmifctl stat, ps: the state of a bus and its ports; the hosts on it.

#include <cstdio>
#include <vector>

#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/hosts.hpp"

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

int run_ps(const CommandLine& line) {
  const Arguments args =
      Options("ps", "PATH")
          .bus_first()
          .about(
              R"(Lists the hosts that 'shmifctl exec' runs on the bus: their names, addresses
                 and programs. PID is the number that the program has outside the host.
                 ('shmifctl stat' shows another PID: that of 'shmifctl exec' itself, which is
                 not in the host's network.) 'shmifctl enter' runs a program in a host. To enter
                 only a host's network, and keep your own files, use 'nsenter -t PID -n' if root
                 started the host, or else 'nsenter -t PID -U --preserve-credentials -n'. For
                 hosts of other users, only the names are shown.)")
          .flag("json", "print JSON, for scripts")
          .example("shmifctl ps /dev/shm/bus0", "which hosts there are")
          .example(
              "shmifctl ps /dev/shm/bus0 --json | jq -r '.hosts[] | .interfaces[].addresses[]'",
              "the addresses of all hosts")
          .parse(line);
  const Bus bus = look_at(args.positional()[0]);
  const BusInfo info = bus.info();
  check_port_table(info, "list the hosts on").value();
  std::vector<Host> hosts = hosts_of(info);
  for (Host& host : hosts) read_command(host);
  const std::string text = args.flag("json") ? to_json(info.path, hosts) : to_text(hosts);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kDone;
}

}  // namespace

const Command kStatCommand{"stat", "show a bus, its ports and their counters", run_stat};
const Command kPsCommand{"ps", "list the hosts on a bus and what they run", run_ps};

}  // namespace shmif::tools
