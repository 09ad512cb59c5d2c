#include "tap/line/line.hpp"

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "shmif/fault_link.hpp"

namespace shmif::tap {
namespace {

/// How many links with faults are kept after their end, at most. A bridge still has the descriptor
/// of the last one until the function returns that changed the line. If the descriptor were closed
/// before, another one could get its number, and the bridge would not notice the change.
constexpr std::size_t kMaxRetired = 8;
/// How many batches in which the host hears no frame are received at once, at most.
constexpr unsigned kMaxSilentBatches = 16;

constexpr std::uint64_t FaultCounters::* kFaultCounts[] = {
    &FaultCounters::frames,    &FaultCounters::lost,      &FaultCounters::duplicated,
    &FaultCounters::reordered, &FaultCounters::corrupted, &FaultCounters::truncated,
    &FaultCounters::queue_full};
constexpr std::uint64_t LineCounters::* kLineCounts[] = {
    &LineCounters::segments_made, &LineCounters::refused, &LineCounters::to_receive,
    &LineCounters::to_send,       &LineCounters::deaf,    &LineCounters::cut_received,
    &LineCounters::cut_sent};

}  // namespace

LineCounters& LineCounters::operator+=(const LineCounters& more) noexcept {
  received += more.received;
  sent += more.sent;
  for (const auto count : kLineCounts) this->*count += more.*count;
  return *this;
}

LineCounters LineCounters::since(const LineCounters& before) const noexcept {
  LineCounters now = *this;
  for (const auto way : {&LineCounters::received, &LineCounters::sent}) {
    for (const auto count : kFaultCounts) (now.*way).*count -= (before.*way).*count;
  }
  for (const auto count : kLineCounts) now.*count -= before.*count;
  return now;
}

struct Line::Impl {
  Port* port;
  AnyLink link;                 ///< for the bridge
  std::optional<AnyLink> bare;  ///< the port as a link, if `link` is another one
  FaultLink* faulty = nullptr;  ///< inside `link`, if that is one
  std::vector<AnyLink> retired;
  LineFaults faults;
  DeafTo deaf;
  StaysOnBus stays;
  bool is_cut = false;
  LineCounters counters;  ///< without those of `faulty`

  explicit Impl(std::unique_ptr<Port> p) : port(p.get()), link(std::move(p)) {
    faults.sent.seed = faults.received.seed + 1;  // as parse_line_faults() makes it
    retired.reserve(kMaxRetired + 1);
  }

  bool needs_gate() const noexcept { return deaf || stays || is_cut; }
  void make_or_remove_gate();
  void make_gate();
  void remove_gate() noexcept;
  void retire();
  void note_discarded() noexcept;
};

namespace {

/// The way to the port that a cut closes. Drops frames of senders that the host does not hear.
template <class State>
class Gate {
 public:
  explicit Gate(State& line) : line_(&line) {}

  SendResult send(std::span<const FrameView> frames) noexcept {
    if (!line_->is_cut) return line_->bare->send(frames);
    line_->counters.cut_sent += frames.size();
    return {frames.size(), {}};
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    ReceiveResult all;
    const std::size_t before = into.size();
    for (unsigned batches = 0; batches < kMaxSilentBatches && into.size() == before; ++batches) {
      const ReceiveResult got = line_->bare->receive(into);
      all.lost += got.lost;
      all.error = got.error;
      if (got.frames == 0) break;
      drop_unheard(into, before);
      if (got.error) break;
    }
    all.frames = into.size() - before;
    return all;
  }
  int descriptor() noexcept { return line_->bare->descriptor(); }
  WaitHint prepare_wait() noexcept { return line_->bare->prepare_wait(); }
  void finish_wait() noexcept { line_->bare->finish_wait(); }
  std::chrono::nanoseconds patience() noexcept { return line_->bare->patience(); }
  bool takes_offloads() noexcept { return line_->bare->takes_offloads(); }
  std::uint64_t bus_frames() noexcept { return line_->bare->bus_frames(); }
  std::size_t max_frame_bytes() noexcept { return line_->bare->max_frame_bytes(); }
  std::string address() { return line_->bare->address(); }

 private:
  /// Whether the host hears the frame. If not, counts it, unless it stays on the bus.
  bool hears(const FrameView& frame) noexcept {
    if (line_->stays && line_->stays(frame)) return false;
    if (line_->is_cut) {
      ++line_->counters.cut_received;
      return false;
    }
    if (!line_->deaf || !line_->deaf(frame.sender, frame.sender_incarnation)) return true;
    ++line_->counters.deaf;
    return false;
  }
  void drop_unheard(FrameBatch& batch, std::size_t from) noexcept {
    for (std::size_t i = from; i < batch.size();) {
      std::size_t end = i;
      while (end < batch.size() && !hears(batch[end])) ++end;
      if (end > i) batch.drop(i, end);
      if (i < batch.size()) ++i;  // the host hears this one
    }
  }

  State* line_;
};

}  // namespace

/// Puts a gate before the port, if the port is the link.
void Line::Impl::make_gate() {
  if (bare) return;
  auto gate = std::make_unique<Gate<Impl>>(*this);
  bare.emplace(std::move(link));
  link = AnyLink(std::move(gate));
}

/// Makes the port the link again.
void Line::Impl::remove_gate() noexcept {
  if (!bare) return;
  link = *std::move(bare);
  bare.reset();
}

void Line::Impl::make_or_remove_gate() {
  if (needs_gate()) {
    make_gate();
  } else if (faulty == nullptr) {
    remove_gate();
  }
}

/// Takes the link with faults away, if it is not needed and nothing waits in it.
void Line::Impl::retire() {
  if (faulty == nullptr || faults.any() || faulty->under_way() > 0) return;
  counters.received += faulty->received();
  counters.sent += faulty->sent();
  counters.segments_made += faulty->segments_made();
  counters.refused += faulty->refused();
  faulty = nullptr;
  if (retired.size() == kMaxRetired) retired.erase(retired.begin());
  retired.push_back(std::move(link));
  link = AnyLink(std::make_unique<Gate<Impl>>(*this));
}

Line::Line(std::unique_ptr<Port> port) : impl_(std::make_unique<Impl>(std::move(port))) {}
Line::Line(Line&&) noexcept = default;
Line& Line::operator=(Line&&) noexcept = default;
Line::~Line() = default;

AnyLink& Line::link() noexcept {
  return impl_->link;
}
Port& Line::port() noexcept {
  return *impl_->port;
}
const Port& Line::port() const noexcept {
  return *impl_->port;
}

Result<void> Line::set_faults(const LineFaults& faults) {
  Impl& self = *impl_;
  if (self.faulty == nullptr && faults.any()) {
    const bool had_gate = self.bare.has_value();
    self.make_gate();
    auto wrapped =
        FaultLink::wrap(AnyLink(std::make_unique<Gate<Impl>>(self)), faults.received, faults.sent);
    if (!wrapped) {
      if (!had_gate) self.remove_gate();
      return std::move(wrapped).error();
    }
    auto owned = std::make_unique<FaultLink>(*std::move(wrapped));
    self.faulty = owned.get();
    self.link = AnyLink(std::move(owned));
  } else if (self.faulty != nullptr) {
    self.faulty->set_faults(faults.received, faults.sent);
    self.faulty->hurry(!faults.received.any(), !faults.sent.any());
  }
  self.faults = faults;
  self.retire();
  if (self.faulty == nullptr && !self.needs_gate()) self.remove_gate();
  return {};
}

const LineFaults& Line::faults() const noexcept {
  return impl_->faults;
}

void Line::set_deaf_to(DeafTo deaf) {
  impl_->deaf = std::move(deaf);
  impl_->make_or_remove_gate();
}

void Line::set_sorter(StaysOnBus stays) {
  impl_->stays = std::move(stays);
  impl_->make_or_remove_gate();
}

bool Line::hears_all() const noexcept {
  return !impl_->deaf;
}

/// Loses what waits, which the cut does not let through.
void Line::Impl::note_discarded() noexcept {
  if (faulty == nullptr) return;
  const std::size_t to_receive = faulty->to_receive();
  counters.cut_received += to_receive;
  counters.cut_sent += faulty->discard() - to_receive;
}

void Line::set_carrier(bool on) {
  Impl& self = *impl_;
  if (on != self.is_cut) return;
  self.is_cut = !on;
  self.note_discarded();  // when it is joined again, these are frames that the host sent meanwhile
  self.make_or_remove_gate();
}

bool Line::has_carrier() const noexcept {
  return !impl_->is_cut;
}

void Line::settle() {
  Impl& self = *impl_;
  self.retired.clear();
  self.retire();
  if (self.faulty == nullptr && !self.needs_gate()) self.remove_gate();
}

Result<void> Line::restart() {
  Impl& self = *impl_;
  if (self.faulty == nullptr) return {};
  const LineFaults again = std::exchange(self.faults, {});
  self.note_discarded();
  self.retire();
  return set_faults(again);
}

LineCounters Line::counters() const noexcept {
  LineCounters now = impl_->counters;
  if (const FaultLink* const faulty = impl_->faulty; faulty != nullptr) {
    now.received += faulty->received();
    now.sent += faulty->sent();
    now.segments_made += faulty->segments_made();
    now.refused += faulty->refused();
    now.to_receive = faulty->to_receive();
    now.to_send = faulty->under_way() - faulty->to_receive();
  }
  return now;
}

}  // namespace shmif::tap
