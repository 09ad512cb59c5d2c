#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/unique_fd.hpp"
#include "shmif/capture/capture_feed.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/capture/recorded_time.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/pcap_library.hpp"

namespace shmif {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes kLongGap{1};

std::string in_quotes(const std::string& path) {
  return path == "-" ? "capture from standard input" : "capture file \"" + path + "\"";
}

/// Why libpcap does not read a valid file, and what the user can do. Empty: the file is damaged.
/// libpcap has no error codes, so this looks for words of its messages.
std::string limit_behind(const std::string& trouble, const std::string& path) {
  const auto has = [&](const char* words) { return trouble.find(words) != std::string::npos; };
  const std::string convert = " (convert it: editcap -F nsecpcap " + path + " NEW.pcap)";
  if (has("snapshot length")) return "its interfaces have several snapshot lengths" + convert;
  if (has("different from the type")) {
    return "its interfaces have several link types (a bus carries Ethernet only: capture on one "
           "interface, not on \"any\")";
  }
  if (has("bigger than") || has("exceeds snapshot") || has("larger than")) {
    return "it has a record that is longer than the limit in its own header" + convert;
  }
  if (has("different byte orders") || has("unsupported") || has("savefile major version") ||
      has("too high") || has("interfaces in the file")) {
    return "libpcap cannot read it" + convert;
  }
  return {};
}

/// The program that decompresses a file with this beginning; empty if it is not compressed.
std::string decompressor(const std::string& begin) {
  struct Kind {
    std::string_view magic;
    const char* program;
  };
  constexpr std::array<Kind, 5> kKinds{{{"\x1f\x8b", "zcat"},
                                        {"\x28\xb5\x2f\xfd", "zstdcat"},
                                        {"\xfd\x37zXZ", "xzcat"},
                                        {"BZh", "bzcat"},
                                        {"\x04\x22\x4d\x18", "lz4cat"}}};
  for (const Kind& kind : kKinds) {
    if (begin.starts_with(kind.magic)) return kind.program;
  }
  return {};
}

/// Opens a FIFO without waiting for its writer. A later wait for it ends at the stop descriptor.
Result<UniqueFd> open_input(const std::string& path) {
  UniqueFd fd(path == "-" ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                          : open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) {
    return Error::from_errno(errno, "cannot open " + in_quotes(path));
  }
  if (S_ISDIR(status.st_mode)) return Error::from_errno(EISDIR, "cannot read " + in_quotes(path));
  return fd;
}

}  // namespace

struct PcapReader::Impl {
  explicit Impl(const PcapLibrary& library) : pcap(library), file(nullptr, library.close) {}

  const PcapLibrary& pcap;
  std::string path;
  PcapReadOptions options;
  double speed = 0;
  UniqueFd timer;
  UniqueFd epoll;  // for a pipe: watches the timer, and the pipe while we wait for it
  bool watches_input = false;
  std::optional<CaptureFeed> feed;  // `file` reads from it
  std::unique_ptr<pcap_t, void (*)(pcap_t*)> file;
  std::uint64_t file_bytes = 0;

  // The record that was read ahead, so that we can wait for its time. libpcap keeps its bytes until
  // the next read.
  const pcap_pkthdr* next = nullptr;
  const unsigned char* next_bytes = nullptr;
  std::uint32_t next_size = 0;       // without its frame check sequence
  std::uint32_t next_true_size = 0;  // of the whole frame, also without it
  std::uint64_t next_after_ns = 0;   // after the first frame, as recorded
  bool ended = false;
  std::string trouble;  // the message of libpcap about the record that ended the link
  TooLong too_long;

  bool started = false;
  Clock::time_point start;
  RecordedTime time;
  bool gap_told = false;
  std::uint64_t skipped = 0;
  std::uint64_t unsegmented = 0;

  /// The time of a record in nanoseconds. libpcap was asked to store nanoseconds in tv_usec. It
  /// takes the 32 bits of seconds that a classic pcap file has for signed: from 2038 on, they would
  /// be before 1970.
  std::uint64_t time_of(const pcap_pkthdr& header) const noexcept {
    const auto seconds = feed->is_pcapng() ? static_cast<std::uint64_t>(header.ts.tv_sec)
                                           : static_cast<std::uint32_t>(header.ts.tv_sec);
    return seconds * 1'000'000'000U + static_cast<std::uint64_t>(header.ts.tv_usec);
  }

  /// Makes `next` the record to deliver next. Result: false at the end, and if the record has not
  /// come yet.
  bool look() noexcept {
    while (next == nullptr && !ended && feed->look()) {
      pcap_pkthdr* header = nullptr;
      const int n = pcap.next(file.get(), &header, &next_bytes);
      if (n != 1) {
        ended = true;
        if (n == PCAP_ERROR && !feed->stopped()) trouble = pcap.error(file.get());
        debug(Debug::record, [this] {
          return "capture " + path + ": read to its end" +
                 (trouble.empty() ? "" : ", which came early: " + trouble);
        });
        break;
      }
      constexpr std::uint32_t kSegmentationOffloaded = 1U << 11U;  // epb_flags
      if ((feed->packet().flags & kSegmentationOffloaded) != 0) ++unsegmented;
      // What a record has behind the length of its frame is padding. Some programs write no length.
      const std::uint32_t whole = header->len < kEthernetHeaderBytes ? header->caplen : header->len;
      const std::uint32_t fcs = std::min(feed->packet().fcs_bytes, whole);
      next_true_size = whole - fcs;
      next_size = std::min<std::uint32_t>(header->caplen, next_true_size);
      if (next_size < kEthernetHeaderBytes) {
        ++skipped;
      } else if (next_size > kMaxFrameBytes) {
        // It is left out, because a cut frame would be one that nobody sent.
        ++too_long.records;
        too_long.longest_bytes = std::max<std::uint64_t>(too_long.longest_bytes, next_true_size);
      } else {
        next = header;
        next_after_ns = time.next(time_of(*header));
      }
    }
    return next != nullptr;
  }

  Clock::time_point after(std::uint64_t recorded_ns) const noexcept {
    constexpr double kTooFarNs = 1e18;  // 30 years; beyond it, the sum below might overflow
    const double wait_ns = std::min(static_cast<double>(recorded_ns) / speed, kTooFarNs);
    return start + std::chrono::nanoseconds(static_cast<std::int64_t>(wait_ns));
  }

  /// The time at which `next` must arrive.
  Clock::time_point due() noexcept {
    if (!started) {
      started = true;
      start = Clock::now();
    }
    return after(next_after_ns);
  }

  /// Also makes the epoll descriptor readable when input comes. At its end a pipe stays readable,
  /// so watch it only while we wait for it.
  void watch_input(bool on) noexcept {
    if (!epoll || on == watches_input) return;
    epoll_event event{};
    event.events = EPOLLIN;
    watches_input = ::epoll_ctl(epoll.get(), on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, feed->descriptor(),
                                &event) == 0 &&
                    on;
  }

  bool is_due() noexcept {
    if (speed == 0) return true;
    const Clock::time_point when = due();  // first, because it may start the clock
    return when <= Clock::now();
  }

  /// Appends `next`, cut to the room if that is too small. Result: false if it must wait for the
  /// next batch.
  bool deliver(FrameBatch& into) noexcept {
    if (!into.has_room_for(next_size)) return false;
    const std::span<std::byte> room = into.room();
    const std::size_t size = std::min<std::size_t>(next_size, room.size());
    std::memcpy(room.data(), next_bytes, size);
    FrameView view(room.data(), size);
    view.time_ns = time_of(*next);
    if (next_true_size > size) view.true_bytes = next_true_size;
    into.push(view);
    next = nullptr;
    return true;
  }
};

Result<PcapReader> PcapReader::open(const std::string& path, const PcapReadOptions& options) {
  if (!(options.speed >= 0)) {
    return Error(Errc::bad_argument, "the speed of a replay must not be negative");
  }
  auto fd = open_input(path);
  if (!fd) return fd.error();
  const Result<const PcapLibrary*> library = pcap_library();
  if (!library) {
    return Error(library.error().code,
                 "cannot read " + in_quotes(path) + ": " + library.error().message);
  }
  const PcapLibrary& pcap = **library;
  auto impl = std::make_unique<Impl>(pcap);
  impl->path = path;
  impl->options = options;
  impl->speed = options.speed;
  impl->time = RecordedTime(static_cast<std::uint64_t>(
      std::max(0.0, static_cast<double>(options.max_gap.count()) * options.speed)));
  struct stat status{};
  if (fstat(fd->get(), &status) == 0 && S_ISREG(status.st_mode)) {
    impl->file_bytes = static_cast<std::uint64_t>(status.st_size);
  }
  char text[PCAP_ERRBUF_SIZE] = {};
  impl->feed.emplace(*std::move(fd), options.stop_descriptor);
  std::FILE* const stream = impl->feed->stream();
  if (stream == nullptr) return Error::from_errno(errno, "cannot read " + in_quotes(path));
  impl->file.reset(pcap.open_stream(stream, PCAP_TSTAMP_PRECISION_NANO, text));
  if (!impl->file) {
    std::fclose(stream);
    if (impl->feed->stopped()) {
      return Error(std::make_error_code(std::errc::interrupted),
                   "cannot read " + in_quotes(path) + ": it was ended before the capture began");
    }
    const std::string program = decompressor(impl->feed->begin());
    return Error(
        Errc::bad_argument,
        "cannot read " + in_quotes(path) + ": " +
            (program.empty() ? text + std::string(" (expected a pcap or pcapng file)")
                             : "it is compressed (decompress it: " + program + ' ' +
                                   (path == "-" ? "FILE" : path) + " | ..., and read - instead)"));
  }
  if (const int type = pcap.datalink(impl->file.get()); type != DLT_EN10MB) {
    const char* const name = pcap.datalink_name(type);
    return Error(Errc::bad_argument, "cannot replay " + in_quotes(path) + ": its link type is \"" +
                                         name + "\", a bus carries Ethernet only (capture on one " +
                                         "interface, not on \"any\")");
  }
  if (options.speed > 0) {
    impl->timer.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!impl->timer)
      return Error::from_errno(errno, "cannot make a timer to replay " + in_quotes(path));
  }
  if (impl->feed->descriptor() >= 0) {
    impl->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN;
    if (!impl->epoll || (impl->timer && ::epoll_ctl(impl->epoll.get(), EPOLL_CTL_ADD,
                                                    impl->timer.get(), &event) != 0)) {
      return Error::from_errno(errno, "cannot wait for " + in_quotes(path));
    }
  }
  debug(Debug::record, [&] {
    return "capture " + path + ": opened to read, " +
           (impl->feed->descriptor() < 0 ? "a file" : "no regular file");
  });
  return PcapReader(std::move(impl));
}

PcapReader::PcapReader(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PcapReader::PcapReader(PcapReader&&) noexcept = default;
PcapReader& PcapReader::operator=(PcapReader&&) noexcept = default;
PcapReader::~PcapReader() = default;

SendResult PcapReader::send(std::span<const FrameView> frames) noexcept {
  return {.taken = frames.size(), .error = {}};
}

ReceiveResult PcapReader::receive(FrameBatch& into) noexcept {
  ReceiveResult result;
  while (!into.full() && impl_->look()) {
    if (!impl_->is_due()) break;
    if (!impl_->deliver(into)) break;
    ++result.frames;
  }
  if (result.frames == 0 && impl_->ended) result.error = Errc::link_ended;
  return result;
}

int PcapReader::descriptor() noexcept {
  return impl_->epoll ? impl_->epoll.get() : impl_->timer.get();
}

WaitHint PcapReader::prepare_wait() noexcept {
  if (!impl_->look()) {
    if (impl_->ended) return {.ready = true};
    impl_->watch_input(true);
    return {.ready = false, .at_most = std::chrono::hours(24)};
  }
  if (impl_->speed == 0) return {.ready = true};
  const auto due = impl_->due();
  const auto left = due - Clock::now();
  if (left.count() <= 0) return {.ready = true};
  if (left > kLongGap && !std::exchange(impl_->gap_told, true) && impl_->options.on_long_gap)
    impl_->options.on_long_gap(left);
  const auto at = due.time_since_epoch().count();  // steady_clock uses CLOCK_MONOTONIC
  const itimerspec when{.it_interval = {},
                        .it_value = {.tv_sec = at / 1'000'000'000, .tv_nsec = at % 1'000'000'000}};
  timerfd_settime(impl_->timer.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  return {.ready = false, .at_most = left};
}

void PcapReader::finish_wait() noexcept {
  impl_->watch_input(false);
  if (!impl_->timer) return;
  const itimerspec off{};
  timerfd_settime(impl_->timer.get(), 0, &off, nullptr);  // also clears an expiry
}

std::size_t PcapReader::max_frame_bytes() noexcept {
  return kMaxFrameBytes;
}
std::string PcapReader::address() {
  return "pcap:" + impl_->path;
}

Result<void> PcapReader::status() const {
  const std::string& trouble = impl_->trouble;
  if (!trouble.empty()) {
    std::string limit = limit_behind(trouble, impl_->path);
    if (limit.empty() && impl_->feed->is_beyond_libpcap())
      limit =
          "libpcap cannot read it (convert it: editcap -F nsecpcap " + impl_->path + " NEW.pcap)";
    if (!limit.empty()) {
      return Error(std::make_error_code(std::errc::not_supported),
                   "cannot read " + in_quotes(impl_->path) + " to its end: " + limit);
    }
    return Error(std::make_error_code(std::errc::io_error),
                 in_quotes(impl_->path) + " is damaged: " + trouble);
  }
  const TooLong& passed = impl_->too_long;
  if (passed.records == 0) return {};
  return Error(Errc::frame_too_long,
               "cannot replay " + std::to_string(passed.records) +
                   (passed.records == 1 ? " frame of " : " frames of ") + in_quotes(impl_->path) +
                   ": the longest has " + std::to_string(passed.longest_bytes) +
                   " bytes, and a bus carries at most " + std::to_string(kMaxFrameBytes));
}

std::uint64_t PcapReader::unsegmented() const noexcept {
  return impl_->unsegmented;
}

PcapReader::TooLong PcapReader::too_long() const noexcept {
  return impl_->too_long;
}

std::uint64_t PcapReader::waiting() const noexcept {
  return impl_->next != nullptr ? 1 : 0;
}

std::uint64_t PcapReader::skipped() const noexcept {
  return impl_->skipped;
}

std::optional<Clock::time_point> PcapReader::next_loop() const noexcept {
  if (!impl_->started || impl_->speed == 0) return std::nullopt;
  return impl_->after(impl_->time.loop_ns());
}

std::optional<double> PcapReader::progress() const noexcept {
  if (impl_->file_bytes == 0) return std::nullopt;
  const auto at = static_cast<double>(impl_->feed->served());
  return std::min(1.0, at / static_cast<double>(impl_->file_bytes));
}

}  // namespace shmif
