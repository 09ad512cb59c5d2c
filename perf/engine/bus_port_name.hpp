#pragma once
// What the port of a job on a bus is called.

#include <string>

#include "perf/engine/engine.hpp"

namespace shmif::perf {

/// The job's name, with characters replaced that a port's name cannot have.
std::string bus_port_name(const EndOptions& options);

}  // namespace shmif::perf
