#pragma once
// Line: the bus side of a host or device. It is the port alone, until something is put between the
// port and the host while they run: faults, a cut, or ports that the host does not hear.
//
//        nothing set:          host --- port                the port itself: not one call more
//        cut, deaf or sorted:  host --- Gate --- port
//        faults:               host --- FaultLink --- Gate --- port
//
// A frame from the bus passes the gate first. So a frame that the host does not hear meets no
// fault, and takes no random number from one that it hears.

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "shmif/faults.hpp"
#include "shmif/link.hpp"
#include "shmif/port.hpp"

namespace shmif::tap {

/// Whether a host does not hear the sender of a frame: FrameView::sender, and
/// FrameView::sender_incarnation. Called for each frame from the bus: must not block.
using DeafTo = std::function<bool(std::uint16_t sender, std::uint32_t incarnation)>;

/// Whether a frame from the bus stays there, because the line does not lead to its receiver. Called
/// for each frame from the bus, also while the line is cut: must not block.
using StaysOnBus = std::function<bool(const FrameView& frame)>;

/// What a line has done so far. Frames that are not mentioned here passed.
struct LineCounters {
  FaultCounters received,           ///< what faults did to frames for the host
      sent;                         ///< what faults did to frames from the host
  std::uint64_t segments_made = 0;  ///< as FaultLink::segments_made()
  std::uint64_t refused = 0;        ///< as FaultLink::refused()
  std::uint64_t to_receive = 0;     ///< frames for the host that wait for a delay or bottleneck
  std::uint64_t to_send = 0;        ///< frames from the host that do
  std::uint64_t deaf = 0;           ///< frames from ports that the host does not hear
  std::uint64_t cut_received = 0;   ///< frames for the host that came while the line was cut
  std::uint64_t cut_sent = 0;       ///< frames that the host sent while the line was cut

  /// Adds the counters of another line.
  LineCounters& operator+=(const LineCounters& more) noexcept;
  /// What was counted since `before`, which are earlier counters of the same line.
  LineCounters since(const LineCounters& before) const noexcept;
};

/// Threads: one at a time. A function that changes the line (set_..., settle) is called while no
/// Bridge uses the link, or from a function given to Bridge::watch() of the bridge that does. Such
/// a bridge goes on with the changed line: it need not be made again, and no frame is lost or
/// doubled by the change itself. Blocks: never.
class Line {
 public:
  /// Takes over the port, which must not be null. Nothing is set: the line is the port itself.
  explicit Line(std::unique_ptr<Port> port);
  Line(Line&&) noexcept;             ///< the other may then only be assigned to or destroyed
  Line& operator=(Line&&) noexcept;  ///< loses the frames that wait, and the port that it had
  ~Line();                           ///< frames that wait for a delay or bottleneck are lost

  /// For a bridge. It stays at its address, whatever is set.
  AnyLink& link() noexcept;
  Port& port() noexcept;              ///< the port that the line took over
  const Port& port() const noexcept;  ///< the port that the line took over

  /// Sets other faults, for frames that come in from now on. If a way has no faults any more,
  /// the frames that wait there go on at once, in their order. Otherwise they keep their time, and
  /// no later frame overtakes them (but those that FaultOptions::match leaves alone). After none,
  /// the random numbers start again with the seed. Errors: an errno if no descriptor is available
  /// for the first faults; then nothing has changed.
  Result<void> set_faults(const LineFaults& faults);
  const LineFaults& faults() const noexcept;  ///< as set; none at first

  /// From now on, the host does not hear the ports for which `deaf` is true, and hears all others.
  /// An empty function: it hears all ports. The ports still hear the host.
  void set_deaf_to(DeafTo deaf);
  bool hears_all() const noexcept;  ///< no set_deaf_to() holds

  /// Frames for which `stays` is true do not pass the line: it is as if the bus had never offered
  /// them, and they are not counted here. For a port that hears all frames. An empty function: all
  /// frames pass.
  void set_sorter(StaysOnBus stays);

  /// Cuts the line, or joins it again. While it is cut, no frame passes in either direction. Frames
  /// that wait for a delay or bottleneck are lost when the line is cut. The host's interface does
  /// not notice; see GuestPort::set_link() and tap::set_carrier().
  void set_carrier(bool on);
  bool has_carrier() const noexcept;  ///< the line is not cut

  /// Frees what earlier changes left behind; the link becomes the port itself again if nothing is
  /// set and no frame waits. Call it now and then, for example each second.
  void settle();

  /// After the port was detached, or its bus was lost, and it is attached again: frames pass again
  /// with the same faults. Frames that waited are lost. Errors: as set_faults(); then no fault is
  /// set.
  Result<void> restart();

  /// What the line has done since it was made, whatever was set meanwhile.
  LineCounters counters() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
