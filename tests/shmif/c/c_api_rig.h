/* What the programs that try the C facade share: a bus, ports, frames, and the table of cases.
 * `PROGRAM CASE` runs one case. */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shmif/shmif.h"

#define CHECK(condition)                                                                         \
  do {                                                                                           \
    if (!(condition)) {                                                                          \
      fprintf(stderr, "%s:%d: not so: %s\n  last message: %s\n", __FILE__, __LINE__, #condition, \
              shmif_message());                                                                  \
      exit(1);                                                                                   \
    }                                                                                            \
  } while (0)

/* Ends the case; CTest shows it as skipped, for this reason. */
#define SKIP(reason)                 \
  do {                               \
    printf("skipped: %s\n", reason); \
    exit(77);                        \
  } while (0)

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { kFrameBytes = 60 };

static char g_directory[64];
static char g_path[96];

static inline void remove_bus(void) {
  unlink(g_path);
  rmdir(g_directory);
}

/** A bus of its own for this process, removed at exit. */
static inline void make_bus(void) {
  strcpy(g_directory,
         access("/dev/shm", W_OK) == 0 ? "/dev/shm/shmif-c-XXXXXX" : "/tmp/shmif-c-XXXXXX");
  CHECK(mkdtemp(g_directory) != NULL);
  snprintf(g_path, sizeof g_path, "%s/bus", g_directory);
  atexit(remove_bus);
  const struct shmif_bus_options options = {.size = sizeof options, .ring_bytes = 1 << 20};
  CHECK(shmif_create(g_path, &options) == 0);
}

static inline shmif_port* open_port(const char* name) {
  const struct shmif_port_options options = {.size = sizeof options, .name = name};
  shmif_port* port = NULL;
  CHECK(shmif_open(g_path, &options, &port) == 0);
  CHECK(port != NULL);
  return port;
}

static inline shmif_port* open_port_up(const char* name) {
  shmif_port* port = open_port(name);
  CHECK(shmif_up(port) == 0);
  return port;
}

/** A broadcast of EtherType 0x88b5 whose payload bytes are all `mark`. */
static inline void fill_frame(unsigned char frame[kFrameBytes], unsigned char mark) {
  memset(frame, mark, kFrameBytes);
  memset(frame, 0xff, 6);
  frame[12] = 0x88;
  frame[13] = 0xb5;
}

static inline shmif_port* open_port_with(const char* name, uint32_t flags) {
  const struct shmif_port_options options = {.size = sizeof options, .name = name, .flags = flags};
  shmif_port* port = NULL;
  CHECK(shmif_open(g_path, &options, &port) == 0 && shmif_up(port) == 0);
  return port;
}

/** Sends `count` broadcasts. */
static inline void send_many(shmif_port* sender, unsigned count) {
  unsigned char frame[kFrameBytes];
  for (unsigned i = 0; i < count; ++i) {
    fill_frame(frame, (unsigned char)i);
    CHECK(shmif_send(sender, frame, sizeof frame) == 0);
  }
}

/** Sends frames whose mark and number are `from` to `to`. */
static inline void send_marked(shmif_port* sender, unsigned from, unsigned to) {
  unsigned char frame[kFrameBytes];
  for (unsigned i = from; i <= to; ++i) {
    fill_frame(frame, (unsigned char)i);
    CHECK(shmif_send(sender, frame, sizeof frame) == 0);
  }
}

static inline struct shmif_counters counters_of(const shmif_port* port) {
  struct shmif_counters counters = {.size = sizeof counters};
  CHECK(shmif_get_counters(port, &counters) == 0);
  return counters;
}

/** Whether a call was refused with -EINVAL and a message that names it. */
static inline int is_refused(int result, const char* call) {
  return result == -EINVAL && strncmp(shmif_message(), call, strlen(call)) == 0;
}

struct test_case {
  const char* name;
  void (*run)(void);
};
/* Each program has these. */
extern const struct test_case kCases[];
extern const size_t kCaseCount;

int main(int argc, char** argv) {
  for (size_t i = 0; i < kCaseCount; ++i) {
    if (argc == 2 && strcmp(argv[1], kCases[i].name) == 0) {
      make_bus();
      kCases[i].run();
      return 0;
    }
  }
  fprintf(stderr, "usage: %s CASE\n", argv[0]);
  for (size_t i = 0; i < kCaseCount; ++i) fprintf(stderr, "  %s\n", kCases[i].name);
  return 2;
}
