#pragma once
// Attachment, Follower and Inspector: the interface of a bus for a port, for a reader, and from
// outside. It is the same for every format of the file. The formats implement these classes
// (bus/port/native_attachment.hpp, bus/netbsd/attachment.hpp). bus/format/format.hpp finds out the
// format of a file.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>

#include "base/fork_guard.hpp"
#include "base/result.hpp"
#include "bus/frame.hpp"
#include "bus/info.hpp"
#include "bus/port_options.hpp"

namespace shmif::bus {

/// What a sender does if its frames would overrun a port that senders wait for (on a bus that
/// pauses).
enum class WhenFull : std::uint8_t {
  wait,     ///< waits until there is room, or the patience is over
  give_up,  ///< takes fewer frames, or no frame at all
};

/// What does not change while a port is attached.
struct AttachedBus {
  std::string path;                      ///< as given
  std::string absolute_path;             ///< made absolute at the time of attaching
  std::uint64_t device = 0;              ///< of the mapped file
  std::uint64_t inode = 0;               ///< of the mapped file
  std::string warning;                   ///< what the user should know about this bus, or empty
  std::string disk_warning;              ///< why its disk makes it slow, or empty
  std::string name;                      ///< of the port
  unsigned slot = 0xffff;                ///< 0xffff: the format has no port table
  std::uint32_t mtu = 0;                 ///< of the bus
  std::size_t max_frame = 0;             ///< longest frame
  bool carries_offloads = false;         ///< whether frames may leave work to their receivers
  std::span<std::byte> memory{};         ///< where the bus is mapped
  std::chrono::nanoseconds patience{0};  ///< of a sender; 0: it never waits
};

/// `path`, made independent of the working directory; unchanged if that directory has no path now.
std::string absolute_path(const std::string& path);

/// A port's access to a bus. Threads: send, interrupt, counters and the setters from any;
/// wait_until_up also while up or down runs; the others from one at a time. In the child of a fork
/// every call returns Errc::forked, and the destructor leaves the parent's bus alone.
class Attachment {
 public:
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  virtual ~Attachment() = default;  ///< leaves the bus

  /// Whether this is the child of a fork. The child may only destroy the object.
  bool forked() const noexcept { return !base::is_this_process(token_); }
  const AttachedBus& bus() const noexcept { return bus_; }
  bool path_names_this_file() const noexcept;

  [[nodiscard]] virtual std::error_code up() noexcept = 0;
  [[nodiscard]] virtual std::error_code down() noexcept = 0;
  virtual bool is_up() const noexcept = 0;

  virtual SendResult send(std::span<const FrameView> frames, WhenFull when_full) noexcept = 0;
  virtual ReceiveResult receive(FrameBatch& into) noexcept = 0;
  virtual ReceiveResult receive_in_place(FrameBatch& into) noexcept = 0;
  virtual std::size_t release() noexcept = 0;
  virtual bool wait(std::chrono::nanoseconds timeout) noexcept = 0;
  virtual bool wait_until_up() noexcept = 0;
  virtual void interrupt() noexcept = 0;  ///< ends the waits of the receiver and of senders
  virtual void interrupt_receiver() noexcept = 0;  ///< ends no send() that waits for room

  virtual int descriptor() noexcept = 0;
  virtual std::error_code descriptor_error() const noexcept = 0;
  virtual WaitHint prepare_wait() noexcept = 0;  ///< announces sleep
  virtual void finish_wait() noexcept = 0;

  /// A descriptor that is readable while frames wait. Errors: the system has no descriptor or no
  /// thread for it; forked.
  virtual Result<int> level_descriptor() = 0;
  /// Makes that descriptor agree with the ring; does nothing if there is no such descriptor. Call
  /// it after each call above that receives or waits, and after up() and down(). `holds_frames`:
  /// the caller keeps frames for its program, so the descriptor must be readable.
  virtual void settle(bool holds_frames) noexcept = 0;

  virtual MacAddress mac() const noexcept = 0;
  /// This and set_promiscuous() are for the process that attached, and for a unicast address.
  [[nodiscard]] virtual std::error_code set_mac(MacAddress mac) noexcept = 0;
  [[nodiscard]] virtual std::error_code set_other_macs(
      std::span<const MacAddress> macs) noexcept = 0;
  [[nodiscard]] virtual std::error_code set_promiscuous(bool on) noexcept = 0;
  [[nodiscard]] virtual std::error_code set_carrier(bool on) noexcept = 0;
  [[nodiscard]] virtual std::error_code set_carrier_unknown() noexcept = 0;
  virtual bool has_carrier() const noexcept = 0;
  virtual PortCounters counters() const noexcept = 0;
  /// How many frames were sent so far, as Port::bus_frames().
  virtual std::uint64_t bus_frames() const noexcept = 0;

 protected:
  Attachment() = default;
  AttachedBus bus_;  ///< the implementation fills it in before anybody else sees the object

 private:
  std::uint64_t token_ = base::process_token();
};

/// Follows a bus without being one of its ports, through a read-only mapping. Threads: one at a
/// time.
class Follower {
 public:
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  virtual ~Follower() = default;

  /// Why it may hear other frames than the ports do, or another warning for the user; otherwise
  /// empty.
  virtual const std::string& warning() const noexcept = 0;
  virtual ReceiveResult receive(FrameBatch& into) noexcept = 0;
  /// Polls every 1 to 50 ms: it may not write, so it cannot announce that it sleeps.
  virtual bool wait(std::chrono::nanoseconds timeout) noexcept = 0;
  virtual WaitHint prepare_wait() noexcept = 0;
  virtual void finish_wait() noexcept = 0;
  virtual PortCounters counters() const noexcept = 0;
  virtual std::uint64_t bus_frames() const noexcept = 0;  ///< as Attachment::bus_frames()
  virtual std::size_t max_frame() const noexcept = 0;

 protected:
  Follower() = default;
};

/// Whether a port may have this name: 1 to 31 printable ASCII characters without spaces.
bool is_valid_name(const std::string& name) noexcept;

/// The checks that all formats have in common. Errors: bad_name; bad_argument for a MAC address
/// that is not unicast.
Result<void> check_options(const std::string& path, const PortOptions& options);

/// A bus seen from outside, for `stat`, `audit`, `repair` and `destroy`. Only repair disturbs the
/// bus. Threads: const members may run concurrently.
class Inspector {
 public:
  Inspector(const Inspector&) = delete;
  Inspector& operator=(const Inspector&) = delete;
  virtual ~Inspector() = default;

  virtual BusInfo info() const = 0;
  virtual AuditReport audit() const = 0;
  virtual Result<RepairReport> repair(const RepairOptions& options) = 0;
  /// The open file's descriptor, valid for the life of the inspector.
  virtual int descriptor() const noexcept = 0;
  virtual const std::string& path() const noexcept = 0;
  virtual const std::string& warning() const noexcept = 0;
  /// If the file is now on a file system that hides live ports: the name of that file system.
  /// Otherwise empty. The file may have been made elsewhere.
  virtual std::string hidden_by() const = 0;

 protected:
  Inspector() = default;
};

}  // namespace shmif::bus
