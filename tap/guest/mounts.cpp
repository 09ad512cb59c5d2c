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

#include "base/unique_fd.hpp"

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

bool mount_tmpfs(const std::string& path, const char* options = "mode=755") {
  return ::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
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

/// Mounts `path`, with everything mounted below it, over itself. Result: false if that is
/// forbidden.
bool mount_over_itself(const char* path) {
  // Recursively, because the kernel refuses anything else: without the mounts below it, the mount
  // would show what others have hidden under them.
  return ::mount(path, path, nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

/// Makes `path` and everything mounted below it read-only. Later mounts of the outer world do not
/// appear here.
bool make_read_only(const char* path) {
  if (!mount_over_itself(path)) return false;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  attributes.propagation = MS_PRIVATE;
  return ::mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &attributes, sizeof attributes) == 0;
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
    if (make_read_only(path)) continue;
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

/// Mounts an overlay over `directory`. `begin` fills the overlay's upper layer, in the directory
/// that it gets. The root of the upper layer belongs to the guest's root, so that an ordinary user
/// can make files there, too.
bool mount_layer(const std::string& directory,
                 const std::function<bool(const std::string& upper)>& begin) {
  const std::string base = "/run/.shmif-layer";
  if (::mkdir(base.c_str(), 0700) != 0 || !mount_tmpfs(base)) return false;
  bool done = false;
  int number = 0;
  if (::mkdir((base + "/upper").c_str(), 0755) == 0 &&
      ::mkdir((base + "/work").c_str(), 0755) == 0 && begin(base + "/upper")) {
    const std::string layers = "lowerdir=" + as_overlay_option(directory) + ",upperdir=" + base +
                               "/upper,workdir=" + base + "/work";
    // A tmpfs has user.* attributes since Linux 6.6. Without them, only the renaming of old
    // directories does not work.
    for (const char* more : {",userxattr", ""}) {
      done = ::mount("overlay", directory.c_str(), "overlay", MS_NOSUID | MS_NODEV,
                     (layers + more).c_str()) == 0;
      if (done) break;
      number = errno;
    }
  }
  // The overlay keeps its layers in use, so the base can go.
  (void)::umount2(base.c_str(), MNT_DETACH);
  (void)::rmdir(base.c_str());
  errno = number;
  return done;
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

/// Puts a layer over `directory` that takes all changes and disappears with the guest. An ordinary
/// user may change there what root could. Directories that only others may read are there, but
/// empty.
bool layer_state(const std::string& directory, uid_t outer_uid) {
  std::vector<std::string> closed;
  const bool done = mount_layer(directory, [&](const std::string& upper) {
    if (outer_uid != 0) own_directories(directory, upper, closed);
    return true;
  });
  if (!done) return false;
  for (const std::string& path : closed) (void)make_private(path);
  return true;
}

/// As layer_state(). If that is refused because something is mounted below `directory`, puts a
/// layer over each directory in it. Result: false if no layer was possible.
bool layer_state_or_parts(const std::string& directory, uid_t outer_uid,
                          std::vector<std::string>& notes) {
  if (layer_state(directory, outer_uid)) return true;
  const std::string reason = because();
  std::string shared;
  bool any = false;
  for (const Entry& entry : skeleton_of(directory)) {
    if (!entry.target.empty()) continue;
    if (layer_state(entry.path, outer_uid)) {
      any = true;
    } else {
      shared.append(shared.empty() ? "" : ", ").append(entry.path);
    }
  }
  if (any) {
    notes.push_back(
        "cannot put a layer over the whole of " + directory + reason +
        " (something is mounted below it): each of its directories has a layer of its own" +
        (shared.empty() ? "" : ", but the host shares " + shared));
  }
  return any;
}

/// Whether a line of /etc/resolv.conf says how to look up names, whichever server is asked.
bool says_how_to_search(const std::string& line) {
  std::istringstream words(line);
  std::string first;
  words >> first;
  return first == "search" || first == "domain" || first == "options";
}

/// The file that `link` leads to, even if it does not exist. Result: `link` itself if it is not a
/// link.
fs::path end_of_links(fs::path link) {
  std::error_code failed;
  for (int i = 0; i < 40 && fs::is_symlink(fs::symlink_status(link, failed)); ++i) {
    const fs::path next = link.parent_path() / fs::read_symlink(link, failed);
    link = fs::weakly_canonical(next.parent_path(), failed) / next.filename();
  }
  return link;
}

/// Puts a private copy over /etc/resolv.conf, or over the file that it points to. `run_is_private`:
/// files made in /run stay in the guest.
bool bind_resolv_conf(const std::string& resolv_conf, bool run_is_private) {
  const std::string copy = "/run/.shmif-resolv.conf";
  const fs::path target = end_of_links(kResolvConf);
  std::error_code failed;
  if (!fs::exists(target, failed)) {
    // The link may lead into /run, which is empty now: then make the file that it names. Anywhere
    // else the file would be made in the outer world.
    errno = failed ? failed.value() : ENOENT;
    if (!run_is_private || *std::next(target.begin()) != "run") return false;
    fs::create_directories(target.parent_path(), failed);
    return write_file(target.string(), resolv_conf);
  }
  const bool done = write_file(copy, resolv_conf) &&
                    ::mount(copy.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) == 0;
  (void)::unlink(copy.c_str());
  return done;
}

}  // namespace

Result<GuestMounts> arrange_guest_mounts(
    uid_t outer_uid, const std::optional<std::vector<IpAddress>>& name_servers) {
  GuestMounts world;
  std::vector<std::string>& notes = world.notes;
  // Slave, not private. Otherwise a mount that is unmounted outside would stay busy in the guest.
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    const Errc code = errno == EPERM || errno == EACCES ? Errc::not_supported : Errc::bad_argument;
    return Error(code, "cannot set up the host's mount namespace" + because() +
                           " (this machine restricts what user namespaces may do)");
  }
  std::ostringstream resolv_conf;
  for (const IpAddress& each : name_servers.value_or(std::vector<IpAddress>{}))
    resolv_conf << "nameserver " << each.to_string() << '\n';
  std::ifstream outer(kResolvConf);
  for (std::string line; std::getline(outer, line);) {
    if (!name_servers || says_how_to_search(line)) resolv_conf << line << '\n';
  }

  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0) {
    notes.push_back(
        "cannot mount a private /proc" + because() +
        " (a container may hide parts of /proc: start it with --security-opt unmask=ALL for "
        "podman, --security-opt systempaths=unconfined for docker): the host sees the outer "
        "processes there");
  }
  const bool own_sys =
      ::mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
  if (!own_sys) {
    notes.push_back("cannot mount a private /sys" + because() +
                    ": the host sees the outer interfaces in /sys/class/net");
  }
  if (outer_uid == 0) {
    if (auto open = shield_machine(own_sys)) notes.push_back(*std::move(open));
  }
  const bool run_is_private = make_run_private(outer_uid);
  if (!run_is_private) {
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
    if (!layer_state_or_parts(path, outer_uid, notes)) {
      notes.push_back(std::string("cannot put a layer over ") + path + because() +
                      ": the host shares the outer one");
    }
  }
  for (const char* path : kStateDirectories) {
    if (!make_private(path)) notes.push_back(std::string("cannot make ") + path + " private");
  }
  world.etc_is_private = mount_layer("/etc", [&](const std::string& upper) {
    return write_file(upper + "/resolv.conf", resolv_conf.str());
  });
  if (!world.etc_is_private && !bind_resolv_conf(resolv_conf.str(), run_is_private)) {
    notes.push_back("cannot make /etc/resolv.conf private" + because() +
                    (!name_servers ? ": a DHCP client in the host may change the outer one"
                                   : ": the host has the name servers of the outer one"));
  }
  return world;
}

}  // namespace shmif::tap
