#pragma once
// shmifperf heat --on, --off, ...: commands for the monitor of access heat, which runs on its own.

#include <optional>
#include <string>

#include "instruments/heat/damon.hpp"
#include "tools/common/options.hpp"

namespace shmif::tools {

inline constexpr const char* kWrittenIsOfPrograms =
    "--backend written is for a program that heat starts (give -- PROGRAM, or another backend)";

/// What `read` makes of an option; empty if the option is not given. Throws UsageError.
template <auto read>
auto heat_setting(const Arguments& args, const char* option) {
  const auto text = args.text(option);
  auto value = text ? std::optional(read(*text)) : std::nullopt;
  if (value && !*value)
    throw UsageError{std::string("--") + option + ": " + value->error().message};
  return value ? std::optional(**value) : std::nullopt;
}

/// The memory that --ops and --ranges name; empty if neither is given. Throws UsageError.
std::optional<perf::DamonMemory> heat_damon_memory(const Arguments& args);

/// Adds these options to the description of a command line.
void describe_heat_control(Options& options);
/// Whether one of them is given.
bool is_heat_control(const Arguments& args);
/// Executes the control option. Result: the exit code. Throws UsageError and Exception.
int control_heat(const Arguments& args);

}  // namespace shmif::tools
