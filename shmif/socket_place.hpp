#pragma once
// Sockets that other programs know by a path, or by an address and a port. They are the far ends of
// stream: and dgram: links.

#include <chrono>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/socket_address.hpp"

namespace shmif {

/// Where a socket is.
struct SocketPlace {
  std::string text;                   ///< as given
  std::optional<SocketAddress> host;  ///< empty: `text` is a path
  SocketAddress address;              ///< the socket address of the host or the path
};

/// `text`: ADDRESS:PORT, or else a path, which may begin with "./". Errors: bad_argument for an
/// unknown host, an address without a port, a port without an address, a path that begins with "@"
/// or "~/", and a path that is too long for a socket. Blocks: for the name server.
Result<SocketPlace> parse_socket_place(const std::string& text);

/// A socket bound to a place. The destructor removes the socket file, unless another file has
/// taken its path.
class BoundSocket {
 public:
  /// `type`: SOCK_STREAM or SOCK_SEQPACKET, which then listens, or SOCK_DGRAM. A socket file whose
  /// program has ended is replaced. If several processes do this at the same time, one of them gets
  /// the place.
  /// Errors: address_in_use if a program serves the socket file; file_exists if the path is a file
  /// or a directory; timed_out; an errno. Blocks: while another process makes a socket in the
  /// directory, for a second at most.
  static Result<BoundSocket> bind(int type, const SocketPlace& place);
  BoundSocket(BoundSocket&&) noexcept = default;
  BoundSocket& operator=(BoundSocket&&) = delete;
  ~BoundSocket();

  int descriptor() const noexcept { return socket_.get(); }
  /// The next program that has connected; not open if no program has. Errors: an errno.
  Result<UniqueFd> accept() const;

 private:
  BoundSocket() = default;

  UniqueFd socket_;
  std::string path_;
  unsigned long inode_ = 0;
};

/// Connects to the program that listens at `place`. Result: not open if `stop` became readable
/// first. `at_most`: how long to wait; negative: as long as the system does.
/// Errors: timed_out; not_a_socket if the path leads to another kind of file; an errno. Blocks:
/// until it is connected.
Result<UniqueFd> connect_stream(const SocketPlace& place, int stop,
                                std::chrono::milliseconds at_most = std::chrono::milliseconds(-1));

/// Prepares a connected stream for small frames: TCP then sends them without delay.
void set_up_stream(int socket) noexcept;

}  // namespace shmif
