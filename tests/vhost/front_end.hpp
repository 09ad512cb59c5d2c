#pragma once
// The other side of a vhost-user link, as a virtual machine and its front-end are: memory in a
// memfd, the driver side of two split queues in it, and the messages that tell the back-end. It
// shares only the layouts with vhost/. What a hostile driver would do, a test does to the shared
// words directly.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/frame.hpp"
#include "tests/support/frames.hpp"
#include "vhost/backend.hpp"
#include "vhost/message.hpp"
#include "vhost/split_queue.hpp"
#include "vhost/vhost_link.hpp"

namespace shmif::test {

inline std::array<UniqueFd, 2> vhost_sockets() {
  std::array<int, 2> pair{-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

/// The memory of a machine: one region, at addresses that no process has.
class MachineMemory {
 public:
  static constexpr std::uint64_t kGuest = 0x4000'0000, kUser = 0x6000'0000'0000;

  explicit MachineMemory(std::size_t bytes = std::size_t{16} << 20)
      : file_(::memfd_create("machine", MFD_CLOEXEC)), bytes_(bytes) {
    EXPECT_EQ(::ftruncate(file_.get(), static_cast<off_t>(bytes)), 0);
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    EXPECT_NE(at, MAP_FAILED);
    base_ = static_cast<std::byte*>(at);
  }
  MachineMemory(const MachineMemory&) = delete;
  MachineMemory& operator=(const MachineMemory&) = delete;
  ~MachineMemory() { ::munmap(base_, bytes_); }

  vhost::MemoryRegion region() const { return {kGuest, bytes_, kUser, 0}; }
  int file() const { return file_.get(); }
  std::size_t size() const { return bytes_; }
  std::byte* at(std::size_t offset) const { return base_ + offset; }
  std::size_t offset_of(std::uint64_t guest_address) const { return guest_address - kGuest; }
  /// Reserves bytes. Result: their offset.
  std::size_t take(std::size_t bytes, std::size_t alignment = 64) {
    taken_ = (taken_ + alignment - 1) / alignment * alignment;
    const std::size_t out = taken_;
    taken_ += bytes;
    EXPECT_LE(taken_, bytes_);
    return out;
  }

 private:
  UniqueFd file_;
  std::size_t bytes_;
  std::byte* base_ = nullptr;
  std::size_t taken_ = 0;
};

/// The driver's side of a queue.
class DriverQueue {
 public:
  DriverQueue(MachineMemory& where, std::uint16_t entries)
      : memory(&where),
        size(entries),
        descriptors_at(where.take(entries * sizeof(vhost::Descriptor))),
        available_at(where.take(sizeof(vhost::RingHead) + entries * 2U + 2)),
        used_at(where.take(sizeof(vhost::RingHead) + entries * sizeof(vhost::UsedEntry) + 2)),
        kick(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        call(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  vhost::Descriptor& descriptor(std::size_t i) const {
    return part<vhost::Descriptor>(descriptors_at, i);
  }
  vhost::RingHead& available() const { return part<vhost::RingHead>(available_at, 0); }
  std::uint16_t& head(std::size_t i) const {
    return part<std::uint16_t>(available_at + sizeof(vhost::RingHead), i % size);
  }
  std::uint16_t& used_event() const {
    return part<std::uint16_t>(available_at + sizeof(vhost::RingHead), size);
  }
  vhost::RingHead& used() const { return part<vhost::RingHead>(used_at, 0); }
  vhost::UsedEntry& used_entry(std::size_t i) const {
    return part<vhost::UsedEntry>(used_at + sizeof(vhost::RingHead), i % size);
  }
  std::uint16_t& avail_event() const {
    return *reinterpret_cast<std::uint16_t*>(
        memory->at(used_at + sizeof(vhost::RingHead) + size * sizeof(vhost::UsedEntry)));
  }

  /// Lends the chain that begins with this descriptor. The back-end sees it after show().
  void lend(std::uint16_t first) { head(offered++) = first; }
  /// Shows what was lent, and notifies the back-end if it wants that. Result: whether it did.
  bool show(bool event_index) {
    const auto before = shown;
    shown = offered;
    std::atomic_ref(available().idx).store(shown, std::memory_order_seq_cst);
    const bool wanted =
        event_index ? static_cast<std::uint16_t>(shown - event() - 1) <
                          static_cast<std::uint16_t>(shown - before)
                    : (std::atomic_ref(used().flags).load() & vhost::RingHead::kNoNotice) == 0;
    if (wanted) notify();
    return wanted;
  }
  void notify() const {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(kick.get(), &one, sizeof one), 8);
  }
  /// What the back-end has given back next.
  std::optional<vhost::UsedEntry> collect() {
    if (collected == std::atomic_ref(used().idx).load(std::memory_order_acquire))
      return std::nullopt;
    return used_entry(collected++);
  }
  /// How often the back-end has notified the driver since the last call.
  std::uint64_t calls() const {
    std::uint64_t count = 0;
    return ::read(call.get(), &count, sizeof count) == 8 ? count : 0;
  }

  MachineMemory* memory;
  std::uint16_t size;
  std::size_t descriptors_at, available_at, used_at;
  UniqueFd kick, call;
  std::uint16_t offered = 0, shown = 0, collected = 0;

 private:
  std::uint16_t event() const { return std::atomic_ref(avail_event()).load(); }
  template <class T>
  T& part(std::size_t at, std::size_t i) const {
    return *reinterpret_cast<T*>(memory->at(at + i * sizeof(T)));
  }
};

/// What a driver wants.
struct Driver {
  static constexpr std::uint64_t kPlain =
      vhost::Features::kVersion1 | vhost::Features::kProtocolFeatures;
  static constexpr std::uint64_t kUsual = kPlain | vhost::Features::kMergeable |
                                          vhost::Features::kIndirect | vhost::Features::kEventIndex;
  std::uint64_t features = kUsual;
  std::uint16_t queue_size = 256;
  std::size_t buffer_bytes = 2048;  ///< of each buffer that it lends for frames to come
};

/// The front-end with its driver.
class FrontEnd {
 public:
  static constexpr std::size_t kSlotBytes = 12 * 1024;  // for a frame to send

  /// `serve`: lets the back-end read its socket.
  FrontEnd(UniqueFd connected, Driver driver, std::function<void()> serve = {})
      : socket(std::move(connected)),
        wish(driver),
        memory(std::size_t{driver.queue_size > 1024 ? 64U : 16U} << 20),
        receive_queue(memory, driver.queue_size),
        send_queue(memory, driver.queue_size),
        serve_(std::move(serve)) {
    receive_slots_ = memory.take(driver.queue_size * driver.buffer_bytes);
    send_slots_ = memory.take(driver.queue_size * kSlotBytes);
    for (std::uint16_t i = 0; i < driver.queue_size; ++i) free_.push_back(i);
  }

  bool event_index() const { return (wish.features & vhost::Features::kEventIndex) != 0; }
  std::size_t header_bytes() const {
    using vhost::Features;
    return (wish.features & (Features::kVersion1 | Features::kMergeable)) != 0 ? 12 : 10;
  }

  // Messages.

  bool tell(vhost::Request request, std::span<const std::byte> payload,
            std::span<const int> descriptors = {}, std::uint32_t flags = 0) const {
    return vhost::send_message(socket.get(), request, flags, payload, descriptors);
  }
  template <class T>
  bool tell(vhost::Request request, const T& payload, std::span<const int> descriptors = {},
            std::uint32_t flags = 0) const {
    return tell(request, std::as_bytes(std::span(&payload, 1)), descriptors, flags);
  }
  /// The next reply; empty if there is none within ten seconds.
  std::optional<std::array<std::uint32_t, 2>> reply() const {
    if (serve_) serve_();
    struct {
      vhost::MessageHeader header;
      std::array<std::uint32_t, 2> value;
    } got{};
    pollfd waiting{.fd = socket.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10'000) != 1) return std::nullopt;
    if (::recv(socket.get(), &got, sizeof got, MSG_WAITALL) != sizeof got) return std::nullopt;
    EXPECT_EQ(got.header.flags, 5U);
    EXPECT_EQ(got.header.payload_bytes, 8U);
    return got.value;
  }
  /// Whether a reply is there already. Does not let the back-end read its socket.
  bool was_answered() const {
    char first = 0;
    return ::recv(socket.get(), &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
  }
  std::uint64_t ask(vhost::Request request) const {
    EXPECT_TRUE(tell(request, std::span<const std::byte>()));
    const auto value = reply();
    EXPECT_TRUE(value.has_value());
    return value ? std::uint64_t{(*value)[1]} << 32U | (*value)[0] : 0;
  }

  void share_memory() const {
    vhost::MemoryTable table{.count = 1};
    table.regions[0] = memory.region();
    const int file = memory.file();
    EXPECT_TRUE(tell(vhost::Request::set_mem_table,
                     std::as_bytes(std::span(&table, 1)).first(8 + sizeof(vhost::MemoryRegion)),
                     {&file, 1}));
  }
  /// `enables`: as front-ends do that have protocol features.
  void start_queue(std::uint32_t index, const DriverQueue& queue, bool enables = true) const {
    using vhost::Request;
    EXPECT_TRUE(tell(Request::set_vring_num, vhost::VringState{index, queue.size}));
    EXPECT_TRUE(tell(Request::set_vring_base, vhost::VringState{index, queue.used().idx}));
    EXPECT_TRUE(
        tell(Request::set_vring_addr,
             vhost::VringAddresses{.index = index,
                                   .descriptors = MachineMemory::kUser + queue.descriptors_at,
                                   .used = MachineMemory::kUser + queue.used_at,
                                   .available = MachineMemory::kUser + queue.available_at}));
    const int call = queue.call.get();
    EXPECT_TRUE(tell(Request::set_vring_call, std::uint64_t{index}, {&call, 1}));
    const int kick = queue.kick.get();
    EXPECT_TRUE(tell(Request::set_vring_kick, std::uint64_t{index}, {&kick, 1}));
    if (enables) {
      EXPECT_TRUE(tell(Request::set_vring_enable, vhost::VringState{index, 1}));
    }
  }
  /// Everything that QEMU says before a machine can send.
  void start() {
    using vhost::Request;
    EXPECT_TRUE(tell(Request::set_owner, std::span<const std::byte>()));
    const std::uint64_t offered = ask(Request::get_features);
    EXPECT_EQ(wish.features & ~offered, 0U) << "the back-end lacks a feature";
    EXPECT_TRUE(tell(Request::set_features, wish.features));
    share_memory();
    lend_all();
    start_queue(0, receive_queue);
    start_queue(1, send_queue);
    if (serve_) serve_();
  }

  // The driver.

  std::size_t receive_slot(std::uint16_t i) const { return receive_slots_ + i * wish.buffer_bytes; }
  std::size_t send_slot(std::uint16_t i) const { return send_slots_ + i * kSlotBytes; }
  /// Describes bytes at an offset of the memory.
  static vhost::Descriptor describe(std::size_t offset, std::size_t bytes, unsigned flags,
                                    unsigned next = 0) {
    return {MachineMemory::kGuest + offset, static_cast<std::uint32_t>(bytes),
            static_cast<std::uint16_t>(flags), static_cast<std::uint16_t>(next)};
  }
  void lend(std::uint16_t i) {
    receive_queue.descriptor(i) =
        describe(receive_slot(i), wish.buffer_bytes, vhost::Descriptor::kWrite);
    receive_queue.lend(i);
  }
  void lend_all() {
    for (std::uint16_t i = 0; i < wish.queue_size; ++i) lend(i);
    (void)receive_queue.show(event_index());
  }
  /// Sends frames, each in one buffer. Result: how many had room in the queue.
  std::size_t send(const std::vector<Bytes>& frames, const Offload& offload = {}) {
    while (const auto used = send_queue.collect())
      free_.push_back(static_cast<std::uint16_t>(used->head));
    std::size_t sent = 0;
    for (const Bytes& frame : frames) {
      if (free_.empty()) break;
      const std::uint16_t i = free_.back();
      free_.pop_back();
      std::byte* const to = memory.at(send_slot(i));
      std::memset(to, 0, header_bytes());
      std::memcpy(to, &offload, sizeof offload);
      std::ranges::copy(frame, to + header_bytes());
      send_queue.descriptor(i) = describe(send_slot(i), header_bytes() + frame.size(), 0);
      send_queue.lend(i);
      ++sent;
    }
    (void)send_queue.show(event_index());
    return sent;
  }
  struct Arrived {
    Bytes frame;
    Offload offload;
    unsigned buffers = 0;
  };
  /// The frames that have arrived. Their buffers are lent again.
  std::vector<Arrived> arrived() {
    std::vector<Arrived> out;
    while (const auto first = receive_queue.collect()) {
      Arrived one;
      const std::byte* const from =
          memory.at(receive_slot(static_cast<std::uint16_t>(first->head)));
      std::uint16_t buffers = 1;
      std::memcpy(&one.offload, from, sizeof one.offload);
      if (header_bytes() == 12) std::memcpy(&buffers, from + sizeof one.offload, sizeof buffers);
      one.buffers = buffers;
      one.frame.assign(from + header_bytes(), from + first->written);
      std::vector<std::uint16_t> again{static_cast<std::uint16_t>(first->head)};
      for (unsigned i = 1; i < buffers; ++i) {
        const auto more = receive_queue.collect();
        EXPECT_TRUE(more.has_value()) << "a frame without its end";
        if (!more) break;
        const std::byte* const rest =
            memory.at(receive_slot(static_cast<std::uint16_t>(more->head)));
        one.frame.insert(one.frame.end(), rest, rest + more->written);
        again.push_back(static_cast<std::uint16_t>(more->head));
      }
      for (const std::uint16_t i : again) lend(i);
      out.push_back(std::move(one));
    }
    if (!out.empty()) (void)receive_queue.show(event_index());
    return out;
  }

  UniqueFd socket;
  Driver wish;
  MachineMemory memory;
  DriverQueue receive_queue, send_queue;

 private:
  std::function<void()> serve_;
  std::size_t receive_slots_ = 0, send_slots_ = 0;
  std::vector<std::uint16_t> free_;
};

class Machine {
 public:
  /// `starts`: the machine has a driver already.
  explicit Machine(Driver driver, vhost::VhostOptions options, bool starts = true)
      : Machine(vhost_sockets(), driver, std::move(options), starts) {}

  vhost::VhostLink& link() { return link_; }
  FrontEnd& front() { return *front_; }
  /// Lets the link read its socket; what arrives meanwhile is thrown away.
  void serve() {
    FrameBatch batch;
    last_ = link_.receive(batch);
  }
  /// What the link said last.
  const ReceiveResult& last() const { return last_; }

  /// Whether a frame that is sent now arrives at the driver. If it does not, the link must say that
  /// there was no driver.
  bool hears() {
    const std::vector<Bytes> frames{make_frame(64, 0x4ea5)};
    const std::uint64_t before = link_.drops().not_ready;
    EXPECT_EQ(link_.send(views(frames)).taken, 1U) << link_.why();
    const auto got = front_->arrived();
    EXPECT_EQ(link_.drops().not_ready, before + (got.empty() ? 1 : 0));
    return got.size() == 1 && got[0].frame == frames[0];
  }
  /// Whether a frame that the driver sends now arrives here.
  bool speaks() {
    const Bytes frame = make_frame(65, 0x59ea);
    EXPECT_EQ(front_->send({frame}), 1U);
    FrameBatch batch;
    last_ = link_.receive(batch);
    return last_.frames == 1 && to_bytes(batch.frames()[0]) == frame;
  }

 private:
  Machine(std::array<UniqueFd, 2> pair, Driver driver, vhost::VhostOptions options, bool starts)
      : link_(vhost::VhostLink::adopt(std::move(pair[1]), std::move(options)).value()),
        front_(std::make_unique<FrontEnd>(std::move(pair[0]), driver, [this] { serve(); })) {
    if (!starts) return;
    front_->start();
    EXPECT_EQ(link_.why(), "");
    EXPECT_FALSE(last_.error);
  }
  vhost::VhostLink link_;
  std::unique_ptr<FrontEnd> front_;
  ReceiveResult last_;
};

}  // namespace shmif::test
