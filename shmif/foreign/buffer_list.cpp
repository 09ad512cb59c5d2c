#include "shmif/foreign/buffer_list.hpp"

#include <algorithm>

#include "bus/atomics.hpp"

namespace shmif {

std::span<std::byte> BufferCursor::piece(std::size_t bytes) noexcept {
  while (!buffers_.empty() && at_ == buffers_.front().bytes) {
    buffers_ = buffers_.subspan(1);
    at_ = 0;
  }
  if (buffers_.empty()) return {};
  const Buffer& buffer = buffers_.front();
  const std::span<std::byte> out{buffer.data + at_, std::min(bytes, buffer.bytes - at_)};
  at_ += out.size();
  return out;
}

std::size_t BufferCursor::write(std::span<const std::byte> from) noexcept {
  std::size_t done = 0;
  while (done < from.size()) {
    const std::span<std::byte> to = piece(from.size() - done);
    if (to.empty()) break;
    bus::copy_to_shared(to.data(), from.data() + done, to.size());
    done += to.size();
  }
  return done;
}

std::size_t BufferCursor::read(std::span<std::byte> into) noexcept {
  std::size_t done = 0;
  while (done < into.size()) {
    const std::span<std::byte> from = piece(into.size() - done);
    if (from.empty()) break;
    bus::copy_from_shared(into.data() + done, from.data(), from.size());
    done += from.size();
  }
  bus::fence_loads();  // no later use of the copy reads the shared bytes again
  return done;
}

}  // namespace shmif
