// Packet sockets on the two ends of a veth pair, which `place` names as "a,b". There are plain
// sockets, with a batch per system call, and the rings of TPACKET_V2 (to send) and TPACKET_V3 (to
// receive).

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "bench/frame.hpp"
#include "bench/messages.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"

namespace shmif::bench {
namespace {

constexpr unsigned kBlockBytes = 1U << 18U;
constexpr unsigned kBlocks = 16;  // 4 MiB, like the ring of a bus
constexpr int kBufferBytes = 4 << 20;

template <typename Value>
void set(int socket, int level, int option, const Value& value, const char* what) {
  if (setsockopt(socket, level, option, &value, sizeof value) != 0) {
    give_up(std::string(what) + ": error " + std::to_string(errno));
  }
}

enum class For : std::uint8_t { hearing, sending };

int open_socket(For use) {
  const int opened = socket(AF_PACKET, SOCK_RAW, use == For::hearing ? htons(ETH_P_ALL) : 0);
  if (opened < 0) give_up("packet sockets are not to be had (needs CAP_NET_RAW)");
  return opened;
}

void bind_to(int socket, const std::string& interface, For use) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = use == For::hearing ? htons(ETH_P_ALL) : static_cast<std::uint16_t>(0);
  address.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
  if (bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    give_up("cannot bind to interface " + interface);
  }
}

std::uint64_t dropped(int socket) {
  tpacket_stats statistics{};
  socklen_t size = sizeof statistics;
  if (getsockopt(socket, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) != 0) return 0;
  return statistics.tp_drops;  // since the last call
}

int plain_socket(const std::string& interface, For use) {
  const int opened = open_socket(use);
  limit_waits(opened);
  setsockopt(opened, SOL_SOCKET, use == For::hearing ? SO_RCVBUFFORCE : SO_SNDBUFFORCE,
             &kBufferBytes, sizeof kBufferBytes);
  if (use == For::sending) set(opened, SOL_PACKET, PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS");
  bind_to(opened, interface, use);
  return opened;
}

class PacketListener final : public Listener {
 public:
  PacketListener(int socket, const Work& work) : socket_(socket), messages_(socket, work) {}
  Heard hear() override {
    const Heard heard = messages_.hear();
    return {heard.frames, dropped(socket_)};
  }

 private:
  int socket_;
  MessageListener messages_;
};

void* map_ring(int socket, std::size_t bytes) {
  void* ring = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, socket, 0);
  if (ring == MAP_FAILED) give_up("cannot map the ring of a packet socket");
  return ring;
}

template <typename Word>
Word load(const Word& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

class RingSender final : public Sender {
 public:
  RingSender(const std::string& interface, const Work& work)
      : socket_(open_socket(For::sending)),
        frame_(make_frame(work.frame_bytes)),
        batch_(work.batch) {
    set(socket_, SOL_PACKET, PACKET_VERSION, static_cast<int>(TPACKET_V2), "TPACKET_V2");
    set(socket_, SOL_PACKET, PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS");
    limit_waits(socket_);
    slot_bytes_ = work.frame_bytes < 1000 ? 256 : 2048;
    slots_ = kBlockBytes * kBlocks / slot_bytes_;
    set(socket_, SOL_PACKET, PACKET_TX_RING, tpacket_req{kBlockBytes, kBlocks, slot_bytes_, slots_},
        "PACKET_TX_RING");
    bind_to(socket_, interface, For::sending);
    ring_ = static_cast<std::byte*>(map_ring(socket_, std::size_t{kBlockBytes} * kBlocks));
  }
  std::size_t send() override {
    std::size_t filled = 0;
    for (; filled < batch_; ++filled) {
      std::byte* slot = ring_ + std::size_t{next_} * slot_bytes_;
      auto* header = reinterpret_cast<tpacket2_hdr*>(slot);
      if (load(header->tp_status) != TP_STATUS_AVAILABLE) break;
      std::memcpy(slot + TPACKET2_HDRLEN - sizeof(sockaddr_ll), frame_.data(), frame_.size());
      header->tp_len = static_cast<std::uint32_t>(frame_.size());
      __atomic_store_n(&header->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
      next_ = (next_ + 1) % slots_;
    }
    (void)!::send(socket_, nullptr, 0, MSG_DONTWAIT);
    return filled;
  }

 private:
  int socket_;
  std::vector<std::byte> frame_;
  std::size_t batch_;
  unsigned slot_bytes_ = 0, slots_ = 0, next_ = 0;
  std::byte* ring_ = nullptr;
};

class RingListener final : public Listener {
 public:
  RingListener(const std::string& interface, const Work& work)
      : socket_(open_socket(For::hearing)), copy_(work.frame_bytes) {
    set(socket_, SOL_PACKET, PACKET_VERSION, static_cast<int>(TPACKET_V3), "TPACKET_V3");
    tpacket_req3 request{};
    request.tp_block_size = kBlockBytes;
    request.tp_block_nr = kBlocks;
    request.tp_frame_size = 2048;
    request.tp_frame_nr = kBlockBytes * kBlocks / 2048;
    request.tp_retire_blk_tov = 1;  // ms
    set(socket_, SOL_PACKET, PACKET_RX_RING, request, "PACKET_RX_RING");
    bind_to(socket_, interface, For::hearing);
    ring_ = static_cast<std::byte*>(map_ring(socket_, std::size_t{kBlockBytes} * kBlocks));
  }
  Heard hear() override {
    auto* block = reinterpret_cast<tpacket_block_desc*>(ring_ + std::size_t{next_} * kBlockBytes);
    tpacket_hdr_v1& header = block->hdr.bh1;
    if ((load(header.block_status) & TP_STATUS_USER) == 0) {
      pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
      poll(&ready, 1, 50);
      return {0, drops()};
    }
    const auto* at = reinterpret_cast<const std::byte*>(block) + header.offset_to_first_pkt;
    const std::uint32_t frames = header.num_pkts;
    for (std::uint32_t i = 0; i < frames; ++i) {
      const auto* packet = reinterpret_cast<const tpacket3_hdr*>(at);
      std::memcpy(copy_.data(), at + packet->tp_mac,
                  std::min<std::size_t>(packet->tp_snaplen, copy_.size()));
      asm volatile("" : : "g"(copy_.data()) : "memory");  // the compiler must keep the copy
      at += packet->tp_next_offset;
    }
    __atomic_store_n(&header.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    next_ = (next_ + 1) % kBlocks;
    return {frames, drops()};
  }

 private:
  std::uint64_t drops() const {
    tpacket_stats_v3 statistics{};
    socklen_t size = sizeof statistics;
    getsockopt(socket_, SOL_PACKET, PACKET_STATISTICS, &statistics, &size);
    return statistics.tp_drops;
  }
  int socket_;
  std::vector<std::byte> copy_;
  unsigned next_ = 0;
  std::byte* ring_ = nullptr;
};

class PacketWire final : public Wire {
 public:
  enum class By : std::uint8_t { calls, rings };
  PacketWire(const Work& work, By by) : work_(work), rings_(by == By::rings) {
    const std::size_t comma = work.place.find(',');
    if (comma == std::string::npos) give_up("--place needs two interfaces, as \"a,b\"");
    from_ = work.place.substr(0, comma);
    to_ = work.place.substr(comma + 1);
  }
  std::unique_ptr<Listener> listener(unsigned) override {
    if (rings_) return std::make_unique<RingListener>(to_, work_);
    return std::make_unique<PacketListener>(plain_socket(to_, For::hearing), work_);
  }
  std::unique_ptr<Sender> sender(unsigned) override {
    if (rings_) return std::make_unique<RingSender>(from_, work_);
    return std::make_unique<MessageSender>(plain_socket(from_, For::sending), work_);
  }

 private:
  Work work_;
  bool rings_;
  std::string from_, to_;
};

}  // namespace

std::unique_ptr<Wire> make_packet_wire(const Work& work) {
  return std::make_unique<PacketWire>(work, PacketWire::By::calls);
}

std::unique_ptr<Wire> make_packet_ring_wire(const Work& work) {
  return std::make_unique<PacketWire>(work, PacketWire::By::rings);
}

}  // namespace shmif::bench
