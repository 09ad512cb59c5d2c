/* Following a bus through the C facade, without a port on it. `c_api_follow_test CASE` runs one
 * case. */

#include "tests/shmif/c/c_api_rig.h"

#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

static shmif_follower* follow(uint32_t flags) {
  shmif_follower* follower = NULL;
  CHECK(shmif_follow(g_path, flags, &follower) == 0 && follower != NULL);
  return follower;
}

/** Takes a frame of send_many() or send_marked(), and compares its mark. */
static struct shmif_frame_info take_marked(shmif_follower* follower, unsigned mark) {
  unsigned char in[kFrameBytes];
  struct shmif_frame_info info = {.size = sizeof info};
  CHECK(shmif_follower_receive(follower, in, sizeof in, &info) == kFrameBytes);
  CHECK(in[kFrameBytes - 1] == (unsigned char)mark && info.bytes == kFrameBytes);
  return info;
}

static void a_follower_needs_read_permission_only(void) {
  shmif_port* sender = open_port_up("sender");
  CHECK(chmod(g_directory, 0755) == 0 && chmod(g_path, 0444) == 0);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(77);
    shmif_port* port = NULL;
    CHECK(shmif_open(g_path, NULL, &port) == -EACCES && port == NULL);
    CHECK(strstr(shmif_message(), g_path) != NULL);
    shmif_follower* follower = follow(SHMIF_START_OLDEST);
    CHECK(shmif_follower_wait(follower, 30000) == 1);
    take_marked(follower, 3);
    shmif_unfollow(follower);
    _exit(0);
  }
  send_marked(sender, 3, 3);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) SKIP("another user cannot run here");
  CHECK(status == 0);
  struct shmif_bus_info bus = {.size = sizeof bus};
  CHECK(shmif_inspect(g_path, &bus) == 0 && bus.ports == 1);
  shmif_close(sender);
}

static void a_follower_hears_frames_for_all_from_where_it_was_asked_to(void) {
  shmif_port* sender = open_port_up("sender");
  send_marked(sender, 1, 3);
  shmif_follower* now = follow(0);
  shmif_follower* oldest = follow(SHMIF_START_OLDEST);
  unsigned char frame[kFrameBytes];
  fill_frame(frame, 4);
  memset(frame, 2, 6); /* to an address that no port has */
  CHECK(shmif_send(sender, frame, sizeof frame) == 0);

  const struct shmif_frame_info first = take_marked(oldest, 1);
  CHECK(first.lost == 0 && first.truncated == 0 && first.time_ns > 0);
  CHECK(first.sender == shmif_slot(sender));
  CHECK(take_marked(oldest, 2).number == first.number + 1);
  take_marked(oldest, 3);
  CHECK(take_marked(oldest, 4).number == first.number + 3);
  CHECK(take_marked(now, 4).number == first.number + 3);

  struct shmif_frame_info info = {.size = sizeof info};
  unsigned char in[kFrameBytes];
  CHECK(shmif_follower_receive(now, in, sizeof in, &info) == 0 && info.bytes == 0);
  CHECK(shmif_follower_receive(now, in, sizeof in, NULL) == 0);
  send_marked(sender, 5, 5);
  CHECK(shmif_follower_receive(now, in, 20, &info) == 20);
  CHECK(info.bytes == kFrameBytes && info.truncated == 1 && in[19] == 5);
  CHECK(shmif_follower_max_frame_bytes(now) == 1522);
  shmif_unfollow(now);
  shmif_unfollow(oldest);
  shmif_unfollow(NULL);
  shmif_close(sender);
}

static void a_wait_of_a_follower_ends_when_a_frame_comes_and_in_time(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_follower* follower = follow(0);
  CHECK(shmif_follower_wait(follower, 0) == 0 && shmif_follower_wait(follower, 5) == 0);
  send_marked(sender, 1, 2);
  CHECK(shmif_follower_wait(follower, -1) == 1);
  take_marked(follower, 1);
  CHECK(shmif_follower_wait(follower, 0) == 1); /* it has fetched the second one */
  take_marked(follower, 2);
  CHECK(shmif_follower_wait(follower, 0) == 0);
  shmif_unfollow(follower);
  shmif_close(sender);
}

static void a_follower_is_served_by_a_poll_loop(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_follower* follower = follow(0);
  const int fd = shmif_follower_descriptor(follower);
  CHECK(fd >= 0 && shmif_follower_descriptor(follower) == fd);
  int at_most_ms = -2;
  CHECK(shmif_follower_prepare_wait(follower, &at_most_ms) == 0);
  CHECK(at_most_ms >= 1 && at_most_ms <= 50);
  struct pollfd entry = {.fd = fd, .events = POLLIN};
  CHECK(poll(&entry, 1, 30000) == 1); /* the timer, without a frame */
  shmif_follower_finish_wait(follower);
  CHECK(poll(&entry, 1, 0) == 0);
  send_marked(sender, 1, 2);
  CHECK(shmif_follower_prepare_wait(follower, &at_most_ms) == 1 && at_most_ms == 0);
  shmif_follower_finish_wait(follower);
  take_marked(follower, 1);
  CHECK(shmif_follower_prepare_wait(follower, &at_most_ms) == 1 && at_most_ms == 0);
  shmif_follower_finish_wait(follower);
  take_marked(follower, 2);
  shmif_unfollow(follower);
  shmif_close(sender);
}

static void a_follower_counts_what_it_lost(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_follower* first = follow(0);
  shmif_follower* newest = follow(SHMIF_RESUME_NEWEST);
  enum { kSent = 40000 }; /* more than a ring of 1 MiB has room for */
  send_many(sender, kSent);
  struct shmif_frame_info info = {.size = sizeof info};
  unsigned char in[kFrameBytes];
  uint64_t heard = 0;
  uint64_t lost = 0;
  while (shmif_follower_receive(first, in, sizeof in, &info) > 0 || info.lost > 0) {
    heard += info.bytes > 0;
    lost += info.lost;
  }
  CHECK(heard > 0 && lost > 0 && heard + lost == kSent);
  struct shmif_counters counters = {.size = sizeof counters};
  CHECK(shmif_follower_get_counters(first, &counters) == 0);
  CHECK(counters.rx_frames == heard && counters.lost_frames == lost && counters.overruns == 1);
  CHECK(counters.rx_bytes == heard * kFrameBytes && counters.tx_frames == 0);

  CHECK(shmif_follower_receive(newest, in, sizeof in, &info) == 0 && info.lost == kSent);
  send_marked(sender, 9, 9);
  take_marked(newest, 9);
  shmif_unfollow(first);
  shmif_unfollow(newest);
  shmif_close(sender);
}

static void a_follower_reads_netbsds_format(void) {
  const struct shmif_bus_options options = {.size = sizeof options, .format = SHMIF_FORMAT_NETBSD};
  CHECK(shmif_destroy(g_path, 0) == 0 && shmif_create(g_path, &options) == 0);
  shmif_port* sender = open_port_up("sender");
  shmif_follower* follower = follow(0);
  send_marked(sender, 7, 7);
  CHECK(take_marked(follower, 7).sender == 0xffff);
  shmif_unfollow(follower);
  shmif_close(sender);
}

static void what_cannot_be_followed_is_refused(void) {
  shmif_follower* follower = (shmif_follower*)g_path;
  CHECK(shmif_follow("/nonexistent/bus", 0, &follower) == -ENOENT && follower == NULL);
  CHECK(strstr(shmif_message(), "/nonexistent/bus") != NULL);
  CHECK(is_refused(shmif_follow(NULL, 0, &follower), "shmif_follow:"));
  CHECK(is_refused(shmif_follow(g_path, 0, NULL), "shmif_follow:"));
  follower = (shmif_follower*)g_path;
  CHECK(is_refused(shmif_follow(g_path, SHMIF_LEARN, &follower), "shmif_follow:"));
  CHECK(follower == NULL);
  follower = follow(0);
  unsigned char in[8];
  struct shmif_frame_info info = {.size = 0};
  CHECK(is_refused(shmif_follower_receive(follower, in, 0, NULL), "shmif_follower_receive:"));
  CHECK(is_refused(shmif_follower_receive(follower, in, 8, &info), "shmif_follower_receive:"));
  struct shmif_counters counters = {.size = 0};
  CHECK(is_refused(shmif_follower_get_counters(follower, NULL), "shmif_follower_get_counters:"));
  CHECK(
      is_refused(shmif_follower_get_counters(follower, &counters), "shmif_follower_get_counters:"));
  shmif_unfollow(follower);
}

const struct test_case kCases[] = {
    {"AFollowerNeedsReadPermissionOnly", a_follower_needs_read_permission_only},
    {"AFollowerHearsFramesForAll", a_follower_hears_frames_for_all_from_where_it_was_asked_to},
    {"AWaitOfAFollowerEnds", a_wait_of_a_follower_ends_when_a_frame_comes_and_in_time},
    {"AFollowerIsServedByAPollLoop", a_follower_is_served_by_a_poll_loop},
    {"AFollowerCountsWhatItLost", a_follower_counts_what_it_lost},
    {"AFollowerReadsNetbsdsFormat", a_follower_reads_netbsds_format},
    {"WhatCannotBeFollowedIsRefused", what_cannot_be_followed_is_refused},
};
const size_t kCaseCount = sizeof kCases / sizeof kCases[0];
