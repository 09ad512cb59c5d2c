#include "tools/capture/capture_rotation.hpp"

#include <array>
#include <ctime>
#include <utility>

namespace shmif::tools {

std::string rotated_name(const std::string& pattern, std::uint64_t count, std::uint64_t files,
                         std::optional<std::time_t> time) {
  std::string name = pattern;
  if (time) {
    std::tm parts{};
    localtime_r(&*time, &parts);
    std::array<char, 4096> text{};
    const std::size_t length = std::strftime(text.data(), text.size(), pattern.c_str(), &parts);
    if (length != 0) name.assign(text.data(), length);
  }
  if (files == 0) return count == 0 ? name : name + std::to_string(count);
  const std::size_t width = std::to_string(files - 1).size();
  const std::string number = std::to_string(count);
  return name + std::string(width > number.size() ? width - number.size() : 0, '0') + number;
}

RotatingCapture::RotatingCapture(std::string name, RotationWish wish, Open open)
    : pattern_(std::move(name)), wish_(wish), open_(std::move(open)) {
  file_.emplace(open_(this->name()));
}

std::string RotatingCapture::name() const {
  if (!wish_.any()) return pattern_;
  const bool timed = wish_.seconds.count() != 0;
  const std::uint64_t numbered = wish_.file_bytes != 0 ? wish_.files : 0;
  return rotated_name(pattern_, count_, numbered, timed ? std::optional(named_) : std::nullopt);
}

bool RotatingCapture::time_is_over() const noexcept {
  return wish_.seconds.count() != 0 && Clock::now() - began_ >= wish_.seconds;
}

bool RotatingCapture::is_due() const noexcept {
  return !file_ || time_is_over() || (wish_.file_bytes != 0 && file_->bytes() > wish_.file_bytes);
}

bool RotatingCapture::is_last() const noexcept {
  return wish_.file_bytes == 0 && wish_.files != 0 && spans_ >= wish_.files && time_is_over();
}

std::chrono::nanoseconds RotatingCapture::time_left() const noexcept {
  if (wish_.seconds.count() == 0 || !file_) return std::chrono::hours(24);
  return began_ + wish_.seconds - Clock::now();
}

/// Begins the span that contains the present time.
void RotatingCapture::begin_span() {
  const auto now = Clock::now();
  const auto passed = (now - began_) / wish_.seconds;
  began_ += passed * wish_.seconds;
  const auto wall = std::chrono::system_clock::now() - (now - began_);
  const std::time_t told = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(wall));
  const std::string before = rotated_name(pattern_, 0, 0, named_);
  // The spans are whole seconds apart, and the name shows that, although the first span began
  // within a second. If the clock was set forward, the name follows it. If it was set back, the
  // name does not, because names would repeat.
  named_ += static_cast<std::time_t>(passed * wish_.seconds.count());
  if (told > named_ + 1) named_ = told;
  count_ = rotated_name(pattern_, 0, 0, named_) == before ? count_ + 1 : 0;
  ++spans_;
}

void RotatingCapture::next() {
  if (time_is_over()) {
    begin_span();
  } else {
    ++count_;
    if (wish_.files != 0 && wish_.seconds.count() == 0) count_ %= wish_.files;
  }
  file_.reset();  // completes it before the next one begins
  file_.emplace(open_(name()));
}

}  // namespace shmif::tools
