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
    : pattern_(std::move(name)), wish_(wish), open_(std::move(open)), file_(open_(this->name())) {}

std::string RotatingCapture::name() const {
  if (!wish_.any()) return pattern_;
  const bool timed = wish_.seconds.count() != 0;
  const std::uint64_t numbered = wish_.file_bytes != 0 ? wish_.files : 0;
  return rotated_name(pattern_, count_, numbered,
                      timed ? std::optional(std::time(nullptr)) : std::nullopt);
}

bool RotatingCapture::time_is_over() const noexcept {
  return wish_.seconds.count() != 0 && Clock::now() - began_ >= wish_.seconds;
}

bool RotatingCapture::is_due() const noexcept {
  return time_is_over() || (wish_.file_bytes != 0 && file_.bytes() > wish_.file_bytes);
}

bool RotatingCapture::is_last() const noexcept {
  return wish_.file_bytes == 0 && wish_.files != 0 && spans_ >= wish_.files && time_is_over();
}

std::chrono::nanoseconds RotatingCapture::time_left() const noexcept {
  if (wish_.seconds.count() == 0 || wish_.files == 0) return std::chrono::hours(24);
  return began_ + wish_.seconds - Clock::now();
}

void RotatingCapture::next() {
  if (time_is_over()) {
    ++spans_;
    count_ = 0;
    began_ = Clock::now();
  } else {
    ++count_;
    if (wish_.files != 0 && wish_.seconds.count() == 0) count_ %= wish_.files;
  }
  file_ = open_(name());
}

}  // namespace shmif::tools
