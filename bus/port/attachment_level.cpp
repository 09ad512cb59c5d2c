// The level-triggered descriptor: it agrees with the ring after each call that receives or waits,
// without a call before each sleep.
//
// The port is asleep, as prepare_wait() would leave it, while its program has no frame to read. A
// ring then makes the descriptor readable. Each call that reads first withdraws the announcement.
// settle() ends each such call: if frames are left, it makes the descriptor readable itself,
// otherwise it makes it quiet and announces a new sleep. The lookout does what a sleeper does by
// itself every 50 ms (D2).
//
// A receive that fails would fail again at once, so a program that asks whenever the descriptor is
// readable would spin. Therefore the descriptor is quiet for kLookUp after a failure. A look that
// comes sooner does not end this rest: the lookout looks again at its end.

#include <cerrno>
#include <exception>
#include <system_error>
#include <utility>

#include "bus/port/attachment_state.hpp"

namespace shmif::bus {

using std::chrono::nanoseconds;

Result<int> NativeAttachment::level_descriptor() {
  Impl& a = *impl_;
  if (a.forked())
    return Error(Errc::forked, "the port belongs to the process that forked this one");
  const std::lock_guard guard(a.receive_mutex);
  const int descriptor = a.sleeper.level_descriptor();
  if (descriptor < 0) return Error::from_errno(errno, "cannot make a descriptor");
  if (a.lookout) return descriptor;
  try {
    a.lookout = std::make_unique<Lookout>([&a] { return a.look_again(); });
  } catch (const std::system_error& error) {
    return Error(error.code(), "cannot start the thread that looks for frames: " +
                                   error.code().message() + " (ulimit -u?)");
  }
  a.sleeper.prefer_level_descriptor();
  a.has_level_descriptor.store(true, std::memory_order_relaxed);
  a.settle(Impl::Rings::heard);
  return descriptor;
}

void NativeAttachment::settle(bool holds_frames) noexcept {
  Impl& a = *impl_;
  if (!a.has_level_descriptor.load(std::memory_order_relaxed) || a.forked()) return;
  const std::lock_guard guard(a.receive_mutex);
  if (holds_frames) {
    a.end_level_sleep();
    return a.make_readable();
  }
  a.settle(Impl::Rings::heard);
}

/// Withdraws the announcement that settle() made. Result: whether somebody rang.
bool NativeAttachment::Impl::end_level_sleep() noexcept {
  return std::exchange(level_asleep, false) && wake_up(up());
}

void NativeAttachment::Impl::make_readable() noexcept {
  if (!known_readable) sleeper.ring_itself();
  known_readable = true;
}

void NativeAttachment::Impl::make_quiet() noexcept {
  sleeper.drain();
  known_readable = false;
}

void NativeAttachment::Impl::settle(Rings rings) noexcept {
  const bool rung = end_level_sleep();
  if (reader.lent() != 0) return;  // release() settles it
  rests = std::exchange(failed, false);
  if (rests) {
    make_quiet();
    rests_until = std::chrono::steady_clock::now() + kLookUp;
    return lookout->look_soon();
  }
  if (mapping.lost()) return make_readable();
  const bool is_up = up();
  if (is_up && look_for_frame() != Seen::nothing) return make_readable();
  // The ring was an interruption, or came before its frame. Another announcement would hide it.
  if (rung && rings == Rings::unheard) return make_readable();
  if (rings == Rings::heard) make_quiet();
  if (!is_up) return;
  if (patience > nanoseconds(0)) ask_to_be_heeded(true);
  const nanoseconds longest = longest_sleep(sleeper.announce(true));
  if (last_look() != Seen::nothing) {
    wake_up(false);
    return make_readable();
  }
  sleeper.found_nothing();
  level_asleep = true;
  level_longest = longest;
  if (longest != nanoseconds::max() && rings == Rings::heard) lookout->look_soon();
}

/// The look of the lookout. Result: the time until its next look.
nanoseconds NativeAttachment::Impl::look_again() noexcept {
  const std::unique_lock nobody_reads(receive_mutex, std::try_to_lock);
  if (!nobody_reads) {
    // A call that sleeps, such as wait(), looks by itself, and settles at its end.
    constexpr unsigned kMaxInVain = 20;
    return ++looks_in_vain % kMaxInVain == 0 ? nanoseconds::max() : kLookUp;
  }
  if (!level_asleep && !rests) return nanoseconds::max();
  if (rests) {
    const nanoseconds left = rests_until - std::chrono::steady_clock::now();
    if (left > nanoseconds(0)) return left;
  }
  // The descriptor may have been rung, and the program may not have read yet.
  settle(Rings::unheard);
  return level_asleep ? level_longest : nanoseconds::max();
}

}  // namespace shmif::bus
