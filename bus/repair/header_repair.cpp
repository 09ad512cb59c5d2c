#include "bus/repair/header_repair.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string_view>

#include "base/text.hpp"
#include "bus/file/file.hpp"
#include "bus/file/file_system.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/liveness.hpp"
#include "bus/file/mapping.hpp"
#include "bus/repair/audit.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {
namespace {

/// How many of the ten fields that are evidence must be right.
constexpr unsigned kFieldsWanted = 4;
/// A signature begins with the version of the format. Versions up to this are believed; 0 and
/// higher versions come from overwritten memory.
constexpr std::uint32_t kNewestVersionBelieved = 127;

/// The evidence in the ring.
struct RingEvidence {
  std::uint64_t links = 0;          // records that lead to another one, or to the end
  std::uint32_t largest_frame = 0;  // of these
  bool empty_chain = false;         // no record, but the end of the chain is in its place
  bool holds() const noexcept { return links != 0 || empty_chain; }
};

/// All evidence.
struct Evidence {
  BusHeader found{};  // as it is in the file
  BusHeader right{};  // as it should be; the MTU and what follows from it come last
  RingEvidence ring;
  bool in_use = false;  // a port lives: so this file is a bus, and not a copy
};

/// Whether the header says that this is a bus of another format. It may then be one.
bool names_another_format(std::uint32_t signature) noexcept {
  const std::uint32_t version = signature >> 24U;
  return signature != kLayoutSignature && version != 0 && version <= kNewestVersionBelieved;
}

std::optional<std::uint64_t> ring_of_file(std::uint64_t file_size) {
  if (file_size <= kRingOffset) return std::nullopt;
  const std::uint64_t ring = file_size - kRingOffset;
  if (!check_geometry(ring, kMinMtu)) return std::nullopt;
  return ring;
}

/// The position that a word names, with as many bits as its kind has.
std::uint64_t named_position(std::uint64_t w) noexcept {
  const std::uint64_t kind = w & word::kKindMask;
  const unsigned bits = kind == word::kFrame ? word::kFramePositionBits
                        : kind == word::kPad ? word::kPadPositionBits
                                             : 62;
  return word::low_bits(w, bits) << word::kUnitShift;
}

/// Whether `w` continues a chain that has reached `position`: the two agree in the bits of the
/// position that both have.
bool goes_on(const Ring& ring, std::uint64_t w, std::uint64_t position) noexcept {
  const std::uint64_t named = named_position(w);
  const std::uint64_t differ = (named ^ position) >> word::kUnitShift;
  if (word::low_bits(differ, word::kPadPositionBits) != 0) return false;
  return w == word::empty(named) || ring.step(w, named) != 0;
}

/// Looks for records that lead to another one. If two words both name their own place, and one
/// begins where the other ends, this is not by chance.
RingEvidence look_at_ring(const Ring& ring) {
  RingEvidence e;
  const std::uint64_t told[] = {load_acquire(ring.header().last), load_acquire(ring.header().first),
                                0};
  for (const std::uint64_t p : told) {
    e.empty_chain |= ring.fits_alignment(p) && ring.word_at(p) == word::empty(p);
  }
  for (std::uint64_t offset = 0; offset < ring.bytes();) {
    const std::uint64_t w = ring.word_at(offset);
    const std::uint64_t p = named_position(w);
    const bool here = (p & (ring.bytes() - 1)) == offset && ring.fits_alignment(p);
    const std::uint64_t step = here ? ring.step(w, p) : 0;
    if (step == 0 || !goes_on(ring, ring.word_at(p + step), p + step)) {
      offset += kRecordAlign;
      continue;
    }
    ++e.links;
    if (word::is_frame_at(w, p) && !word::has_vnet(w))
      e.largest_frame = std::max(e.largest_frame, ring.contents_of(w, p).longest);
    offset += step;
  }
  return e;
}

/// Makes flow and patience agree: one of them may have been overwritten.
void settle_flow(BusHeader& h) noexcept {
  constexpr std::uint64_t kDefaultPatience = 10'000'000;
  if (check_flow(h.flow, h.patience_ns)) return;
  if (check_flow(kFlowPause, h.patience_ns)) {
    h.flow = kFlowPause;
  } else if (h.flow == kFlowPause) {
    h.patience_ns = kDefaultPatience;
  } else {
    h.flow = kFlowEthernet;
    h.patience_ns = 0;
  }
}

/// Maps the file for reading only, so that not even a hole in a foreign file is filled.
Result<Evidence> gather(const OpenFile& file, const struct stat& status, std::uint64_t ring_bytes) {
  auto mapping = Mapping::map(file.fd.get(), ring_bytes, Access::read_only);
  if (!mapping) return mapping.error();
  Evidence e;
  copy_from_shared(reinterpret_cast<std::byte*>(&e.found),
                   reinterpret_cast<const std::byte*>(&mapping->header()), sizeof e.found);
  e.ring = look_at_ring(Ring(*mapping, max_frame_bytes(max_mtu(ring_bytes))));
  for (unsigned slot = 0; slot < kSlots && !e.in_use; ++slot) {
    e.in_use = is_alive(file.fd.get(), slot);
  }
  BusHeader& h = e.right;
  h = e.found;  // created_ns is only shown, and stays as it is
  h.magic = kMagic;
  h.layout_signature = kLayoutSignature;
  h.ready = 1;
  h.ring_bytes = ring_bytes;
  h.ring_offset = kRingOffset;
  h.slot_count = kSlots;
  h.record_align = kRecordAlign;
  settle_flow(h);
  h.inode = status.st_ino;
  h.file_system = file.file_system;
  return e;
}

/// Whether a bus of this ring, with these frames in it, can have that MTU.
bool can_be_mtu(const Evidence& e, std::uint32_t mtu) noexcept {
  return mtu >= kMinMtu && mtu <= max_mtu(e.right.ring_bytes) &&
         max_frame_bytes(mtu) >= e.ring.largest_frame;
}

/// The MTU that the header gives, in one or two places: small rings have no room for super-frames,
/// so `max_record` follows from the MTU. Empty if the two places disagree, or if no place has a
/// possible MTU.
std::optional<std::uint32_t> told_mtu(const Evidence& e) noexcept {
  const std::uint32_t mtu = e.found.mtu;
  const std::uint32_t other = e.found.max_record - kMtuToFrame;
  const bool two_places = max_record_of(e.right.ring_bytes, kMinMtu) != kSuperFrameRecord;
  if (two_places && can_be_mtu(e, other)) {
    if (can_be_mtu(e, mtu) && mtu != other) return std::nullopt;
    return other;
  }
  return can_be_mtu(e, mtu) ? std::optional(mtu) : std::nullopt;
}

/// For a bus that nobody uses: the default, or what the largest frame in the ring needs.
std::uint32_t assumed_mtu(const Evidence& e) noexcept {
  constexpr std::uint32_t kDefault = 1500;
  constexpr std::uint32_t kEthernetHeader = 14;
  if (e.ring.largest_frame <= max_frame_bytes(kDefault)) return kDefault;
  return std::min(e.ring.largest_frame - kEthernetHeader, max_mtu(e.right.ring_bytes));
}

/// Fills in the MTU and what follows from it. Result: how the MTU is known, as text for the user.
Result<const char*> settle_mtu(const std::string& path, const RepairOptions& options, Evidence& e) {
  const auto told = told_mtu(e);
  const char* how = "";
  if (options.mtu) {
    e.right.mtu = *options.mtu;
    if (!can_be_mtu(e, e.right.mtu)) {
      return Error(Errc::bad_mtu, "cannot repair the bus " + path + ": an MTU of " +
                                      std::to_string(e.right.mtu) +
                                      " is not possible: it must lie between 68 and " +
                                      std::to_string(max_mtu(e.right.ring_bytes)) +
                                      ", and the largest frame in the ring has " +
                                      std::to_string(e.ring.largest_frame) + " bytes");
    }
  } else if (told) {
    e.right.mtu = *told;
  } else if (e.in_use) {
    return Error(Errc::corrupt, "cannot repair the bus " + path +
                                    ": its MTU is unknown, and attached ports depend on it (give "
                                    "it with --mtu; the interface of a host shows it)");
  } else {
    e.right.mtu = assumed_mtu(e);
    how = ", which is assumed";
  }
  e.right.max_record = max_record_of(e.right.ring_bytes, e.right.mtu);
  return how;
}

struct Field {
  const char* name;
  bool right;
  bool tells;  // it is evidence: not 0, not likely by chance, known without the rest
};

std::array<Field, 13> compare(const Evidence& e) noexcept {
  const BusHeader& a = e.found;
  const BusHeader& b = e.right;
  return {{{"magic", a.magic == b.magic, true},
           {"layout_signature", a.layout_signature == b.layout_signature, true},
           {"ready", a.ready == b.ready, true},
           {"ring_bytes", a.ring_bytes == b.ring_bytes, true},
           {"ring_offset", a.ring_offset == b.ring_offset, true},
           {"slot_count", a.slot_count == b.slot_count, true},
           {"mtu", a.mtu == b.mtu, false},
           {"max_record", a.max_record == b.max_record, true},
           {"record_align", a.record_align == b.record_align, true},
           {"flow", a.flow == b.flow, false},
           {"patience_ns", a.patience_ns == b.patience_ns, false},
           {"inode", a.inode == b.inode, true},
           {"file_system", a.file_system == b.file_system, true}}};
}

/// A reason against a repair. `final`: `force` does not overcome it.
struct Objection {
  Errc code;
  std::string what;
  bool final = false;
};

/// How much of the header is right.
struct Count {
  unsigned telling = 0;  // fields that are evidence
  bool identity = true;  // inode and file system
  bool all_but_identity = true;
};

Count count_right(const Evidence& e) noexcept {
  Count count;
  for (const Field& f : compare(e)) {
    const std::string_view name = f.name;
    const bool identity = name == "inode" || name == "file_system";
    count.telling += f.right && f.tells ? 1U : 0U;
    (identity ? count.identity : count.all_but_identity) &= f.right;
  }
  return count;
}

/// The reason to doubt that this is a bus of this build; empty if there is no doubt.
std::optional<Objection> doubt(const Evidence& e, unsigned fields) {
  const bool header = fields >= kFieldsWanted;
  const bool ring = e.ring.holds();
  const std::string right = std::to_string(fields) + " of 10 fields of its header are right";
  const std::uint32_t layout = e.found.layout_signature;
  if (names_another_format(layout) && (e.found.magic == kMagic || header || ring)) {
    return Objection{Errc::wrong_layout,
                     "it has layout " + base::hex(layout) + ", this build speaks " +
                         base::hex(kLayoutSignature) +
                         " (use the shmif version that made it; if this version made it and the "
                         "header was overwritten, --force restores the header)",
                     !header && !ring};
  }
  if (!header && !ring) {
    return Objection{Errc::not_a_bus,
                     "it is not a shmif bus: " + right +
                         ", and no record in its ring leads to another (if it was one, delete it "
                         "and create a new bus)",
                     true};
  }
  if (!header) {
    return Objection{Errc::corrupt, "only " + right +
                                        ", though its ring is that of a bus (if it was a bus of "
                                        "this version, --force restores the header)"};
  }
  if (!ring) {
    return Objection{Errc::corrupt, right +
                                        ", but no record in its ring leads to another (if it was a "
                                        "bus, --force restores the header, and empties the ring)"};
  }
  return std::nullopt;
}

/// Why the file should not be repaired; empty if it should.
std::optional<Objection> objection(const Evidence& e, const RepairOptions& options) {
  const Count right = count_right(e);
  if (auto not_ours = doubt(e, right.telling)) return not_ours;
  if (e.found.ring_bytes != e.right.ring_bytes && check_geometry(e.found.ring_bytes, kMinMtu)) {
    return Objection{
        Errc::wrong_size,
        "by its header the ring has " + size_text(e.found.ring_bytes) + ", by its file size " +
            size_text(e.right.ring_bytes) +
            ": the file may have been truncated or extended (--force uses the file size)"};
  }
  if (right.all_but_identity && !right.identity && !e.in_use) {
    return Objection{
        Errc::copied_file,
        "it is a copy: the bus was made as inode " + std::to_string(e.found.inode) + " on " +
            file_system_name(e.found.file_system) + ", this is inode " +
            std::to_string(e.right.inode) + " on " + file_system_name(e.right.file_system) +
            " (create a new bus with 'shmifctl create'; --force makes the copy a bus)"};
  }
  if (const auto told = told_mtu(e); options.mtu && told && *told != *options.mtu) {
    return Objection{Errc::geometry_differs,
                     "its header has an MTU of " + std::to_string(*told) + ", but " +
                         std::to_string(*options.mtu) +
                         " was asked for (leave --mtu out; --force sets the MTU, and attached "
                         "ports must have the same one)"};
  }
  return std::nullopt;
}

/// Whether a repair of the header may help against this error of check_file().
bool is_about_the_header(const std::error_code& why) noexcept {
  constexpr std::array kCodes{Errc::not_a_bus,  Errc::not_ready, Errc::wrong_layout,
                              Errc::wrong_size, Errc::corrupt,   Errc::copied_file};
  return std::any_of(kCodes.begin(), kCodes.end(), [&](Errc code) { return why == code; });
}

std::string restored_as(const Field& field, const Evidence& e, const char* how_mtu) {
  std::string name = field.name;
  if (name == "mtu") return "mtu to " + std::to_string(e.right.mtu) + how_mtu;
  if (name == "inode") {
    return "inode to " + std::to_string(e.right.inode) + " from " + std::to_string(e.found.inode);
  }
  return name;
}

/// `error` without its advice to repair the file: no repair can help this file.
Error without_itself(Error error) {
  const std::size_t advice = error.message.rfind(" (");
  if (advice == std::string::npos ||
      error.message.find("shmifctl repair", advice) > error.message.size())
    return error;
  error.message.resize(advice);
  error.message +=
      ", and its size is not that of a bus, so repair cannot help (give the file of a bus; "
      "'shmifctl create' makes a new one)";
  return error;
}

}  // namespace

Result<RestoredHeader> restore_header(const std::string& path, const RepairOptions& options) {
  struct stat status{};
  auto file = open_unchecked(path, Access::read_write, status);
  if (!file) return file.error();
  const Result<void> sound = check_file(*file, path, status, Copies::refuse);
  if (sound && (!options.mtu || *options.mtu == file->header.mtu))
    return RestoredHeader{*std::move(file), {}};
  if (!sound && !is_about_the_header(sound.error().code)) return sound.error();
  const auto ring_bytes = ring_of_file(static_cast<std::uint64_t>(status.st_size));
  if (!ring_bytes && sound) return Error(Errc::wrong_size, path + " has another size now");
  if (!ring_bytes) return without_itself(sound.error());
  auto evidence = gather(*file, status, *ring_bytes);
  if (!evidence) {
    return Error(evidence.error().code,
                 "cannot repair the bus " + path + ": " + evidence.error().message);
  }
  const auto how_mtu = settle_mtu(path, options, *evidence);
  const auto against = objection(*evidence, options);
  if (against && (against->final || !options.force)) {
    return Error(against->code, "cannot repair the bus " + path + ": " + against->what);
  }
  if (!how_mtu) return how_mtu.error();
  RestoredHeader done;
  for (const Field& f : compare(*evidence)) {
    if (!f.right) done.restored.push_back(restored_as(f, *evidence, *how_mtu));
  }
  if (pwrite(file->fd.get(), &evidence->right, kFixedBytes, 0) !=
      static_cast<ssize_t>(kFixedBytes)) {
    return Error::from_errno(errno, "cannot write the header of the bus " + path);
  }
  if (auto ok = check_file(*file, path, status, Copies::refuse); !ok) return ok.error();
  done.file = *std::move(file);
  return done;
}

}  // namespace shmif::bus
