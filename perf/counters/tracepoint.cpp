// The numbers of tracepoints.

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/quantity.hpp"
#include "base/unique_fd.hpp"
#include "perf/counters/event_names.hpp"

namespace shmif::perf {
namespace {

constexpr std::array kTraceRoots = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

/// From linux/mount.h, which conflicts with older headers of the C library.
constexpr unsigned kFsconfigCreate = 6;
constexpr unsigned kFsopenCloexec = 1;
constexpr unsigned kFsmountCloexec = 1;

/// Reads a file of tracefs if tracefs is not mounted. Only root can do this.
Result<std::string> read_unmounted(const std::string& name) {
  const auto failed = [&] { return Error::from_errno(errno, "cannot read tracefs, " + name); };
  const UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "tracefs", kFsopenCloexec)));
  if (!context) return failed();
  if (::syscall(SYS_fsconfig, context.get(), kFsconfigCreate, nullptr, nullptr, 0) != 0) {
    return failed();
  }
  const UniqueFd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), kFsmountCloexec, 0)));
  if (!mount) return failed();
  const UniqueFd file(::openat(mount.get(), name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return failed();
  std::array<char, 64> text{};
  const ssize_t got = ::read(file.get(), text.data(), text.size());
  if (got < 0) return failed();
  return std::string(text.data(), static_cast<std::size_t>(got));
}

}  // namespace

Result<std::uint64_t> tracepoint_id(const KernelFiles& files, const std::string& system,
                                    const std::string& name) {
  const std::string file = "events/" + system + '/' + name + "/id";
  const std::string what = "the tracepoint " + system + ':' + name;
  for (const char* const root : kTraceRoots) {
    const std::string path = std::string(root) + '/' + file;
    const auto id = files.read_number(path);
    if (id) return *id;
    if (id.error().code == std::errc::permission_denied) {
      return Error(id.error().code, "cannot look up " + what + ": " + id.error().message +
                                        " (only root may read tracefs)");
    }
    if (files.has(std::string(root) + "/events")) {
      return Error(Errc::not_supported, "this kernel has no " + what.substr(4) + " (see " +
                                            files.path(std::string(root) + "/events") + ')');
    }
  }
  const bool this_machine = files.path("/proc") == "/proc";
  const auto text = this_machine ? read_unmounted(file)
                                 : Result<std::string>(Error(Errc::not_supported, "no tracefs"));
  if (text) {
    const auto id = base::read_digits(std::string_view(*text).substr(0, text->find('\n')));
    if (id) return *id;
  }
  if (!text && text.error().code == std::errc::operation_not_permitted) {
    return Error(std::make_error_code(std::errc::operation_not_permitted),
                 "cannot look up " + what + ": tracefs is not mounted, and only root may do that");
  }
  return Error(Errc::not_supported, "cannot look up " + what + ": this kernel has no such " +
                                        "tracepoint, or no tracefs (" +
                                        (text ? "no number" : text.error().message) + ')');
}

}  // namespace shmif::perf
