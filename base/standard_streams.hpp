#pragma once
// Standard streams that are closed when a program starts.
//
// The kernel gives a new descriptor the lowest free number. In a program that was started with
// descriptor 1 closed (`prog >&-`), the first file that it opens would become its standard output,
// and its messages would be written over that file. Two things prevent this: a program of ours
// keeps the three numbers occupied, and a library never keeps a descriptor with one of them
// (UniqueFd, base/unique_fd.hpp).

#include <array>

namespace shmif::base {

/// Opens something for each standard stream that is closed. Input and output stay unusable: reading
/// and writing fail with EBADF, as if they were still closed. Output to standard error
/// vanishes. Programs that are started later inherit this. Call it first in main().
void hold_standard_streams() noexcept;

/// Whether hold_standard_streams() found standard error closed, so that what is written there
/// vanishes. Threads: any. Blocks: never.
bool errors_vanish() noexcept;

/// If hold_standard_streams() found standard output closed, output to it vanishes from now on. For
/// programs whose main work is not printing.
void let_lost_output_vanish() noexcept;

/// While it exists, no new descriptor gets the number of a standard stream. For calls of other
/// libraries that open descriptors and keep them. Threads: any; output of other threads to a closed
/// stream fails with EBADF meanwhile, as before.
class StandardStreamsTaken {
 public:
  StandardStreamsTaken() noexcept;
  StandardStreamsTaken(const StandardStreamsTaken&) = delete;
  StandardStreamsTaken& operator=(const StandardStreamsTaken&) = delete;
  ~StandardStreamsTaken();

 private:
  std::array<bool, 3> taken_{};
};

}  // namespace shmif::base
