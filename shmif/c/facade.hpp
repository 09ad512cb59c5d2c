#pragma once
// What the calls of the C facade (shmif/shmif.h) share: errors as negative errno values with a
// message for the thread, exceptions as errors, structures of other versions, and frames, counters
// and times, for ports and for followers.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <utility>

#include "base/result.hpp"
#include "bus/frame.hpp"
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

/// For poll(): whole milliseconds, rounded up, -1 for no limit.
inline int to_poll_timeout(std::chrono::nanoseconds at_most) noexcept {
  if (at_most == std::chrono::nanoseconds::max()) return -1;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(at_most).count();
  return static_cast<int>(std::clamp<decltype(ms)>(ms, 0, INT_MAX));
}

/// A timeout that a program gave in milliseconds; below 0 means no limit.
inline std::chrono::nanoseconds to_timeout(int timeout_ms) noexcept {
  return timeout_ms < 0 ? std::chrono::nanoseconds::max() : std::chrono::milliseconds(timeout_ms);
}

/// Describes a frame of which `copied` bytes were handed out. The first description takes `lost`.
inline void tell(const FrameView& frame, std::size_t copied, std::uint64_t& lost,
                 shmif_frame_info* info) noexcept {
  if (info == nullptr) return;
  shmif_frame_info about{};
  about.lost = std::exchange(lost, 0);
  about.bytes = std::max(frame.true_bytes, static_cast<std::uint32_t>(frame.size()));
  about.truncated = about.bytes > copied ? 1 : 0;
  about.time_ns = frame.time_ns;
  about.number = frame.number;
  about.sender = frame.sender;
  hand_out(about, info);
}

/// Says that there is no frame, and what was lost.
inline void tell_no_frame(std::uint64_t& lost, shmif_frame_info* info) noexcept {
  if (info == nullptr) return;
  shmif_frame_info nothing{};
  nothing.lost = std::exchange(lost, 0);
  hand_out(nothing, info);
}

/// Copies as much of the frame as there is room for. Result: how much.
inline std::size_t copy_to(const iovec& buffer, const FrameView& frame) noexcept {
  const std::size_t bytes = std::min({frame.size(), buffer.iov_len, std::size_t{INT_MAX}});
  std::memcpy(buffer.iov_base, frame.bytes.data(), bytes);
  return bytes;
}

inline shmif_counters to_c(const PortCounters& now) noexcept {
  shmif_counters all{};
  all.tx_frames = now.tx_frames;
  all.tx_bytes = now.tx_bytes;
  all.rx_frames = now.rx_frames;
  all.rx_bytes = now.rx_bytes;
  all.own_frames = now.own_frames;
  all.filtered_frames = now.filtered_frames;
  all.skipped_frames = now.skipped_frames;
  all.overruns = now.overruns;
  all.lost_frames = now.lost_frames;
  all.lost_bytes = now.lost_bytes;
  all.corrupt = now.corrupt;
  all.wakeups = now.wakeups;
  all.doorbells = now.doorbells;
  all.lock_sleeps = now.lock_sleeps;
  all.pauses = now.pauses;
  all.paused_ns = now.paused_ns;
  all.tx_segments = now.tx_segments;
  all.rx_segments = now.rx_segments;
  all.too_long_frames = now.too_long_frames;
  all.refused_frames = now.refused_frames;
  return all;
}

}  // namespace shmif::c
