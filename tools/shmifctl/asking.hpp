#pragma once
// Shared by the commands that ask the owner of a port for a change.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "base/text.hpp"
#include "shmif/control/change.hpp"
#include "tools/common/options.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

/// Adds --timeout, which ask() reads.
inline Options& add_patience_option(Options& options) {
  return options.value("timeout", "SECONDS",
                       "how long to wait for the answer of each port (default: 2)");
}

/// Asks for a change, and prints what holds now. `port`: empty for changes of several ports. Throws
/// UsageError if the change is not one. Result: the exit code.
inline int ask(const Arguments& args, const std::string& port, const std::string& change) {
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
inline const std::string& port_of(const Arguments& args) {
  const std::string& port = args.positional()[1];
  if (port.empty())
    throw UsageError{"\"\" is not a port name ('shmifctl stat PATH' lists the ports)"};
  return port;
}

}  // namespace shmif::tools
