#include "bus/doorbell.hpp"

#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string>

#include "bus/liveness.hpp"

namespace shmif::bus {
namespace {

// Shared futexes (no FUTEX_PRIVATE_FLAG): the key is the file's inode and offset.
void futex_wake(std::uint32_t& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}
void futex_wait(std::uint32_t& word, std::uint32_t expected,
                std::chrono::nanoseconds timeout) noexcept {
  timespec t{};
  const bool forever = timeout == std::chrono::nanoseconds::max();
  t.tv_sec = static_cast<time_t>(timeout.count() / 1'000'000'000);
  t.tv_nsec = static_cast<long>(timeout.count() % 1'000'000'000);
  syscall(SYS_futex, &word, FUTEX_WAIT, expected, forever ? nullptr : &t, nullptr, 0);
}

bool wanted(const PortSlot& slot, std::span<const FrameView> frames) noexcept {
  for (const FrameView& f : frames) {
    if (AddressFilter::accepts(slot, f.destination().to_u64())) return true;
  }
  return false;
}

}  // namespace

void wake_futex(PortSlot& slot) noexcept {
  fetch_add(slot.futex, std::uint32_t{1});
  futex_wake(slot.futex);
}

bool Bell::wake(std::span<const FrameView> frames, bool deep_only) noexcept {
  BusHeader& h = ring_.header();
  bool woke = false;
  bool write_file = false;
  for (unsigned w = 0; w < kBitmapWords; ++w) {
    std::uint64_t bits = load_seq_cst(deep_only ? h.deep_sleepers[w] : h.sleepers[w]);  // D1
    while (bits != 0) {
      const auto bit = static_cast<unsigned>(__builtin_ctzll(bits));
      bits &= bits - 1;
      const unsigned slot = w * 64 + bit;
      if (slot != slot_) woke |= wake_slot(slot, frames, deep_only, write_file);
    }
  }
  if (write_file && same_file(fd_, h.inode)) {
    // The value means nothing; every watcher of the file wakes.
    const std::uint32_t value = slot_;
    static_cast<void>(pwrite(fd_, &value, sizeof value, offsetof(BusHeader, doorbell)));
  }
  return woke;
}

bool Bell::wake_slot(unsigned slot, std::span<const FrameView> frames, bool deep_only,
                     bool& write_file) noexcept {
  BusHeader& h = ring_.header();
  PortSlot& s = ring_.slot(slot);
  const bool gone = state_of(load_relaxed(s.state)) != SlotState::live;
  if (!gone && !wanted(s, frames)) return false;
  const std::uint64_t mask = 1ULL << (slot % 64);
  if (gone) {
    fetch_and(h.deep_sleepers[slot / 64], ~mask);
    fetch_and(h.sleepers[slot / 64], ~mask);
    return false;
  }
  // A deep sleeper's bits stay until it clears them itself: were we to die before the wake, the
  // next ringer must still find it, since it does not look up. After the commit, who clears the bit
  // owes the wake, and the sleeper looks up (D2).
  if (!deep_only && (fetch_and(h.sleepers[slot / 64], ~mask) & mask) == 0) return false;
  if (load_relaxed(s.bell) == kBellInotify) {
    fetch_add(s.futex, std::uint32_t{1});
    write_file = true;
  } else {
    wake_futex(s);
  }
  return true;
}

/// Turns rings of the futex into an eventfd, for a port that finds no inotify instance.
struct Sleeper::Helper {
  explicit Helper(PortSlot& s)
      : slot(s), thread([this](const std::stop_token& stop) { run(stop); }) {}
  ~Helper() {
    thread.request_stop();
    armed.fetch_add(1);
    armed.notify_one();
    wake_futex(slot);
    thread.join();
  }
  void arm(std::uint32_t seen) noexcept {
    expected.store(seen);
    armed.fetch_add(1);
    armed.notify_one();
  }
  void run(const std::stop_token& stop) noexcept {
    unsigned served = 0;
    while (!stop.stop_requested()) {
      armed.wait(served);
      served = armed.load();
      while (!stop.stop_requested() && load_seq_cst(slot.futex) == expected.load()) {
        futex_wait(slot.futex, expected.load(), std::chrono::nanoseconds::max());
      }
      const std::uint64_t one = 1;
      static_cast<void>(write(event.get(), &one, sizeof one) == sizeof one);
    }
  }

  PortSlot& slot;
  Descriptor event{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<unsigned> armed{0};
  std::atomic<std::uint32_t> expected{0};
  std::jthread thread;
};

Sleeper::Sleeper() noexcept = default;
Sleeper::Sleeper(Ring ring, unsigned slot) noexcept : ring_(ring), slot_(slot) {}
Sleeper::Sleeper(Sleeper&&) noexcept = default;
Sleeper& Sleeper::operator=(Sleeper&&) noexcept = default;
Sleeper::~Sleeper() = default;

void Sleeper::forget() noexcept {
  static_cast<void>(helper_.release());
}

std::chrono::nanoseconds Sleeper::announce(bool by_descriptor) noexcept {
  BusHeader& h = ring_.header();
  const std::uint64_t mask = 1ULL << (slot_ % 64);
  const bool inotify = by_descriptor && inotify_;
  store_relaxed(self().bell, inotify ? kBellInotify : kBellFutex);
  futex_seen_ = load_seq_cst(self().futex);
  const auto now = std::chrono::steady_clock::now();
  if (idle_since_ == std::chrono::steady_clock::time_point{}) idle_since_ = now;
  bool deep = now - idle_since_ >= kIdleUntilDeep;
  if (deep) fetch_or(h.deep_sleepers[slot_ / 64], mask);
  fetch_or(h.sleepers[slot_ / 64], mask);  // D1: before the last look at the ring
  if (deep && !lock_word::is_free(load_seq_cst(h.lock))) {
    // D3: that writer may have looked for deep sleepers already.
    fetch_and(h.deep_sleepers[slot_ / 64], ~mask);
    deep = false;
  }
  if (by_descriptor && helper_) helper_->arm(futex_seen_);
  return deep ? std::chrono::nanoseconds::max() : std::chrono::nanoseconds(kLookUp);
}

bool Sleeper::withdraw() noexcept {
  BusHeader& h = ring_.header();
  const std::uint64_t mask = 1ULL << (slot_ % 64);
  if ((load_relaxed(h.deep_sleepers[slot_ / 64]) & mask) != 0) {
    fetch_and(h.deep_sleepers[slot_ / 64], ~mask);
  }
  if ((load_relaxed(h.sleepers[slot_ / 64]) & mask) != 0) fetch_and(h.sleepers[slot_ / 64], ~mask);
  return load_relaxed(self().futex) != futex_seen_;
}

void Sleeper::sleep(std::chrono::nanoseconds timeout) noexcept {
  futex_wait(self().futex, futex_seen_, timeout);
}

int Sleeper::descriptor(int fd) noexcept {
  if (inotify_) return inotify_.get();
  if (helper_) return helper_->event.get();
  inotify_ = Descriptor(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (inotify_) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    if (inotify_add_watch(inotify_.get(), path.c_str(), IN_MODIFY) >= 0) return inotify_.get();
  }
  descriptor_error_ = {errno, std::generic_category()};
  inotify_.reset();
  try {
    auto helper = std::make_unique<Helper>(self());
    if (!helper->event) return -1;
    helper_ = std::move(helper);
    return helper_->event.get();
  } catch (const std::exception&) {  // no thread, no memory
    return -1;
  }
}

void Sleeper::drain() noexcept {
  if (inotify_) {
    alignas(inotify_event) char events[512];
    while (read(inotify_.get(), events, sizeof events) == static_cast<ssize_t>(sizeof events)) {
    }
  } else if (helper_) {
    std::uint64_t count = 0;
    static_cast<void>(read(helper_->event.get(), &count, sizeof count) == sizeof count);
  }
}

}  // namespace shmif::bus
