#include "bus/file/file_system.hpp"

#include <linux/magic.h>
#include <sys/statfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

namespace shmif::bus {
namespace {

enum class Home : std::uint8_t {
  memory,
  disk,
  differing,  ///< measured on overlay: two views of a file see different locks, watches and data
  huge_pages,
};

struct FileSystem {
  std::uint64_t magic;
  const char* name;
  Home home;
};

constexpr std::array kFileSystems{
    FileSystem{TMPFS_MAGIC, "tmpfs", Home::memory},
    FileSystem{0x858458f6, "ramfs", Home::memory},
    FileSystem{EXT4_SUPER_MAGIC, "ext4", Home::disk},
    FileSystem{XFS_SUPER_MAGIC, "xfs", Home::disk},
    FileSystem{BTRFS_SUPER_MAGIC, "btrfs", Home::disk},
    FileSystem{F2FS_SUPER_MAGIC, "f2fs", Home::disk},
    FileSystem{OVERLAYFS_SUPER_MAGIC, "overlay", Home::differing},
    FileSystem{NFS_SUPER_MAGIC, "nfs", Home::differing},
    FileSystem{FUSE_SUPER_MAGIC, "fuse", Home::differing},
    FileSystem{V9FS_MAGIC, "9p", Home::differing},
    FileSystem{0xff534d42, "cifs", Home::differing},
    FileSystem{0xfe534d42, "smb2", Home::differing},
    FileSystem{CEPH_SUPER_MAGIC, "ceph", Home::differing},
    FileSystem{AFS_SUPER_MAGIC, "afs", Home::differing},
    FileSystem{HUGETLBFS_MAGIC, "hugetlbfs", Home::huge_pages},
};

const FileSystem* find(std::uint64_t magic) noexcept {
  const auto* it = std::find_if(kFileSystems.begin(), kFileSystems.end(),
                                [&](const FileSystem& f) { return f.magic == magic; });
  return it == kFileSystems.end() ? nullptr : it;
}

}  // namespace

Result<std::uint64_t> file_system_of(int fd, const std::string& path) {
  struct statfs s{};
  if (fstatfs(fd, &s) != 0)
    return Error::from_errno(errno, "cannot query the file system of " + path);
  return static_cast<std::uint64_t>(static_cast<unsigned long>(s.f_type)) & 0xffffffffU;
}

std::string file_system_name(std::uint64_t f_type) {
  if (const FileSystem* f = find(f_type); f != nullptr) return f->name;
  char text[40];
  std::snprintf(text, sizeof text, "file system 0x%llx", static_cast<unsigned long long>(f_type));
  return text;
}

const char* harm_on_file_system(std::uint64_t f_type) noexcept {
  const FileSystem* f = find(f_type);
  if (f == nullptr || f->home == Home::memory || f->home == Home::disk) return nullptr;
  return f->home == Home::huge_pages ? "a bus does not fit its huge pages"
                                     : "processes may see different data there";
}

bool writes_to_disk(std::uint64_t f_type) noexcept {
  const FileSystem* f = find(f_type);
  return f == nullptr || f->home != Home::memory;
}

}  // namespace shmif::bus
