#pragma once
// Explains why the kernel refuses to make namespaces.

#include <string>

namespace shmif::tap {

/// True only if the process is surely in a chroot: its root directory is not the root of its mount
/// namespace. The kernel makes no user namespace for such a process (EPERM, user_namespaces(7)).
/// False proves nothing: without /proc the function sees no mounts, and a mount that is the root of
/// every visible process looks like the root of the namespace.
///
/// Threads: any. Blocks: while it reads /proc; use it only for a message about a failure.
bool is_chrooted();

/// Which setting refuses namespaces to this process, and what to do about it, as the
/// end of a message. `number`: the errno of the call that failed, or 0 if it is not known.
///
/// Threads: any. Blocks: as is_chrooted().
std::string why_no_namespaces(int number = 0);

}  // namespace shmif::tap
