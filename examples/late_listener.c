/*
 * A listener in C that attaches late. It reads all frames that are still in the ring of a bus, even
 * those for others. It does so on a bus of each format: our own, and that of NetBSD's rump kernels.
 * Exit status 0: it got every frame, and an ordinary port that attached at the same time got no
 * frame.
 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <shmif/shmif.h>

enum { kFrames = 100, kFrameBytes = 60 };

static int fail(const char* what) {
  fprintf(stderr, "late_listener: %s: %s\n", what, shmif_message());
  return -1;
}

/* Attaches a port with these flags, and brings it up. */
static shmif_port* open_port(const char* path, const char* name, unsigned flags) {
  const struct shmif_port_options options = {.size = sizeof options, .name = name, .flags = flags};
  shmif_port* port;
  if (shmif_open(path, &options, &port) < 0) return NULL;
  if (shmif_up(port) == 0) return port;
  shmif_close(port);
  return NULL;
}

/* Result: how many frames of the sender the port got, in order; less than 0 on failure. */
static int receive_all(shmif_port* port) {
  unsigned char frame[2048];
  struct shmif_frame_info info = {.size = sizeof info};
  int frames = 0, result;
  while ((result = shmif_receive(port, frame, sizeof frame, &info)) > 0) {
    if (info.lost > 0 || frame[14] != frames) return -1;
    ++frames;
  }
  return result < 0 ? result : frames;
}

/* Result: 0 if the listener on a bus of this format got all frames. */
static int listen_late(const char* path, const char* about) {
  unsigned char frame[kFrameBytes] = {0x02, 0, 0, 0, 0, 0x09}; /* for an absent host */
  shmif_port* const sender = open_port(path, "sender", 0);
  if (sender == NULL) return fail("sender");
  shmif_mac(sender, frame + 6);
  frame[12] = 0x88; /* EtherType 0x88B5: local experiments */
  frame[13] = 0xb5;
  for (int i = 0; i < kFrames; ++i) {
    frame[14] = (unsigned char)i;
    if (shmif_send(sender, frame, sizeof frame) < 0) return fail("send");
  }
  /* The listener begins with the oldest frame in the ring. If senders overwrite frames that it has
   * not read, it goes on with the next frame that is sent. The other port begins with the next
   * frame. */
  shmif_port* const listener =
      open_port(path, "listener", SHMIF_PROMISCUOUS | SHMIF_START_OLDEST | SHMIF_RESUME_NEWEST);
  shmif_port* const other = open_port(path, "other", 0);
  if (listener == NULL || other == NULL) return fail("listener");
  const int heard = receive_all(listener), others = receive_all(other);
  printf("%s: %d frames were sent, the late listener got %d, the other port %d\n", about, kFrames,
         heard, others);
  shmif_close(sender);
  shmif_close(listener);
  shmif_close(other);
  return heard == kFrames && others == 0 ? 0 : -1;
}

int main(void) {
  const struct shmif_bus_options netbsd = {.size = sizeof netbsd, .format = SHMIF_FORMAT_NETBSD};
  const struct shmif_bus_options own = {.size = sizeof own, .format = SHMIF_FORMAT_SHMIF};
  const struct shmif_bus_options* const all[] = {&own, &netbsd};
  char path[64];
  int status = 0;
  snprintf(path, sizeof path, "/dev/shm/late_listener.%ld", (long)getpid());
  for (int i = 0; i < 2; ++i) {
    if (shmif_create(path, all[i]) < 0) return fail("create"), 1;
    if (listen_late(path, i == 0 ? "our own format" : "NetBSD's format") < 0) status = 1;
    if (shmif_destroy(path, 1) < 0) return fail("destroy"), 1;
  }
  return status;
}
