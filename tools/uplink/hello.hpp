#pragma once
// The first line that each end of an uplink over ssh sends: which version it speaks, and how long
// frames may be. Records of frames follow (shmif/stream_link.hpp).
//
//   shmif-uplink 1 mtu=1500 name=b

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.hpp"

namespace shmif::tools {

struct Hello {
  static constexpr unsigned kVersion = 1;
  std::uint32_t mtu = 1500;  ///< of the bus
  std::string name = {};     ///< of the machine: letters, digits and "._-", at most 64

  std::string to_line() const;  ///< ends with '\n'
  /// Errors: bad_argument; the message says what is wrong with the line.
  static Result<Hello> parse(const std::string& line);
};

/// The name of this machine, with other characters replaced.
std::string machine_name();

/// Writes the line. Blocks: until `at_most` has passed. Errors: timed_out, an errno.
Result<void> send_hello(int out, const Hello& hello, std::chrono::milliseconds at_most);

/// What to serve while something else is awaited: `serve` is called when `descriptor` is readable.
struct Meanwhile {
  int descriptor = -1;
  std::function<void()> serve = {};
};

/// Reads until such a line has come, and not one byte more. Skips other lines, 64 KiB at most: a
/// login shell may greet. Blocks: until then, `at_most` has passed, or `stop` is readable. Errors:
/// interrupted, timed_out, link_ended, bad_argument, an errno.
Result<Hello> await_hello(int in, int stop, std::chrono::milliseconds at_most,
                          const Meanwhile& meanwhile = {});

}  // namespace shmif::tools
