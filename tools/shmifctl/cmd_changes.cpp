// shmifctl changes: the log of the changes that were made on a bus.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/standard_streams.hpp"
#include "base/text.hpp"
#include "shmif/bus.hpp"
#include "shmif/control/change.hpp"
#include "tools/capture/change_notes.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/relay/await.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

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

const Command kChangesCommand{"changes", "print the changes that were made on a bus", run_changes};

}  // namespace shmif::tools
