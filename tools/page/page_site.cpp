#include "tools/page/page_site.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "base/files.hpp"
#include "base/quantity.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "base/wall_clock.hpp"
#include "shmif/bus.hpp"
#include "shmif/control/change.hpp"
#include "shmif/filter.hpp"
#include "shmif/port.hpp"
#include "tools/capture/capture_file.hpp"
#include "tools/capture/dump_sink.hpp"
#include "tools/common/program.hpp"
#include "tools/page/lab_watch.hpp"
#include "tools/page/page_text.hpp"

namespace shmif::tools {

namespace {

// Captures for the page: the frames of a bus as a pcapng file without a name.

struct WantedCapture {
  std::string bus{};     ///< its path
  std::string filter{};  ///< as man pcap-filter; empty: all frames
  /// 0: what is in the ring now. Otherwise the frames of that time from now on.
  std::chrono::seconds seconds{0};
  std::function<bool()> is_over = [] { return false; };  ///< whether to end early
};

/// A file that has no name any more, so it vanishes with its last descriptor.
struct RecordedFrames {
  UniqueFd file;
  std::uint64_t bytes = 0;
  std::uint64_t frames = 0;
  bool is_cut = false;  ///< it was full (kMaxCaptureBytes) before the time was over
};

constexpr std::uint64_t kMaxCaptureBytes = 64U << 20U;

/// The loop of one capture.
class Recording {
 public:
  explicit Recording(const WantedCapture& wanted)
      : wanted_(wanted),
        filter_(FrameFilter::compile(wanted.filter).value()),
        follower_(
            Follower::open(wanted.bus, wanted.seconds.count() == 0 ? Start::oldest : Start::now)
                .value()),
        names_(wanted.bus),
        changes_(wanted.bus,
                 wanted.seconds.count() == 0 ? ChangeLog::From::oldest : ChangeLog::From::now) {}

  RecordedFrames run() {
    WantedOutput output;
    output.bus = wanted_.bus;
    output.filter = wanted_.filter;
    UniqueFd file;
    std::optional<DumpSink> sink;
    {
      const auto folder = base::TemporaryFolder::make("shmif-page").value();
      output.file = folder.path() + "/frames.pcapng";
      sink.emplace(output, &names_);
      file = UniqueFd(::open(output.file->c_str(), O_RDONLY | O_CLOEXEC));
      if (!file) throw Exception(Error::from_errno(errno, "cannot read " + *output.file));
    }  // from now on the file has no name
    RecordedFrames recorded;
    record(*sink, file.get(), recorded);
    changes_.look();
    sink->finish({seen_, accepted_, lost_}, changes_.rest()).value();
    recorded.frames = sink->arrived();
    recorded.bytes = bytes_of(file.get());
    recorded.file = std::move(file);
    return recorded;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kBatchFrames = 512;
  static constexpr std::size_t kBatchBytes = 2U << 20U;
  /// A bus that is written faster than it is read must not hold up the answer for ever.
  static constexpr std::chrono::seconds kReadTime{10};
  static constexpr std::chrono::milliseconds kLook{100};

  static std::uint64_t bytes_of(int file) {
    struct stat status{};
    return ::fstat(file, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
  }

  void record(DumpSink& sink, int file, RecordedFrames& recorded) {
    const bool only_ring = wanted_.seconds.count() == 0;
    const std::uint64_t end_number = follower_.bus_frames();
    const auto end = Clock::now() + (only_ring ? kReadTime : wanted_.seconds);
    FrameBatch batch(kBatchFrames, kBatchBytes);
    Gaps gaps;
    std::uint64_t lost_before = 0;
    while (!sink.failed() && !wanted_.is_over() && Clock::now() < end) {
      batch.clear();
      const ReceiveResult received = follower_.receive(batch);
      lost_ += received.lost;
      gaps.received(batch.frames(), received.lost);
      changes_.look();
      for (const FrameView& frame : batch.frames()) {
        if (only_ring && frame.number >= end_number) return;
        lost_before += gaps.before(frame.number);
        ++seen_;
        if (!filter_.matches(frame)) continue;
        ++accepted_;
        sink.put(frame, std::exchange(lost_before, 0),
                 changes_.any() ? changes_.before(frame.number) : std::string());
      }
      if (received.error) throw Exception(Error(received.error, "cannot read " + wanted_.bus));
      if (!batch.empty()) {
        sink.flush();
        recorded.is_cut = bytes_of(file) >= kMaxCaptureBytes;
        if (recorded.is_cut) return;
      } else if (received.lost == 0) {
        if (only_ring) return;
        follower_.wait(std::min<std::chrono::nanoseconds>(end - Clock::now(), kLook));
      }
    }
  }

  const WantedCapture& wanted_;
  FrameFilter filter_;
  Follower follower_;
  SenderNames names_;
  ChangeNotes changes_;
  std::uint64_t seen_ = 0, accepted_ = 0, lost_ = 0;
};

/// Records without a port: senders never wait for it. Throws Exception: bad_argument for a filter,
/// and the errors of the bus and of the disk. Blocks: for `seconds`, and while the ring is read.
RecordedFrames record_frames(const WantedCapture& wanted) {
  return Recording(wanted).run();
}

constexpr std::size_t kMaxFilter = 400;
constexpr const char* kNoSuchBus = "this page shows no bus of that name (/api/state lists them)";

HttpAnswer json_answer(std::string text, int status = 200) {
  return {.status = status,
          .type = "application/json",
          .text = std::move(text),
          .headers = safe_headers()};
}

/// For programs and for the page, which shows the text.
HttpAnswer refuse_with(int status, const std::string& why) {
  return json_answer(json_line({{"error", why}}), status);
}

/// An error's text for people, and a status for programs.
HttpAnswer answer_of(const std::error_code& code, const std::string& why) {
  const bool is_wrong = code == Errc::bad_argument || code == std::errc::invalid_argument;
  const bool is_gone = code == std::errc::no_such_file_or_directory ||
                       code == std::errc::no_such_device || code == std::errc::no_such_process;
  return refuse_with(is_wrong ? 400 : is_gone ? 404 : 409, why);
}

bool is_in_query(const HttpRequest& request, const char* name) {
  return only_value(request.query, name) != nullptr;
}

std::uint64_t query_number(const HttpRequest& request, const char* name, std::uint64_t most) {
  const std::string* const text = only_value(request.query, name);
  if (text == nullptr) return 0;
  const auto number = base::read_digits(*text);
  if (number && *number <= most) return *number;
  throw Exception(Error(Errc::bad_argument,
                        std::string(name) + " is not a number from 0 to " + std::to_string(most)));
}

/// A name for the file that a browser saves: other characters could end the header.
std::string file_name_of(const std::string& bus, std::time_t now) {
  std::string name;
  for (const char c : bus.substr(bus.rfind('/') + 1)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_';
    name += plain ? c : '_';
  }
  std::tm parts{};
  localtime_r(&now, &parts);
  char time[32];
  std::strftime(time, sizeof time, "-%Y%m%d-%H%M%S", &parts);
  return name.substr(0, 60) + time + ".pcapng";
}

/// One of the captures that may run at once.
class CaptureTurn {
 public:
  CaptureTurn(std::atomic<int>& running, int most)
      : running_(running), mine_(running.fetch_add(1) < most) {}
  CaptureTurn(const CaptureTurn&) = delete;
  CaptureTurn& operator=(const CaptureTurn&) = delete;
  ~CaptureTurn() { --running_; }
  bool is_mine() const noexcept { return mine_; }

 private:
  std::atomic<int>& running_;
  bool mine_;
};

}  // namespace

PageSite::PageSite(PageSubject subject, PageAccess access, std::chrono::milliseconds interval)
    : access_(std::move(access)), watch_(std::move(subject), interval) {
  tails_.reserve(watch_.subject().buses.size());
  for (const NamedBus& bus : watch_.subject().buses)
    tails_.push_back(std::make_unique<FrameTail>(bus.path));
}

HttpSite PageSite::site() {
  return {.refuse = [this](const HttpRequest& request) { return refusal_of(request, access_); },
          .answer =
              [this](const HttpRequest& request) {
                try {
                  return answer(request);
                } catch (const Exception& error) {
                  return answer_of(error.code(), error.what());
                }
              }};
}

HttpAnswer PageSite::answer(const HttpRequest& request) {
  const bool is_post = request.method == "POST";
  if (request.path == "/api/change") {
    if (is_post) return change(request);
    HttpAnswer refusal = refuse_with(405, "a change is a POST");
    refusal.headers.emplace_back("Allow", "POST");
    return refusal;
  }
  if (is_post) return refuse_with(405, "only /api/change takes a POST");
  if (request.path == "/") return page();
  if (request.path == "/api/state") return state(watch_.state());
  if (request.path == "/api/history") return history(request);
  if (request.path == "/api/changes") return changes(request);
  if (request.path == "/api/capture") return capture(request);
  if (request.path == "/api/frames") return frames(request);
  return refuse_with(404, "there is no such page (docs/page.md lists them)");
}

HttpAnswer PageSite::page() const {
  const std::string nonce = random_token();
  HttpAnswer answer{.type = "text/html; charset=utf-8", .headers = safe_headers()};
  answer.text = page_text(nonce);
  answer.headers.emplace_back(
      "Content-Security-Policy",
      "default-src 'none'; script-src 'nonce-" + nonce + "'; style-src 'nonce-" + nonce +
          "'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
          "frame-ancestors 'none'");
  return answer;
}

HttpAnswer PageSite::state(const std::string& look) const {
  std::string head = json_line({{"name", watch_.subject().name},
                                {"version", version_number()},
                                {"may_write", access_.may_write},
                                {"time_ns", base::wall_clock_ns()}});
  head.resize(head.rfind('}'));
  return json_answer(head + ',' + look.substr(1));  // two objects as one
}

const NamedBus& PageSite::bus_of(const HttpRequest& request) const {
  const std::string* const name = only_value(request.query, "bus");
  const auto& all = watch_.subject().buses;
  if (name == nullptr && all.size() == 1) return all.front();
  if (name == nullptr)
    throw Exception(Error(Errc::bad_argument, "no bus is named (bus=NAME; /api/state lists them)"));
  const NamedBus* const found = watch_.bus(*name);
  if (found != nullptr) return *found;
  throw Exception(Error(std::make_error_code(std::errc::no_such_device), kNoSuchBus));
}

HttpAnswer PageSite::history(const HttpRequest& request) {
  if (is_in_query(request, "slot") != is_in_query(request, "incarnation"))
    return refuse_with(400, "slot and incarnation name a port together (/api/state has both)");
  if (!is_in_query(request, "slot")) {
    const bool of_one = is_in_query(request, "bus");
    return json_answer(watch_.histories(of_one ? &bus_of(request) : nullptr));
  }
  const auto found =
      watch_.history(bus_of(request), static_cast<unsigned>(query_number(request, "slot", 65535)),
                     static_cast<std::uint32_t>(query_number(request, "incarnation", UINT32_MAX)));
  return found ? json_answer(*found) : refuse_with(404, "there is no such port any more");
}

HttpAnswer PageSite::changes(const HttpRequest& request) const {
  const NamedBus& bus = bus_of(request);
  return json_answer(
      json_line({{"bus", bus.name}, {"changes", changes_json(Bus::open(bus.path).value())}}));
}

HttpAnswer PageSite::change(const HttpRequest& request) {
  const ChangeWish wish = read_change_wish(request.body).value();
  const NamedBus* const bus = watch_.bus(wish.bus);
  if (bus == nullptr) return refuse_with(404, kNoSuchBus);
  const std::string holds = request_change(bus->path, wish.port, wish.change).value();
  watch_.state_from_now();  // so that the next state has it
  return json_answer(json_line({{"holds", holds}}));
}

HttpAnswer PageSite::capture(const HttpRequest& request) {
  const NamedBus& bus = bus_of(request);
  WantedCapture wanted{
      .bus = bus.path,
      .seconds = std::chrono::seconds(query_number(request, "seconds", kMaxSeconds)),
      .is_over = request.is_abandoned};
  if (const std::string* const filter = only_value(request.query, "filter"))
    wanted.filter = *filter;
  if (wanted.filter.size() > kMaxFilter) {
    return refuse_with(400,
                       "the filter is longer than " + std::to_string(kMaxFilter) + " characters");
  }
  const CaptureTurn turn(captures_, kMaxCaptures);
  if (!turn.is_mine()) {
    return refuse_with(
        503, std::to_string(kMaxCaptures) + " captures are under way: wait until one of them ends");
  }
  RecordedFrames recorded = record_frames(wanted);
  HttpAnswer answer{.type = "application/x-pcapng", .headers = safe_headers()};
  answer.headers.emplace_back(
      "Content-Disposition",
      "attachment; filename=\"" + file_name_of(bus.name, std::time(nullptr)) + '"');
  answer.headers.emplace_back("X-Shmif-Frames", std::to_string(recorded.frames));
  if (recorded.is_cut) answer.headers.emplace_back("X-Shmif-Cut", "yes");
  answer.file = std::make_shared<const UniqueFd>(std::move(recorded.file));
  answer.file_bytes = recorded.bytes;
  return answer;
}

HttpAnswer PageSite::frames(const HttpRequest& request) {
  const NamedBus& bus = bus_of(request);
  const auto at = static_cast<std::size_t>(&bus - watch_.subject().buses.data());
  std::optional<std::uint64_t> after;
  if (is_in_query(request, "after")) after = query_number(request, "after", UINT64_MAX);
  return json_answer(tails_.at(at)->lines_after(after));
}

}  // namespace shmif::tools
