#include "bus/format/format.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "bus/file/file.hpp"
#include "bus/layout.hpp"
#include "bus/netbsd/attachment.hpp"
#include "bus/netbsd/file.hpp"
#include "bus/netbsd/follower.hpp"
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

bool begins_like_a_bus(std::span<const std::byte> beginning, std::uint64_t file_bytes) noexcept {
  return std::ranges::any_of(
      kFormats, [&](const Format* format) { return format->begins(beginning, file_bytes); });
}

}  // namespace shmif::bus
