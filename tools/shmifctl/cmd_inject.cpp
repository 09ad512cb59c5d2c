// shmifctl inject: replays a capture file onto a bus.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/text.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/relay/watches.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

/// What became of the records of a capture, in all rounds of --loop together. Each frame that was
/// read was sent, was too long, or is `unsent`.
struct InjectCounts {
  std::uint64_t rounds = 0;
  std::uint64_t sent = 0, bytes = 0;
  std::uint64_t too_long = 0;   ///< for this bus, or for any
  std::uint64_t longest = 0;    ///< bytes of the longest of these
  std::uint64_t unsent = 0;     ///< read, but sending failed, or a signal came first
  std::uint64_t cut_short = 0;  ///< frames whose end the capture lacks; these were read
  std::uint64_t skipped = 0;    ///< records without an Ethernet header
  /// Frames that the capture marks as unsegmented.
  std::uint64_t unsegmented = 0;
  std::uint64_t max_frame_bytes = 0;  ///< what the bus takes
};

std::string counts_text(const InjectCounts& counts) {
  std::string text = base::counted(counts.sent, "frame") + " sent, " + format_bytes(counts.bytes);
  if (counts.cut_short > 0) {
    text += ", " + base::counted(counts.cut_short, "frame") + " cut short in the capture";
  }
  if (counts.skipped > 0) {
    text += ", " + base::counted(counts.skipped, "record") + " without an Ethernet header skipped";
  }
  return text + '\n';
}

std::string counts_json(const std::string& path, const std::string& file,
                        const InjectCounts& counts) {
  Json json{{"path", path},
            {"file", file},
            {"rounds", counts.rounds},
            {"tx_frames", counts.sent},
            {"tx_bytes", counts.bytes},
            {"too_long_frames", counts.too_long},
            {"unsent_frames", counts.unsent},
            {"skipped_records", counts.skipped},
            {"cut_short_frames", counts.cut_short},
            {"unsegmented_frames", counts.unsegmented},
            {"max_frame_bytes", counts.max_frame_bytes}};
  set_figure(json, "longest_too_long_bytes",
             counts.too_long > 0 ? std::optional(counts.longest) : std::nullopt,
             "no frame was too long");
  return json_text(std::move(json));
}

/// Converts "original", "flat" or "x2.5" to PcapReadOptions::speed.
double parse_timing(const std::string& text) {
  if (text == "original") return 1;
  if (text == "flat") return 0;
  double speed = 0;
  const char* const end = text.data() + text.size();
  if (text.starts_with('x')) {
    const auto [stop, error] =
        std::from_chars(text.data() + 1, end, speed, std::chars_format::fixed);
    if (error == std::errc{} && stop == end && speed > 0 && std::isfinite(speed)) return speed;
  }
  throw UsageError{"--timing \"" + text +
                   "\" is not a timing (original, flat, or xN for N times as fast, such as x10)"};
}

class Replay {
 public:
  Replay(std::string path, std::string file, double speed, std::uint64_t loops,
         std::chrono::nanoseconds max_gap, bool json)
      : path_(std::move(path)),
        file_(std::move(file)),
        speed_(speed),
        loops_(loops),
        max_gap_(max_gap),
        json_(json) {}

  int run() {
    const StopSignals stop;
    // Opens the file first, so that the port does not appear on the bus without frames to send.
    auto opened = open(stop);
    if (!opened && stop.stopped()) return kEndedBySignal + stop.signal();
    PcapReader reader = std::move(opened).value();
    PortOptions options;
    options.kind = LinkKind::inject;
    port_ = Port(options);
    port_.attach(path_).value();
    if (const std::error_code error = port_.up()) {
      throw Exception(Error(error, "cannot send on " + path_ + ": " + error.message()));
    }
    int code = kDone;
    for (std::uint64_t round = 1; code == kDone && !stop.stopped(); ++round) {
      if (round > 1) reader = open(stop).value();
      const std::uint64_t before = counts_.sent;
      ++counts_.rounds;
      code = replay(reader, stop);
      // A file without frames to send would be read again and again in vain.
      if (round == loops_ || counts_.sent == before) break;
      if (const auto next = reader.next_loop()) pause_until(*next, stop);
    }
    progress_.clear();
    return report(code, stop.signal());
  }

 private:
  Result<PcapReader> open(const StopSignals& stop) {
    return PcapReader::open(file_, {.speed = speed_,
                                    .max_gap = max_gap_,
                                    .on_long_gap = [this](auto left) { say_gap(left); },
                                    .stop_descriptor = stop.descriptor()});
  }

  /// Says it only once, not in each round.
  void say_gap(std::chrono::nanoseconds left) {
    if (std::exchange(gap_told_, true)) return;
    progress_.clear();
    say_long_gap(file_, left);
  }

  static void pause_until(std::chrono::steady_clock::time_point then, const StopSignals& stop) {
    for (auto now = then; !stop.stopped() && (now = std::chrono::steady_clock::now()) < then;) {
      await_descriptor(-1, stop, then - now);
    }
  }

  /// Sends the frames of the file. Result: why the bus took no more of them, if it did not.
  std::error_code send_all(PcapReader& reader, const StopSignals& stop) {
    FrameBatch batch(kBatchFrames, kBatchBytes);
    while (!stop.stopped()) {
      batch.clear();
      const ReceiveResult received = reader.receive(batch);
      if (received.error) break;
      if (received.frames == 0) await(reader, stop, kForEver);
      if (const std::error_code error = send(batch, stop)) return error;
      show_progress(reader);
    }
    return {};
  }

  /// Sends the file once. Result: the exit code so far.
  int replay(PcapReader& reader, const StopSignals& stop) {
    const std::error_code refused = send_all(reader, stop);
    counts_.unsent += reader.waiting();
    counts_.skipped += reader.skipped();
    counts_.unsegmented += reader.unsegmented();
    const PcapReader::TooLong too_long = reader.too_long();
    counts_.too_long += too_long.records;
    counts_.longest = std::max(counts_.longest, too_long.longest_bytes);
    if (refused) return fail("cannot send on " + path_ + ": " + refused.message());
    const Result<void> status = reader.status();
    // Records that are too long are reported at the end, together with frames that are too long for
    // this bus.
    return status || status.error().code == Errc::frame_too_long ? kDone : fail(status.error());
  }

  /// Sends a batch, but leaves out the frames that the bus does not accept.
  std::error_code send(const FrameBatch& batch, const StopSignals& stop) {
    std::span<const FrameView> rest = batch.frames();
    for (const FrameView& frame : rest) {
      if (frame.truncated()) ++counts_.cut_short;
    }
    while (!rest.empty() && !stop.stopped()) {
      const SendResult sent = port_.send(rest);
      counts_.sent += sent.taken;
      for (const FrameView& frame : rest.first(sent.taken)) counts_.bytes += frame.size();
      rest = rest.subspan(sent.taken);
      if (sent.error == Errc::frame_too_long) {
        ++counts_.too_long;
        counts_.longest = std::max<std::uint64_t>(counts_.longest, rest[0].size());
        rest = rest.subspan(1);
      } else if (sent.error == Errc::no_room) {
        stop.wait(1);  // other ports hold the ring for a moment
      } else if (sent.error) {
        counts_.unsent += rest.size();
        return sent.error;
      }
    }
    counts_.unsent += rest.size();
    return {};
  }

  void show_progress(const PcapReader& reader) {
    if (!progress_.due()) return;
    std::string text = base::counted(counts_.sent, "frame") + ", " + format_bytes(counts_.bytes);
    if (const std::optional<double> done = reader.progress(); done && loops_ == 1) {
      text = std::to_string(static_cast<int>(*done * 100)) + " %, " + text;
    }
    progress_.show(text);
  }

  int report(int code, int signal) {
    counts_.max_frame_bytes = port_.max_frame_bytes();
    note_done(base::counted(counts_.sent, "frame was sent", "frames were sent"));
    const std::string text = json_ ? counts_json(path_, file_, counts_) : counts_text(counts_);
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (counts_.too_long > 0) {
      code = fail("cannot send " + base::counted(counts_.too_long, "frame") + " of \"" + file_ +
                  "\" on " + path_ + ": the longest has " + std::to_string(counts_.longest) +
                  " bytes, the bus takes " + std::to_string(counts_.max_frame_bytes) +
                  (counts_.unsegmented > 0
                       ? " (the capture has unsegmented TSO packets: record it without "
                         "--super-frames)"
                   : counts_.longest > kMaxFrameBytes
                       ? " (no bus takes more than " + std::to_string(kMaxFrameBytes) + ")"
                       : " (create a bus with a larger --mtu)"));
    }
    return signal != 0 ? kEndedBySignal + signal : code;
  }

  static constexpr std::size_t kBatchFrames = 64;
  static constexpr std::size_t kBatchBytes = 1U << 20U;
  static constexpr std::chrono::nanoseconds kForEver = std::chrono::hours(24);

  std::string path_;
  std::string file_;
  double speed_;
  std::uint64_t loops_;  ///< 0 means until stopped
  std::chrono::nanoseconds max_gap_;
  bool gap_told_ = false;
  Port port_;
  InjectCounts counts_;
  bool json_;
  Progress progress_;
};

int run_inject(const CommandLine& line) {
  const Arguments args =
      Options("inject", "PATH FILE")
          .bus_first()
          .about(
              R"(Replays the Ethernet frames of a capture file (pcap or pcapng, "-" is standard
                 input) onto the bus. A frame that was cut short in the capture is sent without
                 the missing part. Frames that are too long for the bus are not sent; they are
                 counted and reported, and the exit code is 1.)")
          .value("timing", "HOW",
                 "original (the default), flat (as fast as possible), or xN: N times as fast")
          .value("loop", "N",
                 R"(replay the file N times; 0: until a signal comes (default 1). The next loop
                    begins one mean gap after the last frame, or a second after it if all frames
                    have the same time)")
          .value("max-gap", "SECONDS",
                 "wait at most that time between two frames, such as 1 (default: as recorded)")
          .flag("json", "print JSON at the end: what was sent, and what was not")
          .words(2, 2)
          .example("shmifctl inject /dev/shm/bus0 session.pcap", "replay with the recorded gaps")
          .example("shmifctl inject /dev/shm/bus0 session.pcap --timing x10 --loop 3",
                   "replay it three times, ten times as fast")
          .example("shmifctl inject /dev/shm/bus0 session.pcap --json | jq .too_long_frames",
                   "how many frames were too long for the bus")
          .parse(line);
  const std::string& file = args.positional()[1];
  const std::uint64_t loops = args.count("loop").value_or(1);
  if (file == "-" && loops != 1) throw UsageError{"standard input can be replayed only once"};
  return Replay(args.positional()[0], file, parse_timing(args.text("timing").value_or("original")),
                loops, max_gap_of(args), args.flag("json"))
      .run();
}

}  // namespace

const Command kInjectCommand{"inject", "replay a capture file", run_inject};

}  // namespace shmif::tools
