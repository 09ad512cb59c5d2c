#include <shmif/shmif.h>

int main(int argc, char** argv) {
  shmif_port *alice, *bob;
  unsigned char frame[60] = {0xff};
  if (argc != 2 || shmif_create(argv[1], NULL) < 0) return 1;
  if (shmif_open(argv[1], NULL, &alice) < 0 || shmif_open(argv[1], NULL, &bob) < 0) return 2;
  if (shmif_up(alice) < 0 || shmif_up(bob) < 0 || shmif_send(alice, frame, sizeof frame) < 0)
    return 3;
  return shmif_wait(bob, 10000) == 1 && shmif_receive(bob, frame, sizeof frame, NULL) == 60 ? 0 : 4;
}
