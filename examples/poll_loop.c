/*
 * The rig of two_ports.cpp in C, without a thread: one poll loop serves two ports of one bus. The
 * first port asks, and the second answers. Exit status 0: every answer was right.
 */

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <shmif/shmif.h>

enum { kRounds = 1000, kFrameBytes = 60 };

static int fail(void) {
  fprintf(stderr, "poll_loop: %s\n", shmif_message());
  return 1;
}

/* A frame of EtherType 0x88B5 (IEEE 802: local experiments) that carries a number. */
static int send_number(shmif_port* from, shmif_port* to, unsigned number) {
  unsigned char frame[kFrameBytes] = {0};
  shmif_mac(to, frame);
  shmif_mac(from, frame + 6);
  frame[12] = 0x88;
  frame[13] = 0xb5;
  memcpy(frame + 14, &number, sizeof number);
  return shmif_send(from, frame, sizeof frame);
}

int main(void) {
  char path[64];
  shmif_port* ports[2]; /* 0 asks, 1 answers */
  struct pollfd entries[2];
  snprintf(path, sizeof path, "/dev/shm/poll_loop.%ld", (long)getpid());
  for (int i = 0; i < 2; ++i) {
    if (shmif_open_or_create(path, NULL, NULL, &ports[i]) < 0 || shmif_up(ports[i]) < 0)
      return fail();
    entries[i] = (struct pollfd){.fd = shmif_fd(ports[i]), .events = POLLIN};
    if (entries[i].fd < 0) return fail();
  }
  if (shmif_destroy(path, 1) < 0) return fail(); /* attached ports keep the bus */

  unsigned answers = 0;
  if (send_number(ports[0], ports[1], 0) < 0) return fail();
  while (answers < kRounds) {
    const int woken = poll(entries, 2, 5000);
    if (woken < 0) return perror("poll_loop: poll"), 1;
    if (woken == 0) return fprintf(stderr, "poll_loop: no answer\n"), 1;
    for (int i = 0; i < 2; ++i) {
      unsigned char frame[2048];
      unsigned number;
      while (shmif_receive(ports[i], frame, sizeof frame, NULL) > 0) {
        memcpy(&number, frame + 14, sizeof number);
        if (i == 0 && number != ++answers) return fprintf(stderr, "poll_loop: wrong answer\n"), 1;
        if (send_number(ports[i], ports[1 - i], i == 0 ? number : number + 1) < 0) return fail();
      }
    }
  }
  printf("%u frames asked, %u answers verified\n", answers, answers);
  shmif_close(ports[0]);
  shmif_close(ports[1]);
  return 0;
}
