#include "bus/netbsd/attachment.hpp"

#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/wall_clock.hpp"
#include "bus/attachment.hpp"
#include "bus/file/file_id.hpp"

namespace shmif::bus {
namespace {

using std::chrono::nanoseconds;

/// Never 0, which means that there is no sender.
std::uint64_t random_sender() noexcept {
  std::uint64_t sender = 0;
  while (sender == 0) {
    if (getrandom(&sender, sizeof sender, 0) != static_cast<ssize_t>(sizeof sender))
      sender = base::wall_clock_ns() ^ MacAddress::random().to_u64() << 16U;
  }
  return sender;
}

/// The port cannot ask other ports for their names. Its address makes its own name different.
std::string name_of(const PortOptions& options, MacAddress mac) {
  if (!options.name.empty()) return options.name;
  std::array<char, 16> name{};
  (void)std::snprintf(name.data(), name.size(), "port%08x",
                      static_cast<unsigned>(mac.to_u64() & 0xffffffffU));
  return name.data();
}

}  // namespace

NetbsdAttachment::NetbsdAttachment(OpenFile file, const std::string& path,
                                   const PortOptions& options, NetbsdMapping mapping,
                                   NetbsdBell bell)
    : options_(options),
      fd_(std::move(file.fd)),
      mapping_(std::move(mapping)),
      ring_(mapping_.bytes().data()),
      bell_(std::move(bell)),
      sender_(random_sender()),
      lock_(ring_),
      reader_(ring_, &addresses_, sender_, options.resume == Resume::newest, &own_frames_) {
  addresses_.set_own(options.mac ? *options.mac : MacAddress::random());
  addresses_.set_promiscuous(options.promiscuous);
  const FileId id = FileId::of(fd_.get());
  bus_ = {.path = path,
          .absolute_path = absolute_path(path),
          .device = id.device,
          .inode = id.inode,
          .warning = netbsd_warning(path),
          .disk_warning = std::move(file.disk_warning),
          .name = name_of(options, addresses_.own()),
          .mtu = kNetbsdMtu,
          .max_frame = kNetbsdMaxFrame,
          .memory = mapping_.bytes()};
}

NetbsdAttachment::~NetbsdAttachment() {
  if (forked()) mapping_.forget();  // the parent's; this process does not have the pages
}

Result<std::unique_ptr<Attachment>> NetbsdAttachment::attach(OpenFile file, const std::string& path,
                                                             const PortOptions& options) {
  if (auto ok = check_options(path, options); !ok) return ok.error();
  auto mapping = NetbsdMapping::map(file.fd.get(), Access::read_write, options.lock_memory);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot attach to the bus " + path + ": " + mapping.error().message);
  auto bell = NetbsdBell::open(file.fd.get(), path);
  if (!bell) return bell.error();
  std::unique_ptr<NetbsdAttachment> made(
      new NetbsdAttachment(std::move(file), path, options, *std::move(mapping), *std::move(bell)));
  if (const std::error_code error = made->find_place()) {
    return Error(error, "cannot attach to the bus " + path + ": " + error.message() +
                            (error == Errc::corrupt ? " (run 'shmifctl repair')" : ""));
  }
  return std::unique_ptr<Attachment>(std::move(made));
}

/// Begins at the end. Waits while somebody holds the lock, as long as a sender would.
std::error_code NetbsdAttachment::find_place() noexcept {
  const std::lock_guard guard(receive_mutex_);
  for (;;) {  // ends when the lock is free, or was held for a second
    switch (reader_.seek_end()) {
      case NetbsdLook::seen: return {};
      case NetbsdLook::corrupt: return broken();
      case NetbsdLook::held: break;
    }
    if (const std::error_code held = told(NetbsdRead::held)) return held;
    bell_.sleep(kWhileHeld);
    bell_.drain();
  }
}

// ---- Up and down ----

std::error_code NetbsdAttachment::up() noexcept {
  if (forked()) return Errc::forked;
  if (up_) {
    tell_news();
    return {};
  }
  std::error_code error;
  {
    const std::lock_guard guard(receive_mutex_);
    const std::optional<std::uint64_t> passed = reader_.frames_ahead();
    const NetbsdLook look = options_.start != Start::oldest ? reader_.seek_end()
                            : was_up_                       ? reader_.seek_oldest_unless_behind()
                                                            : reader_.seek_oldest();
    switch (look) {
      case NetbsdLook::seen: break;
      case NetbsdLook::held: error = told(NetbsdRead::held); break;
      case NetbsdLook::corrupt: error = broken(); break;
    }
    if (!error) {
      if (options_.start == Start::now) add(skipped_, passed.value_or(0));
      was_up_ = true;
      up_ = true;
    }
  }
  tell_news();  // also if the bus is lost
  return error;
}

std::error_code NetbsdAttachment::down() noexcept {
  if (forked()) return Errc::forked;
  up_ = false;
  bell_.wake();
  const std::scoped_lock until_they_left(send_mutex_, receive_mutex_);
  return {};
}

bool NetbsdAttachment::wait_until_up() noexcept {
  while (!forked()) {
    const std::uint32_t seen = news_.load();
    if (up_) return true;
    if (mapping_.lost() || interrupted_.exchange(false)) return false;
    news_.wait(seen);
  }
  return false;
}

void NetbsdAttachment::interrupt_receiver() noexcept {
  if (forked()) return;
  interrupted_.store(true);
  tell_news();
  bell_.wake();
}

// ---- Sending ----

/// Why the frame at the front cannot be sent at all.
std::error_code NetbsdAttachment::error_of(std::span<const FrameView> frames) noexcept {
  const FrameView& frame = frames.front();
  if (frame.offload.pending()) return Errc::not_supported;
  if (frame.size() < kNetbsdMinFrame) return Errc::frame_too_short;
  if (frame.size() > kNetbsdMaxFrame) return Errc::frame_too_long;
  return {};
}

SendResult NetbsdAttachment::send(std::span<const FrameView> frames,
                                  WhenFull /*when_full*/) noexcept {
  if (forked()) return {0, Errc::forked};
  const std::lock_guard guard(send_mutex_);
  if (!up_) return {0, mapping_.lost() ? Errc::bus_lost : Errc::port_down};
  SendResult sent;
  while (sent.taken < frames.size() && !sent.error) {
    const std::span<const FrameView> rest = frames.subspan(sent.taken);
    std::size_t good = 0;
    while (good < rest.size() && !(sent.error = error_of(rest.subspan(good)))) ++good;
    if (sent.error == Errc::frame_too_long) add(too_long_, 1);
    if (sent.error && sent.error != Errc::frame_too_long) add(refused_, 1);
    for (std::size_t done = 0; done < good;) {
      const std::size_t batch = netbsd_batch(rest.subspan(done, good - done));
      if (const std::error_code failure = send_batch(rest.subspan(done, batch))) {
        sent.error = failure;
        break;
      }
      done += batch;
      sent.taken += batch;
    }
  }
  return sent;
}

/// Appends frames with one hold of the lock.
std::error_code NetbsdAttachment::append(std::span<const FrameView> frames) noexcept {
  constexpr unsigned kRepairs = 3;
  for (unsigned i = 0; i < kRepairs; ++i) {
    const std::uint64_t sleeps = lock_.sleeps();
    const bool mine = lock_.acquire();
    add(lock_sleeps_, lock_.sleeps() - sleeps);
    if (mapping_.lost()) return Errc::bus_lost;
    if (!mine) return Errc::lock_held;
    const std::error_code error =
        netbsd_append(ring_, frames, sender_, base::wall_clock_ns(), &own_frames_);
    if (error == Errc::busy) continue;  // the lock is not ours any more
    lock_.release();
    return error;
  }
  return Errc::corrupt;
}

/// Sends frames with one hold of the lock, and rings.
std::error_code NetbsdAttachment::send_batch(std::span<const FrameView> frames) noexcept {
  if (options_.learn) addresses_.learn(frames);
  const std::error_code error = append(frames);
  if (error == Errc::bus_lost || error == Errc::lock_held) return error;
  if (error) {
    corrupt_.fetch_add(1);
    return broken();
  }
  bell_.ring(ring_.version());
  std::uint64_t bytes = 0;
  for (const FrameView& frame : frames) bytes += frame.size();
  add(tx_frames_, frames.size());
  add(tx_bytes_, bytes);
  add(doorbells_, 1);
  return {};
}

// ---- Receiving ----

/// Adds to the counters. Result: how many frames were lost at least.
std::uint64_t NetbsdAttachment::count(const NetbsdTally& tally) noexcept {
  add(rx_frames_, tally.frames);
  add(rx_bytes_, tally.bytes);
  add(own_, tally.own);
  add(filtered_, tally.filtered);
  add(overruns_, tally.overruns);
  add(lost_bytes_, tally.lost_bytes);
  corrupt_.fetch_add(tally.corrupt);
  return tally.overruns;
}

/// The error that receive() reports.
std::error_code NetbsdAttachment::told(NetbsdRead read) noexcept {
  if (read != NetbsdRead::held) stuck_.is_free();
  if (mapping_.lost()) return Errc::bus_lost;
  if (read == NetbsdRead::corrupt) return Errc::corrupt;
  if (read != NetbsdRead::held) return {};
  mapping_.look_whether_lost();
  return stuck_.is_stuck(ring_) ? make_error_code(Errc::lock_held) : std::error_code{};
}

/// If the newest frame is a kernel's and touches the end of the data, adds the pad that one of ours
/// has. If somebody holds the lock, the next frame comes, or a later call does it.
void NetbsdAttachment::pad_the_end() noexcept {
  const NetbsdLock lock(ring_);
  if (!reader_.touches_end() || !lock.try_acquire()) return;
  if (netbsd_append(ring_, {}, 0, 0) != Errc::busy) lock.release();
}

/// With receive_mutex_ held.
ReceiveResult NetbsdAttachment::take(FrameBatch& into, std::size_t most) noexcept {
  if (!up_) return {0, 0, mapping_.lost() ? make_error_code(Errc::bus_lost) : std::error_code{}};
  const std::size_t before = into.size();
  NetbsdTally tally;
  const NetbsdRead read = reader_.read(into, most, tally);
  pad_the_end();
  ReceiveResult result{into.size() - before, count(tally) + std::exchange(unreported_lost_, 0),
                       told(read)};
  if (result.frames != 0) {
    saw_traffic();
    if (result.error != Errc::bus_lost) result.error = {};  // the next call reports it
  }
  failed_ = static_cast<bool>(result.error);
  return result;
}

ReceiveResult NetbsdAttachment::receive(FrameBatch& into) noexcept {
  if (forked()) return {0, 0, Errc::forked};
  const std::lock_guard guard(receive_mutex_);
  return take(into, into.max_frames());
}

ReceiveResult NetbsdAttachment::receive_in_place(FrameBatch& into) noexcept {
  if (forked()) return {0, 0, Errc::forked};
  const std::lock_guard guard(receive_mutex_);
  lent_.clear();
  const ReceiveResult result =
      take(lent_, std::min(lent_.max_frames(), into.max_frames() - into.size()));
  for (const FrameView& frame : lent_.frames()) into.push_lent(frame);
  return result;
}

std::size_t NetbsdAttachment::release() noexcept {
  return 0;  // writers do not overwrite lent frames: they are copies
}

// ---- Waiting ----

NetbsdAttachment::Seen NetbsdAttachment::look_for_frame() noexcept {
  NetbsdTally tally;
  const NetbsdRead read = reader_.find(tally);
  pad_the_end();
  unreported_lost_ += count(tally);
  if (told(read)) return Seen::frame;  // receive() reports it
  switch (read) {
    case NetbsdRead::empty: return unreported_lost_ != 0 ? Seen::frame : Seen::nothing;
    case NetbsdRead::held: return Seen::held;
    default: return Seen::frame;
  }
}

/// How long to sleep at most.
nanoseconds NetbsdAttachment::longest_sleep(Seen seen) noexcept {
  if (seen == Seen::held) return kWhileHeld;
  return std::exchange(idle_sleep_, std::min<nanoseconds>(idle_sleep_ * 2, kLongestSleep));
}

bool NetbsdAttachment::wait(nanoseconds timeout) noexcept {
  using Clock = std::chrono::steady_clock;
  if (forked()) return false;
  const std::lock_guard guard(receive_mutex_);
  const bool forever = timeout > std::chrono::hours(24 * 365);
  const Clock::time_point deadline = forever ? Clock::time_point::max() : Clock::now() + timeout;
  for (;;) {  // runs until frames come, the time is over, or somebody interrupts
    bell_.drain();
    if (!up_ || mapping_.lost() || interrupted_.exchange(false)) return false;
    const Seen seen = look_for_frame();
    if (seen == Seen::frame) return true;
    const nanoseconds left = forever ? nanoseconds::max() : deadline - Clock::now();
    if (left <= nanoseconds(0)) return false;
    bell_.sleep(std::min(left, longest_sleep(seen)));
    add(wakeups_, 1);
    mapping_.look_whether_lost();
  }
}

WaitHint NetbsdAttachment::prepare_wait() noexcept {
  if (forked() || mapping_.lost()) return {.ready = true};  // receive() reports it
  const std::lock_guard guard(receive_mutex_);
  if (!up_) return {.at_most = kFirstSleep};
  bell_.drain();
  const Seen seen = look_for_frame();
  if (seen == Seen::frame) {
    if (has_level_descriptor_) bell_.wake();
    return {.ready = true};
  }
  return {.at_most = longest_sleep(seen)};
}

void NetbsdAttachment::finish_wait() noexcept {
  if (forked()) return;
  const std::lock_guard guard(receive_mutex_);
  add(wakeups_, 1);
  mapping_.look_whether_lost();
}

Result<int> NetbsdAttachment::level_descriptor() {
  if (forked()) return Error(Errc::forked, "the port belongs to the process that forked this one");
  if (bell_.error()) return Error(bell_.error(), "cannot make a descriptor");
  has_level_descriptor_ = true;
  settle(false);
  return bell_.descriptor();
}

/// A receive that failed would fail again at once, so the descriptor is quiet for a while then.
void NetbsdAttachment::settle(bool holds_frames) noexcept {
  if (!has_level_descriptor_ || forked()) return;
  const std::lock_guard guard(receive_mutex_);
  bell_.drain();
  if (holds_frames) return bell_.wake();
  if (std::exchange(failed_, false)) return bell_.wake_later(kFirstSleep);
  if (mapping_.lost() || interrupted_.load()) return bell_.wake();
  if (!up_) return;
  switch (look_for_frame()) {
    case Seen::frame: return bell_.wake();
    case Seen::held: return bell_.wake_later(kFirstSleep);
    case Seen::nothing: return;
  }
}

// ---- Properties ----

std::error_code NetbsdAttachment::set_mac(MacAddress mac) noexcept {
  addresses_.set_own(mac);
  return {};
}

std::error_code NetbsdAttachment::set_other_macs(std::span<const MacAddress> macs) noexcept {
  if (forked()) return Errc::forked;
  if (std::ranges::any_of(macs, [](MacAddress mac) { return mac.is_group(); }))
    return Errc::bad_argument;
  addresses_.list(macs);
  return {};
}

std::error_code NetbsdAttachment::set_promiscuous(bool on) noexcept {
  addresses_.set_promiscuous(on);
  return {};
}

std::error_code NetbsdAttachment::set_carrier(bool on) noexcept {
  if (forked()) return Errc::forked;
  carrier_ = on;
  return {};
}

std::error_code NetbsdAttachment::set_carrier_unknown() noexcept {
  return set_carrier(true);
}

PortCounters NetbsdAttachment::counters() const noexcept {
  PortCounters c;
  c.tx_frames = c.tx_segments = tx_frames_;
  c.tx_bytes = tx_bytes_;
  c.too_long_frames = too_long_;
  c.refused_frames = refused_;
  c.doorbells = doorbells_;
  c.lock_sleeps = lock_sleeps_;
  c.rx_frames = c.rx_segments = rx_frames_;
  c.rx_bytes = rx_bytes_;
  c.own_frames = own_;
  c.filtered_frames = filtered_;
  c.skipped_frames = skipped_;
  c.overruns = c.lost_frames = c.uncounted_overruns = overruns_;
  c.lost_bytes = lost_bytes_;
  c.wakeups = wakeups_;
  c.corrupt = corrupt_;
  return c;
}

std::uint64_t NetbsdAttachment::bus_frames() const noexcept {
  if (forked() || mapping_.lost()) return 0;
  const std::lock_guard guard(receive_mutex_);
  return reader_.number() + reader_.frames_ahead().value_or(0);
}

using std::chrono::nanoseconds;

// ---- A reader that may only read the file ----

NetbsdFollower::NetbsdFollower(std::string warning, NetbsdMapping mapping, Resume resume)
    : warning_(std::move(warning)),
      mapping_(std::move(mapping)),
      ring_(mapping_.bytes().data()),
      reader_(ring_, nullptr, 0, resume == Resume::newest) {}

NetbsdFollower::~NetbsdFollower() {
  if (!base::is_this_process(token_)) mapping_.forget();
}

Result<std::unique_ptr<Follower>> NetbsdFollower::open(OpenFile file, const std::string& path,
                                                       Start start, Resume resume) {
  auto mapping = NetbsdMapping::map(file.fd.get(), Access::read_only);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot listen to the bus " + path + ": " + mapping.error().message);
  const std::string old = file.warning.empty() ? "" : file.warning + "; ";
  std::unique_ptr<NetbsdFollower> made(
      new NetbsdFollower(old + netbsd_warning(path), *std::move(mapping), resume));
  const auto seek = [&] {
    return start == Start::oldest ? made->reader_.seek_oldest() : made->reader_.seek_end();
  };
  NetbsdLook look = seek();
  while (look == NetbsdLook::held && !made->stuck_.is_stuck(made->ring_)) {
    constexpr timespec kNap{0, 1'000'000};
    nanosleep(&kNap, nullptr);
    look = seek();
  }
  if (look == NetbsdLook::seen) return std::unique_ptr<Follower>(std::move(made));
  const std::error_code error = look == NetbsdLook::held ? Errc::lock_held : Errc::corrupt;
  return Error(error, "cannot listen to the bus " + path + ": " + error.message() +
                          (error == Errc::corrupt ? " (run 'shmifctl repair')" : ""));
}

std::error_code NetbsdFollower::told(NetbsdRead read) noexcept {
  if (read != NetbsdRead::held) stuck_.is_free();
  if (mapping_.lost()) return Errc::bus_lost;
  if (read == NetbsdRead::corrupt) return Errc::corrupt;
  const bool stuck = read == NetbsdRead::held && stuck_.is_stuck(ring_);
  return stuck ? make_error_code(Errc::lock_held) : std::error_code{};
}

ReceiveResult NetbsdFollower::receive(FrameBatch& into) noexcept {
  if (!base::is_this_process(token_)) return {0, 0, Errc::forked};
  const std::size_t before = into.size();
  const std::uint64_t overruns = total_.overruns;
  const std::error_code error = told(reader_.read(into, into.max_frames(), total_));
  const std::size_t frames = into.size() - before;
  return {frames, total_.overruns - overruns + std::exchange(unreported_lost_, 0),
          frames == 0 ? error : std::error_code{}};
}

/// Whether receive() would return something.
bool NetbsdFollower::is_ready() noexcept {
  const std::uint64_t overruns = total_.overruns;
  const NetbsdRead read = reader_.find(total_);
  unreported_lost_ += total_.overruns - overruns;
  return told(read) || read == NetbsdRead::more || unreported_lost_ != 0;
}

bool NetbsdFollower::wait(nanoseconds timeout) noexcept {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline =
      timeout > std::chrono::hours(24 * 365) ? Clock::time_point::max() : Clock::now() + timeout;
  pause_ = kShortest;
  while (base::is_this_process(token_) && !mapping_.lost()) {
    if (is_ready()) return true;
    const nanoseconds left = deadline - Clock::now();
    if (left <= nanoseconds(0)) return false;
    const nanoseconds nap = std::min(pause_, left);
    const timespec t{0, static_cast<long>(nap.count())};  // less than a second
    if (nanosleep(&t, nullptr) != 0) return is_ready();   // a signal: the caller may act on it
    mapping_.look_whether_lost();
    pause_ = std::min<nanoseconds>(pause_ * 2, kLongest);
  }
  return false;
}

WaitHint NetbsdFollower::prepare_wait() noexcept {
  if (!base::is_this_process(token_) || mapping_.lost() || is_ready()) {
    pause_ = kShortest;
    return {.ready = true};
  }
  return {.at_most = std::exchange(pause_, std::min<nanoseconds>(pause_ * 2, kLongest))};
}

void NetbsdFollower::finish_wait() noexcept {
  if (base::is_this_process(token_)) mapping_.look_whether_lost();
}

PortCounters NetbsdFollower::counters() const noexcept {
  PortCounters c;
  c.rx_frames = c.rx_segments = total_.frames;
  c.rx_bytes = total_.bytes;
  c.overruns = c.lost_frames = c.uncounted_overruns = total_.overruns;
  c.lost_bytes = total_.lost_bytes;
  c.corrupt = total_.corrupt;
  return c;
}

std::uint64_t NetbsdFollower::bus_frames() const noexcept {
  if (!base::is_this_process(token_) || mapping_.lost()) return 0;
  return reader_.number() + reader_.frames_ahead().value_or(0);
}

}  // namespace shmif::bus
