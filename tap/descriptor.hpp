#pragma once
// The file descriptors that devices and namespaces are held by.

#include "shmif/unique_fd.hpp"

namespace shmif::tap {

using Descriptor = UniqueFd;

}  // namespace shmif::tap
