#include "tests/fuzz/bus_image.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "shmif/bus.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/super_frames.hpp"

namespace shmif::fuzz {
namespace {

using bus::BusHeader;
using bus::PortSlot;

constexpr std::size_t kNearSlots = 16;  // the others are reset only when a scribble went there

BusImage* current = nullptr;  // the last that was reset
Input* ambushes = nullptr;
std::uint64_t until_ambush = 0;
void (*other_scribble)(Input&) = nullptr;  // of memory that is no bus
std::uint64_t accesses_left = UINT64_MAX;

struct Field {
  std::size_t offset, bytes;
};
constexpr std::array kHeaderFields{
    Field{offsetof(BusHeader, magic), 8},       Field{offsetof(BusHeader, layout_signature), 4},
    Field{offsetof(BusHeader, ready), 4},       Field{offsetof(BusHeader, ring_bytes), 8},
    Field{offsetof(BusHeader, slot_count), 4},  Field{offsetof(BusHeader, mtu), 4},
    Field{offsetof(BusHeader, max_record), 4},  Field{offsetof(BusHeader, inode), 8},
    Field{offsetof(BusHeader, created_ns), 8},  Field{offsetof(BusHeader, lock), 8},
    Field{offsetof(BusHeader, lock), 8},        Field{offsetof(BusHeader, wish), 8},
    Field{offsetof(BusHeader, first), 8},       Field{offsetof(BusHeader, first), 8},
    Field{offsetof(BusHeader, last), 8},        Field{offsetof(BusHeader, last), 8},
    Field{offsetof(BusHeader, sleepers), 8},    Field{offsetof(BusHeader, deep_sleepers), 8},
    Field{offsetof(BusHeader, epoch), 8},       Field{offsetof(BusHeader, takeovers), 8},
    Field{offsetof(BusHeader, slots_used), 8},  Field{offsetof(BusHeader, flow), 4},
    Field{offsetof(BusHeader, patience_ns), 8},
};
constexpr std::array kSlotFields{
    Field{offsetof(PortSlot, state), 8},        Field{offsetof(PortSlot, state), 1},
    Field{offsetof(PortSlot, pid), 4},          Field{offsetof(PortSlot, flags), 4},
    Field{offsetof(PortSlot, mac), 8},          Field{offsetof(PortSlot, link), 4},
    Field{offsetof(PortSlot, name), 8},         Field{offsetof(PortSlot, claim_owner), 8},
    Field{offsetof(PortSlot, claim_commit), 8}, Field{offsetof(PortSlot, claim_begin), 8},
    Field{offsetof(PortSlot, claim_end), 8},    Field{offsetof(PortSlot, futex), 4},
    Field{offsetof(PortSlot, bell), 4},         Field{offsetof(PortSlot, rung_position), 8},
    Field{offsetof(PortSlot, rung_number), 8},  Field{offsetof(PortSlot, deep_ticket), 4},
    Field{offsetof(PortSlot, position), 8},     Field{offsetof(PortSlot, next_number), 8},
    Field{offsetof(PortSlot, lost_frames), 8},  Field{offsetof(PortSlot, learned), 8},
    Field{offsetof(PortSlot, stalls), 8},       Field{offsetof(PortSlot, waits_for), 4},
    Field{offsetof(PortSlot, read_inside), 8},
};

void send_super_frame(Port& from, unsigned seed) {
  const test::Shape shape{.v6 = seed % 2 != 0, .tcp = seed % 3 != 0};
  auto frame = test::build(shape, 1 + seed * 977U % 9000U, seed);
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  FrameView view(frame.data(), frame.size());
  view.offload = test::header_for(shape, 1400);
  if (from.send({&view, 1}).error) failed("the image cannot be made");
}

/// A batch of short frames, which share a record: for everybody, for port one, or for nobody.
/// Result: the bytes that they take.
std::uint64_t send_short_frames(Port& from, std::uint32_t seed) {
  constexpr std::array kTo{test::kBroadcast, MacAddress::from_u64(0x020000000001),
                           MacAddress::from_u64(0x0200000000ff)};
  constexpr std::size_t kLongest = 200;
  std::array<std::array<std::byte, kLongest>, 40> room;
  std::array<FrameView, room.size()> frames;
  const std::size_t count = seed % 8 == 0 ? room.size() : 2 + seed % 7U;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = count == room.size() ? 60 : 14 + (seed + i) * 31U % (kLongest - 13);
    test::write_numbered(room[i], size, 0, seed, kTo[(seed + i * i) % kTo.size()]);
    frames[i] = FrameView(std::span(room[i]).first(size));
  }
  const std::span<const FrameView> batch = std::span(frames).first(count);
  if (from.send(batch).error) failed("the image cannot be made");
  return test::plan_batch(batch).bytes;
}

/// Frames of many sizes, some for everybody and some for nobody, past the second wrap.
void fill(Port& from, std::uint64_t bytes) {
  test::NumberedBatch batch(from.max_frame_bytes());
  std::uint32_t sequence = 0;
  for (std::uint64_t sent = 0; sent < bytes; ++sequence) {
    const MacAddress to =
        sequence % 4 == 0 ? MacAddress::from_u64(0x020000000001) : test::kBroadcast;
    batch.fix_size(14 + sequence * 97U % 700U);
    // Of four long ones, the records are alike.
    const auto frames = batch.make(0, sequence, sequence % 8 == 5 ? 4 : 1, to);
    if (from.send(frames).error) failed("the image cannot be made");
    sent += test::plan_batch(frames).bytes;
    if (sequence % 3 == 0) sent += send_short_frames(from, sequence);
    if (from.takes_offloads() && sequence % 8 == 0) send_super_frame(from, sequence);
  }
}

}  // namespace

void failed(const char* what) noexcept {
  accesses_left = UINT64_MAX;
  std::fprintf(stderr, "failed: %s\n", what);
  std::abort();
}

BusImage& BusImage::get() {
  static BusImage image({.ring_bytes = kRingBytes, .mtu = 1500});
  return image;
}

BusImage& BusImage::get_offloads() {
  static BusImage image({.ring_bytes = 1U << 20U,
                         .mtu = 1500,
                         .flow = Flow::pause,
                         .patience = std::chrono::milliseconds(1)});
  return image;
}

BusImage::BusImage(const BusOptions& options) {
  end_ambush();  // of a run with another image, whose input is gone
  directory_ = "/dev/shm/shmif-fuzz-XXXXXX";
  if (mkdtemp(directory_.data()) == nullptr) failed("no directory in /dev/shm");
  path_ = directory_ + "/bus";
  Bus::create(path_, options).value();
  const bool offloads = options.carries_offloads();
  ports_.emplace_back(PortOptions{
      .name = "one", .mac = MacAddress::from_u64(0x020000000001), .take_offloads = offloads});
  ports_.emplace_back(PortOptions{.name = "two", .promiscuous = true, .learn = true});
  for (Port& port : ports_) {
    port.attach(path_).value();
    if (port.up()) failed("the image cannot be made");
  }
  raw_ = std::make_unique<test::RawBus>(path_);
  fill(ports_[0], 2 * options.ring_bytes + 7000);
  // A writer that died in the middle of a batch; the next one goes around, and finds it dead.
  PortSlot& dead = raw_->slot(kDeadSlot);
  std::strcpy(dead.name, "dead");
  dead.mac = 0x020000000003;
  dead.state = bus::slot_state(bus::SlotState::live, 5);
  const std::uint64_t end = raw_->header().last;
  raw_->claim(kDeadSlot, end, end, end + 3000);
  fill(ports_[1], 9000);
  if (options.flow == Flow::pause) {  // senders lost patience with them meanwhile
    for (const Port& port : ports_) bus::fetch_or(raw_->slot(port.slot()).flags, bus::kFlagPause);
  }

  fixed_ = raw_->header();
  pristine_.assign(base(), base() + bus::file_bytes(ring().bytes()));
  std::uint64_t p = raw_->header().first;
  for (std::uint64_t step = 1; step != 0; p += step) {
    chain_.push_back(p);
    step = ring().step(ring().word_at(p), p);
  }
  if (chain_.size() < 100) failed("the image is not what it should be");
}

BusImage::~BusImage() {
  reset();
  ports_.clear();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void BusImage::reset() noexcept {
  end_ambush();
  current = this;
  const std::size_t slots = far_slots_touched_ ? bus::kSlots : kNearSlots;
  std::memcpy(base(), pristine_.data(), bus::kHeaderBytes + slots * sizeof(PortSlot));
  std::memcpy(base() + bus::kRingOffset, pristine_.data() + bus::kRingOffset, ring().bytes());
  far_slots_touched_ = false;
}

std::uint64_t BusImage::place(Input& input) const noexcept {
  const std::uint8_t how = input.byte();
  std::uint64_t p = 0;
  if ((how & 1U) != 0) {
    p = chain_[input.below(chain_.size())];
  } else {
    p = (how & 2U) != 0 ? chain_.back() : chain_.front();
  }
  if ((how & 4U) != 0) p += std::uint64_t{input.byte()} * bus::kRecordAlign;
  if ((how & 8U) != 0) p -= std::uint64_t{input.byte()} * bus::kRecordAlign;
  switch (how >> 4U) {
    case 0: p += ring().bytes(); break;
    case 1: p -= ring().bytes(); break;
    case 2: p += input.byte(); break;  // where no record can begin
    case 3: p = UINT64_MAX - 2 * bus::kMaxRingBytes - p % ring().bytes(); break;
    case 4: p += 1ULL << (input.byte() % 64U); break;
    default: break;
  }
  return p;
}

std::uint64_t BusImage::value(Input& input, std::uint64_t old) const noexcept {
  const std::uint8_t how = input.byte();
  if (how >= 246) return bus::word::shared(place(input), input.word(2));
  switch (how % 10) {
    case 0: return input.word();
    case 1: return input.byte();
    case 2: return UINT64_MAX - input.byte();
    case 3: return old + static_cast<std::uint64_t>(static_cast<std::int8_t>(input.byte()));
    case 4: return bus::word::empty(place(input));
    case 5: return bus::word::frame(place(input), input.word(2));
    case 6: return bus::word::pad(place(input), std::uint64_t{input.byte()} * bus::kRecordAlign);
    case 7: return bus::lock_word::next_held_by(old, static_cast<unsigned>(input.below(1023)));
    case 8: return place(input);
    default: return old ^ 1ULL << (input.byte() % 64U);
  }
}

void BusImage::store(std::size_t offset, std::uint64_t value, std::size_t bytes) noexcept {
  if (offset >= bus::kHeaderBytes + kNearSlots * sizeof(PortSlot) && offset < bus::kRingOffset) {
    far_slots_touched_ = true;
  }
  std::memcpy(base() + offset, &value, bytes);
}

/// Overwrites what only a shared record has: its count, or the length of one of its frames.
void BusImage::scribble_shared(std::uint64_t position, std::uint64_t which, Input& input) noexcept {
  const std::size_t record = bus::kRingOffset + position % ring().bytes();
  if (which % 2 != 0) {
    store(record + offsetof(bus::RecordHeader, frames), input.byte(), 2);
    return;
  }
  std::uint32_t offset = 0;
  for (std::uint64_t n = which / 2 % 64; n > 0 && offset < bus::kMaxSharedBytes; --n) {
    const std::uint32_t bytes = ring().entry_at(position, offset, bus::kMaxSharedBytes);
    if (bytes == 0) break;
    offset += static_cast<std::uint32_t>(bus::entry_bytes(bytes));
  }
  const std::size_t entry = record + bus::kRecordHeaderBytes + offset;
  std::uint64_t old = 0;
  std::memcpy(&old, base() + entry, bus::kEntryHeaderBytes);
  store(entry, (input.byte() & 1U) != 0 ? input.word(2) : value(input, old),
        bus::kEntryHeaderBytes);
}

void BusImage::scribble(Input& input) noexcept {
  const auto overwrite = [&](std::size_t offset, std::size_t bytes) {
    std::uint64_t old = 0;
    std::memcpy(&old, base() + offset, bytes);
    store(offset, value(input, old), bytes);
  };
  switch (input.byte() % 8) {
    case 0:
    case 1: {
      const Field f = kHeaderFields[input.below(kHeaderFields.size())];
      const std::size_t word = f.offset == offsetof(BusHeader, sleepers) ? input.below(4) : 0;
      overwrite(f.offset + 8 * word, f.bytes);
      break;
    }
    case 2:
    case 3: {
      const std::uint8_t which = input.byte();
      const std::size_t slot = which < 192 ? which % 6U : which;
      const Field f = kSlotFields[input.below(kSlotFields.size())];
      overwrite(bus::kHeaderBytes + slot * sizeof(PortSlot) + f.offset, f.bytes);
      break;
    }
    case 4:
    case 5: {  // a word of a record, most often the right one of another record
      const std::uint64_t p = place(input) & ~std::uint64_t{7};
      const std::size_t offset = bus::kRingOffset + p % ring().bytes();
      const std::uint8_t what = input.byte();
      const std::uint64_t n = input.word(2);
      switch (what % 6) {
        case 0:
          store(offset, what < 192 ? bus::word::frame(p, n, what >= 128) : bus::word::shared(p, n),
                8);
          break;
        case 1: store(offset, bus::word::pad(p, n * bus::kRecordAlign), 8); break;
        case 2: store(offset, bus::word::empty(p), 8); break;
        case 3: store(offset + (offset % 16 == 0 ? 8 : 0), n - 100, 8); break;  // the number
        case 4: overwrite(offset, 8); break;
        default:  // the sender, or what stands behind the record's header
          if (what >= 192) {
            scribble_shared(p, n, input);
            break;
          }
          overwrite(offset + (what < 128 ? (offset % 32 == 0 ? 24 : 0) : 32 + n % 64), 8);
      }
      break;
    }
    case 6: {  // a chain of pads, of the smallest frames, or of the smallest that share a record
      std::uint64_t p = place(input) & ~std::uint64_t{31};
      const std::uint8_t what = input.byte();
      const bool frames = (what & 1U) != 0;
      const bool shared = (what & 3U) == 3;
      const std::uint64_t number = ring().number_at(p);
      for (std::size_t n = input.word(2) % records(), i = 0; i < n; ++i) {
        const std::size_t offset = bus::kRingOffset + p % ring().bytes();
        if (shared) {
          constexpr std::uint64_t kEntry = bus::entry_bytes(bus::kMinFrameBytes);
          store(offset, bus::word::shared(p, 2 * kEntry), 8);
          store(offset + 8, number + 2 * i, 8);
          store(offset + offsetof(bus::RecordHeader, frames), 2, 2);
          store(offset + bus::kRecordHeaderBytes, bus::kMinFrameBytes, 4);
          store(offset + bus::kRecordHeaderBytes + kEntry, bus::kMinFrameBytes, 4);
          p += bus::record_bytes(2 * kEntry);
          continue;
        }
        store(offset, frames ? bus::word::frame(p, 14) : bus::word::pad(p, 32), 8);
        store(offset + 8, number + (frames ? i : 0), 8);
        p += frames ? 64 : 32;
      }
      break;
    }
    default: {
      const std::size_t end = bus::file_bytes(ring().bytes());
      std::size_t offset = input.word(3) % end;
      for (unsigned n = input.byte() % 16U + 1U; n > 0; --n) {
        if (offset < end) store(offset++, input.byte(), 1);
      }
    }
  }
}

void BusImage::ambush(Input& input) noexcept {
  ambushes = &input;
  until_ambush = 1;
}

Ambush::Ambush(Input& input, void (*scribble)(Input&)) noexcept {
  other_scribble = scribble;
  ambushes = &input;
  until_ambush = 1;
}
Ambush::~Ambush() {
  ambushes = nullptr;
  other_scribble = nullptr;
}

void BusImage::end_ambush() noexcept {
  ambushes = nullptr;
  until_ambush = 0;
}

AccessLimit::AccessLimit(std::uint64_t max) noexcept {
  accesses_left = max;
}
AccessLimit::~AccessLimit() {
  accesses_left = UINT64_MAX;
}

#ifdef SHMIF_FUZZ
namespace {

void strike() noexcept {
  Input* const input = ambushes;
  ambushes = nullptr;  // the scribble itself is not interrupted
  const Input::FromTheEnd from_the_end(*input);
  if (other_scribble != nullptr) {
    other_scribble(*input);
  } else {
    current->scribble(*input);
  }
  until_ambush = std::uint64_t{input->byte()} + 1;
  if (!input->empty()) ambushes = input;
}

}  // namespace
}  // namespace shmif::fuzz

// Called by bus/atomics.hpp before each access to shared memory.
void shmif::bus::on_shared_access() noexcept {
  using namespace shmif::fuzz;
  if (accesses_left-- == 0) failed("too many accesses to shared memory in one call");
  if (ambushes != nullptr && --until_ambush == 0) strike();
}
#else
}  // namespace shmif::fuzz
#endif
