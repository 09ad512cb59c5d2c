/* How the C facade receives where it is not simple: frames that were kept back, lost or
 * overwritten, buffers of several sizes, and structures of other versions. `c_api_receive_test
 * CASE` runs one. */

#include "tests/shmif/c/c_api_rig.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { kMax = 32, kSmallRing = 1 << 16, kSmallLap = 2000 };

/** Another bus in place of the first, with a ring that a few hundred frames go round. */
static void make_small_bus(void) {
  const struct shmif_bus_options options = {.size = sizeof options, .ring_bytes = kSmallRing};
  CHECK(unlink(g_path) == 0 && shmif_create(g_path, &options) == 0);
}

static unsigned char g_buffers[kMax][kFrameBytes];

/** An array of buffers, each of which holds a frame. */
static void point_to_buffers(struct iovec into[kMax]) {
  memset(g_buffers, 0xee, sizeof g_buffers);
  for (unsigned i = 0; i < kMax; ++i) into[i] = (struct iovec){g_buffers[i], kFrameBytes};
}

static unsigned char mark_of(struct iovec frame) {
  return ((unsigned char*)frame.iov_base)[14];
}

/** What was lost up to now is told once, with the first frame that is described. */
static void check_told_once(shmif_port* receiver, struct shmif_frame_info infos[kMax], int got) {
  CHECK(got == kMax);
  CHECK(infos[0].lost > 0 && infos[0].lost == counters_of(receiver).lost_frames);
  for (int i = 1; i < got; ++i) CHECK(infos[i].lost == 0);
}

static void what_was_lost_is_added_up_until_somebody_asks_and_then_told_once(void) {
  struct iovec into[kMax];
  struct shmif_frame_info infos[kMax];
  struct shmif_frame_info info = {.size = sizeof info};
  unsigned char in[kFrameBytes];
  make_small_bus();
  shmif_port* sender = open_port_up("sender");
  shmif_port* one = open_port_up("one");
  shmif_port* many = open_port_up("many");
  shmif_port* lent = open_port_up("lent");
  point_to_buffers(into);
  infos[0].size = sizeof infos[0];
  for (int lap = 0; lap < 3; ++lap) { /* nobody asks */
    send_many(sender, kSmallLap);
    CHECK(shmif_receive(one, in, sizeof in, NULL) == kFrameBytes);
    while (shmif_receive(one, in, sizeof in, NULL) > 0) continue;
    CHECK(shmif_receive_batch(many, into, NULL, kMax) == kMax);
    CHECK(shmif_receive_in_place(lent, into, NULL, kMax) == kMax);
    CHECK(shmif_release(lent) == 0);
    point_to_buffers(into);
  }
  send_many(sender, 1);
  const uint64_t lost = counters_of(one).lost_frames;
  CHECK(counters_of(one).overruns == 3);
  CHECK(shmif_receive(one, in, sizeof in, &info) == kFrameBytes && info.lost == lost);
  send_many(sender, 2);
  for (int i = 0; i < 2; ++i)
    CHECK(shmif_receive(one, in, sizeof in, &info) == kFrameBytes && info.lost == 0);
  check_told_once(many, infos, shmif_receive_batch(many, into, infos, kMax));
  CHECK(shmif_receive_batch(many, into, infos, kMax) == kMax && infos[0].lost == 0);
  check_told_once(lent, infos, shmif_receive_in_place(lent, into, infos, kMax));
  CHECK(shmif_receive_in_place(lent, into, infos, kMax) == kMax && infos[0].lost == 0);
  shmif_close(sender);
  shmif_close(one);
  shmif_close(many);
  shmif_close(lent);
}

/* Frames are overwritten in the middle of a copy: one buffer lies on a page that cannot be written
 * to, and the handler of the fault sends more before it lets the copy go on. */
static shmif_port* g_overwriter;
static unsigned g_frames_in_fault;
static unsigned char* g_page;
static long g_page_bytes;

static void send_and_let_go_on(int signal) {
  (void)signal;
  unsigned char frame[kFrameBytes];
  fill_frame(frame, 0xaa);
  for (unsigned i = 0; i < g_frames_in_fault; ++i)
    if (shmif_send(g_overwriter, frame, sizeof frame) != 0) _exit(3);
  if (mprotect(g_page, (size_t)g_page_bytes, PROT_READ | PROT_WRITE) != 0) _exit(4);
}

/** Receives 32 frames with the marks 0 to 31, while `frames_in_fault` others are sent when the 11th
 * is being copied. Result: how many are received. */
static int receive_while_overwritten(shmif_port* receiver, unsigned frames_in_fault,
                                     struct iovec into[kMax], struct shmif_frame_info infos[kMax]) {
  const struct sigaction act = {.sa_handler = send_and_let_go_on};
  struct sigaction before;
  g_page_bytes = sysconf(_SC_PAGESIZE);
  g_page = mmap(NULL, (size_t)g_page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(g_page != MAP_FAILED);
  into[10].iov_base = g_page;
  g_frames_in_fault = frames_in_fault;
  infos[0].size = sizeof infos[0];
  CHECK(sigaction(SIGSEGV, &act, &before) == 0);
  send_marked(g_overwriter, 0, kMax - 1);
  const int got = shmif_receive_batch(receiver, into, infos, kMax);
  CHECK(sigaction(SIGSEGV, &before, NULL) == 0);
  return got;
}

static void frames_overwritten_while_they_are_copied_are_lost_and_the_others_move_up(void) {
  enum { kRoom = 20, kSmall = 15 };
  struct iovec into[kMax];
  struct shmif_frame_info infos[kMax];
  struct shmif_frame_info info = {.size = sizeof info};
  unsigned char in[kFrameBytes];
  make_small_bus();
  g_overwriter = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  /* The ring has room for 682 records of 96 bytes: the last frames reach the first. */
  point_to_buffers(into);
  into[kSmall].iov_len = kRoom;
  const int got = receive_while_overwritten(receiver, 682 - kMax + 5, into, infos);
  const int torn = kMax - got;
  CHECK(torn > 0 && torn < kSmall);
  for (int i = 0; i < got; ++i) {
    const unsigned char* const bytes = into[i].iov_base;
    CHECK(bytes[14] == i + torn && infos[i].number == (uint64_t)(i + torn));
    CHECK(infos[i].bytes == kFrameBytes && infos[i].lost == 0);
    /* Of a frame that was copied to the small buffer, or moves to it, only so much is there. */
    CHECK(infos[i].truncated == (i == kSmall || i + torn == kSmall));
    CHECK(infos[i].truncated ? bytes[kRoom - 1] == i + torn : bytes[kFrameBytes - 1] == i + torn);
  }
  CHECK(((unsigned char*)into[kSmall].iov_base)[kRoom] == 0xee);
  CHECK(shmif_receive(receiver, in, sizeof in, &info) == kFrameBytes && in[14] == 0xaa);
  CHECK(info.lost == counters_of(receiver).lost_frames && info.lost >= (uint64_t)torn);
  shmif_close(g_overwriter);
  shmif_close(receiver);
}

static void on_a_lost_bus_the_frames_that_were_kept_back_come_first_and_then_the_error(void) {
  struct iovec into[kMax];
  struct shmif_frame_info info = {.size = sizeof info};
  unsigned char in[kFrameBytes];
  char wanted[160];
  point_to_buffers(into);
  CHECK(shmif_install_sigbus_guard() == 0);
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  send_marked(sender, 0, 5);
  CHECK(shmif_receive(receiver, in, sizeof in, NULL) == kFrameBytes); /* the port keeps five */
  CHECK(truncate(g_path, 0) == 0);
  CHECK(shmif_receive_in_place(receiver, into, NULL, 1) == 1 && mark_of(into[0]) == 1);
  point_to_buffers(into);
  CHECK(shmif_receive_batch(receiver, into, NULL, kMax) == 4 && mark_of(into[3]) == 5);
  snprintf(wanted, sizeof wanted, "cannot receive on bus:%s: ", g_path);
  memset(&info.bytes, 0xee, sizeof info - sizeof info.size);
  CHECK(shmif_receive(receiver, in, sizeof in, &info) == -EIO);
  CHECK(strncmp(shmif_message(), wanted, strlen(wanted)) == 0);
  CHECK(info.bytes == 0 && info.lost == 0); /* no frame */
  CHECK(shmif_send(sender, in, 1) != 0);    /* another message */
  CHECK(shmif_receive_batch(receiver, into, NULL, kMax) == -EIO);
  CHECK(strncmp(shmif_message(), wanted, strlen(wanted)) == 0);
  CHECK(shmif_send(sender, in, 1) != 0);
  CHECK(shmif_receive_in_place(receiver, into, NULL, kMax) == -EIO);
  CHECK(strncmp(shmif_message(), wanted, strlen(wanted)) == 0);
  shmif_close(sender);
  shmif_close(receiver);
}

/** Receives four frames in each way with descriptions that are `stride` bytes apart. */
static void check_infos_of(size_t stride, shmif_port* sender, shmif_port* receiver) {
  enum { kFrames = 4 };
  unsigned char infos[kFrames * 100];
  struct iovec into[kMax];
  unsigned char in[kFrameBytes];
  for (int way = 0; way < 3; ++way) {
    point_to_buffers(into);
    memset(infos, 0xee, sizeof infos);
    memcpy(infos, &stride, sizeof stride);
    send_marked(sender, 0, kFrames);
    if (way < 2) { /* kept back, or not */
      if (way == 0) CHECK(shmif_receive(receiver, in, sizeof in, NULL) == kFrameBytes);
      CHECK(shmif_receive_batch(receiver, into, (struct shmif_frame_info*)(void*)infos, kFrames) ==
            kFrames);
    } else {
      CHECK(shmif_receive_in_place(receiver, into, (struct shmif_frame_info*)(void*)infos,
                                   kFrames) == kFrames);
    }
    for (size_t i = 0; i < kFrames; ++i) {
      struct shmif_frame_info info;
      memset(&info, 0, sizeof info);
      memcpy(&info, infos + i * stride, stride < sizeof info ? stride : sizeof info);
      CHECK(info.size == stride && info.bytes == kFrameBytes && info.time_ns > 0);
      for (size_t b = sizeof info; b < stride; ++b) CHECK(infos[i * stride + b] == 0xee);
    }
    CHECK(infos[kFrames * stride] == 0xee); /* behind the last */
    while (shmif_receive(receiver, in, sizeof in, NULL) > 0) continue;
  }
}

static void descriptions_may_be_those_of_an_older_or_a_newer_header(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  check_infos_of(sizeof(struct shmif_frame_info), sender, receiver);
  check_infos_of(offsetof(struct shmif_frame_info, number), sender, receiver);
  check_infos_of(sizeof(struct shmif_frame_info) + 24, sender, receiver);
  shmif_close(sender);
  shmif_close(receiver);
}

const struct test_case kCases[] = {
    {"WhatWasLostIsAddedUpUntilSomebodyAsksAndThenToldOnce",
     what_was_lost_is_added_up_until_somebody_asks_and_then_told_once},
    {"FramesOverwrittenWhileTheyAreCopiedAreLostAndTheOthersMoveUp",
     frames_overwritten_while_they_are_copied_are_lost_and_the_others_move_up},
    {"OnALostBusTheFramesThatWereKeptBackComeFirstAndThenTheError",
     on_a_lost_bus_the_frames_that_were_kept_back_come_first_and_then_the_error},
    {"DescriptionsMayBeThoseOfAnOlderOrANewerHeader",
     descriptions_may_be_those_of_an_older_or_a_newer_header},
};
const size_t kCaseCount = sizeof kCases / sizeof kCases[0];
