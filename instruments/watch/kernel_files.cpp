#include "instruments/watch/kernel_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/descriptors.hpp"
#include "base/fork_guard.hpp"
#include "base/quantity.hpp"

namespace shmif::perf {

const char* descriptor_remedy(int number) noexcept {
  if (number == EMFILE) return "allow this program more open files: ulimit -n 1024";
  if (number == ENFILE) return "allow the machine more open files: sysctl fs.file-max";
  return "";
}

namespace {

constexpr std::size_t kMaxText = std::size_t{16} << 20U;

Error cannot(const char* what, const std::string& path, int number) {
  return Error::from_errno(number, std::string("cannot ") + what + ' ' + path,
                           descriptor_remedy(number));
}

}  // namespace

/// Opens, reads and writes files in a child process.
///
/// What another process made or named can keep the caller waiting. Its mappings in /proc wait for
/// the lock of its memory. A thread of it can hold this lock while a file system that a program
/// serves (FUSE) does not answer. A directory that it names can be of such a file system: then not
/// even SIGKILL ends the call. So only a child waits, and this process can go on or end.
///
/// Threads: any; one call at a time. The child has no descriptor of this process.
class FileHelper {
 public:
  /// `stops`: whether to give up a call that does not come back. Called by the thread that waits.
  explicit FileHelper(std::function<bool()> stops) : stops_(std::move(stops)) {}
  FileHelper(const FileHelper&) = delete;
  FileHelper& operator=(const FileHelper&) = delete;
  ~FileHelper();

  /// As KernelFiles::read() and write() for a path. Blocks: until the kernel answers, and five
  /// seconds at most. Errors: also Errc::timed_out. Its child then ends when the kernel lets it. If
  /// four children wait so, all later calls fail at once.
  Result<std::string> read(const std::string& path);
  Result<void> write(const std::string& path, std::string_view text);
  /// As KernelFiles::open_folder(). Errors: also Errc::unsupported_file_system
  /// for a directory of FUSE.
  Result<UniqueFd> open_folder(const std::string& path);

 private:
  struct Answer {
    std::string text;
    UniqueFd folder;
  };
  Result<Answer> ask(const std::string& request, const std::string& path);
  bool start();
  void give_up();
  bool wait() const;

  std::function<bool()> stops_;
  std::mutex mutex_;
  pid_t child_ = 0;
  UniqueFd socket_;
  std::vector<pid_t> lost_;  ///< children that do not come back
};

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{5};
constexpr int kSliceMs = 50;
constexpr std::size_t kMaxLost = 4;
constexpr std::size_t kPart = 16384;

/// The last message of an answer. Messages before it begin with 0, and text follows.
struct HelperEnd {
  char step = 'r';  ///< what failed: 'o'pen, 'r'ead, or 'w'rite
  int error = 0;
};

/// A call that signals do not end.
template <class Call>
ssize_t whole(const Call& call) noexcept {
  ssize_t done = 0;
  do {
    done = call();
  } while (done < 0 && errno == EINTR);
  return done;
}

/// In the child: opens a directory, unless it is of FUSE.
HelperEnd open_folder(const char* path, UniqueFd& folder) noexcept {
  constexpr long kFuse = 0x65735546;  // FUSE_SUPER_MAGIC
  folder.reset(::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct statfs system{};
  if (!folder || ::fstatfs(folder.get(), &system) != 0) return {'o', errno};
  return {'o', system.f_type == kFuse ? ENOTSUP : 0};
}

/// In the child. `request`: 'r', 'w' or 'f', the path, a zero, and for 'w' the text.
HelperEnd serve_one(int socket, const char* request, std::size_t size, UniqueFd& folder) noexcept {
  const bool writes = request[0] == 'w';
  const char* const path = request + 1;
  if (request[0] == 'f') return open_folder(path, folder);
  const int flags = writes ? O_WRONLY : O_RDONLY | O_NONBLOCK;
  const UniqueFd file(::open(path, flags | O_CLOEXEC));
  if (!file) return {'o', errno};
  if (writes) {
    const char* const text = path + std::strlen(path) + 1;
    const auto length = static_cast<std::size_t>(request + size - text);
    const ssize_t wrote = whole([&] { return ::write(file.get(), text, length); });
    if (wrote < 0) return {'w', errno};
    return {'w', static_cast<std::size_t>(wrote) == length ? 0 : EIO};
  }
  std::array<char, kPart> part{};
  for (;;) {  // until the end of the file
    const ssize_t got = whole([&] { return ::read(file.get(), &part[1], part.size() - 1); });
    if (got < 0) return {'r', errno};
    if (got == 0) return {};
    (void)::send(socket, part.data(), static_cast<std::size_t>(got) + 1, MSG_NOSIGNAL);
  }
}

/// The child, until its parent has closed the socket. Makes only calls that are safe after a
/// process with threads has forked.
void serve(int socket) noexcept {
  base::close_all_but({socket}, 0);
  std::array<char, kPart> request{};
  for (;;) {  // until the socket is closed
    // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection): the lock is the parent's
    const ssize_t got = whole([&] { return ::recv(socket, request.data(), request.size(), 0); });
    if (got <= 0) return;
    UniqueFd folder;
    HelperEnd end = serve_one(socket, request.data(), static_cast<std::size_t>(got), folder);
    iovec part{&end, sizeof end};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    base::RightsRoom<1> room;
    const int descriptor = folder.get();
    if (folder && end.error == 0) base::put_rights(message, room, {&descriptor, 1});
    (void)::sendmsg(socket, &message, MSG_NOSIGNAL);
  }
}

Error failure(const HelperEnd& end, const std::string& path) {
  const char* const what = end.step == 'o'   ? "cannot open "
                           : end.step == 'r' ? "cannot read "
                                             : "cannot write ";
  return Error::from_errno(end.error, what + path, descriptor_remedy(end.error));
}

}  // namespace

FileHelper::~FileHelper() {
  give_up();
}

/// Starts the child, if there is none. Its end sends no signal, and only waitpid(2) with __WCLONE
/// finds it, so a program does not take it for a child of its own. All signals stay blocked in it.
bool FileHelper::start() {
  if (socket_) return true;
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return false;
  socket_.reset(ends[0]);
  const UniqueFd theirs(ends[1]);
  const base::ForkHold hold;
  const long child = ::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr);
  if (child == 0) {
    serve(theirs.get());
    ::_exit(0);
  }
  child_ = static_cast<pid_t>(child);
  if (child < 0) socket_.reset();
  return child > 0;
}

/// Ends the child, or leaves it to the kernel if it does not come back.
void FileHelper::give_up() {
  if (socket_) {
    socket_.reset();
    ::kill(child_, SIGKILL);
    lost_.push_back(child_);
  }
  // A moment is enough for a child that can end.
  constexpr int kTries = 20;
  for (int i = 0; i < kTries && !lost_.empty(); ++i) {
    std::erase_if(lost_,
                  [](pid_t each) { return ::waitpid(each, nullptr, WNOHANG | __WCLONE) != 0; });
    if (!lost_.empty()) ::usleep(1000);
  }
}

/// Waits for the next message. Result: whether there is one.
bool FileHelper::wait() const {
  const auto until = Clock::now() + kPatience;
  do {
    pollfd ready{socket_.get(), POLLIN, 0};
    if (::poll(&ready, 1, kSliceMs) > 0) return true;
  } while (Clock::now() < until && !stops_());
  return false;
}

Result<FileHelper::Answer> FileHelper::ask(const std::string& request, const std::string& path) {
  const std::lock_guard guard(mutex_);
  const Error no_answer(Errc::timed_out,
                        "cannot use " + path +
                            ": the kernel does not answer (does the process use a file system "
                            "that does not answer?)");
  if (lost_.size() >= kMaxLost) give_up();
  if (lost_.size() >= kMaxLost) return no_answer;
  if (request.size() > kPart) return Error::from_errno(ENAMETOOLONG, "cannot open " + path);
  if (!start() || ::send(socket_.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    return Error::from_errno(errno, "cannot start a process that opens " + path,
                             descriptor_remedy(errno));
  }
  Answer answer;
  std::array<char, kPart> room{};
  for (;;) {  // until the last message
    iovec part{room.data(), room.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    base::RightsRoom<1> rights;
    base::allow_rights(message, rights);
    const ssize_t got =
        wait() ? whole([&] { return ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC); }) : 0;
    if (got <= 0) {
      give_up();
      return no_answer;
    }
    if (room[0] == 0) {
      answer.text.append(&room[1], static_cast<std::size_t>(got) - 1);
      if (answer.text.size() <= kMaxText) continue;
      give_up();
      return Error(Errc::bad_argument, "cannot read " + path + ": it has more than 16 MiB");
    }
    base::for_each_right(message, [&](int descriptor) { answer.folder.reset(descriptor); });
    HelperEnd end;
    std::memcpy(&end, room.data(), sizeof end);
    if (end.error != 0) return failure(end, path);
    return answer;
  }
}

Result<std::string> FileHelper::read(const std::string& path) {
  auto answer = ask('r' + path + '\0', path);
  if (!answer) return std::move(answer).error();
  return std::move(answer->text);
}

Result<void> FileHelper::write(const std::string& path, std::string_view text) {
  auto done = ask('w' + path + '\0' + std::string(text), path);
  return done ? Result<void>() : Result<void>(std::move(done).error());
}

Result<UniqueFd> FileHelper::open_folder(const std::string& path) {
  auto answer = ask('f' + path + '\0', path);
  if (answer) return std::move(answer->folder);
  const bool may_wait =
      answer.error().code == std::errc::not_supported || answer.error().code == Errc::timed_out;
  if (!may_wait) return std::move(answer).error();
  return Error(Errc::unsupported_file_system,
               path + " is of a file system of a program (FUSE), which may not answer");
}

KernelFiles::KernelFiles(std::string root) : root_(std::move(root)) {
  while (root_.ends_with('/')) root_.pop_back();
}

KernelFiles KernelFiles::by_helper(std::function<bool()> stops) const {
  KernelFiles files = *this;
  files.helper_ = std::make_shared<FileHelper>(std::move(stops));
  return files;
}

std::string KernelFiles::path(std::string_view name) const {
  std::string path = root_;
  if (!name.starts_with('/')) path += '/';
  return path.append(name);
}

bool KernelFiles::has(std::string_view name) const {
  return ::access(path(name).c_str(), F_OK) == 0;
}

Result<std::string> KernelFiles::read(std::string_view name) const {
  const std::string file = path(name);
  if (helper_) return helper_->read(file);
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return cannot("open", file, errno);
  std::string text;
  std::array<char, 16384> part;
  for (;;) {  // until the end, or the limit
    const ssize_t got = ::read(fd.get(), part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot("read", file, errno);
    if (got == 0) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
    if (text.size() > kMaxText) {
      return Error(Errc::bad_argument, "cannot read " + file + ": it has more than 16 MiB");
    }
  }
}

Result<std::uint64_t> KernelFiles::read_number(std::string_view name) const {
  auto text = read(name);
  if (!text) return std::move(text).error();
  while (text->ends_with('\n') || text->ends_with(' ')) text->pop_back();
  const auto number = base::read_digits(*text);
  if (number) return *number;
  return Error(Errc::bad_argument,
               path(name) + (text->empty() ? " is empty" : " has no number: \"" + *text + '"'));
}

Result<std::int64_t> KernelFiles::read_signed(std::string_view name) const {
  auto text = read(name);
  if (!text) return std::move(text).error();
  while (text->ends_with('\n') || text->ends_with(' ')) text->pop_back();
  const bool below = text->starts_with('-');
  const auto number = base::read_digits(std::string_view(*text).substr(below ? 1 : 0));
  if (number && *number <= INT32_MAX) {
    const auto value = static_cast<std::int64_t>(*number);
    return below ? -value : value;
  }
  return Error(Errc::bad_argument,
               path(name) + (text->empty() ? " is empty" : " has no number that it can have"));
}

Result<void> KernelFiles::write(std::string_view name, std::string_view text) const {
  const std::string file = path(name);
  if (helper_) return helper_->write(file, text);
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return cannot("open", file, errno);
  ssize_t wrote = 0;
  do {
    wrote = ::write(fd.get(), text.data(), text.size());
  } while (wrote < 0 && errno == EINTR);
  if (wrote < 0) return cannot("write", file, errno);
  if (static_cast<std::size_t>(wrote) != text.size()) return cannot("write all to", file, EIO);
  return {};
}

Result<UniqueFd> KernelFiles::open_folder(std::string_view name) const {
  const std::string folder = path(name);
  if (helper_) return helper_->open_folder(folder);
  UniqueFd file(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!file) return cannot("open", folder, errno);
  return file;
}

Result<std::vector<std::string>> KernelFiles::list(std::string_view name) const {
  const std::string folder = path(name);
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(folder.c_str()), &::closedir);
  if (!directory) return cannot("list", folder, errno);
  std::vector<std::string> names;
  for (;;) {  // until the end
    errno = 0;
    const dirent* const entry = ::readdir(directory.get());
    if (entry == nullptr && errno != 0) return cannot("list", folder, errno);
    if (entry == nullptr) break;
    const std::string_view each = &entry->d_name[0];
    if (each != "." && each != "..") names.emplace_back(each);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace shmif::perf
