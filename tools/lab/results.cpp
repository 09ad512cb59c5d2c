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
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/output_file.hpp"
#include "tools/common/json.hpp"
#include "tools/common/plain_file.hpp"
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

}  // namespace shmif::tools
