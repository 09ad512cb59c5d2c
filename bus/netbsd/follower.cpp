#include "bus/netbsd/follower.hpp"

#include <time.h>

#include <algorithm>
#include <utility>

namespace shmif::bus {

using std::chrono::nanoseconds;

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
