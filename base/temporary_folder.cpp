#include "base/temporary_folder.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

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
