#include "tools/common/plain_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace shmif::tools {

Result<UniqueFd> open_plain_file(const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0) {
    return Error::from_errno(errno, "cannot read " + path);
  }
  if (!S_ISREG(info.st_mode)) {
    return Error(Errc::bad_argument, "cannot read " + path + ": it is not a regular file");
  }
  return file;
}

Result<std::string> read_plain_file(const std::string& path, std::size_t max_bytes) {
  const Result<UniqueFd> file = open_plain_file(path);
  if (!file) return file.error();
  constexpr std::size_t kPiece = 65'536;
  std::string text;
  for (std::size_t had = 0;; had = text.size()) {
    text.resize(had + std::min(kPiece, max_bytes + 1 - had));
    const ssize_t n = ::read(file->get(), text.data() + had, text.size() - had);
    if (n < 0 && errno != EINTR) return Error::from_errno(errno, "cannot read " + path);
    text.resize(had + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n == 0) return text;
    if (text.size() > max_bytes) {
      return Error(Errc::bad_argument, "cannot read " + path + ": it has more than " +
                                           std::to_string(max_bytes) + " bytes");
    }
  }
}

Result<UniqueFd> make_plain_file(const std::string& path, unsigned mode) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return Error::from_errno(errno, "cannot replace " + path);
  }
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!file) return Error::from_errno(errno, "cannot make " + path);
  return file;
}

Result<void> write_plain_file(const std::string& path, std::string_view text, unsigned mode) {
  const std::string fresh = path + ".new";
  Result<UniqueFd> file = make_plain_file(fresh, mode);
  if (!file) return std::move(file).error();
  int error = 0;
  while (!text.empty() && error == 0) {
    const ssize_t n = ::write(file->get(), text.data(), text.size());
    if (n >= 0) text.remove_prefix(static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) error = errno;
  }
  if (::close(file->release()) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(fresh.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(fresh.c_str());
  return Error::from_errno(error, "cannot write " + path);
}

}  // namespace shmif::tools
