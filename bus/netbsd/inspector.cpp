#include "bus/netbsd/inspector.hpp"

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "bus/file/file_bell.hpp"
#include "bus/file/file_id.hpp"
#include "bus/file/file_system.hpp"
#include "bus/netbsd/chain.hpp"

namespace shmif::bus {
namespace {

/// How often to look at the chain if its oldest part is overwritten meanwhile.
constexpr unsigned kTries = 20;

void nap() noexcept {
  constexpr timespec kNap{0, 1'000'000};
  nanosleep(&kNap, nullptr);
}

std::string words_text(const NetbsdWords& words) {
  return "generation " + std::to_string(words.generation) + ", first " +
         std::to_string(words.first) + " and last " + std::to_string(words.last);
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
  for (unsigned tries = 0; tries < kTries && !own.frames_in_ring; ++tries) {
    NetbsdState state;
    if (ring_.look(state) != NetbsdLook::seen) break;
    const NetbsdChain chain = walk_netbsd_chain(ring_, state);
    NetbsdState after;
    if (ring_.look(after) != NetbsdLook::seen) break;
    b.first = after.first;
    b.last = after.end;
    b.generation = after.end / kNetbsdDataBytes;
    if (after.first > state.first || !chain.broken.empty()) continue;
    own.frames_in_ring = chain.frames;
    own.bytes_in_ring = chain.bytes;
    b.last = state.end;
  }
  b.netbsd = own;
  return b;
}

/// Looks for up to a second if the lock is held.
NetbsdLook NetbsdInspector::look_patiently(NetbsdState& state) const {
  NetbsdStuckLock stuck;
  NetbsdLook look = ring_.look(state);
  while (look == NetbsdLook::held && !stuck.is_stuck(ring_)) {
    nap();
    look = ring_.look(state);
  }
  return look;
}

AuditReport NetbsdInspector::audit() const {
  AuditReport report;
  NetbsdState state;
  NetbsdLook look = look_patiently(state);
  if (look == NetbsdLook::held) {
    const std::uint32_t lock = ring_.lock();
    report.findings.push_back(
        {"N4", lock > 1 ? "the lock has the value " + std::to_string(lock) +
                              ", where 0 and 1 are "
                              "possible"
                        : "the lock has been held for a second, nobody knows by whom; if that "
                          "process is dead, 'shmifctl repair --force' frees it"});
    look = ring_.look_inside(state);
  }
  if (look == NetbsdLook::corrupt) {
    report.findings.push_back(
        {"N2", words_text(ring_.words()) + " are not a state that a correct writer leaves"});
    return report;
  }
  NetbsdChain chain;
  for (unsigned tries = 0; tries < kTries; ++tries) {
    chain = walk_netbsd_chain(ring_, state);
    NetbsdState after;
    const bool is_known = ring_.look(after) == NetbsdLook::seen;
    if (!is_known || after.first <= state.first) break;
    state = after;
    chain.broken = "a sender overwrites it at each look (look again when there is less traffic)";
  }
  if (!chain.broken.empty()) report.findings.push_back({"N3", chain.broken});
  if (!chain.wrong_frames.empty()) report.findings.push_back({"N3", chain.wrong_frames});
  if (const NetbsdWords words = ring_.words(); words.first == words.last)
    report.findings.push_back({"N2", "first and last are the same, which ends diagnostic kernels"});
  report.frames = chain.frames;
  report.records = chain.frames + chain.pads;
  report.pads = chain.pads;
  if (state.last / kNetbsdDataBytes != state.end / kNetbsdDataBytes) {
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
  const NetbsdWords words = ring_.words();
  if (ring_.look_inside(state) != NetbsdLook::seen) {
    const bool is_sane = words.generation <= UINT32_MAX;
    rebuild_netbsd_chain(ring_, {}, 0, is_sane ? words.generation : 0);
    done.ring_rebuilt = true;
  } else {
    const NetbsdChain chain = walk_netbsd_chain(ring_, state);
    const bool is_broken = !chain.broken.empty();
    // The former holder of the lock may have been writing the newest frame.
    if (is_broken || done.lock_released) {
      rebuild_netbsd_chain(ring_, state, is_broken ? chain.good_end : state.last, words.generation);
      done.ring_rebuilt = true;
    }
  }
  if (ring_.look_inside(state) == NetbsdLook::seen)
    done.frames_kept = walk_netbsd_chain(ring_, state).frames;
  done.epoch = ring_.words().generation;  // by which readers notice the repair
  lock.release();
  set_off_watches(file_.fd.get(), FileId::of(file_.fd.get()), offsetof(NetbsdHeader, version),
                  kNetbsdVersion);
  if (look_patiently(state) != NetbsdLook::seen ||
      !walk_netbsd_chain(ring_, state).broken.empty()) {
    return Error(Errc::corrupt, "the bus " + path_ +
                                    " is still corrupt after the repair: a process keeps "
                                    "overwriting it (stop the processes that use the bus)");
  }
  return done;
}

}  // namespace shmif::bus
