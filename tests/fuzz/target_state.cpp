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
    std::uint64_t missing = 0;
    for (const auto& gap : ledger.gaps(ledger.end(), SIZE_MAX)) {
      require(gap.from < gap.to && !ledger.has(gap.from), "a gap is none");
      missing += gap.to - gap.from;
    }
    require(missing == ledger.end() - ledger.received(), "numbers do not add up");
  }
}

}  // namespace shmif::fuzz
