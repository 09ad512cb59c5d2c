#pragma once

#include <cstddef>
#include <vector>

namespace shmif::bench {

/// A broadcast frame of that many bytes, without FCS.
std::vector<std::byte> make_frame(std::size_t bytes);

}  // namespace shmif::bench
