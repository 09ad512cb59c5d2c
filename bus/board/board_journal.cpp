// The journal: the last changes of a bus.

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "bus/board/board_map.hpp"

namespace shmif::bus {
namespace {

constexpr std::size_t kEntryHead = offsetof(JournalEntry, time_ns);

/// B5: with its number, because a process that was stopped can write an entry that another process
/// has written meanwhile for a later change.
std::uint64_t check_of_entry(std::uint64_t number, const JournalEntry& copy) noexcept {
  return fold_bytes(reinterpret_cast<const std::byte*>(&copy) + kEntryHead,
                    sizeof copy - kEntryHead, fold_bytes(&number, sizeof number));
}

}  // namespace

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
