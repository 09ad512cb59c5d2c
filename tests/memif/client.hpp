#pragma once
// The other side of a memif link, as a packet processor is: memory in memfds, one ring for each
// direction in it, and the messages that tell the server. It shares only the layouts with memif/.
// What a hostile client would do, a test does to the shared words and messages directly.

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
#include <optional>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "memif/memif_link.hpp"
#include "memif/ring.hpp"
#include "memif/session.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {

inline std::array<UniqueFd, 2> memif_sockets() {
  std::array<int, 2> pair{-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {UniqueFd(pair[0]), UniqueFd(pair[1])};
}

/// A region that the client shares.
class ClientRegion {
 public:
  explicit ClientRegion(std::size_t bytes)
      : file_(::memfd_create("client", MFD_CLOEXEC | MFD_ALLOW_SEALING)), bytes_(bytes) {
    EXPECT_EQ(::ftruncate(file_.get(), static_cast<off_t>(bytes)), 0);
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
    EXPECT_NE(at, MAP_FAILED);
    base_ = static_cast<std::byte*>(at);
  }
  ClientRegion(const ClientRegion&) = delete;
  ClientRegion& operator=(const ClientRegion&) = delete;
  ~ClientRegion() { ::munmap(base_, bytes_); }

  int file() const { return file_.get(); }
  std::size_t size() const { return bytes_; }
  std::byte* at(std::size_t offset) const { return base_ + offset; }

 private:
  UniqueFd file_;
  std::size_t bytes_;
  std::byte* base_ = nullptr;
};

/// What a client wants.
struct ClientWish {
  std::uint8_t size_log2 = 8;
  std::size_t buffer_bytes = 2048;
  std::uint16_t first = 0;  ///< where the numbers of both rings begin
  bool masked = false;      ///< it wants no interrupts for frames that it gets
};

/// The client's side of a ring.
class ClientRing {
 public:
  ClientRing(ClientRegion& where, std::size_t at, const ClientWish& wish,
             std::uint32_t first_buffer)
      : offset(static_cast<std::uint32_t>(at)),
        interrupt(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        size(std::size_t{1} << wish.size_log2),
        given(wish.first),
        taken(wish.first),
        header_(reinterpret_cast<memif::RingHeader*>(where.at(at))),
        descriptors_(reinterpret_cast<memif::Descriptor*>(where.at(at) + sizeof *header_)) {
    *header_ = {.cookie = memif::RingHeader::kCookie, .head = wish.first, .tail = wish.first};
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t buffer = first_buffer + i * wish.buffer_bytes;
      descriptors_[i] = {.region = 1,
                         .bytes = static_cast<std::uint32_t>(wish.buffer_bytes),
                         .offset = static_cast<std::uint32_t>(buffer)};
    }
  }
  static std::size_t bytes(const ClientWish& wish) {
    return sizeof(memif::RingHeader) + (sizeof(memif::Descriptor) << wish.size_log2);
  }

  memif::RingHeader& header() const { return *header_; }
  memif::Descriptor& descriptor(std::size_t i) const { return descriptors_[i % size]; }
  std::uint16_t tail() const {
    return std::atomic_ref(header_->tail).load(std::memory_order_acquire);
  }
  /// Shows the server what was given. What is_masked() says then is newer.
  void show() const { std::atomic_ref(header_->head).store(given); }
  bool is_masked() const {
    return (std::atomic_ref(header_->flags).load() & memif::RingHeader::kMasked) != 0;
  }
  void notify() const {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(interrupt.get(), &one, sizeof one), 8);
  }
  /// How often the interrupt was written since the last call.
  std::uint64_t interrupts() const {
    std::uint64_t count = 0;
    return ::read(interrupt.get(), &count, sizeof count) == 8 ? count : 0;
  }

  std::uint32_t offset;
  UniqueFd interrupt;
  std::size_t size;
  std::uint16_t given, taken;  ///< buffers given to the server, and read by the client

 private:
  memif::RingHeader* header_;
  memif::Descriptor* descriptors_;
};

class MemifClient {
 public:
  /// `serve`: lets the server read its socket.
  MemifClient(UniqueFd connected, ClientWish w, std::function<void()> serve = {})
      : socket(std::move(connected)),
        wish(w),
        rings(2 * ClientRing::bytes(w)),
        buffers((2 * w.buffer_bytes) << w.size_log2),
        send_ring(rings, 0, w, 0),
        receive_ring(rings, ClientRing::bytes(w), w,
                     static_cast<std::uint32_t>(w.buffer_bytes << w.size_log2)),
        serve_(std::move(serve)) {
    if (w.masked) receive_ring.header().flags = memif::RingHeader::kMasked;
  }

  // Messages.

  bool tell(const std::array<std::byte, memif::kMessageBytes>& bytes, int descriptor = -1) const {
    return memif::send_message(socket.get(), bytes, descriptor);
  }
  /// The server's next message; empty if there is none within ten seconds, or it has gone.
  std::optional<memif::Message> reply() const {
    if (serve_) serve_();
    pollfd waiting{.fd = socket.get(), .events = POLLIN, .revents = 0};
    memif::Message message;
    const int patience = serve_ ? 0 : 10'000;  // a link in this thread has answered already
    if (::poll(&waiting, 1, patience) != 1 ||
        ::recv(socket.get(), message.bytes.data(), message.bytes.size(), 0) !=
            static_cast<ssize_t>(message.bytes.size()))
      return std::nullopt;
    return message;
  }
  memif::MessageType reply_type() const {
    const auto message = reply();
    return message ? message->type() : memif::MessageType::none;
  }
  bool acknowledged() const { return reply_type() == memif::MessageType::ack; }

  static auto init_message(const memif::Init& fields = {}) {
    return memif::make_message(memif::MessageType::init, fields);
  }
  static auto region_message(std::uint16_t index, std::uint64_t bytes) {
    return memif::make_message(memif::MessageType::add_region, memif::AddRegion{index, bytes});
  }
  memif::AddRing ring_fields(bool from_client) const {
    return {.flags = from_client ? memif::AddRing::kFromClient : std::uint16_t{0},
            .index = 0,
            .region = 0,
            .offset = from_client ? send_ring.offset : receive_ring.offset,
            .size_log2 = wish.size_log2};
  }
  static auto ring_message(const memif::AddRing& fields) {
    return memif::make_message(memif::MessageType::add_ring, fields);
  }
  static auto connect_message() {
    return memif::make_message(memif::MessageType::connect, memif::field_of<32>("test"));
  }

  /// Everything up to CONNECT. Result: whether all of it was acknowledged.
  bool describe() const {
    return reply_type() == memif::MessageType::hello && tell(init_message()) && acknowledged() &&
           tell(region_message(0, rings.size()), rings.file()) && acknowledged() &&
           tell(region_message(1, buffers.size()), buffers.file()) && acknowledged() &&
           tell(ring_message(ring_fields(true)), send_ring.interrupt.get()) && acknowledged() &&
           tell(ring_message(ring_fields(false)), receive_ring.interrupt.get()) && acknowledged();
  }
  /// And that. From then on there are frames.
  bool start() {
    if (!describe() || !tell(connect_message()) || reply_type() != memif::MessageType::connected)
      return false;
    give_buffers();
    return true;
  }
  /// Why the server has cut off the client; empty if it did not say.
  std::string reason() const {
    const auto message = reply();
    if (!message || message->type() != memif::MessageType::disconnect) return {};
    return message->as<memif::Disconnect>().reason.data();
  }

  // Frames.

  /// Gives all buffers that are free for frames to come.
  void give_buffers() {
    while (static_cast<std::uint16_t>(receive_ring.given - receive_ring.taken) < receive_ring.size)
      receive_ring.descriptor(receive_ring.given++).bytes =
          static_cast<std::uint32_t>(wish.buffer_bytes);
    receive_ring.show();
  }
  /// Sends frames, each in as few buffers as hold it. Result: how many had room in the ring.
  std::size_t send(const std::vector<Bytes>& frames) {
    std::size_t sent = 0;
    for (const Bytes& frame : frames) {
      const std::size_t need =
          std::max<std::size_t>((frame.size() + wish.buffer_bytes - 1) / wish.buffer_bytes, 1);
      const auto held = static_cast<std::uint16_t>(send_ring.given - send_ring.tail());
      if (send_ring.size - held < need) break;
      for (std::size_t i = 0; i < need; ++i) {
        memif::Descriptor& d = send_ring.descriptor(send_ring.given++);
        const std::size_t at = i * wish.buffer_bytes;
        d.bytes = static_cast<std::uint32_t>(std::min(wish.buffer_bytes, frame.size() - at));
        d.flags = i + 1 < need ? memif::Descriptor::kNext : std::uint16_t{0};
        std::copy_n(frame.data() + at, d.bytes, buffers.at(d.offset));
      }
      ++sent;
    }
    send_ring.show();
    if (sent > 0 && !send_ring.is_masked()) send_ring.notify();
    return sent;
  }
  struct Arrived {
    Bytes frame;
    unsigned buffers = 0;
  };
  /// The frames that have arrived. Their buffers are given again.
  std::vector<Arrived> arrived() {
    std::vector<Arrived> out;
    for (const std::uint16_t tail = receive_ring.tail(); receive_ring.taken != tail;) {
      Arrived one;
      for (bool more = true; more; ++receive_ring.taken, ++one.buffers) {
        EXPECT_NE(receive_ring.taken, tail) << "a frame without its end";
        if (receive_ring.taken == tail) return out;
        const memif::Descriptor& d = receive_ring.descriptor(receive_ring.taken);
        EXPECT_LE(d.bytes, wish.buffer_bytes);
        one.frame.insert(one.frame.end(), buffers.at(d.offset), buffers.at(d.offset) + d.bytes);
        more = (d.flags & memif::Descriptor::kNext) != 0;
      }
      out.push_back(std::move(one));
    }
    if (!out.empty()) give_buffers();
    return out;
  }
  std::vector<Bytes> frames() {
    std::vector<Bytes> out;
    for (Arrived& one : arrived()) out.push_back(std::move(one.frame));
    return out;
  }

  UniqueFd socket;
  ClientWish wish;
  ClientRegion rings, buffers;
  ClientRing send_ring, receive_ring;

 private:
  std::function<void()> serve_;
};

/// A client and the link to it.
class MemifPair {
 public:
  /// `starts`: the client has said everything.
  explicit MemifPair(ClientWish wish = {}, memif::MemifOptions options = {}, bool starts = true)
      : MemifPair(memif_sockets(), wish, std::move(options), starts) {}

  memif::MemifLink& link() { return link_; }
  MemifClient& client() { return *client_; }
  /// Lets the link read its socket; what arrives meanwhile is thrown away.
  void serve() {
    FrameBatch batch;
    last_ = link_.receive(batch);
  }
  /// What the link said last.
  const ReceiveResult& last() const { return last_; }

 private:
  MemifPair(std::array<UniqueFd, 2> pair, ClientWish wish, memif::MemifOptions options, bool starts)
      : link_(memif::MemifLink::adopt(std::move(pair[1]), std::move(options)).value()),
        client_(std::make_unique<MemifClient>(std::move(pair[0]), wish, [this] { serve(); })) {
    if (!starts) return;
    EXPECT_TRUE(client_->start()) << link_.why();
    EXPECT_TRUE(link_.was_set_up());
    EXPECT_FALSE(last_.error) << last_.error.message();
  }
  memif::MemifLink link_;
  std::unique_ptr<MemifClient> client_;
  ReceiveResult last_;
};

}  // namespace shmif::test
