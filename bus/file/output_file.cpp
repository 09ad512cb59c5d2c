#include "bus/file/output_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "base/signals.hpp"
#include "bus/file/file.hpp"
#include "bus/layout.hpp"

namespace shmif::bus {
namespace {

constexpr mode_t kNewMode = 0666;
constexpr int kMaxLinks = 40;  // as the kernel

/// The first words of pcap files, in the byte order of this machine or the other one, and the first
/// word of pcapng files.
constexpr std::array<std::uint32_t, 7> kCaptureMagics{
    0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1, 0xa1b2cd34, 0x34cdb2a1, 0x0a0d0d0a};

Error failed(const OutputRules& rules, int number) {
  return Error::from_errno(number, rules.what, output_advice(number));
}

Error refused(const OutputRules& rules, const std::string& why) {
  return {Errc::exists, rules.what + ": " + why};
}

bool is_one_file(const struct stat& left, const struct stat& right) noexcept {
  return left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

Error is_input(const OutputRules& rules, const std::string& input) {
  return refused(rules,
                 "it is \"" + input + "\", which the same run uses, too (name another file)");
}

/// Checks the content of an existing regular file. `fd`: open for reading.
Result<void> check_content(int fd, const struct stat& status, const OutputRules& rules) {
  std::uint64_t begin = 0;
  const ssize_t got = pread(fd, &begin, sizeof begin, 0);
  if (got < 0) return failed(rules, errno);
  const auto word = static_cast<std::uint32_t>(begin);
  const bool is_netbsd = got >= static_cast<ssize_t>(sizeof word) && word == kNetbsdMagic;
  if ((got == sizeof begin && begin == kMagic) || is_netbsd)
    return refused(rules, "it is a bus, which would be destroyed (name another file)");
  for (const std::string& input : rules.inputs) {
    struct stat other{};
    if (stat(input.c_str(), &other) != 0 || !is_one_file(status, other)) continue;
    return is_input(rules, input);
  }
  if (rules.replace == Replace::any || status.st_size == 0) return {};
  if (rules.replace == Replace::nothing) {
    return refused(
        rules, "it exists (" + (rules.remedy.empty() ? "name another file" : rules.remedy) + ')');
  }
  if (std::ranges::find(kCaptureMagics, word) != kCaptureMagics.end()) return {};
  return refused(rules,
                 "it exists and is no capture (name another file, or remove this one first)");
}

/// Where a path leads. The kernel follows its links, once: it knows which links must not be
/// followed, such as others' in /tmp (fs.protected_symlinks) and those of a mount with nosymfollow.
/// Code that reads the links by itself skips these checks.
struct Place {
  UniqueFd node;               ///< holds the file, if it exists
  bool is_descriptor = false;  ///< /dev/stdout and the like
  bool exists = false;
  int number = 0;  ///< errno, if it does not exist
  struct stat status{};
};

bool is_in_proc(const std::string& path) {
  struct statfs fs{};
  return statfs(directory_of(path).c_str(), &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/// Where the links at the end of a path lead, according to their texts. This is only a hint: to
/// open a file, the kernel follows the links itself.
struct LinkEnd {
  std::string path;
  bool is_descriptor = false;  ///< an open file of a process
};
LinkEnd end_of_links(std::string path) {
  for (int links = 0; links < kMaxLinks; ++links) {
    std::array<char, PATH_MAX> target{};
    const ssize_t length = readlink(path.c_str(), target.data(), target.size());
    if (length <= 0) break;
    if (is_in_proc(path)) return {.path = path, .is_descriptor = true};
    const std::string text(target.data(), static_cast<std::size_t>(length));
    path = text.starts_with('/') ? text : directory_of(path) + '/' + text;
  }
  return {.path = path};
}

/// Whether both paths lead to one file that is still to be made.
bool is_one_new_file(const std::string& left, const std::string& right) {
  const std::string one = end_of_links(left).path;
  const std::string other = end_of_links(right).path;
  struct stat status{};
  struct stat directory{};
  struct stat other_directory{};
  const auto is_missing = [&](const std::string& path) {
    return stat(path.c_str(), &status) != 0 && errno == ENOENT;
  };
  return one.substr(one.rfind('/') + 1) == other.substr(other.rfind('/') + 1) && is_missing(one) &&
         is_missing(other) && stat(directory_of(one).c_str(), &directory) == 0 &&
         stat(directory_of(other).c_str(), &other_directory) == 0 &&
         is_one_file(directory, other_directory);
}

Place find_place(const std::string& path) {
  Place place;
  place.is_descriptor = end_of_links(path).is_descriptor;
  place.node = UniqueFd(::open(path.c_str(), O_PATH | O_CLOEXEC));
  place.exists = place.node && fstat(place.node.get(), &place.status) == 0;
  place.number = errno;
  return place;
}

/// A path to the file of a place that exists; without /proc, the one that was given.
std::string way_to(const Place& place, const std::string& path) {
  std::string way = proc_path(place.node.get());
  return access(way.c_str(), F_OK) == 0 ? way : path;
}

/// The directory of a file that exists or will be made, and its name there.
struct NewPlace {
  UniqueFd directory;
  std::string name;
};

/// Where to make a file that a rename then puts in the place that `path` leads to. Its directory is
/// empty if the file must be written where it is: its name is not known, or a link leads to a
/// missing file.
NewPlace new_place_of(const std::string& path, const Place& place) {
  std::string real = path;
  if (place.exists) {
    std::array<char, PATH_MAX> target{};
    const ssize_t length =
        readlink(proc_path(place.node.get()).c_str(), target.data(), target.size());
    if (length > 0) real.assign(target.data(), static_cast<std::size_t>(length));
  }
  NewPlace target_place{
      .directory = UniqueFd(::open(directory_of(real).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
      .name = real.substr(real.find_last_of('/') + 1)};  // npos + 1 is 0
  struct stat there{};
  const bool is_taken =
      target_place.directory && fstatat(target_place.directory.get(), target_place.name.c_str(),
                                        &there, AT_SYMLINK_NOFOLLOW) == 0;
  if (is_taken && !(place.exists && is_one_file(there, place.status)))
    target_place.directory.reset();
  if (!is_taken && place.exists) target_place.directory.reset();
  return target_place;
}

/// Waits until a FIFO has a reader. Result: the FIFO, open for writing.
Result<UniqueFd> open_fifo(const std::string& path, const OutputRules& rules) {
  constexpr int kLookMilliseconds = 20;
  for (;;) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (fd || errno != ENXIO) return fd ? Result<UniqueFd>(std::move(fd)) : failed(rules, errno);
    pollfd stop{.fd = rules.stop_descriptor, .events = POLLIN, .revents = 0};
    if (poll(&stop, 1, kLookMilliseconds) > 0) {
      return Error(std::make_error_code(std::errc::interrupted),
                   rules.what + ": nobody has opened it for reading");
    }
  }
}

/// Checks that a file that is still to be made is not one that the same run uses.
Result<void> check_new(const std::string& path, const OutputRules& rules) {
  for (const std::string& input : rules.inputs) {
    if (is_one_new_file(path, input)) return is_input(rules, input);
  }
  return {};
}

/// Opens what a path leads to, and checks it. Regular files can be read through the result, unless
/// `more` says otherwise.
Result<UniqueFd> open_checked(const std::string& path, const Place& place, int more,
                              const OutputRules& rules, struct stat& status) {
  if (place.exists && S_ISFIFO(place.status.st_mode) && rules.stop_descriptor >= 0) {
    auto fifo = open_fifo(path, rules);
    if (fifo) status = place.status;
    return fifo;
  }
  if (!place.exists) {
    if (auto may = check_new(path, rules); !may) return may.error();
  }
  const bool regular = !place.exists || S_ISREG(place.status.st_mode);
  const int flags = O_CLOEXEC | O_NOCTTY | more;
  UniqueFd fd(regular ? ::open(path.c_str(), O_RDWR | O_CREAT | flags, kNewMode)
                      : ::open(path.c_str(), O_WRONLY | flags));
  if (!fd || fstat(fd.get(), &status) != 0) return failed(rules, errno);
  if (!S_ISREG(status.st_mode)) return fd;
  if (auto may = check_content(fd.get(), status, rules); !may) return may.error();
  return fd;
}

/// Result: 0 or errno.
int write_all(int fd, std::span<const std::byte> bytes) noexcept {
  const base::SignalGuard guard(SIGPIPE, SIGXFSZ);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd p{.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&p, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

/// Makes an empty file in that directory, with a name that no other file has.
UniqueFd make_beside(const NewPlace& target_place, std::string& name) {
  static std::atomic<unsigned> last{0};
  constexpr std::size_t kMaxBase = 200;  // a name has at most 255 bytes
  for (;;) {
    name = '.' + target_place.name.substr(0, kMaxBase) + '.' + std::to_string(getpid()) + '-' +
           std::to_string(++last);
    UniqueFd fd(::openat(target_place.directory.get(), name.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kNewMode));
    if (fd || errno != EEXIST) return fd;
  }
}

/// Whether to write an existing file in place after errno `number`: no file can be made beside it,
/// or be renamed over it. The directory belongs to others or is sticky, or the file is a bind
/// mount.
bool is_for_writing_in_place(int number) noexcept {
  return number == EACCES || number == EPERM || number == EROFS || number == EBUSY ||
         number == EXDEV;
}

/// O3. Result: 0 or errno. `in_place`: the file has to be written where it is.
int replace_whole(const std::string& path, const Place& place, std::span<const std::byte> content,
                  bool& in_place) {
  const NewPlace target_place = new_place_of(path, place);
  if (!target_place.directory) {
    in_place = true;
    return ENOENT;
  }
  const int directory = target_place.directory.get();
  std::string name;
  UniqueFd fd = make_beside(target_place, name);
  if (!fd) {
    in_place = place.exists && is_for_writing_in_place(errno);
    return errno;
  }
  if (place.exists) {
    // Best effort: an ordinary user cannot give the new file to the owner of the old one.
    if (fchown(fd.get(), place.status.st_uid, place.status.st_gid) != 0) errno = 0;
    static_cast<void>(fchmod(fd.get(), place.status.st_mode & 07777U));
  }
  int failure = write_all(fd.get(), content);
  if (const int closed = ::close(fd.release()); closed != 0 && failure == 0) failure = errno;
  if (failure == 0 &&
      ::renameat(directory, name.c_str(), directory, target_place.name.c_str()) != 0) {
    failure = errno;
    in_place = place.exists && is_for_writing_in_place(failure);
  }
  if (failure != 0) ::unlinkat(directory, name.c_str(), 0);
  return failure;
}

/// check_output() for a path that find_place() has looked up.
Result<void> check_place(const std::string& path, const Place& place, const OutputRules& rules) {
  if (!place.exists) {
    if (place.number != ENOENT) return failed(rules, place.number);
    if (path.empty()) return failed(rules, ENOENT);
    const std::string directory = directory_of(end_of_links(path).path);
    if (auto may = check_new(path, rules); !may) return may;
    return access(directory.c_str(), W_OK | X_OK) == 0 ? Result<void>() : failed(rules, errno);
  }
  if (S_ISDIR(place.status.st_mode)) return failed(rules, EISDIR);
  const std::string way = way_to(place, path);
  if (access(way.c_str(), W_OK) != 0) return failed(rules, errno);
  if (!S_ISREG(place.status.st_mode)) return {};
  const UniqueFd fd(::open(way.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return failed(rules, errno);
  return check_content(fd.get(), place.status, rules);
}

}  // namespace

const char* output_advice(int number) noexcept {
  switch (number) {
    case ENOENT:
    case ENOTDIR: return "make its directory first";
    case EISDIR: return "it is a directory: name a file in it";
    case ENOSPC:
    case EDQUOT: return "free some space, or name a file on another file system";
    case EACCES:
    case EROFS: return "name a file in a directory that you may write to";
    case ELOOP:
      return "its path has a symbolic link that may not be followed: name the file itself";
    default: return "";
  }
}

bool is_same_file(const std::string& left, const std::string& right) {
  struct stat one{};
  struct stat other{};
  if (stat(left.c_str(), &one) != 0) return is_one_new_file(left, right);
  return S_ISREG(one.st_mode) && stat(right.c_str(), &other) == 0 && is_one_file(one, other);
}

Result<void> check_output(const std::string& path, const OutputRules& rules) {
  return check_place(path, find_place(path), rules);
}

Result<void> write_whole(const std::string& path, std::span<const std::byte> content,
                         const OutputRules& rules) {
  const Place place = find_place(path);
  if (!place.is_descriptor && (!place.exists || S_ISREG(place.status.st_mode))) {
    if (auto may = check_place(path, place, rules); !may) return may;
    bool in_place = false;
    const int failure = replace_whole(path, place, content, in_place);
    if (failure == 0) return {};
    if (!in_place) return failed(rules, failure);
  }
  auto file = OutputFile::open_stream(path, rules);
  return file ? file->start(content) : std::move(file).error();
}

Result<OutputFile> OutputFile::open_stream(const std::string& path, const OutputRules& rules) {
  const Place place = find_place(path);
  struct stat status{};
  auto fd = open_checked(path, place, 0, rules, status);
  if (!fd) return std::move(fd).error();
  OutputFile file;
  file.path_ = path;
  file.what_ = rules.what;
  file.fd_ = *std::move(fd);
  file.regular_ = S_ISREG(status.st_mode);
  file.is_new_ = file.regular_ && !place.exists;
  file.device_ = status.st_dev;
  file.inode_ = status.st_ino;
  file.old_bytes_ = static_cast<std::uint64_t>(status.st_size);
  return file;
}

Result<OutputFile> OutputFile::open_append(const std::string& path, const OutputRules& rules) {
  auto file = open_stream(path, rules);
  if (!file) return file;
  const int flags = ::fcntl(file->descriptor(), F_GETFL);
  if (flags < 0 || ::fcntl(file->descriptor(), F_SETFL, flags | O_APPEND) != 0)
    return failed(rules, errno);
  return file;
}

OutputFile& OutputFile::operator=(OutputFile&& other) noexcept {
  if (this == &other) return *this;
  close();
  path_ = std::move(other.path_);
  what_ = std::move(other.what_);
  fd_ = std::move(other.fd_);
  regular_ = other.regular_;
  is_new_ = std::exchange(other.is_new_, false);
  started_ = other.started_;
  device_ = other.device_;
  inode_ = other.inode_;
  old_bytes_ = other.old_bytes_;
  return *this;
}

Result<void> OutputFile::start(std::span<const std::byte> head) {
  const base::SignalGuard guard(SIGXFSZ);
  int failure = 0;
  // On a full disk, the old content must not be half overwritten.
  if (regular_ && head.size() > old_bytes_ &&
      ::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(head.size())) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    failure = errno;
  }
  // Not every file system checks this limit if the size stays.
  rlimit limit{};
  if (regular_ && getrlimit(RLIMIT_FSIZE, &limit) == 0 && head.size() > limit.rlim_cur)
    failure = EFBIG;
  if (failure == 0) failure = write_all(fd_.get(), head);
  if (failure == 0 && regular_ && ::ftruncate(fd_.get(), static_cast<off_t>(head.size())) != 0)
    failure = errno;
  started_ = failure == 0;
  if (started_) return {};
  // If the file is new, the incomplete content is not worth keeping.
  if (is_new_) static_cast<void>(::ftruncate(fd_.get(), 0) == 0);
  return Error::from_errno(failure, what_, output_advice(failure));
}

void OutputFile::close(bool failed) noexcept {
  if (is_new_ && (failed || !started_)) {
    // Remove the file by its own name: `path_` may be a link to it, and the link stays.
    std::array<char, PATH_MAX> name{};
    const ssize_t length = readlink(proc_path(fd_.get()).c_str(), name.data(), name.size() - 1);
    const char* const own = length > 0 ? name.data() : path_.c_str();
    struct stat named{};
    if (lstat(own, &named) == 0 && named.st_dev == device_ && named.st_ino == inode_ &&
        named.st_size == 0) {
      ::unlink(own);
    }
  }
  is_new_ = false;
  fd_.reset();
}

}  // namespace shmif::bus
