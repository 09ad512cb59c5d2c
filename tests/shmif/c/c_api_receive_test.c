/* How the C facade receives where it is not simple: frames that were kept back, lost or
 * overwritten, buffers of several sizes, structures of other versions, and faults on the port.
 * `c_api_receive_test CASE` runs one. */

#include "tests/shmif/c/c_api_rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

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
  shmif_follower* follower = NULL;
  CHECK(shmif_follow(g_path, 0, &follower) == 0);
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
  memset(&info.bytes, 0xee, sizeof info - sizeof info.size);
  CHECK(shmif_follower_receive(follower, in, sizeof in, &info) == -EIO && info.bytes == 0);
  CHECK(strstr(shmif_message(), "cannot receive from ") == shmif_message());
  shmif_unfollow(follower);
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

/** Takes a frame of send_marked() that is there, and compares its mark. */
static void take_marked(shmif_port* port, unsigned mark) {
  unsigned char in[kFrameBytes];
  CHECK(shmif_receive(port, in, sizeof in, NULL) == kFrameBytes && in[kFrameBytes - 1] == mark);
}

static void expect_nothing(shmif_port* port) {
  unsigned char in[kFrameBytes];
  CHECK(shmif_receive(port, in, sizeof in, NULL) == 0);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void each_way_has_the_faults_that_were_asked_for(void) {
  shmif_port* port = open_port_up("port");
  shmif_port* other = open_port_up("other");
  CHECK(shmif_set_faults(port, "out:drop=1,3;in:drop=2") == 0);
  send_marked(port, 1, 4);
  take_marked(other, 2);
  take_marked(other, 4);
  expect_nothing(other);
  send_marked(other, 5, 7);
  take_marked(port, 5);
  take_marked(port, 7);
  expect_nothing(port);
  CHECK(counters_of(port).tx_frames == 2 && counters_of(port).rx_frames == 3);

  CHECK(shmif_set_faults(port, "loss=100%") == 0);
  send_marked(port, 1, 3);
  send_marked(other, 4, 6);
  expect_nothing(other);
  expect_nothing(port);
  CHECK(shmif_set_faults(port, "none") == 0);
  send_marked(port, 8, 8);
  take_marked(other, 8);
  send_marked(other, 9, 9);
  take_marked(port, 9);
  shmif_close(port);
  shmif_close(other);
}

static void batches_meet_them_too(void) {
  shmif_port* port = open_port_up("port");
  shmif_port* other = open_port_up("other");
  CHECK(shmif_set_faults(port, "out:drop=2;in:drop=1,4") == 0);
  unsigned char frames[3][kFrameBytes];
  struct iovec batch[3];
  for (unsigned i = 0; i < 3; ++i) {
    fill_frame(frames[i], (unsigned char)i);
    batch[i] = (struct iovec){frames[i], kFrameBytes};
  }
  CHECK(shmif_send_batch(port, batch, 3) == 3);
  take_marked(other, 0);
  take_marked(other, 2);
  CHECK(shmif_try_send_batch(port, batch, 2) == 2);
  take_marked(other, 0);
  take_marked(other, 1);
  expect_nothing(other);

  CHECK(shmif_send_batch(other, batch, 3) == 3);
  memset(frames, 0, sizeof frames);
  CHECK(shmif_receive_batch(port, batch, NULL, 3) == 2);
  CHECK(frames[0][kFrameBytes - 1] == 1 && frames[1][kFrameBytes - 1] == 2);
  send_marked(other, 4, 6);
  struct iovec lent[3];
  CHECK(shmif_receive_in_place(port, lent, NULL, 3) == 2);
  CHECK(((const unsigned char*)lent[0].iov_base)[kFrameBytes - 1] == 5);
  CHECK(((const unsigned char*)lent[1].iov_base)[kFrameBytes - 1] == 6);
  CHECK(lent[1].iov_len == kFrameBytes && shmif_release(port) == 0);
  shmif_close(port);
  shmif_close(other);
}

static void delayed_frames_go_on_while_the_port_waits(void) {
  shmif_port* port = open_port_up("port");
  shmif_port* other = open_port_up("other");
  CHECK(shmif_set_faults(port, "delay=30ms") == 0);
  const uint64_t before = now_ns();
  send_marked(port, 1, 2);
  expect_nothing(other);
  CHECK(shmif_wait(port, 100) == 0);
  unsigned char in[kFrameBytes];
  struct shmif_frame_info info = {.size = sizeof info};
  CHECK(shmif_receive(other, in, sizeof in, &info) == kFrameBytes && in[20] == 1);
  CHECK(info.time_ns >= before + 29000000U);
  take_marked(other, 2);

  send_marked(other, 3, 3);
  CHECK(shmif_wait(port, 0) == 0); /* it has come, and is delayed */
  CHECK(shmif_wait(port, -1) == 1 && shmif_wait(port, 0) == 1);
  take_marked(port, 3);
  CHECK(shmif_wait(port, 0) == 0);
  shmif_close(port);
  shmif_close(other);
}

static void a_poll_loop_sees_delayed_frames(void) {
  shmif_port* port = open_port_up("port");
  shmif_port* other = open_port_up("other");
  CHECK(shmif_set_faults(port, "delay=20ms") == 0);
  struct pollfd entry = {.fd = shmif_descriptor(port), .events = POLLIN};
  CHECK(entry.fd >= 0 && shmif_descriptor(port) == entry.fd);
  send_marked(port, 1, 1);
  send_marked(other, 2, 2);
  unsigned char in[kFrameBytes];
  int heard = 0;
  for (int turns = 0; heard == 0 && turns < 1000; ++turns) {
    int at_most_ms;
    if (shmif_prepare_wait(port, &at_most_ms) == 0) CHECK(poll(&entry, 1, at_most_ms) >= 0);
    shmif_finish_wait(port);
    heard = shmif_receive(port, in, sizeof in, NULL);
  }
  CHECK(heard == kFrameBytes && in[20] == 2);
  CHECK(shmif_wait(port, 100) == 0);
  take_marked(other, 1);
  shmif_close(port);
  shmif_close(other);
}

static void* interrupt(void* port) {
  usleep(20000);
  shmif_interrupt(port);
  return NULL;
}

static void an_interrupt_ends_a_wait_and_no_other(void) {
  shmif_port* port = open_port_up("port");
  CHECK(shmif_set_faults(port, "loss=1%") == 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, interrupt, port) == 0);
  CHECK(shmif_wait(port, -1) == 0);
  pthread_join(thread, NULL);
  shmif_interrupt(port); /* of the next wait */
  CHECK(shmif_wait(port, -1) == 0);
  shmif_port* other = open_port_up("other");
  CHECK(shmif_set_faults(port, "none") == 0);
  send_marked(other, 1, 1);
  CHECK(shmif_wait(port, -1) == 1);
  CHECK(shmif_down(port) == 0 && shmif_wait(port, -1) == 0);
  shmif_close(port);
  shmif_close(other);
}

static void frames_on_the_way_end_with_down(void) {
  shmif_port* port = open_port_up("port");
  shmif_port* other = open_port_up("other");
  CHECK(shmif_set_faults(port, "delay=50ms") == 0);
  send_marked(port, 1, 1);
  send_marked(other, 2, 2);
  expect_nothing(port);
  CHECK(shmif_down(port) == 0);
  unsigned char frame[kFrameBytes];
  fill_frame(frame, 3);
  CHECK(shmif_send(port, frame, sizeof frame) == -ENETDOWN);
  CHECK(shmif_up(port) == 0);
  CHECK(shmif_wait(port, 150) == 0);
  expect_nothing(port);
  expect_nothing(other);
  shmif_close(port);
  shmif_close(other);
}

static void what_cannot_be_set_is_refused(void) {
  shmif_port* port = open_port_up("port");
  CHECK(is_refused(shmif_set_faults(port, NULL), "shmif_set_faults:"));
  CHECK(is_refused(shmif_set_faults(port, "loss=200%"), "shmif_set_faults:"));
  CHECK(strstr(shmif_message(), "200%") != NULL);
  CHECK(is_refused(shmif_set_faults(port, "lost=2%"), "shmif_set_faults:"));
  CHECK(shmif_set_faults(port, "none") == 0 && shmif_fd(port) >= 0);
  CHECK(shmif_set_faults(port, "loss=1%") == -EBUSY);
  CHECK(strstr(shmif_message(), "descriptor") != NULL);
  CHECK(shmif_set_faults(port, "none") == 0);
  shmif_close(port);

  port = open_port_up("port");
  CHECK(shmif_descriptor(port) >= 0 && shmif_set_faults(port, "loss=1%") == -EBUSY);
  shmif_close(port);

  port = open_port_up("port");
  CHECK(shmif_set_faults(port, "loss=1%") == 0 && shmif_fd(port) == -EOPNOTSUPP);
  CHECK(shmif_descriptor(port) >= 0 && shmif_set_faults(port, "loss=2%") == 0);
  shmif_close(port);
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
    {"EachWayHasTheFaultsThatWereAskedFor", each_way_has_the_faults_that_were_asked_for},
    {"BatchesMeetFaultsToo", batches_meet_them_too},
    {"DelayedFramesGoOnWhileThePortWaits", delayed_frames_go_on_while_the_port_waits},
    {"APollLoopSeesDelayedFrames", a_poll_loop_sees_delayed_frames},
    {"AnInterruptEndsAWaitOfALineWithFaults", an_interrupt_ends_a_wait_and_no_other},
    {"FramesOnTheWayEndWithDown", frames_on_the_way_end_with_down},
    {"FaultsThatCannotBeSetAreRefused", what_cannot_be_set_is_refused},
};
const size_t kCaseCount = sizeof kCases / sizeof kCases[0];
