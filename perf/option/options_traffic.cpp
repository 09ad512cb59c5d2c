// The rows about what a job sends, how fast, and what its frames contain.

#include "perf/frame/header_template.hpp"
#include "perf/option/option_kinds.hpp"

namespace shmif::perf {

using J = JobOptions;
using namespace std::chrono_literals;

namespace {

using enum OnServer;

constexpr std::uint64_t kMaxRate = 1'000'000'000'000;  // bits/s
constexpr std::uint64_t kMaxFps = 1'000'000'000;

Result<std::uint64_t> rate_in_range(std::string_view text) {
  auto rate = parse_rate(text);
  if (rate && *rate > kMaxRate) return refused(text, "is out of range (0 to 1000Gbit)");
  return rate;
}
Result<std::uint64_t> frame_rate_in_range(std::string_view text) {
  auto rate = parse_count(text);
  if (rate && *rate > kMaxFps) return refused(text, "is out of range (0 to 1000000000)");
  return rate;
}

Kind<J> bit_rate(PerDirection<std::uint64_t> J::* member) {
  Kind<J> kind = per_direction(member, rate_in_range, "RATE[,RATE]", "0 to 1000Gbit");
  kind.unit = "bits per second";
  return kind;
}
Kind<J> frame_rate(PerDirection<std::uint64_t> J::* member) {
  Kind<J> kind = per_direction(member, frame_rate_in_range, "N[,N]",
                               "0 to 1000000000, with k or M (powers of 1000)");
  kind.unit = "frames per second";
  return kind;
}

Kind<J> frame_sizes(Result<FrameSizes> (*read)(std::string_view), std::string_view placeholder,
                    std::string_view range) {
  Kind<J> kind = per_direction(&J::bs, read, placeholder, range);
  kind.show = [](const J& job) { return to_string(job.bs.tx); };
  kind.unit = "bytes";
  return kind;
}

/// 1 to 99 per cent. 0 and 100 are read, too: plan_checks.cpp refuses them and names the remedy.
Kind<J> share_of_both() {
  constexpr std::uint64_t kWhole = 100;
  Kind<J> kind = number(&J::rwmixtx, 1, kWhole - 1, "per cent");
  kind.set = [within = kind.set](std::string_view value, J& job) -> Result<void> {
    const auto read = parse_count(value);
    if (!read || (*read != 0 && *read != kWhole)) return within(value, job);
    job.rwmixtx = static_cast<std::uint32_t>(*read);
    return {};
  };
  return kind;
}

/// A pattern that is given is also used.
Kind<J> pattern() {
  Kind<J> kind = kind_of(&J::buffer_pattern, "PATTERN",
                         "hexadecimal after 0x, text in quotation marks; 1 to 512 bytes",
                         parse_pattern, [](const auto&) { return "none"; });
  kind.set = [set = kind.set](std::string_view value, J& job) -> Result<void> {
    if (auto done = set(value, job); !done) return done;
    job.payload = Payload::pattern;
    return {};
  };
  return kind;
}

Kind<J> headers() {
  const auto read = [](std::string_view value) -> Result<std::string> {
    const auto parsed = HeaderTemplate::parse(value);
    if (!parsed) return parsed.error();
    return std::string(value);
  };
  return kind_of(&J::headers, "LAYER/LAYER...",
                 "eth, vlan, ipv4, ipv6, udp and tcp, each with fields in parentheses; "
                 "pcap(PATH,NUMBER) may come first",
                 read, [](const auto&) { return "none"; });
}

/// Whether the job makes frames: to send them, or to compare those of a file with them.
bool makes_frames(const J& job) {
  return job.verify_only || (job.replay.empty() && sends_by_itself(job));
}
constexpr const char* kMadeFrames =
    "has no effect with replay, which sends the frames of a file, or on a job that makes no frames "
    "(rw=rx without verify_only, and rw=echo)";

/// Whether frames can have headers of the job. With verify=regenerate, a job that only verifies
/// would need them, but cannot use them.
bool takes_headers(const J& job) {
  const bool is_one_way = job.rw == Role::tx || job.rw == Role::txrx;
  return is_one_way && job.replay.empty() && !on<EngineKind::host, EngineKind::udp>(job);
}
constexpr const char* kTakesHeaders =
    "is for jobs that make frames which get no replies (rw=tx and txrx, without replay), on an "
    "engine other than host and udp, where the kernel makes the headers";

/// Whether the job keeps a ratio to others.
bool has_weight(const J& job) {
  return sends_by_itself(job) && job.exec.empty();
}

bool has_minimum(const J& job) {
  return job.rate_min_bps.tx != 0 || job.rate_min_bps.rx != 0 || job.rate_min_fps.tx != 0 ||
         job.rate_min_fps.rx != 0;
}
constexpr const char* kHasMinimum = "has no effect without rate_min and rate_iops_min";

bool keeps_a_pace(const J& job) {
  return has_own_pace(job) && sends_by_itself(job);
}
constexpr const char* kOwnPace =
    "has no effect when replay keeps the times of the capture, without rate, rate_iops and "
    "replay_no_stall, or on a job that only receives or replies (rw=rx and echo)";

bool has_thinktime(const J& job) {
  return keeps_a_pace(job) && job.thinktime.count() > 0;
}

/// Whether the job hands frames to the engine: its own, or replies.
bool puts_frames_out(const J& job) {
  return job.rw != Role::rx;
}
constexpr const char* kPutsOut = "is for jobs that send or reply (rw=tx, txrx, pingpong and echo)";

/// The size of a batch also decides how many different frames there are, which verify_only
/// compares.
bool hands_over_batches(const J& job) {
  return sends_by_itself(job) || job.verify_only ||
         (puts_frames_out(job) && job.io_submit_mode == IoSubmit::offload);
}
constexpr const char* kHandsOverBatches =
    "is for jobs that send by themselves (rw=tx, txrx and pingpong), for rw=echo with "
    "io_submit_mode=offload, and for verify_only";

bool is_pingpong(const J& job) {
  return job.rw == Role::pingpong;
}
constexpr const char* kPingpong = "is for rw=pingpong";

void add_rate_rows(Rows& rows) {
  rows.add("rate", allowed, bit_rate(&J::rate_bps),
           R"(The highest rate of each direction, in bits per second without FCS. Unlike fio,
              rates are in bits: 10m, 10M and 10Mbit are the same. A rate that is written
              without "bit" gives a warning.)",
           "0, as fast as possible")
      .to_peer_turned()
      .only(sends_by_itself, kSendsByItself);
  rows.add("rate_iops rate_fps", allowed, frame_rate(&J::rate_fps),
           R"(The highest rate of each direction, in frames per second. If the option rate is
              given too, the lower of the two limits applies.)",
           "0, as fast as possible")
      .to_peer_turned()
      .only(sends_by_itself, kSendsByItself);
  rows.add("rwmixtx rwmixwrite", allowed, share_of_both(),
           R"(For rw=txrx with the same rate for both directions: the share of the total traffic
              (twice that rate) that this job sends, in per cent. The peer made for it sends the
              rest. Without a rate, both send as fast as they can: this share is then of the
              frames, the one that is 64 rounds ahead waits for the other, and both end when one
              has reached its limit. A round of 75 per cent is 3 frames and 1. For 0, use rw=rx;
              for 100, use rw=tx.)",
           "none: each direction has its own rate, or sends as fast as it can")
      .only([](const J& job) { return job.rw == Role::txrx; }, "is for rw=txrx");
  rows.add("rate_overhead", allowed, packet_bytes(&J::rate_overhead_bytes, 0, 1000),
           R"(Extra bytes of each frame that count towards rate, such as 24 for the preamble,
              FCS and gap of Ethernet.)")
      .to_peer()
      .only(keeps_a_pace, kOwnPace);
  rows.add("rate_process", allowed,
           one_of(&J::rate_process,
                  {{"linear", RateProcess::linear}, {"poisson", RateProcess::poisson}}, "PROCESS"),
           "linear spaces frames evenly. poisson spaces them at random, with that rate on average.")
      .to_peer()
      .only(keeps_a_pace, kOwnPace);
  rows.add("rate_catchup", allowed,
           one_of(
               &J::rate_catchup,
               {{"burst", CatchUp::burst}, {"limited", CatchUp::limited}, {"skip", CatchUp::skip}},
               "HOW"),
           R"(After a stall, burst sends overdue frames at once, limited sends them at twice the
              rate, and skip drops them. Skipped frames count as offered, not as sent. A frame
              that is less than 100 us late is always sent.)")
      .to_peer()
      .only(keeps_a_pace, kOwnPace);
  rows.add(
      "rate_min", allowed, bit_rate(&J::rate_min_bps),
      "The job fails when a direction falls below this many bits per second over a rate_cycle.",
      "0, no minimum");
  rows.add(
      "rate_iops_min rate_fps_min", allowed, frame_rate(&J::rate_min_fps),
      "The job fails when a direction falls below this many frames per second over a rate_cycle.",
      "0, no minimum");
  rows.add("rate_cycle ratecycle", allowed, time(&J::rate_cycle, TimeUnit::milliseconds, 1ms, 1h),
           "The interval over which rate_min and rate_iops_min are checked.")
      .to_peer()
      .only(has_minimum, kHasMinimum);
  rows.add("rate_settle", allowed, time(&J::rate_settle, TimeUnit::seconds, 0ns, 1h),
           "For this time after the start, rate_min and rate_iops_min are not checked.")
      .to_peer()
      .only(has_minimum, kHasMinimum);
}

void add_window_rows(Rows& rows) {
  rows.add("thinktime", allowed, time(&J::thinktime, TimeUnit::microseconds, 0ns, 24h),
           R"(How long to wait after each burst of thinktime_blocks frames, once they have been
              sent.)")
      .to_sending_peer()
      .only(keeps_a_pace, kOwnPace);
  rows.add("thinktime_spin", allowed, time(&J::thinktime_spin, TimeUnit::microseconds, 0ns, 24h),
           R"(The part of thinktime in which the job keeps the CPU busy, as if working. It
              sleeps for the rest.)")
      .to_sending_peer()
      .only(has_thinktime, "has no effect without thinktime");
  rows.add("thinktime_blocks", allowed, number(&J::thinktime_blocks, 1, 1'000'000'000, "frames"),
           "The number of frames in a burst (see thinktime).")
      .to_sending_peer()
      .only(has_thinktime, "has no effect without thinktime");
  rows.add("iodepth", allowed, number(&J::iodepth, 1, 1'000'000, "requests"),
           "For rw=pingpong: the largest number of requests that wait for a reply.")
      .to_peer()
      .only(is_pingpong, kPingpong);
  rows.add("iodepth_batch iodepth_batch_submit", allowed,
           number(&J::iodepth_batch, 1, 1024, "frames"),
           "The largest number of frames that the job hands to the engine at once.")
      .to_peer()
      .only(hands_over_batches, kHandsOverBatches);
  rows.add("iodepth_batch_complete_min iodepth_batch_complete", allowed,
           number(&J::iodepth_batch_complete_min, 0, 1024, "replies"),
           R"(For rw=pingpong: when iodepth requests wait for replies, the job sends again only
              after this number of replies. With 0, the job polls: as long as a request waits,
              it looks for replies before each batch that it sends, and never sleeps. Latencies
              are then without the time to wake up, and the job keeps a CPU busy.)")
      .to_peer()
      .only(is_pingpong, kPingpong);
  rows.add("iodepth_batch_complete_max", allowed,
           number(&J::iodepth_batch_complete_max, 0, 1024, "replies"),
           R"(For rw=pingpong: the largest number of replies that the job takes from the engine
              at once. Then it sends again, if it may. It must not be less than
              iodepth_batch_complete_min, which is fio's default.)",
           "0, up to 64 replies")
      .to_peer()
      .only(is_pingpong, kPingpong);
  rows.add("iodepth_low", allowed, number(&J::iodepth_low, 0, 1'000'000, "requests"),
           R"(For rw=pingpong: when iodepth requests wait for replies, the job sends again only
              when no more than this number of them still wait. 0 means iodepth minus 1: one
              reply is enough.)")
      .to_peer()
      .only(is_pingpong, kPingpong);
  rows.add("flow", allowed, number(&J::flow, 0, 1'000'000, "weight"),
           R"(Jobs with a weight send frames in the ratio of their weights: weights 2 and 1 send
              2:1. 0 turns this off.)")
      .only(has_weight, std::string(kSendsByItself) + ", without exec");
  rows.add("io_submit_mode", allowed,
           one_of(&J::io_submit_mode,
                  {{"inline", IoSubmit::inline_}, {"offload", IoSubmit::offload}}, "MODE"),
           R"(Which thread hands frames to the engine: the job's own (inline) or another one
              (offload).)")
      .to_peer()
      .only(puts_frames_out, kPutsOut);
}

}  // namespace

void add_traffic_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::traffic);
  rows.add("rw readwrite", allowed,
           one_of(&J::rw,
                  {{"tx", Role::tx},
                   {"rx", Role::rx},
                   {"txrx", Role::txrx},
                   {"echo", Role::echo},
                   {"pingpong", Role::pingpong},
                   {"write", Role::tx},
                   {"read", Role::rx},
                   {"rw", Role::txrx}},
                  "ROLE"),
           R"(What the job does: tx sends, rx receives and verifies, txrx does both with a peer,
              echo returns requests to their sender, and pingpong sends requests and times the
              round trip.)");
  rows.add("to", allowed, text(&J::to, "NAME", "the name of another job"),
           R"(The job that receives what this one sends. A job with rw=tx or rw=txrx needs a job
              with rw=rx or rw=txrx. A job with rw=pingpong needs one with rw=echo. Without this
              option, shmifperf makes a job as the peer: NAME.sink for rw=tx, NAME.peer for
              rw=txrx, or NAME.echo for rw=pingpong. It makes no peer on engine=pcap and null,
              where a job is alone on its wire, and none for a job to which a job with rw=txrx
              sends.)",
           "a peer made for the job");
  rows.add("bs blocksize", allowed,
           frame_sizes(parse_frame_sizes, "SIZE[,SIZE]",
                       std::string(kFrameSizeRange) + ", A-B for a range, or imix"),
           R"(The size of frames, with Ethernet header but without FCS. imix is 7 frames of 60,
              4 of 590 and 1 of 1514 bytes. With engine=host and proto=tcp, a frame is one write
              to the connection, as iperf3 -l, whatever size the segments have.)")
      .to_peer_turned()
      .only(makes_frames, kMadeFrames);
  rows.add("bsrange blocksize_range", allowed,
           frame_sizes(parse_frame_sizes, "A-B[,A-B]", kFrameSizeRange),
           "fio's other name for bs with a range: sizes from A to B, all equally often.", "see bs")
      .only(makes_frames, kMadeFrames);
  rows.add("bssplit", allowed,
           frame_sizes(parse_frame_split, "SIZE/WEIGHT:...",
                       std::string("up to 256 sizes or ranges from ") + kFrameSizeRange +
                           ", weights 0 to 1000000"),
           R"(The sizes of frames with their weights, such as 64/70:1514/30. If a size has no
              weight, all weights are per cent: they may add up to 100 at most, and the sizes
              without a weight divide the rest equally.)",
           "see bs")
      .only(makes_frames, kMadeFrames);
  add_rate_rows(rows);
  add_window_rows(rows);
}

void add_frame_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::frames);
  rows.add(
          "payload", allowed,
          one_of(
              &J::payload,
              {{"random", Payload::random}, {"pattern", Payload::pattern}, {"zero", Payload::zero}},
              "KIND"),
          R"(What fills the rest of a frame, behind its headers and its probe (sequence number,
             times and checksum): random bytes from randseed, buffer_pattern repeated, or zeros.)")
      .to_peer()
      .only(makes_frames, kMadeFrames);
  rows.add("buffer_pattern", allowed, pattern(),
           R"(Bytes that are repeated to fill frames, such as 0xdeadbeef or "text". This sets
              payload=pattern.)")
      .to_peer()
      .only(makes_frames, kMadeFrames);
  rows.add("buffer_compress_percentage", allowed,
           number(&J::buffer_compress_percentage, 0, 100, "per cent"),
           "The share of each random payload that is zeros, so that it can be compressed.")
      .to_peer()
      .only(makes_frames, kMadeFrames);
  rows.add("randseed", allowed, number(&J::randseed, 0, std::numeric_limits<std::uint64_t>::max()),
           R"(The seed of all random numbers of the job. The same seed makes the same frames
              (with random payloads and iodepth_batch over 64, only with the same iodepth_batch).
              Each clone and each direction has its own numbers.)")
      .to_peer();
  rows.add("vlan", allowed, number(&J::vlan, 1, 4094),
           "Puts an 802.1Q tag with that identifier on each frame.")
      .to_peer()
      .only(makes_frames, kMadeFrames);
  rows.add("headers", names_capture, headers(),
           R"(Headers of layers 2 to 4 before the probe, such as
              vlan(id=7)/ipv4(ttl=9)/udp(dport=inc(1,99)). Lengths and checksums are filled in.
              A field has a fixed value, or changes from frame to frame:
              inc(LEAST,GREATEST[,STEP]), and likewise dec and random. Fields: eth dst, src,
              type; vlan id, prio, dei, tpid; ipv4 src, dst, ttl, dscp, ecn, id, df, proto; ipv6
              src, dst, hlim, dscp, ecn, flow, next; udp sport, dport, checksum (0: no
              checksum); tcp sport, dport, seq, ack, flags, window. pcap(PATH,NUMBER) copies the
              headers of frame NUMBER (the first is 1) of the capture PATH. Layers written after
              it change fields of these headers. The Ethernet addresses are those of the job and
              its peer unless eth sets others. After the headers, a frame has at least 46 bytes,
              for the probe.)")
      .to_sending_peer()
      .only(takes_headers, kTakesHeaders);
}

}  // namespace shmif::perf
