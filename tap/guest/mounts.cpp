#include "tap/guest/mounts.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/files.hpp"
#include "base/unique_fd.hpp"
#include "tap/namespaces.hpp"

namespace shmif::tap {
namespace {

namespace fs = std::filesystem;

constexpr const char* kResolvConf = "/etc/resolv.conf";

/// Where programs keep state, logs and caches.
constexpr std::string_view kState = "/var/lib";
constexpr std::array kLayeredDirectories = {"/var/lib", "/var/log", "/var/cache"};

/// Where daemons that belong in a guest keep state, besides /run. These directories begin empty.
constexpr std::array kStateDirectories = {
    "/var/lib/misc",  // dnsmasq's leases
    "/var/lib/dhcp",  // leases of dhclient and dhcpd
    "/var/lib/dhcpcd", "/var/lib/frr", "/var/log/frr", "/var/tmp/frr",
};

/// Settings in /proc that belong to the guest's own namespaces, whoever mounted that /proc: the
/// kernel shows each process the settings of its own namespaces. So they belong to the guest.
constexpr std::array kOwnSettings = {
    "/proc/sys/net",           "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/msgmax", "/proc/sys/kernel/msgmnb",   "/proc/sys/kernel/msgmni",
    "/proc/sys/kernel/sem",    "/proc/sys/kernel/shmall",   "/proc/sys/kernel/shmmax",
    "/proc/sys/kernel/shmmni", "/proc/sys/fs/mqueue",
};
/// The same in a /sys that the guest mounted. In the outer /sys these would be the outer
/// interfaces.
constexpr std::array kOwnDevices = {"/sys/devices/virtual/net"};

/// All other writable files in /proc and /sys belong to the machine.
constexpr std::array kSettingsOfTheMachine = {
    "/proc/sys",  "/proc/sysrq-trigger", "/proc/irq",    "/proc/bus",
    "/proc/fs",   "/proc/acpi",          "/proc/asound", "/proc/driver",
    "/proc/mtrr", "/proc/dynamic_debug", "/proc/scsi",   "/sys",
};

std::string because() {
  return std::string(": ") + std::strerror(errno);
}

bool mount_tmpfs(const std::string& path) {
  return ::mount(kGuestMount, path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") == 0;
}

/// A directory or symbolic link to make again.
struct Entry {
  std::string path;
  std::string target;  ///< of a symbolic link; empty for a directory
  struct stat attributes;
};

/// The directories and symbolic links directly in `directory`.
std::vector<Entry> skeleton_of(const std::string& directory) {
  std::vector<Entry> entries;
  std::error_code ignored;
  for (const fs::directory_entry& found : fs::directory_iterator(directory, ignored)) {
    if (!found.is_symlink(ignored) && !found.is_directory(ignored)) continue;
    Entry entry{found.path().string(), {}, {}};
    if (::lstat(entry.path.c_str(), &entry.attributes) != 0) continue;
    if (S_ISLNK(entry.attributes.st_mode)) {
      entry.target = fs::read_symlink(entry.path, ignored).string();
      if (!entry.target.empty()) entries.push_back(std::move(entry));
    } else if (S_ISDIR(entry.attributes.st_mode)) {
      entries.push_back(std::move(entry));
    }
  }
  return entries;
}

/// Shows `from` and everything mounted below it at `to`, read-only. Later mounts of the outer world
/// do not appear there. Result: false if that is forbidden.
bool show_read_only(const char* from, const char* to) {
  // Recursively, because the kernel refuses anything else: without the mounts below it, the mount
  // would show what others have hidden under them.
  if (::mount(from, to, nullptr, MS_BIND | MS_REC, nullptr) != 0) return false;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  attributes.propagation = MS_PRIVATE;
  return ::mount_setattr(AT_FDCWD, to, AT_RECURSIVE, &attributes, sizeof attributes) == 0;
}

/// Whether `path` is read-only already, because the outer world made it so.
bool is_read_only(const char* path) {
  struct statvfs mounted{};
  return ::statvfs(path, &mounted) == 0 && (mounted.f_flag & ST_RDONLY) != 0;
}

/// A mount of a setting, taken before the directories around it become read-only.
struct KeptSetting {
  const char* path;
  UniqueFd tree;
};

/// Takes mounts of `paths`. They stay as writable as they are now.
template <std::size_t N>
void keep_settings(const std::array<const char*, N>& paths, std::vector<KeptSetting>& kept) {
  for (const char* path : paths) {
    UniqueFd tree(::open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
    if (tree) kept.push_back({path, std::move(tree)});  // otherwise: not in this kernel
  }
}

/// Makes the settings of the machine read-only for a guest of the outer root. The files in /proc
/// and /sys belong to that user, and most need no capability. A guest that root started may adjust
/// "its" machine as it boots (as sysctl --system does), and would adjust the outer machine. A
/// program can undo this protection on purpose: the guest has the capability for that.
///
/// Each path is mounted separately, whether /proc and /sys are the guest's own or, if those cannot
/// be mounted, the outer ones. Result: a note that names what could not be made read-only, or
/// empty.
std::optional<std::string> shield_machine(bool own_sys) {
  std::vector<KeptSetting> kept;
  keep_settings(kOwnSettings, kept);
  if (own_sys) keep_settings(kOwnDevices, kept);
  std::string open;
  std::string why;
  for (const char* path : kSettingsOfTheMachine) {
    if (::access(path, F_OK) != 0) continue;  // this kernel lacks it
    if (show_read_only(path, path)) continue;
    const std::string reason = because();
    if (is_read_only(path)) continue;
    if (why.empty()) why = reason;
    open.append(open.empty() ? "" : ", ").append(path);
  }
  for (const KeptSetting& each : kept) {
    // If a guest's own settings stay read-only, the first program that writes them reports it.
    (void)::move_mount(each.tree.get(), "", AT_FDCWD, each.path, MOVE_MOUNT_F_EMPTY_PATH);
  }
  if (open.empty()) return std::nullopt;
  return "cannot make read-only: " + open + why +
         ": programs in the host may change these settings of the machine (start it as an "
         "ordinary "
         "user, or allow mount_setattr in the seccomp profile)";
}

/// Gives `path` the owner and mode that it had before. If the owner does not exist in this user
/// namespace, root becomes the owner.
void restore(const std::string& path, const struct stat& before) {
  if (::chown(path.c_str(), before.st_uid, before.st_gid) != 0) (void)!::chown(path.c_str(), 0, 0);
  (void)::chmod(path.c_str(), before.st_mode & 07777U);
}

/// Puts a tmpfs over `path`, with the same owner, mode, directories and links; all directories are
/// empty. Result: false if that is forbidden.
bool make_private(const std::string& path) {
  struct stat before{};
  if (::lstat(path.c_str(), &before) != 0 || !S_ISDIR(before.st_mode)) return true;  // not here
  const std::vector<Entry> entries = skeleton_of(path);
  if (!mount_tmpfs(path)) return false;
  restore(path, before);
  for (const Entry& entry : entries) {
    if (!entry.target.empty()) {
      (void)!::symlink(entry.target.c_str(), entry.path.c_str());
    } else if (::mkdir(entry.path.c_str(), 0755) == 0) {
      restore(entry.path, entry.attributes);
    }
  }
  return true;
}

bool mount_kernel_files(const char* type, const char* path) {
  return ::mount(type, path, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
}

/// Mounts a private /proc. The kernel lets a host in this host do the same only where it sees a
/// /proc (and for /sys, a /sys) on which nothing is mounted. shield_machine() will mount on those
/// of root's guest, so such a guest has two more, which nobody finds: they are under /proc.
bool mount_proc(uid_t outer_uid) {
  const bool has_two = outer_uid == 0 && mount_tmpfs("/proc");
  if (has_two && ::mkdir("/proc/proc", 0755) == 0 && ::mkdir("/proc/sys", 0755) == 0) {
    (void)mount_kernel_files("proc", "/proc/proc");
    (void)mount_kernel_files("sysfs", "/proc/sys");
  }
  if (mount_kernel_files("proc", "/proc")) return true;
  const int number = errno;
  if (has_two) (void)::umount2("/proc", MNT_DETACH);
  errno = number;
  return false;
}

/// Makes a private /run that still has the caller's /run/user/UID, where programs of the caller's
/// session live.
bool make_run_private(uid_t outer_uid) {
  const std::string session = "/run/user/" + std::to_string(outer_uid);
  const UniqueFd kept(::open(session.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!make_private("/run")) return false;
  if (kept) {
    (void)::mkdir("/run/user", 0755);
    (void)::mkdir(session.c_str(), 0700);
    const std::string from = "/proc/self/fd/" + std::to_string(kept.get());
    (void)::mount(from.c_str(), session.c_str(), nullptr, MS_BIND | MS_REC, nullptr);
  }
  return true;
}

bool write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  return !file.fail() && ::chmod(path.c_str(), 0644) == 0;
}

/// A path in the options of an overlay, where a comma ends an option, and a colon a layer.
std::string as_overlay_option(const std::string& path) {
  std::string text;
  for (const char each : path) {
    if (each == ',' || each == ':' || each == '\\') text += '\\';
    text += each;
  }
  return text;
}

/// Makes the directories below `from` again in the upper layer. There they belong to the guest's
/// root, and show the same contents as before. `closed`: takes directories that the caller may not
/// read, whose contents cannot be shown. The number is limited, because a machine may have many
/// directories; those beyond the limit stay as they are.
void own_directories(const std::string& from, const std::string& upper,
                     std::vector<std::string>& closed) {
  constexpr std::size_t kMax = 512;
  std::vector<std::string> found = {""};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::string name = found[i];
    for (const Entry& entry : skeleton_of(from + name)) {
      if (!entry.target.empty() || found.size() + closed.size() >= kMax) continue;
      if (::access(entry.path.c_str(), R_OK | X_OK) != 0) {
        closed.push_back(entry.path);
        continue;
      }
      const std::string relative = entry.path.substr(from.size());
      if (::mkdir((upper + relative).c_str(), 0755) != 0) continue;
      restore(upper + relative, entry.attributes);
      found.push_back(relative);
    }
  }
}

/// A layer over a directory of the machine. It shows the same, takes all changes, and disappears
/// with the guest. It is an overlay where the kernel permits one. Otherwise it is a tmpfs, with
/// copies of the files, and with a layer over each directory. The kernel permits no overlay over a
/// directory below which something is mounted, as /etc/hosts is in a container, because an overlay
/// would show what is under that mount; and none over a directory in two overlays already. What is
/// too much to copy is read-only in the guest.
class Layer {
 public:
  /// `begin` makes files in the layer, in the directory that it gets. An ordinary user may change
  /// in a layer what root could.
  Layer(std::string directory, uid_t outer_uid, std::function<void(const std::string&)> begin)
      : directory_(std::move(directory)), is_ordinary_(outer_uid != 0), begin_(std::move(begin)) {}

  /// Result: false if it cannot be made; errno says why.
  bool put() {
    if (::mkdir(base_.c_str(), 0700) != 0 || !mount_tmpfs(base_)) return false;
    bool done = put_overlay(directory_, directory_);
    const std::string tree = base_ + "/tree";
    if (!done && ::mkdir(tree.c_str(), 0755) == 0) {
      fill(directory_, tree);
      done = ::mount(tree.c_str(), directory_.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
    }
    const int number = errno;
    // The layer keeps in use what it needs of the base, so the base can go.
    (void)::umount2(base_.c_str(), MNT_DETACH);
    (void)::rmdir(base_.c_str());
    for (const std::string& path : closed_) (void)make_private(path);
    errno = number;
    return done;
  }
  /// What is read-only in the guest, as text; empty if the layer takes all changes.
  const std::string& read_only() const { return read_only_; }

 private:
  static constexpr std::size_t kMaxMemory = std::size_t{64} << 20U;
  static constexpr unsigned kMaxShown = 256;        ///< each is a mount
  static constexpr std::size_t kOfFile = 4096;      ///< beside its contents
  static constexpr std::size_t kOfOverlay = 65536;  ///< more than it is, for the time that it takes

  /// Takes so much of the memory for this layer. Result: false if so much is not left.
  bool takes(std::size_t bytes) {
    if (bytes > memory_) return false;
    memory_ -= bytes;
    return true;
  }

  /// Gives `root`, which the guest gets in place of `from`, the owner and mode of that.
  void begin_at(const std::string& from, const std::string& root) const {
    struct stat before{};
    if (::stat(from.c_str(), &before) == 0) restore(root, before);
    if (begin_ && from == directory_) begin_(root);
  }

  /// Mounts an overlay over `to` that shows what is in `from`.
  bool put_overlay(const std::string& from, const std::string& to) {
    const std::string own = base_ + '/' + std::to_string(overlays_++);
    const std::string upper = own + "/upper";
    const std::string work = own + "/work";
    for (const std::string& each : {own, upper, work}) {
      if (::mkdir(each.c_str(), 0755) != 0) return false;
    }
    const std::string layers =
        "lowerdir=" + as_overlay_option(from) + ",upperdir=" + upper + ",workdir=" + work;
    const auto mount = [&] {
      // A tmpfs has user.* attributes since Linux 6.6. Without them, only the renaming of old
      // directories does not work.
      for (const char* more : {",userxattr", ""}) {
        const std::string options = layers + more;
        if (::mount(kGuestMount, to.c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) == 0)
          return true;
      }
      return false;
    };
    // Try it first: the directories below cost more.
    if (!mount() || ::umount2(to.c_str(), 0) != 0) return false;
    begin_at(from, upper);
    std::vector<std::string> closed;
    if (is_ordinary_) own_directories(from, upper, closed);
    if (!mount()) return false;
    closed_.insert(closed_.end(), closed.begin(), closed.end());
    return true;
  }

  /// Makes in `to` again what is in `from`.
  void fill(const std::string& from, const std::string& to) {
    begin_at(from, to);
    std::error_code ignored;
    for (const fs::directory_entry& found : fs::directory_iterator(from, ignored)) {
      const std::string path = found.path().string();
      const std::string copy = to + '/' + found.path().filename().string();
      struct stat before{};
      struct stat begun{};
      if (::lstat(path.c_str(), &before) != 0 || ::lstat(copy.c_str(), &begun) == 0) continue;
      switch (before.st_mode & S_IFMT) {
        case S_IFLNK: fs::copy_symlink(path, copy, ignored); break;
        case S_IFDIR: fill_directory(path, copy, before); break;
        default: fill_file(path, copy, before); break;
      }
    }
  }

  void fill_directory(const std::string& path, const std::string& copy, const struct stat& before) {
    if (::mkdir(copy.c_str(), 0755) != 0) return;
    restore(copy, before);
    if (::access(path.c_str(), R_OK | X_OK) != 0) return;  // only others may read it: it is empty
    if (!takes(kOfOverlay)) {
      show(path, copy);
    } else if (!put_overlay(path, copy)) {
      fill(path, copy);
    }
  }

  void fill_file(const std::string& path, const std::string& copy, const struct stat& before) {
    std::error_code failed;
    if (S_ISREG(before.st_mode) && takes(kOfFile + static_cast<std::size_t>(before.st_size)) &&
        fs::copy_file(path, copy, failed)) {
      restore(copy, before);
      return;
    }
    const UniqueFd place(::open(copy.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    if (place) show(path, copy);
  }

  /// Shows a file or directory of the machine at `copy`, read-only.
  void show(const std::string& path, const std::string& copy) {
    const bool may_read = ::access(path.c_str(), R_OK) == 0;
    const bool shown = shown_++ < kMaxShown && show_read_only(path.c_str(), copy.c_str());
    // Not even that is permitted: what is not shown cannot be changed.
    if (!shown) (void)::umount2(copy.c_str(), MNT_DETACH);
    if (!may_read) return;  // others own it, so the guest could not write it anyway
    constexpr std::size_t kMaxText = 200;
    if (read_only_.size() > kMaxText) return;
    read_only_.append(read_only_.empty() ? "" : ", ").append(path).append(shown ? "" : " (empty)");
    if (read_only_.size() > kMaxText) read_only_ += " and more";
  }

  const std::string base_ = "/run/.shmif-layer";  ///< of a tmpfs for all that the guest writes
  const std::string directory_;
  const bool is_ordinary_;
  const std::function<void(const std::string&)> begin_;
  unsigned overlays_ = 0, shown_ = 0;
  std::size_t memory_ = kMaxMemory;
  std::vector<std::string> closed_;
  std::string read_only_;
};

/// Puts a layer over `directory`. Result: false if there is none.
bool put_layer(const std::string& directory, uid_t outer_uid, std::vector<std::string>& notes,
               std::function<void(const std::string&)> begin = {}) {
  Layer layer(directory, outer_uid, std::move(begin));
  if (!layer.put()) {
    notes.push_back("cannot put a layer over " + directory + because() +
                    ": the host shares the outer one");
    return false;
  }
  if (!layer.read_only().empty()) {
    notes.push_back("cannot copy all of " + directory +
                    " for the host: these are read-only there: " + layer.read_only());
  }
  return true;
}

/// Whether a line of /etc/resolv.conf says how to look up names, whichever server is asked.
bool says_how_to_search(const std::string& line) {
  std::istringstream words(line);
  std::string first;
  words >> first;
  return first == "search" || first == "domain" || first == "options";
}

}  // namespace

Result<GuestMounts> arrange_guest_mounts(
    uid_t outer_uid, const std::optional<std::vector<IpAddress>>& name_servers) {
  GuestMounts world;
  std::vector<std::string>& notes = world.notes;
  // Slave, not private. Otherwise a mount that is unmounted outside would stay busy in the guest.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    const int number = errno;
    const bool refused = number == EPERM || number == EACCES;
    return Error(refused ? Errc::not_supported : Errc::bad_argument,
                 Error::from_errno(number, "cannot set up the host's mount namespace",
                                   why_no_namespaces(number))
                     .message);
  }
  std::ostringstream resolv_conf;
  for (const IpAddress& each : name_servers.value_or(std::vector<IpAddress>{}))
    resolv_conf << "nameserver " << each.to_string() << '\n';
  std::istringstream outer(base::text_of_regular_file(kResolvConf));
  for (std::string line; std::getline(outer, line);) {
    if (!name_servers || says_how_to_search(line)) resolv_conf << line << '\n';
  }

  if (!mount_proc(outer_uid)) {
    notes.push_back(
        "cannot mount a private /proc" + because() +
        " (a container may hide parts of /proc: start it with --security-opt unmask=ALL for "
        "podman, --security-opt systempaths=unconfined for docker): the host sees the outer "
        "processes there");
  }
  const bool own_sys = mount_kernel_files("sysfs", "/sys");
  if (!own_sys) {
    notes.push_back("cannot mount a private /sys" + because() +
                    ": the host sees the outer interfaces in /sys/class/net");
  }
  if (outer_uid == 0) {
    if (auto open = shield_machine(own_sys)) notes.push_back(*std::move(open));
  }
  if (!make_run_private(outer_uid)) {
    notes.push_back("cannot make /run private" + because() + ": the host shares the outer one");
  }
  for (const char* path : {"/var/run", "/var/lock"}) {
    // Nearly everywhere these are links into /run. make_private() leaves links alone.
    if (!make_private(path)) notes.push_back(std::string("cannot make ") + path + " private");
  }
  for (const char* path : kLayeredDirectories) {
    if (::access(path, F_OK) != 0) continue;
    // Root writes its logs where it always did. Other users could not write there at all.
    if (outer_uid == 0 && path != kState) continue;
    (void)put_layer(path, outer_uid, notes);
  }
  for (const char* path : kStateDirectories) {
    if (!make_private(path)) notes.push_back(std::string("cannot make ") + path + " private");
  }
  world.etc_is_private = put_layer("/etc", outer_uid, notes, [&](const std::string& layer) {
    (void)write_file(layer + "/resolv.conf", resolv_conf.str());
  });
  return world;
}

}  // namespace shmif::tap
