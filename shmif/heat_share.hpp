#pragma once
// HeatShare: lets a monitor (`shmifperf heat`, `shmifctl heat`) see which pages of a mapping this
// process touches and writes.
//
// The kernel tells no process which pages another one accesses. But a process can drop the page
// table entries of a shared mapping, which loses nothing, because the pages stay in the file. Each
// page that has an entry again was touched since. While a monitor is connected, the mapping is also
// registered with userfaultfd, whose asynchronous write protection (Linux 6.7) marks written pages,
// and which keeps the kernel from mapping the neighbours of a touched page.
//
// A process takes part if the environment variable SHMIF_HEAT names a directory. It makes a socket
// there, and a thread that sleeps until a monitor connects. Ports share their bus by themselves.
// Whoever may connect to the socket may see which pages are touched, and may slow the process down
// by dropping them; the directory's permissions decide who may. No monitor can change memory.

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.hpp"

namespace shmif {

class HeatShare {
 public:
  /// Whether SHMIF_HEAT is set. Threads: any, while none changes the environment.
  static bool is_wanted() noexcept;

  /// Shares [begin, begin + bytes), whole pages of MAP_SHARED mappings that this process may write.
  /// Withdraw it before the memory is unmapped: another mapping at the same place would lose its
  /// contents. `name`: what the monitor shows. Errors: bad_argument for other memory, or if
  /// SHMIF_HEAT names no directory that can be written. Threads: any.
  static Result<HeatShare> of(void* begin, std::size_t bytes, const std::string& name);

  HeatShare(HeatShare&&) noexcept;
  HeatShare& operator=(HeatShare&&) noexcept;
  /// Withdraws. Blocks: while pages are being dropped. In the child of a fork: does nothing.
  ~HeatShare();

 private:
  struct Entry;
  explicit HeatShare(std::unique_ptr<Entry> entry);
  std::unique_ptr<Entry> entry_;
};

}  // namespace shmif
