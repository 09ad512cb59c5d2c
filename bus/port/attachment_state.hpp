#pragma once
// The parts of an attachment. Internal to bus/port/attachment.cpp (life and properties of a port),
// bus/port/attachment_send.cpp, and bus/port/attachment_receive.cpp (receiving and waiting).

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>

#include "base/fork_guard.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/mapping.hpp"
#include "bus/port/doorbell.hpp"
#include "bus/port/lookout.hpp"
#include "bus/port/native_attachment.hpp"
#include "bus/port/port_table.hpp"
#include "bus/port/spin_budget.hpp"
#include "bus/ring/counts.hpp"
#include "bus/ring/flow.hpp"
#include "bus/ring/lock.hpp"
#include "bus/ring/ring.hpp"

namespace shmif::bus {

struct NativeAttachment::Impl {
  PortOptions options;
  std::uint64_t token = base::process_token();
  UniqueFd fd;  ///< for the mapping, probes and the inotify doorbell; holds no lock
  Mapping mapping;
  Ring ring;
  OwnedSlot owned;
  bool attached = false;
  // The slot shows these to others. The port uses its own copies: if somebody overwrites the slot,
  // the bus must not look quiet.
  std::atomic<std::uint32_t> own_flags{0};
  std::atomic<std::uint64_t> own_mac{0};
  /// Held while one of these changes together with the slot, so that both agree afterwards.
  std::mutex slot_mutex;
  std::mutex mac_mutex;  ///< one set_mac() at a time

  /// A slot has one claim, so one thread sends at a time. A thread that holds this sleeps only for
  /// the bus lock: see wait_for_room().
  std::mutex send_mutex;
  unsigned threads_waiting_for_room = 0;     ///< under send_mutex
  std::condition_variable nobody_waits;      ///< signalled when no thread waits for room
  std::atomic<std::uint32_t> interrupts{0};  ///< how often send() was told to end its waits
  std::optional<BusLock> lock;
  std::optional<FlowControl> flow;  ///< empty if senders never wait for ports
  RingWriter writer;
  Bell bell;
  // Under send_mutex, too: which addresses are in PortSlot::learned.
  std::uint64_t last_learned = 0;                      ///< as learned_word() writes it
  std::array<MacAddress, kLearnedAddresses> listed{};  ///< by set_other_macs()
  std::size_t listed_count = 0;
  bool listed_too_many = false;
  bool learned_too_many = false;
  std::uint64_t epoch_sent_in = 0;

  /// Held inside receive and the wait calls. So down() knows when they are over, and up() may move
  /// the reader.
  std::mutex receive_mutex;
  RingReader reader;
  std::uint64_t unreported_lost = 0;  ///< found by a wait or release(), not yet reported by receive
  std::size_t taken_back = 0;         ///< frames still lent at up(): release() reports them
  std::chrono::nanoseconds patience{0};  ///< how long senders wait for a slow port; 0: never
  std::optional<std::chrono::steady_clock::time_point> unheeded_since;  ///< senders ignore it (W3)
  Sleeper sleeper;
  SpinBudget spin_budget;
  // The level-triggered descriptor (bus/port/attachment_level.cpp).
  std::atomic<bool> has_level_descriptor{false};
  bool level_asleep = false;                  ///< announced by settle()
  std::chrono::nanoseconds level_longest{0};  ///< of this sleep, until the next look
  unsigned looks_in_vain = 0;                 ///< of the lookout, while a call held the port
  bool known_readable = false;  ///< the descriptor is readable until settle() makes it quiet
  bool failed = false;          ///< the last receive failed, and settle() has not seen that yet
  bool rests = false;           ///< quiet after a failure, until the lookout looks after this time
  std::chrono::steady_clock::time_point rests_until;
  std::unique_ptr<Lookout> lookout;
  std::uint64_t epoch = 0;
  bool was_up = false;
  std::atomic<bool> interrupted{false};
  /// The port has sent since it last received. The next frame may be the answer, and the port may
  /// reply to it.
  std::atomic<bool> awaits_answer{false};
  /// Grows when wait_until_up() must look again. Not in the file, so that no peer can delay it.
  std::atomic<std::uint32_t> news{0};
  Counts counts;

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (!base::is_this_process(token)) {
      mapping.forget();  // the parent's; this process does not have the pages
      owned.life.forget();
      owned.plate.forget();
      sleeper.forget();
      static_cast<void>(lookout.release());  // its thread does not exist here
      return;
    }
    lookout.reset();  // its thread uses the rest
    if (attached) free_slot(ring, owned.slot);
    sleeper = Sleeper();  // first, because its helper thread uses the mapping
  }

  PortSlot& slot() const noexcept { return ring.slot(owned.slot); }
  bool forked() const noexcept { return !base::is_this_process(token); }
  bool up() const noexcept { return (own_flags.load(std::memory_order_relaxed) & kFlagUp) != 0; }
  void set_flag(std::uint32_t flag, bool on) noexcept {
    {
      const std::lock_guard guard(slot_mutex);
      if (on) {
        own_flags.fetch_or(flag);
        fetch_or(slot().flags, flag);
      } else {
        own_flags.fetch_and(~flag);
        fetch_and(slot().flags, ~flag);
      }
    }
    if ((flag & (kFlagPromiscuous | kFlagLearnedTooMany)) != 0) tell_filter_change(ring);
  }
  void show_mac(std::uint64_t mac) noexcept {
    {
      const std::lock_guard guard(slot_mutex);
      store_seq_cst(slot().mac, mac);
      own_mac = mac;
    }
    tell_filter_change(ring);
  }
  void show_slot() noexcept {
    {
      const std::lock_guard guard(slot_mutex);
      restore_slot(ring, owned, MacAddress::from_u64(own_mac.load()), options.kind);
      store_seq_cst(slot().flags, own_flags.load());
    }
    tell_filter_change(ring);
  }
  std::error_code broken() const noexcept {
    return mapping.lost() ? Errc::bus_lost : Errc::corrupt;
  }

  /// One call of send().
  struct Sending {
    WhenFull when_full;
    std::unique_lock<std::mutex> lock;  ///< of send_mutex; released only while it waits for room
    std::uint32_t interrupts;           ///< Impl::interrupts when the call began
  };
  SendResult send_batch(std::span<const FrameView> frames, Sending& sending) noexcept;
  std::uint64_t room_for(Sending& sending, std::uint64_t min, std::uint64_t wanted,
                         std::error_code& ended) noexcept;
  std::error_code wait_after_full(Sending& sending) noexcept;
  std::error_code wait_for_room(Sending& sending, std::uint64_t min, std::uint64_t wanted) noexcept;
  std::error_code end_of_wait(const Sending& sending) const noexcept;
  AppendStatus append(const Batch& batch) noexcept;
  void show_pauses() noexcept;
  bool bury_dead_claims() noexcept;
  void tidy_up_after_repair() noexcept;
  void learn(std::span<const FrameView> frames) noexcept;
  void forget(MacAddress mac) noexcept;
  void list(std::span<const MacAddress> macs) noexcept;
  void show_listed() noexcept;
  void show_too_many() noexcept;
  std::uint64_t* place_of(std::uint64_t word) const noexcept;
  void publish_position() noexcept {
    store_relaxed(slot().position, reader.position());
    store_relaxed(slot().read_inside, reader.place().passed());
    store_relaxed(slot().next_number, reader.next_number());
  }
  std::error_code go_up() noexcept;
  bool go_back(const RingReader::Place& before) noexcept;
  void tell_news() noexcept {
    news.fetch_add(1);
    news.notify_all();
  }
  template <typename Read>
  ReceiveResult take(FrameBatch& into, const Read& read) noexcept;
  template <typename Read>
  ReceiveResult take_held(FrameBatch& into, const Read& read) noexcept;
  std::size_t end_loan() noexcept;
  bool find_place_after_repair() noexcept;
  void ask_to_be_heeded(bool caught_up) noexcept;
  enum class Seen : std::uint8_t { nothing, frame, flood };
  Seen look_for_frame() noexcept;
  Seen last_look() noexcept;
  bool spin() noexcept;
  std::chrono::nanoseconds longest_sleep(std::chrono::nanoseconds announced) const noexcept;
  bool wake_up(bool saw_nothing) noexcept;
  /// Whether the program has heard the rings so far: only then they may be made quiet.
  enum class Rings : std::uint8_t { heard, unheard };
  void settle(Rings rings) noexcept;
  bool end_level_sleep() noexcept;
  void make_readable() noexcept;
  void make_quiet() noexcept;
  std::chrono::nanoseconds look_again() noexcept;
  FrameBatch nothing{0, 0};  ///< always full
};

}  // namespace shmif::bus
