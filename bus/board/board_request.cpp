// A request: asked by one process, taken and answered by another.

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <thread>
#include <utility>

#include "bus/board/board_map.hpp"

namespace shmif::bus {
namespace {

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

}  // namespace

std::size_t Board::max_text() noexcept {
  return kRequestTextBytes;
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

}  // namespace shmif::bus
