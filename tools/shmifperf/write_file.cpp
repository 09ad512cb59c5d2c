#include "tools/shmifperf/write_file.hpp"

#include <cerrno>
#include <cstdio>

namespace shmif::tools {

Result<void> write_file(const std::string& path, const std::string& text) {
  const bool to_stdout = path == "-";
  const std::string what = "cannot write " + (to_stdout ? "to standard output" : path);
  std::FILE* const file = to_stdout ? stdout : std::fopen(path.c_str(), "we");
  if (file == nullptr) return Error::from_errno(errno, what);
  int failure = std::fwrite(text.data(), 1, text.size(), file) == text.size() ? 0 : errno;
  // A full disk may be noticed only when the last bytes are written.
  if ((to_stdout ? std::fflush(file) : std::fclose(file)) != 0 && failure == 0) failure = errno;
  if (failure != 0) return Error::from_errno(failure, what);
  return {};
}

}  // namespace shmif::tools
