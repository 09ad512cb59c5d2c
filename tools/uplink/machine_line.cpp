#include "tools/uplink/machine_line.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

namespace shmif::tools {

namespace {

/// What the other side may leave unread.
constexpr std::size_t kMaxUnread = std::size_t{64} << 20U;

}  // namespace

MachineLine::MachineLine(UniqueFd in, UniqueFd out, std::size_t max_record)
    : in_(std::move(in)), out_(std::move(out)), max_record_(max_record) {
  for (const int each : {in_.get(), out_.get()}) {
    ::fcntl(each, F_SETFL, ::fcntl(each, F_GETFL) | O_NONBLOCK);
  }
}

void MachineLine::close() {
  in_.reset();
  out_.reset();
  out_box_.clear();
}

void MachineLine::send(const Json& record) {
  if (!out_ || finish_) return;
  out_box_ += json_line(record);
  flush();
  if (out_box_.size() > kMaxUnread) close();
}

void MachineLine::flush() {
  while (out_ && !out_box_.empty()) {
    const ssize_t n = ::write(out_.get(), out_box_.data(), out_box_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) return close();
    out_box_.erase(0, static_cast<std::size_t>(n));
  }
  if (finish_ && out_) {
    ::shutdown(out_.get(), SHUT_WR);
    out_.reset();
  }
}

void MachineLine::finish_sending() {
  finish_ = true;
  flush();
}

std::vector<Json> MachineLine::receive() {
  std::array<char, 65536> buffer{};
  bool ended = false;
  while (in_ && !ended) {
    const ssize_t n = ::read(in_.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    ended = n <= 0;
    if (n > 0) in_box_.append(buffer.data(), static_cast<std::size_t>(n));
    if (in_box_.size() > max_record_) break;
  }
  std::vector<Json> records;
  std::size_t at = 0;
  for (std::size_t end = 0; (end = in_box_.find('\n', std::max(at, searched_))) != in_box_.npos;
       at = end + 1) {
    Json record = Json::parse(in_box_.begin() + static_cast<std::ptrdiff_t>(at),
                              in_box_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!record.is_object()) {
      wrong_ = true;
      break;
    }
    records.push_back(std::move(record));
  }
  in_box_.erase(0, at);
  searched_ = in_box_.size();
  wrong_ = wrong_ || in_box_.size() > max_record_;
  if (wrong_) {
    close();
  } else if (ended) {
    in_.reset();  // what this side still has to say may arrive
  }
  return records;
}

}  // namespace shmif::tools
