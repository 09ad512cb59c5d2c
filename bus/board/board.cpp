// Opening a board; the ports on it and their lines.

#include "bus/board/board.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "bus/board/board_map.hpp"
#include "bus/file/file.hpp"
#include "bus/file/liveness.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/port/port_table.hpp"

namespace shmif::bus {
namespace {

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

}  // namespace shmif::bus
