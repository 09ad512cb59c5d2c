#include "perf/remote/frames.hpp"

#include <cstdint>

namespace shmif::perf {

namespace {
constexpr std::size_t kLengthBytes = 4;
}

void MessageReader::feed(std::string_view bytes) {
  if (read_ > buffer_.size() / 2) {
    buffer_.erase(0, read_);
    read_ = 0;
  }
  buffer_ += bytes;
}

Result<std::optional<std::string>> MessageReader::next() {
  const std::string_view rest = std::string_view(buffer_).substr(read_);
  if (rest.size() < kLengthBytes) return std::optional<std::string>();
  std::size_t length = 0;
  for (const char c : rest.substr(0, kLengthBytes)) {
    length = length << 8U | static_cast<std::uint8_t>(c);
  }
  if (length == 0 || length > max_bytes_) {
    return Error(Errc::bad_argument, "a message of " + std::to_string(length) +
                                         " bytes is announced, but only 1 to " +
                                         std::to_string(max_bytes_) + " are allowed");
  }
  if (rest.size() - kLengthBytes < length) return std::optional<std::string>();
  read_ += kLengthBytes + length;
  return std::optional<std::string>(rest.substr(kLengthBytes, length));
}

std::string with_length(std::string_view message) {
  const auto length = static_cast<std::uint32_t>(message.size());
  std::string out;
  out.reserve(kLengthBytes + message.size());
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(length >> shift & 0xffU);
  return out.append(message);
}

}  // namespace shmif::perf
