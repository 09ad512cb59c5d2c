#pragma once
// Restores the fixed part of a bus's header from the other evidence that the file shows.
//
// A process that has a bus open keeps a copy of that part, and any repair restores it from there.
// This is for a bus that nobody can open any more. The values follow from the format (magic,
// signature, offsets), from the file (its size gives the ring's size, its inode is its own), or
// from the records in the ring (the MTU, as far as they show it).
//
// It must not turn another file into a bus. There are two kinds of evidence: *fields* of the header
// that are still right, and a *ring* in which one record leads to the next. A repair needs both;
// with `force`, one of them is enough.

#include <string>
#include <vector>

#include "base/result.hpp"
#include "bus/file/file.hpp"
#include "bus/info.hpp"

namespace shmif::bus {

struct RestoredHeader {
  OpenFile file;  ///< the bus, open for writing
  /// What was restored, for the user ("magic", "mtu to 1500, which is assumed"). Empty if the
  /// header was right and no other MTU was asked for.
  std::vector<std::string> restored;
};

/// Makes the header of the bus at `path` valid, and opens the bus. Errors: those of
/// open_unchecked() and check_file() if the file is not a bus, is a bus of another format, a copy,
/// or not what it seems; the message says what `force` would do. corrupt if the MTU cannot be found
/// out; bad_mtu and geometry_differs for an MTU that was asked for.
Result<RestoredHeader> restore_header(const std::string& path, const RepairOptions& options);

}  // namespace shmif::bus
