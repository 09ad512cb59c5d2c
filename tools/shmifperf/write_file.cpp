#include "tools/shmifperf/write_file.hpp"

#include <cerrno>
#include <cstdio>
#include <span>

#include "bus/file/output_file.hpp"

namespace shmif::tools {

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
