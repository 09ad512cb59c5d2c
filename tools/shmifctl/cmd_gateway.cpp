// shmifctl gateway: a way from a bus to the world, without privileges.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/standard_streams.hpp"
#include "shmif/bus.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/log.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bridge_peers.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/nat_process.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {
namespace {

Options gateway_options() {
  Options options("gateway", "PATH");
  options.bus_first()
      .about(
          R"(Joins the bus as a router to the world, until a signal ends the command. Needs no
             privileges. Hosts get an address, a route and a name server from it by DHCP. Their
             connections leave this machine as those of your own programs. It runs slirp4netns,
             which serves up to 16 hosts by DHCP, or else passt, which serves one host. It
             starts the program again when that dies; connections through it then break. Nothing
             outside can open a connection to a host. Only IPv4 passes, from and to hosts of the
             gateway's network. A filter refuses this machine's loopback, 169.254.0.0/16,
             multicast and broadcast addresses. Prints counters at the end, also of what was
             refused.)")
      .value("network", "CIDR",
             R"(the network of the hosts (default: 10.0.2.0/24). The gateway is its address 2,
                the name server its address 3, and DHCP gives 15 to 30. The prefix length is 8
                to 25)")
      .flag("loopback",
            R"(the gateway's address leads to 127.0.0.1 of this machine, so hosts reach services
               that listen only there)")
      .flag("link-local",
            "hosts also reach 169.254.0.0/16, such as the services of a cloud at 169.254.169.254")
      .value("with", "slirp4netns|passt",
             "the program to run (default: slirp4netns if it is installed, else passt)")
      .value("port-name", "NAME", "the port's name on the bus (default: gateway)")
      .flag("json",
            R"(print the counters as JSON, for scripts; all other output goes to standard error)");
  add_fault_option(options, "of the line between the gateway and the bus");
  add_bus_options(options);
  options
      .example("shmifctl gateway /dev/shm/bus0",
               "a gateway; 'shmifctl wait /dev/shm/bus0 --port gateway' waits for it")
      .example(
          "shmifctl exec /dev/shm/bus0 --ip 10.0.2.100/24 --gateway 10.0.2.2 --dns 10.0.2.3 "
          "-- bash",
          "a host that uses it without DHCP")
      .example("shmifctl exec /dev/shm/bus0 -- sh -c 'udhcpc -i tap0 -q -n && exec bash'",
               "a host that asks it by DHCP")
      .example("timeout 60 shmifctl gateway /dev/shm/bus0 --json | jq .rule_refused_by_reason",
               "a gateway for a minute; which frames it refused, and why");
  return options;
}

NatWish nat_wish(const Arguments& args) {
  NatWish wish;
  wish.loopback = args.flag("loopback");
  wish.link_local = args.flag("link-local");
  if (const auto text = args.text("network")) {
    auto network = NatNetwork::parse(*text);
    if (!network) throw UsageError{"--network: " + network.error().message};
    wish.network = *network;
  }
  if (const auto text = args.text("with")) {
    if (*text == to_text(NatProgram::slirp4netns)) {
      wish.program = NatProgram::slirp4netns;
    } else if (*text == to_text(NatProgram::passt)) {
      wish.program = NatProgram::passt;
    } else {
      throw UsageError{"--with \"" + *text + "\" is neither slirp4netns nor passt"};
    }
  }
  return wish;
}

/// Finds out which name server answers the hosts, and warns if there is none. `wish.program` must
/// be set.
void find_resolver(NatWish& wish) {
  const std::vector<tap::IpAddress> all = name_servers();
  const auto first = std::ranges::find_if(all, [](const auto& each) { return !each.is_v6(); });
  if (first == all.end()) {
    log_warning(std::string("gateway: hosts cannot look up names, because ") + kResolvConf +
                (all.empty() ? " names no name server"
                             : " names only " + all.front().to_string() +
                                   ", and the gateway passes IPv4 only") +
                " (add a line there, such as \"nameserver 198.18.0.53\", and start the gateway "
                "again)");
    return;
  }
  wish.resolver = *first;
  const std::vector<std::filesystem::path> kept(kSandboxDirectories.begin(),
                                                kSandboxDirectories.end());
  if (is_sandboxed(*wish.program) && !stays_in(kept, kResolvConf)) {
    log_warning(std::string("gateway: hosts cannot look up names, because slirp4netns as root has "
                            "only /etc and /run, and ") +
                kResolvConf +
                " is a link that leads elsewhere (make it a file, or a link to one in /run; or run "
                "the gateway as another user)");
  }
}

int run_gateway(const CommandLine& line) {
  const Arguments args = gateway_options().parse(line);
  const JsonOutput json(args.flag("json"));
  if (!json.is_wanted()) base::let_lost_output_vanish();
  const std::string port_name = args.text("port-name").value_or("gateway");
  const BusWish bus_wanted = bus_wish(args);
  const LineFaults faults = line_faults_option(args).value_or(LineFaults());
  NatWish wish = nat_wish(args);
  const auto program = find_nat_program(wish);
  if (!program)
    throw Exception(
        Error(program.error().code, "cannot make a gateway: " + program.error().message));
  wish.program = *program;
  const StopSignals stop;
  const std::string& path = args.positional()[0];
  NewBus made;
  const Bus bus = provide_bus(path, bus_wanted, made).value();
  wish.mtu = bus.info().mtu;
  find_resolver(wish);
  debug(Debug::relay, [&] {
    return std::string("the gateway uses ") + to_text(*program) + ", DNS queries go to " +
           (wish.resolver ? wish.resolver->to_string() : std::string("no server")) + ", MTU " +
           std::to_string(wish.mtu) +
           (wish.loopback ? ", reaches the loopback" : ", does not reach the loopback");
  });
  PeerBridge bridge;
  bridge.bus = &bus;
  bridge.made = &made;
  bridge.bus_path = path;
  bridge.bus_text = "bus:" + path;
  bridge.peer_text = to_text(*program);
  bridge.port_name = port_name;
  bridge.lock_memory = bus_wanted.lock_memory;
  bridge.faults = faults;
  bridge.json = &json;
  return route(bridge, wish, stop);
}

}  // namespace

const Command kGatewayCommand{"gateway", "join a bus as a router to the world, without privileges",
                              run_gateway};

}  // namespace shmif::tools
