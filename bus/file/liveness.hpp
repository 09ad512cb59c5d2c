#pragma once
// Tells which ports live. Each port holds an open-file-description lock on the byte at its slot's
// offset, through a description that only a page of address space keeps open
// (Lifeline). The kernel drops the lock when the process dies or execs, whatever its
// pid namespace. Forked children do not inherit the page.

#include <functional>
#include <string>
#include <system_error>
#include <utility>

#include "base/result.hpp"
#include "bus/file/file_id.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {

/// Takes the lock that says "the port in `slot` lives", on the description behind `fd`. Result:
/// false if somebody else has this lock, or a read lock there. (So anybody who may read the file
/// can delay new ports.)
bool take_liveness(int fd, unsigned slot) noexcept;

/// Whether a port in `slot` lives. `fd`: any description of the file. Asks for a read lock, so that
/// a stranger with a read lock does not look like a live port. If the question fails, the answer is
/// true: a dead holder that seems alive loses the lock 100 ms later, for lack of progress.
bool is_alive(int fd, unsigned slot) noexcept;

/// Whether `fd` still is this file. A library user may have closed our descriptors (close_range in
/// a daemon), and another file may have the number by now.
bool same_file(int fd, const FileId& file) noexcept;

// OwnPage is a page of address space that cannot be accessed, and that forked children do not
// inherit. It keeps an open file description for exactly as long as the process lives and does not
// exec, and /proc/PID/maps shows which process has it.

/// Threads: one at a time.
class OwnPage {
 public:
  OwnPage() = default;
  OwnPage(OwnPage&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  OwnPage& operator=(OwnPage&& other) noexcept {
    if (this != &other) {
      reset();
      page_ = std::exchange(other.page_, nullptr);
    }
    return *this;
  }
  ~OwnPage() { reset(); }

  /// Maps the first page of the file behind `fd` in place of the present page. Errors: the
  /// system's.
  [[nodiscard]] std::error_code map(int fd) noexcept;
  /// Call it before another thread may fork (base::ForkHold). Errors: an errno.
  [[nodiscard]] std::error_code hide_from_children() noexcept;

  void reset() noexcept;
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_ = nullptr; }

 private:
  void* page_ = nullptr;
};

// Lifeline makes a port live: it is an open file description
// that holds the lock of a slot, and that one page of address space keeps open.
//
// If a forked child inherited such a description, a dead port would seem to live as long as the
// child. So this description serves the lock alone, not the mapping of the bus. Between its open
// and the close of its descriptor there are four system calls; meanwhile, fork() in other threads
// waits (ForkHold). After that only a page keeps it open, which no child inherits (MADV_DONTFORK).
// One case remains: a child that was made by a bare clone(2) within these four calls, and that does
// not exec.

class Lifeline {
 public:
  Lifeline() = default;
  /// Opens a description of the file behind `fd`, and lets `take_lock` take a lock on it. The lock
  /// stands until the lifeline or the process ends. If `take_lock` returns false, the lifeline is
  /// empty. Errors: those of reopen(), or an errno.
  static Result<Lifeline> open(int fd, const std::string& path,
                               const std::function<bool(int description)>& take_lock);

  void reset() noexcept { page_.reset(); }
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_.forget(); }

 private:
  OwnPage page_;
};

// Nameplate shows in /proc/PID/maps which port a process has.
//
// The port table holds the pid of each port's process, but every writer of the bus can change that
// number. A program that acts on a pid (sends a signal, enters a namespace) needs a proof that no
// writer of the bus can forge. A nameplate is such a proof: a page of a memfd whose name contains
// device and inode of the bus file, and slot and name of the port. The kernel shows that name among
// the mappings of the process, and no other process can add a mapping there. The page cannot be
// accessed, unlike a memfd that a program receives from others and maps. Forked children do not
// inherit it. bus/repair/port_owners.hpp reads nameplates.

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

  void reset() noexcept { page_.reset(); }
  /// In the child of a fork: forgets the page, which does not exist there.
  void forget() noexcept { page_.forget(); }

 private:
  OwnPage page_;
};

}  // namespace shmif::bus
