#pragma once
// OffloadEnd: passes frames to the engine in a separate thread (io_submit_mode=offload), so a slow
// send does not delay the next frames.

#include <memory>

#include "perf/engine/engine.hpp"

namespace shmif::perf {

/// Wraps an end that allows one thread to send while another receives: any end except a fault link.
/// send() copies frames into a bounded queue. A later send() or finish_sending() reports an error
/// of the engine. Threads: one at a time. Blocks: as the end does, except send().
std::unique_ptr<End> make_offload_end(std::unique_ptr<End> end, std::size_t batch);

}  // namespace shmif::perf
