// shmifctl heat: which parts of a bus each process uses.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "instruments/heat/bus_heat.hpp"
#include "shmif/heat_wire.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// Options for ten looks in one second, and one map of all of them.
perf::HeatOptions one_second(const StopSignals& stop) {
  constexpr std::chrono::milliseconds kLook(100);
  constexpr std::chrono::seconds kWindow(1);
  perf::HeatOptions options;
  options.attributes.sampling = kLook;
  options.attributes.aggregation = kWindow;
  options.keep_windows = 1;
  options.stops = [&stop] { return stop.stopped(); };
  return options;
}

/// Watches until every process has a window, or a signal comes.
void watch(perf::HeatSession& session, const StopSignals& stop) {
  while (session.is_watching() && session.windows() == 0 && !stop.stopped()) {
    const auto left = session.step() - Clock::now();
    stop.wait(static_cast<int>(
        std::clamp<long>(std::chrono::ceil<std::chrono::milliseconds>(left).count(), 0, 1000)));
  }
  session.finish();
}

int run_bus_heat(const CommandLine& line) {
  const Arguments args = Options("heat", "PATH")
                             .bus_first()
                             .about(
                                 R"(Shows which parts of a bus each attached process accesses,
                                    and which it writes, during the next second: the header, the
                                    table of ports, and the ring. '^' is where the next frame
                                    goes. Processes take part if they were started with
                                    SHMIF_HEAT=DIR; others are listed with the reason why they
                                    were not measured. 'shmifperf heat --bus' measures the same
                                    for as long as you like, and prints it as a list of address
                                    ranges (regions), or as JSON.)")
                             .value("clients", "DIR",
                                    R"(the directory in which the processes made their sockets
                                       (their SHMIF_HEAT), as this command sees it. Needed if
                                       they have another path to it, as in a container.
                                       Default: $SHMIF_HEAT, or else the SHMIF_HEAT in the
                                       environment of each process)")
                             .example("shmifctl heat /dev/shm/bus0",
                                      R"(for programs started as 'SHMIF_HEAT=$HOME PROGRAM ...':
                                         which parts of the bus they access)")
                             .parse(line);
  const Bus bus = look_at(args.positional()[0]);
  check_port_table(bus.info(), "find the processes on").value();
  const char* const folder = std::getenv(heat::kVariable);
  const StopSignals stop;
  const perf::HeatOptions options = one_second(stop);
  perf::HeatSession session(options);
  perf::add_parties(
      session,
      perf::heat_parties(bus.info(), args.text("clients").value_or(folder == nullptr ? "" : folder),
                         options.files, options.stops));
  watch(session, stop);
  const unsigned columns = terminal_columns();
  constexpr unsigned kUsualColumns = 80;
  const std::string text = perf::bus_heat_text(
      session.results(), bus.info(), columns == 0 ? kUsualColumns : columns, shows_colours());
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (stop.stopped()) return kEndedBySignal + stop.signal();
  return kDone;
}

}  // namespace

const Command kBusHeatCommand{"heat", "show which parts of a bus each process accesses",
                              run_bus_heat};

}  // namespace shmif::tools
