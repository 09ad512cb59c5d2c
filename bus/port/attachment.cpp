#include "bus/port/attachment.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "bus/file/file.hpp"
#include "bus/file/geometry.hpp"
#include "bus/port/attachment_state.hpp"

namespace shmif::bus {

using std::chrono::nanoseconds;

namespace {

/// `path`, made independent of the working directory; unchanged if that has no path now.
std::string absolute(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path whole = std::filesystem::absolute(path, unknown);
  return unknown ? path : whole.string();
}

}  // namespace

Attachment::Attachment(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Attachment::Attachment(Attachment&&) noexcept = default;
Attachment& Attachment::operator=(Attachment&&) noexcept = default;
Attachment::~Attachment() = default;

Result<Attachment> Attachment::attach(const std::string& path, const PortOptions& options) {
  auto file = open_file(path, true);
  if (!file) return file.error();
  return attach(*std::move(file), path, options);
}

Result<Attachment> Attachment::attach(int descriptor, const std::string& path,
                                      const PortOptions& options) {
  auto file = reopen_file(descriptor, path, true);
  if (!file) return file.error();
  return attach(*std::move(file), path, options);
}

Result<Attachment> Attachment::attach(OpenFile file, const std::string& path,
                                      const PortOptions& options) {
  auto mapping = Mapping::map(file.fd.get(), file.header.ring_bytes, true, options.lock_memory);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot attach to the bus " + path + ": " + mapping.error().message);
  struct stat status{};
  if (fstat(file.fd.get(), &status) != 0) return Error::from_errno(errno, "cannot query " + path);

  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->absolute_path = absolute(path);
  impl->file = FileId::of(status);
  impl->warning = std::move(file.warning);
  impl->options = options;
  impl->fd = std::move(file.fd);
  impl->mapping = *std::move(mapping);
  impl->ring = Ring(impl->mapping, max_frame_bytes(file.header.mtu));
  auto owned = take_slot(impl->ring, impl->fd.get(), path, options);
  if (!owned) return owned.error();
  impl->owned = *std::move(owned);
  impl->own_mac = impl->owned.mac.to_u64();
  impl->attached = true;

  const unsigned slot = impl->owned.slot;
  impl->lock.emplace(impl->ring.header(), slot, impl->fd.get());
  if (file.header.flow == kFlowPause) {
    impl->patience = nanoseconds(file.header.patience_ns);
    impl->flow.emplace(impl->ring, slot, impl->fd.get(), impl->patience);
  }
  impl->writer = RingWriter(impl->ring, slot, impl->owned.incarnation);
  impl->bell = Bell(impl->ring, slot, impl->fd.get());
  impl->sleeper = Sleeper(impl->ring, slot);
  impl->reader = RingReader(impl->ring, &impl->slot(), slot, impl->owned.incarnation,
                            options.resume == Resume::newest, options.take_offloads);
  impl->epoch = load_acquire(impl->ring.header().epoch);
  impl->epoch_sent_in = impl->epoch;
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
  const std::error_code error = a.up() ? std::error_code{} : a.go_up();
  a.tell_news();  // also if the bus is lost
  return error;
}

/// Moves a reader that is at the oldest frame to where it was before down(): what was delivered
/// then is not delivered again.
bool Attachment::Impl::go_back(const RingReader::Place& before) noexcept {
  if (reader.seek_to(before)) return true;
  // After a repair that started the positions again, everything in the ring is new.
  if (load_acquire(ring.header().epoch) != epoch) return true;
  const bool overwritten = load_acquire(ring.header().first) > before.position;
  return overwritten && reader.seek_oldest();
}

/// Moves the reader to where it begins to read, and sets kFlagUp.
std::error_code Attachment::Impl::go_up() noexcept {
  const std::lock_guard guard(receive_mutex);
  taken_back += reader.lent();
  reader.forget_lent();
  const RingReader::Place before = reader.place();
  bool found = false;
  if (options.start == Start::oldest) {
    found = reader.seek_oldest();
    if (found && was_up && reader.position() <= before.position) found = go_back(before);
  } else {
    found = reader.seek_end();
  }
  if (!found) return broken();
  const std::uint64_t passed = reader.next_number() - before.number;
  // Else the port begins before where it was, or a number was overwritten.
  if (reader.position() >= before.position &&
      passed <= frames_in(reader.position() - before.position)) {
    counts.skipped.add(passed, slot().skipped_frames);
  }
  was_up = true;
  publish_position();
  set_flag(kFlagUp | (patience > nanoseconds(0) ? kFlagPause : 0U), true);
  return {};
}

std::error_code Attachment::down() noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  a.set_flag(kFlagUp | kFlagPause, false);
  // Not interrupt(), which would also end a wait after the next up().
  wake_port(a.ring, a.owned.slot, a.fd.get());
  {
    std::unique_lock senders(a.send_mutex);
    a.nobody_waits.wait(senders, [&] { return a.threads_waiting_for_room == 0; });
  }
  const std::lock_guard until_they_left(a.receive_mutex);
  return {};  // lent frames stay lent: the caller may be reading them
}

bool Attachment::forked() const noexcept {
  return impl_->forked();
}

bool Attachment::is_up() const noexcept {
  return !impl_->forked() && impl_->up();
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
  return !impl_->forked() && lstat(impl_->absolute_path.c_str(), &status) == 0 &&
         FileId::of(status) == impl_->file;
}
nanoseconds Attachment::patience() const noexcept {
  return impl_->patience;
}
std::span<std::byte> Attachment::memory() const noexcept {
  return impl_->mapping.bytes();
}
MacAddress Attachment::mac() const noexcept {
  return MacAddress::from_u64(impl_->own_mac.load());
}
unsigned Attachment::slot() const noexcept {
  return impl_->owned.slot;
}
std::uint32_t Attachment::mtu() const noexcept {
  return impl_->ring.max_frame() - kMtuToFrame;
}
std::uint64_t Attachment::bus_frames() const noexcept {
  return impl_->forked() || impl_->mapping.lost() ? 0 : impl_->ring.frames();
}
bool Attachment::carries_offloads() const noexcept {
  return impl_->ring.carries_offloads();
}
std::size_t Attachment::max_frame() const noexcept {
  return impl_->ring.max_frame();
}

std::error_code Attachment::set_mac(MacAddress mac) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  if (!mac.is_unicast()) return Errc::bad_argument;
  const std::lock_guard guard(a.mac_mutex);
  const std::uint64_t before = a.own_mac;
  a.show_mac(mac.to_u64());  // P3: publish, then look
  if (!address_is_taken(a.ring, a.owned.slot, a.fd.get(), mac)) {
    const std::lock_guard nobody_sends(a.send_mutex);
    // Else the port would go on hearing it after the next change, unless it is listed.
    const auto others = std::span(a.listed).first(a.listed_count);
    if (std::ranges::find(others, mac) == others.end()) a.forget(mac);
    return {};
  }
  a.show_mac(before);
  // While the other address was shown, senders of frames to this one did not ring the port.
  wake_port(a.ring, a.owned.slot, a.fd.get());
  return Errc::mac_taken;
}

std::error_code Attachment::set_other_macs(std::span<const MacAddress> macs) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  const auto is_group = [](MacAddress mac) { return mac.is_group(); };
  if (std::ranges::any_of(macs, is_group)) return Errc::bad_argument;
  const std::lock_guard guard(a.send_mutex);
  a.list(macs);
  return {};
}

std::error_code Attachment::set_promiscuous(bool on) noexcept {
  if (impl_->forked()) return Errc::forked;
  impl_->set_flag(kFlagPromiscuous, on);
  return {};
}

std::error_code Attachment::set_carrier(bool on) noexcept {
  if (impl_->forked()) return Errc::forked;
  impl_->set_flag(kFlagNoCarrier, !on);
  impl_->set_flag(kFlagCarrierUnknown, false);
  return {};
}
std::error_code Attachment::set_carrier_unknown() noexcept {
  if (impl_->forked()) return Errc::forked;
  impl_->set_flag(kFlagCarrierUnknown, true);
  impl_->set_flag(kFlagNoCarrier, false);
  return {};
}
bool Attachment::has_carrier() const noexcept {
  return (impl_->own_flags.load(std::memory_order_relaxed) & kFlagNoCarrier) == 0;
}

PortCounters Attachment::counters() const noexcept {
  return impl_->counts.get();
}

}  // namespace shmif::bus
