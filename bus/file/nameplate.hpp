#pragma once
// Nameplate: shows in /proc/PID/maps which port a process has.
//
// The port table holds the pid of each port's process, but every writer of the bus can change that
// number. A process that acts on a pid (a signal, an entered namespace) needs a proof that the
// writers of the bus cannot make. A nameplate is one: a page of a memfd whose name contains the
// inode of the bus file, the slot and the name of the port. The kernel shows that name among the
// mappings of the process, and no other process can add a mapping there. The page cannot be
// accessed, unlike a memfd that a program receives from others and maps. Forked children do not
// inherit it. bus/repair/port_owners.hpp reads nameplates.

#include <cstdint>
#include <string>
#include <utility>

namespace shmif::bus {

/// The name of the memfd: "shmif-port:INODE:SLOT:NAME".
std::string nameplate_text(std::uint64_t inode, unsigned slot, const std::string& name);

/// Threads: one at a time. Blocks: while another thread is inside fork().
class Nameplate {
 public:
  Nameplate() = default;
  /// Puts the nameplate up until it or the process ends. Result: empty if the kernel refuses a
  /// memfd; the port works without it.
  static Nameplate put_up(std::uint64_t inode, unsigned slot, const std::string& name);
  Nameplate(Nameplate&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  Nameplate& operator=(Nameplate&& other) noexcept {
    if (this != &other) {
      reset();
      page_ = std::exchange(other.page_, nullptr);
    }
    return *this;
  }
  ~Nameplate() { reset(); }

  explicit operator bool() const noexcept { return page_ != nullptr; }
  void reset() noexcept;
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_ = nullptr; }

 private:
  void* page_ = nullptr;
};

}  // namespace shmif::bus
