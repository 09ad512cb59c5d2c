#pragma once
// Attachment: a port's access to a bus. A port does everything with the bus file through this
// class. This header says nothing about the layout of the file, so another format can be added
// behind it.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>

#include "base/result.hpp"
#include "bus/frame.hpp"
#include "bus/port_options.hpp"

namespace shmif::bus {

struct OpenFile;

/// What a sender does on a bus that pauses if it would overrun a port that senders wait for.
enum class WhenFull : std::uint8_t {
  wait,     ///< waits until there is room, or the patience is over
  give_up,  ///< takes fewer frames, perhaps none
};

/// Threads: send, interrupt, counters and the setters from any; wait_until_up also while up or down
/// runs; the others from one at a time. In the child of a fork every call returns Errc::forked, and
/// the destructor leaves the parent's bus alone.
class Attachment {
 public:
  static Result<Attachment> attach(const std::string& path, const PortOptions& options);
  /// Attaches to the bus that is open as `descriptor`, whatever its path names by now.
  static Result<Attachment> attach(int descriptor, const std::string& path,
                                   const PortOptions& options);
  Attachment(Attachment&&) noexcept;
  Attachment& operator=(Attachment&&) noexcept;
  ~Attachment();  ///< frees the slot

  [[nodiscard]] std::error_code up() noexcept;
  [[nodiscard]] std::error_code down() noexcept;
  bool is_up() const noexcept;
  /// Whether this is the child of a fork. The child may only destroy the object.
  bool forked() const noexcept;

  SendResult send(std::span<const FrameView> frames, WhenFull when_full) noexcept;
  std::chrono::nanoseconds patience() const noexcept;  ///< of a sender; 0: it never waits
  ReceiveResult receive(FrameBatch& into) noexcept;
  ReceiveResult receive_in_place(FrameBatch& into) noexcept;
  std::size_t release() noexcept;
  bool wait(std::chrono::nanoseconds timeout) noexcept;
  bool wait_until_up() noexcept;
  void interrupt() noexcept;           ///< ends the waits of the receiver and of senders
  void interrupt_receiver() noexcept;  ///< ends no send() that waits for room

  int descriptor() noexcept;
  std::error_code descriptor_error() const noexcept;
  WaitHint prepare_wait() noexcept;  ///< announces sleep
  void finish_wait() noexcept;

  /// A descriptor that is readable while frames wait. Errors: no descriptor or thread is available,
  /// forked.
  Result<int> level_descriptor();
  /// Makes that descriptor agree with the ring; does nothing if there is none. Call it after each
  /// call above that receives or waits, and after up() and down(). `holds_frames`: the caller keeps
  /// frames for its program, so the descriptor is to be readable.
  void settle(bool holds_frames) noexcept;

  const std::string& path() const noexcept;
  const std::string& name() const noexcept;
  const std::string& warning()
      const noexcept;  ///< why this file is a poor place for a bus, or empty
  bool path_names_this_file() const noexcept;
  std::span<std::byte> memory() const noexcept;  ///< where the bus is mapped
  MacAddress mac() const noexcept;
  unsigned slot() const noexcept;
  std::uint32_t mtu() const noexcept;
  bool carries_offloads() const noexcept;  ///< whether frames may leave work to their receivers
  std::size_t max_frame() const noexcept;
  [[nodiscard]] std::error_code set_mac(MacAddress mac) noexcept;
  [[nodiscard]] std::error_code set_other_macs(std::span<const MacAddress> macs) noexcept;
  [[nodiscard]] std::error_code set_promiscuous(bool on) noexcept;
  [[nodiscard]] std::error_code set_carrier(bool on) noexcept;
  [[nodiscard]] std::error_code set_carrier_unknown() noexcept;
  bool has_carrier() const noexcept;
  PortCounters counters() const noexcept;
  std::uint64_t bus_frames() const noexcept;  ///< as Ring::frames()

 private:
  struct Impl;
  static Result<Attachment> attach(OpenFile file, const std::string& path,
                                   const PortOptions& options);
  explicit Attachment(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Follows a bus without a slot, through a read-only mapping. Threads: one at a time.
class Follower {
 public:
  static Result<Follower> open(const std::string& path, Start start, Resume resume,
                               bool take_offloads);
  Follower(Follower&&) noexcept;
  Follower& operator=(Follower&&) noexcept;
  ~Follower();

  /// Why it may hear other frames than the ports do; empty when all is well.
  const std::string& warning() const noexcept;

  ReceiveResult receive(FrameBatch& into) noexcept;
  /// Polls every 1 to 50 ms: it may not write, so it cannot announce that it sleeps.
  bool wait(std::chrono::nanoseconds timeout) noexcept;
  WaitHint prepare_wait() noexcept;
  void finish_wait() noexcept;
  PortCounters counters() const noexcept;
  std::uint64_t bus_frames() const noexcept;  ///< as Ring::frames()
  std::size_t max_frame() const noexcept;

 private:
  struct Impl;
  explicit Follower(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::bus
