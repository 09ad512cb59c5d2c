#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

/// What one call may touch: a walk over the whole ring a few times, and no more.
constexpr std::uint64_t kWalks = 40;

void look_at(const FrameBatch& batch, std::size_t max_frame, bool takes_offloads) {
  for (const FrameView& f : batch.frames()) {
    require(f.size() >= 14 || f.truncated(), "a frame without an Ethernet header");
    const std::size_t max = takes_offloads ? kMaxSuperFrameBytes : max_frame;
    require(f.size() <= max && f.true_bytes <= max, "a frame that is too long");
    require(takes_offloads || !f.offload.pending(), "work that is left to who takes none");
    unsigned sum = 0;
    for (const std::byte b : f.bytes) sum += std::to_integer<unsigned>(b);
    require(sum < 256U << 20U, "never");  // the bytes are there, says AddressSanitizer
  }
}

/// Whatever others wrote: in front of a record, or of an entry that begins within a shared record.
void look_at(const bus::RingReader::Place& place) {
  require(place.entries != 0 || place.offset == 0, "inside of a record, but no frame passed");
  require(place.offset >= place.entries * bus::entry_bytes(bus::kMinFrameBytes) &&
              place.offset % bus::kEntryAlign == 0 && place.offset <= bus::kMaxSharedBytes,
          "an offset where no entry can begin");
}

/// What else holds while nobody scribbles.
void look_at_in_peace(const bus::Ring& ring, const bus::RingReader::Place& place) {
  if (place.entries == 0) return;
  const std::uint64_t w = ring.word_at(place.position);
  require(bus::word::is_frame_at(w, place.position) && bus::word::is_shared(w),
          "inside of a record that has one frame");
  require(place.number == ring.number_at(place.position) + place.entries, "another frame's number");
  require(place.entries < ring.frames_of(w, place.position) &&
              place.offset < bus::word::body_bytes(w) &&
              ring.entry_at(place.position, place.offset, bus::word::body_bytes(w)) != 0,
          "behind the last entry of a record");
}

}  // namespace

void read(Bytes bytes) {
  Input in(bytes);
  const std::uint8_t options = in.byte();
  const bool takes_offloads = (options & 32U) != 0;
  BusImage& image = (options & 16U) != 0 ? BusImage::get_offloads() : BusImage::get();
  image.reset();
  const bus::Ring& ring = image.ring();
  bus::RingReader reader(ring, (options & 1U) != 0 ? &ring.slot(1) : nullptr, 1, 1,
                         (options & 2U) != 0, takes_offloads);
  if ((options & 4U) != 0) image.ambush(in);
  FrameBatch wide;
  FrameBatch narrow(3, 400);
  bus::RingReader::Place earlier;
  bool in_peace = (options & 4U) == 0;
  while (!in.empty()) {
    const bus::RingReader::Place before = reader.place();
    const AccessLimit limit(kWalks * image.records());
    bus::ReadTally tally;
    FrameBatch& batch = (options & 8U) != 0 ? narrow : wide;
    bool placed = true;
    switch (in.byte() % 8) {
      case 0: placed = reader.seek_end(); break;
      case 1: placed = reader.seek_oldest(); break;
      case 2:
        placed = reader.seek_to(
            (options & 64U) != 0 ? earlier : bus::RingReader::Place{.position = image.place(in)});
        break;
      case 3: static_cast<void>(reader.ready()); break;
      case 4: {
        const std::uint64_t position = image.place(in);
        reader.pass_over(position, in.word(3), tally);
        break;
      }
      case 5:
        batch.clear();
        reader.read_all(batch, tally);
        // Of a super-frame that is counted as one, the pieces come when there is room.
        require(tally.frames == batch.size() || (ring.carries_offloads() && !takes_offloads),
                "frames delivered are not the frames counted");
        look_at(batch, ring.max_frame(), takes_offloads);
        break;
      case 6: {
        batch.clear();
        reader.lend(batch, tally);
        look_at(batch, ring.max_frame(), takes_offloads);
        const std::size_t lent = reader.lent();
        require(lent == 0 || lent == batch.size(), "copies came with what is lent");
        const std::uint64_t copied = tally.frames;
        if (in.byte() % 2 != 0) {
          image.scribble(in);
          in_peace = false;
        }
        std::size_t torn = 0;
        reader.release(tally, torn);
        require(torn <= lent && reader.lent() == 0, "more is torn than was lent");
        require(tally.frames - copied == lent - torn,
                "frames that are whole are not those counted");
        break;
      }
      default:
        image.scribble(in);
        in_peace = false;
        break;
    }
    static_cast<void>(placed);
    require(ring.fits_alignment(reader.position()) || reader.position() > UINT64_MAX / 2,
            "a position where no record can begin");
    require(tally.corrupt != 0 || tally.lost_bytes == 0 ||
                tally.lost_bytes <= reader.position() - before.position,
            "more is lost than was passed");
    look_at(reader.place());
    if (in_peace) look_at_in_peace(ring, reader.place());
    if (before != reader.place()) earlier = before;
  }
}

}  // namespace shmif::fuzz
