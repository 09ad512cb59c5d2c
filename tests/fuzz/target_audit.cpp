#include <memory>

#include "bus/format/format.hpp"
#include "bus/repair/audit.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {

void audit(Bytes bytes) {
  BusImage& image = BusImage::get();
  image.reset();
  Input in(bytes);
  const std::uint8_t options = in.byte();
  static const std::unique_ptr<bus::Inspector> inspector =
      bus::inspect_bus(image.path(), Access::read_only).value();
  for (unsigned n = options >> 4U; n > 0; --n) image.scribble(in);
  if ((options & 1U) != 0) image.ambush(in);
  const AccessLimit limit(60 * 4 * kRecords);  // 50 looks, each of at most the whole ring
  if ((options & 2U) != 0) {
    const BusInfo info = inspector->info();
    require(info.ports.size() <= bus::kSlots, "more ports than slots");
  } else {
    const AuditReport report = inspector->audit();
    require(report.records <= kRecords, "more records than fit");
  }
}

}  // namespace shmif::fuzz
