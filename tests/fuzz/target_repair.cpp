#include <memory>
#include <string>

#include "bus/format/format.hpp"
#include "bus/repair/audit.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/numbered_frames.hpp"

namespace shmif::fuzz {
namespace {

/// Frames of one port that another one hears, whole and in order, for more than a lap.
void expect_traffic(const std::string& path) {
  Port from({.name = "from"});
  Port to({.name = "to", .promiscuous = true});
  for (Port* port : {&from, &to}) {
    port->attach(path).value();
    require(!port->up(), "a port cannot be up after a repair");
  }
  test::NumberedBatch batch(from.max_frame_bytes());
  FrameBatch got;
  for (std::uint32_t sequence = 0; sequence < 60;) {
    const SendResult sent = from.send(batch.make(7, sequence, 12));
    require(!sent.error && sent.taken == 12, "nothing can be sent after a repair");
    for (const std::uint32_t end = sequence + 12; sequence < end;) {
      got.clear();
      const ReceiveResult r = to.receive(got);
      require(!r.error && r.lost == 0 && r.frames > 0, "nothing is heard after a repair");
      for (const FrameView& frame : got.frames()) {
        const auto n = test::check_numbered(frame);
        require(n && n->sequence == sequence++, "another frame than the one that was sent");
      }
    }
  }
}

/// As by who does not have the bus open, and can open it afterwards. Refused for good reasons only.
void repair_from_outside(const std::string& path, bool in_peace) {
  const auto done = Bus::repair(path, {.mtu = 1500, .force = true});
  if (!done) {
    require(!done.error().message.empty(), "a refusal without a reason");
  } else if (in_peace) {
    require(Bus::open(path, Access::read_write).has_value(), "a repaired bus does not open");
  }
}

}  // namespace

void repair(Bytes bytes) {
  BusImage& image = BusImage::get();
  image.reset();
  Input in(bytes);
  const std::uint8_t options = in.byte();
  static const std::unique_ptr<bus::Inspector> inspector =
      bus::inspect_bus(image.path(), Access::read_write).value();
  for (unsigned n = options >> 3U; n > 0; --n) image.scribble(in);
  if ((options & 1U) != 0) image.ambush(in);
  if ((options & 4U) != 0) {
    const AccessLimit limit(1000 * kRecords);
    repair_from_outside(image.path(), (options & 1U) == 0);
  }
  {
    const AccessLimit limit(1000 * kRecords);
    if (const auto done = inspector->repair({}); !done && (options & 1U) != 0) return;
  }
  if ((options & 1U) != 0) {  // somebody went on scribbling until now: once more in peace
    image.end_ambush();
    const auto done = inspector->repair({});
    require(done.has_value(), "a repair in peace fails");
  }
  const AuditReport report = inspector->audit();
  for (const AuditFinding& finding : report.findings) {
    if (finding.invariant != "P1" && finding.invariant != "P3") {
      failed((finding.invariant + " after a repair: " + finding.what).c_str());
    }
  }
  if ((options & 2U) != 0) expect_traffic(image.path());
}

}  // namespace shmif::fuzz
