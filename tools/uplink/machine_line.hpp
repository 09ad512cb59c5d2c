#pragma once
// MachineLine: what the controllers of one lab on two machines say to each other, over ssh.
//
// Each record is a line of JSON with one of these keys. From the machine where `up` runs:
//
//   lab      first: the text of the file, and what else the other one needs to know
//   start    a host starts
//   signal   a host gets a signal
//   change   a command of shmifctl, such as "link", runs; it has a number
//   alive    every few seconds; without it, the other machine takes its hosts down
//
// From the other machine:
//
//   up       its buses are there
//   out      a host has printed something
//   ready    a host is ready
//   ended    a host has ended, with that status
//   changed  the command with that number has ended, with that status
//
// The end of the line is the end of the hosts there.

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

/// Threads: one at a time. Blocks: never.
class MachineLine {
 public:
  /// What a record from the other machine may have: nothing there is as long as a lab.
  static constexpr std::size_t kMaxAnswer = std::size_t{1} << 20U;
  /// A record with the text of a lab has at most 6 times 4 MiB.
  static constexpr std::size_t kMaxRequest = std::size_t{32} << 20U;
  /// A text in an answer: its JSON has at most six times as many bytes.
  static constexpr std::size_t kMaxText = std::size_t{64} << 10U;

  /// Descriptors to read from and to write to. Both become non-blocking. `max_record`: a longer
  /// one closes the line.
  MachineLine(UniqueFd in, UniqueFd out, std::size_t max_record);

  /// Writes a record, now or in flush().
  void send(const Json& record);
  /// Writes what send() could not.
  void flush();
  /// Records that have come, from at most about `max_record` bytes; the rest at the next call. A
  /// line that is no object of JSON closes this line.
  std::vector<Json> receive();
  /// Tells the other side that nothing more comes. Records of the other side still come.
  void finish_sending();

  /// False when the other side has closed the line, or has said what this one does not understand.
  bool is_open() const noexcept { return static_cast<bool>(in_); }
  /// Whether it was closed because of what came.
  bool is_wrong() const noexcept { return wrong_; }
  int in() const noexcept { return in_.get(); }
  /// The bytes that send() could not write yet.
  std::size_t unsent() const noexcept { return out_box_.size(); }
  /// For poll(2): -1 if there is nothing to write.
  int wanted_out() const noexcept { return out_box_.empty() ? -1 : out_.get(); }

 private:
  void close();

  UniqueFd in_, out_;
  std::string in_box_, out_box_;
  std::size_t max_record_;
  std::size_t searched_ = 0;  ///< there is no end of a line in so much of in_box_
  bool finish_ = false;
  bool wrong_ = false;
};

}  // namespace shmif::tools
