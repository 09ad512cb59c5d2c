#include "base/error.hpp"

#include <string>

namespace shmif {
namespace {

const char* text(Errc e) noexcept {
  switch (e) {
    case Errc::exists: return "the path exists already";
    case Errc::not_a_bus: return "not a shmif bus";
    case Errc::wrong_layout: return "a bus of another format version";
    case Errc::wrong_size: return "the file's size does not match its header";
    case Errc::not_ready: return "the file is empty or was never completed";
    case Errc::copied_file: return "the file is a copy of a bus";
    case Errc::unsupported_file_system: return "a bus cannot live on this file system";
    case Errc::not_a_regular_file: return "not a regular file";
    case Errc::bad_size: return "the ring size must be a power of two from 64K to 1G";
    case Errc::bad_mtu: return "the MTU must lie between 68 and 65521";
    case Errc::bad_patience:
      return "the patience must lie between 1 ms and 1 s, on a bus that pauses";
    case Errc::ring_too_small: return "the ring is too small for the MTU";
    case Errc::geometry_differs: return "the existing bus has another geometry";
    case Errc::table_full: return "the port table is full";
    case Errc::name_taken: return "a live port has that name already";
    case Errc::bad_name: return "a port name is 1 to 31 printable characters without spaces";
    case Errc::mac_taken: return "a live port has that MAC address already";
    case Errc::path_empty: return "the path is empty";
    case Errc::path_too_long: return "the path is too long";
    case Errc::not_linked: return "the port is not linked to a bus";
    case Errc::already_linked: return "the port is linked to a bus already";
    case Errc::port_up: return "not possible while the port is up";
    case Errc::port_down: return "the port is down";
    case Errc::frame_too_short: return "a frame has at least 14 bytes";
    case Errc::frame_too_long: return "the frame exceeds the MTU of the bus";
    case Errc::read_only: return "the bus is open for reading only";
    case Errc::no_room: return "stopped writers claim every part of the ring that is large enough";
    case Errc::corrupt: return "the shared memory is corrupt";
    case Errc::bus_lost: return "the bus file was truncated";
    case Errc::forked: return "not possible in the child of a fork";
    case Errc::busy: return "live ports are attached";
    case Errc::timed_out: return "timed out";
    case Errc::link_ended: return "the link has ended";
    case Errc::not_supported: return "not supported here";
    case Errc::bad_argument: return "an argument is out of range";
    case Errc::interrupted: return "interrupted";
    case Errc::lock_held:
      return "somebody has held its lock for a second (if that process is dead, 'shmifctl repair "
             "--force' frees the lock)";
  }
  return "unknown shmif error";
}

/// Maps errors to the errno values of NetBSD's shmif and of POSIX. The C facade returns these.
class Category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "shmif"; }
  std::string message(int value) const override { return text(static_cast<Errc>(value)); }
  std::error_condition default_error_condition(int value) const noexcept override {
    return std::make_error_condition(to_errno(static_cast<Errc>(value)));
  }

 private:
  static std::errc to_errno(Errc e) noexcept {
    switch (e) {
      case Errc::exists:
      case Errc::name_taken:
      case Errc::mac_taken: return std::errc::file_exists;
      case Errc::table_full:
      case Errc::no_room: return std::errc::no_space_on_device;
      case Errc::path_too_long: return std::errc::argument_list_too_long;
      case Errc::not_linked: return std::errc::no_such_device_or_address;
      case Errc::already_linked:
      case Errc::port_up:
      case Errc::lock_held:
      case Errc::busy: return std::errc::device_or_resource_busy;
      case Errc::port_down: return std::errc::network_down;
      case Errc::frame_too_long: return std::errc::message_size;
      case Errc::read_only: return std::errc::read_only_file_system;
      case Errc::corrupt:
      case Errc::bus_lost: return std::errc::io_error;
      case Errc::forked: return std::errc::operation_not_permitted;
      case Errc::timed_out: return std::errc::timed_out;
      case Errc::interrupted: return std::errc::interrupted;
      case Errc::link_ended: return std::errc::broken_pipe;
      case Errc::not_ready: return std::errc::resource_unavailable_try_again;
      case Errc::not_supported:
      case Errc::unsupported_file_system: return std::errc::operation_not_supported;
      default: return std::errc::invalid_argument;
    }
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

}  // namespace shmif
