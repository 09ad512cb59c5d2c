// shmifctl create, destroy: makes and removes a bus.

#include <chrono>
#include <cstdio>

#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/watches.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

Arguments read_create_line(const CommandLine& line) {
  return Options("create", "PATH")
      .bus_first()
      .about(
          R"(Makes a bus. Reserves the space for the whole file, on a disk or in memory, so
                 a full disk is an error now and not later. The file appears under its name when
                 it is complete, never before. Fails if PATH exists already.)")
      .value("format", "KIND",
             R"("shmif" (default), or "netbsd" for the bus of NetBSD's rump kernels: a file
                    of 1 MiB with an MTU of 1500, of which only --mode can be chosen. It
                    promises less; docs/netbsd.md says what)")
      .value("size", "BYTES",
             R"(ring size: a power of two from 64K to 1G (default 4M); below 1M, devices
                    cannot send super-frames (unsegmented TSO packets))")
      .value("mtu", "N",
             R"(largest layer-3 packet: 68 to 65521 (default 1500). The ring must hold eight
                    frames of the largest size: an MTU of 9000 needs a ring of 128K, an MTU of
                    65521 needs 1M)")
      .value("mode", "OCTAL",
             R"(file mode; the umask is ignored (default 0600). The owner must be able to read and
                    write)")
      .value("flow", "KIND",
             R"(what senders do when a port is slow to read: with "ethernet" (default) they
                    overwrite frames that it has not read (an overrun), with "pause" they wait
                    for it)")
      .value("patience", "SECONDS",
             R"(with --flow pause: how long senders wait for a port that reads nothing,
                    0.001 to 1 (default 0.01). Then they overrun it. They also overrun a port
                    that, while they wait, reads less than the next frame needs in this time, or
                    less than a 256th of the ring in ten times this time. They wait
                    for all other ports, without a limit)")
      .flag("json", "print the bus that was made as 'stat --json' does, for scripts")
      .example("shmifctl create /dev/shm/bus0", "a bus with a ring of 4 MiB, only for its owner")
      .example("shmifctl create /dev/shm/big --size 64M --mtu 9000 --mode 0660",
               "jumbo frames, room for bursts, and the file's group may attach too")
      .example("shmifctl create /dev/shm/rump --format netbsd",
               "a bus to which rump kernels attach, too")
      .example("shmifctl create /dev/shm/lab --flow pause",
               "no frame is lost while every port goes on reading")
      .example("shmifctl create /dev/shm/bus1 --json | jq -c .geometry",
               "make a bus, and print its sizes")
      .parse(line);
}

BusOptions bus_options(const Arguments& args) {
  BusOptions options;
  options.format = format_option(args);
  if (const auto bytes = args.size("size")) options.ring_bytes = *bytes;
  if (const auto mtu = args.packet_bytes("mtu")) {
    options.mtu = static_cast<std::uint32_t>(*mtu);
  }
  if (const auto text = args.text("mode")) {
    const auto mode = parse_mode(*text);
    if (!mode) throw UsageError{"--mode \"" + *text + "\" is not a mode (octal digits, 0 to 0777)"};
    if ((*mode & 0600U) != 0600U) {
      throw UsageError{"--mode \"" + *text +
                       "\" does not let the owner read and write the bus (0600 to "
                       "0777, such as 0660)"};
    }
    options.mode = *mode;
  }
  options.flow = flow_option(args).value_or(Flow::ethernet);
  if (const auto patience = args.seconds("patience")) {
    if (options.flow != Flow::pause)
      throw UsageError{"--patience needs --flow pause: give it, too"};
    options.patience = *patience;
  }
  return options;
}

int run_create(const CommandLine& line) {
  const Arguments args = read_create_line(line);
  const BusOptions options = bus_options(args);
  const std::string path = args.positional()[0];
  const Result<void> made = Bus::create(path, options);
  if (made) {
    warn_of_hosts_left_behind(path);
    if (args.flag("json")) {
      note_done("the bus " + path + " was made; 'shmifctl stat --json' prints the same");
      const std::string text = to_json(Bus::open(path).value().info());
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
    return kDone;
  }
  // Bus::create() refuses an impossible size without naming the path, so the path is added.
  const std::string& why = made.error().message;
  const bool names_path = why.find(path) != std::string::npos;
  return fail({made.error().code, names_path ? why : "cannot create the bus " + path + ": " + why});
}

using Clock = std::chrono::steady_clock;

/// Removes the bus when its last port has left. A process that was told to end needs some time to
/// leave. Without this wait, a script that has just killed its hosts would find their ports.
Result<void> destroy_when_left(const std::string& path, bool force,
                               std::chrono::nanoseconds patience, const StopSignals& stop) {
  const Clock::time_point begin = Clock::now();
  Progress progress;
  for (;;) {
    Result<void> done = Bus::destroy(path, force);
    if (done || done.error().code != Errc::busy) return done;
    if (stop.stopped() || Clock::now() - begin >= patience) return done;
    if (progress.due()) progress.show("waiting for ports to leave " + path);
    stop.wait(10);
  }
}

int run_destroy(const CommandLine& line) {
  const Arguments args =
      Options("destroy", "PATH")
          .about(
              R"(Removes the file of a bus. First waits until no live port is attached, and
                 fails if some still are after --timeout. (A port is live while the process that
                 attached it runs.) With --force it does not wait: it removes the file at once.
                 Ports that are attached go on using the bus, which no longer has a name. A bus
                 of NetBSD's format needs --force, because it does not tell whether ports are
                 attached. PATH must be given: SHMIF_BUS does not choose what is removed.)")
          .flag("force", "remove it at once, even if live ports are attached")
          .value("timeout", "SECONDS", "how long to wait for the last port to leave (default 2)")
          .example("shmifctl destroy /dev/shm/bus0",
                   "wait up to 2 s for the last port to leave, and remove the bus")
          .parse(line);
  const std::string& path = args.positional()[0];
  const auto patience = args.seconds("timeout").value_or(std::chrono::seconds(2));
  const StopSignals stop;
  stop.bound_writes();  // limits writes of the progress: a terminal may stand still
  Result<void> done = destroy_when_left(path, args.flag("force"), patience, stop);
  if (done) return kDone;
  if (stop.stopped()) return kEndedBySignal + stop.signal();
  if (done.error().code == std::errc::no_such_file_or_directory) {
    return fail("cannot remove the bus " + path + ": No such file or directory (" +
                (path.starts_with("bus:") ? "write the path without \"bus:\"" : "check the path") +
                ')');
  }
  throw Exception(std::move(done).error());
}

}  // namespace

const Command kCreateCommand{"create", "make a bus", run_create};
const Command kDestroyCommand{"destroy", "remove a bus", run_destroy};

}  // namespace shmif::tools
