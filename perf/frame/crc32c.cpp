#include "perf/frame/crc32c.hpp"

#include <isa-l/crc.h>

namespace shmif::perf {

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) noexcept {
  // iSCSI has this CRC. The library's signature lacks a const.
  auto* const data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
  return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~before);
}

}  // namespace shmif::perf
