#include "instruments/why/repeated_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/result.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {
namespace {

/// The kernel returns such files in pieces of a page, at most one line shorter. So if the first
/// piece is shorter than this, it is the whole file, and a second call is not necessary.
constexpr std::size_t kSurelyWhole = 2048;
constexpr std::size_t kMaxBytes = std::size_t{4} << 20U;

}  // namespace

std::string RepeatedFile::why() const {
  if (error_ == 0) return path_ + " is empty or has another form";
  return Error::from_errno(error_, "cannot read " + path_, descriptor_remedy(error_)).message;
}

std::optional<std::string_view> RepeatedFile::read(std::vector<char>& buffer) {
  constexpr std::size_t kFirstBytes = 16384;
  if (buffer.empty()) buffer.resize(kFirstBytes);
  if (!file_) file_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  error_ = file_ ? 0 : errno;
  if (!file_) return std::nullopt;
  std::size_t size = 0;
  for (;;) {  // until the end, or the limit
    const ssize_t got =
        ::pread(file_.get(), buffer.data() + size, buffer.size() - size, static_cast<off_t>(size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      error_ = errno;
      return std::nullopt;
    }
    const bool first = size == 0;
    size += static_cast<std::size_t>(got);
    if (got == 0 || (first && size < kSurelyWhole) || size >= kMaxBytes) break;
    if (size == buffer.size()) buffer.resize(2 * buffer.size());
  }
  return std::string_view(buffer.data(), size);
}

}  // namespace shmif::perf
