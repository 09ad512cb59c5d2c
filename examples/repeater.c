/*
 * A repeater in C: it passes all frames of one bus to another in batches, until a signal ends it.
 * While no frame comes, it sleeps in poll(). A monitor on the second bus reads the frames in place,
 * without a copy. Exit status 0: every frame arrived once and whole.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <shmif/shmif.h>

enum { kFrames = 10000, kBatch = 32, kFrameBytes = 300, kRoom = 2048 };

static int fail(const char* what, int result) {
  fprintf(stderr, "repeater: %s: %s (%s)\n", what, shmif_message(), shmif_strerror(result));
  return 1;
}

/* A port of the repeater, for the signal handler. */
static shmif_port* left_port;
static volatile sig_atomic_t asked_to_end;

static void on_signal(int number) {
  (void)number;
  asked_to_end = 1;
  shmif_interrupt(left_port); /* ends the present sleep, or else the next one */
}

/* Creates a bus for this process alone, and attaches two ports. They keep the bus, so it no longer
 * needs a name. */
static int make_bus(const char* name, shmif_port* ports[2]) {
  const struct shmif_bus_options bus = {.size = sizeof bus, .ring_bytes = 1 << 22};
  char path[64];
  int result;
  snprintf(path, sizeof path, "/dev/shm/%s.%ld", name, (long)getpid());
  if ((result = shmif_create(path, &bus)) < 0) return result;
  for (int i = 0; i < 2; ++i) {
    if ((result = shmif_open(path, NULL, &ports[i])) < 0 || (result = shmif_up(ports[i])) < 0)
      return result;
  }
  return shmif_destroy(path, 1);
}

/* Passes on the frames that have arrived. Result: how many, or an error. */
static int pass_on(shmif_port* from, shmif_port* to) {
  static unsigned char bytes[kBatch][kRoom];
  struct shmif_frame_info infos[kBatch] = {{.size = sizeof infos[0]}};
  struct iovec frames[kBatch];
  for (int i = 0; i < kBatch; ++i) frames[i] = (struct iovec){bytes[i], kRoom};
  const int count = shmif_receive_batch(from, frames, infos, kBatch);
  for (int i = 0; i < count; ++i) frames[i].iov_len = infos[i].bytes;
  /* If one frame cannot be sent, the call sends only those before it. */
  for (int sent = 0; sent < count;) {
    const int more = shmif_send_batch(to, frames + sent, (size_t)(count - sent));
    if (more < 0) return more;
    sent += more;
  }
  return count;
}

/* Sleeps until a frame may have come, or a signal. A program that waits for more adds its
 * descriptors to `entry`. */
static void sleep_on(shmif_port* port) {
  struct pollfd entry = {.fd = shmif_descriptor(port), .events = POLLIN};
  int at_most_ms;
  if (shmif_prepare_wait(port, &at_most_ms) == 0) poll(&entry, 1, at_most_ms);
  shmif_finish_wait(port);
}

/* Adds up the numbers in the frames that have arrived. The sum counts only if release says that no
 * frame was overwritten while it was read. Result: how many frames, or an error. */
static int look(shmif_port* port, unsigned long long* sum) {
  struct iovec frames[kBatch];
  struct shmif_frame_info infos[kBatch] = {{.size = sizeof infos[0]}};
  unsigned long long here = 0;
  const int count = shmif_receive_in_place(port, frames, infos, kBatch);
  for (int i = 0; i < count; ++i) {
    unsigned number;
    memcpy(&number, (const unsigned char*)frames[i].iov_base + 14, sizeof number);
    here += number;
  }
  if (count > 0 && (infos[0].lost > 0 || shmif_release(port) > 0)) return -EIO;
  *sum += here;
  return count;
}

int main(void) {
  shmif_port *left[2], *right[2]; /* the first port on each bus is the repeater's */
  const unsigned char repeater_mac[6] = {0x02, 0, 0, 0, 0, 0x01};
  unsigned long long sum = 0;
  unsigned sent = 0, seen = 0;
  int result;

  if (strcmp(shmif_version(), SHMIF_HEADER_VERSION) != 0)
    fprintf(stderr, "repeater: built for %s, runs with %s\n", SHMIF_HEADER_VERSION,
            shmif_version());
  /* If somebody truncates a bus file, its ports fail, but this process goes on. */
  if ((result = shmif_install_sigbus_guard()) < 0) return fail("guard", result);
  if ((result = make_bus("repeater.left", left)) < 0) return fail("left bus", result);
  if ((result = make_bus("repeater.right", right)) < 0) return fail("right bus", result);
  if (shmif_max_frame_bytes(right[0]) < shmif_max_frame_bytes(left[0]))
    return fprintf(stderr, "repeater: the frames of the left bus are too long for the right one\n"),
           1;
  /* A repeater receives frames for others. Its own address serves only to manage it. */
  if ((result = shmif_set_mac(left[0], repeater_mac)) < 0) return fail("address", result);
  if ((result = shmif_set_promiscuous(left[0], 1)) < 0 ||
      (result = shmif_set_promiscuous(right[1], 1)) < 0)
    return fail("promiscuous mode", result);
  left_port = left[0];
  signal(SIGTERM, on_signal);

  while (!asked_to_end) {
    /* In a rig, these would be separate programs: a sender and a monitor. */
    unsigned char frame[kFrameBytes] = {0x02, 0, 0, 0, 0, 0x02};
    shmif_mac(left[1], frame + 6);
    frame[12] = 0x88; /* EtherType 0x88B5: local experiments */
    frame[13] = 0xb5;
    for (int i = 0; i < kBatch && sent < kFrames; ++i) {
      ++sent;
      memcpy(frame + 14, &sent, sizeof sent);
      if ((result = shmif_send(left[1], frame, sizeof frame)) < 0) return fail("send", result);
    }
    while ((result = pass_on(left[0], right[0])) > 0) {
    }
    if (result < 0) return fail("pass on", result);
    while ((result = look(right[1], &sum)) > 0) seen += (unsigned)result;
    if (result < 0) return fail("look", result);
    if (seen == kFrames) raise(SIGTERM);
    if (sent == kFrames) sleep_on(left[0]);
  }

  struct shmif_counters counters = {.size = sizeof counters};
  if ((result = shmif_get_counters(right[0], &counters)) < 0) return fail("counters", result);
  printf("%s in slot %u passed %llu frames on; %u arrived\n", shmif_name(right[0]),
         (unsigned)shmif_slot(right[0]), (unsigned long long)counters.tx_frames, seen);
  const int right_sum = sum == (unsigned long long)kFrames * (kFrames + 1) / 2;
  for (int i = 0; i < 2; ++i) {
    if ((result = shmif_down(left[i])) < 0) return fail("down", result);
    shmif_close(left[i]);
    shmif_close(right[i]);
  }
  return seen == kFrames && counters.tx_frames == kFrames && right_sum ? 0 : 1;
}
