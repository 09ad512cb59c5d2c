#pragma once
// Engines: where frames go. A Wire is made once, before any job starts. Each job then opens an End
// of it, in its own thread or process. The load engine uses the medium only through these, so the
// same generator and statistics run over each medium, and figures can be compared.
// `shmifperf options engine` lists the engines.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/error.hpp"
#include "base/result.hpp"
#include "perf/job/job_options.hpp"
#include "perf/stats/figure.hpp"
#include "shmif/link.hpp"
#include "shmif/mac.hpp"

namespace shmif::perf {

/// What an engine can do. A job that needs more is refused before it starts.
struct Capabilities {
  bool addresses = true;     ///< frames reach the end that has their destination MAC
  bool counts = false;       ///< the medium itself counts: End::counters()
  bool batches = false;      ///< many frames in one call cost less than single ones
  bool pauses = false;       ///< slow receivers delay senders, so an overrun is an error
  bool overruns = false;     ///< a receiver learns how much an overrun lost
  bool has_latency = true;   ///< frames arrive in the run that sent them, so they have a latency
  std::size_t max_ends = 0;  ///< 0: any number
};

/// What the medium itself counted at one end. A count is empty if the medium does not have it.
struct WireCounters {
  std::optional<std::uint64_t> tx_frames{}, tx_bytes{};
  std::optional<std::uint64_t> rx_frames{}, rx_bytes{};  ///< as delivered to this end
  std::optional<std::uint64_t> lost_frames{}, overruns{};
  bool lost_is_lower_bound = false;
  std::optional<std::uint64_t> dropped_frames{};
  std::optional<std::uint64_t> corrupt{};  ///< times that its shared memory was found corrupt
};
template <>
inline constexpr auto kRowsOf<WireCounters> = rows_of<WireCounters>({
    {"wire_tx_frames", &WireCounters::tx_frames, Sum::none, kInResult,
     "What the medium took from this job; null here and below: it does not count that."},
    {"wire_tx_bytes", &WireCounters::tx_bytes, Sum::none, kInResult},
    {"wire_rx_frames", &WireCounters::rx_frames, Sum::none, kInResult,
     "What the medium gave to this job."},
    {"wire_rx_bytes", &WireCounters::rx_bytes, Sum::none, kInResult},
    {"wire_lost_frames", &WireCounters::lost_frames, Sum::none, kInResult,
     "By overruns of this job."},
    {"wire_lost_is_lower_bound", &WireCounters::lost_is_lower_bound, Sum::none, kInResult,
     "Whether more frames may be lost than wire_lost_frames and overrun_frames say: a bus of "
     "NetBSD's format does not number its frames, or corruption was seen."},
    {"wire_overruns", &WireCounters::overruns, Sum::none, kInResult},
    {"wire_dropped_frames", &WireCounters::dropped_frames, Sum::none, kInResult,
     "By a full device or socket."},
    {"wire_corrupt", &WireCounters::corrupt, Sum::none, kInResult,
     "How often this job's port found the bus corrupt; then wire_lost_frames may be too low."},
});

/// What a fault link did to the frames of one direction. Then frames + duplicated = lost +
/// queue_full + under_way + frames that came out.
struct FaultsMade : FaultCounters {
  std::uint64_t under_way = 0;  ///< have come in and not gone out
};
template <>
inline constexpr auto kRowsOf<FaultsMade> = rows_of<FaultsMade>({
    {"frames", &FaultsMade::frames, Sum::none, kInResult, "That came in.", column("frames")},
    {"lost_frames", &FaultsMade::lost, Sum::none, kInResult, nullptr, column("lost")},
    {"duplicated_frames", &FaultsMade::duplicated, Sum::none, kInResult, nullptr,
     column("duplicated")},
    {"reordered_frames", &FaultsMade::reordered, Sum::none, kInResult, nullptr,
     column("reordered")},
    {"corrupted_frames", &FaultsMade::corrupted, Sum::none, kInResult, nullptr,
     column("corrupted")},
    {"truncated_frames", &FaultsMade::truncated, Sum::none, kInResult, "Came without their end",
     column("truncated")},
    {"queue_full_frames", &FaultsMade::queue_full, Sum::none, kInResult,
     "Dropped because too many waited.", column("queue full")},
    {"under_way_frames", &FaultsMade::under_way, Sum::none, kInResult,
     "Frames and copies that were still waiting for their time (delay, rate) when the job ended",
     column("still under way")},
});

/// What the kernel tells about a TCP connection (tcp(7), TCP_INFO), at one time. Figures that add
/// up are counted from the beginning: of the connection, or of the interval.
struct TcpSample {
  std::uint64_t retransmits = 0;
  std::uint64_t rtt_ns = 0, rttvar_ns = 0;
  std::uint64_t cwnd_bytes = 0, mss_bytes = 0, pmtu_bytes = 0;
};
inline constexpr Places kOfTcp = kInResult | kInStream | kInMessages;
template <>
inline constexpr auto kRowsOf<TcpSample> = rows_of<TcpSample>({
    {"retransmits", &TcpSample::retransmits, Sum::add, kOfTcp,
     "Segments sent again in the interval."},
    {"rtt_ns", &TcpSample::rtt_ns, Sum::newest, kOfTcp, "Smoothed round-trip time."},
    {"rttvar_ns", &TcpSample::rttvar_ns, Sum::newest, kOfTcp, "Its variation."},
    {"snd_cwnd_bytes", &TcpSample::cwnd_bytes, Sum::newest, kOfTcp,
     "Congestion window: segments times mss_bytes."},
    {"mss_bytes", &TcpSample::mss_bytes, Sum::newest, kOfTcp, "Payload of a segment that is sent."},
    {"pmtu_bytes", &TcpSample::pmtu_bytes, Sum::newest, kOfTcp, "MTU of the path."},
});

/// All that the kernel tells about a TCP connection since it began.
struct TcpState : TcpSample {
  std::uint64_t send_buffer_bytes = 0, receive_buffer_bytes = 0;
  std::uint64_t dscp = 0;
  std::string congestion;
};

/// Whether this error ends a job even if its options say to continue.
inline bool ends_the_medium(std::error_code error) noexcept {
  return is_final(error) || error == Errc::corrupt;
}

/// A job's access to a wire. Threads: one at a time, the one that opened it. Blocks: only where
/// stated.
class End {
 public:
  End() = default;
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  virtual ~End() = default;

  /// As in Link: frames that were not taken can be sent again later.
  virtual SendResult send(std::span<const FrameView> frames) noexcept = 0;
  virtual ReceiveResult receive(FrameBatch& into) noexcept = 0;
  /// Whether lend() avoids the copy that receive() makes.
  virtual bool lends() const noexcept { return false; }
  /// As receive(), but others may overwrite the frames, even while they are read. Call give_back()
  /// before you use what you computed from them, and before you receive again.
  virtual ReceiveResult lend(FrameBatch& into) noexcept { return receive(into); }
  /// Gives back what lend() lent. Result: N: the first N of these frames were overwritten, the
  /// others are whole.
  virtual std::size_t give_back() noexcept { return 0; }
  /// Sleeps until receive() would return frames, or a fault link must pass on a frame; at most
  /// `at_most`, which is not negative.
  virtual void wait(std::chrono::nanoseconds at_most) noexcept = 0;
  /// Sleeps until send() would take frames again, at most `at_most`. If the engine cannot tell, it
  /// sleeps a short while.
  virtual void wait_to_send(std::chrono::nanoseconds at_most) noexcept = 0;
  /// Frames that an end took to send later, and then could not send.
  struct Unsent {
    std::size_t frames = 0;
    std::error_code error;  ///< why, if the medium said so
  };
  /// Sends what is left of the frames taken, and waits at most `patience` for a full medium. Errors
  /// too late for a send() are returned here. Afterwards no frame can be sent. Blocks: yes.
  virtual Unsent finish_sending(std::chrono::nanoseconds) noexcept { return {}; }
  virtual std::size_t max_frame_bytes() noexcept = 0;
  virtual std::string address() = 0;  ///< "bus:/tmp/bus0"
  virtual WireCounters counters() noexcept { return {}; }
  /// How many frames of the medium, for this end or for others, it has not read yet. 0 if all of
  /// them are for others; empty if the medium does not tell.
  virtual std::optional<std::uint64_t> unread() noexcept { return std::nullopt; }
  /// Empty if frames do not use TCP, or if the kernel does not tell. Up to five system calls.
  virtual std::optional<TcpState> tcp() noexcept { return std::nullopt; }
  /// What the fault links at this end did; empty if there are none.
  virtual std::optional<FaultsMade> faults_sent() const noexcept { return std::nullopt; }
  virtual std::optional<FaultsMade> faults_received() const noexcept { return std::nullopt; }
};

struct EndOptions {
  std::string name;     ///< of the job; for the port table and messages
  std::size_t index{};  ///< which end of the wire, from 0
  MacAddress mac;       ///< address that others send to
  /// Receives frames for others, too, if the medium can deliver them (bus).
  bool promiscuous = false;
  FaultOptions sent, received;
};

/// Threads: open_end() from any. After a fork the child may open ends, too.
class Wire {
 public:
  Wire() = default;
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  virtual ~Wire() = default;  ///< removes what was made for it, in the process that made it

  virtual Capabilities capabilities() const noexcept = 0;
  virtual std::string address() const = 0;
  /// Errors: the medium's; not_supported if this machine cannot do it.
  virtual Result<std::unique_ptr<End>> open_end(const EndOptions& options) = 0;
};

/// How a job hands its frames to the system.
enum class Through : std::uint8_t {
  memory,   ///< not at all
  sockets,  ///< by send(2) and recv(2)
  files,    ///< by read(2) and write(2)
};

/// An engine. Its file defines its row, and engine.cpp lists the rows.
struct Engine {
  EngineKind kind;
  const char* name;  ///< in job files
  const char* wire;  ///< what a wire of it is, for the documentation
  Capabilities capabilities;
  Through through;
  /// Frames pass network interfaces, whose drops can hold back a job.
  bool passes_network = true;
  /// Another job of the run receives what a job sends.
  bool has_receiver = true;
  /// As make_wire(), which has checked that `ends` is no more than the capabilities allow.
  Result<std::unique_ptr<Wire>> (*make_wire)(const JobOptions& job, std::size_t ends);
  /// Engines that work if this machine or this user cannot have the devices.
  const char* instead = "; engine=bus, unix and udp need no namespace";
};
/// In the order in which they are shown.
std::span<const Engine* const> engines() noexcept;
const Engine& engine_of(EngineKind kind) noexcept;
inline const char* name_of(EngineKind kind) noexcept {
  return engine_of(kind).name;
}

/// Makes the wire that `job` is on, with `ends` ends. Errors: the medium's; not_supported;
/// bad_argument for too many ends; busy for a live medium without allow_live (a bus with other
/// ports, an interface with addresses or routes).
Result<std::unique_ptr<Wire>> make_wire(const JobOptions& job, std::size_t ends);
/// Removes the buses that a killed child of this process made for its run. Call it after waiting
/// for the child.
void remove_buses_of(pid_t process) noexcept;

/// The name of the port of a job on a bus: the job's name, with characters replaced that a port's
/// name cannot have.
std::string bus_port_name(const EndOptions& options);

}  // namespace shmif::perf
