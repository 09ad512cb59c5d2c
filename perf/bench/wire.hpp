#pragma once
// What carries frames between processes, as the throughput trial sees it: shmif and its peers.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace shmif::bench {

/// The work of a trial.
struct Work {
  std::size_t frame_bytes = 60;  ///< without FCS, which travels nowhere
  std::size_t batch = 32;
  bool pause = false;            ///< senders wait for listeners, where the wire can do that
  bool sleep = false;            ///< listeners sleep when there is nothing, and do not poll
  bool in_place = false;         ///< they copy nothing, where the wire can do that
  bool look = false;             ///< they look at a word of each line of a frame, in place
  bool directly = false;         ///< datagrams: no bridge is between the sockets at `place`
  std::uint64_t ring_bytes = 0;  ///< of a bus; 0: as usual
  std::string place;             ///< a path, or two interfaces as "a,b", as the wire needs it
};

class Sender {
 public:
  virtual ~Sender() = default;
  /// Sends one batch. Result: how many frames were taken. Blocks: as the wire does, but not for
  /// ever.
  virtual std::size_t send() = 0;
};

struct Heard {
  std::uint64_t frames = 0;
  std::uint64_t lost = 0;  ///< as far as the wire tells
};

class Listener {
 public:
  virtual ~Listener() = default;
  /// Takes what is there, every byte of it into memory of its own, unless `in_place`. Blocks: 50 ms
  /// at most.
  virtual Heard hear() = 0;
};

/// One kind of wire. Senders and listeners are made in their own processes; made before is what
/// both need.
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
