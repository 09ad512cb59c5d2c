// shmifctl wait: returns when a port is up, so that scripts need no sleep.

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "shmif/bus.hpp"
#include "shmif/log.hpp"
#include "tools/commands.hpp"
#include "tools/options.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// Why the port is not up, for the message when the time is over.
struct Sight {
  bool up = false;
  std::string why;
};

Sight look(const Bus& bus, const std::string& name) {
  Sight sight{false, "no port of that name is attached"};
  for (const PortInfo& port : bus.info().ports) {
    if (port.name != name) continue;
    if (port.live && port.up && port.carrier) return {true, ""};
    sight.why = !port.live ? "the port's process is gone"
                : port.up  ? "the port is up, but the network interface of its host is down"
                           : "the port is attached but down";
  }
  return sight;
}

/// Looks until the port is up or `deadline` has passed; the bus may come later than we do, too.
/// Errors: whatever keeps a file that is there from being a bus.
Sight look_until(const std::string& path, const std::string& name,
                 const std::optional<Clock::time_point>& deadline) {
  std::optional<Bus> bus;
  bool warned = false;
  Sight sight;
  std::chrono::milliseconds pause(1);
  for (unsigned looks = 1;; ++looks) {
    // Somebody may have removed the bus and made it anew.
    if (looks % 64 == 0) bus.reset();
    if (!bus) {
      Result<Bus> opened = Bus::open(path);
      if (opened) {
        bus.emplace(std::move(*opened));
        if (!bus->warning().empty() && !std::exchange(warned, true)) log_warning(bus->warning());
      } else if (opened.error().code == std::errc::no_such_file_or_directory) {
        sight.why = "there is no such bus";
      } else if (opened.error().code == make_error_code(Errc::not_ready)) {
        sight.why = "the file is there, but no bus has been made in it";
      } else {
        throw Exception(std::move(opened).error());
      }
    }
    if (bus) sight = look(*bus, name);
    if (sight.up || (deadline && Clock::now() >= *deadline)) return sight;
    // A port comes up once; looking now and then is cheaper than a bell for it.
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(20));
  }
}

int run_wait(const CommandLine& line) {
  const Arguments args =
      Options("wait", "PATH --port NAME")
          .about(
              "Returns when the port NAME is attached to the bus and up, so that scripts need no "
              "sleep. Waits for the bus itself, too, when it is not there yet.")
          .value("port", "NAME", "the port to wait for")
          .value("timeout", "SECONDS", "give up after that long, and exit 1 (default: never)")
          .example(
              "shmifctl exec /dev/shm/bus0 --name web --ip 198.18.0.1/24 -- httpd &\n"
              "  shmifctl wait /dev/shm/bus0 --port web --timeout 5",
              "go on when the host \"web\" is on the bus")
          .parse(line);
  const std::string path = args.positional()[0];
  const std::optional<std::string> name = args.text("port");
  if (!name || name->empty()) throw UsageError{"--port NAME is missing, the port to wait for"};
  const auto timeout = args.seconds("timeout");
  std::optional<Clock::time_point> deadline;
  if (timeout) deadline = Clock::now() + *timeout;
  const Sight sight = look_until(path, *name, deadline);
  if (sight.up) return kDone;
  return fail("cannot see port \"" + *name + "\" up on bus \"" + path + "\" within " +
              *args.text("timeout") + " s: " + sight.why + " (see 'shmifctl stat " + path + "')");
}

}  // namespace

const Command kWaitCommand{"wait", "return when a port is up", run_wait};

}  // namespace shmif::tools
