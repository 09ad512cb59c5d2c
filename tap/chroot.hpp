#pragma once
// Explains why user namespaces are refused in a chroot.

namespace shmif::tap {

/// True only if the process is surely in a chroot: its root directory is not the root of its mount
/// namespace. The kernel makes no user namespace for such a process (EPERM, user_namespaces(7)).
/// False proves nothing: without /proc the function sees no mounts, and a mount that is the root of
/// every visible process looks like the root of the namespace.
///
/// Threads: any. Blocks: while it reads /proc; use it only for a message about a failure.
bool is_chrooted();

/// What the user can do about it, as the end of a message.
constexpr const char* kChrootHint =
    "this is a chroot, where the kernel refuses user namespaces: run it outside, or enter the "
    "directory with a program that moves the root, such as bwrap or systemd-nspawn";

}  // namespace shmif::tap
