#pragma once
// Tells which ports live. Each port holds an open-file-description lock on the byte at its slot's
// offset, through a description that only a page of address space keeps open
// (bus/file/lifeline.hpp). The kernel drops the lock when the process dies or execs, whatever its
// pid namespace. Forked children do not inherit the page.

#include "bus/file/file_id.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

/// Takes the lock that says "the port in `slot` lives", on the description behind `fd`. Result:
/// false if somebody else has this lock, or a read lock there. (So anybody who may read the file
/// can delay new ports.)
bool take_liveness(int fd, unsigned slot) noexcept;

/// Whether a port in `slot` lives. `fd`: any description of the file. Asks for a read lock, so that
/// a stranger with a read lock does not look like a live port. If the question fails, the answer is
/// true: a dead holder that seems alive loses the lock 100 ms later, for lack of progress.
bool is_alive(int fd, unsigned slot) noexcept;

/// Whether `fd` still is this file. A library user may have closed our descriptors (close_range in
/// a daemon), and another file may have the number by now.
bool same_file(int fd, const FileId& file) noexcept;

}  // namespace shmif::bus
