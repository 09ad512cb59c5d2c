#pragma once
// The directory of `shmifperf server --directory`, pinned for the process of a run.
//
// The kernel keeps the promise that a run uses no other files. The process of a run gets its own
// mount namespace, with these rules for it, its jobs and its libraries:
//
//   - All other files are read-only. So a name that is made of a client's name, such as a log's,
//     leads to no file outside, however it was made.
//   - The directory and all mounts below it have the flag `nosymfollow`: no system call follows a
//     link there, whoever makes it and when. So a path without ".." that begins with the directory
//     is not read elsewhere either.
//   - /dev/shm is private memory, for the buses that are made for the run, except if the directory
//     contains it. /proc, /sys, /run and the directory of SHMIF_HEAT stay writable, except if they
//     contain the directory.
//
// What the kernel cannot do:
//
//   D1 The directory is pinned before the process looks at the first path of a client.
//   D2 Each path of a client begins with the directory and has no ".." (allowed_path()), because
//      the kernel lets a run read other files, and connect to sockets and open FIFOs elsewhere.
//      Names that are made of it later only get longer.
//   D3 Users who may rename the directory itself, or one above it, are trusted (who_may_replace()).
//
// An ordinary user may mount only in its own user namespace. There the kernel shows every id but
// the user's own as the overflow id, and the process cannot get another id: a host of `engine=host`
// has one user, and a file that is replaced loses a group that is not the user's main one. A
// process with capabilities would lose them there, so it is refused unless it has CAP_SYS_ADMIN.

#include <string>

#include "base/result.hpp"

namespace shmif::perf {

/// From now on, the calling process and its children can write only below `directory`, an absolute
/// path without links, and cannot follow symbolic links there. Sets TMPDIR to /dev/shm. This cannot
/// be undone. Threads: the process has one. Blocks: for the file system. Errors: not_supported if
/// this machine does not allow it, with what is needed.
Result<void> pin_directory(const std::string& directory);

/// The result that pin_directory() would have, from a child process. Threads: the process has one.
Result<void> can_pin_directory(const std::string& directory);

/// "user 1000 may replace /srv/lab": who must be trusted (D3); empty if only this user and root.
/// `directory`: absolute and without links. Threads: any. Blocks: for the file system.
std::string who_may_replace(const std::string& directory);

}  // namespace shmif::perf
