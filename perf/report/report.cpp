#include "perf/report/report.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "perf/report/json_reader.hpp"

namespace shmif::perf {

namespace {

// An hour of 1,000 jobs with an interval per second takes less than a tenth of that.
constexpr std::size_t kMaxBytes = std::size_t{4} << 30U;
// The schema is 7 levels deep. Deeper input would only cause needless recursion.
constexpr std::size_t kMaxDepth = 32;

Error refused(const std::string& name, const std::string& why) {
  return {Errc::bad_argument, "cannot read result " + name + ": " + why};
}

const JsonSchema& schema() {
  static const JsonSchema made = JsonSchema::make(nlohmann::json::parse(schema_text())).value();
  return made;
}

/// A text of the file, for messages.
std::string shown(const std::string& text) {
  constexpr std::size_t kShown = 60;
  return base::shortened(base::printable(text), kShown);
}

/// The program that wrote the file, for messages; empty if the file does not tell.
std::string writer_of(const nlohmann::json& json) {
  const auto version = json.find("shmifperf_version");
  if (version == json.end() || !version->is_string()) return {};
  return " of shmifperf " + shown(version->get_ref<const std::string&>());
}

/// Result: false if reading failed before the end; errno tells why.
bool read_all(int file, std::string& into) {
  std::array<char, 65536> piece{};
  while (into.size() <= kMaxBytes) {  // parse() refuses more
    const ssize_t got = ::read(file, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0;
    into.append(piece.data(), static_cast<std::size_t>(got));
  }
  return true;
}

}  // namespace

Report::Report(std::shared_ptr<const nlohmann::json> json, std::string name)
    : json_(std::move(json)), name_(std::move(name)) {}

Result<Report> Report::parse(std::string_view text, const std::string& name,
                             const std::function<bool()>& stop) {
  if (text.size() > kMaxBytes) return refused(name, "it is larger than any result (4 GiB)");
  auto read = read_json(text, {.max_depth = kMaxDepth, .stop = stop});
  if (!read) {
    std::string why = read.error().message;
    if (why.starts_with("it is not JSON")) {
      // Where a parser stumbled over a file that never was JSON helps nobody.
      if (text.find('{') != text.find_first_not_of(" \t\r\n")) why = "it is not JSON";
      why += "; 'shmifperf run --output=FILE.json' writes a result that can be read";
    }
    return refused(name, why);
  }
  auto json = std::make_shared<nlohmann::json>(*std::move(read));
  if (!json->is_object()) return refused(name, "it is JSON, but not a result of shmifperf run");
  const auto format = json->find("format_version");
  if (format == json->end()) {
    return refused(name, "it has no format_version, so it is not a result of shmifperf run");
  }
  if (*format != kReportFormat) {
    return refused(name, "it has format_version " + shown(format->dump(-1, ' ', true)) +
                             writer_of(*json) + ", but this shmifperf reads " +
                             std::to_string(kReportFormat) + "; use the shmifperf that wrote it");
  }
  const std::string wrong = schema().complaint(*json);
  if (!wrong.empty()) return refused(name, "it does not match the schema: " + wrong);
  return Report(std::move(json), name);
}

Result<Report> Report::load(const std::string& path) {
  std::string text;
  if (path == "-") {
    if (read_all(STDIN_FILENO, text)) return parse(text, "on standard input");
    return Error::from_errno(errno, "cannot read a result from standard input");
  }
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || !read_all(file.get(), text)) {
    const int number = errno;
    return Error::from_errno(
        number, "cannot read result " + path,
        number == ENOENT ? "'shmifperf run --output=FILE.json' writes a result" : "");
  }
  return parse(text, path);
}

}  // namespace shmif::perf
