#include "perf/counters/sample_ring.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace shmif::perf {
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
