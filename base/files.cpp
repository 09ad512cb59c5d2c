#include "base/files.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <system_error>

#include "base/unique_fd.hpp"

namespace shmif::base {
namespace {

constexpr std::string_view kUnique = "XXXXXX";

std::string place_for_folders() {
  constexpr std::size_t kMaxPath = 60;
  const char* const wanted = std::getenv("TMPDIR");
  const std::string named = wanted == nullptr ? "" : wanted;
  return named.starts_with('/') && named.size() <= kMaxPath ? named : "/tmp";
}

/// The folder, locked; empty if a living process has the lock, or the folder is gone or another
/// user's.
UniqueFd lock_folder(const std::string& path) {
  UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info{};
  if (!folder || ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0 ||
      ::fstat(folder.get(), &info) != 0 || info.st_nlink == 0 || info.st_uid != ::geteuid()) {
    folder.reset();
  }
  return folder;
}

/// Removes what killed processes have left.
void remove_stale(const std::filesystem::path& place, const std::string& prefix) {
  std::error_code failed;
  std::filesystem::directory_iterator entry(place, failed);
  for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    if (name.size() != prefix.size() + kUnique.size() || !name.starts_with(prefix)) continue;
    std::error_code ignored;
    if (const UniqueFd lock = lock_folder(entry->path().string())) {
      std::filesystem::remove_all(entry->path(), ignored);
    }
  }
}

}  // namespace

std::string text_of_regular_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info{};
  if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  std::string text;
  std::array<char, 4096> piece{};
  for (;;) {
    const ssize_t got = ::read(file.get(), piece.data(), piece.size());
    if (got > 0) text.append(piece.data(), static_cast<std::size_t>(got));
    if (got == 0 || (got < 0 && errno != EINTR)) return text;
  }
}

std::string_view take_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(word.size());
  return word;
}

std::optional<MappedRange> read_maps_line(std::string_view line) {
  // "7f3a8c000000-7f3a8c001000 rw-s 00000000 00:1a 4711   /dev/shm/bus0"
  MappedRange range;
  const std::string_view addresses = take_word(line);
  const char* const end = addresses.data() + addresses.size();
  const auto begun =
      std::from_chars(addresses.data(), addresses.data() + addresses.size(), range.begin, 16);
  if (begun.ec != std::errc{} || begun.ptr == end || *begun.ptr != '-') return std::nullopt;
  const auto ended = std::from_chars(begun.ptr + 1, end, range.end, 16);
  if (ended.ec != std::errc{} || ended.ptr != end) return std::nullopt;
  const std::string_view permissions = take_word(line);
  take_word(line);  // the offset
  const std::string_view device = take_word(line), inode = take_word(line);
  if (inode.empty()) return std::nullopt;
  range.is_shared = permissions.ends_with('s');
  range.file.append(device).append(1, ' ').append(inode);
  return range;
}

std::vector<std::uint64_t> status_numbers(const std::string& status, std::string_view name) {
  std::istringstream lines(status);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name) || line.substr(name.size(), 1) != ":") continue;
    std::istringstream words(line.substr(name.size() + 1));
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t each = 0; words >> each;) numbers.push_back(each);
    return numbers;
  }
  return {};
}

Result<TemporaryFolder> TemporaryFolder::make(const std::string& prefix) {
  const std::string place = place_for_folders();
  remove_stale(place, prefix + '-');
  const std::string unique = place + '/' + prefix + '-' + std::string(kUnique);
  constexpr int kTries = 10;  // another process may take a new one for a stale one
  for (int i = 0;; ++i) {
    std::string path = unique;
    const bool made = ::mkdtemp(path.data()) != nullptr;
    if (made) {
      if (UniqueFd lock = lock_folder(path))
        return TemporaryFolder(std::move(path), std::move(lock));
    }
    if (made && i < kTries) continue;
    return Error::from_errno(errno, "cannot make the directory " + path,
                             "set TMPDIR to a directory that you may write to");
  }
}

TemporaryFolder::~TemporaryFolder() {
  if (path_.empty()) return;
  lock_.reset();  // the program may have run out of descriptors: removing needs one
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace shmif::base
