#pragma once
// Which memory DAMON watches, as its users name it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "perf/heat/regions.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

enum class DamonSpace : std::uint8_t {
  vaddr,   ///< all mappings of processes
  fvaddr,  ///< given ranges of processes
  paddr,   ///< given ranges of physical memory; without a process
};

struct DamonMemory {
  DamonSpace space = DamonSpace::vaddr;
  std::vector<AddressRange> ranges{};  ///< not for vaddr; of paddr, empty: all of it
  bool operator==(const DamonMemory&) const = default;
};

/// "vaddr", "fvaddr", "paddr", which the kernel calls operations.
const char* to_word(DamonSpace space) noexcept;
/// Errors: Errc::bad_argument for any other word.
Result<DamonSpace> read_damon_space(std::string_view word);

/// Address ranges as "0x1000-0x3000,16384-20480": hexadecimal with 0x, or else decimal. Each is of
/// whole pages, has at least one, and begins where the one before it ends, or behind that. At most
/// 1024. Errors: Errc::bad_argument, and the message names the word; nothing of the text counts
/// then.
Result<std::vector<AddressRange>> read_address_ranges(std::string_view text);

/// What read_address_ranges() reads back.
std::string address_ranges_text(const std::vector<AddressRange>& ranges);

/// A space and its ranges, each of which may be missing (nullptr). Errors: Errc::bad_argument for
/// what does not go together, too: fvaddr needs ranges, and vaddr has none.
Result<DamonMemory> read_damon_memory(const std::string* space, const std::string* ranges);

/// The machine's memory, as /proc/iomem lists it ("System RAM"). Errors: EPERM if the kernel hides
/// the addresses from this user; Errc::not_supported if it lists none; the errno.
/// Blocks: while the kernel answers.
Result<std::vector<AddressRange>> physical_memory(const KernelFiles& files = KernelFiles());

}  // namespace shmif::perf
