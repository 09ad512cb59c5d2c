// Descriptors keep away from the numbers of the standard streams.

#include "base/standard_streams.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <string_view>

#include "base/unique_fd.hpp"

namespace shmif::base {
namespace {

/// Runs `body` in a child whose standard streams are closed. Result: what it returned.
int without_streams(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(stream);
    ::_exit(body());
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFd, NeverKeepsTheNumberOfAStandardStream) {
  EXPECT_EQ(without_streams([] {
              const UniqueFd first(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
              UniqueFd second;
              second.reset(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
              char byte = 1;
              if (first.get() <= STDERR_FILENO || second.get() <= STDERR_FILENO) return 1;
              if (::read(first.get(), &byte, 1) != 1 || byte != 0) return 2;
              if ((::fcntl(first.get(), F_GETFD) & FD_CLOEXEC) == 0) return 3;
              for (int stream = 0; stream <= STDERR_FILENO; ++stream) {
                if (is_open(stream)) return 4;
              }
              return 0;
            }),
            0);
}

TEST(UniqueFd, TellsWhyAFileWasNotOpened) {
  EXPECT_EQ(without_streams([] {
              const UniqueFd none(::open("/no/such/file", O_RDONLY | O_CLOEXEC));
              return !none && errno == ENOENT ? 0 : 1;
            }),
            0);
}

TEST(StandardStreams, ThatWereClosedCanBeNeitherReadNorWritten) {
  EXPECT_EQ(without_streams([] {
              hold_standard_streams();
              char byte = 0;
              const int free = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
              if (free <= STDERR_FILENO || ::close(free) != 0) return 1;
              if (::read(STDIN_FILENO, &byte, 1) >= 0 || errno != EBADF) return 2;
              if (::write(STDOUT_FILENO, &byte, 1) >= 0 || errno != EBADF) return 3;
              if (::write(STDERR_FILENO, &byte, 1) != 1) return 4;
              let_lost_output_vanish();
              if (::write(STDOUT_FILENO, &byte, 1) != 1) return 5;
              if (::open("/dev/null", O_RDONLY | O_CLOEXEC) != free)
                return 6;  // nothing stays open
              return 0;
            }),
            0);
}

TEST(StandardStreams, OutputThatIsThereStaysThoughTheOthersWereClosed) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  EXPECT_EQ(without_streams([&] {
              if (::dup2(writer.get(), STDOUT_FILENO) != STDOUT_FILENO) return 1;
              hold_standard_streams();
              let_lost_output_vanish();
              return ::write(STDOUT_FILENO, "text", 4) == 4 ? 0 : 2;
            }),
            0);
  writer.reset();
  std::array<char, 8> got{};
  ASSERT_EQ(::read(reader.get(), got.data(), got.size()), 4);
  EXPECT_EQ(std::string_view(got.data(), 4), "text");
}

TEST(StandardStreams, AreTakenOnlyForATime) {
  EXPECT_EQ(without_streams([] {
              {
                const StandardStreamsTaken taken;
                if (::open("/dev/null", O_RDONLY | O_CLOEXEC) <= STDERR_FILENO) return 1;
              }
              for (int stream = 0; stream <= STDERR_FILENO; ++stream) {
                if (is_open(stream)) return 2;
              }
              return 0;
            }),
            0);
}

}  // namespace
}  // namespace shmif::base
