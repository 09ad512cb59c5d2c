#pragma once
// DatagramLink: a datagram socket that has a peer, as a Link. Each datagram is one frame.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "bus/result.hpp"
#include "bus/unique_fd.hpp"
#include "shmif/link.hpp"

namespace shmif::perf {

struct DatagramOptions {
  std::size_t max_frame_bytes = 1522;  ///< longer ones are refused; received, they are truncated
  std::string address;                 ///< for messages: "unix:", "udp:127.0.0.1:4000"
  /// A peer that refuses frames may come yet, as one of UDP; else it ends the link.
  bool peer_may_come = false;
};

/// Sends and receives many datagrams in one system call, those received straight into the batch.
/// What is too short for a frame is passed over. Threads: one may send while another receives and
/// waits; counters from any. Blocks: never; a full socket takes no more frames for now
/// (SendResult::taken).
class DatagramLink {
 public:
  /// Takes over a connected socket. One without a peer only receives.
  static DatagramLink adopt(UniqueFd socket, DatagramOptions options);
  DatagramLink(DatagramLink&&) noexcept;
  DatagramLink& operator=(DatagramLink&&) noexcept;
  ~DatagramLink();

  /// Errors: frame_too_short, frame_too_long (also for the path to the peer), link_ended.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();

  /// Frames for this socket that the kernel dropped since the link was made, because nobody
  /// received them. Nothing where it does not tell.
  std::optional<std::uint64_t> dropped() const noexcept;

 private:
  struct Impl;
  explicit DatagramLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<DatagramLink>);

/// How many frames the kernel dropped because `socket` was full, since it was made; 32 bits, then
/// it begins anew. Nothing where it does not tell.
std::optional<std::uint32_t> drops_of(int socket) noexcept;

/// Asks for buffers of so many bytes, which an ordinary user gets up to a limit of the machine.
void enlarge_buffers(int socket, int bytes) noexcept;
/// For UDP. Frames that arrive at a full socket are lost, so there is room for a receiver that
/// waits for its turn on the CPU.
inline constexpr int kUdpBufferBytes = 8 << 20;

}  // namespace shmif::perf
