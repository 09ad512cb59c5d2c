#pragma once
// VdeLink: a connection to a VDE network (a switch, slirp, vxvde and others) as a Link, through
// libvdeplug. The library is loaded when it is first used, so that other programs do not need it.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "shmif/link.hpp"

namespace shmif {

/// Frames that were received and dropped.
struct VdeDrops {
  std::uint64_t too_long = 0;   ///< longer than the link's largest frame, or than 9233 bytes
  std::uint64_t too_short = 0;  ///< shorter than an Ethernet header
};

/// The link ends when the switch closes the connection. Threads: one at a time; drops() from any.
/// Blocks: open() waits while the switch does not answer; the other calls never wait, unless the
/// plugin of the network does.
class VdeLink {
 public:
  /// `url`: in the form that libvdeplug takes: "vde:///run/vde.ctl", "slirp://". Errors:
  /// not_supported without libvdeplug; an errno.
  static Result<VdeLink> open(const std::string& url, std::size_t max_frame_bytes);
  VdeLink(VdeLink&&) noexcept;
  VdeLink& operator=(VdeLink&&) = delete;
  ~VdeLink();

  /// Errors: frame_too_short, frame_too_long, link_ended, an errno.
  SendResult send(std::span<const FrameView> frames) noexcept;
  ReceiveResult receive(FrameBatch& into) noexcept;
  int descriptor() noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  std::size_t max_frame_bytes() noexcept;
  std::string address();

  VdeDrops drops() const noexcept;

 private:
  struct Impl;
  explicit VdeLink(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

static_assert(Link<VdeLink>);

}  // namespace shmif
