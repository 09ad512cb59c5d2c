#pragma once
// Where the parts of a bus file of our own format are, what the format is called, what a bus is
// made with and what follows from that. For programs that draw, weigh or make a bus: they ask here,
// and know no layout.
//
// Threads: any. Blocks: never, but warning_of_disk().

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "bus/info.hpp"
#include "bus/limits.hpp"

namespace shmif::bus {

/// Bytes [begin, end) of a file.
struct FileRange {
  std::uint64_t begin = 0, end = 0;
  std::uint64_t bytes() const noexcept { return end - begin; }
};

/// The parts in the order of the file. Between the ports and the ring are unused bytes.
struct FileParts {
  FileRange header, ports, ring;
};

/// The parts of the file of a bus with a ring of this many bytes. The file ends with the ring.
FileParts parts_of_file(std::uint64_t ring_bytes) noexcept;

/// The bytes of a process's mapping of such a bus: the file, and the ring a second time behind it.
std::uint64_t mapped_bytes(std::uint64_t ring_bytes) noexcept;

/// The bytes of the ring of a bus whose mapping has `mapped` bytes. Result: empty if no bus is
/// mapped like that.
std::optional<std::uint64_t> ring_bytes_of_mapping(std::uint64_t mapped) noexcept;

/// Whether a bus can have a ring of this many bytes and this MTU. Result: bad_size, bad_mtu or
/// ring_too_small with the remedy.
Result<void> check_ring(std::uint64_t ring_bytes, std::uint32_t mtu);

/// Whether a record can begin or end at this position.
bool can_be_position(std::uint64_t position) noexcept;

/// What holds the lock of a bus, as its lock word names it (BusInfo::lock_holder).
enum class LockHolder : std::uint8_t { port, repair, nobody };
LockHolder kind_of_holder(unsigned slot) noexcept;

/// The number by which builds know each other's format: equal numbers, equal layouts. It is in the
/// header of each bus.
std::uint32_t format_signature() noexcept;

struct CreateOptions {
  std::uint64_t ring_bytes = kDefaultRingBytes;
  std::uint32_t mtu = 1500;
  std::uint32_t mode = 0600;
  Flow flow = Flow::ethernet;
  std::uint64_t patience_ns = 0;
};

/// Whether a bus of our own format with such a ring and MTU carries super-frames.
bool carries_super_frames(std::uint64_t ring_bytes, std::uint32_t mtu) noexcept;

/// Why the disk of the file behind `fd` makes a bus slow; empty if it does not. Blocks: for
/// fstatfs(2).
std::string warning_of_disk(int fd, const std::string& path);

}  // namespace shmif::bus
