#include "bus/port/port_table.hpp"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "bus/attachment.hpp"
#include "bus/file/liveness.hpp"
#include "bus/port/doorbell.hpp"

namespace shmif::bus {
namespace {

constexpr unsigned kMaxClaims = 1000;

/// P3: a port that has published its name must not miss a competitor in a slot that was not used
/// before. So this load comes after that store, as the loads of the slots do.
unsigned slots_used(const Ring& ring) noexcept {
  return static_cast<unsigned>(
      std::min<std::uint64_t>(load_seq_cst(ring.header().slots_used), kSlots));
}

SlotState state(const PortSlot& s) noexcept {
  return state_of(load_seq_cst(s.state));
}

/// Locks a slot for us: the one that a dead port of the same name left; else a free one; else a
/// slot of another dead port.
std::optional<unsigned> lock_slot(const Ring& ring, int fd, const std::string& name) {
  const unsigned used = slots_used(ring);
  const auto try_slots = [&](unsigned end, auto&& suits) -> std::optional<unsigned> {
    for (unsigned i = 0; i < end; ++i) {
      if (suits(ring.slot(i)) && take_liveness(fd, i)) return i;
    }
    return std::nullopt;
  };
  std::optional<unsigned> slot;
  if (!name.empty()) {
    slot = try_slots(used, [&](const PortSlot& s) {
      return state(s) != SlotState::free && slot_name(s) == name;
    });
  }
  if (!slot)
    slot = try_slots(kSlots, [](const PortSlot& s) { return state(s) == SlotState::free; });
  if (!slot) slot = try_slots(used, [](const PortSlot&) { return true; });
  return slot;
}

void raise_slots_used(const Ring& ring, std::uint64_t count) noexcept {
  std::uint64_t& used = ring.header().slots_used;
  for (std::uint64_t seen = load_acquire(used); seen < count; seen = load_acquire(used)) {
    if (compare_and_swap(used, seen, count)) return;
  }
}

void clear_sleeper_bits(const Ring& ring, unsigned slot) noexcept {
  const std::uint64_t mask = 1ULL << (slot % 64);
  fetch_and(ring.header().sleepers[slot / 64], ~mask);
  fetch_and(ring.header().deep_sleepers[slot / 64], ~mask);
}

/// Frees the lock if the slot's dead owner held it. From now on the slot counts as alive, and
/// others would wait as long as for a living holder (L3).
void free_lock_of_the_dead(const Ring& ring, unsigned slot) noexcept {
  std::uint64_t& lock = ring.header().lock;
  const std::uint64_t seen = load_seq_cst(lock);
  if (!lock_word::is_free(seen) && lock_word::holder(seen) == slot) {
    fetch_add(ring.header().takeovers, std::uint64_t{1});  // L2: before; D4 too
    compare_and_swap(lock, seen, lock_word::freed(seen));
  }
}

/// Clears what the slot's last owner left: sleeper bits, claim, lock, flags, counters, addresses.
void clear(const Ring& ring, unsigned slot) noexcept {
  PortSlot& s = ring.slot(slot);
  clear_sleeper_bits(ring, slot);
  store_seq_cst(s.claim_owner, std::uint64_t{0});
  free_lock_of_the_dead(ring, slot);  // after the claim: a free lock means no claim stands (L2)
  store_relaxed(s.flags, std::uint32_t{0});
  store_relaxed(s.bell, kBellFutex);
  store_relaxed(s.rung_position, std::uint64_t{0});  // else senders think we read this far (W2)
  store_relaxed(s.rung_number, std::uint64_t{0});
  for (std::uint64_t* word = &s.tx_frames; word <= &s.lock_sleeps; ++word)
    store_relaxed(*word, std::uint64_t{0});
  store_relaxed(s.refused_frames, std::uint64_t{0});
  store_relaxed(s.stalls, std::uint64_t{0});
  store_relaxed(s.pauses, std::uint64_t{0});
  store_relaxed(s.paused_ns, std::uint64_t{0});
  store_relaxed(s.waits_for, std::uint32_t{0});
  for (std::uint64_t* word = &s.position; word <= &s.wakeups; ++word)
    store_relaxed(*word, std::uint64_t{0});
  for (std::uint64_t* word :
       {&s.tx_more_segments, &s.rx_more_segments, &s.too_long_frames, &s.read_inside})
    store_relaxed(*word, std::uint64_t{0});
  for (std::uint64_t& mac : s.learned) store_relaxed(mac, std::uint64_t{0});
}

/// Writes `state` last: a process that sees it sees the rest, too.
void publish(PortSlot& s, const std::string& name, MacAddress mac, std::uint64_t state) noexcept {
  char padded[kNameBytes] = {};
  // NOLINTNEXTLINE(bugprone-not-null-terminated-result): the zeros that it does not reach end it
  std::memcpy(padded, name.data(), std::min(name.size(), kNameBytes - 1));
  copy_to_shared(reinterpret_cast<std::byte*>(s.name), reinterpret_cast<const std::byte*>(padded),
                 sizeof padded);
  store_relaxed(s.mac, mac.to_u64());
  store_seq_cst(s.state, state);
}

void describe_owner(PortSlot& s, LinkKind kind) noexcept {
  store_relaxed(s.pid, static_cast<std::uint32_t>(getpid()));
  store_relaxed(s.link, static_cast<std::uint32_t>(kind));
}

struct Conflict {
  unsigned slot;
  bool same_name;
};

/// P3. Waits a little for a competitor in a higher slot, which will see us and give way. A
/// competitor that was stopped in the middle keeps the name.
std::optional<Conflict> find_conflict(const Ring& ring, int fd, unsigned self,
                                      const std::string& name, MacAddress mac) {
  const unsigned used = slots_used(ring);
  for (unsigned i = 0; i < used; ++i) {
    const PortSlot& s = ring.slot(i);
    for (unsigned tries = 0; i != self; ++tries) {
      const SlotState st = state(s);
      if (st == SlotState::free) break;
      const bool same_name = slot_name(s) == name;
      if (!same_name && load_seq_cst(s.mac) != mac.to_u64()) break;  // set_mac() changes it
      if (!is_alive(fd, i)) break;
      if (st == SlotState::live || i < self || tries == 100) return Conflict{i, same_name};
      const timespec pause{0, 1'000'000};
      nanosleep(&pause, nullptr);
    }
  }
  return std::nullopt;
}

/// Waits until the port in the way is dead, or has another name and address. Takes from a dead port
/// what it holds. Result: false if it is still in the way at `deadline`.
bool outlast(const Ring& ring, int fd, unsigned slot, const std::string& name, MacAddress mac,
             std::chrono::steady_clock::time_point deadline) {
  const PortSlot& s = ring.slot(slot);
  while (state(s) != SlotState::free && is_alive(fd, slot) &&
         (slot_name(s) == name || load_relaxed(s.mac) == mac.to_u64())) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    const timespec pause{0, 2'000'000};
    nanosleep(&pause, nullptr);
  }
  reap_if_dead(ring, slot, fd);
  return true;
}

std::string describe(const Ring& ring, unsigned slot) {
  const PortSlot& s = ring.slot(slot);
  return "port \"" + slot_name(s) + "\" of process " + std::to_string(load_relaxed(s.pid));
}

/// Why a port cannot have the name or the address that it was told to have.
Error taken_by(const Ring& ring, const Conflict& conflict, const std::string& path,
               const OwnedSlot& wanted) {
  const std::string begin = "cannot attach to the bus " + path;
  const std::string owner = describe(ring, conflict.slot);
  if (conflict.same_name) {
    return {Errc::name_taken, begin + " as \"" + wanted.name + "\": the name is taken by " + owner +
                                  " (choose another name)"};
  }
  return {Errc::mac_taken, begin + " with the address " + wanted.mac.to_string() +
                               ": it is taken by " + owner + " (choose another address)"};
}

/// "port0" and so on. Ports of commands that listen or ask are "dump", "dump2" and so on.
std::string default_name(LinkKind kind, unsigned number) {
  const char* const command = kind == LinkKind::dump     ? "dump"
                              : kind == LinkKind::inject ? "inject"
                              : kind == LinkKind::ping   ? "ping"
                                                         : nullptr;
  if (command == nullptr) return "port" + std::to_string(number);
  return command + (number == 0 ? std::string() : std::to_string(number + 1));
}

std::string next_default_name(const Ring& ring, int fd, unsigned self, LinkKind kind,
                              unsigned& number) {
  const unsigned used = slots_used(ring);
  for (;; ++number) {  // ends: at most kSlots names are taken
    const std::string name = default_name(kind, number);
    bool taken = false;
    for (unsigned i = 0; i < used && !taken; ++i) {
      const PortSlot& s = ring.slot(i);
      taken = i != self && state(s) != SlotState::free && slot_name(s) == name && is_alive(fd, i);
    }
    if (!taken) return name;
  }
}

/// Gives a slot back if it was not kept in the end, also if memory ran out in the middle. The
/// slot's lifeline must outlive this object.
class SlotHold {
 public:
  SlotHold(const Ring& ring, unsigned slot) noexcept : ring_(ring), slot_(slot) {}
  SlotHold(const SlotHold&) = delete;
  SlotHold& operator=(const SlotHold&) = delete;
  ~SlotHold() {
    if (!taken_) free_slot(ring_, slot_);
  }
  void keep() noexcept { taken_ = true; }

 private:
  const Ring& ring_;
  unsigned slot_;
  bool taken_ = false;
};

}  // namespace

std::string slot_name(const PortSlot& slot) {
  char name[kNameBytes];
  copy_from_shared(reinterpret_cast<std::byte*>(name),
                   reinterpret_cast<const std::byte*>(slot.name), sizeof name);
  std::string text(name, strnlen(name, sizeof name));
  // An overwritten name must not reach a terminal as control characters.
  std::replace_if(text.begin(), text.end(), [](char c) { return c <= ' ' || c > '~'; }, '?');
  return text;
}

Result<OwnedSlot> take_slot(const Ring& ring, int fd, const std::string& path,
                            const PortOptions& options) {
  if (auto ok = check_options(path, options); !ok) return ok.error();
  std::optional<unsigned> slot;
  auto life = Lifeline::open(fd, path, [&](int description) {
    slot = lock_slot(ring, description, options.name);
    return slot.has_value();
  });
  if (!life) return life.error();
  if (!slot) {
    return Error(Errc::table_full, "cannot attach to the bus " + path + ": all " +
                                       std::to_string(kSlots) +
                                       " ports are taken, or somebody holds read locks on the file "
                                       "(see 'shmifctl stat', 'fuser')");
  }
  SlotHold hold(ring, *slot);
  PortSlot& s = ring.slot(*slot);
  const std::uint64_t incarnation = incarnation_of(load_relaxed(s.state)) + 1;
  clear(ring, *slot);
  describe_owner(s, options.kind);
  raise_slots_used(ring, *slot + 1U);
  OwnedSlot owned{*slot,
                  static_cast<std::uint32_t>(incarnation),
                  slot_state(SlotState::live, incarnation),
                  options.name,
                  {},
                  {},
                  {}};
  unsigned number = 0;
  const auto deadline = std::chrono::steady_clock::now() + options.name_patience;
  for (unsigned tries = 0; tries < kMaxClaims; ++tries) {
    if (options.name.empty()) owned.name = next_default_name(ring, fd, *slot, options.kind, number);
    owned.mac = options.mac ? *options.mac : MacAddress::random();
    // This comes first, so that everybody who sees the name can prove whose it is.
    owned.plate = Nameplate::put_up(ring.file(), *slot, owned.name);
    publish(s, owned.name, owned.mac, slot_state(SlotState::attaching, incarnation));
    const auto conflict = find_conflict(ring, fd, *slot, owned.name, owned.mac);
    if (!conflict) {
      tell_filter_change(ring);
      store_seq_cst(s.state, owned.state);
      hold.keep();
      owned.life = *std::move(life);
      return owned;
    }
    const bool chosen = conflict->same_name ? !options.name.empty() : options.mac.has_value();
    if (!chosen) continue;
    // Hide the name while we wait: if several ports wait, each would be in the others' way (P3).
    store_seq_cst(s.state, slot_state(SlotState::free, incarnation));
    if (outlast(ring, fd, conflict->slot, owned.name, owned.mac, deadline)) continue;
    return taken_by(ring, *conflict, path, owned);
  }
  return Error(Errc::name_taken, "cannot attach to the bus " + path + ": no free name was found");
}

void restore_slot(const Ring& ring, const OwnedSlot& owned, MacAddress mac,
                  LinkKind kind) noexcept {
  PortSlot& s = ring.slot(owned.slot);
  describe_owner(s, kind);
  raise_slots_used(ring, owned.slot + 1U);
  publish(s, owned.name, mac, owned.state);
  tell_filter_change(ring);
}

bool address_is_taken(const Ring& ring, unsigned self, int fd, MacAddress mac) noexcept {
  const unsigned used = slots_used(ring);
  for (unsigned i = 0; i < used; ++i) {
    const PortSlot& s = ring.slot(i);
    if (i != self && state(s) != SlotState::free && load_seq_cst(s.mac) == mac.to_u64() &&
        is_alive(fd, i)) {
      return true;
    }
  }
  return false;
}

void free_slot(const Ring& ring, unsigned slot) noexcept {
  PortSlot& s = ring.slot(slot);
  store_relaxed(s.flags, std::uint32_t{0});
  store_seq_cst(s.claim_owner, std::uint64_t{0});
  store_seq_cst(s.state, slot_state(SlotState::free, incarnation_of(load_relaxed(s.state))));
  clear_sleeper_bits(ring, slot);
}

Reaped reap_if_dead(const Ring& ring, unsigned slot, int fd) noexcept {
  PortSlot& s = ring.slot(slot);
  // Both are read before the question whether the port lives, and changed only from these values. A
  // claim's owner word names one acquisition (L1), and the state one incarnation (P2), so this
  // never touches the slot or the claim of a new owner.
  const std::uint64_t state = load_seq_cst(s.state);
  const std::uint64_t claim = load_seq_cst(s.claim_owner);
  Reaped done;
  if (state_of(state) == SlotState::free && claim == 0) return done;
  if (is_alive(fd, slot)) return done;
  done.claim = claim != 0 && compare_and_swap(s.claim_owner, claim, std::uint64_t{0});
  if (done.claim) fetch_add(ring.header().claims_freed, std::uint64_t{1});
  done.slot = state_of(state) != SlotState::free &&
              compare_and_swap(s.state, state, slot_state(SlotState::free, incarnation_of(state)));
  return done;
}

}  // namespace shmif::bus
