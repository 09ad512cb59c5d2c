/* Faults on a port of a C program. `c_api_faults_test CASE` runs one case. */

#include "tests/shmif/c/c_api_rig.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>

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
    {"EachWayHasTheFaultsThatWereAskedFor", each_way_has_the_faults_that_were_asked_for},
    {"BatchesMeetFaultsToo", batches_meet_them_too},
    {"DelayedFramesGoOnWhileThePortWaits", delayed_frames_go_on_while_the_port_waits},
    {"APollLoopSeesDelayedFrames", a_poll_loop_sees_delayed_frames},
    {"AnInterruptEndsAWaitOfALineWithFaults", an_interrupt_ends_a_wait_and_no_other},
    {"FramesOnTheWayEndWithDown", frames_on_the_way_end_with_down},
    {"FaultsThatCannotBeSetAreRefused", what_cannot_be_set_is_refused},
};
const size_t kCaseCount = sizeof kCases / sizeof kCases[0];
