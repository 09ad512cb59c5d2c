#include "tap/forked_task.hpp"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <exception>
#include <span>
#include <string>

#include "base/descriptors.hpp"

namespace shmif::tap {
namespace {

constexpr std::size_t kMaxDescriptors = 16;

/// The child's answer, as it reaches the parent. The error's message follows it.
struct Answer {
  bool failed;
  bool ours;  ///< the code's category is that of shmif, not generic
  int code;
};

void send_answer(int socket, const Result<std::vector<UniqueFd>>& result) {
  Answer answer{!result.has_value(), false, 0};
  std::string message;
  std::array<int, kMaxDescriptors> fds{};
  std::size_t count = 0;
  if (result) {
    for (const UniqueFd& d : *result) {
      if (count < fds.size()) fds[count++] = d.get();
    }
  } else {
    answer.ours = result.error().code.category() == error_category();
    answer.code = result.error().code.value();
    message = result.error().message.substr(0, 4000);
  }
  std::array<iovec, 2> parts{{{&answer, sizeof answer}, {message.data(), message.size()}}};
  base::RightsRoom<kMaxDescriptors> room;
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  base::put_rights(header, room, std::span(fds).first(count));
  (void)!::sendmsg(socket, &header, MSG_NOSIGNAL);
}

Result<std::vector<UniqueFd>> receive_answer(int socket) {
  Answer answer{};
  std::array<char, 4096> message{};
  std::array<iovec, 2> parts{{{&answer, sizeof answer}, {message.data(), message.size()}}};
  base::RightsRoom<kMaxDescriptors> room;
  msghdr header{};
  header.msg_iov = parts.data();
  header.msg_iovlen = parts.size();
  base::allow_rights(header, room);
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < static_cast<ssize_t>(sizeof answer)) {
    return Error(std::error_code(ECHILD, std::generic_category()),
                 "the helper process died without an answer");
  }
  std::vector<UniqueFd> fds;
  base::for_each_right(header, [&](int fd) { fds.emplace_back(fd); });
  if (!answer.failed) return fds;
  const std::size_t length = static_cast<std::size_t>(got) - sizeof answer;
  return Error(
      std::error_code(answer.code, answer.ours ? error_category() : std::generic_category()),
      std::string(message.data(), length));
}

/// All that the child does.
[[noreturn]] void run_child(int socket, const ForkedTask& task) {
  try {
    send_answer(socket, task());
  } catch (const std::exception& e) {
    send_answer(socket, Error(Errc::not_supported, e.what()));
  }
  ::_exit(0);  // do not run the parent's destructors or flush its streams
}

}  // namespace

Result<std::vector<UniqueFd>> run_forked(const ForkedTask& task) {
  std::array<int, 2> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return Error::from_errno(errno, "cannot make a socket pair");
  }
  const UniqueFd mine(pair[0]);
  UniqueFd theirs(pair[1]);
  const pid_t child = ::fork();
  if (child < 0) return Error::from_errno(errno, "cannot fork a helper process");
  if (child == 0) run_child(theirs.get(), task);
  theirs.reset();
  auto result = receive_answer(mine.get());
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return result;
}

}  // namespace shmif::tap
