#pragma once
// Where the parts of a bus file of our own format are, and what the format is called. For programs
// that draw or weigh the memory of a bus: they ask here, and know no layout.
//
// Threads: any. Blocks: never.

#include <cstdint>
#include <optional>

#include "base/result.hpp"

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

}  // namespace shmif::bus
