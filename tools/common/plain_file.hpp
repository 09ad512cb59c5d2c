#pragma once
// Files in folders to which another user may have had access: what is there may be a link to a
// file that is worth more, a FIFO that never answers, or a file without an end.

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tools {

/// Opens a regular file for reading. Does not follow a link in the last component of `path`, and
/// never waits for the other end of a FIFO. Errors: of open(2); ELOOP for a link; bad_argument if
/// it is not a regular file. Threads: any. Blocks: for the disk.
Result<UniqueFd> open_plain_file(const std::string& path);

/// The text of such a file. Errors: as above; bad_argument if it has more than `max_bytes`.
Result<std::string> read_plain_file(const std::string& path, std::size_t max_bytes);

/// Makes a new file, open for writing, in place of whatever has its name: a link is not followed,
/// and a file with another name keeps its contents. Errors: of unlink(2) and open(2). Threads: any.
/// Blocks: for the disk.
Result<UniqueFd> make_plain_file(const std::string& path, unsigned mode);

/// Writes a file that appears whole, under the name of `path` with ".new" until then. Errors: as
/// above, and of write(2) and rename(2). Threads: one at a time for each path. Blocks: for the
/// disk.
Result<void> write_plain_file(const std::string& path, std::string_view text, unsigned mode);

}  // namespace shmif::tools
