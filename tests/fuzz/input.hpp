#pragma once
// The bytes of one run: what the targets do is read from their front, what another process does
// behind their backs from their end. So both keep their meaning when the other is mutated.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace shmif::fuzz {

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) noexcept : left_(bytes) {}

  bool empty() const noexcept { return left_.empty(); }
  std::size_t size() const noexcept { return left_.size(); }

  /// Zeros when nothing is left.
  std::uint8_t byte() noexcept {
    if (left_.empty()) return 0;
    const std::uint8_t b = backwards_ ? left_.back() : left_.front();
    left_ = backwards_ ? left_.first(left_.size() - 1) : left_.subspan(1);
    return b;
  }
  std::uint64_t word(std::size_t bytes = 8) noexcept {
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < bytes; ++i) v |= std::uint64_t{byte()} << 8 * i;
    return v;
  }
  /// A number below `end`, which is at least 1.
  std::size_t below(std::size_t end) noexcept { return word(end > 256 ? 2 : 1) % end; }
  std::span<const std::uint8_t> take(std::size_t max) noexcept {
    const std::span<const std::uint8_t> out = left_.first(max < left_.size() ? max : left_.size());
    left_ = left_.subspan(out.size());
    return out;
  }
  std::span<const std::uint8_t> rest() noexcept { return take(left_.size()); }

  /// Reads from the end while it lives.
  class FromTheEnd {
   public:
    explicit FromTheEnd(Input& input) noexcept : input_(input) { input.backwards_ = true; }
    FromTheEnd(const FromTheEnd&) = delete;
    FromTheEnd& operator=(const FromTheEnd&) = delete;
    ~FromTheEnd() { input_.backwards_ = false; }

   private:
    Input& input_;
  };

 private:
  std::span<const std::uint8_t> left_;
  bool backwards_ = false;
};

}  // namespace shmif::fuzz
