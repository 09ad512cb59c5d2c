#include "tools/capture/change_notes.hpp"

#include <array>
#include <cstdio>
#include <ctime>
#include <limits>
#include <utility>

#include "base/text.hpp"

namespace shmif::tools {

namespace {

std::string date_and_time(std::uint64_t time_ns) {
  const auto seconds = static_cast<std::time_t>(time_ns / 1'000'000'000U);
  std::tm local{};
  std::array<char, 64> text{};
  if (localtime_r(&seconds, &local) == nullptr ||
      std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local) == 0)
    return std::to_string(time_ns) + " ns";
  std::array<char, 16> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%06u",
                static_cast<unsigned>(time_ns / 1000U % 1'000'000U));
  return std::string(text.data()) + fraction.data();
}

}  // namespace

std::string change_text(const BusChange& change) {
  return (change.port.empty() ? std::string() : "port " + change.port + ": ") + change.text +
         " (from frame " + std::to_string(change.before_frame) + " on)";
}

std::string change_line(const BusChange& change) {
  return date_and_time(change.time_ns) + ' ' + change_text(change);
}

ChangeNotes::ChangeNotes(const std::string& bus_path, ChangeLog::From from) {
  if (auto log = ChangeLog::open(bus_path, from)) log_ = *std::move(log);
}

void ChangeNotes::read() {
  for (BusChange& change : log_->take()) waiting_.push_back(std::move(change));
}

std::string ChangeNotes::before(std::uint64_t frame) {
  std::string texts;
  while (!waiting_.empty() && waiting_.front().before_frame <= frame) {
    texts += (texts.empty() ? "" : "\n") + base::printable(change_text(waiting_.front()));
    waiting_.pop_front();
  }
  return texts;
}

std::string ChangeNotes::rest() {
  return before(std::numeric_limits<std::uint64_t>::max());
}

}  // namespace shmif::tools
