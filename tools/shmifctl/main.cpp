// shmifctl: what it says of itself.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tools/common/program.hpp"
#include "tools/relay/links.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

/// Whether Wireshark runs this program, by a link in its folder for extcap. It names no command.
bool is_call_of_wireshark(int argc, char** argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  return first.starts_with("--extcap-") || first == "--capture";
}

/// For who takes a kind of link for a command.
std::string way_to_links(std::string_view word) {
  const bool is_link = std::ranges::find(link_rows(), word, &LinkRow::word) != link_rows().end();
  return is_link || word == "links" ? "for that, read 'shmifctl bridge --help'" : "";
}

int run_shmifctl(int argc, char** argv) {
  const Program program{
      "shmifctl",
      R"(A bus is one memory-mapped file that behaves as a shared Ethernet segment. Programs attach
         ports to it. Every frame passes every port. A port receives the frames for its MAC address,
         broadcasts and multicasts; a promiscuous port receives all. No port receives its own
         frames. Commands whose PATH is left out take the bus of the variable SHMIF_BUS.)",
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
      kShmifctlCommands,
      R"(exec and enter exit as the program that they run, or with 125: shmifctl failed; 126: the
         program cannot be executed; 127: there is no such program. up exits as the test of the
         lab; 124: its time limit was up.)",
      way_to_links,
  };
  std::vector<char*> words(argv, argv + argc);
  std::string command = kExtcapCommand.name;
  if (is_call_of_wireshark(argc, argv)) words.insert(words.begin() + 1, command.data());
  return run_program(program, static_cast<int>(words.size()), words.data());
}

}  // namespace

}  // namespace shmif::tools

int main(int argc, char** argv) {
  return shmif::tools::run_shmifctl(argc, argv);
}
