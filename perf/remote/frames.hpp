#pragma once
// Messages on a byte stream: a length of four bytes, most significant first, then the message.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace shmif::perf {

/// Splits a stream into messages. It stores what has arrived, and does not allocate memory because
/// of a length that is only announced. Threads: one at a time. Blocks: never.
class MessageReader {
 public:
  explicit MessageReader(std::size_t max_bytes) : max_bytes_(max_bytes) {}
  /// Sets the limit from the next length on.
  void allow(std::size_t max_bytes) { max_bytes_ = max_bytes; }

  void feed(std::string_view bytes);
  /// The next complete message; empty: more must arrive. Errors: bad_argument for a length of 0 or
  /// above the limit; the rest of the stream is then useless.
  Result<std::optional<std::string>> next();
  /// Whether bytes are left. After next() has returned empty, they are the beginning of a message.
  bool has_part() const noexcept { return read_ != buffer_.size(); }

 private:
  std::size_t max_bytes_;
  std::string buffer_;
  std::size_t read_ = 0;  ///< position in the buffer
};

/// `message`, preceded by its length.
std::string with_length(std::string_view message);

}  // namespace shmif::perf
