#include "instruments/counters/sample_buffers.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "shmif/debug/debug.hpp"

namespace shmif::perf {

namespace {

constexpr unsigned kHalfBits = 32;
constexpr std::uint64_t kHalf = 0xffffffffU;

/// The word at offset `at` of a record; 0 if the record is shorter.
std::uint64_t word_at(std::span<const std::byte> body, std::size_t at) noexcept {
  std::uint64_t value = 0;
  if (body.size() >= at + sizeof value) std::memcpy(&value, body.data() + at, sizeof value);
  return value;
}

}  // namespace

void LostCount::add(SampleCounts& counts, std::optional<std::uint64_t> by_events,
                    bool sampled) noexcept {
  by_records_ += counts.lost;
  const std::uint64_t all = std::max({by_records_, by_events.value_or(0), told_});
  counts.lost = all - told_;
  told_ = all;
  counts.lost_is_least = sampled && !by_events;
}

std::uint64_t SampleBuffers::fields_of(const Sampling& sampling, bool spread) noexcept {
  return kOwnFields | (sampling.fields & kOptionalFields) |
         (spread ? std::uint64_t{PERF_SAMPLE_TIME} : 0) |
         (sampling.frequency != 0 ? std::uint64_t{PERF_SAMPLE_PERIOD} : 0);
}

Result<void> SampleBuffers::share(CounterPlace place, int file) {
  const auto found = std::ranges::find_if(rings_, [&](const Ring& ring) {
    const bool same = place.cpu >= 0 ? ring.place.cpu == place.cpu : ring.place == place;
    return ring.shared && same;
  });
  if (found == rings_.end()) {
    const auto made = make(place, file, Use::shared);
    return made ? Result<void>() : Result<void>(made.error());
  }
  const int got =
      kernel_.control(file, PERF_EVENT_IOC_SET_OUTPUT, static_cast<std::uintptr_t>(found->file));
  if (got < 0) return Error::from_errno(-got, "cannot share a ring for samples");
  return {};
}

Result<std::size_t> SampleBuffers::make(CounterPlace place, int file, Use use) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* memory = nullptr;
  std::size_t bytes = page * pages_;
  int got = kernel_.map(file, page + bytes, &memory);
  // All samplers of a user share one memory limit, so a smaller ring may fit. It is read often.
  while (got == -EPERM && bytes > page) {
    bytes /= 2;
    got = kernel_.map(file, page + bytes, &memory);
  }
  if (got == -EPERM) {
    return Error(Errc::not_supported,
                 "cannot map memory for samples: all that this user may lock is in use (wait until "
                 "other samplers have ended, or as root raise kernel.perf_event_mlock_kb with "
                 "sysctl)");
  }
  if (got < 0) return Error::from_errno(-got, "cannot map memory for samples");
  if (bytes < page * pages_) {
    debug(Debug::counters, [&] {
      return "a ring for samples has " + std::to_string(bytes / page) + " pages instead of " +
             std::to_string(pages_) + ": all that this user may lock is in use";
    });
  }
  rings_.push_back(
      {place, file, memory, page + bytes, SampleRing(memory, page, bytes), use == Use::shared});
  return rings_.size() - 1;
}

void SampleBuffers::forget(int file, std::uint64_t id) noexcept {
  if (const auto known = event_of_id_.find(id); known != event_of_id_.end()) {
    if (--ids_of_event_[known->second] == 0) ids_of_event_.erase(known->second);
    event_of_id_.erase(known);
  }
  const auto gone = std::ranges::find(rings_, file, &Ring::file);
  if (gone == rings_.end()) return;
  kernel_.unmap(gone->memory, gone->bytes);
  rings_.erase(gone);
}

void SampleBuffers::close() noexcept {
  for (const Ring& ring : rings_) kernel_.unmap(ring.memory, ring.bytes);
  forget_all();
}

void SampleBuffers::forget_all() noexcept {
  rings_.clear();
  event_of_id_.clear();
  ids_of_event_.clear();
}

std::optional<std::size_t> SampleBuffers::event_of(std::uint64_t id) const {
  const auto found = event_of_id_.find(id);
  if (found != event_of_id_.end()) return found->second;
  if (ids_of_event_.size() == 1) return ids_of_event_.begin()->first;
  return std::nullopt;
}

void SampleBuffers::know(std::uint64_t id, std::size_t event) {
  event_of_id_[id] = event;
  ++ids_of_event_[event];
}

std::vector<int> SampleBuffers::files(bool triggers) const {
  std::vector<int> files;
  files.reserve(rings_.size());
  for (const Ring& ring : rings_) {
    if (ring.shared || triggers) files.push_back(ring.file);
  }
  return files;
}

/// The time of the next record. A sample has its time after the fields of kOwnFields. Other records
/// end with the same fields (sample_id_all), and the last field is the number of the event.
std::uint64_t SampleBuffers::time_of(const Ring& ring, const EventSets& sets) const {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  if (!spread_) return 0;
  if (ring.next->type == PERF_RECORD_SAMPLE) return word_at(ring.body, 3 * kWord);
  if (ring.body.size() < kWord) return 0;
  const auto event = event_of_id_.find(word_at(ring.body, ring.body.size() - kWord));
  if (event == event_of_id_.end()) return 0;
  const bool with_cpu = (sets.setup(event->second).sampling.fields & PERF_SAMPLE_CPU) != 0;
  const std::size_t from_end = (with_cpu ? 3 : 2) * kWord;
  return ring.body.size() < from_end ? 0 : word_at(ring.body, ring.body.size() - from_end);
}

void SampleBuffers::take_sample(SampleSink& sink, const Ring& ring, const EventSets& sets,
                                SampleCounts& counts) {
  const auto event = event_of(word_at(ring.body, 0));
  if (!event) {
    ++dropped_;
    return;
  }
  const Sampling& sampling = sets.setup(*event).sampling;
  auto sample = read_sample(ring.body, fields_of(sampling, spread_), chain_);
  if (!sample) return;
  if (sampling.period != 0) sample->period = sampling.period;
  sample->event = *event;
  sample->in_kernel = (ring.next->misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_KERNEL;
  ++counts.samples;
  sink.sample(*sample);
}

void SampleBuffers::take_record(SampleSink& sink, const Ring& ring, const EventSets& sets,
                                SampleCounts& counts) {
  const perf_event_header& header = *ring.next;
  const std::span<const std::byte> body(ring.body);
  constexpr std::size_t kName = 8;  // offset in a PERF_RECORD_COMM
  const std::uint64_t first = word_at(body, 0);
  switch (header.type) {
    case PERF_RECORD_SAMPLE: take_sample(sink, ring, sets, counts); return;
    case PERF_RECORD_LOST: counts.lost += word_at(body, sizeof first); return;
    case PERF_RECORD_LOST_SAMPLES: lost_in_pmu_ += first; return;
    case PERF_RECORD_MMAP:
    case PERF_RECORD_MMAP2:
      if (const auto mapping = read_mapping(body, header.type == PERF_RECORD_MMAP2)) {
        sink.mapped(*mapping);
      }
      return;
    case PERF_RECORD_FORK:  // the child's number, and the parent's
      sink.forked(static_cast<pid_t>(first >> kHalfBits), static_cast<pid_t>(first & kHalf));
      return;
    case PERF_RECORD_COMM:
      if ((header.misc & PERF_RECORD_MISC_COMM_EXEC) != 0 && body.size() > kName) {
        const auto* const name = reinterpret_cast<const char*>(body.data()) + kName;
        sink.executed(static_cast<pid_t>(first & kHalf),
                      {name, ::strnlen(name, body.size() - kName)});
      }
      return;
    default: return;
  }
}

void SampleBuffers::make_room(std::size_t ring) {
  SampleRing& full = rings_[ring].ring;
  const std::uint64_t until = full.head();
  std::vector<std::byte> record;
  while (full.nearly_full()) {
    const auto header = full.next(record, until);
    if (!header) return;
    if (header->type == PERF_RECORD_SAMPLE) ++dropped_;
    if (header->type == PERF_RECORD_LOST) lost_before_ += word_at(record, sizeof(std::uint64_t));
  }
}

SampleCounts SampleBuffers::read(SampleSink& sink, const EventSets& sets, std::uint64_t until_ns) {
  SampleCounts counts;
  counts.lost = std::exchange(lost_before_, 0);
  lost_in_pmu_ = 0;
  // Records that arrive from now on wait for the next call. Otherwise a program that samples itself
  // could read for ever.
  ends_.clear();
  for (const Ring& ring : rings_) ends_.push_back(ring.ring.head());
  for (;;) {  // until no ring has a record up to until_ns
    Ring* oldest = nullptr;
    for (std::size_t at = 0; at < rings_.size(); ++at) {
      Ring& ring = rings_[at];
      if (!ring.next) {
        ring.next = ring.ring.next(ring.body, ends_[at]);
        if (ring.next) ring.time_ns = time_of(ring, sets);
      }
      if (ring.next && (oldest == nullptr || ring.time_ns < oldest->time_ns)) oldest = &ring;
    }
    if (oldest == nullptr || oldest->time_ns > until_ns) return counts;
    take_record(sink, *oldest, sets, counts);
    oldest->next.reset();
  }
}

namespace {

/// Takes values from the front of bytes. If there are too few, returns 0, and whole() is false.
class Front {
 public:
  explicit Front(std::span<const std::byte> bytes) noexcept : left_(bytes) {}

  template <class T>
  T take() noexcept {
    T value{};
    if (left_.size() < sizeof value) {
      whole_ = false;
      left_ = {};
      return value;
    }
    std::memcpy(&value, left_.data(), sizeof value);
    left_ = left_.subspan(sizeof value);
    return value;
  }
  std::uint64_t word_if(bool there) noexcept { return there ? take<std::uint64_t>() : 0; }
  std::size_t size() const noexcept { return left_.size(); }
  std::span<const std::byte> rest() const noexcept { return left_; }
  bool whole() const noexcept { return whole_; }

 private:
  std::span<const std::byte> left_;
  bool whole_ = true;
};

std::string_view text_at_front(std::span<const std::byte> bytes) noexcept {
  const auto* const text = reinterpret_cast<const char*>(bytes.data());
  return {text, std::string_view(text, bytes.size()).find('\0') == std::string_view::npos
                    ? bytes.size()
                    : std::strlen(text)};
}

}  // namespace

std::optional<Sample> read_sample(std::span<const std::byte> body, std::uint64_t fields,
                                  std::vector<std::uint64_t>& chain) {
  // In the order in which the kernel writes them (perf_output_sample).
  const auto has = [fields](std::uint64_t field) { return (fields & field) != 0; };
  Front front(body);
  Sample sample;
  sample.id = front.word_if(has(PERF_SAMPLE_IDENTIFIER));
  sample.ip = front.word_if(has(PERF_SAMPLE_IP));
  if (has(PERF_SAMPLE_TID)) {
    sample.process = front.take<pid_t>();
    sample.thread = front.take<pid_t>();
  }
  sample.time_ns = front.word_if(has(PERF_SAMPLE_TIME));
  sample.address = front.word_if(has(PERF_SAMPLE_ADDR));
  if (has(PERF_SAMPLE_CPU)) {
    sample.cpu = front.take<int>();
    front.take<std::uint32_t>();
  }
  sample.period = front.word_if(has(PERF_SAMPLE_PERIOD));
  chain.clear();
  if (has(PERF_SAMPLE_CALLCHAIN)) {
    const auto count = front.take<std::uint64_t>();
    if (count > front.size() / sizeof count) return std::nullopt;
    chain.resize(count);
    for (std::uint64_t& caller : chain) caller = front.take<std::uint64_t>();
  }
  sample.chain = chain;
  if (!front.whole()) return std::nullopt;
  return sample;
}

std::optional<CodeMapping> read_mapping(std::span<const std::byte> body, bool second_form) {
  // Between offset and name: maj, min, ino, ino_generation, prot and flags.
  constexpr std::size_t kSecondFormBytes = 32;
  Front front(body);
  CodeMapping mapping;
  mapping.process = front.take<pid_t>();
  front.take<pid_t>();
  mapping.begin = front.take<std::uint64_t>();
  mapping.bytes = front.take<std::uint64_t>();
  mapping.file_offset = front.take<std::uint64_t>();
  for (std::size_t at = 0; second_form && at < kSecondFormBytes; at += sizeof(std::uint64_t)) {
    front.take<std::uint64_t>();
  }
  if (!front.whole()) return std::nullopt;
  mapping.file = text_at_front(front.rest());
  return mapping;
}

SampleRing::SampleRing(void* memory, std::size_t header, std::size_t bytes) noexcept
    : page_(static_cast<perf_event_mmap_page*>(memory)),
      data_(static_cast<const std::byte*>(memory) + header),
      bytes_(bytes) {}

std::uint64_t SampleRing::head() const noexcept {
  // Pairs with the kernel's barrier between writing a record and data_head.
  return std::atomic_ref<__u64>(page_->data_head).load(std::memory_order_acquire);
}

bool SampleRing::nearly_full() const noexcept {
  return head() - page_->data_tail > bytes_ - bytes_ / 4;
}

void SampleRing::copy_out(std::uint64_t position, std::span<std::byte> to) const noexcept {
  const std::uint64_t begin = position & (bytes_ - 1);
  const std::size_t first = std::min<std::size_t>(to.size(), bytes_ - begin);
  std::memcpy(to.data(), data_ + begin, first);
  std::memcpy(to.data() + first, data_, to.size() - first);
}

std::optional<perf_event_header> SampleRing::next(std::vector<std::byte>& record,
                                                  std::uint64_t until) {
  const std::atomic_ref<__u64> shared_tail(page_->data_tail);
  const std::uint64_t tail = page_->data_tail;
  perf_event_header header{};
  const std::uint64_t there = until - tail;
  if (there < sizeof header || there > bytes_) return std::nullopt;
  copy_out(tail, std::as_writable_bytes(std::span(&header, 1)));
  if (header.size < sizeof header || header.size > there) {
    shared_tail.store(until, std::memory_order_release);
    return std::nullopt;
  }
  record.resize(header.size - sizeof header);
  copy_out(tail + sizeof header, record);
  // From now on, the kernel may overwrite the record.
  shared_tail.store(tail + header.size, std::memory_order_release);
  return header;
}

}  // namespace shmif::perf
