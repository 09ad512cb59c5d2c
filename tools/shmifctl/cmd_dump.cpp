// shmifctl dump: shows or records the frames on a bus.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/quantity.hpp"
#include "base/signals.hpp"
#include "base/standard_streams.hpp"
#include "base/text.hpp"
#include "shmif/filter.hpp"
#include "shmif/log.hpp"
#include "shmif/port.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/capture/dump_sink.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/relay/bus_options.hpp"
#include "tools/relay/watches.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/shmifctl/live_capture.hpp"

namespace shmif::tools {

namespace {

using Clock = std::chrono::steady_clock;

/// The source of frames. Usually it is a port, which the doorbell wakes and `stat` shows. If the
/// bus may only be read, has no free slot, or does not allow ports, it is a follower.
class Source {
 public:
  Source(const std::string& path, const std::optional<std::string>& name, PortOptions options) {
    options.name = name.value_or("");
    options.kind = LinkKind::dump;
    options.name_patience = kNamePatience;
    options.promiscuous = true;
    Port port(options);
    if (const Result<void> attached = port.attach(path); attached) {
      if (const std::error_code error = port.up()) {
        throw Exception(Error(error, "cannot listen on " + path + ": " + error.message()));
      }
      port_.emplace(std::move(port));
    } else if (!name && !options.lock_memory && follows(attached.error().code)) {
      log_info("cannot attach a port to " + path +
               ", following the bus without one: " + attached.error().message);
      follower_.emplace(
          std::move(Follower::open(path, options.start, options.resume, options.take_offloads))
              .value());
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

  void add_to(BusWatch& watch) const {
    if (port_) watch.add(*port_);
  }

  std::uint64_t bus_frames() const noexcept {
    return port_ ? port_->bus_frames() : follower_->bus_frames();
  }

  /// Waits for frames, for a signal, or until the reader of `output` is gone.
  void wait(const StopSignals& stop, std::chrono::nanoseconds at_most, int output) {
    if (port_) return await(*port_, stop, at_most, output);
    // A follower's wait() ignores signals; checking for signals this often is fast enough for a
    // user.
    constexpr std::chrono::nanoseconds kLook = std::chrono::milliseconds(100);
    follower_->wait(std::min(at_most, kLook));
  }

 private:
  /// Whether a follower may be able to listen although attaching failed.
  static bool follows(const std::error_code& why) {
    return why == std::errc::permission_denied || why == std::errc::operation_not_permitted ||
           why == std::errc::read_only_file_system || why == Errc::table_full ||
           why == Errc::copied_file || why == Errc::unsupported_file_system;
  }

  std::optional<Port> port_;
  std::optional<Follower> follower_;
};

/// The values of the command line.
struct WantedDump {
  std::string path;
  std::string filter;
  std::vector<std::string> ports;  ///< show only frames from these; empty if from any
  std::optional<std::string> name;
  std::uint64_t frames = std::numeric_limits<std::uint64_t>::max();
  std::optional<std::chrono::nanoseconds> timeout;
  PortOptions port;  ///< how to read the bus
  WantedOutput output;
  bool json = false;
  bool summary = true;  ///< print the counts at the end
};

/// Prints the summary, even to a pipe whose reader is gone.
void print_summary(const WantedDump& wanted, const JsonOutput& json, const DumpCounts& counts) {
  if (!wanted.summary) return;
  const base::SignalGuard guard(SIGPIPE);
  if (json.is_wanted()) {
    json.print(to_json(wanted.path, wanted.output.file, counts));
  } else {
    std::fprintf(stderr, "%s\n", to_text(counts).c_str());
  }
}

Options dump_options() {
  Options options("dump", "PATH [FILTER]...");
  options.bus_first(" and there is no FILTER")
      .about(
          R"(Prints the frames on the bus, one line each, or records them, until a signal comes
             or the reader of its output has gone. At the end, prints to standard error how many
             frames were captured, filtered out and lost, and exits 0. FILTER is a tcpdump
             expression (man pcap-filter), as one argument or several; its hosts, ports and
             protocols are numbers, because a name would have to be looked up.)")
      .value("w,write", "FILE",
             R"(record into FILE; "-" is standard output. A name that ends with .pcapng makes a
                pcapng file, which also holds port names and losses; any other name makes a pcap
                file. Replaces an older capture, but no other file)")
      .value("format", "KIND", "record as \"pcap\" or \"pcapng\", whatever the file is called")
      .value("s,snapshot-length", "BYTES",
             "keep at most that many bytes of each frame: 14 to 262144; 0: all (default)")
      .value("C,rotate-size", "SIZE",
             R"(with -w: continue in FILE1, FILE2, ... when a file is larger than SIZE. A plain
                number is in millions of bytes; with a suffix K, M or G it is in powers of 1024)")
      .value("G,rotate-seconds", "SECONDS",
             R"(with -w: continue in a new file each time that SECONDS have passed; FILE is a
                format for strftime, such as x-%H%M%S.pcap, with the time at which the file's
                span begins. The file is closed when its span is over, and the next frame opens
                the next one. If two files in a row would get the same name, a number is added)")
      .value("W,rotate-files", "N",
             R"(with -C alone: keep the N newest files. With -G alone: end after N files. With
                both, N limits nothing: it only sets how many digits the numbers in the names of
                the files have)")
      .value("c,count", "N", "end after N frames")
      .value("timeout", "SECONDS", "end after that time")
      .repeatable("port", "NAME", "only frames that the port NAME sent")
      .flag("sender", "also print the name of the port that sent each frame")
      .flag("history",
            R"(start with the oldest frame that is still in the ring; by default, with the first
               one that is sent from now on)")
      .value("resume", "WHERE",
             R"(where to go on after senders have overwritten frames that were not shown yet:
                "first" (default) is the oldest frame still in the ring, which loses the fewest
                frames; "newest" is the next frame that is sent, so that what is shown is never
                late for long)")
      .flag("super-frames",
            R"(print or record each super-frame (an unsegmented TSO packet) as one frame, not
               its segments)")
      .flag("e,link-header", "also print addresses, EtherType and length of each frame")
      .flag("x,hex", "also print the bytes of each frame")
      .flag("n", "no effect: addresses are always printed as numbers")
      .value("name", "NAME",
             "the name of the port that listens (default: dump, or the next free of dump2, "
             "dump3, ...)")
      .flag("json",
            R"(print the numbers of the summary to standard output as JSON; without -w, the lines
               go to standard error)");
  add_lock_option(options);
  options.words(1, std::numeric_limits<std::size_t>::max())
      .example("shmifctl dump /dev/shm/bus0 arp or icmp6", "ARP and ICMPv6 only")
      .example("shmifctl dump /dev/shm/bus0 -w - | wireshark -k -i -", "watch live in Wireshark")
      .example("shmifctl dump /dev/shm/bus0 --history --timeout 0 -w last.pcapng",
               "save what is in the ring now")
      .example("shmifctl dump /dev/shm/bus0 -w ring.pcap -C 100 -W 10",
               "keep the last gigabyte, in ten files")
      .example("shmifctl dump /dev/shm/bus0 --resume newest arp",
               "watch a busy bus: skip what came late")
      .example("shmifctl dump /dev/shm/bus0 -w x.pcap --timeout 10 --json | jq .lost_frames",
               "how many frames a capture of 10 seconds lacks");
  return options;
}

/// A number without a unit means millions of bytes, as with tcpdump; with a unit it is a size.
std::uint64_t parse_rotate_size(const std::string& text) {
  constexpr std::uint64_t kMax = std::uint64_t{1} << 60U;
  std::uint64_t bytes = 0;
  if (const auto millions = base::read_digits(text)) {
    bytes = *millions <= kMax / 1'000'000 ? *millions * 1'000'000 : 0;
  } else if (const auto size = base::read_size(text)) {
    bytes = *size;
  }
  if (bytes != 0) return bytes;
  throw UsageError{"--rotate-size \"" + text +
                   "\" is not a size (millions of bytes, such as 10, or 64K, 10M, 1G)"};
}

RotationWish rotation(const Arguments& args, const std::optional<std::string>& file) {
  RotationWish wish;
  if (const auto size = args.text("rotate-size")) wish.file_bytes = parse_rotate_size(*size);
  constexpr std::uint64_t kMaxSeconds = 1'000'000'000;
  wish.seconds = std::chrono::seconds(args.count("rotate-seconds", 1, kMaxSeconds).value_or(0));
  wish.files = args.count("rotate-files", 1).value_or(0);
  if (wish.files != 0 && !wish.any()) {
    throw UsageError{"--rotate-files counts the files of -C or -G: give one of them, too"};
  }
  if (wish.any() && file.value_or("-") == "-") {
    throw UsageError{"-C and -G need the name of a file: give -w FILE"};
  }
  if (wish.seconds.count() != 0 && wish.file_bytes == 0 && file->find('%') == std::string::npos) {
    throw UsageError{"-G would overwrite \"" + *file +
                     "\" each time (put a time into its name, such as x-%Y%m%d-%H%M%S.pcap)"};
  }
  return wish;
}

WantedOutput output(const Arguments& args) {
  WantedOutput wanted;
  wanted.file = args.text("write");
  if (const auto format = args.text("format")) {
    if (*format != "pcap" && *format != "pcapng")
      throw UsageError{"--format \"" + *format + "\" is not known (pcap or pcapng)"};
    if (!wanted.file) throw UsageError{"--format is for recording: give -w FILE, too"};
    wanted.format = *format == "pcapng" ? CaptureFormat::pcapng : CaptureFormat::pcap;
  }
  wanted.rotation = rotation(args, wanted.file);
  constexpr std::uint64_t kMaxSnap = 262144;
  const std::uint64_t snap = args.count("snapshot-length", 0, kMaxSnap).value_or(0);
  if (snap != 0 && snap < kEthernetHeaderBytes) {
    throw UsageError{
        "--snapshot-length " + std::to_string(snap) +
        " is less than the header of a frame (give 14 or more, or 0 to keep whole frames)"};
  }
  wanted.snap_bytes = static_cast<std::uint32_t>(snap);
  wanted.senders = args.flag("sender");
  wanted.lines = {.link_header = args.flag("link-header"), .hex_dump = args.flag("hex")};
  return wanted;
}

Resume resume(const Arguments& args) {
  const std::string where = args.text("resume").value_or("first");
  if (where == "first") return Resume::first;
  if (where == "newest") return Resume::newest;
  throw UsageError{"--resume \"" + where + "\" is not known (first or newest)"};
}

WantedDump parse(const CommandLine& line) {
  const Arguments args = dump_options().parse(line);
  WantedDump wanted;
  wanted.path = args.positional()[0];
  for (std::size_t i = 1; i < args.positional().size(); ++i) {
    wanted.filter += (i > 1 ? " " : "") + args.positional()[i];
  }
  wanted.ports = args.all("port");
  wanted.name = args.text("name");
  wanted.frames = args.count("count", 1).value_or(wanted.frames);
  wanted.timeout = args.seconds("timeout");
  wanted.port.start = args.flag("history") ? Start::oldest : Start::now;
  wanted.port.resume = resume(args);
  wanted.port.lock_memory = args.flag("lock-memory");
  wanted.port.take_offloads = args.flag("super-frames");
  wanted.output = output(args);
  wanted.output.bus = wanted.path;
  wanted.output.filter = wanted.filter;
  wanted.json = args.flag("json");
  if (wanted.json && wanted.output.file && is_standard_output(*wanted.output.file)) {
    throw UsageError{"--json and -w " + *wanted.output.file +
                     " both need standard output (give -w the name of another file)"};
  }
  if (wanted.json && !wanted.output.file && base::errors_vanish()) {
    throw UsageError{
        "with --json, the frames are printed on standard error, which is closed (open it, or give "
        "-w FILE)"};
  }
  return wanted;
}

FrameFilter compile(const std::string& expression) {
  Result<FrameFilter> filter = FrameFilter::compile(expression);
  if (!filter && filter.error().code == Errc::bad_argument) {
    throw UsageError{filter.error().message};
  }
  return std::move(filter).value();
}

/// The capture itself: a loop around one batch, and everything that the loop needs.
class Capture {
 public:
  Capture(const WantedDump& wanted, const JsonOutput& json)
      : wanted_(wanted),
        json_(json),
        filter_(compile(wanted.filter)),
        names_(make_names(wanted)),
        source_(wanted.path, wanted.name, wanted.port),
        changes_(wanted.path, wanted.port.start == Start::oldest ? ChangeLog::From::oldest
                                                                 : ChangeLog::From::now),
        sink_(with_stop(wanted.output, stop_), names_.get()),
        corruption_(wanted.path) {
    source_.add_to(bus_watch_);
  }

  int run() {
    const Clock::time_point begin = Clock::now();
    FrameBatch batch(kBatchFrames, kBatchBytes);
    int code = kDone;
    std::uint64_t after_end = 0;
    while (shown() < wanted_.frames && !sink_.failed() && !sink_.is_complete() && !is_over_ &&
           !stop_.urged() && after_end < kMaxAfterEnd) {
      batch.clear();
      const auto left = time_left(begin);
      // Frames that are on the bus by then are still shown, but a flood cannot keep the command
      // running.
      if (!end_ && (stop_.stopped() || left.count() <= 0)) end_ = source_.bus_frames();
      const ReceiveResult received = source_.receive(batch);
      counts_.lost += received.lost;
      gaps_.received(batch.frames(), received.lost);
      changes_.look();
      for (const FrameView& frame : batch.frames()) take(frame);
      if (end_) after_end += batch.size();
      sink_.end_span();
      show_progress();
      if (corruption_.met(received.error, stop_)) {
        if (end_) break;
        continue;
      }
      if (received.error) {
        code =
            fail("cannot go on receiving from " + wanted_.path + ": " + received.error.message());
        break;
      }
      if (received.frames == 0 && received.lost == 0) {
        if (end_) break;
        if (sink_.prints_lines()) sink_.put_changes(changes_.rest());
        sink_.flush();
        const auto until_look = bus_watch_.look_if_due();
        source_.wait(stop_, std::min({left, sink_.time_left(), until_look}), sink_.output());
        if (is_abandoned(sink_.output())) break;  // as with `dump | head`
      }
    }
    return finish(code);
  }

 private:
  static constexpr std::size_t kBatchFrames = 512;
  /// Limits the loop if the bus names a wrong number as that of the last frame: the largest ring
  /// holds fewer frames than this.
  static constexpr std::uint64_t kMaxAfterEnd = 1U << 24U;
  static constexpr std::size_t kBatchBytes = 2U << 20U;

  static WantedOutput with_stop(WantedOutput wanted, const StopSignals& stop) {
    wanted.stop_descriptor = stop.descriptor();
    return wanted;
  }

  static std::unique_ptr<SenderNames> make_names(const WantedDump& wanted) {
    if (wanted.ports.empty() && !DumpSink::needs_senders(wanted.output)) return nullptr;
    auto names = std::make_unique<SenderNames>(wanted.path);
    if (!names->are_told() && (!wanted.ports.empty() || wanted.output.senders)) {
      throw UsageError{
          "--port and --sender need a bus that names its ports: NetBSD's format does "
          "not (leave them out)"};
    }
    const std::vector<std::string> live = names->live();
    for (const std::string& port : wanted.ports) {
      if (std::ranges::find(live, port) != live.end()) continue;
      std::string others;
      for (const std::string& name : live) others.append(others.empty() ? "" : ", ").append(name);
      std::string why = "no port \"" + port + "\" on ";
      why.append(wanted.path).append(" now, waiting for its frames (attached: ");
      complain(why.append(others.empty() ? "none" : others).append(")"));
    }
    return names;
  }

  std::uint64_t shown() const { return counts_.captured_segments; }

  /// Whether the frame matches the options.
  bool is_wanted(const FrameView& frame) {
    if (!wanted_.ports.empty()) {
      const SenderNames::Sender& sender = names_->of(frame);
      if (!sender.known || std::ranges::find(wanted_.ports, sender.name) == wanted_.ports.end())
        return false;
    }
    return filter_.matches(frame);
  }

  void take(const FrameView& frame) {
    if (end_ && frame.number >= *end_) is_over_ = true;
    if (is_over_ || shown() == wanted_.frames) return;
    lost_before_ += gaps_.before(frame.number);
    const bool wanted = is_wanted(frame);
    ++(wanted ? counts_.captured_segments : counts_.filtered_segments);
    count_unit(frame, wanted);
    if (!wanted) return;
    counts_.bytes += frame.size();
    sink_.put(frame, std::exchange(lost_before_, 0),
              changes_.any() ? changes_.before(frame.number) : std::string());
  }

  /// Counts the bus frame to which a segment belongs. Each bus frame counts once, and as captured
  /// if any of its segments is captured.
  void count_unit(const FrameView& frame, bool wanted) {
    const bool same = unit_.is_of(frame);
    unit_ = UnitOfBus(frame);
    if (same && (unit_captured_ || !wanted)) return;
    if (same) --counts_.filtered;
    ++(wanted ? counts_.captured : counts_.filtered);
    unit_captured_ = wanted;
  }

  int finish(int code) {
    progress_.clear();
    const Result<void> finished = sink_.finish({.received = counts_.captured + counts_.filtered,
                                                .accepted = counts_.captured,
                                                .lost = counts_.lost},
                                               changes_.rest());
    if (const std::uint64_t arrived = sink_.arrived(); arrived != shown()) {
      // The other frames were never written. Their number in frames of the bus is known only if no
      // frame was segmented.
      counts_.captured_known = counts_.captured == counts_.captured_segments;
      if (counts_.captured_known) counts_.captured = arrived;
      counts_.captured_segments = arrived;
      counts_.bytes_known = false;
    }
    if (!finished) code = std::max(code, fail(finished.error().message));
    if (const std::uint64_t n = names_ ? names_->not_looked_up() : 0; n > 0) {
      complain("too many new senders to look up all their names: " + std::to_string(n) +
               (n == 1 ? " frame was " : " frames were ") +
               (wanted_.ports.empty() ? "shown as from \"others\"" : "left out by --port"));
    }
    if (json_.is_wanted()) note_done(recorded_text());
    counts_.lost_is_lower_bound = source_.counters().lost_is_lower_bound();
    print_summary(wanted_, json_, counts_);
    return corruption_.lasts() ? kFailed : code;
  }

  /// For note_done(): what the capture has, if one was written.
  std::string recorded_text() const {
    if (!wanted_.output.file) return {};
    return base::counted(shown(), "frame was", "frames were") + " recorded in \"" +
           *wanted_.output.file + '"';
  }

  std::chrono::nanoseconds time_left(Clock::time_point begin) const {
    if (!wanted_.timeout) return std::chrono::hours(24);
    return *wanted_.timeout - (Clock::now() - begin);
  }

  void show_progress() {
    if (!wanted_.summary || !sink_.records() || !progress_.due()) return;
    progress_.show(base::counted(counts_.captured, "frame") + ", " + format_bytes(counts_.bytes) +
                   ", " + std::to_string(counts_.lost) + " lost");
  }

  const WantedDump& wanted_;
  const JsonOutput& json_;
  FrameFilter filter_;
  StopSignals stop_;  // before the port is visible on the bus, because others may signal it
  std::unique_ptr<SenderNames> names_;  // before the port can take the slot of a port that has left
  Source source_;
  ChangeNotes changes_;
  DumpSink sink_;
  Corruption corruption_;
  BusWatch bus_watch_;
  Progress progress_;
  DumpCounts counts_;
  std::optional<std::uint64_t> end_;  ///< set at the end: frames with this number came too late
  bool is_over_ = false;              ///< such a frame was seen
  Gaps gaps_;
  std::uint64_t lost_before_ = 0;  // lost before the next frame that is shown
  UnitOfBus unit_;
  bool unit_captured_ = false;
};

int run_wanted(const WantedDump& wanted) {
  const JsonOutput json(wanted.json);  // before anything is written to standard output
  try {
    return Capture(wanted, json).run();
  } catch (const Exception& error) {
    // The reader was gone before the first byte, or a signal came before the reader did.
    if (error.code() != std::errc::broken_pipe && error.code() != std::errc::interrupted) throw;
    print_summary(wanted, json, DumpCounts{});
    return kDone;
  }
}

int run_dump(const CommandLine& line) {
  return run_wanted(parse(line));
}

}  // namespace

int capture_live(const LiveCapture& asked) {
  WantedDump wanted;
  wanted.path = asked.bus;
  wanted.filter = asked.filter;
  wanted.ports = asked.ports;
  wanted.port.start = asked.history ? Start::oldest : Start::now;
  wanted.port.take_offloads = asked.super_frames;
  wanted.output.bus = asked.bus;
  wanted.output.filter = asked.filter;
  wanted.output.file = "-";
  wanted.output.format = CaptureFormat::pcapng;
  wanted.summary = false;
  return run_wanted(wanted);
}

const Command kDumpCommand{"dump", "show or record the frames on a bus", run_dump};

}  // namespace shmif::tools
