#pragma once
// OffloadEnd: passes frames to the engine in a separate thread (io_submit_mode=offload), so a slow
// send does not delay the next frames.

#include <memory>

#include "perf/engine/engine.hpp"

namespace shmif::perf {

/// Wraps an end that allows one thread to send while another receives. All ends except a fault link
/// allow it. send() copies frames into a bounded queue. If the engine has an error, a later send()
/// or finish_sending() reports it. Threads: one at a time. Blocks: as the end does, except send().
std::unique_ptr<End> make_offload_end(std::unique_ptr<End> end, std::size_t batch);

}  // namespace shmif::perf
