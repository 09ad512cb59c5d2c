#pragma once
// The carriers of frames in the throughput trial: shmif and its peers.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace shmif::bench {

/// The work of a trial.
struct Work {
  std::size_t frame_bytes = 60;  ///< without FCS, which no wire carries
  bool imix = false;  ///< frames of 60, 590 and 1514 bytes, 7:4:1, if the wire can do that
  std::size_t batch = 32;
  bool pause = false;            ///< senders wait for listeners, if the wire can do that
  bool sleep = false;            ///< listeners without frames sleep and do not poll
  bool in_place = false;         ///< listeners do not copy frames, if the wire can do that
  bool look = false;             ///< listeners read a word of each cache line, in place
  bool directly = false;         ///< datagrams: without bridges between the sockets at `place`
  std::uint64_t ring_bytes = 0;  ///< of a bus; 0: the default
  std::string place;             ///< what the wire needs: a path, or two interfaces as "a,b"
};

class Sender {
 public:
  virtual ~Sender() = default;
  /// Sends one batch. Result: how many frames the wire took. Blocks: as the wire does, for a
  /// limited time.
  virtual std::size_t send() = 0;
};

struct Heard {
  std::uint64_t frames = 0;
  std::uint64_t lost = 0;  ///< 0 if the wire does not count losses
};

class Listener {
 public:
  virtual ~Listener() = default;
  /// Receives the waiting frames. Copies every byte into its own memory, unless `in_place`. Blocks:
  /// 50 ms at most.
  virtual Heard hear() = 0;
};

/// One kind of wire. Each sender and listener is made in its own process. The constructor of the
/// wire makes what both need, before the processes start.
class Wire {
 public:
  virtual ~Wire() = default;
  virtual std::unique_ptr<Listener> listener(unsigned number) = 0;
  virtual std::unique_ptr<Sender> sender(unsigned number) = 0;
};

std::unique_ptr<Wire> make_shmif_wire(const Work& work);
std::unique_ptr<Wire> make_copy_wire(const Work& work);
std::unique_ptr<Wire> make_locking_wire(const Work& work);
std::unique_ptr<Wire> make_unix_wire(const Work& work);
std::unique_ptr<Wire> make_packet_wire(const Work& work);
std::unique_ptr<Wire> make_packet_ring_wire(const Work& work);
std::unique_ptr<Wire> make_vde_wire(const Work& work);
std::unique_ptr<Wire> make_stream_wire(const Work& work);
std::unique_ptr<Wire> make_datagram_wire(const Work& work);

}  // namespace shmif::bench
