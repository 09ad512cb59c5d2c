/*
 * libvdeplug_shmif.so: lets every program that uses libvdeplug (QEMU's -netdev vde, vdens,
 * vde_plug) join a bus. libvdeplug loads it for an address such as
 *
 *     shmif:///dev/shm/bus0
 *     shmif:///dev/shm/bus0[vm1]     with vm1 as the name of the port
 *
 * libvdeplug looks for this plugin where it was installed, and in $VDEPLUGIN_PATH. For each
 * connection, a program calls it from one thread at a time.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libvdeplug_mod.h>

#include "shmif/shmif.h"

/* It begins like libvdeplug's own struct vdeconn. */
struct shmif_connection {
  void* handle;
  struct vdeplug_module* module;
  shmif_port* port;
  int descriptor;
};

/* The longest time from the wakeup of a frame's reader to the frame's commit. */
enum { kCommitMs = 1 };
enum { kMaxDropped = 64 };

static struct shmif_connection* of(VDECONN* connection) {
  return (struct shmif_connection*)connection;
}

/* Sets errno from a result of the library. Result: -1. */
static int failed(int result) {
  errno = -result;
  return -1;
}

/* Cuts the name in brackets off `url`. Result: the name, or NULL if there is none. */
static const char* take_name(char* url) {
  char* const open = strrchr(url, '[');
  char* const close = open != NULL ? strchr(open, ']') : NULL;
  if (close == NULL || close[1] != '\0') return NULL;
  *open = *close = '\0';
  return open[1] != '\0' ? open + 1 : NULL;
}

/* `url` is a copy of the text after "shmif://", so this function may change it. */
static VDECONN* open_shmif(char* url, char* description, int version, struct vde_open_args* more) {
  (void)description;
  (void)version;
  (void)more;
  struct shmif_connection* const made = calloc(1, sizeof *made);
  if (made == NULL) return NULL;
  const struct shmif_port_options options = {
      .size = sizeof options, .name = take_name(url), .flags = SHMIF_LEARN};
  int result = shmif_open(url, &options, &made->port);
  if (result == 0) result = shmif_up(made->port);
  if (result == 0) result = made->descriptor = shmif_fd(made->port);
  if (result < 0) {
    shmif_close(made->port);
    free(made);
    failed(result);
    return NULL;
  }
  return (VDECONN*)made;
}

/* Receives the next frame that fits. Drops longer frames, at most kMaxDropped in one call. Result:
 * that of shmif_receive(). */
static int take_whole(shmif_port* port, void* buffer, size_t room) {
  for (int dropped = 0; dropped <= kMaxDropped; ++dropped) {
    struct shmif_frame_info info = {.size = sizeof info};
    const int got = shmif_receive(port, buffer, room, &info);
    if (got <= 0 || info.truncated == 0) return got;
  }
  return 0;
}

/* Result: the frame's length. If there is no frame, 1, which libvdeplug's programs ignore. On an
 * error, -1 and errno. */
static ssize_t receive_shmif(VDECONN* connection, void* buffer, size_t room, int flags) {
  shmif_port* const port = of(connection)->port;
  int got = take_whole(port, buffer, room);
  if (got == 0 && (flags & MSG_DONTWAIT) == 0 && shmif_wait(port, kCommitMs) == 1)
    got = take_whole(port, buffer, room);
  if (got < 0) return failed(got);
  if (got > 0) return got;
  errno = EAGAIN;
  return 1;
}

static ssize_t send_shmif(VDECONN* connection, const void* frame, size_t bytes, int flags) {
  (void)flags;
  const struct iovec one = {.iov_base = (void*)frame, .iov_len = bytes};
  const int sent = shmif_try_send_batch(of(connection)->port, &one, 1);
  if (sent < 0) return failed(sent);
  return sent == 1 ? (ssize_t)bytes : failed(-EAGAIN);
}

static int descriptor_of(VDECONN* connection) {
  return of(connection)->descriptor;
}

/* There is no switch whose end it could report. */
static int control_of(VDECONN* connection) {
  (void)connection;
  return -1;
}

static int close_shmif(VDECONN* connection) {
  shmif_close(of(connection)->port);
  free(connection);
  return 0;
}

__attribute__((visibility("default"))) struct vdeplug_module vdeplug_ops = {
    .vde_open_real = open_shmif,
    .vde_recv = receive_shmif,
    .vde_send = send_shmif,
    .vde_datafd = descriptor_of,
    .vde_ctlfd = control_of,
    .vde_close = close_shmif};
