#include "tools/common/output.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

#include "base/text.hpp"
#include "bus/file/output_file.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

namespace {

std::string g_work_done;
int g_output_failure = 0;

bool is_null_device(const struct stat& file) {
  constexpr unsigned kMemory = 1;
  constexpr unsigned kNull = 3;
  return S_ISCHR(file.st_mode) && file.st_rdev == makedev(kMemory, kNull);
}

/// Whether `file` is /dev/tty, and standard output is the terminal for which it stands.
bool is_own_terminal(const struct stat& file) {
  constexpr unsigned kTerminals = 5;
  if (!S_ISCHR(file.st_mode) || file.st_rdev != makedev(kTerminals, 0)) return false;
  return ::tcgetsid(STDOUT_FILENO) == ::getsid(0);
}

/// Writes as to a descriptor that blocks. Whoever shares standard output may have set O_NONBLOCK on
/// it, for all of us (node does so), and the C library would drop what finds no room.
ssize_t write_patiently(void* /*unused*/, const char* bytes, std::size_t count) {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t n = ::write(STDOUT_FILENO, bytes + done, count - done);
    pollfd room{STDOUT_FILENO, POLLOUT, 0};
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0 || errno != EAGAIN || ::poll(&room, 1, -1) < 0) {
      break;
    }
  }
  return static_cast<ssize_t>(done);  // less than `count`: failed
}

}  // namespace

void note_done(std::string what) {
  std::signal(SIGPIPE, SIG_IGN);
  g_work_done = std::move(what);
}

int flush_output() noexcept {
  const bool arrived = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  // After a failure, the C library drops what it held, and a later flush has nothing to fail at.
  if (!arrived && g_output_failure == 0) g_output_failure = errno == 0 ? EIO : errno;
  return arrived ? 0 : g_output_failure;
}

std::string lost_output_text(int number) {
  const std::string why = std::string("cannot write to standard output: ") + std::strerror(number);
  return g_work_done.empty() ? why : why + " (" + g_work_done + ')';
}

void begin_output() {
  static bool is_patient = false;
  const cookie_io_functions_t calls{
      .read = nullptr, .write = write_patiently, .seek = nullptr, .close = nullptr};
  std::FILE* const patient = is_patient ? nullptr : ::fopencookie(nullptr, "w", calls);
  if (patient != nullptr) {
    std::fflush(stdout);
    const bool by_line = ::isatty(STDOUT_FILENO) == 1;
    static_cast<void>(std::setvbuf(patient, nullptr, by_line ? _IOLBF : _IOFBF, BUFSIZ));
    stdout = patient;
    is_patient = true;
  }
  g_work_done.clear();
  g_output_failure = 0;
}

bool is_standard_output(const std::string& path) {
  if (path == "-") return true;
  struct stat output{};
  struct stat file{};
  if (::fstat(STDOUT_FILENO, &output) != 0 || ::stat(path.c_str(), &file) != 0) return false;
  const bool same = output.st_dev == file.st_dev && output.st_ino == file.st_ino;
  return (same && !is_null_device(output)) || is_own_terminal(file);
}

namespace {

/// A pipe that poll(2) calls writable takes so much without waiting.
constexpr std::size_t kPolledPiece = 4096;
constexpr int kReaderLookMs = 50;

/// Whether a descriptor is the side of a pseudo terminal that a terminal program has. Opened again,
/// it would be a new terminal.
bool is_master_of_terminal(const struct stat& file) {
  constexpr unsigned kTerminals = 5;
  constexpr unsigned kMaster = 2;
  return file.st_rdev == makedev(kTerminals, kMaster);
}

}  // namespace

PatientOutput::PatientOutput(int stream, std::string hint)
    : stream_(stream), hint_(std::move(hint)) {
  struct stat file{};
  if (::fstat(stream, &file) != 0) return;
  if (S_ISSOCK(file.st_mode)) way_ = Way::socket;
  if (S_ISFIFO(file.st_mode) || (S_ISCHR(file.st_mode) && ::isatty(stream) == 1)) {
    // O_NONBLOCK on `stream` itself would hold for all who share it, such as the shell.
    way_ = Way::polled;
    if (is_master_of_terminal(file)) return;
    const std::string name = "/proc/self/fd/" + std::to_string(stream);
    own_.reset(::open(name.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (own_) way_ = Way::own;  // otherwise it has no reader, or belongs to another user
  }
}

void PatientOutput::write(std::string_view line) {
  if (failure_ != 0) return;
  // After a gap, half of the room must be free: few large gaps are better than many small ones.
  const std::size_t room = left_out_ == 0 ? kMaxWaiting : kMaxWaiting / 2;
  if (waiting_.size() + line.size() >= room && !waiting_.empty()) {
    ++left_out_;
    return;
  }
  const bool idle = waiting_.empty();
  tell_left_out();
  waiting_.append(line).append(1, '\n');
  if (idle) flush();
}

void PatientOutput::tell_left_out() {
  if (left_out_ == 0) return;
  waiting_ += program_name();
  waiting_ += ": " + base::counted(std::exchange(left_out_, 0), "line") +
              " left out here, because nobody read them in time" + hint_ + '\n';
}

void PatientOutput::flush() {
  std::size_t written = 0;
  while (failure_ == 0 && written < waiting_.size()) {
    const std::size_t n = write_some(std::string_view(waiting_).substr(written));
    if (n == 0) break;
    written += n;
  }
  waiting_.erase(0, written);
  if (failure_ != 0) waiting_.clear();
  if (waiting_.empty() && left_out_ > 0 && failure_ == 0) {
    tell_left_out();
    flush();
  }
}

/// Result: how many bytes were written; 0 if none can be now, or after a failure.
std::size_t PatientOutput::write_some(std::string_view text) {
  ssize_t n = -1;
  do {
    if (way_ == Way::socket) {
      n = ::send(stream_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (way_ == Way::polled) {
      pollfd writable{stream_, POLLOUT, 0};
      if (::poll(&writable, 1, 0) == 0) return 0;
      n = ::write(stream_, text.data(), std::min(text.size(), kPolledPiece));
    } else {
      n = ::write(own_ ? own_.get() : stream_, text.data(), text.size());
    }
  } while (n < 0 && errno == EINTR && way_ != Way::polled);
  if (n > 0) return static_cast<std::size_t>(n);
  if (n < 0 && errno != EAGAIN && errno != EINTR) failure_ = errno;
  return 0;
}

std::uint64_t PatientOutput::give_up() {
  const auto lines = static_cast<std::uint64_t>(std::ranges::count(waiting_, '\n'));
  waiting_.clear();
  return lines + std::exchange(left_out_, 0);
}

void PatientOutput::wait_a_moment() const {
  pollfd writable{wanted(), POLLOUT, 0};
  ::poll(&writable, 1, kReaderLookMs);
}

int PatientOutput::wanted() const noexcept {
  if (waiting_.empty()) return -1;
  return own_ ? own_.get() : stream_;
}

namespace {

struct Room {
  std::size_t columns = 79;
  unsigned rows = 23;
};

/// The last column and the last row stay empty, because some terminals begin a new line after them.
Room room() {
  winsize window{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col < 2 || window.ws_row < 2) {
    return {};
  }
  return {window.ws_col - std::size_t{1}, window.ws_row - 1U};
}

}  // namespace

unsigned terminal_columns(int output) noexcept {
  if (const char* const wish = std::getenv("COLUMNS")) {
    if (const unsigned long columns = std::strtoul(wish, nullptr, 10);
        columns > 0 && columns < 10'000)
      return static_cast<unsigned>(columns);
  }
  winsize window{};
  if (isatty(output) == 0 || ioctl(output, TIOCGWINSZ, &window) != 0) return 0;
  return window.ws_col;
}

bool shows_colours() noexcept {
  const char* const none = std::getenv("NO_COLOR");
  const char* const terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) == 1 && (none == nullptr || *none == 0) && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1), next_(Clock::now()) {}

bool Progress::due() noexcept {
  return terminal_ && Clock::now() >= next_;
}

std::string Progress::to_first_line() const {
  return shown_ > 1 ? "\r\033[" + std::to_string(shown_ - 1) + 'A' : "\r";
}

void Progress::show(const std::string& text) {
  if (!terminal_) return;
  const Room has = room();
  std::string out = to_first_line();
  unsigned rows = 0;
  for (std::size_t at = 0; at <= text.size() && rows < has.rows; ++rows) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (rows > 0) out += '\n';
    // Writes the line first and then erases the rest, to avoid flicker.
    const std::string_view line = std::string_view(text).substr(at, end - at);
    out += line.substr(0, base::behind_columns(line, has.columns));
    out += "\033[K";
    at = end + 1;
  }
  out += "\033[J";  // also erases older lines below
  std::fwrite(out.data(), 1, out.size(), stderr);
  shown_ = rows;
  next_ = Clock::now() + std::chrono::milliseconds(250);
}

void Progress::clear() {
  if (shown_ == 0) return;
  const std::string out = to_first_line() + "\033[J";
  std::fwrite(out.data(), 1, out.size(), stderr);
  shown_ = 0;
}

namespace {

bus::OutputRules rules_of(const std::string& path, const std::vector<std::string>& inputs) {
  return {.what = "cannot write " + path, .inputs = inputs};
}

}  // namespace

Result<void> check_file(const std::string& path, const std::vector<std::string>& inputs) {
  if (path.empty())
    return Error(Errc::bad_argument, "the path of an output is empty (name a file)");
  if (path == "-") return {};
  return bus::check_output(path, rules_of(path, inputs));
}

Result<void> write_file(const std::string& path, const std::string& text,
                        const std::vector<std::string>& inputs) {
  if (path != "-") {
    return bus::write_whole(path, std::as_bytes(std::span(text)), rules_of(path, inputs));
  }
  int failure = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? 0 : errno;
  // A full disk may be noticed only when the last bytes are written.
  if (std::fflush(stdout) != 0 && failure == 0) failure = errno;
  if (failure != 0)
    return Error::from_errno(failure, "cannot write to standard output",
                             bus::output_advice(failure));
  return {};
}

}  // namespace shmif::tools
