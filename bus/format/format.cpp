#include "bus/format/format.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <utility>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "bus/file/file.hpp"
#include "bus/layout.hpp"
#include "bus/netbsd/attachment.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/netbsd/inspector.hpp"
#include "bus/port/native_attachment.hpp"
#include "bus/repair/header_repair.hpp"
#include "bus/repair/inspect.hpp"

namespace shmif::bus {
namespace {

// ---- Our own format ----

bool begins_native(std::span<const std::byte> beginning, std::uint64_t /*file_bytes*/) noexcept {
  return beginning.size() >= sizeof kMagic &&
         std::memcmp(beginning.data(), &kMagic, sizeof kMagic) == 0;
}

Result<RepairReport> repair_native(const std::string& path, const RepairOptions& options) {
  auto header = restore_header(path, options);
  if (!header) return header.error();
  auto inspector = NativeInspector::open(std::move(header->file), path, Access::read_write);
  if (!inspector) return inspector.error();
  auto report = (*inspector)->repair(options);
  if (report) report->header_restored = std::move(header->restored);
  return report;
}

constexpr Format kNativeFormat{.kind = BusFormat::shmif,
                               .begins = begins_native,
                               .maker = &kNativeMaker,
                               .check = check_file,
                               .attach = NativeAttachment::attach,
                               .follow = NativeFollower::open,
                               .inspect = NativeInspector::open,
                               .repair = repair_native};

// ---- NetBSD's format ----

Result<std::unique_ptr<Follower>> follow_netbsd(OpenFile file, const std::string& path, Start start,
                                                Resume resume, bool /*take_offloads*/) {
  return NetbsdFollower::open(std::move(file), path, start, resume);
}

Result<RepairReport> repair_netbsd(const std::string& path, const RepairOptions& options) {
  auto inspector = inspect_bus(path, Access::read_write);
  if (!inspector) return inspector.error();
  return (*inspector)->repair(options);
}

constexpr BusMaker kNetbsdMaker{check_netbsd_options, fill_netbsd};

constexpr Format kNetbsdFormat{.kind = BusFormat::netbsd,
                               .begins = is_netbsd_bus,
                               .maker = &kNetbsdMaker,
                               .check = check_netbsd,
                               .attach = NetbsdAttachment::attach,
                               .follow = follow_netbsd,
                               .inspect = NetbsdInspector::open,
                               .repair = repair_netbsd};

constexpr std::array kFormats{&kNativeFormat, &kNetbsdFormat};

// ---- Which format a file has ----

/// A file of no known format counts as our own: its check says what is wrong.
const Format& format_of(int fd, const struct stat& status) noexcept {
  std::array<std::byte, sizeof(std::uint64_t)> beginning{};
  const ssize_t got = pread(fd, beginning.data(), beginning.size(), 0);
  const auto size = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
  const auto seen = std::span(beginning).first(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  const auto found = std::ranges::find_if(
      kFormats, [&](const Format* format) { return format->begins(seen, size); });
  return found == kFormats.end() ? kNativeFormat : **found;
}

const Format& format_named(BusFormat kind) noexcept {
  return kind == BusFormat::netbsd ? kNetbsdFormat : kNativeFormat;
}

/// Checks a file that was opened, and lets its format do the rest.
template <typename Next>
auto checked(Result<OpenFile> file, const std::string& path, const struct stat& status,
             Copies copies, const Next& next) -> decltype(next(kNativeFormat, *std::move(file))) {
  if (!file) return std::move(file).error();
  const Format& format = format_of(file->fd.get(), status);
  if (auto ok = format.check(*file, path, status, copies); !ok) return ok.error();
  return next(format, *std::move(file));
}

/// Makes a bus of NetBSD's format in a file in which attaching makes one.
Result<void> fill_if_blank(const OpenFile& file, const std::string& path, struct stat& status) {
  const int fd = file.fd.get();
  if (!is_blank_for_netbsd(fd, static_cast<std::uint64_t>(status.st_size))) return {};
  if (auto made = fill_netbsd(fd, path, {}); !made) return made;
  if (fstat(fd, &status) != 0) return Error::from_errno(errno, "cannot query " + path);
  return {};
}

/// Attaches a port to the file that was opened.
Result<std::unique_ptr<Attachment>> attach_to(Result<OpenFile> file, const std::string& path,
                                              struct stat& status, const PortOptions& options) {
  if (!file) return std::move(file).error();
  if (auto ok = fill_if_blank(*file, path, status); !ok) return ok.error();
  return checked(std::move(file), path, status, Copies::refuse,
                 [&](const Format& format, OpenFile open) {
                   open.disk_warning = warning_of_disk(open.fd.get(), path);
                   return format.attach(std::move(open), path, options);
                 });
}

}  // namespace

Result<UniqueFd> create_bus(const std::string& path, BusFormat format,
                            const CreateOptions& options) {
  return create_file(path, options, *format_named(format).maker);
}

Result<std::unique_ptr<Attachment>> attach_to_bus(const std::string& path,
                                                  const PortOptions& options) {
  struct stat status{};
  auto file = open_unchecked(path, Access::read_write, status);
  return attach_to(std::move(file), path, status, options);
}

Result<std::unique_ptr<Attachment>> attach_to_bus(int descriptor, const std::string& path,
                                                  const PortOptions& options) {
  struct stat status{};
  auto file = reopen_unchecked(descriptor, path, Access::read_write, status);
  return attach_to(std::move(file), path, status, options);
}

Result<std::unique_ptr<Follower>> follow_bus(const std::string& path, Start start, Resume resume,
                                             bool take_offloads) {
  struct stat status{};
  auto file = open_unchecked(path, Access::read_only, status);
  return checked(std::move(file), path, status, Copies::tolerate,
                 [&](const Format& format, OpenFile open) {
                   return format.follow(std::move(open), path, start, resume, take_offloads);
                 });
}

Result<std::unique_ptr<Inspector>> inspect_bus(const std::string& path, Access access) {
  struct stat status{};
  auto file = open_unchecked(path, access, status);
  const Copies copies = access == Access::read_only ? Copies::tolerate : Copies::refuse;
  return checked(std::move(file), path, status, copies, [&](const Format& format, OpenFile open) {
    return format.inspect(std::move(open), path, access);
  });
}

Result<ProvidedBus> provide_bus(const std::string& path, BusFormat format,
                                const CreateOptions& options) {
  struct stat status{};
  auto file = open_or_create_unchecked(path, options, *format_named(format).maker, status);
  if (!file) return std::move(file).error();
  if (format == BusFormat::netbsd) {
    if (auto ok = fill_if_blank(*file, path, status); !ok) return ok.error();
  }
  std::string warning = std::exchange(file->warning, {});
  auto inspector = checked(std::move(file), path, status, Copies::refuse,
                           [&](const Format& found, OpenFile open) {
                             return found.inspect(std::move(open), path, Access::read_only);
                           });
  if (!inspector) return std::move(inspector).error();
  return ProvidedBus{*std::move(inspector), std::move(warning)};
}

Result<RepairReport> repair_bus_at(const std::string& path, const RepairOptions& options) {
  struct stat status{};
  const auto file = open_unchecked(path, Access::read_only, status);
  // If the caller may write to a file but not read it, our own format refuses it.
  const Format& format = file ? format_of(file->fd.get(), status) : kNativeFormat;
  return format.repair(path, options);
}

// ---- Removing a bus ----

namespace {

/// Whether a file that begins like this is a bus of any format, whole or not.
bool begins_like_a_bus(std::span<const std::byte> beginning, std::uint64_t file_bytes) noexcept {
  return std::ranges::any_of(
      kFormats, [&](const Format* format) { return format->begins(beginning, file_bytes); });
}

/// A name in a directory. It stays in this directory, whatever the path to it names later.
class Name {
 public:
  explicit Name(const std::string& path) {
    const auto slash = path.find_last_of('/');
    base_ = path.substr(slash == std::string::npos ? 0 : slash + 1);
    const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    directory_.reset(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }

  const std::string& base() const noexcept { return base_; }
  /// Whether `base` in this directory is the file behind `fd`.
  bool is(const std::string& base, int fd) const noexcept {
    struct stat named{};
    struct stat open{};
    return fstatat(directory_.get(), base.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(fd, &open) == 0 && named.st_dev == open.st_dev && named.st_ino == open.st_ino;
  }
  /// Renames, but never replaces a file. Result: 0, or errno.
  int move(const std::string& from, const std::string& to) const noexcept {
    return syscall(SYS_renameat2, directory_.get(), from.c_str(), directory_.get(), to.c_str(),
                   RENAME_NOREPLACE) == 0
               ? 0
               : errno;
  }
  int remove(const std::string& base) const noexcept {
    return unlinkat(directory_.get(), base.c_str(), 0) == 0 ? 0 : errno;
  }

 private:
  UniqueFd directory_;
  std::string base_;
};

bool is_denied(const std::error_code& why) noexcept {
  return why == std::errc::permission_denied || why == std::errc::operation_not_permitted;
}

/// Why the caller may not remove `path`, whatever its mode: in a sticky directory, only the owners
/// of the file and of the directory may. Empty if there is another reason.
std::string kept_by_owners(const std::string& path) {
  struct stat file{};
  struct stat directory{};
  if (lstat(path.c_str(), &file) != 0 || stat(directory_of(path).c_str(), &directory) != 0 ||
      (directory.st_mode & S_ISVTX) == 0 || file.st_uid == geteuid() ||
      directory.st_uid == geteuid()) {
    return {};
  }
  return " (the directory is sticky: only the file's owner, user " + std::to_string(file.st_uid) +
         ", and the directory's owner, user " + std::to_string(directory.st_uid) +
         ", may remove it; ask one of them)";
}

Error cannot_remove(const std::string& path, int number) {
  auto error = Error::from_errno(number, "cannot remove the bus " + path);
  if (!is_denied(error.code)) return error;
  const std::string keepers = kept_by_owners(path);
  error.message +=
      keepers.empty() ? " (ask its owner, or for write permission in the directory)" : keepers;
  return error;
}

Error was_replaced(const std::string& path, const std::string& where = {}) {
  return {Errc::copied_file, "cannot remove the bus " + path +
                                 ": another file took its name meanwhile, and was not removed" +
                                 (where.empty() ? "" : "; it is now " + where) +
                                 " (see what it is, and try again)"};
}

/// A name that no other file has by chance.
std::string name_aside() {
  std::random_device random;
  char name[48];
  std::snprintf(name, sizeof name, ".shmif-destroy-%08x%08x", random(), random());
  return name;
}

/// Removes `path` if it is the file behind `fd`. No system call removes a name on condition that it
/// names a certain file, and between a look at the name and its removal somebody may put another
/// file there. So this first renames the file to a name that no other file has by chance. If it is
/// not our file, it gets its old name back.
Result<void> remove_file(const std::string& path, int fd) {
  const Name name(path);
  if (!name.is(name.base(), fd)) return was_replaced(path);
  const std::string aside = name_aside();
  const int number = name.move(name.base(), aside);
  if (number == EINVAL || number == ENOSYS || number == ENOSPC || number == EDQUOT) {
    // This file system has no such rename, or no room for a longer name. So check again, and remove
    // the name at once.
    if (!name.is(name.base(), fd)) return was_replaced(path);
    if (const int failed = name.remove(name.base()); failed != 0)
      return cannot_remove(path, failed);
    return {};
  }
  if (number != 0) return cannot_remove(path, number);
  if (!name.is(aside, fd)) {
    if (name.move(aside, name.base()) == 0) return was_replaced(path);
    return was_replaced(path, aside + " in the same directory");
  }
  if (const int failed = name.remove(aside); failed != 0) return cannot_remove(path, failed);
  return {};
}

/// Calls remove_file(), and looks for other names of the file. Result: a text about them, or empty.
Result<std::string> remove_name(const std::string& path, int fd) {
  struct stat status{};
  const bool more = fstat(fd, &status) == 0 && status.st_nlink > 1;
  if (auto removed = remove_file(path, fd); !removed) return removed.error();
  if (!more) return std::string();
  return "the bus " + path +
         " is removed, but its file has another name and still takes memory (\"" + "find " +
         base::quote_word(directory_of(path)) + " -xdev -inum " + std::to_string(status.st_ino) +
         "\" looks for it in this directory; 'shmifctl destroy' removes it, too)";
}

/// With `force`, removes any file that begins like a bus.
Result<std::string> remove_if_it_begins_like_a_bus(const std::string& path,
                                                   const Error& otherwise) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  std::array<std::byte, sizeof(std::uint64_t)> beginning{};
  struct stat status{};
  if (!fd) return otherwise;
  // A file of zeros could become a bus of NetBSD's format, but may also be any other file.
  const auto is_empty = [&] {
    return std::all_of(beginning.begin(), beginning.begin() + sizeof(std::uint32_t),
                       [](std::byte each) { return each == std::byte{0}; });
  };
  if (pread(fd.get(), beginning.data(), beginning.size(), 0) !=
          static_cast<ssize_t>(beginning.size()) ||
      fstat(fd.get(), &status) != 0 || is_empty() ||
      !begins_like_a_bus(beginning, static_cast<std::uint64_t>(status.st_size))) {
    return Error(otherwise.code,
                 otherwise.message + "; --force removes only a file that begins as a bus does");
  }
  return remove_name(path, fd.get());
}

}  // namespace

Result<std::string> destroy(const std::string& path, bool force) {
  auto opened = inspect_bus(path, Access::read_only);
  if (!opened) {
    const Error& error = opened.error();
    // Advice to ask for read permission would not help.
    if (is_denied(error.code) && !kept_by_owners(path).empty())
      return cannot_remove(path, error.code.value());
    if (force) return remove_if_it_begins_like_a_bus(path, error);
    return error;
  }
  const std::unique_ptr<Inspector> bus = *std::move(opened);
  const BusInfo info = bus->info();
  if (!info.has_port_table() && !force) {
    return Error(std::make_error_code(std::errc::operation_not_supported),
                 "cannot tell whether the bus " + path +
                     " may be removed: NetBSD's format does not say which processes are attached "
                     "(make sure that there is none, and use --force)");
  }
  const auto live =
      std::count_if(info.ports.begin(), info.ports.end(), [](const PortInfo& p) { return p.live; });
  if (live > 0 && !force) {
    const auto port = std::find_if(info.ports.begin(), info.ports.end(),
                                   [](const PortInfo& p) { return p.live; });
    return Error(Errc::busy, "cannot remove the bus " + path + ": " + std::to_string(live) +
                                 (live == 1 ? " live port is" : " live ports are") +
                                 " attached, such as \"" + port->name + "\" of process " +
                                 std::to_string(port->pid) + " (stop them, or use --force)");
  }
  if (const std::string hider = bus->hidden_by(); !hider.empty() && !force) {
    return Error(Errc::unsupported_file_system,
                 "cannot remove the bus " + path + " on " + hider +
                     ": live ports may look dead there (remove it where it was made, or use "
                     "--force)");
  }
  return remove_name(path, bus->descriptor());
}

}  // namespace shmif::bus
