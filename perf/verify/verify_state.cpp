#include "perf/verify/verify_state.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/unique_fd.hpp"
#include "bus/file/output_file.hpp"
#include "perf/frame/crc32c.hpp"
#include "perf/frame/random.hpp"

namespace shmif::perf {
namespace {

constexpr std::array<char, 8> kStateMagic{'s', 'h', 'm', 'i', 'f', 'v', 's', 't'};
constexpr std::uint32_t kStateVersion = 3;
constexpr std::size_t kHeaderBytes = 16;
/// Far more than a state ever needs: 2^37 frames with a loss in each chunk.
constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 30U;

Error damaged(const std::string& name, const char* why) {
  return {Errc::bad_argument, "cannot load verify state " + name + ": " + why +
                                  " (begin anew without verify_state_load)"};
}

Result<void> write_all(int fd, std::span<const std::byte> bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, what);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

std::uint64_t options_hash(const JobOptions& job) noexcept {
  std::uint64_t hash = kStateVersion;
  const auto add = [&hash](std::uint64_t value) { hash = Random::derive(hash, value); };
  for (const FrameSizes* sizes : {&job.bs.tx, &job.bs.rx}) {
    add(sizes->parts.size());
    for (const FrameSizes::Part& part : sizes->parts) {
      add(part.min);
      add(part.max);
      add(part.weight);
    }
  }
  add(static_cast<std::uint64_t>(job.rw));
  add(static_cast<std::uint64_t>(job.payload));
  add(job.buffer_pattern.size());
  add(crc32c(job.buffer_pattern));
  add(job.buffer_compress_percentage);
  add(job.randseed);
  add(job.vlan ? *job.vlan + 1U : 0U);
  add(job.iodepth_batch);  // determines how many different frames there are
  return hash;
}

std::string verify_state_path(const std::string& directory, const std::string& job) {
  std::string file = job;
  std::ranges::replace(file, '/', '_');
  return (directory.empty() ? "" : directory + '/') + file + "-verify.state";
}

std::vector<std::byte> encode_verify_state(const VerifyState& state) {
  std::vector<std::byte> body;
  append_number(body, state.options_hash);
  append_text(body, state.job);
  append_number(body, std::uint64_t{state.flows.size()});
  for (const FlowState& flow : state.flows) {
    append_text(body, flow.from);
    append_number(body, flow.seed);
    append_number(body, flow.next_sequence);
    append_number(body, flow.random_position);
    flow.received.append_to(body);
  }
  std::vector<std::byte> out;
  append_bytes(out, std::as_bytes(std::span(kStateMagic)));
  append_number(out, kStateVersion);
  append_number(out, crc32c(body));
  append_bytes(out, body);
  return out;
}

Result<VerifyState> decode_verify_state(std::span<const std::byte> in, const std::string& name) {
  if (in.size() < kHeaderBytes ||
      std::memcmp(in.data(), kStateMagic.data(), kStateMagic.size()) != 0) {
    return damaged(name, "it is no such file");
  }
  in = in.subspan(kStateMagic.size());
  const auto version = take_number<std::uint32_t>(in).value_or(0);
  if (version != kStateVersion) {
    return Error(Errc::wrong_layout, "cannot load verify state " + name + ": it has version " +
                                         std::to_string(version) + ", and this program reads " +
                                         std::to_string(kStateVersion) +
                                         " (use the program that saved it)");
  }
  const auto crc = take_number<std::uint32_t>(in);
  if (crc != crc32c(in))
    return damaged(name, "it is damaged, its checksum is not that of its content");
  VerifyState state;
  const auto hash = take_number<std::uint64_t>(in);
  auto job = take_text(in);
  const auto flows = take_number<std::uint64_t>(in);
  if (!hash || !job || !flows) return damaged(name, "it ends too early");
  state.options_hash = *hash;
  state.job = std::move(*job);
  for (std::uint64_t i = 0; i < *flows; ++i) {
    auto from = take_text(in);
    const auto seed = take_number<std::uint64_t>(in);
    const auto sequence = take_number<std::uint64_t>(in);
    const auto position = take_number<std::uint64_t>(in);
    if (!from || !position) return damaged(name, "it ends too early");
    auto ledger = SequenceLedger::read_from(in);
    if (!ledger) return damaged(name, "one of its ledgers is damaged");
    state.flows.push_back({.from = *std::move(from),
                           .seed = *seed,
                           .next_sequence = *sequence,
                           .random_position = *position,
                           .received = std::move(*ledger)});
  }
  if (!in.empty()) return damaged(name, "it has bytes after its end");
  return state;
}

Result<void> save_verify_state(const std::string& path, const VerifyState& state) {
  auto written = write_verify_state(path, encode_verify_state(state));
  if (written) sync_directory_of(path);
  return written;
}

Result<void> write_verify_state(const std::string& path, std::span<const std::byte> content) {
  const std::string what = "cannot save verify state \"" + path + "\"";
  if (auto may = bus::check_output(path, {.what = what}); !may) return may;
  std::string other = path + ".XXXXXX";
  UniqueFd fd(mkostemp(other.data(), O_CLOEXEC));
  if (!fd) {
    return Error::from_errno(errno, what, errno == ENOENT ? "make its directory first" : "");
  }
  auto written = write_all(fd.get(), content, what);
  if (written && fsync(fd.get()) != 0) written = Error::from_errno(errno, what);
  if (!written) {
    unlink(other.c_str());
    return written;
  }
  if (rename(other.c_str(), path.c_str()) != 0) {
    const int number = errno;
    unlink(other.c_str());
    return Error::from_errno(number, what);
  }
  return {};
}

void sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // If it cannot be opened, the kernel writes it later.
  if (fd) static_cast<void>(fsync(fd.get()));
}

Result<std::vector<std::byte>> read_verify_state(const std::string& path, std::uint64_t max_bytes) {
  const std::string what = "cannot load verify state \"" + path + "\"";
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return Error::from_errno(errno, what, errno == ENOENT ? "was it saved at all?" : "");
  struct stat status{};
  if (fstat(fd.get(), &status) != 0) return Error::from_errno(errno, what);
  if (!S_ISREG(status.st_mode)) return Error(Errc::bad_argument, what + ": it is no regular file");
  if (static_cast<std::uint64_t>(status.st_size) > max_bytes) {
    return Error(Errc::bad_argument, what + ": it is too long to be one");
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, what);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

Result<VerifyState> load_verify_state(const std::string& path, const std::string& job,
                                      std::uint64_t options_hash) {
  const auto bytes = read_verify_state(path, kMaxBytes);
  if (!bytes) return bytes.error();
  return state_of_job(*bytes, '"' + path + '"', job, options_hash);
}

Result<VerifyState> state_of_job(std::span<const std::byte> in, const std::string& name,
                                 const std::string& job, std::uint64_t options_hash) {
  auto state = decode_verify_state(in, name);
  if (!state) return state;
  const std::string what = "cannot load verify state " + name + ": ";
  if (state->job != job) {
    return Error(Errc::bad_argument,
                 what + "it is of job \"" + state->job + "\", and this is job \"" + job + '"');
  }
  if (state->options_hash != options_hash) {
    return Error(Errc::bad_argument,
                 what + "job \"" + job +
                     "\" had different frames in that run (give it the same rw, bs, payload, "
                     "buffer_pattern, "
                     "buffer_compress_percentage, randseed, vlan and iodepth_batch)");
  }
  return state;
}

}  // namespace shmif::perf
