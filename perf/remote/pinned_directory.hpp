#pragma once
// The directory of `shmifperf server --directory`, pinned for the process of a run.
//
// A path is checked, and the file is opened later. In between, a neighbour who may write to the
// directory can replace a part of the path by a symbolic link. So the process of a run gets its own
// mount namespace, in which the directory and all mounts below it have the flag `nosymfollow`: the
// kernel itself does not follow links there, in any system call of this process, its jobs and its
// libraries. A path without ".." that begins with the directory then ends below it.
//
//   D1 The directory is pinned before the process looks at the first path of a client.
//   D2 Each path of a client begins with the directory and has no ".." (allowed_path()). Names that
//      are made of it later only get longer.
//   D3 Users who may rename the directory itself, or one above it, are trusted (who_may_replace()).
//
// An ordinary user may mount only in its own user namespace. There the kernel shows every id but
// the user's own as the overflow id, and the process cannot get another id: a host of `engine=host`
// has one user, and a file that is replaced loses a group that is not the user's main one. A
// process with capabilities would lose them there, so it is refused unless it has CAP_SYS_ADMIN.

#include <string>

#include "base/result.hpp"

namespace shmif::perf {

/// From now on, the calling process and its children cannot follow symbolic links below
/// `directory`, an absolute path without links. This cannot be undone. Threads: the process has
/// one. Blocks: for the file system. Errors: not_supported if this machine does not allow it, with
/// what is needed.
Result<void> pin_directory(const std::string& directory);

/// The result that pin_directory() would have, from a child process. Threads: the process has one.
Result<void> can_pin_directory(const std::string& directory);

/// "user 1000 may replace /srv/lab": who must be trusted (D3); empty if only this user and root.
/// `directory`: absolute and without links. Threads: any. Blocks: for the file system.
std::string who_may_replace(const std::string& directory);

}  // namespace shmif::perf
