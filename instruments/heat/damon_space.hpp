#pragma once
// Names the memory that DAMON watches, in the words of its users.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/heat/regions.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

enum class DamonSpace : std::uint8_t {
  vaddr,   ///< all mappings of processes
  fvaddr,  ///< given ranges of processes
  paddr,   ///< given ranges of physical memory, without a process
};

struct DamonMemory {
  DamonSpace space = DamonSpace::vaddr;
  std::vector<AddressRange> ranges{};  ///< not for vaddr; empty for paddr: all physical memory
  bool operator==(const DamonMemory&) const = default;
};

/// "vaddr", "fvaddr", "paddr"; the kernel calls these operations.
const char* to_word(DamonSpace space) noexcept;
/// Errors: Errc::bad_argument for any other word.
Result<DamonSpace> read_damon_space(std::string_view word);

/// Reads address ranges such as "0x1000-0x3000,16384-20480": hexadecimal with 0x, otherwise
/// decimal. Each consists of whole pages, at least one, and does not begin before the end of the
/// previous range. At most 1024. Errors: Errc::bad_argument, and the message names the wrong word.
/// The whole text is then ignored.
Result<std::vector<AddressRange>> read_address_ranges(std::string_view text);

/// The text that read_address_ranges() reads back.
std::string address_ranges_text(const std::vector<AddressRange>& ranges);

/// Reads a space and its ranges. Each may be missing (nullptr). Errors: Errc::bad_argument, also if
/// the two do not fit together: fvaddr needs ranges, and vaddr must not have any.
Result<DamonMemory> read_damon_memory(const std::string* space, const std::string* ranges);

/// The machine's memory, as /proc/iomem lists it ("System RAM"). Errors: EPERM if the kernel hides
/// the addresses from this user; Errc::not_supported if it does not list memory; the errno. Blocks:
/// while the kernel answers.
Result<std::vector<AddressRange>> physical_memory(const KernelFiles& files = KernelFiles());

}  // namespace shmif::perf
