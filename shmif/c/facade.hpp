#pragma once
// What the calls of the C facade (shmif/shmif.h) share: errors as negative errno values with a
// message for the thread, exceptions as errors, structures of other versions.

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "base/result.hpp"
#include "bus/info.hpp"
#include "shmif/bus.hpp"
#include "shmif/shmif.h"

namespace shmif::c {

/// The text that shmif_message() returns, per thread.
std::string& last_message() noexcept;

/// Keeps the message. Result: the negative errno value for `code`.
int fail(const std::error_code& code, std::string message);
int fail(const Error& error);
/// `what` begins with the name of the call.
int bad_argument(const char* what);

/// Runs `body`; an exception becomes the errno value that fits it best.
template <class Body>
int guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return -ENOMEM;  // without a message, which would need memory
  } catch (const std::exception& e) {
    try {
      return fail(std::make_error_code(std::errc::io_error), e.what());
    } catch (...) {
      return -EIO;
    }
  } catch (...) {
    return -EIO;
  }
}

/// A versioned structure as this library knows it. Members that the caller's structure lacks are 0.
template <class T>
T completed(const T* given) noexcept {
  T whole{};
  if (given != nullptr) std::memcpy(&whole, given, std::min(given->size, sizeof whole));
  whole.size = sizeof whole;
  return whole;
}

/// Gives the caller as many members of `whole` as its structure has room for.
template <class T>
void hand_out(T whole, T* to) noexcept {
  whole.size = to->size;
  std::memcpy(to, &whole, std::min(to->size, sizeof whole));
}

/// Whether the caller has set the size of its structure; NULL is allowed.
template <class T>
bool has_size(const T* given) noexcept {
  return given == nullptr || given->size >= sizeof given->size;
}

/// The i-th of an array whose elements have the size that the caller knows. The first has it.
template <class T>
T* info_at(T* infos, std::size_t i) noexcept {
  if (infos == nullptr) return nullptr;
  auto* const info = reinterpret_cast<T*>(reinterpret_cast<std::byte*>(infos) + i * infos->size);
  info->size = infos->size;
  return info;
}

BusOptions to_bus_options(const shmif_bus_options& given);
bool has_known_format(const shmif_bus_options& given) noexcept;

}  // namespace shmif::c
