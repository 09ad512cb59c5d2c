#pragma once
// The board: how a process that may write a bus asks the owner of a port for a change, and what
// everybody can read about the changes that were made. There is no daemon.
//
//   requester                         board                          owner of the port
//   locks byte 2^41 of the file
//   text, then the word: posted  ---> request ---- bell (futex) ---> copies text, word: taken
//                                     journal, line  <-------------  applies it, notes it
//   checks and shows the answer  <--- answer  <--- answer_bell ----  result and text
//   word: idle, unlocks
//
// B1  Only the holder of the request lock changes the word, with one exception: the port that is
//     asked changes it from posted to taken, by a CAS. The kernel frees the lock of a process that
//     ends.
//
// B2  The text changes only while the word says that it is written, and each request has a larger
//     number than the one before. So a port that copies the text of a posted request, and then
//     changes the word from posted to taken, has copied one whole request. The request has the name
//     of the port that is meant: any writer can exchange names in the port table.
//
// B3  A request is applied at most once: by the port whose CAS took it. A requester that no longer
//     waits withdraws it by a CAS from posted to idle. If that fails, the port has taken it, so the
//     requester knows that the change may still come.
//
// B4  The port writes the answer only while the word says that it took this request. A port that
//     was stopped just after that check can still write into a later answer; so the answer has a
//     checksum over its number, and the requester takes no answer that does not fit.
//
// B5  An entry of the journal is written by the process that drew its number. It is valid if its
//     marker has that number before and after it was copied, and its checksum, which includes the
//     number, is right. A number whose process ended before the entry was complete stays without
//     an entry.
//
// B6  A line is written only by the owner of its slot, between two changes of its sequence. It
//     holds only for the incarnation that it names.
//
// B7  The partitions that hold are written by the holder of the request lock, before it asks the
//     ports that they name, and between two changes of their sequence. The owner of a new port
//     first says that it takes changes, and then reads the partitions. So each named port is asked,
//     or has read the partition.
//
// All bytes are hostile: each number is copied, checked and then used, each text has a fixed room,
// and whoever prints a text makes it printable. A process that dies or stops at any step leaves
// nobody waiting without a limit: the requester looks every 20 ms whether the port lives, the lock
// is the kernel's, and an owner never waits for anybody.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "bus/info.hpp"

namespace shmif::bus {

/// A port as the board sees it.
struct BoardPort {
  unsigned slot = 0;
  std::uint32_t incarnation = 0;
  std::string name{};
  bool takes_changes = false;
  bool partitioned = false;  ///< it ignores the frames of some others
  std::string line{};        ///< what holds on its line now; empty: nothing unusual

  /// Frames that its line has dropped, or that wait there.
  struct Counts {
    std::uint64_t dropped_in = 0;   ///< on their way to the host
    std::uint64_t dropped_out = 0;  ///< on their way from the host
    std::uint32_t waiting = 0;      ///< in both directions

    bool operator==(const Counts&) const = default;
  };
  std::optional<Counts> counts{};  ///< empty: the line does not count
};

/// A request that a port has taken.
struct BoardChange {
  std::uint64_t number = 0;
  std::string name{};  ///< of the port that was meant; empty: the requester does not say
  std::string text{};
};

/// How a request ended.
struct BoardAnswer {
  bool done = false;
  std::string text{};
};

/// An entry of the journal.
struct BoardNote {
  static constexpr std::uint32_t kSeveralPorts = 0xffffffff;  ///< as `slot`
  std::uint64_t time_ns = 0;
  std::uint64_t frame = 0;
  std::uint32_t slot = 0;
  std::uint32_t incarnation = 0;
  std::string name{};
  std::string text{};
};

/// Numbers of entries of the journal, of which at most the last few are still there.
struct BoardNotes {
  std::uint64_t begin = 0;  ///< of the oldest entry that may still be there
  std::uint64_t end = 0;    ///< of the next entry
};

/// The board of one bus, mapped by itself. Threads: one at a time. In the child of a fork it may
/// only be destroyed.
class Board {
 public:
  /// Opens the bus at `path`, of our own format. `read_write`: for a requester and an owner.
  /// Errors: those of Bus::open; std::errc::operation_not_supported for a bus of NetBSD's format.
  static Result<Board> open(const std::string& path, Access access);
  Board(Board&&) noexcept;
  Board& operator=(Board&&) noexcept;
  ~Board();

  /// Closes the file. From now on, only the calls of an owner and those of the journal work; the
  /// calls that ask which ports live do not.
  void close_file() noexcept;

  /// Whether this is the process that opened it, and not the child of a fork.
  bool is_ours() const noexcept;
  std::uint64_t device() const noexcept;
  std::uint64_t inode() const noexcept;

  // ---- Ports ----

  /// The live ports, in the order of their slots.
  std::vector<BoardPort> ports() const;
  /// The port in `slot`, live or not, if it has this incarnation.
  std::optional<BoardPort> port(unsigned slot, std::uint32_t incarnation) const;
  /// The name of the port that has, or last had, this slot and this incarnation; empty if another
  /// has the slot now. Blocks: never.
  std::string name_of(unsigned slot, std::uint32_t incarnation) const;
  /// Whether this port still lives.
  bool lives(unsigned slot, std::uint32_t incarnation) const noexcept;

  // ---- A requester ----

  /// Asks a port for a change, and waits for its answer, at most `at_most`. `text` has at most
  /// kRequestTextBytes. Errors: timed_out: another request was under way for all this time, or the
  /// port did not answer, or (in twice the time) it has taken the request without an answer;
  /// std::errc::no_such_process: it ended first. Blocks: for at most twice `at_most`.
  Result<BoardAnswer> ask(const BoardPort& port, std::string_view text,
                          std::chrono::milliseconds at_most);

  /// Replaces the partitions that hold by what `change` makes of them (B7). Errors: timed_out: a
  /// request was under way for all this time; bad_argument: they are longer than max_standing();
  /// then they stay as they were. Blocks: for at most `at_most`.
  Result<void> change_standing(const std::function<std::string(const std::string&)>& change,
                               std::chrono::milliseconds at_most);
  static std::size_t max_standing() noexcept;
  /// The partitions that hold, a line each, the newest first. Empty: there are none, or the process
  /// that wrote them ended before they were complete. Blocks: never.
  std::string standing() const;

  // ---- The owner of a port ----

  /// The word that changes when somebody asks the port; for a futex.
  const std::uint32_t& bell(unsigned slot) const noexcept;
  /// Takes the request for this port, if there is one (B2, B3). Blocks: never.
  std::optional<BoardChange> take(unsigned slot, std::uint32_t incarnation);
  /// Answers a request that was taken (B4). Blocks: never.
  void answer(std::uint64_t number, const BoardAnswer& answer) noexcept;
  /// Says what holds on the line of the port (B6). A longer text ends in "...". Blocks: never.
  void show(const BoardPort& port) noexcept;

  // ---- The journal ----

  /// Adds an entry (B5). A longer text ends in "...". Blocks: never.
  void add(const BoardNote& note) noexcept;
  /// Which entries may be there; both numbers come from one look, so there are never more of them
  /// than the journal has room for, whoever writes the count meanwhile. Blocks: never.
  BoardNotes notes() const noexcept;
  /// Entry number `number`; empty if it was overwritten, or is not complete.
  std::optional<BoardNote> note(std::uint64_t number) const;

 private:
  struct Impl;
  explicit Board(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::bus
