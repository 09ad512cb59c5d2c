// The main() of every test program.
//
// To start a program takes longer than most tests do, above all under a sanitizer. So with --serve
// it starts once and forks for each test. tools/run_tests asks for one test after the other:
//
//     request (a line)   NAME <tab> FILE     the full name of a test, and where its output goes
//     replies (lines)    serving             once, at first
//                        started PID         for each request
//                        ended STATUS        as waitpid() tells it
//
// The word --fresh (tests/CMakeLists.txt) has no meaning here.
//
// Each test has a process of its own, whose only thread comes from here: it can change signals,
// limits, namespaces and descriptors as if its program had been started for it alone.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

[[noreturn]] void run_test(const std::string& name, const char* output) {
  const int nothing = open("/dev/null", O_RDONLY);
  const int file = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (nothing < 0 || file < 0 || dup2(nothing, 0) < 0 || dup2(file, 1) < 0 || dup2(file, 2) < 0) {
    std::perror(output);
    _exit(1);
  }
  close(nothing);
  close(file);
  testing::GTEST_FLAG(filter) = name;
  std::exit(RUN_ALL_TESTS());
}

int serve() {
  std::puts("serving");
  std::fflush(stdout);
  char* line = nullptr;
  std::size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    const std::string_view request(line);
    const std::size_t tab = request.find('\t');
    if (tab == std::string_view::npos || request.back() != '\n') return 2;
    const std::string name(request.substr(0, tab));
    const std::string output(request.substr(tab + 1, request.size() - tab - 2));
    const pid_t child = fork();
    if (child == 0) run_test(name, output.c_str());
    if (child < 0) return 1;
    std::printf("started %d\n", child);
    std::fflush(stdout);
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
      if (errno != EINTR) return 1;
    }
    std::printf("ended %d\n", status);
    std::fflush(stdout);
  }
  std::free(line);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  unsetenv("SHMIF_BUS");  // tests have buses of their own
  testing::InitGoogleTest(&argc, argv);
  return argc == 2 && std::string_view(argv[1]) == "--serve" ? serve() : RUN_ALL_TESTS();
}
