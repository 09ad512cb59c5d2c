#include "bus/netbsd/inspector.hpp"

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "bus/file/file_id.hpp"
#include "bus/file/file_system.hpp"

namespace shmif::bus {
namespace {

struct NetbsdChain {
  std::uint64_t frames = 0, pads = 0;
  std::uint64_t bytes = 0;   ///< of the frames
  std::string broken;        ///< why the chain does not lead to `last` (N3), or empty
  std::string wrong_frames;  ///< frames that no correct writer writes, or empty

  bool is_sound() const noexcept { return broken.empty() && wrong_frames.empty(); }
};

std::string netbsd_place(std::uint64_t position) {
  return "the header at offset " + std::to_string(position % kNetbsdDataBytes);
}

/// Writes a header without a frame, which NetBSD's kernels pass over.
void write_pad(const NetbsdRing& ring, std::uint64_t position) noexcept {
  const NetbsdPacketHeader none;
  ring.write(position, reinterpret_cast<const std::byte*>(&none), ring.header_bytes());
}

/// How often to look at a bus that changes meanwhile.
constexpr unsigned kTries = 20;

void nap() noexcept {
  constexpr timespec kNap{0, 1'000'000};
  nanosleep(&kNap, nullptr);
}

std::string words_text(const NetbsdWords& words) {
  return "generation " + std::to_string(words.generation) + ", first " +
         std::to_string(words.first) + " and last " + std::to_string(words.last);
}

/// Follows the chain of `state`. The result is valid if `first` has not grown meanwhile.
NetbsdChain walk_netbsd_chain(const NetbsdRing& ring, const NetbsdState& state) {
  NetbsdChain chain;
  std::uint64_t position = state.first;
  bool met_last = false;
  while (position < state.end) {
    NetbsdRecord record;
    if (!ring.read_header(position, state.end, record)) {
      chain.broken = netbsd_place(position) + " says that its frame has " +
                     std::to_string(record.header.bytes) + " bytes, and " +
                     std::to_string(state.end - position) + " bytes are left to the end";
      return chain;
    }
    met_last = met_last || position == state.last;
    const std::uint32_t bytes = record.header.bytes;
    if (bytes < kNetbsdMinFrame) {
      ++chain.pads;
    } else {
      ++chain.frames;
      chain.bytes += bytes;
    }
    if (bytes > kNetbsdMaxFrame && chain.wrong_frames.empty()) {
      chain.wrong_frames = netbsd_place(position) + " is that of a frame of " +
                           std::to_string(bytes) + " bytes, where " +
                           std::to_string(kNetbsdMaxFrame) + " are possible";
    }
    position = record.next;
  }
  if (!met_last) chain.broken = "the headers do not lead to " + netbsd_place(state.last);
  return chain;
}

/// Keeps the frames from `first` on that lead to one another and towards `last`, and drops the one
/// at `last`: a kernel moves `last` before it writes the header there, and raises the generation at
/// the end. So if it was killed meanwhile, neither that header nor the generation tells anything
/// (N4), and all other headers are whole. Raises the generation by two, so that every reader sees
/// that its place is gone. The caller holds the lock.
void rebuild_netbsd_chain(const NetbsdRing& ring) noexcept {
  constexpr std::uint64_t kData = kNetbsdDataBytes;
  const std::uint64_t header = ring.header_bytes();
  NetbsdHeader& h = ring.header();
  const NetbsdWords words = ring.words();
  // The positions here are those of a ring whose first round begins before `first`.
  std::uint64_t first = words.first % kData;
  const bool is_known = words.first <= kData && words.last < kData;
  const std::uint64_t last = !is_known            ? first
                             : words.last < first ? words.last + kData
                                                  : words.last;
  NetbsdRecord record;
  std::uint64_t end = first;
  while (end < last && ring.read_header(end, last, record) &&
         record.header.bytes <= kNetbsdMaxFrame)
    end = record.next;

  // A pad stands for the frame that was dropped. If it touches the end of the data, another one
  // follows.
  const bool needs_two = (end + header) / kData != end / kData;
  const std::uint64_t newest = needs_two ? end + header : end;
  while (newest + header - first > kData && ring.read_header(first, end, record))  // N4
    first = record.next;
  const std::uint64_t generation = words.generation <= UINT32_MAX ? words.generation : 0;
  if (first == end) {  // no frame is left: as a new bus (N2)
    write_pad(ring, 0);
    store_release(h.first, kNetbsdDataBytes);
    store_release(h.last, std::uint32_t{0});
  } else {
    write_pad(ring, end);
    write_pad(ring, newest);
    // A new bus stays one until its first round is over.
    const bool is_new = words.first == kData && first == 0 && newest < kData;
    if (!is_new) store_release(h.first, static_cast<std::uint32_t>(first % kData));
    store_release(h.last, static_cast<std::uint32_t>(newest % kData));
  }
  store_release(h.generation, generation + 2);
  store_release(h.repairs, load_relaxed(h.repairs) + 1);
}

}  // namespace

NetbsdInspector::NetbsdInspector(OpenFile file, std::string path, Access access,
                                 NetbsdMapping mapping)
    : path_(std::move(path)),
      file_(std::move(file)),
      access_(access),
      mapping_(std::move(mapping)),
      ring_(mapping_.bytes().data()) {}

Result<std::unique_ptr<Inspector>> NetbsdInspector::open(OpenFile file, const std::string& path,
                                                         Access access) {
  auto mapping = NetbsdMapping::map(file.fd.get(), access);
  if (!mapping)
    return Error(mapping.error().code,
                 "cannot look into the bus " + path + ": " + mapping.error().message);
  return std::unique_ptr<Inspector>(
      new NetbsdInspector(std::move(file), path, access, *std::move(mapping)));
}

std::string NetbsdInspector::hidden_by() const {
  const std::uint64_t where = file_.file_system;
  return harm_on_file_system(where) != nullptr ? file_system_name(where) : std::string();
}

BusInfo NetbsdInspector::info() const {
  BusInfo b;
  b.path = path_;
  b.format = BusFormat::netbsd;
  b.ring_bytes = kNetbsdDataBytes;
  b.mtu = kNetbsdMtu;
  b.max_record_bytes = kNetbsdMaxFrame;
  const FileId id = FileId::of(file_.fd.get());
  b.device = id.device;
  b.inode = id.inode;
  b.file_system = file_system_name(file_.file_system);
  const NetbsdWords words = ring_.words();
  BusInfo::Netbsd own;
  own.version = load_relaxed(ring_.header().version);
  own.lock_is_held = ring_.lock() != 0;
  own.first_offset = words.first;
  own.last_offset = words.last;
  b.generation = words.generation;
  b.epoch = load_relaxed(ring_.header().repairs);
  NetbsdCopy copy;
  if (see(copy, false) == NetbsdLook::seen) {
    const NetbsdChain chain = walk_netbsd_chain(NetbsdRing(copy.file.data()), copy.state);
    b.first = copy.state.first;
    b.last = copy.state.end;
    b.generation = b.last / kNetbsdDataBytes;
    own.frames_in_ring = chain.frames;
    own.bytes_in_ring = chain.bytes;
  }
  b.netbsd = own;
  return b;
}

/// Takes the state and a copy of the ring. What senders overwrote meanwhile lies before the
/// `first` of a second look (N4), so the copy is whole from there on. `is_patient`: waits while
/// the lock is held, until it is stuck. Result: empty if the bus changed too much meanwhile, or if
/// the lock was held at each look.
std::optional<NetbsdLook> NetbsdInspector::see(NetbsdCopy& copy, bool is_patient) const {
  NetbsdStuckLock stuck;
  const auto look = [&](NetbsdState& state) {
    NetbsdLook seen = ring_.look(state);
    while (seen == NetbsdLook::held && is_patient && !stuck.is_stuck(ring_)) {
      nap();
      seen = ring_.look(state);
    }
    if (seen != NetbsdLook::held) stuck.is_free();
    return seen;
  };
  for (unsigned tries = 0; tries < kTries; ++tries) {
    const NetbsdLook seen = look(copy.state);
    if (seen == NetbsdLook::corrupt) return seen;
    if (seen == NetbsdLook::held && stuck.stands_still()) return seen;
    if (seen == NetbsdLook::held && is_patient) return std::nullopt;
    NetbsdState after;
    if (seen == NetbsdLook::seen) {
      copy.file.resize(kNetbsdFileBytes);
      copy_from_shared(copy.file.data(), mapping_.bytes().data(), kNetbsdFileBytes);
      fence_loads();
      if (look(after) == NetbsdLook::seen && after.first <= copy.state.last &&
          after.end >= copy.state.end) {
        copy.state.first = after.first;
        return seen;
      }
    }
    nap();
  }
  return std::nullopt;
}

AuditReport NetbsdInspector::audit() const {
  AuditReport report;
  NetbsdCopy copy;
  const std::optional<NetbsdLook> look = see(copy, true);
  if (!look) {
    report.is_known = false;
    return report;
  }
  if (look == NetbsdLook::held) {  // its holder may be in the middle of a change
    const std::uint32_t lock = ring_.lock();
    report.findings.push_back(
        {"N4", lock > 1 ? "the lock has the value " + std::to_string(lock) +
                              ", where 0 and 1 are possible; 'shmifctl repair --force' frees it"
                        : "the lock has been held for a second, nobody knows by whom; if that "
                          "process is dead, 'shmifctl repair --force' frees it"});
    return report;
  }
  if (look == NetbsdLook::corrupt) {
    report.findings.push_back(
        {"N2", words_text(ring_.words()) + " are not a state that a correct writer leaves"});
    return report;
  }
  const NetbsdChain chain = walk_netbsd_chain(NetbsdRing(copy.file.data()), copy.state);
  if (!chain.broken.empty()) report.findings.push_back({"N3", chain.broken});
  if (!chain.wrong_frames.empty()) report.findings.push_back({"N3", chain.wrong_frames});
  report.frames = chain.frames;
  report.records = chain.frames + chain.pads;
  report.pads = chain.pads;
  if (copy.state.touches_end()) {
    report.notes.emplace_back(
        "the newest frame touches the end of the ring: a kernel that joins now reads the oldest "
        "frame again and again until another frame comes");
  }
  return report;
}

Result<RepairReport> NetbsdInspector::repair(const RepairOptions& options) {
  if (access_ == Access::read_only)
    return Error(Errc::read_only, "cannot repair " + path_ + ": it is open to read");
  if (options.mtu && *options.mtu != kNetbsdMtu) {
    return Error(Errc::bad_mtu, "cannot repair the bus " + path_ +
                                    " with that MTU: NetBSD's format has an MTU of 1500, and no "
                                    "other (leave --mtu out)");
  }
  RepairReport done;
  NetbsdLock lock(ring_);
  if (!lock.acquire()) {
    if (!options.force) {
      return Error(Errc::lock_held,
                   "cannot repair the bus " + path_ +
                       ": its lock has been held for a second, and the format does not tell by "
                       "whom (if that process is dead, 'shmifctl repair --force' frees the lock; "
                       "if it is stopped, let it go on)");
    }
    store_seq_cst(ring_.header().lock, std::uint32_t{1});  // it is ours now
    done.lock_released = true;
  }
  NetbsdState state;
  const auto is_sound = [&] {
    return ring_.look_inside(state) == NetbsdLook::seen &&
           walk_netbsd_chain(ring_, state).is_sound();
  };
  // The former holder of the lock may have been writing the newest frame.
  if (done.lock_released || !is_sound()) {
    rebuild_netbsd_chain(ring_);
    done.ring_rebuilt = true;
  }
  if (is_sound()) done.frames_kept = walk_netbsd_chain(ring_, state).frames;
  done.epoch = ring_.words().generation;  // by which readers notice the repair
  lock.release();
  set_off_watches(file_.fd.get(), FileId::of(file_.fd.get()), offsetof(NetbsdHeader, version),
                  ring_.version());
  if (const AuditReport after = audit(); !after.findings.empty()) {
    return Error(Errc::corrupt,
                 "the bus " + path_ +
                     " was repaired, and is broken again: " + after.findings.front().what +
                     " (a process keeps overwriting it: stop the processes that use the bus)");
  }
  return done;
}

}  // namespace shmif::bus
