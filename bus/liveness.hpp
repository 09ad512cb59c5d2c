#pragma once
// Who is alive. Each port holds an open-file-description lock on the byte at its slot's offset,
// through a description that only a page of address space keeps open (bus/lifeline.hpp). The kernel
// drops the lock when the process dies or execs, whatever the pid namespace; forked children do not
// inherit the page.

#include <cstdint>

#include "bus/layout.hpp"

namespace shmif::bus {

/// Takes the lock that says "the port in `slot` lives", on the description behind `fd`. Result:
/// false when somebody holds it (or holds a read lock there: whoever may read the file can hold up
/// new attaches).
bool take_liveness(int fd, unsigned slot) noexcept;

/// Looks whether a port in `slot` lives, through any description of the file. Asks for a read lock,
/// so that a stranger who holds a read lock cannot pose as alive. When the question cannot be
/// asked, the answer is true: a holder taken for living loses the lock 100 ms later, by lack of
/// progress.
bool is_alive(int fd, unsigned slot) noexcept;

/// The inode number of an open file, 0 when there is none behind `fd`.
std::uint64_t inode_of(int fd) noexcept;

/// True while `fd` still is the file with this inode: a library user may have closed our
/// descriptors (close_range in a daemon), and the number may name something else by now.
bool same_file(int fd, std::uint64_t inode) noexcept;

}  // namespace shmif::bus
