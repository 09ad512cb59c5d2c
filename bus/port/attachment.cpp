#include "bus/port/native_attachment.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "bus/file/file.hpp"
#include "bus/file/geometry.hpp"
#include "bus/port/attachment_state.hpp"

namespace shmif::bus {

using std::chrono::nanoseconds;

NativeAttachment::NativeAttachment(AttachedBus bus, std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {
  bus_ = std::move(bus);
}
NativeAttachment::~NativeAttachment() = default;

Result<std::unique_ptr<Attachment>> NativeAttachment::attach(OpenFile file, const std::string& path,
                                                             const PortOptions& options) {
  auto mapping =
      Mapping::map(file.fd.get(), file.header.ring_bytes, Access::read_write, options.lock_memory);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot attach to the bus " + path + ": " + mapping.error().message);
  struct stat status{};
  if (fstat(file.fd.get(), &status) != 0) return Error::from_errno(errno, "cannot query " + path);

  auto impl = std::make_unique<Impl>();
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
  AttachedBus bus{.path = path,
                  .absolute_path = absolute_path(path),
                  .device = status.st_dev,
                  .inode = status.st_ino,
                  .warning = std::move(file.warning),
                  .disk_warning = std::move(file.disk_warning),
                  .name = impl->owned.name,
                  .slot = slot,
                  .mtu = file.header.mtu,
                  .max_frame = impl->ring.max_frame(),
                  .carries_offloads = impl->ring.carries_offloads(),
                  .memory = impl->mapping.bytes(),
                  .patience = impl->patience};
  return std::unique_ptr<Attachment>(new NativeAttachment(std::move(bus), std::move(impl)));
}

std::error_code NativeAttachment::up() noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  const std::error_code error = a.up() ? std::error_code{} : a.go_up();
  a.tell_news();  // also if the bus is lost
  return error;
}

/// Moves a reader that is at the oldest frame to where it was before down(), so that no frame is
/// delivered again.
bool NativeAttachment::Impl::go_back(const RingReader::Place& before) noexcept {
  if (reader.seek_to(before)) return true;
  // After a repair that started the positions again, everything in the ring is new.
  if (load_acquire(ring.header().epoch) != epoch) return true;
  const bool overwritten = load_acquire(ring.header().first) > before.position;
  return overwritten && reader.seek_oldest();
}

/// Moves the reader to where it begins to read, and sets kFlagUp.
std::error_code NativeAttachment::Impl::go_up() noexcept {
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
  // Otherwise the port begins before where it was, or a number was overwritten: do not count.
  if (reader.position() >= before.position &&
      passed <= frames_in(reader.position() - before.position)) {
    counts.skipped.add(passed, slot().skipped_frames);
  }
  was_up = true;
  publish_position();
  set_flag(kFlagUp | (patience > nanoseconds(0) ? kFlagPause : 0U), true);
  return {};
}

std::error_code NativeAttachment::down() noexcept {
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

bool NativeAttachment::is_up() const noexcept {
  return !impl_->forked() && impl_->up();
}

MacAddress NativeAttachment::mac() const noexcept {
  return MacAddress::from_u64(impl_->own_mac.load());
}
std::uint64_t NativeAttachment::bus_frames() const noexcept {
  return impl_->forked() || impl_->mapping.lost() ? 0 : impl_->ring.frames();
}
std::error_code NativeAttachment::set_mac(MacAddress mac) noexcept {
  Impl& a = *impl_;
  const std::lock_guard guard(a.mac_mutex);
  const std::uint64_t before = a.own_mac;
  a.show_mac(mac.to_u64());  // P3: publish, then look
  if (!address_is_taken(a.ring, a.owned.slot, a.fd.get(), mac)) {
    const std::lock_guard nobody_sends(a.send_mutex);
    // Otherwise the port would still hear this address after its next change. A listed one stays.
    const auto others = std::span(a.listed).first(a.listed_count);
    if (std::ranges::find(others, mac) == others.end()) a.forget(mac);
    return {};
  }
  a.show_mac(before);
  // While the refused address was shown, senders of frames to the old one did not ring the port.
  wake_port(a.ring, a.owned.slot, a.fd.get());
  return Errc::mac_taken;
}

std::error_code NativeAttachment::set_other_macs(std::span<const MacAddress> macs) noexcept {
  Impl& a = *impl_;
  if (a.forked()) return Errc::forked;
  const auto is_group = [](MacAddress mac) { return mac.is_group(); };
  if (std::ranges::any_of(macs, is_group)) return Errc::bad_argument;
  const std::lock_guard guard(a.send_mutex);
  a.list(macs);
  return {};
}

std::error_code NativeAttachment::set_promiscuous(bool on) noexcept {
  impl_->set_flag(kFlagPromiscuous, on);
  return {};
}

std::error_code NativeAttachment::set_carrier(bool on) noexcept {
  if (impl_->forked()) return Errc::forked;
  impl_->set_flag(kFlagNoCarrier, !on);
  impl_->set_flag(kFlagCarrierUnknown, false);
  return {};
}
std::error_code NativeAttachment::set_carrier_unknown() noexcept {
  if (impl_->forked()) return Errc::forked;
  impl_->set_flag(kFlagCarrierUnknown, true);
  impl_->set_flag(kFlagNoCarrier, false);
  return {};
}
bool NativeAttachment::has_carrier() const noexcept {
  return (impl_->own_flags.load(std::memory_order_relaxed) & kFlagNoCarrier) == 0;
}

PortCounters NativeAttachment::counters() const noexcept {
  return impl_->counts.get();
}

}  // namespace shmif::bus
