// shmifctl destroy: removes a bus.

#include <chrono>

#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

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

const Command kDestroyCommand{"destroy", "remove a bus", run_destroy};

}  // namespace shmif::tools
