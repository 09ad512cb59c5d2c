// shmifctl dump: shows or records what passes on a bus.

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>

#include "shmif/filter.hpp"
#include "shmif/log.hpp"
#include "shmif/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tools/await.hpp"
#include "tools/bus_options.hpp"
#include "tools/capture_file.hpp"
#include "tools/commands.hpp"
#include "tools/decode.hpp"
#include "tools/options.hpp"
#include "tools/progress.hpp"
#include "tools/values.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// Where the frames come from: a port, which the doorbell wakes and `stat` shows; or a follower,
/// where the bus may only be read, has no slot left, or is no place for a port.
class Source {
 public:
  Source(const std::string& path, Start start, const std::optional<std::string>& name,
         bool super_frames) {
    PortOptions options;
    options.name = name.value_or("");
    options.kind = LinkKind::dump;
    options.name_patience = kNamePatience;
    options.start = start;
    options.promiscuous = true;
    options.take_offloads = super_frames;
    Port port(options);
    if (const Result<void> attached = port.attach(path); attached) {
      if (const std::error_code error = port.up()) {
        throw Exception(Error(error, "cannot listen on " + path + ": " + error.message()));
      }
      port_.emplace(std::move(port));
    } else if (!name && follows(attached.error().code)) {
      log_info("no port on " + path + ", following without one: " + attached.error().message);
      follower_.emplace(
          std::move(Follower::open(path, start, Resume::first, super_frames)).value());
    } else {
      throw Exception(attached.error());
    }
  }

  ReceiveResult receive(FrameBatch& into) noexcept {
    return port_ ? port_->receive(into) : follower_->receive(into);
  }

  PortCounters counters() const noexcept {
    return port_ ? port_->counters() : follower_->counters();
  }

  /// Waits for frames, a signal, or for nobody to read `output` any more.
  void wait(const StopSignals& stop, std::chrono::nanoseconds at_most, int output) {
    if (port_) return await(*port_, stop, at_most, output);
    // A follower has no descriptor; looking at the signals this often is soon enough for a person.
    constexpr std::chrono::nanoseconds kLook = std::chrono::milliseconds(100);
    follower_->wait(std::min(at_most, kLook));
  }

 private:
  /// Whether listening may still be possible where attaching was not.
  static bool follows(const std::error_code& why) {
    return why == std::errc::permission_denied || why == std::errc::operation_not_permitted ||
           why == std::errc::read_only_file_system || why == Errc::table_full ||
           why == Errc::copied_file || why == Errc::unsupported_file_system;
  }

  std::optional<Port> port_;
  std::optional<Follower> follower_;
};

struct DumpCounts {
  std::uint64_t captured = 0;
  std::uint64_t filtered = 0;
  std::uint64_t lost = 0;
  std::uint64_t bytes = 0;
};

/// What was asked for on the command line.
struct WantedDump {
  std::string path;
  std::string filter;
  std::optional<std::string> file;
  std::optional<std::string> name;
  std::uint64_t frames = std::numeric_limits<std::uint64_t>::max();
  std::optional<std::chrono::nanoseconds> timeout;
  bool history = false;
  bool super_frames = false;
  DecodeOptions lines;
};

WantedDump parse(const CommandLine& line) {
  const Arguments args =
      Options("dump", "PATH [FILTER]...")
          .about(
              "Prints what passes on the bus, one line per frame, or records it. FILTER is an "
              "expression as tcpdump takes it (pcap-filter(7)). Ends with SIGINT, and says how "
              "many "
              "frames were captured, filtered out and lost.")
          .value("w,write", "FILE",
                 "record into a pcap file (nanoseconds); \"-\" is standard output")
          .value("c,count", "N", "end after N frames")
          .value("timeout", "SECONDS", "end after that long")
          .flag("history", "begin with the oldest frame that is still in the ring")
          .flag(
              "super-frames",
              "show what hosts leave others to cut up and checksum as it crosses the bus, not the "
              "frames it stands for")
          .flag("e,link-header", "print addresses, EtherType and length of each frame, too")
          .flag("x,hex", "print the bytes of each frame, too")
          .value("name", "NAME", "the name of the port that listens (default: the next free one)")
          .words(1, std::numeric_limits<std::size_t>::max())
          .example("shmifctl dump /dev/shm/bus0 arp or icmp6", "who looks for whom")
          .example("shmifctl dump /dev/shm/bus0 -w - | wireshark -k -i -",
                   "watch live in Wireshark")
          .example("shmifctl dump /dev/shm/bus0 --history --timeout 0 -w last.pcap",
                   "save what is in the ring now")
          .parse(line);
  WantedDump wanted;
  wanted.path = args.positional()[0];
  for (std::size_t i = 1; i < args.positional().size(); ++i) {
    wanted.filter += (i > 1 ? " " : "") + args.positional()[i];
  }
  wanted.file = args.text("write");
  wanted.name = args.text("name");
  wanted.frames = args.count("count", 1).value_or(wanted.frames);
  wanted.timeout = args.seconds("timeout");
  wanted.history = args.flag("history");
  wanted.super_frames = args.flag("super-frames");
  wanted.lines = {.link_header = args.flag("link-header"), .hex_dump = args.flag("hex")};
  return wanted;
}

FrameFilter compile(const std::string& expression) {
  Result<FrameFilter> filter = FrameFilter::compile(expression);
  if (!filter) throw UsageError{filter.error().message};
  return std::move(*filter);
}

/// Passes frames on to the screen or into a file.
class Sink {
 public:
  explicit Sink(const WantedDump& wanted)
      : lines_(wanted.lines), output_(wanted.file.value_or("-") == "-" ? STDOUT_FILENO : -1) {
    if (wanted.file) writer_.emplace(create_capture(*wanted.file));
  }

  void put(const FrameView& frame) {
    if (writer_) {
      (void)writer_->send({&frame, 1});  // a failure shows in failed(), once per batch
    } else {
      const std::string line = decode(frame, lines_);
      std::fwrite(line.data(), 1, line.size(), stdout);
    }
  }
  /// Makes everything visible, before nothing may happen for a while.
  void flush() {
    if (writer_) {
      (void)writer_->flush();
    } else {
      std::fflush(stdout);
    }
  }
  bool failed() const { return writer_ ? !writer_->status() : std::ferror(stdout) != 0; }
  /// Flushes, and complains when anything failed. Result: the exit code.
  int finish() {
    flush();
    if (!writer_ || writer_->status()) return kDone;  // main() complains about standard output
    return fail(writer_->status().error());
  }
  /// How many of `passed` frames have arrived where they should.
  std::uint64_t arrived(std::uint64_t passed) const {
    return writer_ ? writer_->written() : passed;
  }
  bool records() const { return writer_.has_value(); }
  /// Where frames go when somebody may read them as they come, else -1.
  int output() const { return output_; }

 private:
  DecodeOptions lines_;
  int output_;
  std::optional<PcapWriter> writer_;
};

/// The frames between here and the end: a loop around one batch, with all it needs.
class Capture {
 public:
  explicit Capture(const WantedDump& wanted)
      : wanted_(wanted),
        filter_(compile(wanted.filter)),
        history_end_(history_end(wanted)),
        source_(wanted.path, wanted.history ? Start::oldest : Start::now, wanted.name,
                wanted.super_frames),
        sink_(wanted),
        corruption_(wanted.path) {}

  int run() {
    const Clock::time_point begin = Clock::now();
    FrameBatch batch(kBatchFrames, kBatchBytes);
    int code = kDone;
    while (!stop_.stopped() && counts_.captured < wanted_.frames && !sink_.failed()) {
      batch.clear();
      const ReceiveResult received = source_.receive(batch);
      counts_.lost += received.lost;
      for (const FrameView& frame : batch.frames()) take(frame);
      show_progress();
      const auto left = time_left(begin);
      if (corruption_.met(received.error, stop_)) {
        if (left.count() <= 0) break;
        continue;
      }
      if (received.error) {
        code = fail("cannot go on listening on " + wanted_.path + ": " + received.error.message());
        break;
      }
      if (received.frames == 0) history_end_ = 0;  // the end of the ring: all of it was seen
      if (left.count() <= 0 && history_end_ == 0) break;
      if (received.frames == 0) {
        sink_.flush();
        source_.wait(stop_, left, sink_.output());
        if (is_abandoned(sink_.output())) break;  // as with `dump | head`
      }
    }
    progress_.clear();
    const int finished = sink_.finish();
    std::fflush(stdout);
    const bool at_least = source_.counters().lost_is_lower_bound();
    std::fprintf(stderr, "%llu frames captured, %llu filtered out, %s%llu lost\n",
                 number(sink_.arrived(counts_.captured)), number(counts_.filtered),
                 at_least ? "at least " : "", number(counts_.lost));
    if (corruption_.lasts()) return kFailed;
    return code != kDone ? code : finished;
  }

 private:
  static constexpr std::size_t kBatchFrames = 512;
  static constexpr std::size_t kBatchBytes = 2U << 20U;

  static unsigned long long number(std::uint64_t n) { return n; }

  /// The number of the newest frame when the command began, where it has to show all of them
  /// whatever the time; a busy bus would else never let a --timeout end it.
  static std::uint64_t history_end(const WantedDump& wanted) {
    if (!wanted.history || !wanted.timeout) return 0;
    return std::move(Bus::open(wanted.path)).value().info().frames;
  }

  void take(const FrameView& frame) {
    if (frame.number >= history_end_) history_end_ = 0;
    if (counts_.captured == wanted_.frames) return;
    if (!filter_.matches(frame)) {
      ++counts_.filtered;
      return;
    }
    sink_.put(frame);
    ++counts_.captured;
    counts_.bytes += frame.size();
  }

  std::chrono::nanoseconds time_left(Clock::time_point begin) const {
    if (!wanted_.timeout) return std::chrono::hours(24);
    return *wanted_.timeout - (Clock::now() - begin);
  }

  void show_progress() {
    if (!sink_.records() || !progress_.due()) return;
    progress_.show(std::to_string(counts_.captured) + " frames, " + format_bytes(counts_.bytes) +
                   ", " + std::to_string(counts_.lost) + " lost");
  }

  const WantedDump& wanted_;
  FrameFilter filter_;
  std::uint64_t history_end_;
  StopSignals stop_;  // before the port is seen on the bus: who sees it may signal
  Source source_;
  Sink sink_;
  Corruption corruption_;
  Progress progress_;
  DumpCounts counts_;
};

int run_dump(const CommandLine& line) {
  const WantedDump wanted = parse(line);
  return Capture(wanted).run();
}

}  // namespace

const Command kDumpCommand{"dump", "show or record what passes", run_dump};

}  // namespace shmif::tools
