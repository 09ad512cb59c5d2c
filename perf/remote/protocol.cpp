#include "perf/remote/protocol.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "perf/report/json_figures.hpp"
#include "perf/report/json_reader.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {
namespace {
constexpr std::size_t kLengthBytes = 4;
}

void MessageReader::feed(std::string_view bytes) {
  if (read_ > buffer_.size() / 2) {
    buffer_.erase(0, read_);
    read_ = 0;
  }
  buffer_ += bytes;
}

Result<std::optional<std::string>> MessageReader::next() {
  const std::string_view rest = std::string_view(buffer_).substr(read_);
  if (rest.size() < kLengthBytes) return std::optional<std::string>();
  std::size_t length = 0;
  for (const char c : rest.substr(0, kLengthBytes)) {
    length = length << 8U | static_cast<std::uint8_t>(c);
  }
  if (length == 0 || length > max_bytes_) {
    return Error(Errc::bad_argument, "a message of " + std::to_string(length) +
                                         " bytes is announced, but only 1 to " +
                                         std::to_string(max_bytes_) + " are allowed");
  }
  if (rest.size() - kLengthBytes < length) return std::optional<std::string>();
  read_ += kLengthBytes + length;
  return std::optional<std::string>(rest.substr(kLengthBytes, length));
}

std::string with_length(std::string_view message) {
  const auto length = static_cast<std::uint32_t>(message.size());
  std::string out;
  out.reserve(kLengthBytes + message.size());
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(length >> shift & 0xffU);
  return out.append(message);
}

namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::uint64_t kStates = static_cast<std::uint64_t>(JobState::reaped) + 1;

Json json_of_job(const JobProgress& job) {
  Json json = {{"state", static_cast<unsigned>(job.state)},
               {"pid", static_cast<std::uint64_t>(std::max<std::int64_t>(job.pid, 0))}};
  put_figures(json, job, kInMessages);
  Json& last = json["interval"];
  put_figures(last, job.last, kInMessages);
  Json& tcp = last["tcp"];
  if (job.last.tcp) put_figures(tcp, *job.last.tcp, kInMessages);
  return json;
}

// at(), get<>() and take_figures() throw if a key is missing or has another type;
// progress_from_json() catches it.

std::uint64_t count(const Json& value) {
  if (!value.is_number_unsigned()) throw std::invalid_argument("a count is not a whole number");
  return value.get<std::uint64_t>();
}

JobProgress job_of(const Json& json) {
  const std::uint64_t state = count(json.at("state"));
  if (state >= kStates) throw std::invalid_argument("a state is unknown");
  JobProgress job;
  job.state = static_cast<JobState>(state);
  job.pid = static_cast<std::int64_t>(count(json.at("pid")));
  take_figures(json, job, kMaxNameBytes);
  const Json& last = json.at("interval");
  take_figures(last, job.last, 0);
  if (const Json& tcp = last.at("tcp"); !tcp.is_null()) {
    take_figures(tcp, job.last.tcp.emplace(), 0);
  }
  return job;
}

Json progress_to_json(const RunProgress& progress) {
  Json json;
  put_figures(json, progress, kInMessages);
  Json& jobs = json["jobs"] = Json::array();
  for (const JobProgress& job : progress.jobs) jobs.push_back(json_of_job(job));
  return json;
}

/// Errors: bad_argument if a key is missing or has another type.
Result<RunProgress> progress_from_json(const Json& json) {
  try {
    RunProgress progress;
    take_figures(json, progress, 0);
    const Json& jobs = json.at("jobs");
    if (!jobs.is_array() || jobs.size() > kMaxItems) throw std::invalid_argument("no jobs");
    for (const Json& job : jobs) progress.jobs.push_back(job_of(job));
    return progress;
  } catch (const std::exception& error) {
    return Error(Errc::bad_argument, std::string("no progress: ") + error.what());
  }
}

// The deepest message is progress: object, jobs, job, interval.
constexpr std::size_t kMaxDepth = 8;
// Enough for progress of kMaxItems jobs: each figure has a key and a value, and a few more are keys
// and ends of objects.
constexpr std::size_t kMaxValues =
    kMaxItems * (16 + 2 * (kRowsOf<JobProgress>.size() + kRowsOf<IntervalResult>.size() +
                           kRowsOf<TcpSample>.size()));
constexpr std::size_t kMaxTextBytes = 64U << 10U;

constexpr std::array kTypes = {"hello",    "jobs",      "prepared", "refused",      "busy",
                               "go",       "started",   "progress", "run",          "stop",
                               "notice",   "triggered", "trigger",  "sender_ended", "state",
                               "finished", "ping",      "pong"};
static_assert(kTypes.size() == std::variant_size_v<Message>);

struct Wrong : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ---- To JSON ----

Json pairs(const OptionTexts& options) {
  Json list = Json::array();
  for (const auto& [name, value] : options) list.push_back({name, value});
  return list;
}

constexpr std::string_view kHex = "0123456789abcdef";

std::string in_hex(const std::vector<std::byte>& bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte b : bytes) {
    text += kHex[std::to_integer<std::size_t>(b >> 4)];
    text += kHex[std::to_integer<std::size_t>(b & std::byte{0xf})];
  }
  return text;
}

/// The counts and times of a half of a flow that are always known.
constexpr std::pair<const char*, std::uint64_t HalfFlow::*> kHalfCounts[] = {
    {"first_arrival_ns", &HalfFlow::first_arrival_ns},
    {"last_arrival_ns", &HalfFlow::last_arrival_ns},
    {"corrupt_apart", &HalfFlow::corrupt_apart},
    {"truncated_apart", &HalfFlow::truncated_apart},
    {"first_number", &HalfFlow::first_number},
    {"end_number", &HalfFlow::end_number},
    {"window_begin_ns", &HalfFlow::window_begin_ns},
    {"window_end_ns", &HalfFlow::window_end_ns}};

struct Encoder {
  Json operator()(const HelloMessage& m) const {
    return {{"name", m.name},
            {"protocol", m.protocol},
            {"version", m.version},
            {"host", m.host},
            {"clock", m.clock}};
  }
  Json operator()(const JobsMessage& m) const {
    Json jobs = Json::array();
    for (const JobTexts::Job& job : m.set.jobs) {
      jobs.push_back({{"name", job.name},
                      {"where", job.where},
                      {"options", pairs(job.options)},
                      {"clock_shift_ns", job.clock_shift_ns ? Json(*job.clock_shift_ns) : Json()},
                      {"other_end_elsewhere", job.other_end_elsewhere},
                      {"state", in_hex(job.state)}});
    }
    return {{"run", pairs(m.set.run)}, {"jobs", std::move(jobs)}, {"command", m.command}};
  }
  Json operator()(const PreparedMessage& m) const { return {{"jobs", m.jobs}}; }
  Json operator()(const RefusedMessage& m) const {
    return {{"why", m.why}, {"exit_code", m.exit_code}};
  }
  Json operator()(const BusyMessage& m) const { return {{"by", m.by}, {"since", m.since}}; }
  Json operator()(const GoMessage& m) const { return {{"start_ns", m.start_ns}}; }
  Json operator()(const StartedMessage& m) const { return {{"start_ns", m.start_ns}}; }
  Json operator()(const ProgressMessage& m) const {
    return {{"interval", m.interval}, {"progress", progress_to_json(m.progress)}};
  }
  Json operator()(const RunMessage& m) const { return {{"what", m.what}}; }
  Json operator()(const StopMessage& m) const { return {{"hard", m.hard}, {"signal", m.signal}}; }
  Json operator()(const NoticeMessage& m) const { return {{"what", m.what}}; }
  Json operator()(const TriggeredMessage& m) const { return {{"what", m.what}}; }
  Json operator()(const TriggerMessage& /*m*/) const { return Json::object(); }
  Json operator()(const SenderEndedMessage& m) const {
    return {{"job", m.job}, {"frames", m.frames}};
  }
  Json operator()(const StateMessage& m) const {
    return {{"job", m.job}, {"state", in_hex(m.state)}};
  }
  Json operator()(const FinishedMessage& m) const {
    Json halves = Json::array();
    std::size_t room = kMaxMarks;
    for (const auto& [job, half] : m.halves) {
      Json marks = Json::array();
      for (const SentMark& mark : half.marks) {
        if (room == 0) break;
        --room;
        marks.push_back(mark.time_ns);
        marks.push_back(mark.frames);
      }
      Json& put = halves.emplace_back();
      put["job"] = job;
      put["listened_until_ns"] = half.listened_until_ns ? Json(*half.listened_until_ns) : Json();
      put["marks"] = std::move(marks);
      for (const auto& [key, count] : kHalfCounts) put[key] = half.*count;
    }
    return {{"result", m.result}, {"halves", std::move(halves)}};
  }
  Json operator()(const PingMessage& m) const { return {{"sent_ns", m.sent_ns}}; }
  Json operator()(const PongMessage& m) const {
    return {{"sent_ns", m.sent_ns}, {"clock_ns", m.clock_ns}};
  }
};

// ---- From JSON ----

const Json& member(const Json& of, const char* key) {
  const auto it = of.find(key);
  if (it == of.end()) throw Wrong(std::string("it has no \"") + key + '"');
  return *it;
}

[[noreturn]] void wrong_type(const char* key, const char* what) {
  throw Wrong(std::string("its \"") + key + "\" is not " + what);
}

std::string text_of(const Json& value, const char* key, std::size_t max) {
  if (!value.is_string()) wrong_type(key, "a text");
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() > max) wrong_type(key, "of an allowed size");
  return text;
}

std::string text(const Json& of, const char* key, std::size_t max = kMaxTextBytes) {
  return text_of(member(of, key), key, max);
}

std::uint64_t count(const Json& of, const char* key) {
  const Json& value = member(of, key);
  if (!value.is_number_unsigned()) wrong_type(key, "a count");
  return value.get<std::uint64_t>();
}

bool flag(const Json& of, const char* key) {
  const Json& value = member(of, key);
  if (!value.is_boolean()) wrong_type(key, "true or false");
  return value.get<bool>();
}

const Json& list(const Json& of, const char* key) {
  const Json& value = member(of, key);
  if (!value.is_array()) wrong_type(key, "a list");
  if (value.size() > kMaxItems) wrong_type(key, "a list of an allowed length");
  return value;
}

std::vector<std::string> texts(const Json& of, const char* key) {
  std::vector<std::string> all;
  for (const Json& item : list(of, key)) all.push_back(text_of(item, key, kMaxTextBytes));
  return all;
}

OptionTexts pairs(const Json& of, const char* key) {
  OptionTexts all;
  for (const Json& item : list(of, key)) {
    if (!item.is_array() || item.size() != 2) wrong_type(key, "a list of names and values");
    all.emplace_back(text_of(item[0], key, 256), text_of(item[1], key, kMaxTextBytes));
  }
  return all;
}

std::optional<std::int64_t> number_or_null(const Json& of, const char* key) {
  const Json& value = member(of, key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number_integer()) wrong_type(key, "a number");
  return value.get<std::int64_t>();
}

std::vector<std::byte> state_of(const Json& json) {
  const std::string hex = text(json, "state", 2 * kMaxStateBytes);
  std::vector<std::byte> state(hex.size() / 2);
  for (std::size_t i = 0; i < hex.size(); ++i) {
    const std::size_t digit = kHex.find(hex[i]);
    if (digit == kHex.npos || hex.size() % 2 != 0) wrong_type("state", "a list of bytes in hex");
    state[i / 2] = state[i / 2] << 4 | static_cast<std::byte>(digit);
  }
  return state;
}

JobsMessage jobs_message(const Json& json) {
  JobsMessage m;
  m.set.run = pairs(json, "run");
  for (const Json& job : list(json, "jobs")) {
    if (!job.is_object()) wrong_type("jobs", "a list of jobs");
    m.set.jobs.push_back({text(job, "name", 256), text(job, "where"), pairs(job, "options"),
                          number_or_null(job, "clock_shift_ns"), flag(job, "other_end_elsewhere"),
                          state_of(job)});
  }
  m.command = texts(json, "command");
  return m;
}

StopMessage stop_message(const Json& json) {
  const std::uint64_t signal = count(json, "signal");
  if (signal > 64) wrong_type("signal", "the number of a signal");
  return {flag(json, "hard"), static_cast<int>(signal)};
}

RefusedMessage refused_message(const Json& json) {
  const std::uint64_t code = count(json, "exit_code");
  if (code == 0 || code > 255) wrong_type("exit_code", "the exit code of a failure");
  return {texts(json, "why"), static_cast<int>(code)};
}

ProgressMessage progress_message(const Json& json) {
  auto progress = progress_from_json(member(json, "progress"));
  if (!progress) throw Wrong(progress.error().message);
  return {*std::move(progress), flag(json, "interval")};
}

/// The marks of one half, of which `room` more may come: time, frames, time, frames and so on. A
/// list for each would need much more memory than its text.
std::vector<SentMark> marks_of(const Json& half, std::size_t& room) {
  std::vector<SentMark> marks;
  const Json& numbers = list(half, "marks");
  const bool fine =
      numbers.size() % 2 == 0 && numbers.size() / 2 <= room &&
      std::ranges::all_of(numbers, [](const Json& number) { return number.is_number_unsigned(); });
  if (!fine) wrong_type("marks", "a list of times and counts of an allowed length");
  room -= numbers.size() / 2;
  for (std::size_t i = 0; i < numbers.size(); i += 2) {
    marks.push_back({numbers[i].get<std::uint64_t>(), numbers[i + 1].get<std::uint64_t>()});
  }
  return marks;
}

FinishedMessage finished_message(const Json& json) {
  FinishedMessage m{text(json, "result", kMaxResultBytes)};
  std::size_t room = kMaxMarks;
  for (const Json& each : list(json, "halves")) {
    if (!each.is_object()) wrong_type("halves", "a list of objects");
    HalfFlow half;
    if (!member(each, "listened_until_ns").is_null()) {
      half.listened_until_ns = count(each, "listened_until_ns");
    }
    for (const auto& [key, member] : kHalfCounts) half.*member = count(each, key);
    half.marks = marks_of(each, room);
    m.halves.emplace_back(text(each, "job", 256), std::move(half));
  }
  return m;
}

/// A greeting of another protocol may lack what this one added. It has what tells both apart.
HelloMessage hello_message(const Json& json) {
  HelloMessage m{text(json, "name", 256), count(json, "protocol"), text(json, "version", 256), {}};
  if (m.protocol != kRemoteProtocol) return m;
  m.host = text(json, "host", 256);
  m.clock = text(json, "clock", 256);
  return m;
}

Message message_of(const Json& json) {
  if (!json.is_object()) throw Wrong("it is not an object");
  const std::string type = text(json, "type", 64);
  if (type == "hello") return hello_message(json);
  if (type == "jobs") return jobs_message(json);
  if (type == "prepared") return PreparedMessage{count(json, "jobs")};
  if (type == "refused") return refused_message(json);
  if (type == "busy") return BusyMessage{text(json, "by"), text(json, "since")};
  if (type == "go") return GoMessage{count(json, "start_ns")};
  if (type == "started") return StartedMessage{count(json, "start_ns")};
  if (type == "progress") return progress_message(json);
  if (type == "run") return RunMessage{text(json, "what")};
  if (type == "stop") return stop_message(json);
  if (type == "notice") return NoticeMessage{text(json, "what")};
  if (type == "triggered") return TriggeredMessage{text(json, "what")};
  if (type == "trigger") return TriggerMessage{};
  if (type == "sender_ended") {
    return SenderEndedMessage{text(json, "job", 256), count(json, "frames")};
  }
  if (type == "state") return StateMessage{text(json, "job", 256), state_of(json)};
  if (type == "finished") return finished_message(json);
  if (type == "ping") return PingMessage{count(json, "sent_ns")};
  if (type == "pong") return PongMessage{count(json, "sent_ns"), count(json, "clock_ns")};
  throw Wrong("its type \"" + printable(type) + "\" is unknown");
}

}  // namespace

const char* type_of(const Message& message) noexcept {
  return kTypes[message.index()];
}

std::string encode(const Message& message) {
  Json json = std::visit(Encoder(), message);
  json["type"] = type_of(message);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<Message> decode(std::string_view json, const std::function<bool()>& stop) {
  const auto wrong = [](const std::string& why) {
    return Error(Errc::bad_argument, "cannot understand a message: " + why);
  };
  const auto read =
      read_json(json, {.max_depth = kMaxDepth, .max_values = kMaxValues, .stop = stop});
  if (!read) return wrong(read.error().message);
  try {
    return message_of(*read);
  } catch (const std::exception& error) {
    return wrong(error.what());
  }
}

std::string identity_of_clock() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  struct stat space{};
  // A kernel without time namespaces has no such file, and one clock.
  if (!std::getline(file, boot)) return {};
  if (::stat("/proc/self/ns/time", &space) != 0) space = {};
  const std::string all = boot + ' ' + std::to_string(space.st_ino);
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a: hides the number of the boot
  for (const char c : all) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3U;
  return std::to_string(hash);
}

std::string mismatch(const HelloMessage& ours, const std::string& here, const HelloMessage& theirs,
                     const std::string& there) {
  if (theirs.name != ours.name) {
    return there + " is not " + ours.name + ", but \"" + printable(theirs.name) + '"';
  }
  if (theirs.protocol == ours.protocol && theirs.version == ours.version) return {};
  const auto side = [](const std::string& who, const HelloMessage& hello) {
    return who + " is shmifperf " + printable(hello.version) + " with protocol " +
           std::to_string(hello.protocol);
  };
  return side(here, ours) + ", " + side(there, theirs) +
         "; figures of different versions cannot be compared (install the same version on both)";
}

}  // namespace shmif::perf
