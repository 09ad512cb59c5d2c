#pragma once
// HeatShare: lets a monitor (`shmifperf heat`, `shmifctl heat`) see which pages of a mapping this
// process touches and writes.
//
// Without privileges, a process cannot learn from the kernel which pages another process accesses.
// But a process can drop its own page table entries of a shared mapping. That loses no data,
// because the pages stay in the file. If a page has an entry again later, it was touched since.
//
// While a monitor is connected, the process also registers the mapping with userfaultfd. That keeps
// the kernel from mapping the neighbours of a touched page. Since Linux 6.7 it also marks written
// pages (asynchronous write protection). On older kernels the monitor does not learn which pages
// were written.
//
// A process takes part if the environment variable SHMIF_HEAT names a directory. It makes a socket
// there, and a thread that sleeps until a monitor connects. A Port lets a monitor watch its bus by
// itself, so you need not call anything. Everybody who may connect to the socket may see which
// pages are touched, and may slow the process down, because it drops page table entries on request.
// The directory's permissions decide who may connect. No monitor can change the contents of shared
// memory.

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace shmif {

/// Memory of this process that a monitor may watch, until this object is destroyed. Processes that
/// set the environment variable SHMIF_HEAT take part.
class HeatShare {
 public:
  /// Whether SHMIF_HEAT is set. Threads: any, while no thread changes the environment.
  static bool is_wanted() noexcept;

  /// Lets a monitor watch [begin, begin + bytes): whole pages of MAP_SHARED mappings that this
  /// process may write. Destroy the result before the memory is unmapped. Otherwise a monitor's
  /// request can make this process drop the pages of another mapping at that address, and private
  /// pages then lose their contents. `name`: what the monitor shows. Errors: bad_argument for other
  /// memory, or if SHMIF_HEAT does not name a directory that this process can write to. Threads:
  /// any.
  static Result<HeatShare> of(void* begin, std::size_t bytes, const std::string& name);

  HeatShare(HeatShare&&) noexcept;             ///< the other shares nothing any more
  HeatShare& operator=(HeatShare&&) noexcept;  ///< swaps what the two share
  /// From then on, no monitor can watch these pages. Blocks: while page table entries are being
  /// dropped. Does nothing in the child of a fork.
  ~HeatShare();

 private:
  struct Entry;
  explicit HeatShare(std::unique_ptr<Entry> entry);
  std::unique_ptr<Entry> entry_;
};

}  // namespace shmif
