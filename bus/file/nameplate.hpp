#pragma once
// Nameplate: shows in /proc/PID/maps which port a process has.
//
// The port table holds the pid of each port's process, but every writer of the bus can change that
// number. A program that acts on a pid (sends a signal, enters a namespace) needs a proof that no
// writer of the bus can forge. A nameplate is such a proof: a page of a memfd whose name contains
// device and inode of the bus file, and slot and name of the port. The kernel shows that name among
// the mappings of the process, and no other process can add a mapping there. The page cannot be
// accessed, unlike a memfd that a program receives from others and maps. Forked children do not
// inherit it. bus/repair/port_owners.hpp reads nameplates.

#include <string>

#include "bus/file/file_id.hpp"
#include "bus/file/own_page.hpp"

namespace shmif::bus {

/// The name of the memfd: "shmif-port:MAJOR.MINOR:INODE:SLOT:NAME", in decimal digits. It contains
/// the device because files of two tmpfs can have the same inode number.
std::string nameplate_text(const FileId& bus, unsigned slot, const std::string& name);
/// The beginning that the nameplates of all ports of one bus have in common.
std::string nameplate_begin(const FileId& bus);

/// Threads: one at a time. Blocks: while another thread is inside fork().
class Nameplate {
 public:
  Nameplate() = default;
  /// Puts the nameplate up until it or the process ends. Result: empty if the kernel refuses a
  /// memfd, or the file is not known; the port works without it.
  static Nameplate put_up(const FileId& bus, unsigned slot, const std::string& name);

  explicit operator bool() const noexcept { return static_cast<bool>(page_); }
  void reset() noexcept { page_.reset(); }
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_.forget(); }

 private:
  OwnPage page_;
};

}  // namespace shmif::bus
