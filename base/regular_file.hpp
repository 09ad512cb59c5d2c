#pragma once
// Reads a file whose place others choose, such as /etc/hosts of a container.

#include <string>

namespace shmif::base {

/// The text of a regular file. Result: empty for a file that cannot be read and for one of another
/// kind, such as a FIFO, whose writer may never come. Threads: any. Blocks: for the disk.
std::string text_of_regular_file(const std::string& path);

}  // namespace shmif::base
