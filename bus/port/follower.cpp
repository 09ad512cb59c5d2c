// NativeFollower: a reader without a slot, for processes that may only read the file.

#include <time.h>

#include <algorithm>
#include <utility>

#include "base/fork_guard.hpp"
#include "bus/file/file.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/mapping.hpp"
#include "bus/port/doorbell.hpp"
#include "bus/port/native_attachment.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

using std::chrono::nanoseconds;

struct NativeFollower::Impl {
  std::uint64_t token = base::process_token();
  std::string warning;
  Mapping mapping;
  Ring ring;
  RingReader reader;
  ReadTally total;
  std::uint64_t epoch = 0;
  nanoseconds pause{std::chrono::milliseconds(1)};
};

NativeFollower::NativeFollower(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NativeFollower::~NativeFollower() {
  if (!base::is_this_process(impl_->token)) impl_->mapping.forget();
}

Result<std::unique_ptr<Follower>> NativeFollower::open(OpenFile file, const std::string& path,
                                                       Start start, Resume resume,
                                                       bool take_offloads) {
  auto mapping = Mapping::map(file.fd.get(), file.header.ring_bytes, Access::read_only);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot listen to the bus " + path + ": " + mapping.error().message);
  auto impl = std::make_unique<Impl>();
  impl->warning = std::move(file.warning);
  impl->mapping = *std::move(mapping);
  impl->ring = Ring(impl->mapping, max_frame_bytes(file.header.mtu));
  impl->reader = RingReader(impl->ring, nullptr, 0, 0, resume == Resume::newest, take_offloads);
  impl->epoch = load_acquire(impl->ring.header().epoch);
  if (!(start == Start::oldest ? impl->reader.seek_oldest() : impl->reader.seek_end())) {
    return Error(Errc::corrupt, "cannot listen to the bus " + path +
                                    ": its ring is corrupt (run 'shmifctl repair')");
  }
  return std::unique_ptr<Follower>(new NativeFollower(std::move(impl)));
}

const std::string& NativeFollower::warning() const noexcept {
  return impl_->warning;
}

ReceiveResult NativeFollower::receive(FrameBatch& into) noexcept {
  Impl& l = *impl_;
  if (!base::is_this_process(l.token)) return {0, 0, Errc::forked};
  const std::size_t before = into.size();
  const std::uint64_t lost = l.total.lost_frames;
  if (const std::uint64_t epoch = load_acquire(l.ring.header().epoch); epoch != l.epoch) {
    l.epoch = epoch;
    if (!l.reader.find_place_again(l.total)) return {0, 0, Errc::corrupt};
  }
  const ReadStatus status = l.reader.read_all(into, l.total);
  ReceiveResult result{into.size() - before, l.total.lost_frames - lost, {}};
  if (l.mapping.lost())
    result.error = Errc::bus_lost;
  else if (status == ReadStatus::broken)
    result.error = Errc::corrupt;
  return result;
}

bool NativeFollower::wait(nanoseconds timeout) noexcept {
  using Clock = std::chrono::steady_clock;
  Impl& l = *impl_;
  const Clock::time_point deadline =
      timeout > std::chrono::hours(24 * 365) ? Clock::time_point::max() : Clock::now() + timeout;
  l.pause = std::chrono::milliseconds(1);
  while (base::is_this_process(l.token) && !l.mapping.lost()) {
    if (l.reader.ready()) return true;
    l.reader.leave_place_past_end(l.total);
    const nanoseconds left = deadline - Clock::now();
    if (left <= nanoseconds(0)) return false;
    const nanoseconds nap = std::min(l.pause, left);
    const timespec t{static_cast<time_t>(nap.count() / 1'000'000'000),
                     static_cast<long>(nap.count() % 1'000'000'000)};
    if (nanosleep(&t, nullptr) != 0)
      return l.reader.ready();  // a signal: the caller may want to act on it
    l.mapping.look_whether_lost();
    l.pause = std::min<nanoseconds>(l.pause * 2, kLookUp);
  }
  return false;
}

WaitHint NativeFollower::prepare_wait() noexcept {
  Impl& l = *impl_;
  if (!base::is_this_process(l.token) || l.mapping.lost() || l.reader.ready()) {
    l.pause = std::chrono::milliseconds(1);
    return {.ready = true};
  }
  l.reader.leave_place_past_end(l.total);
  return {.at_most = std::exchange(l.pause, std::min<nanoseconds>(l.pause * 2, kLookUp))};
}

void NativeFollower::finish_wait() noexcept {
  if (base::is_this_process(impl_->token)) impl_->mapping.look_whether_lost();
}

PortCounters NativeFollower::counters() const noexcept {
  PortCounters c;
  c.rx_frames = impl_->total.frames;
  c.rx_bytes = impl_->total.bytes;
  c.overruns = impl_->total.overruns;
  c.lost_frames = impl_->total.lost_frames;
  c.lost_bytes = impl_->total.lost_bytes;
  c.corrupt = impl_->total.corrupt;
  c.rx_segments = c.rx_frames + impl_->total.more_segments;
  return c;
}
std::uint64_t NativeFollower::bus_frames() const noexcept {
  return impl_->mapping.lost() ? 0 : impl_->ring.frames();
}
std::size_t NativeFollower::max_frame() const noexcept {
  return impl_->ring.max_frame();
}

}  // namespace shmif::bus
