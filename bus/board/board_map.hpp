#pragma once
// The memory of an open board. Internal to bus/board.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"
#include "bus/atomics.hpp"
#include "bus/board/board.hpp"
#include "bus/board/board_layout.hpp"
#include "bus/file/file_id.hpp"
#include "bus/file/sigbus_guard.hpp"

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

/// FNV-1a, continued from `hash`.
inline std::uint64_t fold_bytes(const void* bytes, std::size_t size,
                                std::uint64_t hash = 14695981039346656037ULL) noexcept {
  const auto* at = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ at[i]) * 1099511628211ULL;
  return hash;
}

/// The beginning of `text` that has at most `room` bytes: a longer text ends in "...", and no
/// character of UTF-8 is cut in two.
inline std::string fitted(std::string_view text, std::size_t room) {
  if (text.size() <= room) return std::string(text);
  std::size_t end = room - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + "...";
}

/// Copies a text out of the board. `bytes` was read before, and may be anything.
inline std::string text_from(const char* shared, std::uint32_t bytes, std::size_t room) {
  std::string text(bytes <= room ? bytes : 0, '\0');
  copy_from_shared(reinterpret_cast<std::byte*>(text.data()),
                   reinterpret_cast<const std::byte*>(shared), text.size());
  return text;
}

/// Copies a text that fits into the board.
inline void text_to(char* shared, std::string_view text) noexcept {
  copy_to_shared(reinterpret_cast<std::byte*>(shared),
                 reinterpret_cast<const std::byte*>(text.data()), text.size());
}

}  // namespace shmif::bus
