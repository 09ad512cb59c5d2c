#include "tools/shmifperf/write_file.hpp"

#include <cerrno>
#include <cstdio>

namespace shmif::tools {

const char* write_advice(int number) noexcept {
  switch (number) {
    case ENOENT:
    case ENOTDIR: return "make its directory first";
    case EISDIR: return "it is a directory: name a file in it";
    case ENOSPC:
    case EDQUOT: return "free some space, or name a file on another file system";
    case EACCES:
    case EROFS: return "name a file in a directory that you may write to";
    default: return "";
  }
}

Result<void> write_file(const std::string& path, const std::string& text) {
  const bool to_stdout = path == "-";
  const std::string what = "cannot write " + (to_stdout ? "to standard output" : path);
  std::FILE* const file = to_stdout ? stdout : std::fopen(path.c_str(), "we");
  if (file == nullptr) return Error::from_errno(errno, what, write_advice(errno));
  int failure = std::fwrite(text.data(), 1, text.size(), file) == text.size() ? 0 : errno;
  // A full disk may be noticed only when the last bytes are written.
  if ((to_stdout ? std::fflush(file) : std::fclose(file)) != 0 && failure == 0) failure = errno;
  if (failure != 0) return Error::from_errno(failure, what, write_advice(failure));
  return {};
}

}  // namespace shmif::tools
