#include "bus/attachment.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "bus/counts.hpp"
#include "bus/doorbell.hpp"
#include "bus/file.hpp"
#include "bus/fork_guard.hpp"
#include "bus/geometry.hpp"
#include "bus/liveness.hpp"
#include "bus/lock.hpp"
#include "bus/mapping.hpp"
#include "bus/port_table.hpp"
#include "bus/ring.hpp"

namespace shmif::bus {
namespace {

using std::chrono::nanoseconds;

constexpr unsigned kWaitSpins = 100;

std::uint64_t wall_clock_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace

struct Attachment::Impl {
  std::string path;
  std::string warning;
  AttachOptions options;
  std::uint64_t token = process_token();
  UniqueFd fd;  ///< for probes and the inotify doorbell; holds no lock
  Mapping mapping;
  Ring ring;
  OwnedSlot owned;
  bool attached = false;

  std::mutex send_mutex;  ///< one claim per slot, so one sending thread at a time
  std::optional<BusLock> lock;
  RingWriter writer;
  Bell bell;
  std::uint64_t last_learned = 0;

  /// Held inside receive and the wait calls, so that down() knows when they are over and up() may
  /// move the reader.
  std::mutex receive_mutex;
  RingReader reader;
  std::uint64_t unreported_lost = 0;  ///< met by a wait, for the next receive to tell
  Sleeper sleeper;
  std::uint64_t epoch = 0;
  bool was_up = false;
  std::atomic<bool> interrupted{false};
  Counts counts;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (!is_this_process(token)) {
      mapping.forget();  // the parent's; the pages are not even here
      sleeper.forget();
      return;
    }
    if (attached) free_slot(ring, owned.slot);
    sleeper = Sleeper();  // its helper thread uses the mapping
  }

  PortSlot& slot() const noexcept { return ring.slot(owned.slot); }
  bool forked() const noexcept { return !is_this_process(token); }
  bool up() const noexcept { return (load_relaxed(slot().flags) & kFlagUp) != 0; }
  void set_flag(std::uint32_t flag, bool on) noexcept {
    if (on) {
      fetch_or(slot().flags, flag);
    } else {
      fetch_and(slot().flags, ~flag);
    }
  }
  std::error_code broken() const noexcept {
    return mapping.lost() ? Errc::bus_lost : Errc::corrupt;
  }

  Appended send_batch(std::span<const FrameView> frames) noexcept;
  std::error_code append(std::span<const FrameView> frames, std::uint64_t bytes) noexcept;
  bool bury_dead_claims() noexcept;
  void learn(std::span<const FrameView> frames) noexcept;
  void publish_position() noexcept {
    store_relaxed(slot().position, reader.position());
    store_relaxed(slot().next_number, reader.next_number());
  }
  bool find_place_after_repair() noexcept;
  bool frame_waits() noexcept;
  void wake_up() noexcept;
  FrameBatch nothing{0, 0};  ///< always full
};

Attachment::Attachment(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Attachment::Attachment(Attachment&&) noexcept = default;
Attachment& Attachment::operator=(Attachment&&) noexcept = default;
Attachment::~Attachment() = default;

Result<Attachment> Attachment::attach(const std::string& path, const AttachOptions& options) {
  auto file = open_file(path, true);
  if (!file) return file.error();
  auto mapping = Mapping::map(file->fd.get(), file->header.ring_bytes, true, options.lock_memory);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot attach to the bus " + path + ": " + mapping.error().message);
  auto probe = reopen(file->fd.get(), path, true);
  if (!probe) return probe.error();

  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->warning = std::move(file->warning);
  impl->options = options;
  impl->fd = *std::move(probe);
  impl->mapping = *std::move(mapping);
  impl->ring = Ring(impl->mapping, max_frame_bytes(file->header.mtu));
  auto owned = take_slot(impl->ring, file->fd.get(), path, options);
  if (!owned) return owned.error();
  impl->owned = *std::move(owned);
  impl->attached = true;
  // From here on the mapping alone keeps the description, and with it the lock that says we live.
  file->fd.reset();

  const unsigned slot = impl->owned.slot;
  impl->lock.emplace(impl->ring.header(), slot, impl->fd.get());
  impl->writer = RingWriter(impl->ring, slot, impl->owned.incarnation);
  impl->bell = Bell(impl->ring, slot, impl->fd.get());
  impl->sleeper = Sleeper(impl->ring, slot);
  impl->reader =
      RingReader(impl->ring, &impl->slot(), slot, impl->owned.incarnation, options.resume_newest);
  impl->epoch = load_acquire(impl->ring.header().epoch);
  impl->set_flag(kFlagPromiscuous, options.promiscuous);
  if (!impl->reader.seek_end()) {
    return Error(Errc::corrupt, "cannot attach to the bus " + path +
                                    ": its ring is corrupt (run 'shmifctl repair')");
  }
  impl->publish_position();
  return Attachment(std::move(impl));
}

std::error_code Attachment::up() noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  if (a.up()) return {};
  const std::lock_guard guard(a.receive_mutex);
  const std::uint64_t expected = a.reader.next_number();
  const std::uint64_t position = a.reader.position();
  bool found = false;
  if (a.options.start_oldest) {
    found = a.reader.seek_oldest();
    if (found && a.was_up && a.reader.position() < position) {
      // What was delivered before going down is not delivered again.
      found = a.reader.seek_to(position);
    }
  } else {
    found = a.reader.seek_end();
  }
  if (!found) return a.broken();
  if (a.reader.next_number() > expected) {
    a.counts.skipped.add(a.reader.next_number() - expected, a.slot().skipped_frames);
  }
  a.was_up = true;
  a.publish_position();
  a.set_flag(kFlagUp, true);
  return {};
}

std::error_code Attachment::down() noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  a.set_flag(kFlagUp, false);
  wake_futex(a.slot());  // no interrupt(): that would end a wait after the next up()
  const std::lock_guard until_they_left(a.receive_mutex);
  return {};
}

bool Attachment::forked() const noexcept {
  return impl_->forked();
}

bool Attachment::is_up() const noexcept {
  return !impl_->forked() && impl_->up();
}

Appended Attachment::send(std::span<const FrameView> frames) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return {0, Errc::forked};
  if (!a.up()) return {0, a.mapping.lost() ? Errc::bus_lost : Errc::port_down};
  const std::lock_guard guard(a.send_mutex);
  Appended sent;
  while (sent.taken < frames.size() && !sent.error) {
    const Appended batch = a.send_batch(frames.subspan(sent.taken));
    sent.taken += batch.taken;
    sent.error = batch.error;
  }
  return sent;
}

/// Sends as many frames from the front as one lock hold may cover.
Appended Attachment::Impl::send_batch(std::span<const FrameView> frames) noexcept {
  std::error_code refused;
  std::uint64_t bytes = 0;
  std::uint64_t payload = 0;
  std::size_t count = 0;
  for (; count < frames.size(); ++count) {
    const std::size_t size = frames[count].size();
    if (size < kMinFrameBytes) refused = Errc::frame_too_short;
    if (size > ring.max_frame()) refused = Errc::frame_too_long;
    if (refused || bytes + record_bytes(size) + kTailBytes > writer.max_batch_bytes()) break;
    bytes += record_bytes(size);
    payload += size;
  }
  if (count == 0) return {0, refused};
  auto batch = frames.first(count);
  if (options.learn) learn(batch);
  std::error_code error = append(batch, bytes);
  if (error == Errc::no_room && count > 1) {
    // Between the claims of stopped writers, one frame may fit where a batch does not.
    batch = frames.first(1);
    payload = batch.front().size();
    error = append(batch, record_bytes(payload));
    refused.clear();
  }
  if (error) return {0, error};
  counts.tx_frames.add(batch.size(), slot().tx_frames);
  counts.tx_bytes.add(payload, slot().tx_bytes);
  return {batch.size(), refused};
}

std::error_code Attachment::Impl::append(std::span<const FrameView> frames,
                                         std::uint64_t bytes) noexcept {
  const std::uint64_t sleeps = lock->sleeps();
  AppendStatus status = AppendStatus::lost_lock;
  bool rang = bell.wake_deep(frames);  // D3
  Wanted wanted;
  // Each time round somebody else got on, or a dead port's claim is gone.
  while (status == AppendStatus::lost_lock ||
         (status == AppendStatus::no_room && bury_dead_claims())) {
    const std::uint64_t mine = lock->acquire();
    rang |= bell.wake_deep(frames);  // D3: who goes deep from here on sees the lock held
    status = writer.append(mine, frames, bytes, wall_clock_ns());
    if (status == AppendStatus::done) {
      wanted = bell.collect(frames, writer.batch_position(), writer.batch_number());  // D4
    }
    lock->release(mine);
  }
  bell.wake(wanted);
  rang |= wanted.any;
  if (status == AppendStatus::done && writer.met_claims()) bury_dead_claims();
  counts.doorbells.add(rang ? 1 : 0, slot().doorbells);
  counts.lock_sleeps.add(lock->sleeps() - sleeps, slot().lock_sleeps);
  switch (status) {
    case AppendStatus::no_room: return Errc::no_room;
    case AppendStatus::corrupt: counts.corrupt.add(1, slot().corrupt); return broken();
    default: return {};
  }
}

/// Frees the room of writers that were killed in the middle of a batch. Asked only when a claim was
/// in the way, so at most once per claim and lap. Result: whether there was one.
bool Attachment::Impl::bury_dead_claims() noexcept {
  if (!same_file(fd.get(), ring.header().inode)) return false;
  bool any = false;
  for (const std::uint16_t slot : writer.standing_slots()) {
    any |= reap_if_dead(ring, slot, fd.get()).claim;
  }
  return any;
}

/// Remembers source addresses, so that what is sent to them is let through to this port.
void Attachment::Impl::learn(std::span<const FrameView> frames) noexcept {
  for (const FrameView& frame : frames) {
    const MacAddress source = frame.source();
    const std::uint64_t mac = source.to_u64();
    if (mac == last_learned || source.is_group() || mac == load_relaxed(slot().mac)) continue;
    last_learned = mac;
    const auto place = std::find_if(std::begin(slot().learned), std::end(slot().learned),
                                    [&](const std::uint64_t& w) { return w == 0 || w == mac; });
    if (place == std::end(slot().learned)) {
      set_flag(kFlagLearnedTooMany, true);
    } else {
      store_relaxed(*place, mac);
    }
  }
}

Received Attachment::receive(FrameBatch& into) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return {0, 0, Errc::forked};
  const std::lock_guard guard(a.receive_mutex);
  // A lost bus reads as zeros, so its ports as down: that must not look like quiet.
  if (!a.up())
    return {0, 0, a.mapping.lost() ? make_error_code(Errc::bus_lost) : std::error_code{}};
  if (load_acquire(a.ring.header().epoch) != a.epoch && !a.find_place_after_repair()) {
    return {0, 0, a.broken()};
  }
  ReadTally tally;
  const std::size_t before = into.size();
  const ReadStatus status = a.reader.read_all(into, tally);
  a.counts.add(tally, a.slot());
  a.publish_position();
  Received result{
      into.size() - before, tally.lost_frames + std::exchange(a.unreported_lost, 0), {}};
  if (result.frames != 0) a.sleeper.saw_traffic();
  if (status == ReadStatus::broken || (a.mapping.lost() && result.frames == 0))
    result.error = a.broken();
  return result;
}

bool Attachment::Impl::find_place_after_repair() noexcept {
  epoch = load_acquire(ring.header().epoch);
  const std::uint64_t number = reader.next_number();
  const std::uint64_t position = reader.position();
  if (reader.seek_to(position)) return true;
  if (!reader.seek_oldest()) return false;
  if (reader.next_number() > number) {
    counts.overruns.add(1, slot().overruns);
    counts.lost_frames.add(reader.next_number() - number, slot().lost_frames);
  }
  return true;
}

/// Whether receive() would bring something. Passes over what is not for this port, so that a wait
/// neither ends for it nor spins on it.
bool Attachment::Impl::frame_waits() noexcept {
  if (load_acquire(ring.header().epoch) != epoch) return true;
  while (reader.ready()) {  // ends: every round passes over records, or answers
    const std::uint64_t before = reader.position();
    ReadTally tally;
    const ReadStatus status = reader.read(nothing, tally);
    counts.add(tally, slot());
    unreported_lost += tally.lost_frames;
    publish_position();
    const bool stopped_at_ours = status == ReadStatus::more && reader.position() == before;
    if (stopped_at_ours || (status != ReadStatus::more && status != ReadStatus::empty)) return true;
  }
  return false;
}

/// Takes back an announcement, and learns from it.
void Attachment::Impl::wake_up() noexcept {
  const Woken woken = sleeper.withdraw();
  if (woken.rung) {
    counts.wakeups.add(1, slot().wakeups);
  } else {
    mapping.look_whether_lost();  // inotify tells of a truncation as of a bell
  }
  ReadTally tally;
  reader.pass_over(woken.position, woken.number, tally);
  counts.add(tally, slot());
}

bool Attachment::wait(nanoseconds timeout) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return false;
  const std::lock_guard guard(a.receive_mutex);
  using Clock = std::chrono::steady_clock;
  const bool forever = timeout > std::chrono::hours(24 * 365);
  const Clock::time_point deadline = forever ? Clock::time_point::max() : Clock::now() + timeout;
  for (;;) {  // runs until frames come, the time is over, or somebody interrupts
    if (!a.up() || a.mapping.lost()) return false;
    for (unsigned i = 0; i < kWaitSpins; ++i) {
      if (a.reader.ready() && a.frame_waits()) return true;
      cpu_relax();
    }
    if (a.interrupted.exchange(false)) return false;
    nanoseconds longest = a.sleeper.announce(false);
    if (!forever) longest = std::min<nanoseconds>(longest, deadline - Clock::now());
    const bool stay =
        !a.frame_waits() && !a.interrupted.load() && a.up() && longest > nanoseconds(0);
    if (stay) a.sleeper.sleep(longest);
    a.wake_up();
    if (!forever && Clock::now() >= deadline)
      return !a.interrupted.exchange(false) && a.frame_waits();
  }
}

void Attachment::interrupt() noexcept {
  Impl& a = *impl_;
  if (a.forked()) return;
  a.interrupted.store(true);
  wake_futex(a.slot());
}

int Attachment::descriptor() noexcept {
  return impl_->forked() ? -1 : impl_->sleeper.descriptor(impl_->fd.get());
}
std::error_code Attachment::descriptor_error() const noexcept {
  return impl_->sleeper.descriptor_error();
}

std::optional<nanoseconds> Attachment::prepare_wait() noexcept {
  Impl& a = *impl_;
  if (a.forked() || a.mapping.lost()) return std::nullopt;  // receive() tells
  const std::lock_guard guard(a.receive_mutex);
  if (!a.up()) return nanoseconds(kLookUp);
  if (a.frame_waits()) return std::nullopt;
  // Announced as a sleeper on a futex, a caller that asks for its descriptor only now would not
  // hear.
  static_cast<void>(a.sleeper.descriptor(a.fd.get()));
  const nanoseconds longest = a.sleeper.announce(true);
  if (!a.frame_waits()) return longest;
  a.wake_up();
  return std::nullopt;
}

void Attachment::finish_wait() noexcept {
  Impl& a = *impl_;
  if (a.forked() || !a.up()) return;
  const std::lock_guard guard(a.receive_mutex);
  a.wake_up();
  a.sleeper.drain();
}

const std::string& Attachment::path() const noexcept {
  return impl_->path;
}
const std::string& Attachment::name() const noexcept {
  return impl_->owned.name;
}
const std::string& Attachment::warning() const noexcept {
  return impl_->warning;
}
bool Attachment::path_names_this_file() const noexcept {
  struct stat status{};
  return !impl_->forked() && lstat(impl_->path.c_str(), &status) == 0 &&
         status.st_ino == impl_->ring.header().inode;
}
MacAddress Attachment::mac() const noexcept {
  return impl_->forked() ? impl_->owned.mac : MacAddress::from_u64(load_relaxed(impl_->slot().mac));
}
unsigned Attachment::slot() const noexcept {
  return impl_->owned.slot;
}
std::uint32_t Attachment::mtu() const noexcept {
  return impl_->ring.max_frame() - kMtuToFrame;
}
std::size_t Attachment::max_frame() const noexcept {
  return impl_->ring.max_frame();
}

std::error_code Attachment::set_mac(MacAddress mac) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  if (mac.is_group() || mac.is_zero()) return Errc::bad_argument;
  const std::uint64_t before = load_relaxed(a.slot().mac);
  store_seq_cst(a.slot().mac, mac.to_u64());  // P3: publish, then look
  if (!address_is_taken(a.ring, a.owned.slot, a.fd.get(), mac)) return {};
  store_seq_cst(a.slot().mac, before);
  return Errc::mac_taken;
}

std::error_code Attachment::set_promiscuous(bool on) noexcept {
  if (impl_->forked()) return Errc::forked;
  impl_->set_flag(kFlagPromiscuous, on);
  return {};
}

PortCounters Attachment::counters() const noexcept {
  return impl_->counts.get();
}

}  // namespace shmif::bus
