#pragma once
// The protocol by which a monitor learns which pages of a process are accessed, and how often
// (shmif/heat_share.hpp). Monitor and process talk over a SOCK_SEQPACKET socket on one machine.
// Each request is one message, and so is each answer.

#include <cstdint>

namespace shmif::heat {

inline constexpr const char* kVariable = "SHMIF_HEAT";
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kMaxRanges = 4096;  ///< in one request
inline constexpr std::uint32_t kMaxShares = 1024;  ///< in one answer

enum class Ask : std::uint32_t {
  /// Begins a session. The answer has the ranges, and an open descriptor of the process's own
  /// /proc/self/pagemap.
  hello = 1,
  /// The process write-protects the ranges in the message (if tells_writes), and drops its page
  /// table entries for them.
  drop = 2,
};

struct Request {
  Ask ask;
  std::uint32_t count;  ///< of the Ranges that follow
};
struct Range {
  std::uint64_t begin;
  std::uint64_t end;
};

struct Answer {
  std::uint32_t version;
  std::int32_t error;  ///< an errno, or 0 for success; EBUSY: another monitor is connected
  /// 1: the monitor can see which pages were written, because the pages that were not written are
  /// write-protected. 0: it cannot (before Linux 6.7).
  std::uint32_t tells_writes;
  std::uint32_t count;  ///< of the SharedRanges that follow, in an answer to hello
};
struct SharedRange {
  Range range;
  std::uint64_t inode;  ///< of the file, as in /proc/PID/maps
  char name[96];        ///< zero-terminated
  /// Of the file, as in /proc/PID/maps: major number << 32 | minor number. 0: a program of an older
  /// library, which does not say it; there the name could be longer.
  std::uint64_t device;
};
static_assert(sizeof(SharedRange) == 128, "programs of older libraries have this size, too");

}  // namespace shmif::heat
