#pragma once
// The directory of `shmifperf server --directory`, pinned for the process of a run.
//
// A path is checked, and the file is opened later. A neighbour who may write to the directory can
// replace a part of the path by a symbolic link in between. So the process of a run gets a mount
// namespace of its own, in which the directory and all that is mounted below it carry the flag
// `nosymfollow`: the kernel itself follows no link there, for any system call of this process, its
// jobs and its libraries. A path without "..", which begins with the directory, then ends below it.
//
//   D1 The directory is pinned before the process looks at the first path of a client.
//   D2 Each path of a client begins with the directory and has no ".." (allowed_path()). Names that
//      are made of it later only get longer.
//   D3 Whoever may rename the directory itself, or one above it, is trusted (who_may_replace()).
//
// An ordinary user may mount only in a user namespace of its own. There every id but the user's own
// is shown as the overflow id, and no other id can be had: a host of `engine=host` has one user,
// and a file that is replaced loses a group that is not the user's main one. A process with
// capabilities would lose them there, so without CAP_SYS_ADMIN it is refused.

#include <string>

#include "base/result.hpp"

namespace shmif::perf {

/// From now on, the calling process and its children follow no symbolic link below `directory`, an
/// absolute path without links. For good: there is no way back. Threads: the process has one.
/// Blocks: for the file system. Errors: not_supported if this machine does not allow it, with what
/// is needed.
Result<void> pin_directory(const std::string& directory);

/// What pin_directory() would say, found out in a child process. Threads: the process has one.
Result<void> can_pin_directory(const std::string& directory);

/// "user 1000 may replace /srv/lab": why D3 asks whether others are trusted, or empty.
/// `directory`: absolute and without links. Threads: any. Blocks: for the file system.
std::string who_may_replace(const std::string& directory);

}  // namespace shmif::perf
