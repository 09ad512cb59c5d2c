#pragma once
// Messages on a stream of bytes: four bytes of length, the most significant first, then the
// message.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "bus/result.hpp"

namespace shmif::perf {

/// Cuts a stream into messages. It keeps what has arrived and never makes room for what a length
/// promises. Threads: one at a time. Blocks: never.
class MessageReader {
 public:
  explicit MessageReader(std::size_t most_bytes) : most_bytes_(most_bytes) {}
  /// From the next length on.
  void allow(std::size_t most_bytes) { most_bytes_ = most_bytes; }

  void feed(std::string_view bytes);
  /// The next whole message; nothing: more must arrive. Errors: bad_argument, for a length of 0 or
  /// of more than is allowed; then nothing that follows means anything.
  Result<std::optional<std::string>> next();

 private:
  std::size_t most_bytes_;
  std::string buffer_;
  std::size_t read_ = 0;  ///< of the buffer
};

/// `message` with its length before it.
std::string with_length(std::string_view message);

}  // namespace shmif::perf
