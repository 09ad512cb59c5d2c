// shmifperf capabilities: says what each instrument can and cannot measure on this machine, and
// what would change that.

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "instruments/counters/stat.hpp"
#include "instruments/heat/session.hpp"
#include "instruments/membw/measure.hpp"
#include "instruments/watch/capability.hpp"
#include "instruments/why/why.hpp"
#include "perf/report/table.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/shmifperf/commands.hpp"

namespace shmif::tools {

namespace {

using perf::Capability;
using perf::KernelFiles;

/// A row for each instrument, in the order in which they are listed.
constexpr std::array kInstruments = {
    &perf::why_capabilities,
    &perf::counters_capabilities,
    &perf::heat_capabilities,
    &perf::membw_capabilities,
};

std::string json_of(const std::vector<Capability>& all) {
  auto instruments = nlohmann::ordered_json::array();
  for (const Capability& each : all) {
    instruments.push_back({{"name", each.name},
                           {"state", perf::word_of(each.state)},
                           {"reason", each.reason},
                           {"enable_with", each.enable_with},
                           {"tested", each.tested}});
  }
  const nlohmann::ordered_json whole{{"instruments", std::move(instruments)}};
  constexpr int kIndent = 2;
  return whole.dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

std::string text_of(const std::vector<Capability>& all, std::size_t width) {
  std::size_t longest = 0;
  for (const Capability& each : all) longest = std::max(longest, each.name.size());
  constexpr std::string_view kLongestState = "not supported";
  const std::size_t indent = longest + kLongestState.size() + 4;
  const auto further = [&](const std::string& text) {
    return perf::wrapped(std::string(indent, ' ') + base::printable(text), width, indent);
  };
  std::string out;
  for (const Capability& each : all) {
    std::string state = perf::word_of(each.state);
    std::ranges::replace(state, '_', ' ');
    std::string line = each.name;
    line.resize(longest + 2, ' ');
    line += state;
    if (!each.reason.empty()) {
      line.resize(indent, ' ');
      line += base::printable(each.reason);
    }
    out += perf::wrapped(line, width, indent);
    if (!each.enable_with.empty()) out += further("to change that: " + each.enable_with);
    if (!each.tested.empty()) out += further("tested " + each.tested);
  }
  return out;
}

int run_capabilities(const CommandLine& line) {
  const Arguments args =
      Options("capabilities", "")
          .about(
              R"(Says for each instrument (why, stat, sample, heat, membw) whether this machine
                 supports it and permits it to this user, and if not, why, and how to change
                 that.)")
          .words(0, 0)
          .value("sysroot", "DIR", "read /proc and /sys below this directory (default: /)")
          .flag("json", "print JSON, for scripts")
          .example("shmifperf capabilities", "a table")
          .example(
              "shmifperf capabilities --json | jq '.instruments[] | select(.state != "
              "\"supported\")'",
              "what this machine cannot do, or does not permit")
          .parse(line);
  const KernelFiles files(args.text("sysroot").value_or("/"));
  std::vector<Capability> all;
  for (const auto& instrument : kInstruments) {
    for (Capability& each : instrument(files)) all.push_back(std::move(each));
  }
  write_file("-", args.flag("json") ? json_of(all) : text_of(all, terminal_columns())).value();
  return kDone;
}

}  // namespace

const Command kCapabilitiesCommand{"capabilities", "show what this machine can measure",
                                   run_capabilities};

}  // namespace shmif::tools
