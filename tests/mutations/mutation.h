/* Selects one mutation at run time. tests/mutations/run includes this file first into every source.

   MUT(n) is true in a program for which `run` has selected the mutation n. Programs hold the number
   behind a mark, where `run` finds and changes it, so a mutation costs no build. With the number -1
   a program notes which MUT(n) it reaches, and in which test. */
#ifndef SHMIF_TESTS_MUTATION_H
#define SHMIF_TESTS_MUTATION_H

#ifdef __cplusplus
extern "C" {
#define SHMIF_MUTATION_NOEXCEPT noexcept
#else
#define SHMIF_MUTATION_NOEXCEPT
#endif

#define SHMIF_MUTATION_SHARED __attribute__((weak, visibility("hidden")))

extern char** environ;
extern long syscall(long, ...) SHMIF_MUTATION_NOEXCEPT;
extern int setenv(const char*, const char*, int) SHMIF_MUTATION_NOEXCEPT;
extern int* __errno_location(void) SHMIF_MUTATION_NOEXCEPT __attribute__((const));

struct shmif_mutation {
  char mark[20];
  volatile int number;
};
extern struct shmif_mutation shmif_mutation;
SHMIF_MUTATION_SHARED struct shmif_mutation shmif_mutation = {"@@shmif-mutation@@", 0};

/* The value of an environment variable, "NAME=" given. */
static inline const char* shmif_mutation_setting(const char* name) {
  for (char** each = environ; each && *each; ++each) {
    int i = 0;
    while (name[i] && (*each)[i] == name[i]) ++i;
    if (!name[i]) return *each + i;
  }
  return 0;
}

/* Appends "n TEST" to the file that SHMIF_MUTATION_LOG names, once for each n in a process. It may
   run in a signal handler, so it makes system calls only: open, write and close of x86-64. */
SHMIF_MUTATION_SHARED __attribute__((noinline)) void shmif_mutation_reached(int n);
SHMIF_MUTATION_SHARED __attribute__((noinline)) void shmif_mutation_reached(int n) {
  static volatile unsigned char seen[4096];
  const char* log = shmif_mutation_setting("SHMIF_MUTATION_LOG=");
  const char* test = shmif_mutation_setting("SHMIF_MUTATION_TEST=");
  if (n < 0 || n >= 4096 || seen[n] || !log || !test) return;
  seen[n] = 1;
  int error = *__errno_location();
  char line[1024];
  int at = 0;
  for (int ten = 1000; ten > 0; ten /= 10) line[at++] = (char)('0' + n / ten % 10);
  line[at++] = ' ';
  while (*test && at < 1022) line[at++] = *test++;
  line[at++] = '\n';
  long fd = syscall(2, log, 02002001, 0); /* O_WRONLY | O_APPEND | O_CLOEXEC */
  if (fd >= 0) {
    syscall(1, fd, line, (long)at);
    syscall(3, fd);
  }
  *__errno_location() = error;
}

/* The first program of a test gives its command line to all programs that it starts. */
__attribute__((constructor)) static void shmif_mutation_name_test(void) {
  if (shmif_mutation.number != -1 || shmif_mutation_setting("SHMIF_MUTATION_TEST=")) return;
  char line[1000];
  long fd = syscall(2, "/proc/self/cmdline", 02000000, 0);
  if (fd < 0) return;
  long size = syscall(0, fd, line, (long)sizeof line - 1);
  syscall(3, fd);
  if (size <= 0) return;
  line[size] = 0;
  for (long i = 0; i + 1 < size; ++i) {
    if (!line[i]) line[i] = ' ';
  }
  setenv("SHMIF_MUTATION_TEST", line, 1);
}

static inline int shmif_mutation_is(int n) {
  int number = shmif_mutation.number;
  if (__builtin_expect(number == 0, 1)) return 0;
  if (number == -1) shmif_mutation_reached(n);
  return number == n;
}
#define MUT(n) (__builtin_expect(shmif_mutation_is(n), 0) != 0)

#ifdef __cplusplus
}
#endif
#endif
