#include "tools/shmifperf/run_remote.hpp"

#include <algorithm>
#include <chrono>

#include "base/text.hpp"
#include "perf/remote/combine.hpp"
#include "perf/remote/connection.hpp"
#include "perf/report/report.hpp"
#include "tools/common/command.hpp"
#include "tools/common/progress.hpp"
#include "tools/common/version.hpp"

namespace shmif::tools {

namespace {

using Results = std::vector<perf::HostResult>;

constexpr std::size_t kMaxServers = 256;

void add_servers(std::string_view list, std::vector<std::string>& into) {
  for (const std::string_view part : base::split(list, ',')) {
    const std::string name(part);
    const auto address = perf::parse_server_address(name);
    if (!address) throw UsageError{"--client: " + address.error().message};
    if (std::find(into.begin(), into.end(), name) != into.end()) {
      throw UsageError{"--client: \"" + name + "\" is given twice (a server runs one set of jobs)"};
    }
    into.push_back(name);
  }
}

}  // namespace

std::vector<std::string> servers_of(const std::vector<std::string>& values) {
  std::vector<std::string> servers;
  for (const std::string& value : values) add_servers(value, servers);
  if (servers.size() > kMaxServers) throw UsageError{"--client: there are more than 256 servers"};
  return servers;
}

int run_remotely(const perf::JobSet& set, const std::vector<std::string>& servers,
                 const std::vector<std::string>& argv, RunOutput& output,
                 perf::RunControl& control) {
  perf::WholeRun whole{.version = version_number(), .command = argv, .options = set.run.given};
  whole.began = std::chrono::system_clock::now();
  const Results hosts = perf::run_on_servers(
      {.servers = servers, .version = whole.version, .command = argv}, set, &output, control);
  whole.ended = std::chrono::system_clock::now();
  whole.signal = control.signal.load();
  const std::vector<std::string> lost = output.finish();
  for (const std::string& why : lost) complain(why);
  std::vector<std::string> states;
  for (const perf::HostResult& host : hosts) {
    states.insert(states.end(), host.states.begin(), host.states.end());
    if (output.tells_failures()) continue;
    for (const std::string& why : host.failures) complain("run: " + host.name + ": " + why);
  }
  const ResultForms forms(
      [&](perf::Bins bins) { return perf::combined_json(hosts, whole, bins); },
      [&](std::size_t columns) { return perf::combined_text(hosts, whole, columns); });
  const int code = perf::exit_code_of(hosts, whole);
  const bool all_written = output.print_result(forms, states) && lost.empty();
  return all_written || code != kDone ? code : kFailed;
}

}  // namespace shmif::tools
