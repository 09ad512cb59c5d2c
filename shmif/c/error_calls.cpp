// Errors and versions in the C facade.

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "shmif/bus.hpp"
#include "shmif/c/facade.hpp"
#include "shmif/shmif.h"

namespace shmif::c {

std::string& last_message() noexcept {
  thread_local std::string message;
  return message;
}

int fail(const std::error_code& code, std::string message) {
  last_message() = std::move(message);
  const int number = code.default_error_condition().value();
  return number > 0 ? -number : -EIO;
}

int fail(const Error& error) {
  return fail(error.code, error.message);
}

int bad_argument(const char* what) {
  return fail(make_error_code(Errc::bad_argument), what);
}

}  // namespace shmif::c

int shmif_install_sigbus_guard(void) {
  return shmif::c::guarded([] {
    if (shmif::install_sigbus_guard()) return 0;
    return shmif::c::fail(std::error_code(errno, std::generic_category()),
                          "cannot install the handler of SIGBUS");
  });
}

const char* shmif_version(void) {
  static_assert(std::string_view(SHMIF_HEADER_VERSION) == SHMIF_PROJECT_VERSION);
  return SHMIF_PROJECT_VERSION;
}

const char* shmif_strerror(int result) {
  switch (-result) {
    case 0: return "no error";
    case EEXIST: return "the path, the port's name or its MAC exists already";
    case EAGAIN: return "the bus is not ready: its creator has not finished";
    case ENOSPC:
      return "no room: on the disk, in the port table, or between the claims of stopped writers";
    case EINVAL: return "not a bus of this version, or an argument out of range";
    case E2BIG: return "the path is too long";
    case EMSGSIZE: return "the frame exceeds the MTU of the bus";
    case ENETDOWN: return "the port is down";
    case EINTR: return "interrupted while it waited for slow ports";
    case ENXIO: return "the port is not linked to a bus";
    case EIO: return "the bus is corrupt, or its file was truncated";
    case EPERM: return "not permitted, or in the child of a fork";
    case EOPNOTSUPP: return "this machine or file system cannot do it";
    default:
      return strerrordesc_np(-result) != nullptr ? strerrordesc_np(-result) : "unknown error";
  }
}

const char* shmif_message(void) {
  return shmif::c::last_message().c_str();
}
