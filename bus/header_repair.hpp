#pragma once
// The fixed part of a bus's header, brought back from what else the file says.
//
// Who has a bus open keeps a copy of that part, and mends it with any repair. This is for the rest:
// a bus that nobody can open any more. What is written there follows from the format (magic,
// signature, offsets), from the file (its size gives the ring's, its inode is its own), or from the
// records in the ring (the MTU, as far as they tell).
//
// It must not make a bus of what is none. There are two kinds of evidence: *fields* of the header
// that are still right, and a *ring* in which one record leads to the next. By itself a repair asks
// for both; by force for one of them.

#include <string>
#include <vector>

#include "bus/file.hpp"
#include "bus/info.hpp"
#include "bus/result.hpp"

namespace shmif::bus {

struct RestoredHeader {
  OpenFile file;  ///< the bus, open for writing
  /// What was restored, for the user ("magic", "mtu to 1500, which is assumed"); nothing where it
  /// was right, but for an MTU that was asked for.
  std::vector<std::string> restored;
};

/// Makes the header of the bus at `path` one that can be opened, and opens it. Errors: those of
/// open_file where the file is no bus, a bus of another format, a copy, or not what it seems, with
/// what `force` would do; corrupt where the MTU cannot be told.
Result<RestoredHeader> restore_header(const std::string& path, const RepairOptions& options);

}  // namespace shmif::bus
