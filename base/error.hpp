#pragma once
// Every way in which an operation on a bus can fail, as std::error_code values. "An errno" in a
// list of errors is that of a system call that failed. Expected outcomes (nothing to read, a
// reader that was lapped) are not errors: see ReadStatus in bus/ring/ring.hpp and ReceiveResult in
// shmif/link.hpp.

#include <system_error>

namespace shmif {

/// The errors of this library. They convert to std::error_code, and compare equal to it.
enum class Errc {
  exists = 1,               ///< create: the path already names something
  not_a_bus,                ///< the file does not begin with the magic of a bus
  wrong_layout,             ///< a bus, but of another format version
  wrong_size,               ///< the file's size does not fit the geometry in its header
  not_ready,                ///< the file is empty, or its creator has not finished
  copied_file,              ///< the header names another inode: somebody copied the file
  unsupported_file_system,  ///< overlay, NFS, FUSE, 9p: processes would see different data
  not_a_regular_file,       ///< a directory, a device, a FIFO, a symbolic link
  bad_size,                 ///< ring size not a power of two between 64 KiB and 1 GiB
  bad_mtu,                  ///< MTU outside 68..65521
  bad_patience,             ///< not 1 ms..1 s on a bus that pauses, or not 0 on others
  ring_too_small,           ///< the ring does not hold eight records of the MTU
  geometry_differs,         ///< attach asks for another ring size or MTU than the bus has
  table_full,               ///< all port slots are taken by live ports
  name_taken,               ///< a live port of that name is attached
  bad_name,                 ///< a port name that is empty, too long or not printable
  mac_taken,                ///< a live port with that MAC address is attached
  path_empty,               ///< attach: empty path (EINVAL in NetBSD)
  path_too_long,            ///< attach: path longer than PATH_MAX (E2BIG in NetBSD)
  not_linked,               ///< the port is not attached to a bus (ENXIO, as in NetBSD)
  already_linked,           ///< the port is already attached (EBUSY in NetBSD)
  port_up,                  ///< not possible while the port is up (EBUSY in NetBSD)
  port_down,                ///< sending while the port is down
  frame_too_short,          ///< less than the 14 bytes of an Ethernet header
  frame_too_long,           ///< longer than the MTU of the bus allows
  read_only,                ///< the bus is open for reading only
  no_room,                  ///< claims of stopped writers leave no room for the frame
  corrupt,                  ///< shared memory holds a value that no correct writer writes
  bus_lost,                 ///< the file was truncated below a mapping
  forked,                   ///< called in the child of a fork; only the parent owns the mapping
  busy,                     ///< live ports are attached
  timed_out,                ///< the wait ended before the awaited event
  link_ended,               ///< the link will never give or take a frame again (device gone, EOF)
  not_supported,            ///< this machine or file cannot do it
  bad_argument,             ///< an argument outside its documented range
  interrupted,              ///< interrupt() ended a send that waited for room
  lock_held,                ///< somebody has held the lock of a bus of NetBSD's format for a second
};

/// The category of Errc, named "shmif". Thread-safe.
const std::error_category& error_category() noexcept;

/// The error code of `e`, in error_category(). The conversion from Errc uses it. Threads: safe.
inline std::error_code make_error_code(Errc e) noexcept {
  return {static_cast<int>(e), error_category()};
}

}  // namespace shmif

// Doxygen cannot place a specialization of a class in std.
/// @cond
template <>
struct std::is_error_code_enum<shmif::Errc> : std::true_type {};
/// @endcond
