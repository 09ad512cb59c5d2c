// shmifctl uplink: joins the buses of several machines.

#include "base/standard_streams.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/uplink/uplink_wish.hpp"

namespace shmif::tools {
namespace {

Options uplink_options() {
  Options options("uplink", "PATH");
  options.bus_first()
      .about(
          R"(Joins the bus with buses of other machines into one segment, until a signal ends the
             command. Frames between hosts of one bus stay there. Prints counters at the end.
             There are two ways:

             --vxlan ID: the kernel's VXLAN, as root, for any number of machines. Run this command
             with the same ID on each of them. Give the addresses of the other machines with
             --remote, or let FRR find the machines, with --evpn. The devices are in a network
             namespace of the command's own, and are removed with it, also when it is killed.
             The network between the machines must carry packets that are 50 bytes longer than the
             MTU of the bus (IPv6: 70). If it does not, the command says what to set.

             --ssh HOST:PATH: ssh, without privileges, for two machines. The command starts itself
             on the other machine, and connects again whenever the line is cut. If the first try
             fails, it exits 1.

             Two buses must be joined in one way only. If a second way brings frames back, the
             command says so; if that goes on, it exits 1. It also exits 1 if the bus was
             removed.)")
      .value("vxlan", "ID", "the number of the segment, 0 to 16777215, the same on all machines")
      .repeatable("remote", "ADDRESS", "another machine; all addresses are IPv4, or all are IPv6")
      .repeatable("evpn", "ADDRESS",
                  R"(a BGP peer: another machine, or a route reflector. Runs FRR's zebra and bgpd.
                     The peer listens on TCP port 179)")
      .value("asn", "N", "the autonomous system number (AS) of this machine and of all its peers")
      .value("local", "ADDRESS",
             R"(this machine's address, which the others give with --remote (default: the source
                address of the kernel's route to them))")
      .value("udp-port", "N",
             "the UDP port of VXLAN with --remote, on all machines (default: 4789)")
      .value("ssh", "HOST:PATH", "the other machine, as for ssh, and the path of its bus")
      .repeatable("ssh-option", "NAME=VALUE",
                  "an option of ssh_config(5), before those of the command and of your own file")
      .value("far-program", "COMMAND",
             "what to run on the other machine (default: shmifctl); its shell splits it")
      .flag("stdio",
            "for --ssh, which runs this on the other machine: frames on standard input and output")
      .value("port-name", "NAME",
             R"(the port's name on the bus, and with --ssh on both (default: uplink, or the next
                free portN))")
      .flag("json",
            R"(print the counters as JSON, for scripts; all other output goes to standard error)");
  add_fault_option(options, "of the line between the bus and the other machines");
  add_bus_options(options);
  add_offload_option(options);
  options
      .example(
          "shmifctl uplink /dev/shm/bus0 --create --mtu 1450 --vxlan 42 "
          "--remote 198.18.0.2 --remote 198.18.0.3",
          "join the buses of three machines (as root on each of them)")
      .example("shmifctl uplink /dev/shm/bus0 --vxlan 42 --evpn 198.18.0.2 --asn 65000",
               "the same; the BGP peer says which machines there are")
      .example("shmifctl uplink /dev/shm/bus0 --ssh user@b:/dev/shm/bus0",
               "join the bus of machine b, without privileges")
      .example(
          "shmifctl uplink /dev/shm/bus0 --ssh b:/dev/shm/bus0 --fault 'delay=20ms±2ms,loss=0.1%'",
          "the same, with the delay and the losses of a long way")
      .example(
          "timeout 60 shmifctl uplink /dev/shm/bus0 --ssh b:/dev/shm/bus0 --json | "
          "jq '.directions[], .far'",
          "for a minute; what each side sent and lost");
  return options;
}

int run_uplink(const CommandLine& line) {
  const Arguments args = uplink_options().parse(line);
  const UplinkWish wish = read_uplink_wish(args);
  if (wish.way == UplinkWay::stdio) return run_stdio_uplink(wish);
  const JsonOutput json(args.flag("json"));
  if (!json.is_wanted()) base::let_lost_output_vanish();
  return wish.way == UplinkWay::ssh ? run_ssh_uplink(wish, json) : run_vxlan_uplink(wish, json);
}

}  // namespace

const Command kUplinkCommand{"uplink", "join the buses of several machines into one segment",
                             run_uplink};

}  // namespace shmif::tools
