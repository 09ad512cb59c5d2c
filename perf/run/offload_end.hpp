#pragma once
// OffloadEnd: frames are handed to the engine by a thread of its own (io_submit_mode=offload), so
// that a slow send delays none of what is due next.

#include <memory>

#include "perf/engine/engine.hpp"

namespace shmif::perf {

/// Wraps an end whose frames may be sent by one thread while another receives: any but a fault
/// link. send() copies frames into a bounded queue; an error of the engine is told at a later
/// send(), or by finish_sending(). Threads: one at a time. Blocks: as the end does, but for send().
std::unique_ptr<End> make_offload_end(std::unique_ptr<End> end, std::size_t batch);

}  // namespace shmif::perf
