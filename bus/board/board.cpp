// The board: opening it; the ports on it and their lines; requests, which one process asks and
// another takes and answers; the journal of the last changes.

#include "bus/board/board.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"
#include "bus/atomics.hpp"
#include "bus/board/board_layout.hpp"
#include "bus/file/file.hpp"
#include "bus/file/file_id.hpp"
#include "bus/file/liveness.hpp"
#include "bus/file/sigbus_guard.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/port/port_table.hpp"

namespace shmif::bus {

struct Board::Impl {
  std::string path;
  UniqueFd fd;
  FileId file;
  std::byte* base = nullptr;  // of the whole file up to the ring
  std::unique_ptr<GuardedRange> guard;
  std::uint64_t token = base::process_token();

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (!base::is_this_process(token)) {
      // The child of a fork has no mapping here, and the guard is the parent's.
      static_cast<void>(guard.release());
      return;
    }
    guard.reset();
    if (base != nullptr) munmap(base, kRingOffset);
  }

  PortSlot& slot(unsigned i) const noexcept {
    return reinterpret_cast<PortSlot*>(base + kHeaderBytes)[i];
  }
  BoardMemory& memory() const noexcept {
    return *reinterpret_cast<BoardMemory*>(base + kBoardOffset);
  }
  BoardRequest& request() const noexcept { return memory().request; }
  LineRecord& line(unsigned i) const noexcept { return memory().lines[i]; }
};

namespace {

/// FNV-1a, continued from `hash`.
std::uint64_t fold_bytes(const void* bytes, std::size_t size,
                         std::uint64_t hash = 14695981039346656037ULL) noexcept {
  const auto* at = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ at[i]) * 1099511628211ULL;
  return hash;
}

/// The beginning of `text` that has at most `room` bytes: a longer text ends in "...", and no
/// character of UTF-8 is cut in two.
std::string fitted(std::string_view text, std::size_t room) {
  if (text.size() <= room) return std::string(text);
  std::size_t end = room - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + "...";
}

/// Copies a text out of the board. `bytes` was read before, and may be anything.
std::string text_from(const char* shared, std::uint32_t bytes, std::size_t room) {
  std::string text(bytes <= room ? bytes : 0, '\0');
  copy_from_shared(reinterpret_cast<std::byte*>(text.data()),
                   reinterpret_cast<const std::byte*>(shared), text.size());
  return text;
}

/// Copies a text that fits into the board.
void text_to(char* shared, std::string_view text) noexcept {
  copy_to_shared(reinterpret_cast<std::byte*>(shared),
                 reinterpret_cast<const std::byte*>(text.data()), text.size());
}

/// Refuses a bus of NetBSD's format, which has no board.
Result<void> refuse_netbsd(int fd, const struct stat& status, const std::string& path) {
  std::array<std::byte, sizeof(std::uint64_t)> beginning{};
  const ssize_t got = pread(fd, beginning.data(), beginning.size(), 0);
  const auto seen = std::span(beginning).first(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (!is_netbsd_bus(seen, static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0))))
    return {};
  return Error(std::make_error_code(std::errc::operation_not_supported),
               "cannot change anything on " + path +
                   ": a bus of NetBSD's format has no place for requests (make one of our own "
                   "format with 'shmifctl create')");
}

std::uint32_t incarnation_in(const PortSlot& slot) noexcept {
  return static_cast<std::uint32_t>(incarnation_of(load_acquire(slot.state)));
}

/// What the line of a slot says, if this incarnation has written it (B6).
void read_line(const LineRecord& line, BoardPort& port) {
  constexpr int kReads = 16;  // the owner writes seldom
  for (int i = 0; i < kReads; ++i) {
    const std::uint32_t before = load_seq_cst(line.sequence);  // B7
    if (before % 2 != 0) continue;
    if (load_relaxed(line.incarnation) != port.incarnation) return;
    const std::uint32_t flags = load_relaxed(line.flags);
    std::string text = text_from(line.text, load_relaxed(line.text_bytes), kLineTextBytes);
    const BoardPort::Counts counts{.dropped_in = load_relaxed(line.dropped_in),
                                   .dropped_out = load_relaxed(line.dropped_out),
                                   .waiting = load_relaxed(line.waiting)};
    fence_loads();
    if (load_relaxed(line.sequence) != before) continue;
    port.takes_changes = (flags & kLineTakesChanges) != 0;
    port.partitioned = (flags & kLinePartitioned) != 0;
    port.line = std::move(text);
    if ((flags & kLineCounts) != 0) port.counts = counts;
    return;
  }
}

using BoardClock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookForLock{2};
/// So often a requester looks whether the port still lives.
constexpr std::chrono::milliseconds kLookForLife{20};

void wake_sleepers_on(std::uint32_t& word) noexcept {
  fetch_add(word, std::uint32_t{1});
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void sleep_on(std::uint32_t& word, std::uint32_t expected, std::chrono::nanoseconds at_most) {
  timespec t{};
  t.tv_nsec = static_cast<long>(std::max<std::int64_t>(at_most.count(), 0));  // less than a second
  syscall(SYS_futex, &word, FUTEX_WAIT, expected, &t, nullptr, 0);
}

/// The lock of requesters (B1). The kernel frees it when the process ends.
class RequestLock {
 public:
  explicit RequestLock(int fd) noexcept : fd_(fd) {}
  RequestLock(const RequestLock&) = delete;
  RequestLock& operator=(const RequestLock&) = delete;
  ~RequestLock() {
    if (held_) static_cast<void>(set(F_UNLCK));
  }
  bool take(BoardClock::time_point until) noexcept {
    while (!(held_ = set(F_WRLCK))) {
      if ((errno != EAGAIN && errno != EACCES) || BoardClock::now() >= until) return false;
      std::this_thread::sleep_for(kLookForLock);
    }
    return true;
  }

 private:
  bool set(short type) const noexcept {
    struct flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(kRequestLockOffset);
    lock.l_len = 1;
    return fcntl(fd_, F_OFD_SETLK, &lock) == 0;
  }
  int fd_;
  bool held_ = false;
};

std::uint64_t check_of(std::uint64_t number, std::uint32_t result, std::string_view text) noexcept {
  const std::uint64_t head = fold_bytes(&result, sizeof result, fold_bytes(&number, sizeof number));
  return fold_bytes(text.data(), text.size(), head);
}

/// The answer to this request, if it is there and whole (B4).
std::optional<BoardAnswer> read_answer(const BoardRequest& r, std::uint64_t number) {
  if (load_acquire(r.answered) != number) return std::nullopt;
  const std::uint32_t result = load_relaxed(r.result);
  const std::uint64_t check = load_relaxed(r.answer_check);
  std::string text = text_from(r.answer, load_relaxed(r.answer_bytes), kAnswerTextBytes);
  if (check != check_of(number, result, text)) return std::nullopt;
  return BoardAnswer{result == kResultDone, std::move(text)};
}

std::string milliseconds_text(std::chrono::milliseconds time) {
  return std::to_string(time.count()) + " ms";
}

std::string busy_text(std::chrono::milliseconds at_most) {
  return "another change of this bus has been under way for " + milliseconds_text(at_most) +
         " (try again; 'fuser' names the processes that have the file open: one that asked for a "
         "change may be stopped)";
}

constexpr std::size_t kEntryHead = offsetof(JournalEntry, time_ns);

/// B5: with its number, because a process that was stopped can write an entry that another process
/// has written meanwhile for a later change.
std::uint64_t check_of_entry(std::uint64_t number, const JournalEntry& copy) noexcept {
  return fold_bytes(reinterpret_cast<const std::byte*>(&copy) + kEntryHead,
                    sizeof copy - kEntryHead, fold_bytes(&number, sizeof number));
}

}  // namespace

Board::Board(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Board::Board(Board&&) noexcept = default;
Board& Board::operator=(Board&&) noexcept = default;
Board::~Board() = default;

Result<Board> Board::open(const std::string& path, Access access) {
  struct stat status{};
  auto file = open_unchecked(path, access, status);
  if (!file) return std::move(file).error();
  if (auto ok = refuse_netbsd(file->fd.get(), status, path); !ok) return ok.error();
  const Copies copies = access == Access::read_only ? Copies::tolerate : Copies::refuse;
  if (auto ok = check_file(*file, path, status, copies); !ok) return ok.error();
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->file = FileId::of(status);
  if (impl->token == 0)
    return Error::from_errno(errno, "cannot tell forked children from their parent");
  const int protection = access == Access::read_write ? PROT_READ | PROT_WRITE : PROT_READ;
  void* const base = mmap(nullptr, kRingOffset, protection, MAP_SHARED, file->fd.get(), 0);
  if (base == MAP_FAILED) return Error::from_errno(errno, "cannot map the bus " + path);
  impl->base = static_cast<std::byte*>(base);
  if (madvise(base, kRingOffset, MADV_DONTFORK) != 0)
    return Error::from_errno(errno, "cannot hide the bus from forked children");
  static_cast<void>(madvise(base, kRingOffset, MADV_DONTDUMP));
  impl->guard = std::make_unique<GuardedRange>(impl->base, kRingOffset);
  if (!impl->guard->is_watched())
    return Error::from_errno(ENOMEM, "cannot guard the bus against a truncation of its file");
  impl->fd = std::move(file->fd);
  return Board(std::move(impl));
}

void Board::close_file() noexcept {
  impl_->fd.reset();
}
bool Board::is_ours() const noexcept {
  return base::is_this_process(impl_->token);
}
std::uint64_t Board::device() const noexcept {
  return impl_->file.device;
}
std::uint64_t Board::inode() const noexcept {
  return impl_->file.inode;
}

std::optional<BoardPort> Board::port(unsigned slot, std::uint32_t incarnation) const {
  if (slot >= kSlots) return std::nullopt;
  const PortSlot& s = impl_->slot(slot);
  BoardPort port{.slot = slot, .incarnation = incarnation_in(s)};
  port.name = slot_name(s);
  read_line(impl_->line(slot), port);
  fence_loads();
  if (port.incarnation != incarnation || incarnation_in(s) != incarnation) return std::nullopt;
  return port;
}

std::vector<BoardPort> Board::ports() const {
  std::vector<BoardPort> all;
  all.reserve(kSlots);
  for (unsigned i = 0; i < kSlots; ++i) {
    const PortSlot& s = impl_->slot(i);
    if (state_of(load_acquire(s.state)) != SlotState::live || !is_alive(impl_->fd.get(), i))
      continue;
    if (auto found = port(i, incarnation_in(s))) all.push_back(*std::move(found));
  }
  return all;
}

std::string Board::name_of(unsigned slot, std::uint32_t incarnation) const {
  if (slot >= kSlots) return {};
  const PortSlot& s = impl_->slot(slot);
  if (incarnation_in(s) != incarnation) return {};
  std::string name = slot_name(s);
  fence_loads();
  return incarnation_in(s) == incarnation ? name : std::string();
}

bool Board::lives(unsigned slot, std::uint32_t incarnation) const noexcept {
  if (slot >= kSlots) return false;
  const std::uint64_t state = load_acquire(impl_->slot(slot).state);
  return state_of(state) == SlotState::live &&
         static_cast<std::uint32_t>(incarnation_of(state)) == incarnation &&
         is_alive(impl_->fd.get(), slot);
}

const std::uint32_t& Board::bell(unsigned slot) const noexcept {
  return impl_->line(slot % kSlots).bell;
}

void Board::show(const BoardPort& port) noexcept {
  if (port.slot >= kSlots) return;
  LineRecord& line = impl_->line(port.slot);
  const std::string text = fitted(port.line, kLineTextBytes);
  // An owner that was killed left it odd.
  const std::uint32_t odd = load_relaxed(line.sequence) | 1U;
  store_seq_cst(line.sequence, odd);
  fence_stores();  // B6: it is seen to be odd before any field changes
  store_relaxed(line.incarnation, port.incarnation);
  store_relaxed(line.flags, (port.takes_changes ? kLineTakesChanges : 0U) |
                                (port.partitioned ? kLinePartitioned : 0U) |
                                (port.counts ? kLineCounts : 0U));
  store_relaxed(line.text_bytes, static_cast<std::uint32_t>(text.size()));
  text_to(line.text, text);
  const BoardPort::Counts counts = port.counts.value_or(BoardPort::Counts());
  store_relaxed(line.waiting, counts.waiting);
  store_relaxed(line.dropped_in, counts.dropped_in);
  store_relaxed(line.dropped_out, counts.dropped_out);
  store_seq_cst(line.sequence, odd + 1);  // B7: what the caller reads then is newer
}

std::size_t Board::max_standing() noexcept {
  return kStandingBytes;
}

Result<void> Board::change_standing(const std::function<std::string(const std::string&)>& change,
                                    std::chrono::milliseconds at_most) {
  const std::string what = "cannot change the partitions of " + impl_->path + ": ";
  RequestLock lock(impl_->fd.get());
  if (!lock.take(BoardClock::now() + at_most))
    return Error(Errc::timed_out, what + busy_text(at_most));
  const std::string text = change(standing());
  if (text.size() > kStandingBytes) {
    return Error(Errc::bad_argument, what + "together they have " + std::to_string(text.size()) +
                                         " characters, and " + std::to_string(kStandingBytes) +
                                         " are possible (name fewer ports, or heal the bus first)");
  }
  BoardRequest& r = impl_->request();
  // A requester that was killed left it odd.
  const std::uint32_t odd = load_relaxed(r.standing_sequence) | 1U;
  store_seq_cst(r.standing_sequence, odd);
  fence_stores();
  store_relaxed(r.standing_bytes, static_cast<std::uint32_t>(text.size()));
  store_relaxed(r.standing_check, fold_bytes(text.data(), text.size()));
  text_to(r.standing, text);
  store_seq_cst(r.standing_sequence, odd + 1);
  return {};
}

std::string Board::standing() const {
  constexpr int kReads = 16;  // it is written seldom
  const BoardRequest& r = impl_->request();
  for (int i = 0; i < kReads; ++i) {
    const std::uint32_t before = load_seq_cst(r.standing_sequence);
    if (before % 2 != 0) continue;
    const std::uint64_t check = load_relaxed(r.standing_check);
    std::string text = text_from(r.standing, load_relaxed(r.standing_bytes), kStandingBytes);
    fence_loads();
    if (load_relaxed(r.standing_sequence) != before) continue;
    return check == fold_bytes(text.data(), text.size()) ? text : std::string();
  }
  return {};
}

Result<BoardAnswer> Board::ask(const BoardPort& port, std::string_view text,
                               std::chrono::milliseconds at_most) {
  const std::string what = "cannot change port \"" + port.name + "\" of " + impl_->path + ": ";
  if (port.slot >= kSlots || text.size() > kRequestTextBytes) {
    return Error(Errc::bad_argument, what + "the request has " + std::to_string(text.size()) +
                                         " characters, and " + std::to_string(kRequestTextBytes) +
                                         " are possible (name fewer ports at a time)");
  }
  const BoardClock::time_point until = BoardClock::now() + at_most;
  RequestLock lock(impl_->fd.get());
  if (!lock.take(until)) {
    return Error(Errc::timed_out, what + busy_text(at_most));
  }
  BoardRequest& r = impl_->request();
  const std::uint64_t number = request_word::number(load_relaxed(r.word)) + 1;
  const auto word_of = [number](std::uint64_t stage) { return request_word::make(number, stage); };
  store_seq_cst(r.word, word_of(request_word::kWriting));
  fence_stores();  // B2: the word is seen to have changed before the text does
  store_relaxed(r.slot, static_cast<std::uint32_t>(port.slot));
  store_relaxed(r.incarnation, port.incarnation);
  std::array<char, kNameBytes> name{};
  std::copy_n(port.name.data(), std::min(port.name.size(), name.size() - 1), name.data());
  text_to(r.name, std::string_view(name.data(), name.size()));
  store_relaxed(r.text_bytes, static_cast<std::uint32_t>(text.size()));
  text_to(r.text, text);
  store_seq_cst(r.word, word_of(request_word::kPosted));
  wake_sleepers_on(impl_->line(port.slot).bell);
  // For owners that have no futex in their event loop: inotify tells them that times changed.
  static_cast<void>(futimens(impl_->fd.get(), nullptr));

  bool is_taken = false;
  BoardClock::time_point end = until;
  for (;;) {  // until `end`, which moves once
    const std::uint32_t bell = load_seq_cst(r.answer_bell);
    const bool is_there = lives(port.slot, port.incarnation);
    if (auto answer = read_answer(r, number)) {
      store_seq_cst(r.word, word_of(request_word::kIdle));
      return *std::move(answer);
    }
    if (!is_there) {
      const bool was_taken =
          !compare_and_swap(r.word, word_of(request_word::kPosted), word_of(request_word::kIdle));
      return Error(std::make_error_code(std::errc::no_such_process),
                   what + "its process ended " +
                       (was_taken ? "before it had answered" : "before it saw the request"));
    }
    const auto left = end - BoardClock::now();
    if (left.count() > 0) {
      sleep_on(r.answer_bell, bell, std::min<std::chrono::nanoseconds>(left, kLookForLife));
      continue;
    }
    if (is_taken) {
      store_seq_cst(r.word, word_of(request_word::kIdle));
      return Error(Errc::timed_out,
                   what + "its process took the request and has not answered within " +
                       milliseconds_text(2 * at_most) +
                       ", so the change may still come ('shmifctl changes' shows it then)");
    }
    // B3
    if (compare_and_swap(r.word, word_of(request_word::kPosted), word_of(request_word::kIdle))) {
      return Error(Errc::timed_out, what + "its process did not answer within " +
                                        milliseconds_text(at_most) +
                                        ", and the request is withdrawn (is the process stopped?)");
    }
    is_taken = true;
    end = BoardClock::now() + at_most;
  }
}

std::optional<BoardChange> Board::take(unsigned slot, std::uint32_t incarnation) {
  BoardRequest& r = impl_->request();
  const std::uint64_t word = load_seq_cst(r.word);
  if (request_word::stage(word) != request_word::kPosted) return std::nullopt;
  if (load_relaxed(r.slot) != slot || load_relaxed(r.incarnation) != incarnation)
    return std::nullopt;
  const std::string name = text_from(r.name, kNameBytes, kNameBytes);
  BoardChange change{request_word::number(word), name.substr(0, name.find('\0')),
                     text_from(r.text, load_relaxed(r.text_bytes), kRequestTextBytes)};
  if (!compare_and_swap(r.word, word, request_word::make(change.number, request_word::kTaken)))
    return std::nullopt;  // B2: withdrawn
  return change;
}

void Board::answer(std::uint64_t number, const BoardAnswer& answer) noexcept {
  BoardRequest& r = impl_->request();
  if (load_seq_cst(r.word) != request_word::make(number, request_word::kTaken)) return;  // B4
  const std::string text = fitted(answer.text, kAnswerTextBytes);
  const std::uint32_t result = answer.done ? kResultDone : kResultRefused;
  store_relaxed(r.result, result);
  store_relaxed(r.answer_bytes, static_cast<std::uint32_t>(text.size()));
  text_to(r.answer, text);
  store_relaxed(r.answer_check, check_of(number, result, text));
  store_seq_cst(r.answered, number);
  wake_sleepers_on(r.answer_bell);
}

void Board::add(const BoardNote& note) noexcept {
  JournalEntry mine{};
  mine.time_ns = note.time_ns;
  mine.frame = note.frame;
  mine.slot = note.slot;
  mine.incarnation = note.incarnation;
  const std::string text = fitted(note.text, kJournalTextBytes);
  mine.text_bytes = static_cast<std::uint32_t>(text.size());
  std::memcpy(mine.text, text.data(), text.size());
  std::memcpy(mine.name, note.name.data(), std::min(note.name.size(), kNameBytes - 1));
  const std::uint64_t number = fetch_add(impl_->request().changes, std::uint64_t{1});
  mine.check = check_of_entry(number, mine);
  JournalEntry& entry = impl_->memory().journal[number % kJournalEntries];
  store_seq_cst(entry.marker, std::uint64_t{0});  // B5
  fence_stores();
  constexpr std::size_t kFrom = offsetof(JournalEntry, check);
  copy_to_shared(reinterpret_cast<std::byte*>(&entry) + kFrom,
                 reinterpret_cast<const std::byte*>(&mine) + kFrom, sizeof mine - kFrom);
  store_seq_cst(entry.marker, number + 1);
}

BoardNotes Board::notes() const noexcept {
  const std::uint64_t begun = load_acquire(impl_->request().changes);
  return {begun - std::min(begun, kJournalEntries), begun};
}

std::optional<BoardNote> Board::note(std::uint64_t number) const {
  const JournalEntry& entry = impl_->memory().journal[number % kJournalEntries];
  if (load_acquire(entry.marker) != number + 1) return std::nullopt;
  JournalEntry copy{};
  copy_from_shared(reinterpret_cast<std::byte*>(&copy), reinterpret_cast<const std::byte*>(&entry),
                   sizeof copy);
  fence_loads();
  if (load_relaxed(entry.marker) != number + 1 || copy.check != check_of_entry(number, copy))
    return std::nullopt;  // B5
  BoardNote note;
  note.time_ns = copy.time_ns;
  note.frame = copy.frame;
  note.slot = copy.slot;
  note.incarnation = copy.incarnation;
  note.name = std::string(copy.name, strnlen(copy.name, kNameBytes));
  note.text = std::string(copy.text, std::min<std::size_t>(copy.text_bytes, kJournalTextBytes));
  return note;
}

}  // namespace shmif::bus
