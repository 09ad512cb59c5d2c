/* The C facade, used from C11: what a rig that is not C++ sees. `c_api_test CASE` runs one case. */

#include "tests/shmif/c/c_api_rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>

static void a_frame_crosses_unchanged(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  unsigned char out[kFrameBytes], in[2048];
  fill_frame(out, 7);
  CHECK(shmif_send(sender, out, sizeof out) == 0);
  CHECK(shmif_wait(receiver, 10000) == 1);
  struct shmif_frame_info info = {.size = sizeof info};
  CHECK(shmif_receive(receiver, in, sizeof in, &info) == kFrameBytes);
  CHECK(memcmp(in, out, kFrameBytes) == 0);
  CHECK(info.bytes == kFrameBytes && info.truncated == 0 && info.lost == 0 && info.time_ns > 0);
  CHECK(shmif_receive(receiver, in, sizeof in, &info) == 0 && info.bytes == 0);
  CHECK(shmif_receive(sender, in, sizeof in, NULL) == 0); /* nobody hears itself */
  shmif_close(sender);
  shmif_close(receiver);
}

static void a_batch_arrives_in_order(void) {
  enum { kFrames = 200 };
  static unsigned char frames[kFrames][kFrameBytes];
  struct iovec batch[kFrames];
  for (unsigned i = 0; i < kFrames; ++i) {
    fill_frame(frames[i], (unsigned char)i);
    batch[i] = (struct iovec){.iov_base = frames[i], .iov_len = kFrameBytes};
  }
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  CHECK(shmif_send_batch(sender, batch, kFrames) == kFrames);
  unsigned char in[2048];
  for (unsigned i = 0; i < kFrames; ++i) {
    CHECK(shmif_wait(receiver, 10000) == 1);
    CHECK(shmif_receive(receiver, in, sizeof in, NULL) == kFrameBytes);
    CHECK(in[14] == i && in[kFrameBytes - 1] == i);
  }
  CHECK(shmif_wait(receiver, 0) == 0);
  struct shmif_counters sent = {.size = sizeof sent};
  struct shmif_counters heard = {.size = sizeof heard};
  CHECK(shmif_get_counters(sender, &sent) == 0 && shmif_get_counters(receiver, &heard) == 0);
  CHECK(sent.tx_frames == kFrames && sent.tx_bytes == (uint64_t)kFrames * kFrameBytes);
  CHECK(heard.rx_frames == kFrames && heard.lost_frames == 0);
  shmif_close(sender);
  shmif_close(receiver);
}

static void a_small_buffer_truncates_and_says_the_true_length(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  unsigned char out[kFrameBytes];
  unsigned char in[21];
  fill_frame(out, 9);
  memset(in, 0, sizeof in);
  CHECK(shmif_send(sender, out, sizeof out) == 0);
  struct shmif_frame_info info = {.size = sizeof info};
  CHECK(shmif_wait(receiver, 10000) == 1);
  CHECK(shmif_receive(receiver, in, 20, &info) == 20);
  CHECK(info.truncated == 1 && info.bytes == kFrameBytes);
  CHECK(memcmp(in, out, 20) == 0 && in[20] == 0);
  shmif_close(sender);
  shmif_close(receiver);
}

static void every_refusal_is_a_negative_errno_with_a_message(void) {
  unsigned char frame[2000];
  memset(frame, 0xff, sizeof frame);
  shmif_port* port = (shmif_port*)frame;
  CHECK(shmif_create(g_path, NULL) == -EEXIST);
  CHECK(strstr(shmif_message(), g_path) != NULL);
  CHECK(shmif_open("/nonexistent/bus", NULL, &port) == -ENOENT && port == NULL);
  CHECK(strstr(shmif_message(), "/nonexistent/bus") != NULL);
  CHECK(shmif_open("/dev/null", NULL, &port) == -EINVAL && port == NULL);
  CHECK(shmif_open(NULL, NULL, &port) == -EINVAL && port == NULL);

  port = open_port("alpha");
  shmif_port* second = NULL;
  const struct shmif_port_options same_name = {.size = sizeof same_name, .name = "alpha"};
  CHECK(shmif_open(g_path, &same_name, &second) == -EEXIST && second == NULL);
  CHECK(shmif_send(port, frame, kFrameBytes) == -ENETDOWN);
  CHECK(shmif_up(port) == 0);
  CHECK(shmif_send(port, frame, 13) == -EINVAL);
  CHECK(shmif_send(port, frame, 1500 + 23) == -EMSGSIZE);
  CHECK(shmif_send(port, frame, 1500 + 22) == 0);
  CHECK(shmif_receive(port, frame, 0, NULL) == -EINVAL);
  CHECK(strlen(shmif_strerror(-12345)) > 0 && strcmp(shmif_strerror(0), "no error") == 0);
  const int own[] = {EEXIST,   EAGAIN, ENOSPC, EINVAL, E2BIG, EMSGSIZE,
                     ENETDOWN, EINTR,  ENXIO,  EIO,    EPERM, EOPNOTSUPP};
  for (size_t i = 0; i < sizeof own / sizeof *own; ++i) /* not the system's text */
    CHECK(strcmp(shmif_strerror(-own[i]), strerror(own[i])) != 0);
  shmif_close(port);
  shmif_close(NULL);
}

static void a_descriptor_wakes_poll(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  unsigned char frame[kFrameBytes];
  fill_frame(frame, 3);
  struct pollfd entry = {.fd = shmif_descriptor(receiver), .events = POLLIN};
  CHECK(entry.fd >= 0);
  int at_most_ms = 0;
  CHECK(shmif_prepare_wait(receiver, &at_most_ms) == 0);
  CHECK(shmif_send(sender, frame, sizeof frame) == 0);
  CHECK(poll(&entry, 1, 10000) == 1);
  shmif_finish_wait(receiver);
  CHECK(shmif_receive(receiver, frame, sizeof frame, NULL) == kFrameBytes);

  /* Two frames come out of the ring together; the one held back must keep the next sleep short. */
  CHECK(shmif_send(sender, frame, sizeof frame) == 0 &&
        shmif_send(sender, frame, sizeof frame) == 0);
  CHECK(shmif_wait(receiver, 10000) == 1);
  CHECK(shmif_receive(receiver, frame, sizeof frame, NULL) == kFrameBytes);
  CHECK(shmif_prepare_wait(receiver, &at_most_ms) == 1 && at_most_ms == 0);
  shmif_finish_wait(receiver);
  CHECK(shmif_wait(receiver, 0) == 1);
  shmif_close(sender);
  shmif_close(receiver);
}

static void a_wait_passes_by_what_receive_would_not_bring(void) {
  shmif_port* rig = open_port_up("rig");
  shmif_port* other = open_port_up("other");
  unsigned char frame[kFrameBytes];
  fill_frame(frame, 5);
  CHECK(shmif_send(rig, frame, sizeof frame) == 0); /* its own */
  frame[0] = 0x02;                                  /* now to a unicast address of nobody */
  for (int i = 0; i < 100; ++i) CHECK(shmif_send(other, frame, sizeof frame) == 0);
  CHECK(shmif_wait(rig, 0) == 0);
  struct shmif_counters heard = {.size = sizeof heard};
  CHECK(shmif_get_counters(rig, &heard) == 0);
  CHECK(heard.own_frames == 1 && heard.filtered_frames == 100 && heard.rx_frames == 0);
  shmif_mac(rig, frame);
  CHECK(shmif_send(other, frame, sizeof frame) == 0);
  CHECK(shmif_wait(rig, 10000) == 1);
  CHECK(shmif_receive(rig, frame, sizeof frame, NULL) == kFrameBytes);
  shmif_close(rig);
  shmif_close(other);
}

static void* wait_without_end(void* port) {
  return (void*)(intptr_t)shmif_wait(port, -1);
}

static void an_interrupt_ends_a_wait_without_end(void) {
  shmif_port* port = open_port_up("waiter");
  pthread_t thread;
  void* result = (void*)(intptr_t)77;
  CHECK(pthread_create(&thread, NULL, wait_without_end, port) == 0);
  shmif_interrupt(port);
  CHECK(pthread_join(thread, &result) == 0);
  CHECK((intptr_t)result == 0);
  shmif_close(port);
}

static void an_older_caller_gets_the_members_it_knows(void) {
  /* A program built when the options ended after the name. */
  struct {
    size_t size;
    const char* name;
    unsigned char not_options[64];
  } old_options = {.size = offsetof(struct shmif_port_options, mac), .name = "old"};
  memset(old_options.not_options, 0xff, sizeof old_options.not_options);
  shmif_port* port = NULL;
  CHECK(shmif_open(g_path, (const struct shmif_port_options*)(const void*)&old_options, &port) ==
        0);
  unsigned char mac[6];
  shmif_mac(port, mac);
  CHECK(mac[0] == 0xb2 && mac[1] == 0xa0);

  struct shmif_counters counters;
  memset(&counters, 0xee, sizeof counters);
  counters.size = offsetof(struct shmif_counters, rx_frames);
  CHECK(shmif_get_counters(port, &counters) == 0);
  CHECK(counters.tx_frames == 0 && counters.rx_frames == 0xeeeeeeeeeeeeeeeeU);
  counters.size = 0;
  CHECK(shmif_get_counters(port, &counters) == -EINVAL);
  /* A program that was compiled with the first version has no room for more. */
  memset(&counters, 0xee, sizeof counters);
  counters.size = 96;
  CHECK(shmif_get_counters(port, &counters) == 0);
  CHECK(counters.size == 96 && counters.corrupt == 0);
  CHECK(counters.wakeups == 0xeeeeeeeeeeeeeeeeU);
  shmif_close(port);
}

static void every_counter_counts(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  static unsigned char frame[3000];
  fill_frame(frame, 5);
  CHECK(shmif_send(sender, frame, kFrameBytes) == 0);
  CHECK(shmif_send(sender, frame, sizeof frame) == -EMSGSIZE);
  CHECK(shmif_send(sender, frame, 13) == -EINVAL);
  CHECK(shmif_wait(receiver, 10000) == 1);
  CHECK(shmif_receive(receiver, frame, sizeof frame, NULL) == kFrameBytes);
  struct shmif_counters sent = {.size = sizeof sent};
  struct shmif_counters heard = {.size = sizeof heard};
  CHECK(shmif_get_counters(sender, &sent) == 0 && shmif_get_counters(receiver, &heard) == 0);
  CHECK(sent.tx_segments == 1 && heard.rx_segments == 1);
  CHECK(sent.too_long_frames == 1 && sent.refused_frames == 1);
  CHECK(sent.lock_sleeps == 0); /* nobody else has sent */
  CHECK(sent.wakeups == 0 && sent.doorbells == 0 && heard.wakeups == 0 && heard.doorbells == 0);
  /* Until a frame has met a receiver that was asleep, and woken it. */
  for (int i = 0; i < 10000 && (sent.doorbells == 0 || heard.wakeups == 0); ++i) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, wait_without_end, receiver) == 0);
    usleep(1000);
    CHECK(shmif_send(sender, frame, kFrameBytes) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(shmif_receive(receiver, frame, sizeof frame, NULL) == kFrameBytes);
    CHECK(shmif_get_counters(sender, &sent) == 0 && shmif_get_counters(receiver, &heard) == 0);
  }
  CHECK(sent.doorbells > 0 && heard.doorbells == 0);
  CHECK(heard.wakeups > 0 && sent.wakeups == 0);
  CHECK(sent.pauses == 0 && sent.paused_ns == 0); /* this bus has no patience */
  shmif_close(sender);
  shmif_close(receiver);
}

static void try_send_takes_what_fits_where_senders_have_patience(void) {
  enum { kFull = 10000 };
  unlink(g_path);
  const struct shmif_bus_options options = {
      .size = sizeof options, .ring_bytes = 1 << 16, .patience_ns = 1000000000};
  CHECK(shmif_create(g_path, &options) == 0);
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  unsigned char out[kFrameBytes];
  unsigned char in[kFrameBytes];
  fill_frame(out, 1);
  struct iovec batch = {out, sizeof out};
  int sent = 0;
  while (sent < kFull && shmif_try_send_batch(sender, &batch, 1) == 1) ++sent;
  CHECK(sent > 0 && sent < kFull);
  CHECK(shmif_try_send_batch(sender, &batch, 1) == 0);
  struct shmif_counters counters = {.size = sizeof counters};
  CHECK(shmif_get_counters(sender, &counters) == 0);
  CHECK(counters.pauses == 1 && counters.paused_ns > 0);
  CHECK(shmif_receive(sender, in, sizeof in, NULL) == 0); /* it is waited for, too */
  int heard = 0;
  while (shmif_receive(receiver, in, sizeof in, NULL) > 0) ++heard;
  CHECK(heard == sent);
  CHECK(shmif_try_send_batch(sender, &batch, 1) == 1);
  shmif_close(sender);
  shmif_close(receiver);
}

static void a_port_says_what_it_is_and_can_be_changed(void) {
  const struct shmif_port_options options = {
      .size = sizeof options, .name = "rig", .mac = {2, 0, 0, 0, 0, 1}};
  shmif_port* rig = NULL;
  CHECK(shmif_open(g_path, &options, &rig) == 0);
  CHECK(strcmp(shmif_name(rig), "rig") == 0);
  CHECK(shmif_mtu(rig) == 1500 && shmif_max_frame_bytes(rig) == 1500 + 22);
  shmif_port* other = open_port_up(NULL);
  CHECK(strcmp(shmif_name(other), "port0") == 0 && shmif_slot(other) != shmif_slot(rig));

  const unsigned char group[6] = {1, 0, 0, 0, 0, 1};
  const unsigned char zeros[6] = {0};
  const unsigned char mine[6] = {2, 0, 0, 0, 0, 7};
  unsigned char mac[6];
  CHECK(shmif_set_mac(rig, group) == -EINVAL && strstr(shmif_message(), "00:01: it is not a uni"));
  CHECK(shmif_set_mac(rig, zeros) == -EINVAL);
  shmif_mac(other, mac);
  CHECK(shmif_set_mac(rig, mac) == -EEXIST);
  CHECK(shmif_set_mac(rig, mine) == 0);
  shmif_mac(rig, mac);
  CHECK(memcmp(mac, mine, 6) == 0);
  shmif_port* refused = NULL;
  struct shmif_port_options of_a_group = {.size = sizeof of_a_group};
  memcpy(of_a_group.mac, group, 6);
  CHECK(shmif_open(g_path, &of_a_group, &refused) == -EINVAL && refused == NULL);
  CHECK(strstr(shmif_message(), "unicast") != NULL);

  CHECK(shmif_up(rig) == 0);
  unsigned char frame[kFrameBytes];
  unsigned char in[kFrameBytes];
  struct shmif_frame_info info = {.size = sizeof info};
  fill_frame(frame, 1);
  memcpy(frame, mine, 6);
  CHECK(shmif_send(other, frame, sizeof frame) == 0);
  CHECK(shmif_receive(rig, in, sizeof in, &info) == kFrameBytes);
  CHECK(info.sender == shmif_slot(other));
  frame[5] = 8; /* nobody's */
  CHECK(shmif_send(other, frame, sizeof frame) == 0 &&
        shmif_receive(rig, in, sizeof in, NULL) == 0);
  CHECK(shmif_set_promiscuous(rig, 2) == 0);
  CHECK(shmif_send(other, frame, sizeof frame) == 0);
  CHECK(shmif_receive(rig, in, sizeof in, NULL) == kFrameBytes);
  CHECK(shmif_set_promiscuous(rig, 0) == 0);
  CHECK(shmif_send(other, frame, sizeof frame) == 0 &&
        shmif_receive(rig, in, sizeof in, NULL) == 0);
  shmif_close(rig);
  shmif_close(other);
}

static void a_bus_is_made_where_it_is_missing_and_removed(void) {
  const struct shmif_bus_options large = {.size = sizeof large, .mtu = 9000};
  const struct shmif_bus_options other_size = {.size = sizeof other_size, .ring_bytes = 1 << 16};
  shmif_port* first = NULL;
  shmif_port* second = NULL;
  CHECK(shmif_destroy(g_path, 0) == 0);
  CHECK(shmif_destroy(g_path, 0) == -ENOENT);
  CHECK(shmif_open_or_create(g_path, &large, NULL, &first) == 0);
  CHECK(shmif_mtu(first) == 9000);
  CHECK(shmif_open_or_create(g_path, NULL, NULL, &second) == 0);
  CHECK(shmif_mtu(second) == 9000);
  shmif_close(second);
  CHECK(shmif_open_or_create(g_path, &other_size, NULL, &second) == -EINVAL && second == NULL);
  CHECK(strstr(shmif_message(), g_path) != NULL);
  CHECK(shmif_open_or_create(NULL, NULL, NULL, &second) == -EINVAL);
  CHECK(shmif_destroy(g_path, 0) == -EBUSY);
  CHECK(shmif_destroy(g_path, 2) == 0 && access(g_path, F_OK) != 0);
  shmif_close(first);
}

static void a_batch_is_received_into_buffers_of_its_own(void) {
  enum { kFrames = 100, kRoom = 40 };
  static unsigned char buffers[kFrames][kFrameBytes];
  struct iovec into[kFrames];
  struct shmif_frame_info infos[kFrames];
  for (unsigned i = 0; i < kFrames; ++i)
    into[i] = (struct iovec){.iov_base = buffers[i], .iov_len = i == 70 ? kRoom : kFrameBytes};
  infos[0].size = sizeof infos[0];
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  CHECK(shmif_receive_batch(receiver, into, infos, kFrames) == 0);
  unsigned char out[kFrameBytes];
  for (unsigned i = 0; i < kFrames + 5; ++i) {
    fill_frame(out, (unsigned char)i);
    CHECK(shmif_send(sender, out, sizeof out) == 0);
  }
  memset(buffers[70], 0xee, kFrameBytes);
  CHECK(shmif_receive_batch(receiver, into, infos, kFrames) == kFrames);
  for (unsigned i = 0; i < kFrames; ++i) {
    CHECK(buffers[i][14] == i && infos[i].number == i && infos[i].size == sizeof infos[0]);
    CHECK(infos[i].bytes == kFrameBytes && infos[i].truncated == (i == 70));
    CHECK(infos[i].sender == shmif_slot(sender) && infos[i].lost == 0);
  }
  CHECK(buffers[70][kRoom - 1] == 70 && buffers[70][kRoom] == 0xee);
  CHECK(shmif_receive_batch(receiver, into, NULL, kFrames) == 5);
  CHECK(buffers[4][14] == kFrames + 4);
  into[3].iov_len = 0;
  CHECK(shmif_receive_batch(receiver, into, NULL, kFrames) == -EINVAL);
  shmif_close(sender);
  shmif_close(receiver);
}

static void frames_are_lent_until_they_are_released_or_overwritten(void) {
  enum { kFrames = 40, kBatch = 32, kLap = 20000 };
  struct iovec frames[kBatch];
  struct shmif_frame_info infos[kBatch];
  infos[0].size = sizeof infos[0];
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  unsigned char out[kFrameBytes];
  for (unsigned i = 0; i < kFrames; ++i) {
    fill_frame(out, (unsigned char)i);
    CHECK(shmif_send(sender, out, sizeof out) == 0);
  }
  CHECK(shmif_receive_in_place(receiver, frames, infos, kBatch) == kBatch);
  for (unsigned i = 0; i < kBatch; ++i) {
    CHECK(frames[i].iov_len == kFrameBytes && ((unsigned char*)frames[i].iov_base)[14] == i);
    CHECK(infos[i].bytes == kFrameBytes && infos[i].number == i);
  }
  CHECK(shmif_release(receiver) == 0 && shmif_release(receiver) == 0);
  CHECK(shmif_receive_in_place(receiver, frames, NULL, kBatch) == kFrames - kBatch);
  for (unsigned i = 0; i < kLap; ++i) CHECK(shmif_send(sender, out, sizeof out) == 0);
  CHECK(shmif_release(receiver) == kFrames - kBatch);
  struct shmif_frame_info info = {.size = sizeof info};
  CHECK(shmif_receive(receiver, out, sizeof out, &info) == kFrameBytes && info.lost > 0);
  struct shmif_counters heard = {.size = sizeof heard};
  CHECK(shmif_get_counters(receiver, &heard) == 0);
  CHECK(heard.lost_frames == info.lost);
  shmif_close(sender);
  shmif_close(receiver);
}

static void under_the_guard_a_truncated_bus_is_an_error(void) {
  unsigned char frame[kFrameBytes];
  fill_frame(frame, 1);
  CHECK(shmif_install_sigbus_guard() == 0 && shmif_install_sigbus_guard() == 0);
  shmif_port* port = open_port_up("port");
  CHECK(truncate(g_path, 0) == 0);
  CHECK(shmif_send(port, frame, sizeof frame) == -EIO);
  shmif_close(port);
}

static unsigned mode_of_bus(void) {
  struct stat status;
  CHECK(stat(g_path, &status) == 0);
  return status.st_mode & 07777U;
}

static void a_bus_has_the_mode_that_was_asked_for_whatever_the_umask(void) {
  const struct shmif_bus_options group = {.size = sizeof group, .mode = 0664};
  umask(077);
  CHECK(mode_of_bus() == 0600); /* nothing was asked for */
  CHECK(shmif_destroy(g_path, 0) == 0);
  CHECK(shmif_create(g_path, &group) == 0);
  CHECK(mode_of_bus() == 0664);
  CHECK(shmif_destroy(g_path, 0) == 0);
  shmif_port* port = NULL;
  CHECK(shmif_open_or_create(g_path, &group, NULL, &port) == 0);
  CHECK(mode_of_bus() == 0664);
  shmif_close(port);
}

static void after_an_overrun_a_port_goes_on_with_the_oldest_frame_or_with_the_next(void) {
  enum { kLap = 40000 };
  shmif_port* sender = open_port_up("sender");
  shmif_port* oldest = open_port_up("oldest");
  shmif_port* newest = open_port_with("newest", SHMIF_RESUME_NEWEST);
  unsigned char in[kFrameBytes];
  struct shmif_frame_info info = {.size = sizeof info};
  send_many(sender, kLap);

  CHECK(shmif_receive(oldest, in, sizeof in, &info) == kFrameBytes);
  CHECK(info.lost > 0 && info.lost == info.number && info.number < kLap - 1);
  const struct shmif_counters some = counters_of(oldest);
  CHECK(some.overruns == 1 && some.lost_frames == info.lost);
  /* A record has a header of 32 bytes and ends at a multiple of 32. A lap ends with some padding.
   */
  CHECK(some.lost_bytes >= info.lost * 96 && some.lost_bytes < info.lost * 96 + 1000);

  CHECK(shmif_receive(newest, in, sizeof in, &info) == 0);
  CHECK(info.bytes == 0 && info.lost == kLap);
  const struct shmif_counters all = counters_of(newest);
  CHECK(all.overruns == 1 && all.lost_frames == kLap && all.lost_bytes > some.lost_bytes);
  send_many(sender, 1);
  CHECK(shmif_receive(newest, in, sizeof in, &info) == kFrameBytes);
  CHECK(info.number == kLap && info.lost == 0);
  shmif_close(sender);
  shmif_close(oldest);
  shmif_close(newest);
}

/** How much memory this process has locked, in KiB. */
static long locked_kib(void) {
  long locked = -1;
  char line[256];
  FILE* const status = fopen("/proc/self/status", "re");
  CHECK(status != NULL);
  while (fgets(line, sizeof line, status) != NULL) sscanf(line, "VmLck: %ld", &locked);
  fclose(status);
  return locked;
}

static void each_flag_of_a_port_makes_it_what_it_says(void) {
  shmif_port* sender = open_port_up("sender");
  unsigned char frame[kFrameBytes];
  unsigned char in[kFrameBytes];
  send_many(sender, 3);
  shmif_port* plain = open_port_up("plain");
  shmif_port* oldest = open_port_with("oldest", SHMIF_START_OLDEST);
  CHECK(shmif_receive(plain, in, sizeof in, NULL) == 0);
  CHECK(shmif_receive(oldest, in, sizeof in, NULL) == kFrameBytes && in[14] == 0);

  const unsigned char behind_it[6] = {2, 0, 0, 0, 0, 9};
  shmif_port* learner = open_port_with("learner", SHMIF_LEARN);
  shmif_port* ear = open_port_with("ear", SHMIF_PROMISCUOUS);
  fill_frame(frame, 1);
  memcpy(frame + 6, behind_it, 6);
  CHECK(shmif_send(plain, frame, sizeof frame) == 0); /* from which plain learns nothing */
  CHECK(shmif_send(learner, frame, sizeof frame) == 0);
  while (shmif_receive(plain, in, sizeof in, NULL) > 0) continue;
  while (shmif_receive(learner, in, sizeof in, NULL) > 0) continue;
  while (shmif_receive(ear, in, sizeof in, NULL) > 0) continue;
  memcpy(frame, behind_it, 6);
  CHECK(shmif_send(sender, frame, sizeof frame) == 0);
  CHECK(shmif_receive(plain, in, sizeof in, NULL) == 0);
  CHECK(shmif_receive(learner, in, sizeof in, NULL) == kFrameBytes);
  CHECK(shmif_receive(ear, in, sizeof in, NULL) == kFrameBytes);
  const struct shmif_port_options lock = {.size = sizeof lock, .flags = SHMIF_LOCK_MEMORY};
  shmif_port* locked = NULL;
  CHECK(locked_kib() == 0);
  const int result = shmif_open(g_path, &lock, &locked);
#ifdef SANITIZED
  CHECK(result == 0); /* sanitizers make mlock() do nothing */
#else
  CHECK(result == 0 ? locked_kib() >= 1024 : strstr(shmif_message(), "ulimit -l") != NULL);
#endif
  shmif_close(locked);
  shmif_close(sender);
  shmif_close(plain);
  shmif_close(oldest);
  shmif_close(learner);
  shmif_close(ear);
}

static void what_was_received_before_going_down_is_gone(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  unsigned char in[kFrameBytes];
  struct iovec lent[4];
  send_many(sender, 4);
  CHECK(shmif_receive(receiver, in, sizeof in, NULL) == kFrameBytes); /* the port keeps three */
  CHECK(shmif_down(receiver) == 0);
  CHECK(shmif_receive(receiver, in, sizeof in, NULL) == 0 && shmif_wait(receiver, 0) == 0);
  CHECK(shmif_up(receiver) == 0);
  CHECK(shmif_receive(receiver, in, sizeof in, NULL) == 0 && shmif_wait(receiver, 0) == 0);
  /* Frames that somebody may be reading stay. */
  send_many(sender, 4);
  CHECK(shmif_receive_in_place(receiver, lent, NULL, 4) == 4);
  CHECK(shmif_down(receiver) == 0);
  for (unsigned i = 0; i < 4; ++i) CHECK(((unsigned char*)lent[i].iov_base)[14] == i);
  CHECK(shmif_release(receiver) == 0);
  CHECK(shmif_up(receiver) == 0 && shmif_receive(receiver, in, sizeof in, NULL) == 0);
  shmif_close(sender);
  shmif_close(receiver);
}

static void* wait_a_minute(void* port) {
  return (void*)(intptr_t)shmif_wait(port, 60000);
}

static void waits_are_in_milliseconds(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  unsigned char in[kFrameBytes];
  pthread_t thread;
  void* result = NULL;
  CHECK(pthread_create(&thread, NULL, wait_a_minute, receiver) == 0);
  usleep(200000); /* longer than 60000 of any smaller unit */
  send_many(sender, 1);
  CHECK(pthread_join(thread, &result) == 0 && (intptr_t)result == 1);
  CHECK(shmif_receive(receiver, in, sizeof in, NULL) == kFrameBytes);

  /* A sleeper looks up every 50 ms until the bus was idle for a second. 0 would mean no sleep. */
  int at_most_ms = 0;
  for (int looks = 0; looks < 10000 && at_most_ms != -1; ++looks) {
    CHECK(shmif_prepare_wait(receiver, &at_most_ms) == 0);
    CHECK(at_most_ms == 50 || (at_most_ms == -1 && looks > 0));
    shmif_finish_wait(receiver);
    usleep(10000);
  }
  CHECK(at_most_ms == -1);
  shmif_close(sender);
  shmif_close(receiver);
}

static void a_structure_of_size_0_and_a_path_that_is_none_are_refused(void) {
  const struct shmif_bus_options no_bus = {.size = 0, .mtu = 9000};
  const struct shmif_port_options no_options = {.size = 0, .name = "rig"};
  struct shmif_frame_info no_info = {.size = 0};
  struct shmif_counters no_counters = {.size = 0};
  unsigned char in[kFrameBytes];
  struct iovec into = {in, sizeof in};
  shmif_port* port = NULL;
  CHECK(is_refused(shmif_open(g_path, &no_options, &port), "shmif_open:") && port == NULL);
  CHECK(is_refused(shmif_open(NULL, NULL, &port), "shmif_open:") && port == NULL);
  CHECK(is_refused(shmif_open(g_path, NULL, NULL), "shmif_open:"));
  CHECK(shmif_destroy(g_path, 0) == 0);
  CHECK(is_refused(shmif_destroy(NULL, 0), "shmif_destroy:"));
  CHECK(is_refused(shmif_create(g_path, &no_bus), "shmif_create:"));
  CHECK(is_refused(shmif_create(NULL, NULL), "shmif_create:"));
  const char* const call = "shmif_open_or_create:";
  CHECK(is_refused(shmif_open_or_create(g_path, &no_bus, NULL, &port), call) && port == NULL);
  CHECK(is_refused(shmif_open_or_create(g_path, NULL, &no_options, &port), call) && port == NULL);
  CHECK(is_refused(shmif_open_or_create(NULL, NULL, NULL, &port), call) && port == NULL);
  CHECK(is_refused(shmif_open_or_create(g_path, NULL, NULL, NULL), call));
  CHECK(access(g_path, F_OK) != 0); /* none of them made a bus */
  CHECK(shmif_open_or_create(g_path, NULL, NULL, &port) == 0 && shmif_up(port) == 0);
  CHECK(is_refused(shmif_receive(port, in, sizeof in, &no_info), "shmif_receive:"));
  CHECK(is_refused(shmif_receive_batch(port, &into, &no_info, 1), "shmif_receive_batch:"));
  CHECK(is_refused(shmif_receive_in_place(port, &into, &no_info, 1), "shmif_receive_in_place:"));
  CHECK(is_refused(shmif_receive_in_place(port, &into, NULL, 0), "shmif_receive_in_place:"));
  CHECK(is_refused(shmif_get_counters(port, &no_counters), "shmif_get_counters:"));
  CHECK(is_refused(shmif_get_counters(port, NULL), "shmif_get_counters:"));
  shmif_close(port);
}

static void frames_come_in_order_however_the_next_are_received(void) {
  enum { kRoom = 16 };
  static unsigned char buffers[kRoom][kFrameBytes];
  struct iovec into[kRoom];
  struct iovec lent[kRoom];
  struct shmif_frame_info infos[kRoom];
  for (unsigned i = 0; i < kRoom; ++i) into[i] = (struct iovec){buffers[i], kFrameBytes};
  infos[0].size = sizeof infos[0];
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  send_marked(sender, 0, 5);
  CHECK(shmif_receive(receiver, buffers[0], kFrameBytes, NULL) == kFrameBytes);
  CHECK(buffers[0][14] == 0); /* the port keeps five */
  send_marked(sender, 6, 7);
  CHECK(shmif_receive_batch(receiver, into, infos, 3) == 3);
  for (unsigned i = 0; i < 3; ++i) CHECK(buffers[i][14] == 1 + i && infos[i].number == 1 + i);
  CHECK(shmif_receive_in_place(receiver, lent, infos, kRoom) == 2);
  for (unsigned i = 0; i < 2; ++i)
    CHECK(((unsigned char*)lent[i].iov_base)[14] == 4 + i && infos[i].number == 4 + i);
  CHECK(shmif_receive_in_place(receiver, lent, infos, kRoom) == 2);
  for (unsigned i = 0; i < 2; ++i)
    CHECK(((unsigned char*)lent[i].iov_base)[14] == 6 + i && infos[i].number == 6 + i);
  CHECK(shmif_release(receiver) == 0);
  send_marked(sender, 8, 11);
  CHECK(shmif_receive(receiver, buffers[0], kFrameBytes, NULL) == kFrameBytes);
  CHECK(buffers[0][14] == 8);
  send_marked(sender, 12, 13);
  CHECK(shmif_receive_batch(receiver, into, infos, kRoom) == 5);
  for (unsigned i = 0; i < 5; ++i) CHECK(buffers[i][14] == 9 + i && infos[i].number == 9 + i);
  CHECK(shmif_wait(receiver, 0) == 0);
  shmif_close(sender);
  shmif_close(receiver);
}

static void library_and_header_are_of_one_version(void) {
  CHECK(strcmp(shmif_version(), SHMIF_HEADER_VERSION) == 0);
}

const struct test_case kCases[] = {
    {"APortSaysWhatItIsAndCanBeChanged", a_port_says_what_it_is_and_can_be_changed},
    {"EveryCounterCounts", every_counter_counts},
    {"ABusIsMadeWhereItIsMissingAndRemoved", a_bus_is_made_where_it_is_missing_and_removed},
    {"ABatchIsReceivedIntoBuffersOfItsOwn", a_batch_is_received_into_buffers_of_its_own},
    {"FramesAreLentUntilTheyAreReleasedOrOverwritten",
     frames_are_lent_until_they_are_released_or_overwritten},
    {"UnderTheGuardATruncatedBusIsAnError", under_the_guard_a_truncated_bus_is_an_error},
    {"LibraryAndHeaderAreOfOneVersion", library_and_header_are_of_one_version},
    {"TrySendTakesWhatFitsWhereSendersHavePatience",
     try_send_takes_what_fits_where_senders_have_patience},
    {"ABusHasTheModeThatWasAskedForWhateverTheUmask",
     a_bus_has_the_mode_that_was_asked_for_whatever_the_umask},
    {"AfterAnOverrunAPortGoesOnWithTheOldestFrameOrWithTheNext",
     after_an_overrun_a_port_goes_on_with_the_oldest_frame_or_with_the_next},
    {"EachFlagOfAPortMakesItWhatItSays", each_flag_of_a_port_makes_it_what_it_says},
    {"WhatWasReceivedBeforeGoingDownIsGone", what_was_received_before_going_down_is_gone},
    {"WaitsAreInMilliseconds", waits_are_in_milliseconds},
    {"AStructureOfSizeNoughtAndAPathThatIsNoneAreRefused",
     a_structure_of_size_0_and_a_path_that_is_none_are_refused},
    {"FramesComeInOrderHoweverTheNextAreReceived",
     frames_come_in_order_however_the_next_are_received},
    {"AFrameCrossesUnchanged", a_frame_crosses_unchanged},
    {"ABatchArrivesInOrder", a_batch_arrives_in_order},
    {"ASmallBufferTruncatesAndSaysTheTrueLength",
     a_small_buffer_truncates_and_says_the_true_length},
    {"EveryRefusalIsANegativeErrnoWithAMessage", every_refusal_is_a_negative_errno_with_a_message},
    {"ADescriptorWakesPoll", a_descriptor_wakes_poll},
    {"AWaitPassesByWhatReceiveWouldNotBring", a_wait_passes_by_what_receive_would_not_bring},
    {"AnInterruptEndsAWaitWithoutEnd", an_interrupt_ends_a_wait_without_end},
    {"AnOlderCallerGetsTheMembersItKnows", an_older_caller_gets_the_members_it_knows},
};
const size_t kCaseCount = sizeof kCases / sizeof kCases[0];
