// shmifctl fault, link, partition, heal, move: what others change on the line of a port while it
// runs, by asking its owner. And changes: what was changed so far.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/standard_streams.hpp"
#include "base/text.hpp"
#include "shmif/bus.hpp"
#include "shmif/control/change.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/watches.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

/// Adds --timeout, which ask() reads.
Options& add_patience_option(Options& options) {
  return options.value("timeout", "SECONDS",
                       "how long to wait for the answer of each port (default: 2)");
}

/// Asks for a change, and prints what holds now. `port`: empty for changes of several ports. Throws
/// UsageError if the change is not one. Result: the exit code.
int ask(const Arguments& args, const std::string& port, const std::string& change) {
  const auto patience = args.seconds("timeout").value_or(std::chrono::seconds(2));
  const auto said =
      request_change(args.positional()[0], port, change,
                     std::chrono::duration_cast<std::chrono::milliseconds>(
                         std::min<std::chrono::nanoseconds>(patience, std::chrono::hours(1))));
  if (!said && said.error().code == Errc::bad_argument) throw UsageError{said.error().message};
  if (!said) throw Exception(with_buses_of_lab(said.error(), args.positional()[0]));
  std::printf("%s\n", base::printable(*said).c_str());
  return kDone;
}

/// The name of the port, which must not be empty.
const std::string& port_of(const Arguments& args) {
  const std::string& port = args.positional()[1];
  if (port.empty())
    throw UsageError{"\"\" is not a port name ('shmifctl stat PATH' lists the ports)"};
  return port;
}

/// Prints what holds on the line of a port.
int show_line(const std::string& path, const std::string& port) {
  const Bus bus = look_at(path);
  check_port_table(bus.info(), "show a line of").value();
  const auto lines = line_states(bus);
  const auto found = std::ranges::find(lines, port, &LineState::port);
  if (found == lines.end()) {
    return fail("cannot show the line of port \"" + port + "\" of " + path +
                ": no such port ('shmifctl stat' lists the ports)");
  }
  const std::string line = !found->text.empty() ? found->text
                           : found->takes_changes
                               ? "no faults"
                               : "not known, because its program takes no changes";
  std::printf("%s\n", base::printable("port " + port + ": " + line).c_str());
  return kDone;
}

/// Whether the line is PORT SPEC. Every fault has a "="; the path of a bus is not followed by one.
bool lacks_bus_of_fault(const Arguments& args) {
  const std::vector<std::string>& words = args.positional();
  return words.size() == 2 && words[1].find('=') != std::string::npos;
}

int run_fault(const CommandLine& line) {
  Options options("fault", "PATH PORT [SPEC]");
  options.bus_first("", lacks_bus_of_fault)
      .about(
          R"(Sets the faults on the line of a port while its host runs: SPEC replaces those that it
             had. The process that owns the port applies the change; anyone who may write the bus
             may ask for it. Without SPEC, prints what holds on the line now. SPEC is written as for
             'exec --fault'; "in:SPEC" is for the frames that the host receives only, "out:SPEC"
             for those that it sends. The same seed gives the same losses for the same frames.)")
      .words(2, 3)
      .flag("none", "end all faults of the line");
  add_patience_option(options)
      .example("shmifctl fault /dev/shm/bus0 web loss=5%,delay=20ms,seed=7",
               "make the line of the host \"web\" a bad one")
      .example("shmifctl fault /dev/shm/bus0 web --none", "mend it")
      .example("shmifctl fault /dev/shm/bus0 web", "look at it");
  const Arguments args = options.parse(line);
  const std::string& port = port_of(args);
  const bool has_spec = args.positional().size() == 3;
  if (has_spec && args.flag("none"))
    throw UsageError{"SPEC and --none exclude each other (leave one of them out)"};
  if (has_spec && args.positional()[2].find_first_not_of(" \t") == std::string::npos)
    throw UsageError{"the faults are empty (write them, such as loss=5%, or give --none)"};
  if (has_spec) return ask(args, port, "fault " + args.positional()[2]);
  if (args.flag("none")) return ask(args, port, "fault none");
  return show_line(args.positional()[0], port);
}

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

/// Whether the line is NAME / NAME: no bus is followed by a slash.
bool lacks_bus_of_partition(const Arguments& args) {
  return args.positional().size() > 1 && args.positional()[1] == "/";
}

int run_partition(const CommandLine& line) {
  Options options("partition", "PATH NAME[,NAME]... {/ NAME[,NAME]...}...");
  options.bus_first("", lacks_bus_of_partition)
      .about(
          R"(Divides the ports of a bus into groups that do not hear each other, until
             'shmifctl heal'. Write commas between the names of ports, and a slash between groups.
             Each named port ignores the frames of the other groups. The bus keeps the
             partition: a host that ends and is started again under its name is still in its
             group. A new partition replaces the old one for the ports that it names. Ports
             in no group hear everybody. The processes that own the ports apply the change,
             one after another. If one does not answer, the others have the change all the
             same, and the exit code is 1.)")
      .words(2, std::numeric_limits<std::size_t>::max());
  add_patience_option(options).example("shmifctl partition /dev/shm/bus0 web,db / user",
                                       "keep the host \"user\" from the two others");
  const Arguments args = options.parse(line);
  std::string groups;
  for (std::size_t i = 1; i < args.positional().size(); ++i) groups += ' ' + args.positional()[i];
  return ask(args, {}, "partition" + groups);
}

int run_heal(const CommandLine& line) {
  Options options("heal", "PATH");
  options.bus_first().about(
      R"(Ends the partition of a bus ('shmifctl partition'): all ports hear each other
                   again. Faults and links that are down stay as they are.)");
  add_patience_option(options).example("shmifctl heal /dev/shm/bus0", "end the partition");
  return ask(options.parse(line), {}, "heal");
}

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

constexpr int kLookMs = 100;
constexpr std::chrono::seconds kFileLook{1};

Json json_of(const BusChange& change) {
  return {{"number", change.number},
          {"time_ns", change.time_ns},
          {"before_frame", change.before_frame},
          {"port", change.port.empty() ? Json(nullptr) : Json(change.port)},
          {"change", change.text}};
}

void print_line(const BusChange& change) {
  std::printf("%s\n", base::printable(change_line(change)).c_str());
}

/// Throws if the file is no valid bus any more: truncated, or another file. After its removal, the
/// ports that are attached go on with it.
void expect_bus(const std::string& path) {
  Result<Bus> bus = Bus::open(path);
  if (bus || bus.error().code == std::errc::no_such_file_or_directory) return;
  throw Exception(std::move(bus).error());
}

/// With --json and --follow, each change is a line.
int follow(ChangeLog& log, const std::string& path, bool json) {
  base::let_lost_output_vanish();
  const StopSignals stop;
  std::uint64_t missed = 0;
  auto next_look = std::chrono::steady_clock::now();
  while (!stop.stopped() && !is_abandoned(STDOUT_FILENO)) {
    if (log.has_more()) {
      for (const BusChange& change : log.take()) {
        if (json) {
          std::printf("%s\n",
                      json_of(change).dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
        } else {
          print_line(change);
        }
      }
      flush_output();
      if (log.missed() != missed) {
        complain(std::to_string(log.missed() - missed) +
                 " changes were overwritten before they could be read");
        missed = log.missed();
      }
    }
    if (std::chrono::steady_clock::now() >= next_look) {
      expect_bus(path);
      next_look = std::chrono::steady_clock::now() + kFileLook;
    }
    stop.wait(kLookMs);
  }
  return kDone;
}

int run_changes(const CommandLine& line) {
  const Arguments args =
      Options("changes", "PATH")
          .bus_first()
          .about(
              R"(Prints the changes that were made on a bus while its ports ran ('shmifctl fault',
                 'link', 'partition', 'heal' and 'move'), the oldest first: when, before
                 which frame, of which port, and what. The bus keeps the last 96. Captures have
                 them, too: 'shmifctl dump -w x.pcapng' adds each as a comment to the first frame
                 after it. Needs only read permission.)")
          .flag("follow",
                "go on and print each new change, until Ctrl-C or until the bus is removed")
          .flag("json", "print JSON, for scripts; with --follow, one object a line")
          .example("shmifctl changes /dev/shm/bus0", "what was changed, and when")
          .example("shmifctl changes /dev/shm/bus0 --json | jq '.changes[] | .change'",
                   "the changes alone")
          .parse(line);
  const bool json = args.flag("json");
  const std::string& path = args.positional()[0];
  Result<ChangeLog> opened = ChangeLog::open(path, ChangeLog::From::oldest);
  if (!opened) throw Exception(with_buses_of_lab(std::move(opened).error(), path));
  ChangeLog log = *std::move(opened);
  if (args.flag("follow")) return follow(log, path, json);
  Json all = Json::array();
  for (const BusChange& change : log.take()) {
    if (json) {
      all.push_back(json_of(change));
    } else {
      print_line(change);
    }
  }
  if (json) {
    const std::string text =
        json_text({{"bus", args.positional()[0]}, {"changes", std::move(all)}});
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  return kDone;
}

}  // namespace

const Command kFaultCommand{"fault", "set or show the faults of a port's line while it runs",
                            run_fault};
const Command kLinkCommand{"link", "take the link of a port down, or up again", run_link};
const Command kPartitionCommand{"partition",
                                "divide the ports of a bus into groups that do not hear each other",
                                run_partition};
const Command kHealCommand{"heal", "end the partition of a bus", run_heal};
const Command kMoveCommand{"move", "move a host to another bus while it runs", run_move};
const Command kChangesCommand{"changes", "print the changes that were made on a bus", run_changes};

}  // namespace shmif::tools
