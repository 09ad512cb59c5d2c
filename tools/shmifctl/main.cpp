// shmifctl: the table of its commands.

#include <array>
#include <vector>

#include "tools/common/program.hpp"
#include "tools/relay/link_row.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

// In alphabetical order.
constexpr std::array kCommands = {
    &kAuditCommand, &kBridgeCommand, &kCreateCommand,  &kDestroyCommand, &kDumpCommand,
    &kEnterCommand, &kExecCommand,   &kGatewayCommand, &kBusHeatCommand, &kInjectCommand,
    &kPingCommand,  &kPsCommand,     &kRepairCommand,  &kStatCommand,    &kStopCommand,
    &kTapCommand,   &kTopCommand,    &kWaitCommand,
};

/// The words of links, which users look for under the names of commands.
std::vector<Topic> link_topics() {
  std::vector<Topic> topics{{"links", "bridge"}, {"link", "bridge"}};
  for (const LinkRow& row : link_rows()) topics.push_back({row.word, "bridge"});
  return topics;
}

int run_shmifctl(int argc, char** argv) {
  const std::vector<Topic> topics = link_topics();
  const Program program{
      "shmifctl",
      R"(A bus is one memory-mapped file that behaves as a shared Ethernet segment. Programs attach
         ports to it. Every frame passes every port. A port receives the frames for its MAC address,
         broadcasts and multicasts; a promiscuous port receives all. No port receives its own
         frames.)",
      R"(  shmifctl create /dev/shm/bus0
      make a bus
  shmifctl exec /dev/shm/bus0 --name web --ip 198.18.0.1/24 \
      -- python3 -m http.server 80 &
      a web server on a host of its own, in the background, without privileges
  shmifctl wait /dev/shm/bus0 --tcp 198.18.0.1:80
      return when it answers
  shmifctl exec /dev/shm/bus0 --ip 198.18.0.2/24 -- curl http://198.18.0.1
      another host asks it for a page
  shmifctl dump /dev/shm/bus0
      watch the frames on the bus, until Ctrl-C
  shmifctl stop /dev/shm/bus0 web
      end the web server
  shmifctl destroy /dev/shm/bus0
      remove the bus
)",
      kCommands,
      topics,
      R"(exec and enter exit as the program that they run, or with 125: shmifctl failed; 126: the
         program cannot be executed; 127: there is no such program.)",
  };
  return run_program(program, argc, argv);
}

}  // namespace

}  // namespace shmif::tools

int main(int argc, char** argv) {
  return shmif::tools::run_shmifctl(argc, argv);
}
