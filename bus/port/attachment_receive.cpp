// Receiving frames, and waiting for them.

#include <algorithm>
#include <utility>

#include "bus/file/sigbus_guard.hpp"
#include "bus/port/attachment_state.hpp"

namespace shmif::bus {
namespace {

using std::chrono::nanoseconds;

constexpr unsigned kPassesPerLook = 1000;  // chunks of the ring

/// The longest sleep on a futex or a descriptor if the SIGBUS guard is installed. A truncation
/// wakes watchers of the file, but no futex.
constexpr std::chrono::seconds kLookWhetherLost{10};

}  // namespace

ReceiveResult NativeAttachment::receive(FrameBatch& into) noexcept {
  return impl_->take(into, [&](ReadTally& tally) { return impl_->reader.read_all(into, tally); });
}

ReceiveResult NativeAttachment::receive_in_place(FrameBatch& into) noexcept {
  return impl_->take(into, [&](ReadTally& tally) { return impl_->reader.lend(into, tally); });
}

std::size_t NativeAttachment::release() noexcept {
  if (impl_->forked()) return 0;
  const std::lock_guard guard(impl_->receive_mutex);
  return impl_->end_loan();
}

/// Result: how many of the lent frames must not be used.
std::size_t NativeAttachment::Impl::end_loan() noexcept {
  const std::size_t lent = reader.lent();
  if (lent == 0) return std::exchange(taken_back, 0);
  if (load_acquire(ring.header().epoch) != epoch || mapping.lost()) {
    reader.forget_lent();  // after a repair, `first` does not cover them
    return lent;
  }
  ReadTally tally;
  std::size_t torn = 0;
  // If the end of the chain cannot be found, the next receive finds that out again.
  const ReadStatus status = reader.release(tally, torn);
  counts.add(tally, slot());
  unreported_lost += tally.lost_frames;
  publish_position();
  if (patience > nanoseconds(0)) ask_to_be_heeded(status == ReadStatus::empty);
  return torn;
}

/// The part that all ways to receive have in common; `read` does the reading.
template <typename Read>
ReceiveResult NativeAttachment::Impl::take(FrameBatch& into, const Read& read) noexcept {
  if (forked()) return {0, 0, Errc::forked};
  const std::lock_guard guard(receive_mutex);
  end_level_sleep();
  static_cast<void>(end_loan());
  const ReceiveResult result = take_held(into, read);
  failed = static_cast<bool>(result.error);
  return result;
}

/// The same, with receive_mutex held.
template <typename Read>
ReceiveResult NativeAttachment::Impl::take_held(FrameBatch& into, const Read& read) noexcept {
  Impl& a = *this;
  if (!a.up())
    return {0, 0, a.mapping.lost() ? make_error_code(Errc::bus_lost) : std::error_code{}};
  if (load_acquire(a.ring.header().epoch) != a.epoch && !a.find_place_after_repair()) {
    return {0, 0, a.broken()};
  }
  ReadTally tally;
  const std::size_t before = into.size();
  // A port that answers needs the lock next. Its cache line is fetched while the frame is copied.
  // This happens once per batch sent, so a port that only listens does not take the line from
  // senders.
  if (a.awaits_answer.load(std::memory_order_relaxed) && a.reader.ready()) {
    a.awaits_answer.store(false, std::memory_order_relaxed);
    a.lock->prefetch();
  }
  const ReadStatus status = read(tally);
  a.counts.add(tally, a.slot());
  a.publish_position();
  if (a.patience > nanoseconds(0)) a.ask_to_be_heeded(status == ReadStatus::empty);
  ReceiveResult result{
      into.size() - before, tally.lost_frames + std::exchange(a.unreported_lost, 0), {}};
  if (result.frames != 0) a.sleeper.saw_traffic();
  if (status == ReadStatus::broken || (a.mapping.lost() && result.frames == 0))
    result.error = a.broken();
  return result;
}

bool NativeAttachment::Impl::find_place_after_repair() noexcept {
  epoch = load_acquire(ring.header().epoch);
  if (const std::unique_lock nobody_sends(send_mutex, std::try_to_lock); nobody_sends) {
    tidy_up_after_repair();  // else the sending thread does so, in its next call at the latest
  }
  ReadTally tally;
  const bool found = reader.find_place_again(tally);
  counts.add(tally, slot());
  unreported_lost += tally.lost_frames;
  return found;
}

/// Makes senders wait for this port again after they lost patience with it. It must have caught up,
/// and some time must have passed (W3).
void NativeAttachment::Impl::ask_to_be_heeded(bool caught_up) noexcept {
  if (!up()) return;
  if ((load_relaxed(slot().flags) & kFlagPause) != 0) {
    unheeded_since.reset();
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (!unheeded_since) {
    unheeded_since = now;
  } else if (caught_up && now - *unheeded_since >= FlowControl::kRest * patience) {
    unheeded_since.reset();
    set_flag(kFlagPause, true);
  }
}

/// Whether receive() would return something. Passes over frames that are not for this port, so that
/// they neither end a wait nor make it spin. `flood`: there were so many of these that the caller
/// should look at the clock and at interruptions.
NativeAttachment::Impl::Seen NativeAttachment::Impl::look_for_frame() noexcept {
  if (load_acquire(ring.header().epoch) != epoch) return Seen::frame;
  for (unsigned rounds = 0; reader.ready(); ++rounds) {
    if (rounds == kPassesPerLook) return Seen::flood;
    const RingReader::Place before = reader.place();
    ReadTally tally;
    const ReadStatus status = reader.read(nothing, tally);
    counts.add(tally, slot());
    unreported_lost += tally.lost_frames;
    publish_position();
    const bool stopped_at_ours = status == ReadStatus::more && reader.place() == before;
    if (stopped_at_ours || (status != ReadStatus::more && status != ReadStatus::empty))
      return Seen::frame;
  }
  return Seen::nothing;
}

/// As look_for_frame(); call it after announcing a sleep. A port whose place is past the end of the
/// chain would never receive a frame, so it goes back to the end.
NativeAttachment::Impl::Seen NativeAttachment::Impl::last_look() noexcept {
  const Seen seen = look_for_frame();
  ReadTally tally;
  if (seen != Seen::nothing || !reader.leave_place_past_end(tally)) return seen;
  counts.add(tally, slot());
  publish_position();
  return look_for_frame();
}

nanoseconds NativeAttachment::Impl::longest_sleep(nanoseconds announced) const noexcept {
  return sigbus_guard_is_installed() ? std::min<nanoseconds>(announced, kLookWhetherLost)
                                     : announced;
}

/// Withdraws an announcement, and learns from it. `saw_nothing`: the look after the announcement
/// found no frame. If it found frames, they were sent before the announcement, and their senders
/// did not ring. Then the position of a later ringer does not cover them (D4). Result: whether
/// somebody rang.
bool NativeAttachment::Impl::wake_up(bool saw_nothing) noexcept {
  const Woken woken = sleeper.withdraw();
  if (woken.rung) {
    counts.wakeups.add(1, slot().wakeups);
  } else {
    mapping.look_whether_lost();  // a truncation does not ring
  }
  if (saw_nothing) {
    ReadTally tally;
    reader.pass_over(woken.position, woken.number, tally);
    counts.add(tally, slot());
  }
  return woken.rung;
}

/// Looks for a frame for as long as that has paid lately. Result: whether there is one.
bool NativeAttachment::Impl::spin() noexcept {
  const unsigned looks = spin_budget.looks();
  for (unsigned look = 1; look <= looks; ++look) {
    const Seen seen = reader.ready() ? look_for_frame() : Seen::nothing;
    if (seen == Seen::frame) {
      spin_budget.paid(look);
      return true;
    }
    if (seen == Seen::flood) break;  // each look takes long then
    cpu_relax();
  }
  spin_budget.was_in_vain();
  return false;
}

bool NativeAttachment::wait(nanoseconds timeout) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return false;
  const std::lock_guard guard(a.receive_mutex);
  a.end_level_sleep();
  static_cast<void>(a.end_loan());
  if (!a.up() || a.mapping.lost()) return false;
  if (a.spin()) return true;
  using Clock = std::chrono::steady_clock;
  const bool forever = timeout > std::chrono::hours(24 * 365);
  const Clock::time_point deadline = forever ? Clock::time_point::max() : Clock::now() + timeout;
  nanoseconds left = timeout;
  for (;;) {  // runs until frames come, the time is over, or somebody interrupts
    if (a.interrupted.exchange(false)) return false;
    if (a.patience > nanoseconds(0)) a.ask_to_be_heeded(true);
    const nanoseconds longest = std::min(a.longest_sleep(a.sleeper.announce(false)), left);
    const Impl::Seen seen = a.last_look();
    const bool quiet = seen == Impl::Seen::nothing;
    if (quiet) a.sleeper.found_nothing();
    const bool stay = quiet && !a.interrupted.load() && a.up() && longest > nanoseconds(0);
    if (stay) a.sleeper.sleep(longest);
    a.wake_up(quiet);
    if (seen == Impl::Seen::frame) return true;
    if (!a.up() || a.mapping.lost()) return false;
    if (a.look_for_frame() == Impl::Seen::frame) return true;
    if (!forever) left = deadline - Clock::now();
    if (left <= nanoseconds(0)) return false;
  }
}

/// Sleeps without a time limit: whatever ends the wait calls tell_news(). Holds no mutex, since
/// up() needs receive_mutex. If the bus is lost meanwhile, up() reports it.
bool NativeAttachment::wait_until_up() noexcept {
  Impl& a = *impl_;
  while (!a.forked()) {
    const std::uint32_t seen = a.news.load();
    if (a.up()) return true;
    if (a.mapping.lost() || a.interrupted.exchange(false)) return false;
    a.news.wait(seen);
  }
  return false;
}

void NativeAttachment::interrupt() noexcept {
  if (impl_->forked()) return;
  impl_->interrupts.fetch_add(1);
  interrupt_receiver();
}

void NativeAttachment::interrupt_receiver() noexcept {
  Impl& a = *impl_;
  if (a.forked()) return;
  a.interrupted.store(true);
  a.tell_news();
  wake_port(a.ring, a.owned.slot, a.fd.get());
}

int NativeAttachment::descriptor() noexcept {
  return impl_->forked() ? -1 : impl_->sleeper.descriptor(impl_->fd.get());
}
std::error_code NativeAttachment::descriptor_error() const noexcept {
  return impl_->sleeper.descriptor_error();
}

WaitHint NativeAttachment::prepare_wait() noexcept {
  Impl& a = *impl_;
  if (a.forked() || a.mapping.lost()) return {.ready = true};  // receive() reports it
  const std::lock_guard guard(a.receive_mutex);
  static_cast<void>(a.end_loan());
  if (!a.up()) return {.at_most = kLookUp};
  if (a.lookout) {
    a.settle(Impl::Rings::heard);
    // A program may hold both descriptors, and sleep on the older one.
    const nanoseconds longest = a.sleeper.watches_file() ? kLookUp : nanoseconds::max();
    return a.level_asleep ? WaitHint{.at_most = longest} : WaitHint{.ready = true};
  }
  if (a.look_for_frame() != Impl::Seen::nothing) return {.ready = true};
  if (a.patience > nanoseconds(0)) a.ask_to_be_heeded(true);
  // Makes the descriptor before the announcement. Otherwise the port would announce that it sleeps
  // on the futex, and a caller that asks for its descriptor afterwards would not be woken.
  static_cast<void>(a.sleeper.descriptor(a.fd.get()));
  const nanoseconds longest = a.sleeper.announce(true);
  if (a.last_look() != Impl::Seen::nothing) {
    a.wake_up(false);
    return {.ready = true};
  }
  a.sleeper.found_nothing();
  return {.at_most = a.sleeper.watches_file() ? longest : a.longest_sleep(longest)};
}

void NativeAttachment::finish_wait() noexcept {
  Impl& a = *impl_;
  if (a.forked()) return;
  const std::lock_guard guard(a.receive_mutex);
  if (a.lookout) return;  // the next call that reads ends the sleep
  // Do this even if the port went down meanwhile. Otherwise its bit would stay set, and the
  // descriptor that down() made readable would keep the polling thread awake. up() counts the
  // frames that pass while the port is down.
  a.wake_up(a.up());
  a.sleeper.drain();
}

}  // namespace shmif::bus
