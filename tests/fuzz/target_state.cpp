#include <algorithm>
#include <cstring>
#include <vector>

#include "perf/frame/crc32c.hpp"
#include "perf/verify/verify_state.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

constexpr std::size_t kHeaderBytes = 16;

/// What a fuzzer does not come by: the magic, the version and the checksum of the rest.
void make_genuine(std::vector<std::byte>& file) {
  const std::vector<std::byte> genuine = perf::encode_verify_state({});
  std::copy_n(genuine.begin(), kHeaderBytes, file.begin());
  const std::uint32_t crc = perf::crc32c(std::span(file).subspan(kHeaderBytes));
  std::memcpy(&file[12], &crc, sizeof crc);
}

}  // namespace

void state(Bytes bytes) {
  Input in(bytes);
  const std::uint8_t options = in.byte();
  const Bytes content = in.rest();
  std::vector<std::byte> file((options & 1U) != 0 ? 0 : kHeaderBytes);
  const auto body = std::as_bytes(content);
  file.insert(file.end(), body.begin(), body.end());
  if ((options & 2U) != 0 && !file.empty()) {
    // The bits of a chunk are more than a fuzzer writes.
    const std::byte last = file.back();
    file.insert(file.end(), 8191, last);
  }
  if ((options & 1U) == 0) make_genuine(file);
  const auto loaded = perf::decode_verify_state(file, "it");
  if (!loaded) {
    require(!loaded.error().message.empty(), "a refusal without a reason");
    return;
  }
  require(perf::encode_verify_state(*loaded) == file, "what is loaded is not what was saved");
  for (const perf::FlowState& flow : loaded->flows) {
    const perf::SequenceLedger& ledger = flow.received;
    const std::uint64_t end = ledger.end();
    require(end == 0 || ledger.has(end - 1), "the greatest number has not arrived");
    std::uint64_t before = 0;
    for (const auto& gap : ledger.gaps(0, end, SIZE_MAX)) {
      require(before <= gap.from && gap.from < gap.to && gap.to < end, "a gap is none");
      require(!ledger.has(gap.from) && !ledger.has(gap.to - 1), "a number in a gap has arrived");
      require(gap.from == 0 || ledger.has(gap.from - 1), "a gap begins too late");
      require(ledger.has(gap.to), "a gap ends too early");
      before = gap.to + 1;
    }
  }
}

}  // namespace shmif::fuzz
