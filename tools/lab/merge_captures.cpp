// The format, draft-ietf-opsawg-pcapng: a file is a series of blocks. A block is its type, its
// length, contents, and its length again, in the byte order of this machine, because `dump` ran on
// it. An interface has a number by its place in the file, so merged files number them anew. An
// interface may be described anywhere before the first frame that is of it.

#include "tools/lab/merge_captures.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "tools/common/plain_file.hpp"

namespace shmif::tools {

namespace {

constexpr std::uint32_t kInterfaceBlock = 1;
constexpr std::uint32_t kStatisticsBlock = 5;
constexpr std::uint32_t kPacketBlock = 6;
constexpr std::uint32_t kSectionBlock = 0x0a0d0d0a;
constexpr std::size_t kHead = 8;    // type and length
constexpr std::size_t kFrame = 12;  // with the length at the end
constexpr std::uint32_t kLargestBlock = 1U << 20U;
constexpr std::size_t kInterfaceFixed = kHead + 8;
constexpr std::size_t kSectionFixed = kHead + 16;
constexpr std::uint16_t kCommentOption = 1;

std::uint32_t word_at(const std::string& block, std::size_t at) noexcept {
  std::uint32_t word = 0;
  if (at + sizeof word <= block.size()) std::memcpy(&word, block.data() + at, sizeof word);
  return word;
}

void set_word(std::string& block, std::size_t at, std::uint32_t word) noexcept {
  if (at + sizeof word <= block.size()) std::memcpy(block.data() + at, &word, sizeof word);
}

struct CloseCapture {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using CaptureStream = std::unique_ptr<std::FILE, CloseCapture>;

CaptureStream stream_of(Result<UniqueFd> file, const char* how) {
  CaptureStream stream(::fdopen(file.value().get(), how));
  if (!stream) throw std::bad_alloc();
  file->release();
  return stream;
}

/// One of the files, and its next block.
class CaptureInput {
 public:
  CaptureInput(CaptureStream file, const BusCapture& capture)
      : file_(std::move(file)), bus_(capture.bus) {
    next();
  }

  bool has_block() const noexcept { return !block_.empty(); }
  std::uint32_t type() const noexcept { return word_at(block_, 0); }
  std::string& block() noexcept { return block_; }
  const std::string& bus() const noexcept { return bus_; }
  /// The time of a frame.
  std::uint64_t time() const noexcept {
    return std::uint64_t{word_at(block_, kHead + 4)} << 32U | word_at(block_, kHead + 8);
  }

  void next() {
    block_.assign(kHead, '\0');
    if (std::fread(block_.data(), kHead, 1, file_.get()) != 1) return block_.clear();
    const std::uint32_t bytes = word_at(block_, 4);
    if (bytes < kFrame || bytes % 4 != 0 || bytes > kLargestBlock) return block_.clear();
    block_.resize(bytes);
    if (std::fread(block_.data() + kHead, bytes - kHead, 1, file_.get()) != 1) block_.clear();
  }

  std::vector<std::uint32_t> numbers;  ///< of its interfaces, in the merged file
  bool has_section = false;            ///< its first one was read

 private:
  CaptureStream file_;
  std::string bus_;
  std::string block_;
};

std::string comment_option(const std::string& text) {
  std::string option;
  for (const std::uint16_t number : {kCommentOption, static_cast<std::uint16_t>(text.size())}) {
    option.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  option += text;
  option.append((4 - text.size() % 4) % 4, '\0');
  return option;
}

/// A block with other options. `fixed`: how many bytes it has before them. `options`: without their
/// end.
std::string with_options(const std::string& block, std::size_t fixed, const std::string& options) {
  std::string made = block.substr(0, fixed) + options + std::string(8, '\0');  // the end, a length
  set_word(made, 4, static_cast<std::uint32_t>(made.size()));
  set_word(made, made.size() - 4, static_cast<std::uint32_t>(made.size()));
  return made;
}

/// The options of a block, without their end.
std::string options_of(const std::string& block, std::size_t fixed) {
  std::string options = block.substr(fixed, block.size() - fixed - 4);
  if (options.size() >= 4 && word_at(options, options.size() - 4) == 0) {
    options.resize(options.size() - 4);
  }
  return options;
}

/// The description of an interface, with one more comment.
std::string with_comment(const std::string& block, const std::string& text) {
  return with_options(block, kInterfaceFixed,
                      options_of(block, kInterfaceFixed) + comment_option(text));
}

/// The beginning of a file. Its comment, which names one bus, names all of them.
std::string of_all_buses(const std::string& block, const std::vector<BusCapture>& captures) {
  std::string all = "frames of the buses ";
  for (const BusCapture& each : captures) all += (&each == captures.data() ? "" : ", ") + each.bus;
  if (block.size() < kSectionFixed + 4) return block;
  const std::string options = options_of(block, kSectionFixed);
  std::string made;
  for (std::size_t at = 0; at + 4 <= options.size();) {
    const std::uint32_t head = word_at(options, at);
    const std::size_t bytes = head >> 16U;
    const std::size_t room = 4 + (bytes + 3) / 4 * 4;
    const std::string text = options.substr(at + 4, bytes);
    if ((head & 0xffffU) == kCommentOption && text.starts_with("frames of the bus ")) {
      const std::size_t filter = text.find(", filter ");
      made += comment_option(all + (filter == std::string::npos ? "" : text.substr(filter)));
    } else {
      made += options.substr(at, room);
    }
    at += room;
  }
  return with_options(block, kSectionFixed, made);
}

class CaptureMerger {
 public:
  CaptureMerger(std::FILE* to, const std::vector<BusCapture>& captures) noexcept
      : to_(to), captures_(captures) {}

  /// Writes what comes before the next frame of an input. Result: false if a number of an interface
  /// is wrong.
  bool write_up_to_frame(CaptureInput& input) {
    for (; input.has_block() && input.type() != kPacketBlock; input.next()) {
      if (input.type() == kSectionBlock) {
        if (input.has_section) {
          ends_ += input.block();  // changes after the last frame: no frame may follow
        } else if (!std::exchange(has_section_, true)) {
          put(of_all_buses(input.block(), captures_));
        }
        input.has_section = true;
      } else if (input.type() == kInterfaceBlock) {
        if (input.block().size() < kInterfaceFixed + 4) return false;
        input.numbers.push_back(interfaces_++);
        put(with_comment(input.block(), "bus " + input.bus()));
      } else if (input.type() != kStatisticsBlock) {
        put(input.block());
      } else if (!renumber(input)) {
        return false;
      }
    }
    return true;
  }

  void finish() { put(ends_); }

  bool write_frame(CaptureInput& input) {
    if (!renumber(input)) return false;
    input.next();
    return true;
  }

 private:
  void put(const std::string& block) { std::fwrite(block.data(), 1, block.size(), to_); }
  bool renumber(CaptureInput& input) {
    const std::uint32_t number = word_at(input.block(), kHead);
    if (number >= input.numbers.size()) return false;
    set_word(input.block(), kHead, input.numbers[number]);
    put(input.block());
    return true;
  }

  std::FILE* to_;
  const std::vector<BusCapture>& captures_;
  std::string ends_;  ///< sections without frames
  bool has_section_ = false;
  std::uint32_t interfaces_ = 0;
};

}  // namespace

Result<void> merge_captures(const std::vector<BusCapture>& captures, const std::string& to) {
  const std::string what = "cannot join captures in " + to;
  std::vector<CaptureInput> inputs;
  inputs.reserve(captures.size());
  for (const BusCapture& each : captures) {
    Result<UniqueFd> part = open_plain_file(each.file);
    if (!part) return Error(part.error().code, what + ": " + part.error().message);
    const CaptureInput& input = inputs.emplace_back(stream_of(std::move(part), "r"), each);
    if (!input.has_block() || input.type() != kSectionBlock) {
      return Error(Errc::bad_argument, what + ": " + each.file + " is no pcapng file");
    }
  }
  Result<UniqueFd> made = make_plain_file(to, 0666);
  if (!made) return Error(made.error().code, what + ": " + made.error().message);
  CaptureStream file = stream_of(std::move(made), "w");
  CaptureMerger merger(file.get(), captures);
  bool right = true;
  while (right && std::ferror(file.get()) == 0) {
    CaptureInput* first = nullptr;
    for (CaptureInput& each : inputs) {
      right = right && merger.write_up_to_frame(each);
      if (each.has_block() && (first == nullptr || each.time() < first->time())) first = &each;
    }
    if (!right || first == nullptr) break;
    right = merger.write_frame(*first);
  }
  merger.finish();
  const bool wrote = std::ferror(file.get()) == 0;
  const bool closed = std::fclose(file.release()) == 0;
  if (right && wrote && closed) return {};
  const int error = errno;
  ::unlink(to.c_str());
  if (right) return Error::from_errno(error, what);
  return Error(Errc::bad_argument, what + ": a frame is of an interface that is not described");
}

}  // namespace shmif::tools
