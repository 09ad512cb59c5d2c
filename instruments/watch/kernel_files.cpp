#include "instruments/watch/kernel_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

#include "base/quantity.hpp"
#include "base/unique_fd.hpp"
#include "instruments/watch/file_helper.hpp"

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
