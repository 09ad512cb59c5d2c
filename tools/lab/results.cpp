#include "tools/lab/results.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>

#include "base/text.hpp"
#include "bus/file/output_file.hpp"
#include "tools/common/json.hpp"
#include "tools/lab/state.hpp"
#include "tools/lab/value.hpp"

namespace shmif::tools {

namespace {

constexpr const char* kTimeline = "timeline.jsonl";

/// U+FFFE and U+FFFF, which are valid UTF-8, and no Char of XML 1.0.
constexpr std::array<std::string_view, 2> kNoCharsOfXml{"\xef\xbf\xbe", "\xef\xbf\xbf"};

/// Printable text without the characters that XML does not have.
std::string without_noncharacters(std::string text) {
  for (const std::string_view each : kNoCharsOfXml) replace_in_text(text, each, "?");
  return text;
}

/// Text as XML may have it: no control characters, and no valid UTF-8 lost that XML has.
std::string xml_text(std::string_view text) {
  std::string made;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    for (const char c : without_noncharacters(base::printable(text.substr(at, end - at)))) {
      switch (c) {
        case '&': made += "&amp;"; break;
        case '<': made += "&lt;"; break;
        case '>': made += "&gt;"; break;
        case '"': made += "&quot;"; break;
        default: made += c;
      }
    }
    if (end < text.size()) made += '\n';
    at = end + 1;
  }
  return made;
}

/// Why others could put files into a folder, or exchange it; empty: they cannot.
std::string why_unsafe(const std::string& folder) {
  struct stat info{};
  if (::lstat(folder.c_str(), &info) != 0) return std::strerror(errno);
  if (S_ISLNK(info.st_mode) && info.st_uid != ::geteuid()) return "it is a link of another user";
  if (::stat(folder.c_str(), &info) != 0) return std::strerror(errno);
  if (!S_ISDIR(info.st_mode)) return "it is not a folder";
  if (info.st_uid != ::geteuid()) return "it belongs to another user";
  return (info.st_mode & S_IWOTH) != 0 ? "everybody may write to it" : "";
}

bus::OutputRules rules_of_junit(const std::string& file, const std::vector<std::string>& others) {
  return {.what = "cannot write the report " + file, .inputs = others};
}

/// Whose running lab uses a folder of results: " the lab three,"; empty if nobody knows.
std::string user_of_results(const std::string& folder) {
  for (const FoundLab& each : find_labs()) {
    if (each.alive && each.own && each.state.results == folder)
      return " the lab " + each.state.name;
  }
  return " another lab";
}

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", seconds);
  return text;
}

/// The names of files that an earlier run has written. Only plain names: anybody may have made the
/// list.
std::vector<std::string> names_in_list(const std::string& path) {
  constexpr std::size_t kMaxListBytes = std::size_t{1} << 20U;
  const Result<std::string> text = read_plain_file(path, kMaxListBytes);
  if (!text) return {};
  std::vector<std::string> names;
  for (const std::string_view name : base::split(*text, '\n')) {
    const bool plain = !name.empty() && name.front() != '.' && name.find('/') == name.npos;
    if (plain) names.emplace_back(name);
  }
  return names;
}

}  // namespace

std::string to_junit(const std::string& lab, const std::vector<LabCase>& cases, double seconds) {
  const auto failures =
      std::ranges::count_if(cases, [](const LabCase& each) { return !each.failure.empty(); });
  const auto skipped =
      std::ranges::count_if(cases, [](const LabCase& each) { return !each.skipped.empty(); });
  std::string xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"" +
                    xml_text(lab) + "\" tests=\"" + std::to_string(cases.size()) +
                    "\" failures=\"" + std::to_string(failures) + "\" errors=\"0\" skipped=\"" +
                    std::to_string(skipped) + "\" time=\"" + seconds_text(seconds) + "\">\n";
  for (const LabCase& each : cases) {
    xml += "  <testcase classname=\"" + xml_text(lab) + "\" name=\"" + xml_text(each.name) + '"' +
           (each.seconds ? " time=\"" + seconds_text(*each.seconds) + '"' : "") + ">\n";
    if (!each.failure.empty()) {
      xml += "    <failure message=\"" + xml_text(each.failure) + "\"></failure>\n";
    }
    if (!each.skipped.empty()) {
      xml += "    <skipped message=\"" + xml_text(each.skipped) + "\"></skipped>\n";
    }
    if (!each.output.empty()) {
      xml += "    <system-out>" + xml_text(each.output) + "</system-out>\n";
    }
    xml += "  </testcase>\n";
  }
  return xml + "</testsuite>\n";
}

Result<void> write_junit(const std::string& file, const std::string& lab,
                         const std::vector<LabCase>& cases, double seconds,
                         const std::vector<std::string>& others) {
  const std::string text = to_junit(lab, cases, seconds);
  return bus::write_whole(file, std::as_bytes(std::span(text)), rules_of_junit(file, others));
}

Result<void> check_junit_path(const std::string& file, const std::vector<std::string>& others) {
  return bus::check_output(file, rules_of_junit(file, others));
}

void remove_junit(const std::string& file, const std::vector<std::string>& others) {
  std::error_code failed;
  const bool is_plain =
      std::filesystem::is_regular_file(std::filesystem::symlink_status(file, failed));
  if (is_plain && check_junit_path(file, others)) ::unlink(file.c_str());
}

void LabResults::begin_list() {
  for (const std::string& name : names_in_list(list_path_)) {
    ::unlink((folder_ + '/' + name).c_str());
  }
  // Without it, the next run leaves the files of this one: no reason not to run.
  if (Result<UniqueFd> list = make_plain_file(list_path_, 0666)) list_ = *std::move(list);
}

Result<LabResults> LabResults::open(const std::string& folder, const std::string& lab) {
  std::error_code failed;
  const std::string path = std::filesystem::absolute(folder, failed).lexically_normal().string();
  LabResults results(
      path.size() > 1 && path.ends_with('/') ? path.substr(0, path.size() - 1) : path, lab);
  results.made_folder_ = std::filesystem::create_directories(results.folder_, failed);
  struct stat made{};
  if (results.made_folder_ && ::stat(results.folder_.c_str(), &made) == 0) {
    ::chmod(results.folder_.c_str(), made.st_mode & 07775U);  // whatever the umask is
  }
  const std::string why = failed ? failed.message() : why_unsafe(results.folder_);
  if (why.empty() && ::access(results.folder_.c_str(), W_OK) == 0) {
    // Two labs would remove and replace each other's files.
    results.lock_.reset(::open(results.folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (results.lock_ && ::flock(results.lock_.get(), LOCK_EX | LOCK_NB) != 0 &&
        errno == EWOULDBLOCK) {
      return Error(Errc::busy, "cannot use the folder of results " + results.folder_ + ':' +
                                   user_of_results(results.folder_) +
                                   " uses it now (give another with --artifacts)");
    }
    results.begin_list();
    return results;
  }
  return Error(failed ? failed : std::make_error_code(std::errc::permission_denied),
               "cannot use the folder of results " + results.folder_ + ": " +
                   (why.empty() ? std::strerror(errno) : why) + " (give another with --artifacts)");
}

Result<LabResults> LabResults::make_temporary(const std::string& name) {
  const char* const place = std::getenv("TMPDIR");
  std::string folder = std::string(place == nullptr || *place != '/' ? "/tmp" : place) + "/shmif-" +
                       name + "-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) {
    return Error::from_errno(errno, "cannot make a folder " + folder,
                             "TMPDIR may name another place");
  }
  LabResults results(folder, name);
  results.made_folder_ = true;
  return results;
}

std::string LabResults::file(const std::string& name) {
  std::string path = folder_ + '/' + name;
  if (std::ranges::find(files_, name) != files_.end()) return path;
  files_.push_back(name);
  if (list_) ::dprintf(list_.get(), "%s\n", name.c_str());
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) ::unlink(path.c_str());
  return path;
}

std::FILE* LabResults::open_file(const std::string& name) {
  const auto known = open_.find(name);
  if (known != open_.end()) return known->second.get();
  Result<UniqueFd> made = make_plain_file(this->file(name), 0666);
  File file(made ? ::fdopen(made->get(), "w") : nullptr);
  if (file) made->release();
  if (!file && why_incomplete_.empty()) {
    why_incomplete_ = made ? "cannot open " + name : made.error().message;
  }
  return open_.emplace(name, std::move(file)).first->second.get();
}

void LabResults::write(const std::string& name, std::FILE* file, std::string_view text) {
  const bool done =
      std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  if (done || !why_incomplete_.empty()) return;
  const int number = errno;
  why_incomplete_ = "cannot write " + folder_ + '/' + name + ": " + std::strerror(number);
  if (const char* const advice = bus::output_advice(number); *advice != '\0') {
    why_incomplete_ += std::string(" (") + advice + ')';
  }
}

void LabResults::log(const std::string& name, std::string_view text) {
  std::FILE* const file = open_file(name + ".log");
  if (file == nullptr) return;
  write(name + ".log", file, text);
}

void LabResults::note(std::chrono::nanoseconds since_ready, std::uint64_t wall_ns,
                      const std::string& what, bool applied, const std::string& result) {
  std::FILE* const file = open_file(kTimeline);
  if (file == nullptr) return;
  write(kTimeline, file,
        json_line({{"time_ns", since_ready.count()},
                   {"wall_ns", wall_ns},
                   {"what", what},
                   {"applied", applied},
                   {"result", result}}));
}

void LabResults::flush() {
  for (const auto& [name, file] : open_) {
    if (file) write(name, file.get(), {});
  }
}

void LabResults::remove() {
  open_.clear();
  for (const std::string& name : files_) ::unlink((folder_ + '/' + name).c_str());
  ::unlink(list_path_.c_str());
  if (made_folder_) ::rmdir(folder_.c_str());
}

namespace {

// The format, draft-ietf-opsawg-pcapng: a file is a series of blocks. A block is its type, its
// length, contents, and its length again, in the byte order of this machine, because `dump` ran on
// it. An interface has a number by its place in the file, so merged files number them anew. An
// interface may be described anywhere before the first frame that is of it.

constexpr std::uint32_t kInterfaceBlock = 1;
constexpr std::uint32_t kStatisticsBlock = 5;
constexpr std::uint32_t kPacketBlock = 6;
constexpr std::uint32_t kSectionBlock = 0x0a0d0d0a;
constexpr std::size_t kHead = 8;    // type and length
constexpr std::size_t kFrame = 12;  // with the length at the end
constexpr std::uint32_t kLargestBlock = 1U << 20U;
constexpr std::size_t kInterfaceFixed = kHead + 8;
constexpr std::size_t kSectionFixed = kHead + 16;
constexpr std::uint16_t kCommentOption = 1;

std::uint32_t word_at(const std::string& block, std::size_t at) noexcept {
  std::uint32_t word = 0;
  if (at + sizeof word <= block.size()) std::memcpy(&word, block.data() + at, sizeof word);
  return word;
}

void set_word(std::string& block, std::size_t at, std::uint32_t word) noexcept {
  if (at + sizeof word <= block.size()) std::memcpy(block.data() + at, &word, sizeof word);
}

struct CloseCapture {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using CaptureStream = std::unique_ptr<std::FILE, CloseCapture>;

CaptureStream stream_of(Result<UniqueFd> file, const char* how) {
  CaptureStream stream(::fdopen(file.value().get(), how));
  if (!stream) throw std::bad_alloc();
  file->release();
  return stream;
}

/// One of the files, and its next block.
class CaptureInput {
 public:
  CaptureInput(CaptureStream file, const BusCapture& capture)
      : file_(std::move(file)), bus_(capture.bus) {
    next();
  }

  bool has_block() const noexcept { return !block_.empty(); }
  std::uint32_t type() const noexcept { return word_at(block_, 0); }
  std::string& block() noexcept { return block_; }
  const std::string& bus() const noexcept { return bus_; }
  /// The time of a frame.
  std::uint64_t time() const noexcept {
    return std::uint64_t{word_at(block_, kHead + 4)} << 32U | word_at(block_, kHead + 8);
  }

  void next() {
    block_.assign(kHead, '\0');
    if (std::fread(block_.data(), kHead, 1, file_.get()) != 1) return block_.clear();
    const std::uint32_t bytes = word_at(block_, 4);
    if (bytes < kFrame || bytes % 4 != 0 || bytes > kLargestBlock) return block_.clear();
    block_.resize(bytes);
    if (std::fread(block_.data() + kHead, bytes - kHead, 1, file_.get()) != 1) block_.clear();
  }

  std::vector<std::uint32_t> numbers;  ///< of its interfaces, in the merged file
  bool has_section = false;            ///< its first one was read

 private:
  CaptureStream file_;
  std::string bus_;
  std::string block_;
};

std::string comment_option(const std::string& text) {
  std::string option;
  for (const std::uint16_t number : {kCommentOption, static_cast<std::uint16_t>(text.size())}) {
    option.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  option += text;
  option.append((4 - text.size() % 4) % 4, '\0');
  return option;
}

/// A block with other options. `fixed`: how many bytes it has before them. `options`: without their
/// end.
std::string with_options(const std::string& block, std::size_t fixed, const std::string& options) {
  std::string made = block.substr(0, fixed) + options + std::string(8, '\0');  // the end, a length
  set_word(made, 4, static_cast<std::uint32_t>(made.size()));
  set_word(made, made.size() - 4, static_cast<std::uint32_t>(made.size()));
  return made;
}

/// The options of a block, without their end.
std::string options_of(const std::string& block, std::size_t fixed) {
  std::string options = block.substr(fixed, block.size() - fixed - 4);
  if (options.size() >= 4 && word_at(options, options.size() - 4) == 0) {
    options.resize(options.size() - 4);
  }
  return options;
}

/// The description of an interface, with one more comment.
std::string with_comment(const std::string& block, const std::string& text) {
  return with_options(block, kInterfaceFixed,
                      options_of(block, kInterfaceFixed) + comment_option(text));
}

/// The beginning of a file. Its comment, which names one bus, names all of them.
std::string of_all_buses(const std::string& block, const std::vector<BusCapture>& captures) {
  std::string all = "frames of the buses ";
  for (const BusCapture& each : captures) all += (&each == captures.data() ? "" : ", ") + each.bus;
  if (block.size() < kSectionFixed + 4) return block;
  const std::string options = options_of(block, kSectionFixed);
  std::string made;
  for (std::size_t at = 0; at + 4 <= options.size();) {
    const std::uint32_t head = word_at(options, at);
    const std::size_t bytes = head >> 16U;
    const std::size_t room = 4 + (bytes + 3) / 4 * 4;
    const std::string text = options.substr(at + 4, bytes);
    if ((head & 0xffffU) == kCommentOption && text.starts_with("frames of the bus ")) {
      const std::size_t filter = text.find(", filter ");
      made += comment_option(all + (filter == std::string::npos ? "" : text.substr(filter)));
    } else {
      made += options.substr(at, room);
    }
    at += room;
  }
  return with_options(block, kSectionFixed, made);
}

class CaptureMerger {
 public:
  CaptureMerger(std::FILE* to, const std::vector<BusCapture>& captures) noexcept
      : to_(to), captures_(captures) {}

  /// Writes what comes before the next frame of an input. Result: false if a number of an interface
  /// is wrong.
  bool write_up_to_frame(CaptureInput& input) {
    for (; input.has_block() && input.type() != kPacketBlock; input.next()) {
      if (input.type() == kSectionBlock) {
        if (input.has_section) {
          ends_ += input.block();  // changes after the last frame: no frame may follow
        } else if (!std::exchange(has_section_, true)) {
          put(of_all_buses(input.block(), captures_));
        }
        input.has_section = true;
      } else if (input.type() == kInterfaceBlock) {
        if (input.block().size() < kInterfaceFixed + 4) return false;
        input.numbers.push_back(interfaces_++);
        put(with_comment(input.block(), "bus " + input.bus()));
      } else if (input.type() != kStatisticsBlock) {
        put(input.block());
      } else if (!renumber(input)) {
        return false;
      }
    }
    return true;
  }

  void finish() { put(ends_); }

  bool write_frame(CaptureInput& input) {
    if (!renumber(input)) return false;
    input.next();
    return true;
  }

 private:
  void put(const std::string& block) { std::fwrite(block.data(), 1, block.size(), to_); }
  bool renumber(CaptureInput& input) {
    const std::uint32_t number = word_at(input.block(), kHead);
    if (number >= input.numbers.size()) return false;
    set_word(input.block(), kHead, input.numbers[number]);
    put(input.block());
    return true;
  }

  std::FILE* to_;
  const std::vector<BusCapture>& captures_;
  std::string ends_;  ///< sections without frames
  bool has_section_ = false;
  std::uint32_t interfaces_ = 0;
};

}  // namespace

Result<void> merge_captures(const std::vector<BusCapture>& captures, const std::string& to) {
  const std::string what = "cannot join captures in " + to;
  std::vector<CaptureInput> inputs;
  inputs.reserve(captures.size());
  for (const BusCapture& each : captures) {
    Result<UniqueFd> part = open_plain_file(each.file);
    if (!part) return Error(part.error().code, what + ": " + part.error().message);
    const CaptureInput& input = inputs.emplace_back(stream_of(std::move(part), "r"), each);
    if (!input.has_block() || input.type() != kSectionBlock) {
      return Error(Errc::bad_argument, what + ": " + each.file + " is no pcapng file");
    }
  }
  Result<UniqueFd> made = make_plain_file(to, 0666);
  if (!made) return Error(made.error().code, what + ": " + made.error().message);
  CaptureStream file = stream_of(std::move(made), "w");
  CaptureMerger merger(file.get(), captures);
  bool right = true;
  while (right && std::ferror(file.get()) == 0) {
    CaptureInput* first = nullptr;
    for (CaptureInput& each : inputs) {
      right = right && merger.write_up_to_frame(each);
      if (each.has_block() && (first == nullptr || each.time() < first->time())) first = &each;
    }
    if (!right || first == nullptr) break;
    right = merger.write_frame(*first);
  }
  merger.finish();
  const bool wrote = std::ferror(file.get()) == 0;
  const bool closed = std::fclose(file.release()) == 0;
  if (right && wrote && closed) return {};
  const int error = errno;
  ::unlink(to.c_str());
  if (right) return Error::from_errno(error, what);
  return Error(Errc::bad_argument, what + ": a frame is of an interface that is not described");
}

}  // namespace shmif::tools
