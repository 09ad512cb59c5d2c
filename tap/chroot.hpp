#pragma once
// Why user namespaces are refused in a chroot.

namespace shmif::tap {

/// True when the process is in a chroot for certain: its root directory is not the root of its
/// mount namespace. The kernel makes no user namespace for such a process (EPERM,
/// user_namespaces(7)). A false answer is no proof: without /proc nothing can be seen, and where a
/// mount is the root of every process in sight, it looks like the root of the namespace.
///
/// Threads: any. Blocks: while it reads /proc; meant for a message about a failure.
bool is_chrooted();

/// What to do about that, for the end of a message.
constexpr const char* kChrootHint =
    "this is a chroot, where the kernel refuses user namespaces: run it outside, or enter the "
    "directory with a program that moves the root, such as bwrap or systemd-nspawn";

}  // namespace shmif::tap
