#pragma once
// The capture files that commands write.

#include <string>

#include "shmif/pcap_link.hpp"

namespace shmif::tools {

/// The file to record into; "-": standard output. A bus is never overwritten: throws, as where the
/// file cannot be made.
PcapWriter create_capture(const std::string& file);

}  // namespace shmif::tools
