#pragma once
// What a Bus is made of. Internal to shmif/bus.cpp and shmif/port.cpp.

#include "bus/repair/inspect.hpp"
#include "shmif/bus.hpp"

namespace shmif {

struct Bus::Impl {
  bus::Inspector inspector;
};

}  // namespace shmif
