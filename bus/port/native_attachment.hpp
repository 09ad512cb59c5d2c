#pragma once
// A port and a reader on a bus of our own format. The other files of the folder are their parts.

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <system_error>

#include "base/result.hpp"
#include "bus/attachment.hpp"
#include "bus/frame.hpp"
#include "bus/port_options.hpp"

namespace shmif::bus {

struct OpenFile;

class NativeAttachment final : public Attachment {
 public:
  /// `file` is open for writing and was checked. Errors: name_taken, mac_taken, table_full,
  /// corrupt, bad_argument, and an errno.
  static Result<std::unique_ptr<Attachment>> attach(OpenFile file, const std::string& path,
                                                    const PortOptions& options);
  ~NativeAttachment() override;  ///< frees the slot

  std::error_code up() noexcept override;
  std::error_code down() noexcept override;
  bool is_up() const noexcept override;

  SendResult send(std::span<const FrameView> frames, WhenFull when_full) noexcept override;
  ReceiveResult receive(FrameBatch& into) noexcept override;
  ReceiveResult receive_in_place(FrameBatch& into) noexcept override;
  std::size_t release() noexcept override;
  bool wait(std::chrono::nanoseconds timeout) noexcept override;
  bool wait_until_up() noexcept override;
  void interrupt() noexcept override;
  void interrupt_receiver() noexcept override;

  int descriptor() noexcept override;
  std::error_code descriptor_error() const noexcept override;
  WaitHint prepare_wait() noexcept override;
  void finish_wait() noexcept override;
  Result<int> level_descriptor() override;
  void settle(bool holds_frames) noexcept override;

  MacAddress mac() const noexcept override;
  std::error_code set_mac(MacAddress mac) noexcept override;
  std::error_code set_other_macs(std::span<const MacAddress> macs) noexcept override;
  std::error_code set_promiscuous(bool on) noexcept override;
  std::error_code set_carrier(bool on) noexcept override;
  std::error_code set_carrier_unknown() noexcept override;
  bool has_carrier() const noexcept override;
  PortCounters counters() const noexcept override;
  std::uint64_t bus_frames() const noexcept override;

 private:
  struct Impl;
  NativeAttachment(AttachedBus bus, std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A reader without a slot.
class NativeFollower final : public Follower {
 public:
  /// `file` is open for reading and was checked.
  static Result<std::unique_ptr<Follower>> open(OpenFile file, const std::string& path, Start start,
                                                Resume resume, bool take_offloads);
  ~NativeFollower() override;

  const std::string& warning() const noexcept override;
  ReceiveResult receive(FrameBatch& into) noexcept override;
  bool wait(std::chrono::nanoseconds timeout) noexcept override;
  WaitHint prepare_wait() noexcept override;
  void finish_wait() noexcept override;
  PortCounters counters() const noexcept override;
  std::uint64_t bus_frames() const noexcept override;
  std::size_t max_frame() const noexcept override;

 private:
  struct Impl;
  explicit NativeFollower(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::bus
