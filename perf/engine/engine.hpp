#pragma once
// Engines: where frames go. A Wire is made once, before any job starts; each job then opens an End
// of it, in its own thread or process. The load engine knows nothing else about the medium, so that
// the same generator and statistics run over each, and figures can be compared.
//
//   engine   a wire is                                              ends
//   bus      a bus file: the one named, or one made for the run     any number
//   tap      a network namespace with a bridge and a TAP per end    any number
//   packet   the same with veth pairs and packet sockets            any number
//   unix     a pair of datagram sockets                             2
//   udp      two UDP sockets, frames as payload                     2
//   pcap     a file: sent frames are recorded, or its are received  1
//   null     nothing: an end receives what it sends itself          1

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "bus/error.hpp"
#include "bus/result.hpp"
#include "perf/job/job_options.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

/// What an engine can do. A job that asks for more is refused before it starts.
struct Capabilities {
  bool sends = true;
  bool receives = true;
  bool addresses = true;      ///< frames reach the end with their destination's MAC, of several
  bool counts = false;        ///< the medium keeps counts of its own: End::counters()
  bool batches = false;       ///< many frames in one call cost less than one by one
  bool pauses = false;        ///< slow receivers hold up senders: an overrun is an error
  bool overruns = false;      ///< a receiver is told of what an overrun cost it
  std::size_t most_ends = 0;  ///< 0: any number
};

/// What the medium itself counted at one end; nothing where it counts no such thing.
struct WireCounters {
  std::optional<std::uint64_t> tx_frames, tx_bytes;
  std::optional<std::uint64_t> rx_frames, rx_bytes;  ///< as delivered to this end
  std::optional<std::uint64_t> lost_frames;          ///< by overruns of this end
  std::optional<std::uint64_t> overruns;
  std::optional<std::uint64_t> dropped_frames;  ///< by a full device or socket
};

/// What a fault link did to the frames of one direction. In such a link frames + duplicated is lost
/// + queue_full + under_way + what came out of it.
struct FaultsMade : FaultCounters {
  std::uint64_t under_way = 0;  ///< came in, and have not gone out
};

/// What the kernel says of a TCP connection (tcp(7), TCP_INFO), since it began.
struct TcpState {
  std::uint64_t retransmits = 0;  ///< segments
  std::uint64_t rtt_ns = 0, rttvar_ns = 0;
  std::uint64_t cwnd_bytes = 0, mss_bytes = 0, pmtu_bytes = 0;
  std::uint64_t send_buffer_bytes = 0, receive_buffer_bytes = 0;
  std::uint64_t dscp = 0;
  std::string congestion;
};

/// Whether a job cannot go on after this error, whatever it was told to go on after.
inline bool ends_the_medium(std::error_code error) noexcept {
  return is_final(error) || error == Errc::corrupt;
}

/// A job's access to a wire. Threads: one at a time, that which opened it. Blocks: where it says
/// so.
class End {
 public:
  End() = default;
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  virtual ~End() = default;

  /// As Link has them: what is not taken can be sent again, later, from there on.
  virtual SendResult send(std::span<const FrameView> frames) noexcept = 0;
  virtual ReceiveResult receive(FrameBatch& into) noexcept = 0;
  /// Sleeps until receive() would bring something, or a fault link has a frame to pass on, at most
  /// `at_most`, which is not negative.
  virtual void wait(std::chrono::nanoseconds at_most) noexcept = 0;
  /// Sleeps until send() would take something again, at most `at_most`. For an engine that cannot
  /// tell: a short while.
  virtual void wait_to_send(std::chrono::nanoseconds at_most) noexcept = 0;
  /// What an end had taken to send it later, and then could not.
  struct Unsent {
    std::size_t frames = 0;
    std::error_code error;  ///< why, if the medium said so
  };
  /// Sends what is left of that, and waits at most `patience` for a medium that is full. An error
  /// that came too late for a send() is told here. Nothing can be sent any more. Blocks: yes.
  virtual Unsent finish_sending(std::chrono::nanoseconds) noexcept { return {}; }
  virtual std::size_t max_frame_bytes() noexcept = 0;
  virtual MacAddress mac() const noexcept = 0;
  virtual std::string address() = 0;  ///< "bus:/tmp/bus0"
  virtual WireCounters counters() noexcept { return {}; }
  /// Nothing where frames do not go by TCP, or the kernel does not say. A system call or five.
  virtual std::optional<TcpState> tcp() noexcept { return std::nullopt; }
  /// What the fault links at this end did; nothing where there are none.
  virtual std::optional<FaultsMade> faults_sent() const noexcept { return std::nullopt; }
  virtual std::optional<FaultsMade> faults_received() const noexcept { return std::nullopt; }
};

struct EndOptions {
  std::string name;     ///< of the job, for the port table and messages
  std::size_t index{};  ///< which end of the wire, from 0
  MacAddress mac;       ///< that others send to
  /// Hears what is for others, too, as far as the medium can tell (bus).
  bool promiscuous = false;
  FaultOptions sent, received;
};

/// Threads: open_end() from any. After a fork the child may open ends, too.
class Wire {
 public:
  Wire() = default;
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  virtual ~Wire() = default;  ///< takes away what was made for it, in the process that made it

  virtual Capabilities capabilities() const noexcept = 0;
  virtual std::string address() const = 0;
  /// Errors: the medium's; not_supported where this machine cannot.
  virtual Result<std::unique_ptr<End>> open_end(const EndOptions& options) = 0;
};

/// What is made for the wire that `job` is on, for `ends` of them. Errors: the medium's;
/// not_supported; bad_argument for more ends than there can be; busy for a live medium without
/// allow_live (a bus with ports of others, an interface with addresses or routes).
Result<std::unique_ptr<Wire>> make_wire(const JobOptions& job, std::size_t ends);
/// The same without making anything, for checks.
Capabilities capabilities_of(EngineKind kind) noexcept;
/// Removes the buses that a child of ours made for its run and left behind, being killed. Call when
/// it has been waited for.
void remove_buses_of(pid_t process) noexcept;
const char* name_of(EngineKind kind) noexcept;

}  // namespace shmif::perf
