#include <cstdio>
#include <filesystem>
#include <system_error>

#include "base/standard_streams.hpp"
#include "perf/remote/connection.hpp"
#include "perf/remote/pinned_directory.hpp"
#include "perf/remote/protocol.hpp"
#include "perf/remote/server.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/program.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifperf/commands.hpp"

namespace shmif::tools {

namespace {

constexpr std::uint64_t kMaxJobs = 1024;

Options options_of_server() {
  Options options("server", "");
  options.words(0, 0)
      .about(
          R"(Runs jobs on this machine for clients ('shmifperf run --client') on this or another
             machine. It serves one client at a time, and tells other clients that it is busy.
             There is no authentication: everyone who can reach the TCP port may run jobs.
             Therefore the server listens only on the loopback by default. To connect from
             another machine, run there: ssh -L 18765:localhost:18765 HOST, where HOST is the
             server's machine, and then 'shmifperf run --client localhost'. Client and server
             must have the same version. On SIGINT or SIGTERM the server stops the run, sends
             the results so far to the client, and ends.)")
      .value("listen", "ADDRESS[:PORT]",
             R"(where to listen; TCP port 0 is any free port, which is printed (default:
                127.0.0.1:18765))")
      .flag("allow-exec",
            R"(clients may run commands (exec, exec_prerun, exec_postrun, trigger) and choose
               identities and privileges (uid, gid, cgroup, rtprio, a negative nice))")
      .flag("allow-live",
            R"(clients may send on this machine's own interfaces and buses (allow_live, netdev,
               netns, no_peer, socket; paths in socket also need --directory, and VDE networks
               other than shmif:// need --allow-exec))")
      .value("directory", "DIR",
             R"(clients may use files in this directory (bus, filename, replay, write_pcap,
                logs); jobs save their states there, too (verify_state_save); unless
                --allow-exec is given, all other files are read-only for a run, and symbolic
                links that lead out of it are refused, also if they are made later (needs Linux
                5.14, and mount namespaces); without this option, clients cannot use files or
                triggers)")
      .value("max-runtime", "SECONDS", "stop runs that take longer (default: 3600)")
      .value("max-jobs", "N",
             R"(refuse runs with more jobs; each of the copies that numjobs makes is one, and
                each thread that helps one (verify_async, io_submit_mode=offload) (default: 64))")
      .value("max-memory", "SIZE",
             "refuse runs whose jobs and buses could need more memory (default: 1G)")
      .flag("once", "end after one run")
      .example("shmifperf server",
               "for clients on this machine, and those that connect through ssh")
      .example("shmifperf server --listen 198.18.0.1 --directory /var/tmp/perf",
               "for a laboratory network, with files")
      .example("shmifperf run --client 198.18.0.1,198.18.0.2 voip.job",
               "the client: the same jobs on two servers at once");
  return options;
}

shmif::SocketAddress listen_address(const std::string& text) {
  const auto server = perf::parse_server_address(text);
  if (!server) throw UsageError{"--listen: " + server.error().message};
  const auto addresses = perf::addresses_of(*server);
  if (!addresses) throw UsageError{"--listen: " + addresses.error().message};
  return addresses->front();
}

std::string directory_of(const std::string& path) {
  std::error_code failed;
  const auto whole = std::filesystem::canonical(path, failed);
  if (failed || !std::filesystem::is_directory(whole)) {
    throw UsageError{"--directory: \"" + path + "\" is not a directory (make it first)"};
  }
  if (!whole.has_relative_path())
    throw UsageError{"--directory: / has all files (name a directory in it)"};
  return whole.string();
}

void print_line(const std::string& line) {
  std::printf("%s\n", line.c_str());
  flush_output();
}

perf::ServerOptions server_options(const Arguments& args) {
  perf::ServerOptions options;
  options.address = listen_address(args.text("listen").value_or("127.0.0.1"));
  options.limits.allow_exec = args.flag("allow-exec");
  options.limits.allow_live = args.flag("allow-live");
  if (const auto path = args.text("directory")) options.limits.directory = directory_of(*path);
  if (const auto time = args.seconds("max-runtime")) {
    if (time->count() <= 0) throw UsageError{"--max-runtime: it must be more than 0"};
    options.limits.max_runtime = *time;
  }
  options.limits.max_jobs = static_cast<std::size_t>(
      args.count("max-jobs", 1, kMaxJobs).value_or(options.limits.max_jobs));
  options.limits.max_memory = args.size("max-memory").value_or(options.limits.max_memory);
  options.once = args.flag("once");
  options.version = version_number();
  options.log = print_line;
  return options;
}

int run_server(const CommandLine& line) {
  const perf::ServerOptions options = server_options(options_of_server().parse(line));
  base::let_lost_output_vanish();
  if (options.limits.keeps_directory()) {
    if (const auto pinned = perf::can_pin_directory(options.limits.directory); !pinned)
      return fail(pinned.error());
  }
  const StopSignals stop;
  auto server = perf::Server::create(options);
  if (!server) return fail(server.error());
  const shmif::SocketAddress& address = (*server)->address();
  print_line("shmifperf server " + options.version + " (protocol " +
             std::to_string(perf::kRemoteProtocol) + ") listens on " + address.to_string());
  if (!perf::is_loopback(address)) {
    print_line("everyone who can reach " + address.to_string() +
               " may run jobs here: use this only in a network that you trust");
  }
  const std::string others = options.limits.keeps_directory()
                                 ? perf::who_may_replace(options.limits.directory)
                                 : std::string();
  if (!others.empty()) {
    print_line(others +
               ", and so redirect clients to files outside --directory: use this directory only "
               "if you trust them");
  }
  (*server)->serve(stop.descriptor(), [&stop] { return stop.signal(); });
  return kDone;
}

}  // namespace

const Command kServerCommand{"server", "run jobs for clients, also on other machines", run_server};

}  // namespace shmif::tools
