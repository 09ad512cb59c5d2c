#include "shmif/control/change_desk.hpp"

#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "base/wall_clock.hpp"
#include "bus/atomics.hpp"
#include "bus/board/board.hpp"
#include "bus/port/futex_poll.hpp"
#include "shmif/control/change_text.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif {
namespace {

constexpr long kLookNs = 100'000'000;

/// A timer that expires every 100 ms, for systems without another means; empty if there is none.
UniqueFd looking_timer() {
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const itimerspec often{{0, kLookNs}, {0, kLookNs}};
  if (timer && timerfd_settime(timer.get(), 0, &often, nullptr) != 0) timer.reset();
  return timer;
}

/// A watch for changes of the file's times, which no frame causes.
UniqueFd watch_of_times(const std::string& path) {
  UniqueFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (watch && inotify_add_watch(watch.get(), path.c_str(), IN_ATTRIB) < 0) watch.reset();
  return watch;
}

}  // namespace

struct ChangeDesk::Impl {
  const Port* port = nullptr;
  std::optional<bus::Board> board;
  bus::BoardPort self;
  bus::FutexPoll futex;
  UniqueFd other;  // without a futex: an inotify instance, or a timer

  ~Impl() {
    if (!board || !board->is_ours()) return;
    self.takes_changes = false;
    self.partitioned = false;
    self.line.clear();
    self.counts.reset();
    board->show(self);
  }

  void choose_descriptor(const std::string& path) {
    if (futex.open()) return;
    other = watch_of_times(path);
    if (!other) other = looking_timer();
    debug(Debug::relay, [this] {
      return "port " + self.name + ": no futex in io_uring; requests for changes are found by " +
             (other ? "inotify or a timer" : "nothing");
    });
  }

  void quiet() noexcept {
    if (futex.is_open()) return futex.drain();
    alignas(inotify_event) char events[512];
    while (other && read(other.get(), events, sizeof events) > 0) {
    }
  }

  /// The descriptor is readable once the bell is no longer `seen`.
  void wait_from(std::uint32_t seen) {
    if (!futex.is_open() || futex.arm(board->bell(self.slot), seen)) return;
    debug(Debug::relay, [this] { return "port " + self.name + ": cannot wait for requests now"; });
  }

  void note(const std::string& text) {
    const std::uint64_t frame = port->bus_frames();  // first: each frame before it is older
    board->add({.time_ns = base::wall_clock_ns(),
                .frame = frame,
                .slot = self.slot,
                .incarnation = self.incarnation,
                .name = self.name,
                .text = text});
  }
};

ChangeDesk::ChangeDesk(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ChangeDesk::ChangeDesk(ChangeDesk&&) noexcept = default;
ChangeDesk& ChangeDesk::operator=(ChangeDesk&&) noexcept = default;
ChangeDesk::~ChangeDesk() = default;

Result<ChangeDesk> ChangeDesk::open(const Port& port, const std::string& line) {
  const auto link = port.link();
  if (!link) return Error(Errc::not_linked, "a port that is not attached takes no changes");
  auto board = bus::Board::open(link->path, Access::read_write);
  if (!board) return std::move(board).error();
  // The path may lead to another bus meanwhile. The port is known by its slot, name and life.
  std::optional<bus::BoardPort> self;
  for (bus::BoardPort& each : board->ports()) {
    if (each.slot == port.slot() && each.name == port.name()) self = std::move(each);
  }
  const auto now = port.link();
  if (!self || !now || !now->still_named) {
    return Error(Errc::copied_file, "port \"" + port.name() +
                                        "\" takes no changes: another file is at " + link->path +
                                        " now (attach the port again)");
  }
  auto impl = std::make_unique<Impl>();
  impl->port = &port;
  impl->self = *std::move(self);
  impl->self.takes_changes = true;
  impl->self.partitioned = false;
  impl->self.line = line;
  impl->self.counts.reset();
  impl->board = *std::move(board);
  impl->choose_descriptor(link->path);
  impl->board->close_file();
  // A request may come as soon as the port shows that it takes some. It changes the bell, so the
  // descriptor is readable then.
  const std::uint32_t seen = bus::load_seq_cst(impl->board->bell(impl->self.slot));
  impl->board->show(impl->self);
  impl->wait_from(seen);
  return ChangeDesk(std::move(impl));
}

int ChangeDesk::descriptor() const noexcept {
  return impl_->futex.is_open() ? impl_->futex.descriptor() : impl_->other.get();
}

std::optional<ChangeRequest> ChangeDesk::take() {
  impl_->quiet();
  // Read before the look: whoever posts a request after the look changes it.
  const std::uint32_t seen = bus::load_seq_cst(impl_->board->bell(impl_->self.slot));
  while (auto taken = impl_->board->take(impl_->self.slot, impl_->self.incarnation)) {
    if (taken->name.empty() || taken->name == impl_->self.name)
      return ChangeRequest{taken->number, std::move(taken->text)};
    // Names in the port table are bytes that any writer can exchange.
    refuse({taken->number, {}}, "this is port \"" + impl_->self.name +
                                    "\": somebody has overwritten the port table (restart the "
                                    "hosts on this bus; 'shmifctl ps' shows who has it open)");
  }
  impl_->wait_from(seen);
  return std::nullopt;
}

void ChangeDesk::accept(const ChangeRequest& request, const std::string& noted,
                        const std::string& sentence) {
  if (!noted.empty()) impl_->note(noted);
  impl_->board->answer(request.number, {.done = true, .text = sentence});
}

void ChangeDesk::refuse(const ChangeRequest& request, const std::string& why) noexcept {
  impl_->board->answer(request.number, {.done = false, .text = why});
}

void ChangeDesk::note(const std::string& change) {
  impl_->note(change);
}

void ChangeDesk::show(const std::string& line, bool partitioned) noexcept {
  impl_->self.line = line;
  impl_->self.partitioned = partitioned;
  impl_->board->show(impl_->self);
}

void ChangeDesk::show_counts(const LineCounts& counts) noexcept {
  const bus::BoardPort::Counts now{
      .dropped_in = counts.dropped_in,
      .dropped_out = counts.dropped_out,
      .waiting = static_cast<std::uint32_t>(std::min<std::uint64_t>(counts.waiting, UINT32_MAX))};
  if (impl_->self.counts == now) return;
  impl_->self.counts = now;
  impl_->board->show(impl_->self);
}

std::string ChangeDesk::standing_partition() const {
  const std::string all = impl_->board->standing();
  for (const std::string_view each : base::split(all, '\n')) {
    const auto change = parse_change(each);
    if (!change || change->kind != Change::Kind::partition) continue;
    if (std::ranges::any_of(change->groups, [this](const Change::Group& group) {
          return std::ranges::find(group, impl_->self.name) != group.end();
        }))
      return to_text(*change);
  }
  return {};
}

std::string ChangeDesk::sender_name(unsigned slot, std::uint32_t incarnation) const {
  return impl_->board->name_of(slot, incarnation);
}

}  // namespace shmif
