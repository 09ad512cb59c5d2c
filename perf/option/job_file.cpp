#include "perf/option/job_file.hpp"

#include <ini.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <utility>

#include "base/nearest.hpp"
#include "base/text.hpp"
#include "perf/option/option_table.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kMaxErrors = 20;
constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxFiles = 256;
constexpr std::size_t kMaxSections = 4096;
constexpr std::size_t kMaxFileBytes = 1U << 20U;
constexpr std::size_t kMaxLineBytes = 64U << 10U;
constexpr std::string_view kStandardInput = "-";
constexpr std::string_view kSpaces = " \t\r\n\v\f";

std::string_view stripped(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

Result<std::string> read_file(const std::string& path) {
  const auto refuse = [&](int number) {
    return Error::from_errno(number, "cannot read job file \"" + path + '"');
  };
  // "-" is standard input, which is not closed.
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file =
      path == kStandardInput
          ? std::unique_ptr<std::FILE, int (*)(std::FILE*)>(stdin, [](std::FILE*) { return 0; })
          : std::unique_ptr<std::FILE, int (*)(std::FILE*)>(std::fopen(path.c_str(), "re"),
                                                            std::fclose);
  if (!file) return refuse(errno);
  std::string text(kMaxFileBytes + 1, '\0');
  const std::size_t size = std::fread(text.data(), 1, text.size(), file.get());
  if (std::ferror(file.get()) != 0) return refuse(errno);
  if (size > kMaxFileBytes)
    return Error(Errc::bad_argument, "job file \"" + path + "\" is longer than 1 MiB");
  text.resize(size);
  return text;
}

std::optional<std::string> from_environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

/// libinih splits names from values and removes comments. Its other features do not fit job files,
/// and are switched off or avoided:
///   - its lines end after 200 bytes, and an indented line continues the last one: settings, below
///   - it does not tell the handler the line number: our reader passes it lines, and counts them
///   - it cuts sections after 50 bytes, ignores empty ones, and knows no `include`: we handle those
///     lines, and pass an empty line instead of each
void set_up_inih() {
  static char comments[] = ";#";
  ini_use_stack = false;  // instead, a buffer that grows
  ini_allow_realloc = true;
  ini_max_line = static_cast<int>(kMaxLineBytes) + 3;
  ini_allow_multiline = false;
  ini_allow_no_value = true;
  ini_allow_inline_comments = true;
  ini_inline_comment_prefixes = comments;
  ini_start_comment_prefixes = comments;
  ini_stop_on_first_error = false;
}

class JobReader {
 public:
  JobReader(JobSet& into, const JobFileSources& sources) : set_(into), sources_(sources) {
    if (!sources_.read) sources_.read = read_file;
    if (!sources_.variable) sources_.variable = from_environment;
    set_up_inih();
  }

  void file(const std::string& path) {
    const auto text = sources_.read(path);
    if (!text) return complain(text.error().message);
    text_of(path == kStandardInput ? "standard input" : path, *text);
  }
  void text_of(const std::string& path, std::string_view text);

  std::vector<std::string> errors() && { return std::move(errors_); }

 private:
  /// A file that is being read, and the position in it.
  struct File {
    std::string path;
    std::string_view rest;
    int line = 0;
    std::string pending{};  // rest of a line that did not fit into libinih's buffer
  };
  enum class Section { none, global, job, refused };

  static char* next_line(char* into, int room, void* self);
  static int assign(void* self, const char* section, const char* name, const char* value);
  void take_line();
  bool take_own(std::string_view line);
  void begin_section(std::string_view line);
  void include(std::string_view words);
  void option(std::string_view name, std::optional<std::string_view> value);
  std::optional<std::string> expanded(std::string_view value);

  std::string here() const {
    return files_.empty() ? "" : files_.back().path + ':' + std::to_string(files_.back().line);
  }
  void complain(const std::string& what) {
    if (errors_.size() >= kMaxErrors) return;
    errors_.push_back(files_.empty() ? what : here() + ": " + what);
    if (errors_.size() == kMaxErrors) errors_.back() += " (further errors are not shown)";
  }

  JobSet& set_;
  JobFileSources sources_;
  std::vector<File> files_;  // the innermost include is last
  std::size_t files_read_ = 0;
  JobOptions global_;
  Section section_ = Section::none;
  std::map<std::string, std::pair<std::string, int>> seen_;  // options of this section: file, line
  std::vector<std::string> errors_;
};

void JobReader::text_of(const std::string& path, std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark
  if (stripped(text).starts_with('{'))
    return complain("job file \"" + path + "\" is JSON (for a result, run 'shmifperf report " +
                    base::quote_word(path) + "')");
  files_.push_back({path, text});
  ++files_read_;
  set_.run.job_files.push_back(path);
  // A positive result would be the line of an error, but this class has already checked the lines.
  if (ini_parse_stream(next_line, this, assign, this) == -2)
    complain("cannot read it: out of memory");
  files_.pop_back();
}

/// libinih's reader function: returns a line with its end, or as much of it as fits.
char* JobReader::next_line(char* into, int room, void* self) {
  JobReader& reading = *static_cast<JobReader*>(self);
  if (room < 2) return nullptr;
  if (reading.files_.back().pending.empty()) {
    if (reading.files_.back().rest.empty() || reading.errors_.size() >= kMaxErrors) return nullptr;
    reading.take_line();
  }
  std::string& pending = reading.files_.back().pending;  // take_line() may have moved the files
  const std::size_t size = std::min(pending.size(), static_cast<std::size_t>(room) - 1);
  std::memcpy(into, pending.data(), size);
  into[size] = '\0';
  pending.erase(0, size);
  return into;
}

/// Takes a line from the file. `pending` is then what libinih will see of it.
void JobReader::take_line() {
  File& file = files_.back();
  const std::size_t end = std::min(file.rest.find('\n'), file.rest.size());
  const std::string_view line = file.rest.substr(0, end);
  file.rest.remove_prefix(std::min(end + 1, file.rest.size()));
  ++file.line;
  const bool ours = take_own(line);
  files_.back().pending = (ours ? std::string() : std::string(line)) + '\n';
}

/// Handles lines that libinih must not see. Result: whether this was one.
bool JobReader::take_own(std::string_view line) {
  if (line.size() > kMaxLineBytes) {
    complain("the line is longer than 64 KiB");
    return true;
  }
  if (line.find('\0') != std::string_view::npos) {
    complain("the line holds a NUL byte (is this a job file?)");
    return true;
  }
  const std::string_view plain = stripped(line);
  if (plain.starts_with('[')) {
    begin_section(plain);
    return true;
  }
  constexpr std::string_view kInclude = "include";
  const bool includes = plain.starts_with(kInclude) && plain.size() > kInclude.size() &&
                        kSpaces.find(plain[kInclude.size()]) != std::string_view::npos &&
                        !stripped(plain.substr(kInclude.size())).starts_with('=');
  if (includes) include(stripped(plain.substr(kInclude.size())));
  return includes;
}

void JobReader::begin_section(std::string_view line) {
  seen_.clear();
  section_ = Section::refused;  // its options are ignored
  const std::size_t end = line.find(']');
  const std::string_view rest =
      end == std::string_view::npos ? std::string_view() : stripped(line.substr(end + 1));
  if (end == std::string_view::npos || (!rest.empty() && rest[0] != ';' && rest[0] != '#')) {
    return complain("\"" + std::string(line) +
                    "\" is not a section (write [name], alone on its line)");
  }
  const std::string name(stripped(line.substr(1, end - 1)));
  if (name == "global") {
    section_ = Section::global;
    return;
  }
  if (!is_job_name(name)) {
    return complain("\"" + name +
                    "\" is not a job name (1 to 64 printable characters, no / and no [)");
  }
  if (set_.jobs.size() >= kMaxSections) {
    return complain("there are more than " + std::to_string(kMaxSections) + " jobs");
  }
  section_ = Section::job;
  set_.jobs.push_back(global_);
  set_.jobs.back().name = name;
  set_.jobs.back().where = here();
  set_.jobs.back().given_before = global_.given.size();
}

void JobReader::include(std::string_view words) {
  // As in libinih, a comment begins after a space.
  for (std::size_t i = 1; i < words.size(); ++i) {
    if ((words[i] == ';' || words[i] == '#') &&
        kSpaces.find(words[i - 1]) != std::string_view::npos) {
      words = stripped(words.substr(0, i));
      break;
    }
  }
  const auto name = expanded(words);
  if (!name) return;
  const std::filesystem::path beside = std::filesystem::path(files_.back().path).parent_path();
  const std::string path = (beside / *name).lexically_normal().string();
  if (std::any_of(files_.begin(), files_.end(), [&](const File& file) {
        return std::filesystem::path(file.path).lexically_normal().string() == path;
      })) {
    return complain("include: \"" + path + "\" includes itself");
  }
  if (files_.size() >= kMaxDepth) {
    return complain("include: files include each other more than " + std::to_string(kMaxDepth) +
                    " deep");
  }
  if (files_read_ >= kMaxFiles) {
    return complain("include: more than " + std::to_string(kMaxFiles) + " files");
  }
  file(path);
}

int JobReader::assign(void* self, const char*, const char* name, const char* value) {
  static_cast<JobReader*>(self)->option(
      name, value == nullptr ? std::nullopt : std::optional<std::string_view>(value));
  return 1;
}

void JobReader::option(std::string_view name, std::optional<std::string_view> value) {
  if (section_ == Section::refused) return;
  if (section_ == Section::none) {
    section_ = Section::refused;  // report it once
    return complain("\"" + std::string(name) +
                    "\" is before any section (write [global] or a job's [name] above it)");
  }
  if (name.empty()) return complain("there is no name before the '='");
  const OptionRow* const row = find_option(name);
  if (row == nullptr) return complain(unknown_option(name).message);
  std::optional<std::string> text;
  if (value) {
    text = expanded(*value);
    if (!text) return;
  }
  JobOptions& job = section_ == Section::global ? global_ : set_.jobs.back();
  const bool of_run = section_ == Section::global && row->of_run();
  const Result<void> done = of_run ? set_option(*row, text, set_.run) : set_option(*row, text, job);
  if (!done) return complain(done.error().message);
  if (!of_run) job.where_of[row->name] = here();
  // A value of an included file may be meant as a default. A second one in the same file is not.
  const auto [seen, is_first] =
      seen_.try_emplace(row->name, files_.back().path, files_.back().line);
  if (!is_first && seen->second.first == files_.back().path && row->name != "output") {
    set_.warnings.push_back(here() + ": " + row->name + " replaces that of line " +
                            std::to_string(seen->second.second) + " (keep one of them)");
  }
  seen->second = {files_.back().path, files_.back().line};
}

/// `value` with its ${VARIABLES} replaced. Result: empty if a variable has no value.
std::optional<std::string> JobReader::expanded(std::string_view value) {
  std::string text;
  while (!value.empty()) {
    const std::size_t begin = std::min(value.find("${"), value.size());
    text += value.substr(0, begin);
    value.remove_prefix(begin);
    if (value.empty()) break;
    const std::size_t end = value.find('}');
    if (end == std::string_view::npos) {
      complain("a ${ is not closed by a }");
      return std::nullopt;
    }
    const std::string name(value.substr(2, end - 2));
    if (name.empty()) {
      complain("\"${}\" names no variable of the environment (write ${NAME})");
      return std::nullopt;
    }
    const auto found = sources_.variable(name);
    if (!found) {
      complain("the environment has no variable \"" + name + "\" (set it, or write the value)");
      return std::nullopt;
    }
    text += *found;
    value.remove_prefix(end + 1);
  }
  return text;
}

}  // namespace

std::vector<std::string> read_job_file(const std::string& path, JobSet& into,
                                       const JobFileSources& sources) {
  JobReader reading(into, sources);
  reading.file(path);
  return std::move(reading).errors();
}

std::vector<std::string> read_job_text(const std::string& name, const std::string& text,
                                       JobSet& into, const JobFileSources& sources) {
  JobReader reading(into, sources);
  reading.text_of(name, text);
  return std::move(reading).errors();
}

const std::vector<Profile>& profiles() {
  static const std::vector<Profile> all{
      {"ping", "round trips of small frames, one at a time, 1000 a second for 5 s",
       R"([ping]
rw=pingpong
bs=64
rate_iops=1k
iodepth=1
runtime=5
)"},
      {"imix", "the mix of frame sizes of the Internet, at full speed for 10 s",
       R"([imix]
rw=tx
bs=imix
runtime=10
)"},
      {"rfc2544", "for each frame size of RFC 2544, the highest rate at which no frame is lost",
       R"(; RFC 2544, section 26.1, for the frame sizes of section 9.1. Those count the FCS of four
; bytes, which the jobs are named after; bs does not.
[global]
rw=tx
search=ndr
; A bus delivers within microseconds; the two seconds of section 24 are for boxes with queues.
drain_time=200ms

[rfc2544-64]
bs=60
[rfc2544-128]
stonewall
bs=124
[rfc2544-256]
stonewall
bs=252
[rfc2544-512]
stonewall
bs=508
[rfc2544-1024]
stonewall
bs=1020
[rfc2544-1280]
stonewall
bs=1276
[rfc2544-1518]
stonewall
bs=1514
)"},
      {"voip", "20 voice calls with a packet every 20 ms: latency and jitter, for 10 s",
       R"(; About what G.711 makes every 20 ms: 160 bytes of speech, and headers. Each call is a
; thread, for there are many and each does little.
[voip]
rw=tx
bs=200
rate_iops=50
numjobs=20
thread
group_reporting
runtime=10
)"},
      {"bulk", "the largest ordinary frames, at full speed for 10 s",
       R"([bulk]
rw=tx
bs=1514
runtime=10
)"},
      {"hosts", "TCP, UDP and round trips between emulated hosts, side by side for 15 s",
       R"(; Each job and each of its peers is a host with a kernel's IP stack of its own.
[global]
engine=host
runtime=15
bus_size=64M

[tcp]
rw=tx
proto=tcp
bs=1514

[udp]
new_group
rw=tx
proto=udp
bs=1000
rate=50Mbit

[ping]
new_group
rw=pingpong
proto=udp
bs=128
rate_iops=100
iodepth=1
)"},
  };
  return all;
}

const Profile* find_profile(std::string_view name) {
  const std::vector<Profile>& all = profiles();
  const auto it =
      std::find_if(all.begin(), all.end(), [&](const Profile& p) { return p.name == name; });
  return it == all.end() ? nullptr : &*it;
}

std::string unknown_profile(std::string_view name) {
  std::vector<std::string> known;
  std::string list;
  for (const Profile& profile : profiles()) {
    known.emplace_back(profile.name);
    list += (list.empty() ? "" : ", ") + known.back();
  }
  const std::string what = "unknown profile \"" + std::string(name) + '"';
  if (const auto meant = base::nearest(name, known))
    return what + ", did you mean \"" + *meant + "\"?";
  return what + " (the profiles are " + list + ')';
}

}  // namespace shmif::perf
